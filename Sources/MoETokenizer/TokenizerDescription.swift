// SPDX-License-Identifier: Apache-2.0

/// A vocabulary as data, as the metadata of a GGUF file has it (keys `tokenizer.ggml.*`, named at each field).
///
/// Nothing here is checked; `Tokenizer.init(_:source:)` does that.
package struct TokenizerDescription: Sendable {
    /// `model`: "gpt2" is byte-level byte-pair encoding, "llama" is SentencePiece's with scores and byte fallback.
    package var model: String
    /// `pre`: the name of the rule that cuts text into words before byte pairs are merged; nil or "default" is the default rule.
    package var preTokenizer: String?
    /// `tokens`: a piece per id, as the file spells it ("gpt2": in the byte-to-character alphabet of GPT-2).
    package var tokens: [[UInt8]]
    /// `token_type`: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte. Empty: all are normal.
    package var tokenTypes: [Int32]
    /// `scores`: of each piece, "llama" only. Empty: all are 0.
    package var scores: [Float]
    /// `merges`: "left right", best first, "gpt2" only.
    package var merges: [[UInt8]]

    /// `bos_token_id`, `eos_token_id`, `eot_token_id`, `eom_token_id`, `unknown_token_id`, `padding_token_id`.
    package var bos: Int?
    package var eos: Int?
    package var eot: Int?
    package var eom: Int?
    package var unknown: Int?
    package var padding: Int?

    /// `add_bos_token`, `add_eos_token`, `add_space_prefix`. nil: as the model and the pre-tokenizer have it by default.
    package var addBOS: Bool?
    package var addEOS: Bool?
    package var addSpacePrefix: Bool?
    /// `remove_extra_whitespaces` and `precompiled_charsmap`, "t5" only.
    package var removeExtraSpaces: Bool?
    package var charsmap: [UInt8] = []

    package init(
        model: String, preTokenizer: String? = nil, tokens: [[UInt8]], tokenTypes: [Int32] = [], scores: [Float] = [],
        merges: [[UInt8]] = [], bos: Int? = nil, eos: Int? = nil, eot: Int? = nil, eom: Int? = nil, unknown: Int? = nil,
        padding: Int? = nil, addBOS: Bool? = nil, addEOS: Bool? = nil, addSpacePrefix: Bool? = nil
    ) {
        self.model = model
        self.preTokenizer = preTokenizer
        self.tokens = tokens
        self.tokenTypes = tokenTypes
        self.scores = scores
        self.merges = merges
        self.bos = bos
        self.eos = eos
        self.eot = eot
        self.eom = eom
        self.unknown = unknown
        self.padding = padding
        self.addBOS = addBOS
        self.addEOS = addEOS
        self.addSpacePrefix = addSpacePrefix
    }
}
