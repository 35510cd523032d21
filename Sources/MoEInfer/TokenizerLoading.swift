// SPDX-License-Identifier: Apache-2.0

import Foundation
package import MoEModel
import MoETensors
public import MoETokenizer

extension Tokenizer {
    /// The tokenizer of a model file, without its weights.
    /// - Throws: ``ModelFileError`` or ``TokenizerError``.
    public static func load(_ source: ModelSource) throws -> Tokenizer {
        switch source {
        case .path(let path): try load(path: path)
        case .bytes: try load(from: ModelFile.open(source))
        }
    }

    package static func load(from file: ModelFile) throws -> Tokenizer {
        switch file {
        case .gguf(let file):
            return try Tokenizer(TokenizerDescription(file.metadata, source: file.source), source: file.source)
        case .huggingFace(let folder): return try load(folder: folder.path) { try folder.data($0) }
        }
    }

    /// The tokenizer of a path: a GGUF file (its weights are not looked at), a folder with a tokenizer (and no model, if need be),
    /// or the tokenizer's own file: tokenizer.json, tekken.json, a SentencePiece model, tiktoken's ranks.
    /// - Throws: ``ModelFileError`` or ``TokenizerError``.
    public static func load(path: String) throws -> Tokenizer {
        var isDirectory: ObjCBool = false
        let url = URL(fileURLWithPath: path)
        guard FileManager.default.fileExists(atPath: path, isDirectory: &isDirectory) else {
            throw ModelFileError(file: path, problem: "no such file", expected: "a model or a tokenizer", found: "nothing")
        }
        let folder = isDirectory.boolValue ? url : url.deletingLastPathComponent()
        func read(_ name: String) throws -> [UInt8]? {
            let file = folder.appendingPathComponent(name)
            guard FileManager.default.fileExists(atPath: file.path) else { return nil }
            return try contents(of: file)
        }
        if isDirectory.boolValue { return try load(folder: path, read) }
        let handle = try? FileHandle(forReadingFrom: url)
        defer { try? handle?.close() }
        guard let handle, let magic = try? handle.read(upToCount: 4) else {
            throw ModelFileError(
                file: path, problem: "cannot be read", expected: "a model or a tokenizer", found: "an error")
        }
        if magic.elementsEqual("GGUF".utf8) { return try load(from: .gguf(GGUFFile(path: path))) }
        return try load(contents: try contents(of: url), source: path, besides: read)
    }

    /// Files beyond this are no tokenizers: the largest in use has 35 MB.
    private static let sizeLimit = 1 << 29

    private static func contents(of file: URL) throws -> [UInt8] {
        let size = try? FileManager.default.attributesOfItem(atPath: file.path)[.size] as? Int
        guard let size, size <= sizeLimit else {
            throw ModelFileError(
                file: file.path, problem: "no tokenizer", expected: "at most \(sizeLimit) bytes",
                found: size.map { "\($0) bytes" } ?? "an unknown size")
        }
        guard let data = try? Data(contentsOf: file) else {
            throw ModelFileError(file: file.path, problem: "cannot be read", expected: "a tokenizer", found: "an error")
        }
        return [UInt8](data)
    }
}

extension TokenizerDescription {
    /// - Throws: ``ModelFileError`` when the file has no vocabulary, or metadata of a wrong type.
    init(_ metadata: GGUFMetadata, source: String) throws {
        func key(_ name: String) -> String { "tokenizer.ggml.\(name)" }
        guard let model = try metadata.string(key("model")), let tokens = try metadata.rawStrings(key("tokens")) else {
            throw ModelFileError(
                file: source, problem: "no vocabulary", expected: "metadata '\(key("model"))' and '\(key("tokens"))'",
                found: "nothing")
        }
        self.init(
            model: model, preTokenizer: try metadata.string(key("pre")), tokens: tokens,
            tokenTypes: try metadata.ints(key("token_type"))?.map { Int32(clamping: $0) } ?? [],
            scores: try metadata.floats(key("scores")) ?? [], merges: try metadata.rawStrings(key("merges")) ?? [],
            bos: try metadata.int(key("bos_token_id")), eos: try metadata.int(key("eos_token_id")),
            eot: try metadata.int(key("eot_token_id")), eom: try metadata.int(key("eom_token_id")),
            unknown: try metadata.int(key("unknown_token_id")), padding: try metadata.int(key("padding_token_id")),
            addBOS: try metadata.bool(key("add_bos_token")), addEOS: try metadata.bool(key("add_eos_token")),
            addSpacePrefix: try metadata.bool(key("add_space_prefix")))
        removeExtraSpaces = try metadata.bool(key("remove_extra_whitespaces"))
        charsmap = try metadata.ints(key("precompiled_charsmap"))?.map { UInt8(truncatingIfNeeded: $0) } ?? []
    }
}
