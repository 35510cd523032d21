// SPDX-License-Identifier: Apache-2.0

/// Runs a program over a stretch of text by backtracking, as the engines do whose matches it has to reproduce.
///
/// A budget of steps, in proportion to the text, keeps an expression that is made to go round in circles from doing so: when it is
/// used up, the rest of the stretch counts as one piece without a match. No expression of a tokenizer in circulation comes near.
struct PatternMatcher {
    private let program: PatternProgram
    private let text: UnsafeBufferPointer<UInt8>
    private let start: Int
    private let end: Int
    private var stack: [Frame] = []
    private var budget: Int

    private struct Frame {
        var pc: Int
        var position: Int
        /// A run may be given back down to here; equal to `position` for a plain alternative.
        var low: Int
    }

    private static let stepsPerByte = 512

    init(_ program: PatternProgram, text: UnsafeBufferPointer<UInt8>, start: Int, end: Int) {
        self.program = program
        self.text = text
        self.start = start
        self.end = end
        budget = 4096 + Self.stepsPerByte * (end - start)
    }

    /// Calls `body` with the end of each piece, and whether it is a match or lies between two.
    @inline(__always)
    mutating func forEachPiece(_ body: (_ end: Int, _ isMatch: Bool) -> Void) {
        var i = start
        var pending = start
        let starts = program.starts
        program.candidates.withUnsafeBufferPointer { candidates in
            program.code.withUnsafeBufferPointer { code in
                program.views.withUnsafeBufferPointer { bitmaps in
                    while i < end {
                        var bits = candidates[Int(text[i])]
                        var matchEnd = -1
                        while bits != 0 {
                            let k = bits.trailingZeroBitCount
                            bits &= bits - 1
                            matchEnd = run(from: starts[k], at: i, code, bitmaps)
                            if matchEnd >= 0 { break }
                        }
                        if budget < 0 { break }
                        if matchEnd >= 0, pending < i {
                            body(i, false)
                            pending = i
                        }
                        if matchEnd > i {
                            body(matchEnd, true)
                            i = matchEnd
                            pending = i
                        } else {
                            i += characterLength(at: i)
                        }
                    }
                }
            }
        }
        if pending < end { body(end, false) }
    }

    @inline(__always)
    private func characterLength(at index: Int) -> Int {
        text[index] < 0x80 ? 1 : UTF8Text.codePoint(in: text, at: index, end: end).length
    }

    /// The length of the character at `index` if it is in the set, else 0.
    @inline(__always)
    private func length(at index: Int, in set: CharacterBitmap.View) -> Int {
        guard index < end else { return 0 }
        let byte = text[index]
        if byte < 0x80 { return set.contains(ascii: byte) ? 1 : 0 }
        let (value, length) = UTF8Text.codePoint(in: text, at: index, end: end)
        return set.contains(value) ? length : 0
    }

    private func isWord(at index: Int) -> Bool { program.word.map { length(at: index, in: $0.view) > 0 } ?? false }

    /// Where a match of the program at `pc` that starts at `index` ends, or -1.
    private mutating func run(
        from pc: Int, at index: Int, _ code: UnsafeBufferPointer<PatternProgram.Instruction>,
        _ bitmaps: UnsafeBufferPointer<CharacterBitmap.View>
    ) -> Int {
        let base = stack.count
        var pc = pc
        var i = index
        while true {
            let instruction = code[pc]
            var isFailed = false
            switch instruction.operation {
            case .set:
                let length = length(at: i, in: bitmaps[Int(instruction.a)])
                i += length
                isFailed = length == 0
                pc += 1
            case .run, .possessiveRun:
                let first = i
                var count: Int32 = 0
                var low = i
                let set = bitmaps[Int(instruction.a)]
                while count < instruction.c {
                    let length = length(at: i, in: set)
                    if length == 0 { break }
                    i += length
                    count += 1
                    if count == instruction.b { low = i }
                }
                budget -= i - first
                pc += 1
                if count < instruction.b {
                    isFailed = true
                } else if instruction.operation == .run, i > low {
                    stack.append(Frame(pc: pc, position: i, low: low))
                }
            case .split:
                stack.append(Frame(pc: Int(instruction.b), position: i, low: i))
                pc = Int(instruction.a)
            case .jump:
                pc = Int(instruction.a)
            case .peek:
                isFailed = (length(at: i, in: bitmaps[Int(instruction.a)]) > 0) == (instruction.b == 1)
                pc += 1
            case .look:
                let matched = run(from: pc + 1, at: i, code, bitmaps) >= 0
                isFailed = matched == (instruction.b == 1)
                pc = Int(instruction.a)
            case .atomic:
                let matched = run(from: pc + 1, at: i, code, bitmaps)
                isFailed = matched < 0
                i = matched
                pc = Int(instruction.a)
            case .wordBoundary:
                let before = i > start && isWord(at: UTF8Text.start(before: i, in: text, from: start))
                isFailed = (before != isWord(at: i)) == (instruction.b == 1)
                pc += 1
            case .textStart:
                isFailed = i != start
                pc += 1
            case .textEnd:
                isFailed = i != end
                pc += 1
            case .lineStart:
                isFailed = i != start && text[i - 1] != 0x0A
                pc += 1
            case .lineEnd:
                isFailed = i != end && text[i] != 0x0A
                pc += 1
            case .match:
                stack.removeLast(stack.count - base)
                return i
            }
            budget -= 1
            guard isFailed || budget < 0 else { continue }
            guard stack.count > base, budget >= 0 else {
                stack.removeLast(stack.count - base)
                return -1
            }
            let top = stack.count - 1
            let frame = stack[top]
            pc = frame.pc
            if frame.position > frame.low {
                i = UTF8Text.start(before: frame.position, in: text, from: start)
                if i > frame.low { stack[top].position = i } else { stack.removeLast() }
            } else {
                i = frame.position
                stack.removeLast()
            }
        }
    }
}
