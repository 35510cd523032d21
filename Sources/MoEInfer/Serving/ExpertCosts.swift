// SPDX-License-Identifier: Apache-2.0

import MoEModel

/// The most that a token can cost in one model: expert evaluations over all MoE layers, from what the routers allow and what a
/// policy may ask for.
struct ExpertCosts: Sendable {
    private struct Layer {
        let modelExpertsPerToken: Int
        /// R: what a policy is asked with.
        let slots: Int
        /// What the router clamps counts to.
        let least: Int
        let most: Int
    }

    private let layers: [Layer]

    init(_ configuration: ModelConfiguration) {
        guard let experts = configuration.experts else {
            layers = []
            return
        }
        layers = experts.layers.indices.filter { experts.layers[$0] }.map { index in
            let spec = experts.routers[index]
            return Layer(
                modelExpertsPerToken: spec.slotsPerToken, slots: spec.slotCount, least: min(spec.kMin, spec.realExperts),
                // Slots of pseudo-experts are not computed.
                most: min(spec.kMax, spec.selectableSlots, spec.realExperts))
        }
    }

    var layerCount: Int { layers.count }

    /// Element c: the most evaluations of a token under this policy with at most c experts per layer. Never falls; the last
    /// element is the policy without a cap. `[0]` for a dense model.
    ///
    /// Example: layers with k = 2 and k = 4 under static routing give `[0, 2, 4, 5, 6]`.
    func perToken(_ policy: any RoutingPolicy) -> [Int] {
        let asked = layers.map {
            policy.maximumExperts(modelExpertsPerToken: $0.modelExpertsPerToken, expertCount: $0.slots)
        }
        let highest = zip(layers, asked).map { min(max($1, $0.least), $0.most) }.max() ?? 0
        return (0...highest).map { cap in
            zip(layers, asked).reduce(0) { $0 + min(max(min($1.1, cap), $1.0.least), $1.0.most) }
        }
    }
}

/// A policy under every cap that makes a difference. Policies are made once, so that a step allocates nothing.
struct CappedPolicies {
    private let base: any RoutingPolicy
    /// By cap: see ``ExpertCosts/perToken(_:)``.
    let costs: [Int]
    private var policies: [(any RoutingPolicy)?]

    init(_ base: any RoutingPolicy, costs: ExpertCosts) {
        self.base = base
        self.costs = costs.perToken(base)
        policies = Array(repeating: nil, count: self.costs.count)
    }

    /// The cap that changes nothing.
    var maximum: Int { costs.count - 1 }
    /// The smallest cap that is ever set: one expert, unless the policy never asks for any.
    var minimum: Int { min(1, maximum) }

    /// The largest cap, from ``minimum`` on, under which a token costs at most `evaluations`; ``minimum`` where none does.
    func cap(within evaluations: Int) -> Int {
        var cap = maximum
        while cap > minimum, costs[cap] > evaluations { cap -= 1 }
        return cap
    }

    mutating func policy(cap: Int) -> any RoutingPolicy {
        if cap >= maximum { return base }
        if let policy = policies[cap] { return policy }
        let policy = CappedRouting(base, maximum: cap)
        policies[cap] = policy
        return policy
    }
}
