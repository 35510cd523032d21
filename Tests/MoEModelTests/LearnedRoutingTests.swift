// SPDX-License-Identifier: Apache-2.0

import Foundation
import MoEModel
import MoETensors
import Testing

/// The learned gate's rule on made-up heads, and what a profile file may and may not say.
@Suite struct LearnedRoutingTests {
    /// E = 4, K = 3, kMin = 1: two steps of 3·3 + 4 + 4 = 17 features. Both heads look at the constant alone.
    private static let width = LearnedRouting.featureCount(expertCount: 4, maximum: 3)
    private static func layer(_ gains: [Float], price: Float = 0) -> LearnedRouting.Layer {
        var weights = [Float](repeating: 0, count: gains.count * width)
        for (step, gain) in gains.enumerated() { weights[step * width] = gain }
        return LearnedRouting.Layer(temperature: 1, logPrice: price, expertLogNorms: [0, 0.5, 1, 1.5], weights: weights)
    }

    private static let profile = RoutingProfile(
        model: "sha256:00", minimum: 1, maximum: 3, expertCount: 4,
        layers: [nil, layer([-2, -3]), layer([-2, -3], price: 2)],
        points: [
            .init(name: "exact", mu: 0, meanExperts: 3, perplexity: 10, kl: 0),
            .init(name: "parity", mu: 0.07, meanExperts: 2.5, perplexity: 10.01, kl: 0.01),
        ])

    private func count(
        _ policy: LearnedRouting, layer: Int, logits: [Float] = [0.1, 2, -1, 0.5], product: Float = 0
    ) -> Int {
        let context = RoutingContext(
            layer: layer, layerCount: 3, position: 0, phase: .decode, expertCount: 4, modelExpertsPerToken: 3,
            hiddenNorm: 2, hiddenProduct: product)
        let ranked: [Float] = [0.7, 0.2, 0.1]
        return policy.expertCount(for: context, logits: logits.span, ranked: ranked.span)
    }

    @Test func expertsRunWhileTheirGainIsWorthThePrice() {
        #expect([0, 0.04, 0.1, 0.5].map { count(Self.profile.routing(mu: $0), layer: 1) } == [3, 3, 2, 1])
        // A layer whose errors weigh e² as much gets more for the same price.
        #expect(count(Self.profile.routing(mu: 0.1), layer: 2) == 3)
    }

    @Test func aDirectionOfTheInputAddsToEveryGain() {
        let policy = Self.profile.routing(mu: 0.1)  // log mu -2.3: gains of -2 and -3
        #expect([-1, -0.25, 0, 0.75].map { count(policy, layer: 1, product: $0) } == [1, 2, 2, 3])
        let directed = Self.complete.routing(mu: 0.1)
        #expect(directed.hiddenDirection(layer: 1) == nil && directed.hiddenDirection(layer: 2) == [0.5, -1.5])
        #expect(Self.complete.routing(mu: 0).hiddenDirection(layer: 2) == nil)
        #expect(Self.complete.hiddenSize == 2 && Self.profile.hiddenSize == nil)
    }

    @Test func whatItDoesNotKnowGetsTheModelsOwnCount() {
        let policy = Self.profile.routing(mu: 0.5)
        #expect(count(policy, layer: 0) == 3)
        #expect(count(policy, layer: 7) == 3)
        #expect(count(policy, layer: 1, logits: [1, 2]) == 3)
        #expect(count(policy, layer: 1, logits: [.nan, .nan, .nan, .nan]) == 1)
    }

    @Test func featuresAreOfTheSoftmaxAtTheTemperature() {
        var features = [Float](repeating: 0, count: Self.width)
        let logits: [Float] = [0, 2, -2, 1]
        features.withUnsafeMutableBufferPointer { features in
            logits.withUnsafeBufferPointer {
                LearnedRouting.fill(
                    features.baseAddress!, logits: $0, hiddenNorm: 1, maximum: 3, temperature: 2,
                    expertLogNorms: [0, 0.5, 1, 1.5])
            }
        }
        // softmax([0, 1, -1, 0.5]) = [0.1744, 0.4740, 0.0641, 0.2875]; the best three are experts 1, 3 and 0.
        let expected: [Float] = [
            1, -0.7466, -1.2466, -1.7466, 0.4740, 0.7615, 0.9359, 0.5, 1.5, 0, 1.1930, 2.4197, 0, -0.25, 1.75, -2.25, 0.75,
        ]
        for (index, value) in expected.enumerated() {
            #expect(abs(features[index] - value) < 5e-4, "\(index): \(features[index])")
        }
    }

    @Test func profileReadsBackAsItWas() throws {
        let text = Self.profile.json
        let back = try RoutingProfile(json: Array(text.utf8), file: "p.json")
        #expect(back == Self.profile)
        #expect(back.json == text)
        #expect(back.routing(point: "parity")?.mu == 0.07)
        #expect(back.routing(point: "other") == nil)
    }

    private static let complete = RoutingProfile(
        model: "sha256:00", minimum: 1, maximum: 3, expertCount: 4,
        layers: [
            nil, layer([-2, -3]),
            LearnedRouting.Layer(
                temperature: 1, logPrice: 2, expertLogNorms: [0, 0.5, 1, 1.5],
                weights: [Float](repeating: 0.5, count: 2 * width), scales: [1, 0.8, 0.9], deviations: [0.25, 0.5],
                hiddenWeights: [0.5, -1.5]),
        ],
        points: [.init(name: "exact", mu: 0, meanExperts: 3, perplexity: 10, kl: 0, topOne: 1)],
        curve: [
            .init(name: "", mu: 0, meanExperts: 3, perplexity: 10, kl: 0, topOne: 1),
            .init(name: "", mu: 0.1, meanExperts: 2, perplexity: 10.1, kl: 0.01, topOne: 0.98),
        ], allocations: [.init(meanExperts: 1.5, counts: [3, 1, 2])], topPTemperatures: [1, 0.5, 2])

    /// What later versions of the program added is optional, and reads back as it was.
    @Test func optionalPartsOfProfiles() throws {
        let text = Self.complete.json
        let back = try RoutingProfile(json: Array(text.utf8), file: "p.json")
        #expect(back == Self.complete)
        #expect(back.json == text)
        #expect(Self.profile.json.contains("curve") == false)
    }

    @Test(arguments: [
        ("\"scales\": [1.0, 0.8", "\"scales\": [1.0, 0.0", "'layers[1].scales' is out of range"),
        ("\"scales\": [1.0, 0.8", "\"scales\": [1.0", "wrong size of 'layers[1].scales'; expected 3 numbers, found 2"),
        ("\"head_deviations\": [0.25", "\"head_deviations\": [-0.25", "'layers[1].head_deviations' is out of range"),
        ("\"k\": [3, 1, 2]", "\"k\": [3, 1, 4]", "'per_layer_static[0].k' is out of range"),
        ("\"k\": [3, 1, 2]", "\"k\": [3, 1, 1.5]", "'per_layer_static[0].k' is out of range"),
        ("\"k\": [3, 1, 2]", "\"k\": [3, 1]", "wrong size of 'per_layer_static[0].k'"),
        ("\"mean_k\": 1.5", "\"mean_k\": 9", "'per_layer_static[0].mean_k' is out of range"),
        ("\"top_p_temperatures\": [1.0", "\"top_p_temperatures\": [0.0", "'top_p_temperatures' is out of range"),
        ("\"top_1\": 0.98", "\"top_1\": 1.98", "'curve[1].top_1' is out of range"),
        ("\"hidden_weights\": [0.5", "\"hidden_weights\": [1e30", "not finite, or above 1e9"),
        (
            "\"hidden_size\": 2", "\"hidden_size\": 3",
            "wrong size of 'layers[1].hidden_weights'; expected 3 numbers, found 2"
        ),
        ("\"hidden_size\": 2", "\"hidden_size\": 0", "'hidden_size' is out of range"),
        ("\"curve\": [", "\"curve\": [3, ", "'curve' has something that is no object"),
    ])
    func hostileOptionalPartsAreRefused(_ found: String, _ replacement: String, _ problem: String) throws {
        let text = Self.complete.json
        let range = try #require(text.range(of: found))
        let error = #expect(throws: ModelFileError.self) {
            try RoutingProfile(
                json: Array(text.replacingCharacters(in: range, with: replacement).utf8), file: "p.json")
        }
        let line = error?.description ?? ""
        #expect(line.contains(problem) && !line.contains("\n"), "\(line)")
    }

    @Test(arguments: [
        ("\"version\": 1", "\"version\": 2", "unknown version; expected 1, found 2"),
        ("moe-infer.routing-profile", "other", "not a routing profile"),
        ("\"temperature\": 1.0", "\"temperature\": NaN", "'layers[0].temperature' is out of range"),
        ("\"temperature\": 1.0", "\"temperature\": 0", "'layers[0].temperature' is out of range"),
        ("\"log_price\": 0.0", "\"log_price\": 1e999", "number out of range"),
        (
            "[0.0, 0.5, 1.0, 1.5]", "[0.0, 0.5, 1.0]",
            "wrong size of 'layers[0].expert_log_norms'; expected 4 numbers, found 3"
        ),
        ("[0.0, 0.5, 1.0, 1.5]", "[0.0, 0.5, 1.0, 1e30]", "not finite, or above 1e9"),
        ("\"weights\": [-2.0, ", "\"weights\": [", "wrong size of 'layers[0].weights'; expected 34 numbers, found 33"),
        ("\"weights\": [-2.0, ", "\"weights\": [NaN, ", "not finite, or above 1e9"),
        ("\"weights\": [-2.0, ", "\"weights\": [true, ", "wrong type of 'layers.weights'"),
        ("\"k_max\": 3", "\"k_max\": 5", "'k_max' is out of range"),
        ("\"k_min\": 1", "\"k_min\": -1", "'k_min' is out of range"),
        ("\"layer\": 2", "\"layer\": 1", "layer 1 stands twice"),
        ("\"layer\": 2", "\"layer\": 3", "out of range"),
        ("\"mu\": 0.07", "\"mu\": -1", "'points[1].mu' is out of range"),
        ("\"name\": \"parity\"", "\"name\": \"exact\"", "point 'exact' stands twice"),
        ("\"model\": \"sha256:00\",", "", "'model' is missing"),
    ])
    func hostileProfilesAreRefusedInOneLine(_ found: String, _ replacement: String, _ problem: String) throws {
        let text = Self.profile.json
        let range = try #require(text.range(of: found))
        let hostile = text.replacingCharacters(in: range, with: replacement)
        let error = #expect(throws: ModelFileError.self) {
            try RoutingProfile(json: Array(hostile.utf8), file: "p.json")
        }
        let line = error?.description ?? ""
        #expect(line.contains(problem), "\(line)")
        #expect(!line.contains("\n"))
    }

    @Test func truncatedProfilesAreRefused() {
        let bytes = Array(Self.profile.json.utf8)
        for count in stride(from: 0, to: bytes.count - 2, by: 97) {
            #expect(throws: ModelFileError.self) { try RoutingProfile(json: Array(bytes[..<count]), file: "p.json") }
        }
    }
}
