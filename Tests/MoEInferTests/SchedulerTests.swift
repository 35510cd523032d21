// SPDX-License-Identifier: Apache-2.0

import MoEInfer
import MoEModel
import MoETestSupport
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

    // MARK: Rows that do not depend on their slice

    private func rowwise(
        blocks: Int, sequences: Int = 4, chunk: Int = 32, sharing: Scheduler.Sharing? = nil
    ) -> Scheduler {
        Scheduler(
            limits: .init(sequences: sequences, chunk: chunk, isRowwise: true, sharing: sharing),
            blocks: BlockManager(blockCount: blocks, blockSize: 8))
    }

    @Test func promptsAreCutShortBesideDecoding() {
        var scheduler = rowwise(blocks: 100)
        scheduler.rowsBesideDecoding = 10
        scheduler.add(id: 1, promptCount: 40)
        #expect(scheduler.schedule().map(\.range) == [0..<32], "nobody decodes yet")
        #expect(scheduler.schedule().map(\.range) == [32..<40])
        scheduler.append(id: 1)
        scheduler.add(id: 2, promptCount: 45)
        for (step, range) in [0..<10, 10..<20, 20..<30].enumerated() {
            let slices = scheduler.schedule()
            #expect(slices.map(\.range) == [40 + step..<41 + step, range])
            scheduler.append(id: 1)
        }
        scheduler.rowsBesideDecoding = 4
        #expect(scheduler.schedule().map(\.range)[1] == 30..<34)
        scheduler.remove(id: 1)
        #expect(scheduler.schedule().map(\.range) == [34..<45], "nobody decodes any more")
    }

    @Test func severalShortPromptsShareAStep() {
        var scheduler = rowwise(blocks: 100, sequences: 8)
        for id in 1...4 { scheduler.add(id: id, promptCount: 10) }
        #expect(scheduler.schedule().map(\.range) == [0..<10, 0..<10, 0..<10], "two rows more are not worth a slice")
        for id in 1...3 { scheduler.append(id: id) }
        #expect(scheduler.schedule().map(\.id) == [1, 2, 3, 4])
    }

    /// Where they begin alike, the second waits for the first one's blocks rather than compute them as well.
    @Test func commonBeginningsAreComputedOnce() {
        var scheduler = rowwise(blocks: 100, sequences: 8, chunk: 64, sharing: .blocks)
        let common = (0..<20).map { Int32($0) }
        let contents = [
            1: Scheduler.Content(tokens: common, routing: (0, 0)), 2: .init(tokens: common, routing: (0, 0)),
            3: .init(tokens: common, routing: (1, 1)),
        ]
        func step() -> [Scheduler.Slice] {
            var slices: [Scheduler.Slice] = []
            scheduler.schedule(into: &slices, content: { contents[$0] })
            return slices
        }
        for id in 1...3 { scheduler.add(id: id, promptCount: 20) }
        #expect(step().map(\.id) == [1])
        scheduler.append(id: 1)
        let slices = step()
        #expect(slices.map(\.id) == [1, 2, 3], "another policy shares nothing, and waits for nothing")
        #expect(slices.map(\.range) == [20..<21, 16..<20, 0..<20])
    }

    /// What is said of a sequence's own limit: its slices are shorter, in either mode.
    @Test func aSequenceMayWantShortSlices() {
        for isRowwise in [false, true] {
            var scheduler = Scheduler(
                limits: .init(sequences: 2, chunk: 32, isRowwise: isRowwise),
                blocks: BlockManager(blockCount: 20, blockSize: 8))
            scheduler.add(id: 1, promptCount: 30, sliceLimit: 12)
            #expect((0..<3).map { _ in scheduler.schedule()[0].range } == [0..<12, 12..<24, 24..<30])
        }
        // Several of them get no more rows of a step than one.
        var scheduler = rowwise(blocks: 100)
        for id in 1...2 { scheduler.add(id: id, promptCount: 30, sliceLimit: 12) }
        scheduler.add(id: 3, promptCount: 30)
        #expect(scheduler.schedule().map(\.range) == [0..<12], "first come, first served")
        #expect(scheduler.schedule().map(\.range) == [12..<24])
        #expect(scheduler.schedule().map(\.range) == [24..<30])
    }

    /// Cuts that change from step to step, and preemptions in the middle: each row is new once, in order, and replayed in slices of
    /// its own.
    @Test func replayIsExactUnderChangingCuts() {
        var random = SplitMix64(state: 4)
        var preemptions = 0
        for _ in 0..<100 {
            var scheduler = rowwise(blocks: 12, sequences: 3)
            var lengths: [Int: Int] = [:]
            var reached: [Int: Int] = [:]
            var computed: [Int: Int] = [:]
            for id in 0..<5 {
                lengths[id] = Int.random(in: 1...70, using: &random)
                scheduler.add(id: id, promptCount: lengths[id]!)
            }
            let prompts = lengths
            var steps = 0
            while !scheduler.isIdle {
                steps += 1
                precondition(steps < 10_000, "no end")
                scheduler.rowsBesideDecoding = Int.random(in: 1...20, using: &random)
                let before = scheduler.preemptions
                let slices = scheduler.schedule()
                if scheduler.preemptions > before { preemptions += 1 }
                #expect(!slices.isEmpty)
                for slice in slices {
                    let start = slice.range.lowerBound
                    #expect(start == computed[slice.id, default: 0] || start == 0)
                    computed[slice.id] = slice.range.upperBound
                    let known = reached[slice.id, default: 0]
                    if slice.isReplay {
                        #expect(slice.range.upperBound <= known)
                    } else {
                        #expect(start == known, "a row was left out, or is counted again")
                        reached[slice.id] = slice.range.upperBound
                    }
                    if slice.phase == .prefill {
                        #expect(slice.range.upperBound <= prompts[slice.id]!)
                    } else {
                        #expect(slice.range.count == 1)
                    }
                    guard slice.samples else { continue }
                    lengths[slice.id]! += 1
                    if lengths[slice.id]! >= prompts[slice.id]! + 20 {
                        #expect(reached[slice.id] == prompts[slice.id]! + 19)
                        scheduler.remove(id: slice.id)
                    } else {
                        scheduler.append(id: slice.id)
                    }
                }
            }
            #expect(scheduler.blocks.freeCount == 12)
        }
        #expect(preemptions > 50)
    }

    // MARK: Pace

    /// A machine of known speed: the step with prompt rows settles at twice the step without, and at not quite three times where many
    /// prompts wait.
    @Test(
        arguments: [(0.020, 0.002, 0.001), (0.020, 0.005, 0.0001), (0.1, 0.0, 0.01), (0.010, 0.009, 0.001)], [1, 4, 100])
    func paceSettlesAtTwiceTheStep(_ machine: (decode: Double, fixed: Double, row: Double), prompts: Int) {
        let (decode, fixed, row) = machine
        var pace = StepPace()
        #expect(pace.rows(decoding: 1, prompts: 1, most: 512) == 32 && pace.rows(decoding: 1, prompts: 1, most: 16) == 16)
        pace.record(decoding: 0, prompt: 512, seconds: fixed + 512 * row)
        for _ in 0..<10 { pace.record(decoding: 3, prompt: 0, seconds: decode) }
        for _ in 0..<60 {
            let rows = pace.rows(decoding: 3, prompts: prompts, most: 512)
            pace.record(decoding: 3, prompt: rows, seconds: decode + fixed + Double(rows) * row)
        }
        let share = min(1.8, max(1, Double(prompts) / 3))
        let ideal = (share * decode - fixed) / row
        let rows = pace.rows(decoding: 3, prompts: prompts, most: 512)
        #expect(Double(rows) <= max(4, ideal + 1) && Double(rows) > ideal - 9, "\(rows) of \(ideal)")
    }

    @Test func paceNeverStops() {
        var pace = StepPace()
        pace.record(decoding: 1, prompt: 0, seconds: 0.001)
        for _ in 0..<20 { pace.record(decoding: 1, prompt: 4, seconds: 1) }
        #expect(pace.rows(decoding: 1, prompts: 1, most: 512) == StepPace.least)
        #expect(pace.rows(decoding: 5, prompts: 1, most: 512) == StepPace.least, "of the nearest that was seen")
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
