// SPDX-License-Identifier: Apache-2.0

/// What a safetensors `dtype` means. Types that no weight can have may stand in a file: they count when somebody wants them.
struct SafetensorsType: Sendable {
    /// As the file writes it.
    let name: String
    /// Bits of one element; nil for a type unknown here.
    let bits: Int?
    /// nil when there is no such type in ``ElementType``.
    let elementType: ElementType?

    /// Source: the `safetensors` crate's `Dtype`.
    init(_ name: String) {
        self.name = name
        switch name {
        case "F32": (bits, elementType) = (32, .f32)
        case "F16": (bits, elementType) = (16, .f16)
        case "BF16": (bits, elementType) = (16, .bf16)
        case "F64": (bits, elementType) = (64, .f64)
        case "I8": (bits, elementType) = (8, .i8)
        case "I16": (bits, elementType) = (16, .i16)
        case "I32": (bits, elementType) = (32, .i32)
        case "I64": (bits, elementType) = (64, .i64)
        case "BOOL", "U8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ": (bits, elementType) = (8, nil)
        case "U16": (bits, elementType) = (16, nil)
        case "U32": (bits, elementType) = (32, nil)
        case "U64", "C64": (bits, elementType) = (64, nil)
        case "F4": (bits, elementType) = (4, nil)
        case "F6_E2M3", "F6_E3M2": (bits, elementType) = (6, nil)
        default: (bits, elementType) = (nil, nil)
        }
    }

    /// Bytes of so many elements; nil when unknown, not whole or too many.
    func byteCount(elements: Int) -> Int? {
        guard let bits else { return nil }
        let (total, overflow) = elements.multipliedReportingOverflow(by: bits)
        return overflow || total % 8 != 0 ? nil : total / 8
    }
}
