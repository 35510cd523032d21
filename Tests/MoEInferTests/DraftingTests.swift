// SPDX-License-Identifier: Apache-2.0

import MoEInfer
import MoEModel
import MoETestSupport
import Testing

/// The parts of drafting, without a model.
@Suite struct DraftingTests {
    // MARK: Text

    @Test(arguments: [
        "", "on", "lookup:n=0", "lookup:n=3,max=0", "lookup:max=33", "lookup:k=1", "lookup:n=1,2", "lookup:cost=2",
        "experts",
        "experts:max=2", "experts:k=", "experts:k=-1", "experts:k=1,k=2", "off:n=1", "lookup:n", "lookup:cost=nan",
    ])
    func badSpecificationsAreOneLine(text: String) {
        #expect {
            _ = try Speculation.parse(text)
        } throws: { error in
            let message = "\(error)"
            return error is SpeculationSpecificationError && message.hasPrefix("speculation '\(text)': ")
                && !message.contains("\n")
        }
    }

    @Test func specificationsAreRead() throws {
        #expect(try Speculation.parse("off").isOff)
        let lookup = try Speculation.parse("lookup")
        #expect(lookup.maximum == 8 && !lookup.isOff)
        #expect(try Speculation.parse("lookup: n=4, max=12, cost=0.25").cost == 0.25)
        let experts = try Speculation.parse("experts:k=1,2,max=6")
        guard case .model(let policy) = experts.source, let fixed = policy as? StaticRouting else {
            Issue.record("drafts were meant to come from the model")
            return
        }
        #expect(fixed.expertsPerToken == PerLayer([1, 2]) && experts.maximum == 6)
    }

    // MARK: Lookup

    private func draft(_ count: Int, after tokens: [Int32], longest: Int = 3) -> [Int32] {
        var draft: [Int32] = []
        LookupDrafter(longest: longest).draft(count, after: tokens, into: &draft)
        return draft
    }

    @Test func lookupFindsTheLongestAndTheLast() {
        // The example of the documentation.
        #expect(draft(6, after: [7, 1, 2, 3, 9, 4, 1, 2, 3]) == [9, 4, 1, 2, 3, 9])
        // Three tokens beat two, however old.
        #expect(draft(2, after: [1, 2, 3, 8, 5, 2, 3, 9, 1, 2, 3]) == [8, 5])
        // Of two of the same length, the last; a longer one is not looked for.
        #expect(draft(1, after: [0, 2, 3, 8, 0, 2, 3, 9, 1, 2, 3]) == [9])
        #expect(draft(1, after: [4, 1, 2, 3, 8, 5, 1, 2, 3, 9, 4, 1, 2, 3], longest: 3) == [9])
        #expect(draft(1, after: [4, 1, 2, 3, 8, 5, 1, 2, 3, 9, 4, 1, 2, 3], longest: 4) == [8])
        // One token alone is no match, unless it is all that is asked for.
        #expect(draft(3, after: [5, 6, 7, 5]) == [])
        #expect(draft(3, after: [5, 6, 7, 5], longest: 1) == [6, 7, 5])
        for short: [Int32] in [[], [1], [1, 2]] { #expect(draft(4, after: short).isEmpty) }
    }

    @Test func aPeriodIsDraftedToAnyLength() {
        #expect(draft(5, after: [3, 3, 3]) == [3, 3, 3, 3, 3])
        #expect(draft(7, after: [1, 2, 1, 2, 1]) == [2, 1, 2, 1, 2, 1, 2])
    }

    @Test func lookupAgreesWithItsDefinition() {
        var random = SplitMix64(state: 1)
        for _ in 0..<400 {
            let tokens = (0..<Int.random(in: 0...40, using: &random)).map { _ in Int32.random(in: 0...3, using: &random) }
            let longest = Int.random(in: 1...5, using: &random)
            var expected: [Int32] = []
            for length in stride(from: longest, through: min(2, longest), by: -1) where length < tokens.count {
                let suffix = Array(tokens.suffix(length))
                if let start = (0..<tokens.count - length).last(where: { Array(tokens[$0..<$0 + length]) == suffix }) {
                    var text = tokens
                    for offset in 0..<6 { text.append(text[start + length + offset]) }
                    expected = Array(text.suffix(6))
                    break
                }
            }
            #expect(draft(6, after: tokens, longest: longest) == expected, "\(tokens), \(longest)")
        }
    }

    // MARK: Length

    @Test func lengthFollowsSuccess() {
        var length = DraftLength(maximum: 8, cost: 0.5)
        #expect(length.next() == 2, "2.44 tokens in 2 steps' time; one: 1.8 in 1.5, three: 2.95 in 2.5")
        length.checked(drafted: 2, accepted: 2)
        #expect(length.next() == 4, "right to its end: twice as long")
        length.checked(drafted: 4, accepted: 4)
        for _ in 0..<6 {
            #expect(length.next() == 8)
            length.checked(drafted: 8, accepted: 8)
        }
        length.checked(drafted: 8, accepted: 3)
        #expect(length.next() == 2, "after a wrong one as if nothing had been")
        // Nothing is ever right: one token is tried, more and more rarely.
        var tries: [Int] = []
        for step in 0..<400 {
            let count = length.next()
            if count == 0 { continue }
            tries.append(step)
            #expect(count <= 2)
            length.checked(drafted: count, accepted: 0)
        }
        let gaps = zip(tries, tries.dropFirst()).map { $1 - $0 }
        #expect(gaps == gaps.sorted() && gaps.last == 65 && tries.count < 20, "\(tries)")
        // And it comes back, at once.
        var steps = 0
        while length.next() == 0 { steps += 1 }
        #expect(steps <= 64)
        for expected in [2, 4, 8] {
            length.checked(drafted: expected / 2, accepted: expected / 2)
            #expect(length.next() == expected)
        }
    }

    @Test func lengthAtTheEndsOfItsRange() {
        var free = DraftLength(maximum: 5, cost: 0)
        var dear = DraftLength(maximum: 5, cost: 1)
        for _ in 0..<20 {
            #expect(free.next() == 5, "what costs nothing is always tried")
            free.checked(drafted: 5, accepted: 0)
            #expect(dear.next() <= 1)
            dear.checked(drafted: 1, accepted: 1)
        }
        var none = DraftLength(maximum: 0, cost: 0.5)
        #expect(none.next() == 0)
    }

    // MARK: Sampler

    /// A draft's draws are the ones that follow, and leave no trace.
    @Test func draftsAreDrawnAsTheTokensWillBe() {
        var options = SamplingOptions()
        options.temperature = 1
        options.seed = 4
        options.repetitionPenalty = 1.3
        options.presencePenalty = 0.5
        options.frequencyPenalty = 0.5
        var (sampler, reference) = (Sampler(options: options, prompt: [1]), Sampler(options: options, prompt: [1]))
        let scratch = SamplingScratch()
        func draw(_ sampler: inout Sampler) -> Int32 {
            var row: [Float] = [1, 1.2, 0.8, 1, 0.9, 1.1]
            return row.withUnsafeMutableBufferPointer { sampler.sample($0, scratch: scratch) }
        }
        for round in 0..<12 {
            sampler.beginDraft()
            let draft = (0..<round).map { _ in draw(&sampler) }
            sampler.endDraft()
            #expect(draft.prefix(1) == [draw(&reference)].prefix(draft.count))
            _ = draw(&sampler)
        }
        #expect((0..<50).map { _ in draw(&sampler) } == (0..<50).map { _ in draw(&reference) })
    }

    // MARK: Scheduler

    private func scheduler(blocks: Int, sequences: Int = 4) -> Scheduler {
        Scheduler(limits: .init(sequences: sequences, chunk: 16), blocks: BlockManager(blockCount: blocks, blockSize: 8))
    }

    @Test func draftsGetRoomAndGiveItBack() {
        var scheduler = scheduler(blocks: 4)
        scheduler.add(id: 1, promptCount: 6)
        #expect(scheduler.schedule { _ in 5 }[0].drafts == 0, "not while the prompt is read")
        scheduler.append(id: 1)
        let first = scheduler.schedule { _ in 12 }[0]
        #expect(first.range == 6..<7 && first.drafts == 12 && first.blockTable.count == 3)
        scheduler.append(id: 1, accepted: 3)
        #expect(scheduler.blocks.freeCount == 2, "ten positions are in the cache")
        let second = scheduler.schedule { _ in 100 }[0]
        #expect(second.range == 10..<11 && second.blockTable.prefix(2) == first.blockTable.prefix(2))
        #expect(second.drafts == 32 - 11, "as far as there are blocks")
        scheduler.append(id: 1)
        #expect(scheduler.blocks.freeCount == 2)
        let third = scheduler.schedule()[0]
        #expect(third.range == 11..<12 && third.drafts == 0)
        scheduler.remove(id: 1)
        #expect(scheduler.blocks.freeCount == 4)
    }

    /// Nobody is preempted, and no prompt waits, for a guess.
    @Test func draftsTakeOnlyWhatNobodyWants() {
        var scheduler = scheduler(blocks: 3)
        scheduler.add(id: 1, promptCount: 7)
        _ = scheduler.schedule()
        scheduler.append(id: 1)
        scheduler.add(id: 2, promptCount: 8)
        let slices = scheduler.schedule { _ in 100 }
        #expect(slices.map(\.id) == [1, 2], "the prompt gets its block first")
        #expect(slices.map(\.drafts) == [8, 0])
        #expect(scheduler.preemptions == 0 && scheduler.blocks.freeCount == 0)
        #expect(Set(slices.flatMap(\.blockTable)).count == 3)
        scheduler.append(id: 1, accepted: 8)
        scheduler.append(id: 2)
        #expect(scheduler.schedule { _ in 100 }.map(\.drafts) == [7], "what is left of the block that the token needs")
        #expect(scheduler.preemptions == 1)
    }

    /// Random drafts of which random many are right, in too few blocks: each position is computed once but for replays, which come
    /// one by one, and no block is lost.
    @Test func manySequencesDraftInLittleMemory() {
        var random = SplitMix64(state: 9)
        for _ in 0..<40 {
            var scheduler = scheduler(blocks: 9, sequences: 5)
            var lengths = Dictionary(uniqueKeysWithValues: (1...7).map { ($0, 1 + $0 * 5 % 23) })
            var reached: [Int: Int] = [:]
            for (id, count) in lengths.sorted(by: { $0.key < $1.key }) { scheduler.add(id: id, promptCount: count) }
            while !scheduler.isIdle {
                let slices = scheduler.schedule { _ in Int.random(in: 0...9, using: &random) }
                #expect(!slices.isEmpty, "every step makes progress")
                let used = slices.flatMap(\.blockTable)
                #expect(Set(used).count == used.count, "no block serves two sequences")
                for slice in slices {
                    #expect(slice.range.upperBound + slice.drafts <= slice.blockTable.count * 8)
                    #expect(slice.isReplay == (slice.range.upperBound <= reached[slice.id, default: 0]))
                    #expect(slice.phase == .prefill || slice.range.count == 1)
                    reached[slice.id] = max(reached[slice.id, default: 0], slice.range.upperBound)
                    guard slice.samples else {
                        #expect(slice.drafts == 0)
                        continue
                    }
                    #expect(slice.range.upperBound == lengths[slice.id]!)
                    let accepted = Int.random(in: 0...slice.drafts, using: &random)
                    lengths[slice.id]! += 1 + accepted
                    reached[slice.id]! += accepted
                    if lengths[slice.id]! >= 55 {
                        scheduler.remove(id: slice.id)
                    } else {
                        scheduler.append(id: slice.id, accepted: accepted)
                    }
                }
            }
            #expect(scheduler.blocks.freeCount == 9 && scheduler.preemptions > 0)
        }
    }
}
