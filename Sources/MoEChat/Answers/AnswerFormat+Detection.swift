// SPDX-License-Identifier: Apache-2.0

extension AnswerFormat {
    /// One line of the table: a format, and the texts that a template of it has in it, each with its alternatives.
    private struct Rule {
        let format: AnswerFormat
        let texts: [String]

        init(_ format: AnswerFormat, _ texts: String...) { (self.format, self.texts) = (format, texts) }
    }

    /// The table of formats, the first that fits counts: those with tokens of their own come before those that share theirs.
    private static let rules: [Rule] = [
        Rule(harmony, "<|channel|>", "<|message|>"),
        Rule(gemma4, "<|channel>", "<|tool_call>"),
        Rule(kimi, "<|tool_call_argument_begin|>"),
        Rule(kimiK3, "<|open|>", "<|sep|>"),
        Rule(solar, "<|tool_call:begin|>"),
        Rule(dsml(section: "tool_calls"), "｜DSML｜", "tool_calls>"),
        Rule(dsml(section: "function_calls"), "｜DSML｜"),
        Rule(deepSeek(hasType: true), "<｜tool▁call▁begin｜>", "```json"),
        Rule(deepSeek(hasType: false), "<｜tool▁call▁begin｜>"),
        Rule(miniMaxM2, "<minimax:tool_call>"),
        Rule(seed, "<seed:tool_call>"),
        Rule(glm("hunyuan3-open", suffix: ":opensource", hasSection: true), "<arg_key:opensource>"),
        Rule(glm("hunyuan3", hasSection: true), "<arg_key>", "<tool_sep>"),
        Rule(glm(), "<arg_key>"),
        Rule(qwenXML, "<function=", "<parameter="),
        Rule(miniCPM, "<function name=", "<param name="),
        Rule(functionary32, ">>>${recipient}"),
        Rule(functionary31, "<function=", "</function>"),
        Rule(mistral(hasReasoning: true), "[TOOL_CALLS]", "[THINK]"),
        Rule(mistral(hasReasoning: false), "[TOOL_CALLS]"),
        Rule(commandR7B, "<|START_ACTION|>"),
        Rule(commandR, "Action:", "```json"),
        Rule(apertus, "<|tools_prefix|>"),
        Rule(apriel, "[BEGIN FINAL RESPONSE]"),
        Rule(granite3, "<|tool_call|>", "<|start_of_role|>"),
        Rule(jsonList("phi4", "<|tool_call|>", "<|/tool_call|>"), "<|tool_call|>"),
        Rule(jsonList("nemotron", "<TOOLCALL>", "</TOOLCALL>"), "<TOOLCALL>"),
        Rule(jsonList("firefunction", "functools", reasoning: [], isGuess: true), "functools["),
        Rule(lfm2, "<|tool_call_start|>"),
        Rule(lfm2, "<|tool_list_start|>"),
        Rule(gigaChat, "<|role_sep|>", "function call"),
        Rule(gigaChat, "<|role_sep|>", "<|function_call|>"),
        Rule(hermes, "<tool_call>"),
        Rule(jsonList("tool-calls", "<tool_calls>", "</tool_calls>"), "<tool_calls>", "]</tool_calls>"),
        Rule(miniMaxM1, "<tool_calls>"),
        Rule(llama3, "<|start_header_id|>", "\"parameters\": "),
        Rule(llama3, "<|python_tag|>"),
        Rule(smolLM3, "## Metadata", "Reasoning Mode"),
        Rule(thinking, "</think>"),
    ]

    /// Every format, by name; of a name that stands twice, the first.
    package static var all: [String: AnswerFormat] {
        Dictionary((rules.map(\.format) + [plain]).map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
    }

    /// The template of SmolLM3 that goes round does not mention its tools' format, which is Hermes'.
    private static let smolLM3 = AnswerFormat("smollm3", hermes.shape)

    /// The format that a chat template's own text speaks of; ``plain`` where it speaks of none.
    public static func detect(template: String) -> AnswerFormat {
        let template = Array(template.utf8)
        return rules.first { rule in rule.texts.allSatisfy { contains(Array($0.utf8), in: template) } }?.format ?? .plain
    }

    /// Whether `text` stands somewhere in `template`.
    private static func contains(_ text: [UInt8], in template: [UInt8]) -> Bool {
        guard let first = text.first, template.count >= text.count else { return false }
        for start in 0...(template.count - text.count) where template[start] == first {
            if template[start..<(start + text.count)].elementsEqual(text) { return true }
        }
        return false
    }
}
