// SPDX-License-Identifier: Apache-2.0

/// A regular expression as instructions for `PatternMatcher`.
///
/// The alternatives at the top are programs of their own, so that a table says by the first byte which of them can match at all.
final class PatternProgram: @unchecked Sendable {
    enum Operation: UInt8 {
        /// One character of set `a`.
        case set
        /// `b` to `c` characters of set `a`, as many as possible; fewer if what follows fails.
        case run
        /// The same without giving any back.
        case possessiveRun
        /// Tries `a`, then `b`.
        case split
        case jump
        /// What is next is (`b` = 0) or is not a character of set `a`. At the end nothing is.
        case peek
        /// The program from the next instruction to a `match` before `a` matches here, or (`b` = 1) does not; goes on at `a`.
        case look
        /// The same, and what it matched is taken.
        case atomic
        case wordBoundary
        case textStart, textEnd, lineStart, lineEnd
        case match
    }

    struct Instruction {
        var operation: Operation
        var a: Int32 = 0
        var b: Int32 = 0
        var c: Int32 = 0
    }

    private(set) var code: [Instruction] = []
    /// Where each alternative starts in `code`.
    private(set) var starts: [Int] = []
    /// Of the sets that `code` names; they live as long as the program.
    private(set) var views: [CharacterBitmap.View] = []
    private var bitmaps: [CharacterBitmap] = []
    /// First byte -> the alternatives that may match there, as bits. Above ASCII: those that may begin with any such character.
    private(set) var candidates: [UInt64] = []
    /// What \w is, if a boundary is asked for.
    private(set) var word: CharacterBitmap?

    private var sets: [CharacterSet] = []
    private static let codeLimit = 1 << 14

    /// nil for an expression that would make too long a program.
    init?(_ node: PatternNode, word: CharacterSet) {
        var alternatives = [node]
        if case .alternatives(let all) = node { alternatives = all }
        guard alternatives.count <= 64 else { return nil }
        candidates = [UInt64](repeating: 0, count: 256)
        for (k, alternative) in alternatives.enumerated() {
            starts.append(code.count)
            guard emit(alternative, isLast: true) else { return nil }
            code.append(Instruction(operation: .match))
            let first = alternative.first
            let isAny = first.isNullable
            let isBeyond = isAny || !first.set.subtracting(CharacterSet(0...0x7F)).isEmpty
            for byte in 0..<256 where byte < 0x80 ? isAny || first.set.contains(UInt32(byte)) : isBeyond {
                candidates[byte] |= 1 << UInt64(k)
            }
        }
        bitmaps = sets.map(CharacterBitmap.init)
        views = bitmaps.map(\.view)
        if code.contains(where: { $0.operation == .wordBoundary }) { self.word = CharacterBitmap(word) }
        sets = []
    }

    private func number(of set: CharacterSet) -> Int32 {
        if let known = sets.firstIndex(of: set) { return Int32(known) }
        sets.append(set)
        return Int32(sets.count - 1)
    }

    private func add(_ operation: Operation, _ a: Int = 0, _ b: Int = 0, _ c: Int = 0) -> Int {
        code.append(Instruction(operation: operation, a: Int32(a), b: Int32(b), c: Int32(c)))
        return code.count - 1
    }

    /// - Parameter isLast: nothing of the alternative follows, so a run need not give anything back.
    private func emit(_ node: PatternNode, isLast: Bool) -> Bool {
        guard code.count < Self.codeLimit else { return false }
        switch node {
        case .set(let set):
            _ = add(.set, Int(number(of: set)))
        case .sequence(let items):
            for (k, item) in items.enumerated() {
                // A run that what follows cannot continue gives nothing back either.
                var last = isLast && k == items.count - 1
                if case .repeated(.set(let set), _, _, .greedy) = item, k + 1 < items.count {
                    let rest = PatternNode.sequence(Array(items[(k + 1)...])).first
                    if !rest.isNullable, rest.set.intersection(set).isEmpty { last = true }
                }
                guard emit(item, isLast: last) else { return false }
            }
        case .alternatives(let all):
            var jumps: [Int] = []
            for (k, alternative) in all.enumerated() {
                let isFinal = k == all.count - 1
                let split = isFinal ? -1 : add(.split)
                guard emit(alternative, isLast: isLast) else { return false }
                guard !isFinal else { break }
                jumps.append(add(.jump))
                code[split].a = Int32(split + 1)
                code[split].b = Int32(code.count)
            }
            for jump in jumps { code[jump].a = Int32(code.count) }
        case .repeated(let inner, let minimum, let maximum, let mode):
            return emitRepetition(inner, minimum, maximum, mode, isLast: isLast)
        case .lookahead(.set(let set), let isNegative):
            _ = add(.peek, Int(number(of: set)), isNegative ? 1 : 0)
        case .lookahead(let inner, let isNegative):
            let look = add(.look, 0, isNegative ? 1 : 0)
            guard emit(inner, isLast: true) else { return false }
            _ = add(.match)
            code[look].a = Int32(code.count)
        case .wordBoundary(let isNegative): _ = add(.wordBoundary, 0, isNegative ? 1 : 0)
        case .textStart: _ = add(.textStart)
        case .textEnd: _ = add(.textEnd)
        case .lineStart: _ = add(.lineStart)
        case .lineEnd: _ = add(.lineEnd)
        }
        return true
    }

    private func emitRepetition(
        _ inner: PatternNode, _ minimum: Int, _ maximum: Int?, _ mode: PatternNode.Mode, isLast: Bool
    ) -> Bool {
        if case .set(let set) = inner, mode != .lazy {
            let isPossessive = mode == .possessive || isLast || minimum == maximum
            _ = add(isPossessive ? .possessiveRun : .run, Int(number(of: set)), minimum, maximum ?? Int(Int32.max))
            return true
        }
        if mode == .possessive {
            let atomic = add(.atomic)
            guard emitRepetition(inner, minimum, maximum, .greedy, isLast: true) else { return false }
            _ = add(.match)
            code[atomic].a = Int32(code.count)
            return true
        }
        // What may match nothing could go round for ever.
        guard !inner.first.isNullable || maximum.map({ $0 <= 1 }) ?? false else { return false }
        for _ in 0..<minimum { guard emit(inner, isLast: false) else { return false } }
        func split(_ here: Int, _ there: Int) -> Instruction {
            let (a, b) = mode == .lazy ? (there, here) : (here, there)
            return Instruction(operation: .split, a: Int32(a), b: Int32(b))
        }
        guard let maximum else {
            let start = add(.split)
            guard emit(inner, isLast: false) else { return false }
            _ = add(.jump, start)
            code[start] = split(start + 1, code.count)
            return true
        }
        var splits: [Int] = []
        for k in minimum..<maximum {
            splits.append(add(.split))
            guard emit(inner, isLast: isLast && k == maximum - 1 && mode == .greedy) else { return false }
        }
        for start in splits { code[start] = split(start + 1, code.count) }
        return true
    }
}

extension PatternNode {
    /// The characters that a match can begin with, and whether it may be without any.
    var first: (set: CharacterSet, isNullable: Bool) {
        switch self {
        case .set(let set): return (set, false)
        case .sequence(let items):
            var set = CharacterSet()
            for item in items {
                let first = item.first
                set.formUnion(first.set)
                if !first.isNullable { return (set, false) }
            }
            return (set, true)
        case .alternatives(let all):
            var set = CharacterSet()
            var isNullable = false
            for one in all {
                let first = one.first
                set.formUnion(first.set)
                isNullable = isNullable || first.isNullable
            }
            return (set, isNullable)
        case .repeated(let inner, let minimum, _, _):
            let first = inner.first
            return (first.set, first.isNullable || minimum == 0)
        default: return (CharacterSet(), true)
        }
    }
}
