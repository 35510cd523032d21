// SPDX-License-Identifier: Apache-2.0

/// Tokens that are known by their names, because files do not say what they are for.
///
/// The names are those that models in circulation use; llama.cpp recognises the same ones.
enum EndOfGeneration {
    /// End of text, of turn or of message: generation stops after any of these.
    static let names: Set<String> = [
        "<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|flush|>", "<|calls|>", "<end_of_turn>",
        "<|endoftext|>", "</s>", "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<|end_of_text|>", "<end_of_utterance>",
        "<eos>", "<turn|>", "<|tool_response>", "<｜end▁of▁sentence｜>", "[e~[",
    ]

    /// Marks of code completion (padding, repository, file) that end a generation too.
    static let codeMarks: Set<String> = [
        "<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]", "<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>",
        "<reponame>", "<|file_sep|>",
    ]

    /// The other marks of code completion: control tokens, whatever type the file gives them.
    static let otherCodeMarks: Set<String> = [
        "<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<｜fim▁begin｜>", "<PRE>", "▁<PRE>", "<|code_prefix|>",
        "<|prefix|>",
        "<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<｜fim▁hole｜>", "<SUF>", "▁<SUF>", "<|code_suffix|>",
        "<|suffix|>",
        "<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<｜fim▁end｜>", "<MID>", "▁<MID>", "<|code_middle|>", "<|middle|>",
    ]

    private static let longestName = names.union(codeMarks).union(otherCodeMarks).map(\.utf8.count).max() ?? 0

    /// False for nearly all tokens at once: every name above ends in a bracket and is short.
    static func mayName(_ text: [UInt8]) -> Bool {
        guard text.count <= longestName, let last = text.last else { return false }
        return last == UInt8(ascii: ">") || last == UInt8(ascii: "]") || last == UInt8(ascii: "[")
    }

    /// Those of `named` that end a generation.
    static func ids(of named: [String: Int32]) -> Set<Int32> {
        var found = Set(names.union(codeMarks).compactMap { named[$0] })
        // Where a turn consists of several messages, `<|end|>` ends a message only.
        if let end = named["<|end|>"],
            named["<|return|>"] != nil && named["<|call|>"] != nil
                || named["<|flush|>"] != nil && (named["<|call|>"] != nil || named["<|calls|>"] != nil)
        {
            found.remove(end)
        }
        // Where `<|tool_response>` ends a turn, `</s>` is a tag like others.
        if let tag = named["</s>"], named["<|tool_response>"] != nil { found.remove(tag) }
        return found
    }
}
