// SPDX-License-Identifier: Apache-2.0

import MoEInfer
import MoEJSON
import MoETokenizer

/// Log probabilities in the shape of chat completions.
struct ChatLogprobs {
    private let tokenizer: Tokenizer?

    init(_ state: ServerState) { tokenizer = try? state.llm.tokenizer }

    func json(_ tokens: [TokenLogprobs]) -> JSONTree { ["content": list(tokens), "refusal": .null] }

    func list(_ tokens: [TokenLogprobs]) -> JSONTree {
        .array(
            tokens.map { token in
                var object = entry(token.chosen)
                object["top_logprobs"] = .array(token.top.map { .object(entry($0)) })
                return .object(object)
            })
    }

    private func entry(_ entry: TokenLogprobs.Entry) -> JSONMembers {
        let bytes = TokenText.bytes(entry.token, tokenizer)
        return [
            "token": .string(TokenText.of(entry.token, tokenizer)), "logprob": .float(max(entry.logprob, -9999)),
            "bytes": .array(bytes.map { .int(Int($0)) }),
        ]
    }
}

/// Tokens as texts for clients: nothing escaped.
enum TokenText {
    static func bytes(_ token: Int32, _ tokenizer: Tokenizer?) -> [UInt8] {
        guard let tokenizer else { return [] }
        return tokenizer.isSpecial(token)
            ? Array(tokenizer.decode([token], skipSpecial: false).utf8) : tokenizer.bytes(of: token)
    }

    /// A token that is no whole text is told as `bytes:\xe2\x82`.
    static func of(_ token: Int32, _ tokenizer: Tokenizer?) -> String {
        let bytes = bytes(token, tokenizer)
        if let text = String(validating: bytes, as: UTF8.self) { return text }
        let digits = Array("0123456789abcdef")
        return "bytes:" + bytes.map { "\\x\(digits[Int($0 >> 4)])\(digits[Int($0 & 15)])" }.joined()
    }
}
