// SPDX-License-Identifier: Apache-2.0

import MoEModel
import Testing

@Suite struct GatingFunctionTests {
    /// The examples of the documentation.
    @Test(arguments: [
        (GatingFunction.Score.softmax, [Float(0.665), 0.245, 0.090]), (.sigmoid, [0.731, 0.5, 0.269]),
        (.sqrtSoftplus, [1.146, 0.833, 0.560]), (.none, [1, 0, -1]),
    ])
    func scores(_ score: GatingFunction.Score, _ expected: [Float]) {
        let found = GatingFunction(score: score, weights: .none).scores(of: [1, 0, -1])
        #expect(zip(found, expected).allSatisfy { abs($0 - $1) < 6e-4 }, "\(found)")
    }

    @Test(arguments: GatingFunction.Score.allCases) func largeLogitsStayFinite(_ score: GatingFunction.Score) {
        let found = GatingFunction(score: score, weights: .none).scores(of: [1e4, -1e4, 0])
        #expect(found.allSatisfy { $0.isFinite }, "\(found)")
        #expect(found[0] > found[2] && found[2] >= found[1])
    }

    @Test func theFlagOfTheFilesIsOneOfTheRules() {
        #expect(GatingFunction(renormalizes: true).weights == .renormKept)
        #expect(GatingFunction(renormalizes: false).weights == .none)
        #expect(GatingFunction(weights: .renormAllSlots).renormalizes)
        #expect(!GatingFunction(weights: .keepFullMass).renormalizes)
    }
}
