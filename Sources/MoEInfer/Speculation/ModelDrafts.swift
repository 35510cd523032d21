// SPDX-License-Identifier: Apache-2.0

import MoEModel

/// Drafts by the model itself with few experts: one step per drafted token, of all sequences that still draft. Their keys and
/// values are written where those of the real step will overwrite them.
struct ModelDrafts {
    let runner: ModelRunner
    let scratch: SamplingScratch
    /// Those that draft, with their room.
    private var drafting: [(sequence: Sequence, slice: Scheduler.Slice)] = []

    init(runner: ModelRunner, scratch: SamplingScratch) {
        self.runner = runner
        self.scratch = scratch
    }

    mutating func add(_ sequence: Sequence, _ slice: Scheduler.Slice) { drafting.append((sequence, slice)) }

    /// - Parameter batch: whose memory to use.
    func run(_ batch: inout ForwardBatch) throws {
        for (sequence, _) in drafting { sequence.beginDraft() }
        defer { for (sequence, _) in drafting { sequence.endDraft() } }
        for index in 0..<(drafting.map(\.slice.drafts).max() ?? 0) {
            batch.reset()
            for (sequence, slice) in drafting where index < slice.drafts {
                guard let draft = sequence.draft, let routing = draft.routing else { continue }
                let token = draft.tokens.last ?? sequence.tokens[slice.range.lowerBound]
                batch.append(
                    token: token, position: slice.range.lowerBound + index, blockTable: slice.blockTable, phase: .decode,
                    routing: routing, observer: draft.waste)
            }
            let (logits, seconds) = try runner.run(batch)
            var row = 0
            let width = runner.vocabularySize
            for (sequence, slice) in drafting where index < slice.drafts {
                sequence.draft?.waste.addForward(seconds: seconds / Double(batch.count))
                sequence.extendDraft(
                    from: UnsafeMutableBufferPointer(rebasing: logits[row * width..<(row + 1) * width]), scratch: scratch)
                row += 1
            }
        }
    }
}
