// SPDX-License-Identifier: Apache-2.0

/// Cuts a text into the words within which byte pairs are merged: a chain of steps, each applied to the pieces of the one before.
struct PreTokenizer: Sendable {
    /// Where to cut.
    enum Cut: Sendable {
        /// GPT-2's expression: `Words.gpt2`.
        case gpt2
        /// The expression of cl100k's family: `Words.modern`; the longest run of digits, whether marks count as letters, and whether
        /// U+017F is an s without regard to case.
        case modern(digits: Int, marks: Bool, longS: Bool)
        /// At the matches of an expression.
        case pattern(PatternProgram)
        /// The same where only PCRE2 knows what it means.
        case expression(PCREExpression)
        /// At each occurrence of a string that is not empty.
        case string([UInt8])
        /// At each character of a set.
        case each(CharacterBitmap)
        /// [0-9][0-9][0-9]
        case digitTriples
        /// Runs of numbers in groups of three, the first one shorter: `Words.groupsFromRight`.
        case groupsFromRight(Words.Grouping)
        /// Before every `▁` (U+2581), or before every run of them.
        case beforeSpaceMark
        case beforeSpaceMarks
    }

    /// What becomes of matches and of what lies between them; the names are those of `tokenizers`.
    enum Behavior: String, Sendable {
        case isolated = "Isolated"
        case removed = "Removed"
        case contiguous = "Contiguous"
        case mergedWithPrevious = "MergedWithPrevious"
        case mergedWithNext = "MergedWithNext"
    }

    struct Step: Sendable {
        var cut: Cut
        var behavior = Behavior.isolated
        /// What lies between matches counts as the matches.
        var isInverted = false
    }

    var steps: [Step]

    init(steps: [Step]) { self.steps = steps }
    init(cuts: [Cut]) { steps = cuts.map { Step(cut: $0) } }

    /// The ends of the words of `text`, ascending; the last is its length. A piece that is removed has the complement (`~`) of its
    /// end. Empty for an empty text.
    func words(of text: UnsafeBufferPointer<UInt8>, into ends: inout [Int]) {
        ends.removeAll(keepingCapacity: true)
        guard !text.isEmpty else { return }
        if steps.count == 1 {
            steps[0].apply(to: Words(text: text, start: 0, end: text.count), into: &ends)
            return
        }
        ends.append(text.count)
        for step in steps {
            let pieces = ends
            ends.removeAll(keepingCapacity: true)
            var start = 0
            for piece in pieces {
                guard piece >= 0 else {
                    ends.append(piece)
                    start = ~piece
                    continue
                }
                if start < piece { step.apply(to: Words(text: text, start: start, end: piece), into: &ends) }
                start = piece
            }
        }
    }
}

extension PreTokenizer.Step {
    func apply(to words: Words, into ends: inout [Int]) {
        // What matches everything is cut the same way whether matches are kept apart or the rest is removed.
        let keepsMatches = behavior == .isolated || behavior == .removed && isInverted
        switch cut {
        case .gpt2 where keepsMatches: words.gpt2(into: &ends)
        case .modern(let digits, let marks, let longS) where keepsMatches:
            words.modern(digits: digits, marks: marks, longS: longS, into: &ends)
        case .pattern(let program) where behavior == .isolated:
            var matcher = PatternMatcher(program, text: words.text, start: words.start, end: words.end)
            matcher.forEachPiece { end, _ in ends.append(end) }
        case .digitTriples: words.isolateDigitTriples(into: &ends)
        case .groupsFromRight(let grouping): words.groupsFromRight(grouping, into: &ends)
        case .beforeSpaceMark: words.cutBeforeSpaceMark(onlyBeforeRun: false, into: &ends)
        case .beforeSpaceMarks: words.cutBeforeSpaceMark(onlyBeforeRun: true, into: &ends)
        default: behave(pieces(of: words), start: words.start, into: &ends)
        }
    }

    private typealias Piece = (end: Int, isMatch: Bool)

    private func pieces(of words: Words) -> [Piece] {
        var pieces: [Piece] = []
        switch cut {
        case .gpt2, .modern:
            var ends: [Int] = []
            PreTokenizer.Step(cut: cut).apply(to: words, into: &ends)
            pieces = ends.map { ($0, true) }
        case .pattern(let program):
            var matcher = PatternMatcher(program, text: words.text, start: words.start, end: words.end)
            matcher.forEachPiece { pieces.append(($0, $1)) }
        case .expression(let expression):
            expression.forEachPiece(of: words.text, start: words.start, end: words.end) { pieces.append(($0, $1)) }
        case .string(let string): words.forEachPiece(of: string) { pieces.append(($0, $1)) }
        case .each(let set): words.forEachPiece(in: set) { pieces.append(($0, $1)) }
        default: preconditionFailure("a cut that has only one behaviour")
        }
        return pieces
    }

    /// As `tokenizers` does it, quirks included: of several matches in a row only one is merged.
    private func behave(_ pieces: [Piece], start: Int, into ends: inout [Int]) {
        func isMatch(_ piece: Piece) -> Bool { piece.isMatch != isInverted }
        switch behavior {
        case .isolated: for piece in pieces { ends.append(piece.end) }
        case .removed: for piece in pieces { ends.append(isMatch(piece) ? ~piece.end : piece.end) }
        case .contiguous:
            for (k, piece) in pieces.enumerated()
            where k + 1 == pieces.count || isMatch(piece) != isMatch(pieces[k + 1]) {
                ends.append(piece.end)
            }
        case .mergedWithPrevious:
            var wasMatch = false
            for (k, piece) in pieces.enumerated() {
                if k > 0, isMatch(piece), !wasMatch { ends.removeLast() }
                ends.append(piece.end)
                wasMatch = isMatch(piece)
            }
        case .mergedWithNext:
            // From the end: a match joins what follows unless that is a match.
            var wasMatch = false
            var kept: [Int] = []
            for (k, piece) in pieces.enumerated().reversed() {
                if k + 1 == pieces.count || !(isMatch(piece) && !wasMatch) { kept.append(piece.end) }
                wasMatch = isMatch(piece)
            }
            ends += kept.reversed()
        }
    }
}
