// SPDX-License-Identifier: Apache-2.0

import MoETokenizer

/// Held-out text of several domains, cut into windows of one length.
package struct EvaluationText: Sendable {
    private(set) var domains: [String] = []
    private(set) var windows: [[Int32]] = []
    /// Per domain: its windows.
    private(set) var strata: [[Int]] = []

    static let mixedDomain = "mixed"

    /// - Parameters:
    ///   - window: tokens of a window, BOS included where the model has one.
    ///   - limit: tokens of each domain, at most; windows are taken evenly over a longer text.
    ///   - mixes: with two domains or more, also a domain in which pieces of all of them alternate every few lines: prose with
    ///     code, mathematics in dialogue.
    /// - Throws: ``RequestError`` for a text without one whole window.
    init(
        _ texts: [(domain: String, text: String)], tokenizer: Tokenizer, window: Int, limit: Int, mixes: Bool
    ) throws {
        var texts = texts
        if mixes, texts.count > 1 { texts.append((Self.mixedDomain, Self.mixture(of: texts.map(\.text)))) }
        for (domain, text) in texts {
            guard !domains.contains(domain) else { throw RequestError("the domain '\(domain)' is given twice") }
            let all = Self.cut(text, tokenizer: tokenizer, window: window)
            guard !all.isEmpty else {
                throw RequestError("the text '\(domain)' is too short: at least one window of \(window) tokens is needed")
            }
            let count = min(all.count, max(1, limit / window))
            let first = windows.count
            for index in 0..<count { windows.append(all[index * all.count / count]) }
            domains.append(domain)
            strata.append(Array(first..<windows.count))
        }
    }

    /// Whole windows of a text, each started with BOS where the model has one.
    static func cut(_ text: String, tokenizer: Tokenizer, window: Int) -> [[Int32]] {
        let bos = tokenizer.addsBOS ? tokenizer.bos : nil
        let tokens = tokenizer.encode(text, addSpecial: false, parseSpecial: false)
        let length = window - (bos == nil ? 0 : 1)
        return (0..<tokens.count / length).map { index in
            (bos.map { [$0] } ?? []) + tokens[index * length..<(index + 1) * length]
        }
    }

    /// Pieces of whole lines, a few hundred bytes each, from every text in turn.
    package static func mixture(of texts: [String], pieceBytes: Int = 240) -> String {
        let pieces = texts.map { text -> [Substring] in
            var pieces: [Substring] = []
            var start = text.startIndex
            while start < text.endIndex {
                let wanted = text.utf8.index(start, offsetBy: pieceBytes, limitedBy: text.endIndex) ?? text.endIndex
                // To the end of the line, or of the word where lines are long.
                let far = text.utf8.index(wanted, offsetBy: pieceBytes, limitedBy: text.endIndex) ?? text.endIndex
                let rest = text[wanted..<far]
                let end =
                    rest.firstIndex(of: "\n").map(text.index(after:))
                    ?? rest.firstIndex(of: " ").map(text.index(after:)) ?? far
                pieces.append(text[start..<end])
                start = end
            }
            return pieces
        }
        var mixed = ""
        for index in 0..<(pieces.map(\.count).min() ?? 0) {
            for piece in pieces {
                mixed += piece[index]
                if piece[index].last != "\n" { mixed += "\n" }
            }
        }
        return mixed
    }
}
