// SPDX-License-Identifier: Apache-2.0

/// A model in GGUF format, version 2 or 3: one file, or the set of files that a split model is. Immutable; opening reads the
/// tables and no weight.
package final class GGUFFile: WeightStore, Sendable {
    /// The path, or the first shard's.
    package let source: String
    /// Of the first shard, which describes the model.
    package let metadata: GGUFMetadata
    package let tensorNames: [String]
    package let tensorBytes: Int
    /// 2 or 3
    package let version: Int
    private let shards: [GGUFContent]
    private let places: [String: (shard: Int, tensor: Int)]

    /// - Parameter path: a GGUF file. For a split model any of its files: all of them are opened.
    /// - Throws: ``ModelFileError`` for whatever is wrong with the tables or with the set of files.
    package convenience init(path: String) throws(ModelFileError) {
        let content = try GGUFContent(MappedFile(path: path))
        guard try content.splitCount > 1 else {
            try self.init(shards: [content])
            return
        }
        try self.init(shards: try GGUFSplit.open(path: path, opened: content))
    }

    /// A GGUF file that is in memory already.
    /// - Parameters:
    ///   - bytes: unchanged until the process ends, at an address that is a multiple of 16.
    ///   - name: for error messages.
    package convenience init(bytes: UnsafeRawBufferPointer, name: String) throws(ModelFileError) {
        let content = try GGUFContent(MappedFile(memory: bytes, name: name))
        let count = try content.splitCount
        guard count <= 1 else {
            throw ModelFileError(
                file: name, problem: "one shard of a split model", expected: "a whole model", found: "1 of \(count)")
        }
        try self.init(shards: [content])
    }

    /// - Parameter shards: at least one, the first one first.
    private init(shards: [GGUFContent]) throws(ModelFileError) {
        self.shards = shards
        source = shards[0].file.name
        metadata = shards[0].metadata
        version = Int(shards[0].version)
        var names: [String] = []
        var places: [String: (shard: Int, tensor: Int)] = [:]
        var bytes = 0
        for (number, shard) in shards.enumerated() {
            for (position, tensor) in shard.tensors.enumerated() {
                if let other = places.updateValue((number, position), forKey: tensor.name) {
                    throw ModelFileError(
                        file: shard.file.name, tensor: tensor.name,
                        problem: "duplicate tensor name, also in '\(shards[other.shard].file.name)'")
                }
                names.append(tensor.name)
                bytes += tensor.range.count
            }
        }
        (tensorNames, self.places, tensorBytes) = (names, places, bytes)
    }

    package func tensor(named name: String) -> TensorView? {
        guard let place = places[name] else { return nil }
        let shard = shards[place.shard]
        let tensor = shard.tensors[place.tensor]
        return TensorView(
            name: name, type: tensor.type, shape: tensor.shape,
            bytes: UnsafeRawBufferPointer(rebasing: shard.file.bytes[tensor.range]), storage: shard.file)
    }

    /// The first shard's content, where the metadata of a model stands.
    var first: GGUFContent { shards[0] }
    /// 1 for a file that is a whole model.
    package var shardCount: Int { shards.count }
    /// The path of every file of the model.
    package var paths: [String] { shards.map(\.file.name) }

    /// Whether a copy of the first shard may have this name: that of a split model must say so.
    package func fitsFirstShard(_ path: String) -> Bool {
        shards.count == 1 || ShardName(path: path).map { $0.number == 1 && $0.count == shards.count } ?? false
    }

    /// As in a shard's name: `00003`.
    package static func shardNumber(_ number: Int) -> String { ShardName.pad(number) }

    /// Asks the system to read all files ahead, in the background.
    package func prefetch() {
        for shard in shards { shard.file.prefetch() }
    }
}

/// The files of a split model: `NAME-00001-of-00003.gguf` and so on, each with `split.no` (from 0), `split.count` and
/// `split.tensors.count`. Source: llama.cpp's `gguf-split`.
enum GGUFSplit {
    /// Opens all files of the set that `path` belongs to.
    /// - Parameter content: of `path`, which says that it is part of a set.
    static func open(path: String, opened content: GGUFContent) throws(ModelFileError) -> [GGUFContent] {
        let count = try content.splitCount
        guard let name = ShardName(path: path) else {
            throw ModelFileError(
                file: path, problem: "one of \(count) shards, but its name does not say which",
                expected: "a name like 'model-00001-of-\(ShardName.pad(count)).gguf'")
        }
        guard name.count == count else {
            throw ModelFileError(
                file: path, problem: "the name and 'split.count' disagree", expected: "\(name.count) shards",
                found: "\(count)")
        }
        var shards: [GGUFContent] = []
        for number in 1...count {
            let shard: GGUFContent
            if number == name.number {
                shard = content
            } else {
                let sibling = name.path(number: number)
                guard MappedFile.kind(path: sibling) != nil else {
                    throw ModelFileError(file: sibling, problem: "missing shard \(number) of \(count)")
                }
                shard = try GGUFContent(MappedFile(path: sibling))
            }
            try check(shard, number: number, count: count)
            shards.append(shard)
        }
        let total = shards.reduce(0) { $0 + $1.tensors.count }
        if let expected = try shards[0].metadata.int("split.tensors.count"), expected != total {
            throw ModelFileError(
                file: shards[0].file.name, problem: "wrong number of tensors in all shards", expected: "\(expected)",
                found: "\(total)")
        }
        return shards
    }

    /// A file that stands in another's place (renamed, or a link back to the first one) says so itself.
    private static func check(_ shard: GGUFContent, number: Int, count: Int) throws(ModelFileError) {
        let file = shard.file.name
        guard try shard.splitCount == count else {
            throw ModelFileError(
                file: file, problem: "a shard of another model: wrong 'split.count'", expected: "\(count)",
                found: "\(try shard.splitCount)")
        }
        guard let found = try shard.metadata.int("split.no") else {
            throw ModelFileError(
                file: file, problem: "missing metadata 'split.no'", expected: "\(number - 1)", found: "nothing")
        }
        guard found == number - 1 else {
            throw ModelFileError(
                file: file, problem: "misnumbered shard: wrong 'split.no'", expected: "\(number - 1)", found: "\(found)")
        }
    }
}

extension GGUFContent {
    /// 1 for a file that is a whole model.
    var splitCount: Int {
        get throws(ModelFileError) {
            let count = try metadata.int("split.count") ?? 1
            guard count >= 0, count <= 99_999 else {
                throw ModelFileError(
                    file: file.name, problem: "bad metadata 'split.count'", expected: "from 0 to 99999", found: "\(count)")
            }
            return count
        }
    }
}

/// `PREFIX-00002-of-00003.gguf`, taken apart.
struct ShardName {
    let prefix: String
    /// From 1.
    let number: Int
    let count: Int

    init?(path: String) {
        let suffix = ".gguf"
        guard path.hasSuffix(suffix) else { return nil }
        // "-00002-of-00003"
        let stem = path.dropLast(suffix.count)
        let tail = stem.suffix(15)
        let (first, rest) = (tail.dropFirst().prefix(5), tail.suffix(5))
        guard tail.count == 15, tail.first == "-", tail.dropFirst(6).prefix(4) == "-of-",
            (first + rest).utf8.allSatisfy({ (48...57).contains($0) }),
            let number = Int(first), let count = Int(rest), number >= 1, number <= count
        else { return nil }
        prefix = String(stem.dropLast(15))
        (self.number, self.count) = (number, count)
    }

    func path(number: Int) -> String { "\(prefix)-\(ShardName.pad(number))-of-\(ShardName.pad(count)).gguf" }

    static func pad(_ number: Int) -> String {
        let digits = String(number)
        return String(repeating: "0", count: max(0, 5 - digits.count)) + digits
    }
}
