// SPDX-License-Identifier: Apache-2.0

import MoEInfer
import MoEModel
import Testing

@Suite struct BlockManagerTests {
    @Test func growsAllOrNothingAndTakesBack() {
        var blocks = BlockManager(blockCount: 4, blockSize: 8)
        var first: [Int32] = []
        var second: [Int32] = []
        #expect(blocks.grow(&first, toPositions: 17))
        #expect(first.count == 3 && Set(first).count == 3)
        #expect(!blocks.grow(&second, toPositions: 9), "two blocks are needed, one is free")
        #expect(second.isEmpty && blocks.freeCount == 1)
        #expect(blocks.grow(&second, toPositions: 8))
        #expect(Set(first + second) == [0, 1, 2, 3])
        blocks.release(&first)
        #expect(first.isEmpty && blocks.freeCount == 3)
    }

    @Test func growingWithinABlockTakesNothing() {
        var blocks = BlockManager(blockCount: 4, blockSize: 8)
        var table: [Int32] = []
        #expect(blocks.grow(&table, toPositions: 1))
        let before = table
        #expect(blocks.grow(&table, toPositions: 8))
        #expect(table == before)
    }
}

/// The scheduler decides what a sequence's numbers depend on: these pin that it is never its neighbours.
@Suite struct SchedulerTests {
    private func scheduler(blocks: Int, sequences: Int = 4, chunk: Int = 16) -> Scheduler {
        Scheduler(
            limits: .init(sequences: sequences, chunk: chunk), blocks: BlockManager(blockCount: blocks, blockSize: 8))
    }

    /// Runs until all sequences have `target` tokens; returns every slice by sequence.
    private func run(
        _ scheduler: inout Scheduler, prompts: [Int: Int], target: Int, limit: Int = 10_000
    ) -> [Int: [Scheduler.Slice]] {
        var lengths = prompts
        var history: [Int: [Scheduler.Slice]] = [:]
        for (id, count) in prompts.sorted(by: { $0.key < $1.key }) { scheduler.add(id: id, promptCount: count) }
        var steps = 0
        while !scheduler.isIdle {
            steps += 1
            precondition(steps < limit, "no end")
            let slices = scheduler.schedule()
            #expect(!slices.isEmpty, "every step makes progress")
            let used = slices.flatMap(\.blockTable)  // nothing is shared: no content is given
            #expect(Set(used).count == used.count, "no block serves two sequences")
            for slice in slices {
                history[slice.id, default: []].append(slice)
                guard slice.samples else { continue }
                lengths[slice.id]! += 1
                if lengths[slice.id]! == target { scheduler.remove(id: slice.id) } else { scheduler.append(id: slice.id) }
            }
        }
        return history
    }

    @Test func promptIsCutAtMultiplesOfTheChunk() {
        var alone = scheduler(blocks: 100)
        let history = run(&alone, prompts: [1: 40], target: 43)
        #expect(history[1]!.map(\.range) == [0..<16, 16..<32, 32..<40, 40..<41, 41..<42])
        #expect(history[1]!.map(\.phase) == [.prefill, .prefill, .prefill, .decode, .decode])
        #expect(history[1]!.map(\.samples) == [false, false, true, true, true])
        #expect(alone.blocks.freeCount == 100)
    }

    @Test func slicesDoNotDependOnNeighbours() {
        var alone = scheduler(blocks: 100)
        let expected = run(&alone, prompts: [3: 37], target: 60)[3]!.map(\.range)
        var together = scheduler(blocks: 100)
        let history = run(&together, prompts: [1: 50, 2: 5, 3: 37, 4: 80, 5: 1], target: 60 + 40)
        #expect(Array(history[3]!.map(\.range).prefix(expected.count)) == expected)
    }

    @Test func decodeGoesOnWhileALongPromptIsRead() {
        var scheduler = scheduler(blocks: 100)
        scheduler.add(id: 1, promptCount: 4)
        #expect(scheduler.schedule().map(\.id) == [1])
        scheduler.append(id: 1)
        scheduler.add(id: 2, promptCount: 64)
        for step in 0..<4 {
            let slices = scheduler.schedule()
            #expect(slices.map(\.id) == [1, 2], "step \(step)")
            #expect(slices[0].phase == .decode && slices[1].phase == .prefill)
            scheduler.append(id: 1)
        }
    }

    @Test func theYoungestIsPreemptedAndReplaysAsItRan() {
        // 6 blocks of 8 positions: two sequences of 30 do not fit together.
        var scheduler = scheduler(blocks: 6, chunk: 8)
        let history = run(&scheduler, prompts: [1: 10, 2: 10], target: 30)
        #expect(scheduler.preemptions > 0)
        #expect(scheduler.blocks.freeCount == 6)
        // The oldest never starts over.
        #expect(history[1]!.map(\.range.lowerBound) == history[1]!.map(\.range.lowerBound).sorted())
        // The other starts over, in the same slices, and samples every position once.
        let second = history[2]!
        #expect(second.filter { $0.range.lowerBound == 0 }.count == scheduler.preemptions + 1)
        let sampled = second.filter(\.samples).map(\.range.upperBound)
        #expect(sampled == Array(10..<30))
        for slice in second where slice.range.lowerBound < 10 { #expect(slice.phase == .prefill) }
        for slice in second where slice.range.lowerBound >= 10 {
            #expect(slice.phase == .decode && slice.range.count == 1)
        }
    }

    @Test func removalFreesBlocksAtOnceWhereverTheSequenceIs() {
        var scheduler = scheduler(blocks: 8, sequences: 1)
        scheduler.add(id: 1, promptCount: 30)
        scheduler.add(id: 2, promptCount: 30)
        _ = scheduler.schedule()
        #expect(scheduler.runningCount == 1 && scheduler.waitingCount == 1)
        scheduler.remove(id: 2)
        scheduler.remove(id: 1)
        #expect(scheduler.isIdle && scheduler.blocks.freeCount == 8)
        scheduler.remove(id: 1)
        #expect(scheduler.blocks.freeCount == 8)
    }

    @Test func manySequencesInLittleMemoryAllEnd() {
        var scheduler = scheduler(blocks: 7, sequences: 5, chunk: 8)
        let prompts = Dictionary(uniqueKeysWithValues: (1...9).map { ($0, 1 + $0 * 5 % 23) })
        let history = run(&scheduler, prompts: prompts, target: 50)
        for id in prompts.keys { #expect(history[id]!.filter(\.samples).count == 50 - prompts[id]!) }
        #expect(scheduler.blocks.freeCount == 7)
    }
}

extension Scheduler {
    /// The rows of the next step as a value.
    mutating func schedule(drafts: (_ id: Int) -> Int = { _ in 0 }) -> [Slice] {
        var slices: [Slice] = []
        schedule(into: &slices, drafts: drafts)
        return slices
    }
}
