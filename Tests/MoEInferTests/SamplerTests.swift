// SPDX-License-Identifier: Apache-2.0

import Glibc
import MoEInfer
import Testing

@Suite struct SamplerTests {
    private let logits: [Float] = [1, 3, 2, -1, 3, 0]

    private func draw(
        _ count: Int = 1, prompt: [Int32] = [], from logits: [Float]? = nil, _ set: (inout SamplingOptions) -> Void
    ) -> [Int32] {
        var options = SamplingOptions()
        set(&options)
        var sampler = Sampler(options: options, prompt: prompt)
        let scratch = SamplingScratch()
        return (0..<count).map { _ in
            var row = logits ?? self.logits
            return row.withUnsafeMutableBufferPointer { sampler.sample($0, scratch: scratch) }
        }
    }

    @Test func greedyTakesTheLikeliestAndTheLowerIdOfATie() {
        #expect(draw { $0.temperature = 0 } == [1])
        #expect(draw(from: [.nan, 1, 2]) { _ in } == [2])
        #expect(draw(from: [-.infinity, -.infinity]) { _ in } == [0])
    }

    @Test func frequenciesFollowTheSoftmax() {
        // Softmax of [0, ln 2, ln 5] is [1/8, 2/8, 5/8].
        let tokens = draw(8000, from: [0, 0.693_147_2, 1.609_437_9]) {
            $0.temperature = 1
            $0.seed = 3
        }
        for (token, expected) in [(0, 1000), (1, 2000), (2, 5000)] {
            let count = tokens.filter { $0 == Int32(token) }.count
            #expect(abs(count - expected) < 150, "token \(token): \(count)")
        }
    }

    @Test func temperatureSharpens() {
        // At temperature 1/2 the odds 1 : 2 become 1 : 4.
        let tokens = draw(5000, from: [0, 0.693_147_2]) {
            $0.temperature = 0.5
            $0.seed = 1
        }
        #expect(abs(tokens.filter { $0 == 0 }.count - 1000) < 120)
    }

    @Test func topKKeepsTheLikeliest() {
        let tokens = Set(
            draw(300) {
                $0.temperature = 5
                $0.topK = 2
            })
        #expect(tokens == [1, 4])
    }

    @Test func topPKeepsTheFewestThatReachTheMass() {
        // Probabilities 0.5, 0.25, 0.125, 0.125.
        let row: [Float] = [2.079_441_5, 1.386_294_4, 0.693_147_2, 0.693_147_2]
        #expect(
            Set(
                draw(400, from: row) {
                    $0.temperature = 1
                    $0.topP = 0.5
                }) == [0])
        #expect(
            Set(
                draw(400, from: row) {
                    $0.temperature = 1
                    $0.topP = 0.6
                }) == [0, 1])
        #expect(
            Set(
                draw(400, from: row) {
                    $0.temperature = 1
                    $0.topP = 0.76
                }) == [0, 1, 2])
    }

    @Test func minPIsRelativeToTheLikeliest() {
        let row: [Float] = [2.079_441_5, 1.386_294_4, 0.693_147_2, -3]
        #expect(
            Set(
                draw(400, from: row) {
                    $0.temperature = 1
                    $0.minP = 0.4
                }) == [0, 1])
        #expect(
            Set(
                draw(400, from: row) {
                    $0.temperature = 1
                    $0.minP = 1
                }) == [0])
    }

    /// The shortcuts (a partial selection, tokens too unlikely for the nucleus) change nothing.
    @Test func shortcutsAgreeWithSorting() {
        var state: UInt64 = 9
        let row = (0..<5000).map { _ -> Float in
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Float(state >> 40) / Float(1 << 24) * 8
        }
        let ranked = row.indices.sorted { (row[$0], $1) > (row[$1], $0) }
        let weights = ranked.map { Double(exp(row[$0] - row[ranked[0]])) }
        for k in [1, 2, 17, 4999] {
            let drawn = Set(
                draw(3000, from: row) {
                    $0.temperature = 1
                    $0.topK = k
                })
            #expect(drawn.isSubset(of: Set(ranked.prefix(k).map { Int32($0) })), "top-k \(k)")
        }
        for p in [0.01, 0.3, 0.9] {
            let target = weights.reduce(0, +) * Double(Float(p))
            var (count, mass) = (0, 0.0)
            while mass < target {
                mass += weights[count]
                count += 1
            }
            let drawn = Set(
                draw(3000, from: row) {
                    $0.temperature = 1
                    $0.topP = Float(p)
                })
            #expect(drawn.isSubset(of: Set(ranked.prefix(count).map { Int32($0) })), "top-p \(p)")
            if count < 100 { #expect(drawn.count == count) }
        }
    }

    @Test func seedDecides() {
        func run(_ seed: UInt64) -> [Int32] {
            draw(50) {
                $0.temperature = 2
                $0.seed = seed
            }
        }
        #expect(run(1) == run(1))
        #expect(run(1) != run(2))
    }

    @Test func repetitionPenaltyCountsPromptAndText() {
        #expect(draw(prompt: [1, 4]) { $0.repetitionPenalty = 2 } == [2])
        // 1 is chosen, then 4, then the halved 1 and 4 (1.5) fall behind 2.
        #expect(draw(3) { $0.repetitionPenalty = 2 } == [1, 4, 2])
    }

    @Test func presenceAndFrequencyCountTheTextOnly() {
        #expect(draw(3, prompt: [1]) { $0.presencePenalty = 1.5 } == [1, 4, 2])
        #expect(draw(4, from: [2, 1.2, -9]) { $0.frequencyPenalty = 0.5 } == [0, 0, 1, 0])
    }

    @Test func biasForbidsAndForces() {
        #expect(draw { $0.logitBias = [1: -.infinity] } == [4])
        #expect(draw { $0.logitBias = [3: 100] } == [3])
    }

    @Test func senselessValuesAreRefused() {
        let cases: [(inout SamplingOptions) -> Void] = [
            { $0.temperature = -1 }, { $0.temperature = .nan }, { $0.topP = 0 }, { $0.topP = 1.5 }, { $0.minP = 2 },
            { $0.topK = -1 }, { $0.maxTokens = -1 }, { $0.repetitionPenalty = 0 }, { $0.presencePenalty = .infinity },
            { $0.logitBias = [9: 1] }, { $0.logitBias = [0: .nan] }, { $0.stop = [""] }, { $0.logprobs = 1000 },
        ]
        for (index, set) in cases.enumerated() {
            var options = SamplingOptions()
            set(&options)
            #expect(throws: RequestError.self, "case \(index)") { try options.validate(vocabularySize: 6) }
        }
    }
}

@Suite struct StopMatcherTests {
    private func run(_ stops: [String], _ pieces: [String]) -> (text: String, stopped: Bool) {
        var matcher = StopMatcher(stops)
        var text = ""
        for piece in pieces {
            let (new, stopped) = matcher.append(piece)
            text += new
            if stopped { return (text, true) }
        }
        return (text + matcher.finish(), false)
    }

    @Test func stopsBeforeTheText() {
        #expect(run(["END"], ["some E", "N", "D more"]) == ("some ", true))
        #expect(run(["END"], ["some ENDless"]) == ("some ", true))
    }

    @Test func anAlmostStopIsLetOut() {
        #expect(run(["END"], ["E", "N", "E", "N"]) == ("ENEN", false))
        #expect(run(["aab"], ["aaa", "b"]) == ("a", true))
    }

    @Test func theFirstOfSeveralWins() {
        #expect(run(["two", "one"], ["a one two"]) == ("a ", true))
    }

    @Test func nothingOfAStopTextIsShownEarly() {
        var matcher = StopMatcher(["</s>"])
        #expect(matcher.append("text <").text == "text ")
        #expect(matcher.append("/s").text == "")
        #expect(matcher.append("x").text == "</sx")
    }

    @Test func characterBordersAreKept() {
        #expect(run(["é!"], ["caf", "é", "?"]) == ("café?", false))
        #expect(run(["é!"], ["caf", "é", "!"]) == ("caf", true))
    }
}
