// SPDX-License-Identifier: Apache-2.0

/// The model's own routing: by the profile that its file carries, else static with the k it was trained with. Stands for what
/// only the loaded model knows, and is replaced by it before a request runs (``RoutingPolicy/resolved(_:)``). Where nobody
/// replaces it, it counts the model's own k.
public struct NativeRouting: RoutingPolicy, Equatable {
    public enum Point: Sendable, Equatable {
        /// The profile's default point; static where the model carries no profile. As text: `native`.
        case automatic
        /// The profile's default point. As text: `profile`. This and the next two are errors without a profile.
        case standard
        /// As text: `profile@fast`.
        case named(String)
        /// Any `mu`. As text: `profile@mu=0.01`.
        case price(Float)
    }

    public let point: Point

    public init(_ point: Point = .automatic) { self.point = point }

    public func resolved(_ native: (NativeRouting) throws -> any RoutingPolicy) throws -> any RoutingPolicy {
        try native(self)
    }

    public func maximumExperts(modelExpertsPerToken: Int, expertCount: Int) -> Int { modelExpertsPerToken }

    public func expertCount(for token: RoutingContext, logits: Span<Float>, ranked: Span<Float>) -> Int {
        token.modelExpertsPerToken
    }
}

extension RoutingProfile {
    /// nil: there is no such point.
    package func routing(_ point: NativeRouting.Point) -> LearnedRouting? {
        if case .price(let mu) = point { return routing(mu: mu) }
        return routing(point: name(of: point))
    }

    /// For messages.
    package func name(of point: NativeRouting.Point) -> String {
        switch point {
        case .automatic, .standard: defaultPointName
        case .named(let name): name
        case .price(let mu): "mu=\(mu)"
        }
    }
}
