// SPDX-License-Identifier: Apache-2.0

/// Guesses how a text goes on from the text alone.
package protocol TextDrafter: Sendable {
    /// Appends up to `count` tokens to `draft`; as few as it has a guess for.
    /// - Parameter tokens: prompt and generated.
    func draft(_ count: Int, after tokens: [Int32], into draft: inout [Int32])
}

/// Prompt lookup (Saxena 2023; in transformers `prompt_lookup_num_tokens`): what followed the last earlier place with the same
/// last tokens, as many of them as possible.
///
/// ```
/// tokens   7 1 2 3 9 4 1 2 3     longest = 3
/// suffix               1 2 3     found at 1 2 3, followed by 9 4 1 …
/// draft                      9 4 1 2 3 9 …
/// ```
///
/// A draft longer than what follows reads on in itself, as in LZ77: a text that repeats with period p is drafted to any length.
/// One pass over the tokens; no index, no memory.
package struct LookupDrafter: TextDrafter {
    private let longest: Int
    /// One token that was there before says too little.
    private let shortest: Int

    package init(longest: Int) {
        self.longest = max(longest, 1)
        shortest = min(2, self.longest)
    }

    package func draft(_ count: Int, after tokens: [Int32], into draft: inout [Int32]) {
        guard let start = continuation(of: tokens) else { return }
        let first = draft.count
        for index in start..<start + count {
            draft.append(index < tokens.count ? tokens[index] : draft[first + index - tokens.count])
        }
    }

    /// Where the text goes on after the longest match of its end, the last of several.
    private func continuation(of tokens: [Int32]) -> Int? {
        tokens.withUnsafeBufferPointer { tokens in
            guard let last = tokens.last else { return nil }
            var (best, length) = (0, shortest - 1)
            // `end` is the match's last token.
            for end in stride(from: tokens.count - 2, through: 0, by: -1) where tokens[end] == last {
                var same = 1
                while same < longest, same <= end, tokens[end - same] == tokens[tokens.count - 1 - same] { same += 1 }
                if same > length { (best, length) = (end + 1, same) }
                if length == longest { break }
            }
            return length >= shortest ? best : nil
        }
    }
}
