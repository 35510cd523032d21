// SPDX-License-Identifier: Apache-2.0

import MoEChat
import MoEJSON
import MoEModel
import MoETensors
import MoETokenizer

/// What a model's files say of conversations.
struct ModelChatFacts: Sendable {
    /// By name; the usual one is `default`.
    var templates: [String: String] = [:]
    /// What templates know under `bos_token`, `eos_token` …
    var specialTokens: [String: String] = [:]
    var sampling = SuggestedSampling()
    /// For messages.
    let source: String

    /// The most bytes that a template may have: fifty times the longest in circulation.
    private static let templateLimit = 4 << 20

    /// - Throws: ``ModelFileError`` for metadata of a wrong type, or a value that cannot be.
    init(_ file: ModelFile, tokenizer: Tokenizer?) throws {
        source = file.store.source
        switch file {
        case .gguf(let file): try read(file.metadata, tokenizer: tokenizer)
        case .huggingFace(let folder): try read(folder)
        }
    }

    // MARK: GGUF

    /// `tokenizer.chat_template`, and further ones named by `tokenizer.chat_templates`.
    private mutating func read(_ metadata: GGUFMetadata, tokenizer: Tokenizer?) throws {
        let key = "tokenizer.chat_template"
        func template(_ key: String) throws -> String? {
            guard let bytes = try metadata.stringBytes(key, limit: Self.templateLimit) else { return nil }
            guard let text = String(validating: bytes, as: UTF8.self) else {
                throw ModelFileError(file: source, problem: "metadata '\(key)' is not valid UTF-8")
            }
            return text
        }
        templates["default"] = try template(key)
        for name in try metadata.strings("tokenizer.chat_templates") ?? [] {
            templates[name] = try template("\(key).\(name)")
        }
        if let tokenizer {
            for (name, id) in [("bos_token", tokenizer.bos), ("eos_token", tokenizer.eos)] {
                if let id { specialTokens[name] = tokenizer.decode([id], skipSpecial: false) }
            }
        }
        func sampling(_ name: String) throws -> Double? { try metadata.float("general.sampling.\(name)") }
        self.sampling = try SuggestedSampling(
            temperature: sampling("temp"), topK: try metadata.int("general.sampling.top_k"), topP: sampling("top_p"),
            minP: sampling("min_p"), repetitionPenalty: sampling("penalty_repeat"), file: source)
    }

    // MARK: Hugging Face

    /// As transformers looks for them: files of their own come before the tokenizer's configuration.
    private mutating func read(_ folder: ModelFolder) throws {
        func json(_ file: String) throws -> JSONDocument? {
            guard let bytes = try folder.data(file) else { return nil }
            do throws(JSONError) {
                return try JSONDocument(bytes)
            } catch {
                throw ModelFileError(file: folder.path + "/" + file, problem: "\(error.what) at byte \(error.offset)")
            }
        }
        // The names that others than the default have in practice.
        var others: [String: String] = [:]
        for name in ["tool_use", "rag"] {
            others[name] = try folder.text("additional_chat_templates/\(name).jinja", limit: Self.templateLimit)
        }
        let configuration = try json("tokenizer_config.json")
        var file = try folder.text("chat_template.jinja", limit: Self.templateLimit)
        if file == nil, let older = try json("chat_template.json") {
            file = older.string(older.member("chat_template", of: older.root))
        }
        templates = ChatTemplateSources(configuration: configuration, file: file, others: others).named
        if let configuration { specialTokens = ChatTemplateSources.specialTokens(of: configuration) }
        guard let generation = try folder.object("generation_config.json") else { return }
        sampling = try SuggestedSampling(
            temperature: try generation.bool("do_sample") == false ? 0 : generation.double("temperature"),
            topK: generation.int("top_k"), topP: generation.double("top_p"), minP: generation.double("min_p"),
            repetitionPenalty: generation.double("repetition_penalty"), file: folder.path + "/generation_config.json")
    }
}

extension ModelFolder {
    fileprivate func text(_ file: String, limit: Int) throws -> String? {
        guard let bytes = try data(file) else { return nil }
        guard bytes.count <= limit, let text = String(validating: bytes, as: UTF8.self) else {
            throw ModelFileError(
                file: path + "/" + file, problem: "not a template", expected: "UTF-8 text of at most \(limit) bytes",
                found: "\(bytes.count) bytes")
        }
        return text
    }
}
