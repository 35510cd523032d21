// SPDX-License-Identifier: Apache-2.0

import Foundation
import MoETestSupport
import MoETokenizer

/// The tiny tokenizers of Tests/Fixtures/tokenizers; its README says what the fields mean.
enum TokenizerFixtures {
    struct Case: Decodable {
        let text: String
        let ids: [Int32]?
        let plain: [Int32]?
        let withSpecial: [Int32]?
        let decoded: String?
    }

    private struct Cases: Decodable {
        let cases: [Case]
    }

    private struct Vocabulary: Decodable {
        let model: String
        let pre: String?
        let tokens: [String]
        let tokenType: [Int32]
        let scores: [Float]?
        let merges: [String]?
    }

    private static let directory = Fixtures.directory.appendingPathComponent("tokenizers")

    private static func decode<T: Decodable>(_ type: T.Type, _ file: String) throws -> T {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        return try decoder.decode(type, from: Data(contentsOf: directory.appendingPathComponent(file)))
    }

    static func cases(_ name: String) throws -> [Case] { try decode(Cases.self, "\(name).cases.json").cases }

    static func json(_ name: String) throws -> [UInt8] {
        try [UInt8](Data(contentsOf: directory.appendingPathComponent("\(name).tokenizer.json")))
    }

    static func bytes(_ file: String) throws -> [UInt8] {
        try [UInt8](Data(contentsOf: directory.appendingPathComponent(file)))
    }

    /// A tokenizer's own file, told by its content.
    static func file(_ name: String) throws -> Tokenizer { try load(bytes(name), name) }

    static func load(_ contents: [UInt8], _ name: String) throws -> Tokenizer {
        try Tokenizer.load(contents: contents, source: name) { _ in nil }
    }

    static func huggingFace(_ name: String, config: String? = nil, generation: String? = nil) throws -> Tokenizer {
        try Tokenizer(
            tokenizerJSON: json(name), tokenizerConfig: config.map { Array($0.utf8) },
            generationConfig: generation.map { Array($0.utf8) }, source: name)
    }

    static func description(_ name: String) throws -> TokenizerDescription {
        let vocabulary = try decode(Vocabulary.self, "\(name).vocabulary.json")
        return TokenizerDescription(
            model: vocabulary.model, preTokenizer: vocabulary.pre, tokens: vocabulary.tokens.map { Array($0.utf8) },
            tokenTypes: vocabulary.tokenType, scores: vocabulary.scores ?? [],
            merges: (vocabulary.merges ?? []).map { Array($0.utf8) })
    }
}
