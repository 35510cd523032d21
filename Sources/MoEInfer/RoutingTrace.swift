// SPDX-License-Identifier: Apache-2.0

import Glibc
import MoEModel
import MoETokenizer
import Synchronization

/// How each token of some texts was routed. Legend: L MoE layers, E experts, k experts that a token ran.
public struct RoutingTrace: Sendable, Encodable {
    public struct Token: Sendable, Encodable {
        public let id: Int32
        /// Whole characters: what a token only begins stands at the token that ends it.
        public let text: String
        /// k by MoE layer.
        public let experts: [Int]
        /// Mean of ``experts``.
        public var meanExperts: Double { experts.isEmpty ? 0 : Double(experts.reduce(0, +)) / Double(experts.count) }
    }

    /// One text, of one domain.
    public struct Domain: Sendable, Encodable {
        public let name: String
        public let tokens: [Token]
        /// `[L][E]`: tokens that each expert was computed for.
        public let load: [[Int]]
    }

    public let domains: [Domain]
    public let moe: MoEUsage
    /// Mutual information between domain and expert in bits, by layer: how much knowing the expert tells of the domain. 0 when
    /// all domains use the experts alike; at most log2 of the number of domains.
    public let mutualInformationBits: [Double]
    /// The most experts that a token ran in a layer, and the largest mean over layers.
    public let maximumExperts: Int
    public let largestMean: Double

    /// Where a mean lies between one expert and the largest mean: 0 to 1, the colour of a token.
    public func heat(_ meanExperts: Double) -> Double {
        largestMean <= 1 ? 0 : min(1, max(0, (meanExperts - 1) / (largestMean - 1)))
    }

    enum CodingKeys: String, CodingKey {
        case domains, moe
        case mutualInformationBits = "mutual_information_bits"
        case maximumExperts = "maximum_experts"
        case largestMean = "largest_mean"
    }

    init(domains: [Domain], moe: MoEUsage) {
        self.domains = domains
        self.moe = moe
        maximumExperts = domains.flatMap(\.tokens).flatMap(\.experts).max() ?? 0
        largestMean = domains.flatMap(\.tokens).map(\.meanExperts).max() ?? 0
        let layers = domains.first?.load.count ?? 0
        mutualInformationBits = (0..<layers).map { layer in Self.mutualInformation(domains.map { $0.load[layer] }) }
    }

    /// I(D; X) = Σ p(d, x) log2(p(d, x) / (p(d) p(x))), every domain weighing the same however long its text is.
    /// With two domains that never share an expert it is 1 bit.
    package static func mutualInformation(_ counts: [[Int]]) -> Double {
        let rows = counts.filter { $0.contains { $0 > 0 } }
            .map { row in row.map { Double($0) / Double(row.reduce(0, +)) } }
        guard let first = rows.first else { return 0 }
        let prior = 1 / Double(rows.count)
        let marginal = first.indices.map { expert in rows.reduce(0) { $0 + $1[expert] * prior } }
        var information = 0.0
        for row in rows {
            for (share, all) in zip(row, marginal) where share > 0 { information += prior * share * log2(share / all) }
        }
        return max(0, information)
    }
}

extension LLM {
    /// Reads texts as prompts and tells how each token was routed.
    ///
    /// - Parameters:
    ///   - texts: by domain, in order. A text longer than the context is read in windows that each start anew.
    ///   - routing: the policy of the prompt counts.
    /// - Throws: ``RequestError`` for a dense model or an empty text.
    public func route(_ texts: [(domain: String, text: String)], routing: RoutingChoice = RoutingChoice()) async throws
        -> RoutingTrace
    {
        let routing = try check(routing)
        let tokenizer = try tokenizer
        let (engine, chunk, window) = (engine, settings.chunk, contextLength)
        let statistics = RoutingStatistics()
        var domains: [RoutingTrace.Domain] = []
        for (name, text) in texts {
            let ids = tokenizer.encode(text, addSpecial: true, parseSpecial: false)
            guard !ids.isEmpty else { throw RequestError("the text '\(name)' has no tokens") }
            let recorder = RoutingRecorder(statistics)
            for start in stride(from: 0, to: ids.count, by: window) {
                try Task.checkCancellation()
                let piece = ids[start..<min(start + window, ids.count)]
                try await engine.exclusively { runner in
                    let pass = try EvaluationPass(
                        runner: runner, positions: piece.count, chunk: chunk, routing: routing, observer: recorder)
                    try pass.prefill(piece, scoring: .max) { _ in }
                }
            }
            let (experts, load) = recorder.recorded
            guard !experts.isEmpty else { throw RequestError("the model is dense: it has no experts to route to") }
            var decoder = StreamingDecoder(tokenizer)
            let tokens = ids.enumerated().map { index, id in
                RoutingTrace.Token(
                    id: id, text: tokenizer.isSpecial(id) ? tokenizer.display(id) : decoder.append(id),
                    experts: experts.map { $0[index] })
            }
            domains.append(RoutingTrace.Domain(name: name, tokens: tokens, load: load))
        }
        guard let usage = statistics.usage else { throw RequestError("no text was given") }
        return RoutingTrace(domains: domains, moe: usage)
    }
}

/// Keeps every token's counts in order, and counts along.
final class RoutingRecorder: RoutingObserver {
    private struct Layer {
        var experts: [Int] = []
        var load: [Int] = []
    }

    private let layers = Mutex<[Int: Layer]>([:])
    private let statistics: RoutingStatistics

    init(_ statistics: RoutingStatistics) { self.statistics = statistics }

    /// k by MoE layer and token, and tokens by MoE layer and expert.
    var recorded: (experts: [[Int]], load: [[Int]]) {
        layers.withLock { layers in
            let ordered = layers.sorted { $0.key < $1.key }.map(\.value)
            return (ordered.map(\.experts), ordered.map(\.load))
        }
    }

    func observe(_ event: borrowing RoutingEvent) {
        statistics.observe(event)
        layers.withLock { layers in
            var layer = layers.removeValue(forKey: event.layer) ?? Layer()
            if layer.load.isEmpty { layer.load = [Int](repeating: 0, count: event.expertCount) }
            for token in 0..<event.tokenCount {
                layer.experts.append(event.computedExperts(token: token))
                event.forEachExpert(token: token) { expert, _ in layer.load[expert] += 1 }
            }
            layers[event.layer] = layer
        }
    }
}
