// SPDX-License-Identifier: Apache-2.0

/// What is done to a text before it is cut into words: the steps in order.
struct Normalizer: Sendable, Equatable {
    enum Step: Sendable, Equatable {
        /// Unicode's canonical composition.
        case nfc
        /// Puts this before a text that is not empty.
        case prepend([UInt8])
        /// Replaces each occurrence of `pattern` (not empty).
        case replace(pattern: [UInt8], with: [UInt8])
    }

    var steps: [Step] = []

    /// U+2581, which SentencePiece writes for a space.
    static let spaceMark: [UInt8] = [0xE2, 0x96, 0x81]

    var isIdentity: Bool { steps.isEmpty }

    func apply(to text: [UInt8]) -> [UInt8] {
        var text = text
        for step in steps {
            switch step {
            case .nfc:
                // Below U+0300 (CC 80 in UTF-8) there is nothing to compose.
                if text.contains(where: { $0 >= 0xCC }) {
                    text = text.withUnsafeBufferPointer(CanonicalComposition.compose)
                }
            case .prepend(let prefix):
                if !text.isEmpty { text = prefix + text }
            case .replace(let pattern, let replacement):
                text = Self.replace(pattern, with: replacement, in: text)
            }
        }
        return text
    }

    private static func replace(_ pattern: [UInt8], with replacement: [UInt8], in text: [UInt8]) -> [UInt8] {
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
}
