// SPDX-License-Identifier: Apache-2.0

/// What one rendering has used up, against its limits.
final class Meter {
    let limits: JinjaLimits
    private(set) var stepsLeft: Int
    private(set) var liveSize = 0
    private let stackStart: UInt

    init(_ limits: JinjaLimits) {
        self.limits = limits
        stepsLeft = limits.steps
        stackStart = Meter.stackPointer()
    }

    /// nil if there are as many steps left.
    @inline(__always)
    func spend(_ steps: Int) -> String? {
        stepsLeft &-= steps
        return stepsLeft >= 0 ? nil : "more than \(limits.steps) steps of work"
    }

    /// nil if the bytes may be had; `release` gives them back.
    func reserve(_ bytes: Int) -> String? {
        guard bytes <= limits.liveSize - liveSize else { return "values of more than \(limits.liveSize) bytes" }
        liveSize += bytes
        return nil
    }

    func release(_ bytes: Int) { liveSize -= bytes }

    /// Whether calls are nested as deep as the stack allows.
    var isStackUsedUp: Bool {
        let here = Meter.stackPointer()
        return (stackStart > here ? stackStart - here : here - stackStart) > UInt(limits.stackSize)
    }

    @inline(never)
    private static func stackPointer() -> UInt {
        var marker: UInt8 = 0
        return withUnsafePointer(to: &marker) { UInt(bitPattern: $0) }
    }
}
