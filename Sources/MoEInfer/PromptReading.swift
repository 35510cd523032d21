// SPDX-License-Identifier: Apache-2.0

/// What a sequence reads from the rows of its own prompt while these are computed: log probabilities or hidden states. Each row once
/// and in order, whatever steps and slices the rows come in; a preempted sequence goes on where it was.
struct PromptReading {
    enum Target {
        /// Row i tells how likely token i + 1 is.
        case logprobs(alternatives: Int)
        case hidden(HiddenPool)
    }

    /// Rows of one slice of a prompt whose log probabilities are wanted: bounds the memory of their logits. As many as ``LLM/logits``
    /// takes at a time, so that both cut a prompt alike where a row's bits depend on that.
    static let logitRowsAtATime = 128

    let target: Target
    /// Rows that are still to be read, by position.
    private(set) var rest: Range<Int>

    /// - Parameter promptCount: at least 1.
    init?(_ options: GenerationOptions, promptCount: Int) {
        if let pool = options.hidden {
            target = .hidden(pool)
            rest = (pool.pooling == .last ? promptCount - 1 : 0)..<promptCount
        } else if let alternatives = options.sampling.promptLogprobs {
            target = .logprobs(alternatives: alternatives)
            rest = 0..<promptCount - 1
        } else {
            return nil
        }
    }

    /// The positions of a slice that are to be read.
    func wanted(in slice: Range<Int>) -> Range<Int> { rest.clamped(to: slice) }

    mutating func advance(past rows: Range<Int>) {
        if rows.isEmpty { return }
        precondition(rows.lowerBound == rest.lowerBound, "a row of a prompt was left out")
        rest = rows.upperBound..<rest.upperBound
    }
}

/// What is wanted of the rows of one slice, counted from its first.
struct WantedRows {
    /// Of these the last belongs to the sampler where the slice samples; the others are read.
    var logits = 0..<0
    var read = 0..<0
    var hidden = 0..<0
}

extension Sequence {
    /// Rows that the engine must run before the sequence can go on or end; 0: nothing is to be run.
    var rowsToRun: Int {
        if limit > 0 { return promptCount }
        guard let reading, !reading.rest.isEmpty else { return 0 }
        return reading.rest.upperBound
    }

    /// The most rows of a slice of its prompt; nil: as many as there may be.
    var promptSliceLimit: Int? {
        if case .logprobs = reading?.target { PromptReading.logitRowsAtATime } else { nil }
    }

    /// Whether its prompt may begin with what was computed for others: all of it but the last row, which is never taken over.
    var adoptsBlocks: Bool {
        guard options.observer == nil else { return false }
        guard let reading, !reading.rest.isEmpty else { return true }
        return reading.rest.lowerBound >= rowsToRun - 1
    }

    /// What the step must compute for a slice beside keys and values.
    func wanted(of slice: Scheduler.Slice) -> WantedRows {
        var rows = WantedRows()
        let count = slice.range.count
        if let reading {
            let positions = reading.wanted(in: slice.range)
            let start = slice.range.lowerBound
            let read = positions.isEmpty ? 0..<0 : positions.lowerBound - start..<positions.upperBound - start
            switch reading.target {
            case .logprobs: rows.read = read
            case .hidden: rows.hidden = read
            }
        }
        rows.logits = rows.read
        if slice.samples, limit > 0 {
            // The rows that are read end right before it, or there are none.
            rows.logits = (rows.read.isEmpty ? count - 1 : rows.read.lowerBound)..<count
        }
        return rows
    }

    /// - Parameters:
    ///   - logits: `[wanted.read.count, vocabulary]`
    ///   - hidden: `[wanted.hidden.count, d]`
    ///   - check: throws for a row that is not made of numbers.
    func readPrompt(
        _ wanted: WantedRows, start: Int, logits: UnsafeBufferPointer<Float>, hidden: UnsafeBufferPointer<Float>,
        scratch: SamplingScratch, check: (UnsafeBufferPointer<Float>) throws -> Void
    ) throws {
        guard let reading else { return }
        let rows = wanted.read.isEmpty ? wanted.hidden : wanted.read
        if !rows.isEmpty {
            let all = wanted.read.isEmpty ? hidden : logits
            let width = all.count / rows.count
            for (index, row) in rows.enumerated() {
                let values = UnsafeBufferPointer(rebasing: all[index * width..<(index + 1) * width])
                try check(values)
                switch reading.target {
                case .logprobs(let alternatives):
                    promptLogprobs.append(
                        TokenLogprobs(
                            of: tokens[start + row + 1], in: values, alternatives: alternatives, scratch: scratch,
                            text: display))
                case .hidden(let pool): pool.add(values)
                }
            }
            self.reading?.advance(past: start + rows.lowerBound..<start + rows.upperBound)
        }
        tellPrompt()
    }

    /// Tells the listener of the prompt, once all of it is read.
    func tellPrompt() {
        guard let reading, case .logprobs = reading.target, reading.rest.isEmpty, !promptIsTold else { return }
        promptIsTold = true
        continuation.yield(.prompt(promptLogprobs))
    }
}
