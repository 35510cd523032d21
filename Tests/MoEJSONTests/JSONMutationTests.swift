// SPDX-License-Identifier: Apache-2.0

import Foundation
import MoEJSON
import MoETestSupport
import Testing

/// Prevents: an out-of-bounds read on a damaged text, and a text that another parser reads in another way.
@Suite struct JSONMutationTests {
    private static let original = #"""
        {"plain": "text", "木": "é😀", "escapes\n": "\u00e9\ud83d\ude00\"\\\/\b\f\n\r\t", "numbers": [0, -1, 12.5, 1e3, -2E-2,
         123456789012345678, 1234567890123456789012], "words": [true, false, null], "empty": [{}, [], ""],
         "nested": {"a": [[1, [2, {"b": {"c": ["d"]}}]]]}, "last": "ü"}
        """#

    /// The same value as Foundation's parser gives; a text that one of the two refuses, the other one refuses.
    @Test func agreesWithFoundation() throws {
        var random = SplitMix64(state: 7)
        let alphabet =
            [UInt8](#"{}[]",:\u0123456789.eE+-truefalsn /"#.utf8) + [0, 0x0a, 0x1f, 0x80, 0xc3, 0xe2, 0xed, 0xf0, 0xff]
        var accepted = 0
        for _ in 0..<4000 {
            var text = [UInt8](Self.original.utf8)
            if random.below(8) == 0 { text.removeLast(1 + random.below(text.count - 1)) }
            for _ in 0...random.below(3) {
                let position = random.below(text.count)
                switch random.below(3) {
                case 0: text[position] = alphabet[random.below(alphabet.count)]
                case 1: text.insert(alphabet[random.below(alphabet.count)], at: position)
                default: if text.count > 1 { text.remove(at: position) }
                }
            }
            let theirs = try? JSONSerialization.jsonObject(with: Data(text), options: .fragmentsAllowed)
            let mine = try? JSONDocument(text)
            let (mineIsNil, theirsIsNil) = (mine == nil, theirs == nil)
            #expect(mineIsNil == theirsIsNil, "\(String(decoding: text, as: UTF8.self))")
            if let mine, let theirs, mine.duplicateKey() == nil {
                let areEqual = isEqual(mine, mine.root, theirs)
                #expect(areEqual, "\(String(decoding: text, as: UTF8.self))")
                accepted += 1
            }
        }
        // Otherwise the mutants are too weak or too strong.
        #expect(accepted > 400 && accepted < 3600, "\(accepted) accepted")
    }

    private func isEqual(_ json: JSONDocument, _ value: JSONDocument.Value, _ other: Any) -> Bool {
        switch json.content(value) {
        case .object(let members):
            guard let other = other as? [String: Any], other.count == members.count else { return false }
            return members.allSatisfy { member in
                other[json.string(member.key) ?? ""].map { isEqual(json, member.value, $0) } ?? false
            }
        case .array(let elements):
            guard let other = other as? [Any], other.count == elements.count else { return false }
            return zip(elements, other).allSatisfy { isEqual(json, $0, $1) }
        case .string(let string): return string == other as? String
        case .integer(let number): return number == other as? Int
        // Foundation rounds twice what has many digits.
        case .double(let number): return (other as? Double).map { abs($0 - number) <= abs(number) * 0x1p-50 } ?? false
        case .bool(let flag): return flag == other as? Bool
        case .null: return other is NSNull
        }
    }
}

extension SplitMix64 {
    fileprivate mutating func below(_ limit: Int) -> Int { Int(next() % UInt64(limit)) }
}
