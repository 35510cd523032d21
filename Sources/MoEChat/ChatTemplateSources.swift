// SPDX-License-Identifier: Apache-2.0

package import MoEJSON

/// A model's chat templates by name, and which of them serves a conversation.
public struct ChatTemplateSources: Sendable, Equatable {
    /// Most models have one, named `default`.
    public var named: [String: String]

    public init(named: [String: String] = [:]) { self.named = named }

    public init(_ source: String) { named = ["default": source] }

    /// Of a Hugging Face folder.
    ///
    /// - Parameters:
    ///   - configuration: `tokenizer_config.json`, whose `chat_template` is one template or a list of named ones.
    ///   - file: `chat_template.jinja`, which counts more.
    ///   - others: `additional_chat_templates/NAME.jinja` by NAME.
    package init(configuration: JSONDocument?, file: String? = nil, others: [String: String] = [:]) {
        named = others
        if let configuration {
            let value = configuration.member("chat_template", of: configuration.root)
            if let source = configuration.string(value) { named["default"] = source }
            for element in configuration.array(value) ?? JSONDocument.Elements() {
                guard let name = configuration.string(configuration.member("name", of: element)),
                    let source = configuration.string(configuration.member("template", of: element))
                else { continue }
                named[name] = source
            }
        }
        if let file { named["default"] = file }
    }

    /// Of a GGUF file's metadata.
    ///
    /// - Parameters:
    ///   - names: `tokenizer.chat_templates`, where the file has it.
    ///   - string: the string of a key, `tokenizer.chat_template` or `tokenizer.chat_template.NAME`.
    package init(names: [String] = ["tool_use", "rag"], string: (_ key: String) -> String?) {
        named = [:]
        for name in names { named[name] = string("tokenizer.chat_template.\(name)") }
        if let source = string("tokenizer.chat_template") { named["default"] = source }
    }

    /// The template for a conversation: the one that is asked for, with tools the one named `tool_use`, or the default.
    ///
    /// - Throws: ``ChatTemplateError/noTemplate(names:)``
    public func source(hasTools: Bool = false, name: String? = nil) throws(ChatTemplateError) -> String {
        if let name {
            if let source = named[name] { return source }
        } else {
            if hasTools, let source = named["tool_use"] { return source }
            if let source = named["default"] { return source }
        }
        throw .noTemplate(names: named.keys.sorted())
    }

    /// `bos_token` and the like of `tokenizer_config.json`: strings, or objects with a `content`.
    package static func specialTokens(of configuration: JSONDocument) -> [String: String] {
        var result: [String: String] = [:]
        for name in ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"] {
            let value = configuration.member(name, of: configuration.root)
            if let text = configuration.string(value) ?? configuration.string(configuration.member("content", of: value)) {
                result[name] = text
            }
        }
        return result
    }
}
