// SPDX-License-Identifier: Apache-2.0

import Glibc
import MoEModel
import Testing

/// The number of experts that a policy asks for, given router logits.
private func count(
    _ policy: any RoutingPolicy, logits: [Float], k: Int, layer: Int = 0, phase: ForwardPhase = .decode
) -> Int {
    let largest = logits.max()!
    let exponentials = logits.map { exp($0 - largest) }
    let total = exponentials.reduce(0, +)
    let limit = min(logits.count, policy.maximumExperts(modelExpertsPerToken: k, expertCount: logits.count))
    let ranked = Array(exponentials.map { $0 / total }.sorted(by: >).prefix(limit))
    let context = RoutingContext(
        layer: layer, layerCount: 4, position: 0, phase: phase, expertCount: logits.count, modelExpertsPerToken: k)
    return policy.expertCount(for: context, logits: logits.span, ranked: ranked.span)
}

/// Logits whose softmax is exactly `probabilities`.
private func logits(_ probabilities: [Float]) -> [Float] { probabilities.map { log($0) } }

@Suite struct RoutingPolicyTests {
    @Test func staticIsTheModelsOwnUnlessTold() throws {
        let even = logits([0.25, 0.25, 0.25, 0.25])
        #expect(count(try RoutingSpecification.parse("static"), logits: even, k: 3) == 3)
        #expect(count(try RoutingSpecification.parse("native"), logits: even, k: 3) == 3)
        #expect(count(try RoutingSpecification.parse("static:k=2"), logits: even, k: 3) == 2)
    }

    @Test func staticPerLayerAndTheLastValueGoesOn() throws {
        let policy = try RoutingSpecification.parse("static:k=4,3,1")
        let even = logits([0.25, 0.25, 0.25, 0.25])
        #expect((0..<5).map { count(policy, logits: even, k: 2, layer: $0) } == [4, 3, 1, 1, 1])
    }

    @Test func topPTakesTheShortestPrefixThatHoldsP() throws {
        let policy = try RoutingSpecification.parse("top-p:p=0.7")
        #expect(count(policy, logits: logits([0.8, 0.1, 0.05, 0.05]), k: 2) == 1)
        #expect(count(policy, logits: logits([0.5, 0.3, 0.1, 0.1]), k: 2) == 2)
        #expect(count(policy, logits: logits([0.1, 0.4, 0.25, 0.25]), k: 2) == 3)
    }

    @Test func topPClampsToItsBounds() throws {
        let sure = logits([0.97, 0.01, 0.01, 0.01])
        let unsure = logits([Float](repeating: 0.1, count: 10))
        #expect(count(try RoutingSpecification.parse("top-p:p=0.5,min=2"), logits: sure, k: 2) == 2)
        #expect(count(try RoutingSpecification.parse("top-p:p=0.99,max=3"), logits: unsure, k: 2) == 3)
        #expect(count(try RoutingSpecification.parse("top-p:p=0.99"), logits: unsure, k: 2) == 8)
    }

    @Test func temperatureFlattensWhatIsCounted() throws {
        let some = logits([0.6, 0.2, 0.1, 0.1])
        let cool = count(try RoutingSpecification.parse("top-p:p=0.75,temperature=0.5"), logits: some, k: 2)
        let plain = count(try RoutingSpecification.parse("top-p:p=0.75"), logits: some, k: 2)
        let hot = count(try RoutingSpecification.parse("top-p:p=0.75,temperature=2"), logits: some, k: 2)
        // softmax at T = 0.5 of these is [0.857, 0.095, …]; at T = 2 it is [0.404, 0.233, 0.165, …].
        #expect([cool, plain, hot] == [1, 2, 3])
    }

    /// The worked example of ``TopPRouting``: masses of scores that do not sum to 1.
    @Test func topPCountsTheMassOfTheModelsOwnScores() throws {
        let scores: [Float] = [0.9, 0.6, 0.3, 0.2]
        func count(_ text: String, _ score: RouterScore, logits: [Float], ranked: [Float] = [0.9, 0.6, 0.3, 0.2]) throws
            -> Int
        {
            let context = RoutingContext(
                layer: 0, layerCount: 1, position: 0, phase: .decode, expertCount: 4, modelExpertsPerToken: 2, score: score)
            return try RoutingSpecification.parse(text).expertCount(for: context, logits: logits.span, ranked: ranked.span)
        }
        let sigmoid = scores.map { log($0 / (1 - $0)) }
        #expect(try count("top-p:p=0.7", .sigmoid, logits: sigmoid) == 2)
        #expect(try count("top-p:p=0.8", .sigmoid, logits: sigmoid) == 3)
        #expect(try count("top-p:p=0.8,temperature=0.5", .sigmoid, logits: sigmoid) == 2)
        // The logit whose softplus is the score squared.
        let softplus = scores.map { log(expm1($0 * $0)) }
        #expect(try count("top-p:p=0.7", .sqrtSoftplus, logits: softplus) == 2)
        #expect(try count("top-p:p=0.8", .sqrtSoftplus, logits: softplus) == 3)
        #expect(try count("top-p:p=0.8", .none, logits: scores) == 3)
        // Without the negative ones there is a sum of 1.5: 0.6 and 0.4.
        #expect(try count("top-p:p=0.9", .none, logits: [0.9, 0.6, -3, -9], ranked: [0.9, 0.6, -3, -9]) == 2)
        #expect(try count("top-p:p=0.9,min=2", .none, logits: [-1, -2], ranked: [-1, -2]) == 2)
    }

    @Test func topPPerLayer() throws {
        let policy = try RoutingSpecification.parse("top-p:p=0.5,0.9,temperature=1,1")
        let some = logits([0.6, 0.2, 0.1, 0.1])
        #expect((0..<3).map { count(policy, logits: some, k: 2, layer: $0) } == [1, 3, 3])
    }

    @Test func ratioKeepsWhatIsCloseToTheBest() throws {
        let some = logits([0.4, 0.3, 0.2, 0.1])
        #expect(count(try RoutingSpecification.parse("ratio:t=0.45"), logits: some, k: 4) == 3)
        #expect(count(try RoutingSpecification.parse("ratio:min=2,t=1"), logits: some, k: 4) == 2)
        #expect(count(try RoutingSpecification.parse("ratio:t=0"), logits: some, k: 2) == 2)
    }

    @Test func absoluteKeepsWhatScoresEnough() throws {
        let some = logits([0.5, 0.3, 0.12, 0.05, 0.03])
        #expect(count(try RoutingSpecification.parse("absolute:c=0.1"), logits: some, k: 4) == 3)
        #expect(count(try RoutingSpecification.parse("absolute:c=0.1"), logits: some, k: 2) == 2, "the model's own k")
        #expect(count(try RoutingSpecification.parse("absolute:c=0"), logits: some, k: 4) == 4)
        #expect(count(try RoutingSpecification.parse("absolute:c=0.9"), logits: some, k: 4) == 1)
        #expect(count(try RoutingSpecification.parse("absolute:c=0.9,min=0"), logits: some, k: 4) == 0)
        #expect(count(try RoutingSpecification.parse("absolute:c=0.9,min=5"), logits: some, k: 2) == 5)
        let layers = try RoutingSpecification.parse("absolute:c=0.4,0.2,0.1")
        #expect((0..<4).map { count(layers, logits: some, k: 4, layer: $0) } == [1, 2, 3, 3])
        #expect(layers.problem(layerCount: 2, expertCount: 8)?.contains("values for 3 layers") == true)
        #expect(layers.problem(layerCount: 3, expertCount: 0)?.contains("dense") == true)
    }

    @Test(arguments: [
        ("", "unknown policy ''"),
        ("statik", "unknown policy 'statik'; expected native, static, top-p, ratio, absolute or union"),
        ("static:k=x", "'k' expects whole numbers from 0 to 1024, found 'x'"),
        ("static:k=-1", "'k' expects whole numbers"),
        ("static:4", "expected name=value, found '4'"),
        ("static:k=1,k=2", "'k' is given twice"),
        ("static:q=1", "unknown field 'q'"),
        ("native:k=2", "unknown field 'k'"),
        ("top-p", "'p' is missing"),
        ("top-p:p=nan", "'p' expects numbers from 0.0 to 1.0, found 'nan'"),
        ("top-p:p=1.5", "'p' expects numbers"),
        ("top-p:p=0.5,min=4,max=2", "'min' is 4 but 'max' is 2"),
        ("top-p:p=0.5,min=1,2", "'min' takes one number, found 2"),
        ("top-p:p=0.5,temperature=0", "'temperature' expects numbers"),
        ("ratio:min=2", "'t' is missing"),
        ("absolute:min=2", "'c' is missing"),
        ("absolute:c=nan", "'c' expects numbers from -1000.0 to 1000.0, found 'nan'"),
        ("absolute:c=1e9", "'c' expects numbers"),
        ("absolute:c=0.1,min=-1", "'min' expects whole numbers"),
        ("absolute:c=0.1,max=4", "unknown field 'max'"),
        ("profile:", "expected profile:FILE"),
        ("profile:x.json@mu=-1", "'mu' expects a number"),
    ])
    func badSpecificationsSayWhatIsWrong(_ text: String, _ problem: String) {
        let error = #expect(throws: RoutingSpecificationError.self) { try RoutingSpecification.parse(text) }
        #expect(error?.description.contains(problem) == true, "\(error?.description ?? "")")
    }
}
