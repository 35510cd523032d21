// SPDX-License-Identifier: Apache-2.0

import Foundation
import MoECompute
import MoEModel
import MoETensors
import MoETestSupport
import Synchronization
import Testing

/// Routers of models that are not supported as a whole, one layer each, against transformers; see `Tests/Fixtures/router`.
/// The whole model among them, ZEDA's, runs in ``GoldenTests``; here is what it routes.
@Suite struct RouterGoldenTests {
    @Test(arguments: RouterFixture.all, [MatmulPlan.Mode.native, .blas, .reference])
    func slotsWeightsAndOutputAgree(_ fixture: RouterFixture, _ mode: MatmulPlan.Mode) throws {
        let selection = Selection()
        let expected = try fixture.expected()
        let output = try fixture.layer(mode)(expected.input, observer: selection)
        for (token, found) in selection.tokens.enumerated() {
            let real = zip(expected.slots[token], expected.weights[token]).filter { $0.0 < fixture.spec.realExperts }
            #expect(Set(found.keys) == Set(real.map(\.0)), "\(fixture), token \(token)")
            for (expert, weight) in real {
                #expect(abs((found[expert] ?? .nan) - weight) < 2e-6, "\(fixture), token \(token), expert \(expert)")
            }
        }
        #expect(selection.tokens.count == expected.slots.count)
        #expect(selection.computed == selection.tokens.map(\.count))
        let error = zip(output, expected.output).reduce(0) { max($0, abs($1.0 - $1.1)) }
        #expect(error < 1e-5, "\(fixture): outputs differ by \(error)")
    }

    /// Sequences of one step do not see each other, whatever the router.
    @Test(arguments: RouterFixture.all)
    func batchMatesChangeNothing(_ fixture: RouterFixture) throws {
        let layer = try fixture.layer(.native)
        let input = try fixture.expected().input
        let together = try layer(input, slices: [1, 7, 13, 3])
        var alone: [Float] = []
        for range in [0..<1, 1..<8, 8..<21, 21..<24] {
            alone += try layer(Array(input[range.lowerBound * layer.width..<range.upperBound * layer.width]))
        }
        #expect(together.elementsEqual(alone) { $0.bitPattern == $1.bitPattern })
    }

    @Test(arguments: RouterFixture.all, ["static:k=0", "static:k=1", "top-p:p=0.5,min=0,max=64", "static:k=1000"])
    func anyPolicyGivesFiniteOutput(_ fixture: RouterFixture, _ policy: String) throws {
        let selection = Selection()
        let output = try fixture.layer(.native)(
            try fixture.expected().input, routing: RoutingSpecification.parse(policy), observer: selection)
        #expect(output.allSatisfy { $0.isFinite })
        if policy == "static:k=0" { #expect(output.allSatisfy { $0 == 0 }) }
        #expect(selection.computed == selection.tokens.map(\.count))
    }

    /// `kMin` and `kMax` hold against any policy.
    @Test func boundsOfTheSpecHold() throws {
        var fixture = try #require(RouterFixture.all.first { $0.name == "deepseek-v2" })
        (fixture.spec.kMin, fixture.spec.kMax) = (2, 3)
        for (policy, count) in [("static:k=0", 2), ("static:k=1", 2), ("static:k=3", 3), ("static:k=9", 3)] {
            let selection = Selection()
            _ = try fixture.layer(.native)(
                try fixture.expected().input, routing: RoutingSpecification.parse(policy), observer: selection)
            #expect(selection.computed.allSatisfy { $0 == count }, "\(policy): \(selection.computed)")
        }
    }

    /// A constant expert answers a·x + b·v, here from a plain computation in double precision.
    @Test func constantExpertsMixInputAndConstant() throws {
        let (width, tokens, slots) = (8, 5, 3)
        var generator = SplitMix64(state: 9)
        func numbers(_ count: Int) -> [Float] { (0..<count).map { _ in Float.random(in: -1...1, using: &generator) } }
        let (input, values, mix) = (numbers(tokens * width), numbers(2 * width), numbers(4 * width))
        let (picked, weights) = (
            (0..<tokens * slots).map { _ in Int.random(in: 0...1, using: &generator) }, numbers(tokens * slots)
        )
        let found = try StandaloneMoELayer.constantExperts(
            input, picked: picked, weights: weights, perToken: slots, values: values, mix: mix, width: width,
            context: ComputeContext(threads: 2))
        for token in 0..<tokens {
            for column in 0..<width {
                var expected = 0.0
                for pair in token * slots..<(token + 1) * slots {
                    let expert = picked[pair]
                    func product(_ row: Int) -> Double {
                        (0..<width).reduce(0) { $0 + Double(mix[row * width + $1]) * Double(input[token * width + $1]) }
                    }
                    let (a, b) = (exp(product(2 * expert)), exp(product(2 * expert + 1)))
                    let answer =
                        a / (a + b) * Double(input[token * width + column]) + b / (a + b)
                        * Double(values[expert * width + column])
                    expected += Double(weights[pair]) * answer
                }
                #expect(abs(Double(found[token * width + column]) - expected) < 1e-5)
            }
        }
    }

    // MARK: ZEDA

    private struct Counts: Decodable {
        var realExperts: [[Int]]
        var histogram: [Int]
    }

    /// The count varies from 0 to k by the model's own choice, and is what the kernels counted.
    @Test func zeroExpertsAreNeverComputed() throws {
        let golden = try #require(GoldenModel.all.first { $0.description.hasPrefix("zeda-qwen3") })
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        let expected = try decoder.decode(
            Counts.self, from: Data(contentsOf: URL(fileURLWithPath: golden.path).appendingPathComponent("expected.json")))
        let selection = Selection()
        var run = try GoldenRun(try golden.open(), golden, plan: MatmulPlan(mode: .native))
        run.observer = selection
        _ = try run.logits()
        for layer in expected.realExperts.indices {
            #expect(selection.byLayer[layer] == expected.realExperts[layer])
        }
        #expect((0...4).map { k in selection.computed.count { $0 == k } } == expected.histogram)
        #expect(expected.histogram[..<4].reduce(0, +) > 0)
    }

    /// `static` at the model's k, asked for by number, is the model without a policy.
    @Test func zedaStaticIsNative() throws {
        let golden = try #require(GoldenModel.all.first { $0.description.hasPrefix("zeda-qwen3") })
        let model = try golden.open()
        var run = try GoldenRun(model, golden, plan: MatmulPlan(mode: .native))
        let native = try run.logits()
        for text in ["native", "static:k=4", "top-p:p=1,min=4,max=4"] {
            run.routing = try RoutingSpecification.parse(text)
            let found = try run.logits()
            #expect(found.elementsEqual(native) { $0.bitPattern == $1.bitPattern }, "\(text)")
        }
        #expect(model.configuration.experts?.routers[0].pseudo == [PseudoExperts(.zero, count: 6)])
        #expect(model.configuration.experts?.gating.weights == .renormAllSlots)
    }
}

struct RouterFixture: Sendable, CustomTestStringConvertible, CustomStringConvertible {
    let name: String
    var spec: RouterSpec
    var description: String { name }
    var testDescription: String { name }

    static let all = [
        RouterFixture(
            name: "longcat",
            spec: RouterSpec(
                realExperts: 8, slotsPerToken: 4, gating: GatingFunction(weights: .none, scale: 2.5),
                hasSelectionBias: true,
                pseudo: [PseudoExperts(.identity, count: 5)])),
        RouterFixture(
            name: "deepseek-v3",
            spec: RouterSpec(
                realExperts: 16, slotsPerToken: 4,
                gating: GatingFunction(score: .sigmoid, weights: .renormKept, scale: 2.5), hasSelectionBias: true,
                groups: ExpertGroups(count: 4, kept: 2, rank: .topTwoSum))),
        RouterFixture(
            name: "deepseek-v2",
            spec: RouterSpec(
                realExperts: 16, slotsPerToken: 3, gating: GatingFunction(weights: .none, scale: 1.5),
                groups: ExpertGroups(count: 4, kept: 2, rank: .max))),
        RouterFixture(
            name: "ernie",
            spec: RouterSpec(
                realExperts: 10, slotsPerToken: 3, gating: GatingFunction(weights: .renormKept, minimumSum: 0.55),
                hasSelectionBias: true)),
    ]

    struct Expected: Decodable {
        var input: [Float]
        var output: [Float]
        var slots: [[Int]]
        var weights: [[Float]]
    }

    private var folder: URL { Fixtures.directory.appendingPathComponent("router/\(name)") }

    func expected() throws -> Expected {
        try JSONDecoder().decode(Expected.self, from: Data(contentsOf: folder.appendingPathComponent("layer.json")))
    }

    func layer(_ mode: MatmulPlan.Mode) throws -> StandaloneMoELayer {
        try StandaloneMoELayer(
            store: SafetensorsFile(path: folder.appendingPathComponent("model.safetensors").path),
            experts: ExpertConfiguration(routers: PerLayer(spec), intermediateSize: 12, layers: [true]), width: 32,
            context: ComputeContext(threads: 2, plan: MatmulPlan(mode: mode)))
    }
}

/// What each token was routed to and what the kernels counted for it, in order; of all layers, and of each.
private final class Selection: RoutingObserver {
    private struct State {
        var tokens: [[Int: Float]] = []
        var computed: [Int] = []
        var byLayer: [Int: [Int]] = [:]
    }

    private let state = Mutex(State())

    var tokens: [[Int: Float]] { state.withLock { $0.tokens } }
    var computed: [Int] { state.withLock { $0.computed } }
    var byLayer: [Int: [Int]] { state.withLock { $0.byLayer } }

    func observe(_ event: borrowing RoutingEvent) {
        for token in 0..<event.tokenCount {
            var experts: [Int: Float] = [:]
            event.forEachExpert(token: token) { experts[$0] = $1 }
            let count = event.computedExperts(token: token)
            let layer = event.layer
            state.withLock {
                $0.tokens.append(experts)
                $0.computed.append(count)
                $0.byLayer[layer, default: []].append(count)
            }
        }
    }
}
