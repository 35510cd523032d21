// SPDX-License-Identifier: Apache-2.0

/// What calibration found for one model: the learned gate's heads, and named operating points on its quality/compute curve. A small
/// JSON file, bound to its model by content hash; docs/routing.md has the format.
public struct RoutingProfile: Sendable, Equatable {
    /// An operating point, as measured on held-out text.
    public struct Point: Sendable, Equatable {
        public let name: String
        public let mu: Float
        /// Experts per token and layer.
        public let meanExperts: Double
        public let perplexity: Double
        /// Mean KL(static ‖ this) per token, nats.
        public let kl: Double
        /// Share of tokens whose likeliest successor is static routing's; nil where it was not measured.
        public let topOne: Double?

        public init(
            name: String, mu: Float, meanExperts: Double, perplexity: Double, kl: Double, topOne: Double? = nil
        ) {
            self.name = name
            self.mu = mu
            self.meanExperts = meanExperts
            self.perplexity = perplexity
            self.kl = kl
            self.topOne = topOne
        }
    }

    /// The best per-layer static routing that calibration found at a mean number of experts: what the gate has to beat.
    public struct Allocation: Sendable, Equatable {
        public let meanExperts: Double
        /// k by layer of the model.
        public let counts: [Int]

        public init(meanExperts: Double, counts: [Int]) {
            self.meanExperts = meanExperts
            self.counts = counts
        }
    }

    public static let schema = "moe-infer.routing-profile"
    public static let version = 1
    package static let sizeLimit = 64 << 20

    /// Content hash of the model, `sha256:…`.
    public let model: String
    /// kMin
    public let minimum: Int
    /// K: the model's own k.
    public let maximum: Int
    /// E
    public let expertCount: Int
    /// d: width of the routers' input, where layers have ``LearnedRouting/Layer/hiddenWeights``.
    public var hiddenSize: Int? { layers.lazy.compactMap { $0?.hiddenWeights }.first { !$0.isEmpty }?.count }
    /// By layer of the model; nil for a dense one.
    public let layers: [LearnedRouting.Layer?]
    /// `exact`, `parity`, `balanced`, `fast`.
    public let points: [Point]
    /// The point that is meant where none is named; nil: `parity`. A model that carries this profile is routed by it.
    public var defaultPoint: String?
    /// The measured curve from `exact` on, mu rising; empty in profiles that were written without one.
    public let curve: [Point]
    /// For comparisons: per-layer static routing, and top-p's temperatures by layer of the model. Optional.
    public let allocations: [Allocation]
    public let topPTemperatures: [Float]?

    public init(
        model: String, minimum: Int, maximum: Int, expertCount: Int, layers: [LearnedRouting.Layer?], points: [Point],
        curve: [Point] = [], allocations: [Allocation] = [], topPTemperatures: [Float]? = nil
    ) {
        self.model = model
        self.minimum = minimum
        self.maximum = maximum
        self.expertCount = expertCount
        self.layers = layers
        self.points = points
        self.curve = curve
        self.allocations = allocations
        self.topPTemperatures = topPTemperatures
    }

    /// The policy at any price.
    public func routing(mu: Float) -> LearnedRouting {
        LearnedRouting(
            model: model, minimum: minimum, maximum: maximum, expertCount: expertCount, layers: layers, mu: mu)
    }

    /// ``defaultPoint``, else `parity`; there may be no point of this name.
    public var defaultPointName: String { defaultPoint ?? "parity" }

    /// What may be asked for, for messages.
    package var pointList: String {
        let names = points.prefix(16).map(\.name) + (points.count > 16 ? ["…"] : [])
        return (names + ["mu=NUMBER"]).joined(separator: ", ")
    }

    /// The policy at a named point; nil when there is none of this name.
    public func routing(point: String) -> LearnedRouting? {
        points.first { $0.name == point }.map { routing(mu: $0.mu) }
    }
}
