// SPDX-License-Identifier: Apache-2.0

/// Tokens in colours: cool for one expert, warm for the most. Plain text where nobody watches.
enum ExpertColour {
    static func text(_ text: String, heat: Double) -> String {
        guard Terminal.hasColours else { return text }
        // Colours of the 256: blue, cyan, green, yellow, orange, red.
        let palette = [25, 31, 37, 71, 107, 143, 179, 173, 167, 160]
        let colour = palette[min(palette.count - 1, Int(heat * Double(palette.count)))]
        // A newline carries no colour.
        return text.split(separator: "\n", omittingEmptySubsequences: false)
            .map { $0.isEmpty ? "" : "\u{1B}[48;5;\(colour);38;5;15m\($0)\u{1B}[0m" }.joined(separator: "\n")
    }

    /// In colour, or with the number of experts as a small figure after it.
    /// - Parameter most: k of the model.
    static func marked(_ text: String, experts: Double?, most: Int) -> String {
        guard let experts, !text.isEmpty else { return text }
        if Terminal.hasColours { return self.text(text, heat: (experts - 1) / Double(max(1, most - 1))) }
        let digits = "\(Int(experts.rounded()))".unicodeScalars.map { Character(Unicode.Scalar($0.value + 0x2050)!) }
        // Before the space or the newline that may end a token.
        let end = text.lastIndex { !$0.isWhitespace }.map(text.index(after:)) ?? text.startIndex
        return text[..<end] + String(digits) + text[end...]
    }
}
