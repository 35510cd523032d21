// SPDX-License-Identifier: Apache-2.0

import MoEModel

/// A routing profile for people and programs, without its weights.
public struct ProfileSummary: Sendable, Encodable {
    public struct Point: Sendable, Encodable {
        public let name: String
        public let mu: Float
        public let meanExperts: Double
        public let perplexity: Double
        public let kl: Double

        enum CodingKeys: String, CodingKey {
            case name, mu
            case meanExperts = "mean_k"
            case perplexity, kl
        }
    }

    public struct Layer: Sendable, Encodable {
        public let layer: Int
        public let temperature: Float
        public let logPrice: Float
        /// Numbers of the head.
        public let weights: Int

        enum CodingKeys: String, CodingKey {
            case layer, temperature
            case logPrice = "log_price"
            case weights
        }
    }

    /// Where the profile is.
    public let source: String
    /// Of the JSON text.
    public let bytes: Int
    /// Content hash of the model that it is for.
    public let model: String
    public let minimum: Int
    public let maximum: Int
    public let expertCount: Int
    public let layerCount: Int
    /// The point that is meant where none is named.
    public let defaultPoint: String
    public let points: [Point]
    /// The layers that have experts.
    public let layers: [Layer]

    enum CodingKeys: String, CodingKey {
        case source, bytes, model
        case minimum = "k_min"
        case maximum = "k_max"
        case expertCount = "expert_count"
        case layerCount = "layer_count"
        case defaultPoint = "default_point"
        case points, layers
    }

    init(_ profile: RoutingProfile, source: String, bytes: Int) {
        self.source = source
        self.bytes = bytes
        model = profile.model
        minimum = profile.minimum
        maximum = profile.maximum
        expertCount = profile.expertCount
        layerCount = profile.layers.count
        defaultPoint = profile.defaultPointName
        points = profile.points.map {
            Point(name: $0.name, mu: $0.mu, meanExperts: $0.meanExperts, perplexity: $0.perplexity, kl: $0.kl)
        }
        layers = profile.layers.enumerated().compactMap { index, layer in
            layer.map {
                Layer(layer: index, temperature: $0.temperature, logPrice: $0.logPrice, weights: $0.weights.count)
            }
        }
    }
}
