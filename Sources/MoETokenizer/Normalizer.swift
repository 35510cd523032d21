// SPDX-License-Identifier: Apache-2.0

/// What is done to a text before it is cut into words: the steps in order.
struct Normalizer: Sendable {
    enum Step: Sendable {
        /// One of Unicode's normalisation forms, as `tokenizers` has them: of Unicode 9.0.
        case form(CanonicalComposition.Form)
        /// Puts this before a text that is not empty.
        case prepend([UInt8])
        /// Replaces each occurrence of `pattern` (not empty).
        case replace(pattern: [UInt8], with: [UInt8])
        /// Replaces each match of an expression.
        case replaceMatches(PreTokenizer.Cut, with: [UInt8])
        /// Takes white space away at the ends.
        case strip(left: Bool, right: Bool)
        case lowercase
        /// Takes away combining marks: all, or non-spacing ones.
        case stripMarks(onlyNonSpacing: Bool)
        /// BERT's: takes away controls, makes white space spaces.
        case cleanText
        /// BERT's: spaces around each Chinese character.
        case spaceChinese
        /// The control characters and spaces of "nmt".
        case controlsAndSpaces
        case precompiled(PrecompiledCharsmap)
        /// SentencePiece's own normaliser.
        case sentencePiece(SentencePieceNormalizer)
        /// GPT-2's alphabet for bytes.
        case byteAlphabet
    }

    var steps: [Step] = []

    /// U+2581, which SentencePiece writes for a space.
    static let spaceMark: [UInt8] = [0xE2, 0x96, 0x81]

    var isIdentity: Bool { steps.isEmpty }

    /// Whether it is certain at a glance that `text` stays as it is.
    func keeps(_ text: UnsafeBufferPointer<UInt8>) -> Bool {
        guard steps.count == 1, case .form(let form) = steps[0] else { return false }
        let lowest: UInt8 = form == .nfc ? 0xCC : 0x80
        return !text.contains { $0 >= lowest }
    }

    func apply(to text: [UInt8]) -> [UInt8] { steps.reduce(text) { $1.apply(to: $0) } }
}

extension Normalizer.Step {
    func apply(to text: [UInt8]) -> [UInt8] {
        switch self {
        case .form(let form):
            // Nothing changes below U+0080, nor in the composed canonical form below U+0300 (CC 80 in UTF-8).
            let lowest: UInt8 = form == .nfc ? 0xCC : 0x80
            guard text.contains(where: { $0 >= lowest }) else { return text }
            return text.withUnsafeBufferPointer { CanonicalComposition.normalize($0, form) }
        case .prepend(let prefix): return text.isEmpty ? text : prefix + text
        case .replace(let pattern, let replacement): return Self.replace(pattern, with: replacement, in: text)
        case .replaceMatches(let cut, let replacement): return Self.replaceMatches(of: cut, with: replacement, in: text)
        case .strip(let left, let right): return Self.strip(text, left: left, right: right)
        case .lowercase:
            return Self.mapped(text) { codePoint, result in
                if codePoint < 0x80 {
                    result.append((0x41...0x5A).contains(codePoint) ? UInt8(codePoint) + 0x20 : UInt8(codePoint))
                } else if let scalar = Unicode.Scalar(codePoint) {
                    result += scalar.properties.lowercaseMapping.utf8
                }
            }
        case .stripMarks(let onlyNonSpacing):
            return Self.mapped(text) { codePoint, result in
                // Both as the crates in `tokenizers` know them.
                let isMark =
                    codePoint >= 0x300 && Boundaries.contain(codePoint, UnicodeTables.strippedMarkBoundaries)
                    && (!onlyNonSpacing || CharacterClasses.shared[codePoint].isIn(CharacterClass(categories: 10...10)))
                if !isMark { UTF8Text.append(codePoint, to: &result) }
            }
        case .cleanText:
            return Self.mapped(text) { codePoint, result in
                let kind = CharacterClasses.shared[codePoint]
                if kind.isIn(.space) {
                    if !(codePoint == 0x0B || codePoint == 0x0C || codePoint == 0x85) { result.append(0x20) }
                } else if codePoint != 0, codePoint != 0xFFFD, !kind.isIn(Self.bertControls) {
                    UTF8Text.append(codePoint, to: &result)
                }
            }
        case .spaceChinese:
            return Self.mapped(text) { codePoint, result in
                let isChinese = Boundaries.contain(codePoint, Self.chinese)
                if isChinese { result.append(0x20) }
                UTF8Text.append(codePoint, to: &result)
                if isChinese { result.append(0x20) }
            }
        case .controlsAndSpaces:
            return Self.mapped(text) { codePoint, result in
                switch codePoint {
                case 0x01...0x08, 0x0B, 0x0E...0x1F, 0x7F, 0x8F, 0x9F: break
                case 0x09, 0x0A, 0x0C, 0x0D, 0x1680, 0x200B...0x200F, 0x2028, 0x2029, 0x2581, 0xFEFF, 0xFFFD:
                    result.append(0x20)
                default: UTF8Text.append(codePoint, to: &result)
                }
            }
        case .precompiled(let table): return table.normalizeGraphemes(text)
        case .sentencePiece(let normalizer): return text.withUnsafeBufferPointer(normalizer.normalize)
        case .byteAlphabet: return text.flatMap(ByteLevelAlphabet.character(of:))
        }
    }

    /// Cc, Cf and Co.
    private static let bertControls = CharacterClass.control.union(CharacterClass(categories: 2...3))
    private static let chinese: [UInt32] = [
        0x3400, 0x4DC0, 0x4E00, 0xA000, 0xF900, 0xFB00, 0x20000, 0x2A6E0, 0x2A700, 0x2B740, 0x2B740, 0x2B820, 0x2B920,
        0x2CEB0, 0x2F800, 0x2FA20,
    ]

    private static func mapped(_ text: [UInt8], _ body: (UInt32, inout [UInt8]) -> Void) -> [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity(text.count + 16)
        text.withUnsafeBufferPointer { text in
            var i = 0
            while i < text.count {
                let (value, length) = UTF8Text.codePoint(in: text, at: i, end: text.count)
                body(value, &result)
                i += length
            }
        }
        return result
    }

    static func replace(_ pattern: [UInt8], with replacement: [UInt8], in text: [UInt8]) -> [UInt8] {
        guard let first = pattern.first, text.contains(first) else { return text }
        var result: [UInt8] = []
        result.reserveCapacity(text.count + text.count / 4)
        var i = 0
        while i < text.count {
            if text[i] == first, i + pattern.count <= text.count, text[i..<i + pattern.count].elementsEqual(pattern) {
                result += replacement
                i += pattern.count
            } else {
                result.append(text[i])
                i += 1
            }
        }
        return result
    }

    private static func replaceMatches(of cut: PreTokenizer.Cut, with replacement: [UInt8], in text: [UInt8]) -> [UInt8] {
        // What lies between matches is kept, matches are pieces that are "removed".
        var ends: [Int] = []
        text.withUnsafeBufferPointer {
            guard !$0.isEmpty else { return }
            let step = PreTokenizer.Step(cut: cut, behavior: .removed)
            step.apply(to: Words(text: $0, start: 0, end: $0.count), into: &ends)
        }
        var result: [UInt8] = []
        var start = 0
        for end in ends {
            if end >= 0 { result += text[start..<end] } else { result += replacement }
            start = end >= 0 ? end : ~end
        }
        return result
    }

    private static func strip(_ text: [UInt8], left: Bool, right: Bool) -> [UInt8] {
        text.withUnsafeBufferPointer { text in
            let classes = CharacterClasses.shared
            var start = 0
            var end = text.count
            while left, start < end {
                let (kind, length) = classes.character(in: text, at: start, end: end)
                guard kind.isIn(.space) else { break }
                start += length
            }
            while right, end > start {
                let before = UTF8Text.start(before: end, in: text, from: start)
                guard classes.character(in: text, at: before, end: end).class.isIn(.space) else { break }
                end = before
            }
            return Array(text[start..<end])
        }
    }
}
