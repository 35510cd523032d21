// SPDX-License-Identifier: Apache-2.0

/// What the routed experts of one generation cost, counted where they were computed.
public struct MoEUsage: Sendable, Equatable, Encodable {
    /// Experts per token and layer.
    public let meanExperts: Double
    /// Element k: how many (token, layer) pairs ran k experts.
    public let histogram: [Int]
    /// (token, layer, expert) triples computed.
    public let expertEvaluations: Int
    /// Bytes of expert weights read. Tokens that share an expert in one step share its bytes.
    public let expertBytesRead: Int
    /// Share of the evaluations that the model's own static k would have done.
    public let savedFraction: Double
    /// Share of the model's time that went into routers: gate product, gating function, policy.
    public let gateTimeFraction: Double
    /// (token, layer) pairs that were routed again with more experts, because the gate was unsure: see ``Rerouting``.
    public let reroutes: Int

    enum CodingKeys: String, CodingKey {
        case meanExperts = "mean_experts"
        case histogram
        case expertEvaluations = "expert_evaluations"
        case expertBytesRead = "expert_bytes_read"
        case savedFraction = "saved_fraction"
        case gateTimeFraction = "gate_time_fraction"
        case reroutes
    }
}

/// One MoE layer of one generation.
public struct LayerRouting: Sendable, Equatable, Encodable {
    public let layer: Int
    public let meanExperts: Double
    /// Element k: tokens that ran k experts.
    public let histogram: [Int]
    /// Element e: tokens that expert e was computed for.
    public let expertLoad: [Int]
    /// Tokens that were routed again with more experts.
    public let reroutes: Int
    /// Mean entropy of the router's softmax, in bits: 0 (one expert takes all) to log2(E).
    public let entropyBits: Double

    enum CodingKeys: String, CodingKey {
        case layer
        case meanExperts = "mean_experts"
        case histogram
        case expertLoad = "expert_load"
        case reroutes
        case entropyBits = "entropy_bits"
    }
}
