// SPDX-License-Identifier: Apache-2.0

/// One GGUF file's tables: header, metadata, tensor infos. Everything is checked here, so that what comes later can trust it.
///
/// Layout (little-endian; source: the GGUF specification in ggml's documentation):
/// ```
/// "GGUF"  u32 version  u64 tensors  u64 entries
/// entries x { string key, u32 type, value }           string: u64 length, bytes; array: u32 type, u64 count, values
/// tensors x { string name, u32 rank, rank x u64 extent (innermost first), u32 type, u64 offset }
/// padding to the alignment, then the data that offsets count from
/// ```
struct GGUFContent: Sendable {
    struct Tensor: Sendable {
        let name: String
        let type: ElementType
        let shape: Shape
        /// In the file.
        let range: Range<Int>
    }

    let file: MappedFile
    let version: UInt32
    let metadata: GGUFMetadata
    /// In file order.
    let tensors: [Tensor]
    let index: [String: Int]
    /// Where the tensors' table lies in the file.
    let tensorTable: Range<Int>
    /// Bytes; where in the file the data begins is the next multiple after the table.
    let alignment: Int

    /// ggml's limit.
    private static let rankLimit = 4
    private static let defaultAlignment = 32
    private static let alignmentLimit = 1 << 20

    init(_ file: MappedFile) throws(ModelFileError) {
        self.file = file
        var reader = ByteReader(file.bytes, file: file.name)
        version = try GGUFContent.version(&reader)
        // A tensor takes at least its name's length, rank, type and offset; an entry its key's length, type and one byte.
        let tensorCount = try reader.count(bytesEach: 24, "the number of tensors")
        let entryCount = try reader.count(bytesEach: 13, "the number of metadata entries")
        metadata = try GGUFMetadata(count: entryCount, reader: &reader, storage: file)
        let alignment = try GGUFContent.alignment(metadata, file: file.name)
        let tableStart = reader.position

        var headers: [TensorHeader] = []
        var index: [String: Int] = [:]
        for number in 0..<tensorCount {
            let header = try TensorHeader(&reader, number: number, alignment: alignment, rankLimit: GGUFContent.rankLimit)
            guard index.updateValue(number, forKey: header.name) == nil else {
                throw ModelFileError(file: file.name, tensor: header.name, problem: "duplicate tensor name")
            }
            headers.append(header)
        }
        tensorTable = tableStart..<reader.position
        self.alignment = alignment
        let dataStart = GGUFContent.aligned(reader.position, to: alignment)
        tensors = try headers.map { header throws(ModelFileError) in
            try header.place(dataStart: dataStart, fileSize: file.bytes.count, file: file.name)
        }
        self.index = index
        try checkOverlap(tensors.map { ($0.name, $0.range) }, file: file.name)
        guard tensors.isEmpty || Int(bitPattern: file.bytes.baseAddress) % min(alignment, 16) == 0 else {
            throw ModelFileError(
                file: file.name, problem: "the memory is not aligned", expected: "\(min(alignment, 16)) bytes")
        }
    }

    static func aligned(_ position: Int, to alignment: Int) -> Int { (position + alignment - 1) / alignment * alignment }

    private static func version(_ reader: inout ByteReader) throws(ModelFileError) -> UInt32 {
        let magic = reader.bytes.prefix(4)
        guard magic.elementsEqual("GGUF".utf8) else {
            throw ModelFileError(
                file: reader.file, problem: "not a GGUF file", expected: "the first bytes to be 'GGUF'",
                found: foreignFormat(reader.bytes) ?? hexadecimal(magic))
        }
        _ = try reader.take(4, "the magic")
        let version = try reader.integer(UInt32.self, "the version")
        switch version {
        case 2, 3: return version
        // Versions are small, so a value in the upper half is one with its bytes swapped.
        case _ where version & 0xffff == 0 && version != 0:
            throw ModelFileError(
                file: reader.file, problem: "unsupported byte order", expected: "a little-endian file",
                found: "a big-endian one (version \(version.byteSwapped))")
        default:
            throw ModelFileError(
                file: reader.file, problem: "unsupported GGUF version", expected: "2 or 3", found: "\(version)")
        }
    }

    /// What people pass by mistake, by its first bytes.
    private static func foreignFormat(_ bytes: UnsafeRawBufferPointer) -> String? {
        func starts(_ text: String, at offset: Int = 0) -> Bool { bytes.dropFirst(offset).starts(with: text.utf8) }
        if starts("version https://git-lfs") { return "a Git LFS pointer: the file itself was not downloaded" }
        if starts("FUGG") { return "a big-endian file" }
        if starts("lmgg") || starts("tjgg") || starts("algg") || starts("fmgg") { return "a GGML file from before GGUF" }
        if starts("PK") { return "a zip archive (a PyTorch checkpoint?)" }
        if starts("{\"", at: 8) { return "a safetensors file: give the folder that holds it and its config.json" }
        if starts("{") { return "JSON: give the folder that holds it" }
        if starts("<") { return "a web page" }
        return nil
    }

    private static func hexadecimal(_ bytes: Slice<UnsafeRawBufferPointer>) -> String {
        bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined(separator: " ")
    }

    private static func alignment(_ metadata: GGUFMetadata, file: String) throws(ModelFileError) -> Int {
        guard let alignment = try metadata.int("general.alignment") else { return defaultAlignment }
        guard alignment >= 8, alignment <= alignmentLimit, alignment & (alignment - 1) == 0 else {
            throw ModelFileError(
                file: file, problem: "bad metadata 'general.alignment'",
                expected: "a power of two from 8 to \(alignmentLimit)", found: "\(alignment)")
        }
        return alignment
    }
}

/// A tensor's entry before the place of the data is known.
private struct TensorHeader {
    let name: String
    let type: ElementType
    let shape: Shape
    /// From the start of the data.
    let offset: UInt64
    let byteCount: Int

    init(_ reader: inout ByteReader, number: Int, alignment: Int, rankLimit: Int) throws(ModelFileError) {
        let file = reader.file
        let name = try reader.name("the name of tensor \(number)")
        func failure(_ problem: String, expected: String, found: String) -> ModelFileError {
            ModelFileError(file: file, tensor: name, problem: problem, expected: expected, found: found)
        }
        let rank = try reader.integer(UInt32.self, "the rank of tensor '\(name)'")
        guard rank <= rankLimit else {
            throw failure("too many dimensions", expected: "at most \(rankLimit)", found: "\(rank)")
        }
        var extents: [Int] = []
        for _ in 0..<rank {
            let extent = try reader.integer(UInt64.self, "the shape of tensor '\(name)'")
            guard extent > 0, extent <= Int.max else {
                throw failure("bad extent", expected: "from 1 to \(Int.max)", found: "\(extent)")
            }
            extents.append(Int(extent))
        }
        let shape = Shape(extents.reversed())
        let id = try reader.integer(UInt32.self, "the type of tensor '\(name)'")
        guard let type = ElementType(rawValue: id) else {
            let supported = ElementType.allCases.map(\.name).joined(separator: ", ")
            let found = ElementType.unsupportedNames[id].map { "\($0) (type id \(id))" } ?? "type id \(id)"
            throw failure("unsupported element type", expected: supported, found: found)
        }
        guard shape.columns % type.blockElements == 0 else {
            throw failure(
                "rows are not whole \(type.name) blocks", expected: "a multiple of \(type.blockElements) columns",
                found: "\(shape)")
        }
        guard let elements = shape.checkedElementCount, let byteCount = type.byteCount(elements: elements) else {
            throw failure("the shape is too large", expected: "fewer than 2^63 bytes", found: "\(shape)")
        }
        offset = try reader.integer(UInt64.self, "the offset of tensor '\(name)'")
        guard offset % UInt64(alignment) == 0 else {
            throw failure("the offset is not aligned", expected: "a multiple of \(alignment)", found: "\(offset)")
        }
        (self.name, self.type, self.shape, self.byteCount) = (name, type, shape, byteCount)
    }

    func place(dataStart: Int, fileSize: Int, file: String) throws(ModelFileError) -> GGUFContent.Tensor {
        let available = max(0, fileSize - dataStart)
        guard offset <= UInt64(available), byteCount <= available - Int(offset) else {
            throw ModelFileError(
                file: file, tensor: name, problem: "data past the end of the file (is it complete?)",
                expected: "\(byteCount) bytes at offset \(offset) of the data", found: "\(available) bytes of data")
        }
        let start = dataStart + Int(offset)
        return GGUFContent.Tensor(name: name, type: type, shape: shape, range: start..<start + byteCount)
    }
}

/// Two tensors that share bytes are a sign of a broken table in either format.
func checkOverlap(_ tensors: [(name: String, range: Range<Int>)], file: String) throws(ModelFileError) {
    let sorted = tensors.filter { !$0.range.isEmpty }.sorted { $0.range.lowerBound < $1.range.lowerBound }
    for (first, second) in zip(sorted, sorted.dropFirst()) where first.range.upperBound > second.range.lowerBound {
        throw ModelFileError(
            file: file, tensor: second.name, problem: "data overlaps that of tensor '\(first.name)'",
            expected: "a start at byte \(first.range.upperBound) or later", found: "\(second.range.lowerBound)")
    }
}

extension ElementType {
    /// ggml's types that this program cannot read, by id: so that the message names them.
    static let unsupportedNames: [UInt32: String] = [
        9: "Q8_1", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 21: "IQ3_S", 22: "IQ2_S",
        29: "IQ1_M",
        34: "TQ1_0", 35: "TQ2_0", 40: "NVFP4", 41: "Q1_0",
    ]
}
