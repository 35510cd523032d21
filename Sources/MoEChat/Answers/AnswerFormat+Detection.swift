// SPDX-License-Identifier: Apache-2.0

extension AnswerFormat {
    /// The format that a chat template's own text speaks of; ``plain`` where it speaks of none.
    public static func detect(template: String) -> AnswerFormat {
        if template.contains("</think>") {
            return AnswerFormat("think", TextShape(reasoning: [Reasoning(open: "<think>", close: "</think>")]))
        }
        return .plain
    }
}
