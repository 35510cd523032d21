// SPDX-License-Identifier: Apache-2.0

public import MoEModel

/// Whether a request drafts: guesses its next tokens cheaply, and lets one step of the model check them all, instead of one step
/// for every token (Leviathan et al. 2023, arXiv 2211.17192). What it says is the same, bit for bit, drafted or not: a token is
/// chosen from the model's own logits with the draw that is its own, and a draft counts only where it is that token.
///
/// ```
/// text so far   … the city was built in | the
/// draft                                         city  was   of
/// logits after                             the  city  was   of      four rows of one step
/// chosen                                   city was   built –       "of" is wrong: three tokens from one step
/// ```
///
/// As text: `off` | `lookup:n=3,max=8` | `experts:k=1,max=4`, both with `cost`.
public struct Speculation: Sendable {
    package enum Source: Sendable {
        case none
        /// Knows the text alone.
        case text(any TextDrafter)
        /// The model itself with few experts, whose tokens are drawn as the sequence's own would be.
        case model(any RoutingPolicy)
    }

    package let source: Source
    /// The most tokens of a draft.
    public let maximum: Int
    /// What drafting and checking one more token costs, as a share of a step without drafts: 0 to 1. With it and with how earlier
    /// drafts fared, drafts are made as long as pays. Not measured, so that a run can be repeated; `moe-infer bench --speculate`
    /// tells what suits a machine.
    public let cost: Float

    package init(_ source: Source, maximum: Int, cost: Float) {
        self.source = source
        self.maximum = min(max(maximum, 0), Self.maximumRange.upperBound)
        self.cost = min(max(cost, 0), 1)
    }

    package static let maximumRange = 1...32
    /// One token a step.
    public static let off = Speculation(.none, maximum: 0, cost: 1)

    /// Drafts what followed the last place at which the text went on as it ends now: prompt lookup. Costs nothing to draft; pays
    /// where text repeats itself or its prompt (code that is edited, quotations, summaries).
    /// - Parameters:
    ///   - longest: tokens that are looked for; fewer, down to 2, where so many are not found.
    ///   - maximum: 1 to 32.
    public static func lookup(longest: Int = 3, maximum: Int = 8, cost: Float = 0.5) -> Speculation {
        Speculation(.text(LookupDrafter(longest: longest)), maximum: maximum, cost: cost)
    }

    /// Drafts with the same weights and fewer experts, under static routing.
    /// - Parameters:
    ///   - count: experts of a draft, by layer.
    ///   - maximum: 1 to 32.
    public static func experts(_ count: PerLayer<Int>, maximum: Int = 4, cost: Float = 0.8) -> Speculation {
        Speculation(.model(StaticRouting(expertsPerToken: count)), maximum: maximum, cost: cost)
    }

    public var isOff: Bool { if case .none = source { true } else { maximum == 0 } }
}

extension Speculation {
    /// - Throws: ``SpeculationSpecificationError``, one line that names the field, what was expected and what was found.
    public static func parse(_ text: String) throws -> Speculation {
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        var fields = try SpecificationFields(parts.count > 1 ? parts[1] : nil) {
            SpeculationSpecificationError(description: "speculation '\(text)': \($0)")
        }
        let speculation: Speculation
        switch parts[0].trimmingSpaces {
        case "off": speculation = .off
        case "lookup":
            speculation = .lookup(
                longest: try fields.integer("n", 1...64) ?? 3, maximum: try fields.integer("max", maximumRange) ?? 8,
                cost: try fields.number("cost", 0...1) ?? 0.5)
        case "experts":
            guard let count = try fields.integers("k", 0...1024) else {
                throw SpeculationSpecificationError(description: "speculation '\(text)': 'k' is missing")
            }
            speculation = .experts(
                PerLayer(count), maximum: try fields.integer("max", maximumRange) ?? 4,
                cost: try fields.number("cost", 0...1) ?? 0.8)
        default:
            let kind = parts[0].trimmingSpaces
            throw SpeculationSpecificationError(
                description: "speculation '\(text)': unknown kind '\(kind)'; expected off, lookup or experts")
        }
        try fields.finish()
        return speculation
    }
}

/// A speculation string that does not parse.
public struct SpeculationSpecificationError: UsageError, Equatable, Sendable, CustomStringConvertible {
    public let description: String
}

/// What drafting brought and what it cost.
public struct SpeculationUsage: Sendable, Equatable, Encodable {
    /// Steps of the model after the prompt's: each gave one token, and one more for every draft that was accepted.
    public let steps: Int
    /// Tokens that were drafted and checked, and how many of these were right.
    public let drafted: Int
    public let accepted: Int
    /// Tokens after the first per step; 1 is what there is without drafts.
    public let tokensPerStep: Double
    /// Of the drafted tokens that were checked; 0 when there were none.
    public let acceptanceRate: Double
    /// What was computed in vain: drafts by the model itself, and rows of drafted tokens that were wrong. Not part of
    /// ``GenerationResult/Usage/moe``. nil when it was nothing, or the model is dense.
    public let moe: MoEUsage?

    enum CodingKeys: String, CodingKey {
        case steps, drafted, accepted
        case tokensPerStep = "tokens_per_step"
        case acceptanceRate = "acceptance_rate"
        case moe
    }

    init(steps: Int, drafted: Int, accepted: Int, moe: MoEUsage?) {
        self.steps = steps
        self.drafted = drafted
        self.accepted = accepted
        self.moe = moe
        tokensPerStep = steps == 0 ? 1 : Double(steps + accepted) / Double(steps)
        acceptanceRate = drafted == 0 ? 0 : Double(accepted) / Double(drafted)
    }
}

extension LLM {
    /// - Parameter routing: as checked for this model.
    /// - Throws: ``RequestError`` when drafts would change the text, or the model has no experts to leave out.
    func check(_ speculation: Speculation, routing: RoutingChoice) throws {
        if speculation.isOff { return }
        if routing.decode?.batchPolicy != nil {
            throw RequestError(
                "speculation needs a policy that routes each token by itself: drafts would be part of the batch's union")
        }
        if case .model(let policy) = speculation.source,
            let problem = policy.problem(layerCount: layerCount, expertCount: expertCount)
        {
            throw RequestError("speculation with few experts: \(problem)")
        }
    }
}
