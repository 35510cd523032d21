// SPDX-License-Identifier: Apache-2.0

import Glibc
public import MoEModel

/// How policies are compared.
public struct ComparisonOptions: Sendable {
    /// The learned gate; nil: the one that the model carries, if any.
    public var profile: RoutingProfile?
    /// How the profile is named in `--routing`, for the report: `profile:P.json`, or `profile` for the model's own.
    public var profileName = "profile"
    /// Tokens of a window, BOS included.
    public var window = 512
    /// Tokens of each domain, at most.
    public var tokens = 8192
    /// Mean numbers of experts to compare at; empty: 3/16, 1/4, 3/8, 1/2 and 3/4 of the model's k.
    public var meanExperts: [Double] = []
    /// Policies to measure as they are, with their names for the report, instead of families at equal means; empty: the families.
    public var policies: [(name: String, policy: any RoutingPolicy)] = []
    /// Also a domain in which the others alternate.
    public var mixes = true
    /// Tokens of a prompt and tokens decoded after it, for speed.
    public var promptTokens = 256
    public var decodeTokens = 64
    /// Rounds of the speed measurement; nil: as many as `latencySeconds` allow, 5 to 31.
    public var rounds: Int?
    public var latencySeconds = 90.0
    /// Of the bootstrap.
    public var seed: UInt64 = 0

    public init() {}
}

extension LLM {
    /// Runs static, per-layer static, ratio, top-p and the learned gate on held-out text of several domains, at the same mean number
    /// of experts and at the same measured decode time.
    ///
    /// Memory beside the model's: one window of logits (window · vocabulary floats) and 4 bytes per policy and token.
    ///
    /// - Parameter texts: by domain. None of it may have been calibrated on.
    /// - Throws: ``RequestError`` for a dense model, too little text, or a profile of another model.
    public func compare(
        _ texts: [(domain: String, text: String)], options: ComparisonOptions = ComparisonOptions(),
        progress: @escaping @Sendable (CalibrationProgress) -> Void = { _ in }
    ) async throws -> ComparisonReport {
        var options = options
        if options.profile == nil { options.profile = try profile }
        return try await Comparison(llm: self, options: options, progress: progress).run(texts)
    }
}

/// One comparison.
struct Comparison {
    let llm: LLM
    let options: ComparisonOptions
    let progress: @Sendable (CalibrationProgress) -> Void

    private var k: Int { llm.expertsPerToken }
    private var minimum: Int { min(options.profile?.minimum ?? 1, k) }

    func run(_ texts: [(domain: String, text: String)]) async throws -> ComparisonReport {
        guard k > 0 else { throw RequestError("the model has no experts: there is nothing to compare") }
        guard k > 1 else { throw RequestError("the model runs one expert per token: there is nothing to compare") }
        try check()
        var warnings: [String] = []
        let text = try EvaluationText(
            texts, tokenizer: try llm.tokenizer, window: options.window, limit: options.tokens, mixes: options.mixes)
        if text.domains.count == 1 { warnings.append("one domain only: a policy may do worse on others") }
        if text.windows.count < 12 {
            warnings.append("\(text.windows.count) windows of text only: intervals from so few are too narrow")
        }
        let evaluator = PolicyEvaluator(llm: llm, windows: text.windows)

        let settings = try await settings(evaluator)
        let policies = settings.flatMap(\.1).map(\.policy)
        let total = (policies.count + 1) * text.windows.count
        let scores = try await evaluator.scores(of: policies) {
            progress(CalibrationProgress(phase: "quality", done: $0, total: total))
        }
        let probe = LatencyProbe(
            llm: llm, windows: text.windows.shuffledForTiming(), promptTokens: options.promptTokens,
            decodeTokens: options.decodeTokens, rounds: options.rounds, seconds: options.latencySeconds)
        let latencies = try await probe.measure([StaticRouting()] + policies) {
            progress(CalibrationProgress(phase: "speed", done: $0, total: $1))
        }

        let reference = PolicyCurve.Point(specification: "static", score: scores[0], latency: latencies[0])
        var curves: [PolicyCurve] = []
        var next = 1
        for (name, points) in settings {
            let measured = points.indices.map { index in
                PolicyCurve.Point(
                    specification: points[index].specification, score: scores[next + index],
                    latency: latencies[next + index])
            }
            next += points.count
            curves.append(PolicyCurve(name: name, points: measured + [reference]))
        }
        let misrouting = try await misrouting(evaluator, text: text)
        return report(curves, reference: reference, text: text, misrouting: misrouting, warnings: warnings)
    }

    /// Re-routing of the learned gate's unsure tokens, at three eighths of the model's experts; nothing without a gate.
    private func misrouting(
        _ evaluator: PolicyEvaluator, text: EvaluationText
    ) async throws -> [ComparisonReport.Misrouting] {
        guard options.policies.isEmpty, let profile = options.profile, let family = families.first, k >= 3 else {
            return []
        }
        var search = dialSearch(family, evaluator)
        let dial = try await search.dial(for: max(Double(minimum) + 0.5, 3 * Double(k) / 8))
        let probe = MisroutingProbe(
            family: family, evaluator: evaluator, text: text,
            bootstrap: PairedBootstrap(seed: options.seed, strata: text.strata))
        let hasDeviations = profile.layers.contains { $0?.deviations.isEmpty == false }
        return try await probe.measure(
            at: dial, rules: MisroutingProbe.rules(deviations: hasDeviations), search: &search
        ) { progress(CalibrationProgress(phase: "re-routing", done: $0, total: $1)) }
    }

    private func dialSearch(_ family: PolicyFamily, _ evaluator: PolicyEvaluator) -> DialSearch {
        DialSearch(family, evaluator: evaluator, range: (Double(minimum), Double(k)), tolerance: 0.00125 * Double(k))
    }

    private func check() throws {
        guard options.window >= 16, options.window <= llm.contextLength else {
            throw RequestError("windows of \(options.window) tokens were asked for; expected 16 to \(llm.contextLength)")
        }
        guard options.promptTokens >= 1, options.decodeTokens >= 1,
            options.promptTokens + options.decodeTokens <= options.window
        else {
            throw RequestError(
                "speed is measured on \(options.promptTokens) tokens of prompt and \(options.decodeTokens) decoded; "
                    + "together they must fit a window of \(options.window)")
        }
        if let bad = options.meanExperts.first(where: { !($0 >= Double(minimum) && $0 <= Double(k)) }) {
            throw RequestError("a mean of \(bad) experts was asked for; expected \(minimum) to \(k)")
        }
        if let profile = options.profile { _ = try llm.check(policy: profile.routing(mu: 0)) }
    }

    // MARK: Policies

    private typealias Setting = (policy: any RoutingPolicy, specification: String)

    private var targets: [Double] {
        if !options.meanExperts.isEmpty { return options.meanExperts.sorted() }
        let (low, high) = (Double(minimum), Double(k))
        if k < 4 { return [0.25, 0.5, 0.75].map { low + (high - low) * $0 } }
        let shares: [Double] = [3 / 16, 1 / 4, 3 / 8, 1 / 2, 3 / 4]
        return shares.map { $0 * high }.filter { $0 > low }
    }

    /// Every family's points, the candidate first.
    private func settings(_ evaluator: PolicyEvaluator) async throws -> [(String, [Setting])] {
        if !options.policies.isEmpty {
            return [(Self.given, try options.policies.map { (try llm.check(policy: $0.policy), $0.name) })]
        }
        var settings: [(String, [Setting])] = []
        let families = families
        for (index, family) in families.enumerated() {
            var search = dialSearch(family, evaluator)
            var points: [Setting] = []
            for (done, target) in targets.enumerated() {
                progress(
                    CalibrationProgress(
                        phase: "matching \(family.name)", done: index * targets.count + done,
                        total: families.count * targets.count))
                points.append(family.policy(try await search.dial(for: target)))
            }
            settings.append((family.name, points))
        }
        let counts = Set(targets.flatMap { [Int($0.rounded(.down)), Int($0.rounded(.up))] } + [minimum])
            .filter { $0 >= minimum && $0 < k }.sorted()
        let allocations = (options.profile?.allocations ?? []).filter { $0.meanExperts < Double(k) }
        if !allocations.isEmpty {
            settings.append(
                (
                    Self.perLayer,
                    allocations.map { one in
                        let counts = one.counts.map(String.init).joined(separator: ",")
                        return (StaticRouting(expertsPerToken: PerLayer(one.counts)), "static:k=\(counts)")
                    }
                ))
        }
        settings.append(
            ("static", counts.map { (StaticRouting(expertsPerToken: PerLayer($0)), "static:k=\($0)") }))
        return settings
    }

    private var families: [PolicyFamily] {
        let minimum = minimum
        var families: [PolicyFamily] = []
        if let profile = options.profile {
            let name = options.profileName
            families.append(
                PolicyFamily(name: Self.learned, most: -25, fewest: 10) { dial in
                    let mu = Float(exp(dial))
                    return (profile.routing(mu: mu), "\(name)@mu=\(mu)")
                })
        }
        families.append(topP("top-p", temperatures: nil))
        if let temperatures = options.profile?.topPTemperatures {
            families.append(topP("top-p, learned temperatures", temperatures: temperatures))
        }
        families.append(
            PolicyFamily(name: "ratio", most: 0, fewest: 1) { dial in
                let t = Float(dial)
                return (RatioRouting(minimum: minimum, threshold: PerLayer(t)), "ratio:min=\(minimum),t=\(t)")
            })
        families.append(
            // A logarithm: scores of few experts and of many differ by orders of magnitude.
            PolicyFamily(name: "absolute", most: -14, fewest: 0) { dial in
                let c = Float(exp(dial))
                return (AbsoluteRouting(minimum: minimum, threshold: PerLayer(c)), "absolute:c=\(c),min=\(minimum)")
            })
        return families
    }

    private func topP(_ name: String, temperatures: [Float]?) -> PolicyFamily {
        let (k, minimum) = (k, minimum)
        let list = temperatures.map { ",temperature=" + $0.map { "\($0)" }.joined(separator: ",") } ?? ""
        return PolicyFamily(name: name, most: 1, fewest: 0) { dial in
            let p = Float(dial)
            let policy = TopPRouting(
                p: PerLayer(p), minimum: minimum, maximum: k, temperature: PerLayer(temperatures ?? [1]))
            return (policy, "top-p:p=\(p),min=\(minimum),max=\(k)\(list)")
        }
    }

    static let learned = "the learned gate"
    static let perLayer = "per-layer static"
    static let given = "as given"

    // MARK: Report

    private func report(
        _ curves: [PolicyCurve], reference: PolicyCurve.Point, text: EvaluationText,
        misrouting: [ComparisonReport.Misrouting], warnings: [String]
    ) -> ComparisonReport {
        let bootstrap = PairedBootstrap(seed: options.seed, strata: text.strata)
        let figures = ComparisonFigures(reference: reference.score, text: text, bootstrap: bootstrap)
        let candidate = curves[0]
        // Equal time means the time of static routing at fewer experts: what a user gives up without a gate.
        let times = Set(curves.first { $0.name == "static" }.map { $0.times.dropLast() } ?? []).sorted()
        let byLatency = times.map { time in figures.match(at: time, candidate, among: curves) { $0.score(timeRatio: time) }
        }
        let byExperts = (options.policies.isEmpty ? targets : []).map { mean in
            figures.match(at: mean, candidate, among: curves) { $0.score(meanExperts: mean) }
        }
        let rival = curves.contains { $0.name == Self.perLayer } ? Self.perLayer : "static"
        var verdict = ComparisonReport.verdict(
            candidate: candidate.name, matched: byLatency.compactMap { $0 }, rival: rival)
        if !options.policies.isEmpty {
            verdict = "\(options.policies.count) policies as given, against static routing"
        } else if options.profile == nil {
            verdict = "no routing profile, so no learned gate; " + verdict
        }
        return ComparisonReport(
            verdict: verdict, warnings: warnings, engineVersion: LLM.engineVersion, model: llm.architecture,
            modelHash: llm.modelHash, expertsPerToken: k, expertCount: llm.expertCount, layerCount: llm.layerCount,
            threads: llm.threads, windowTokens: options.window, domains: text.domains,
            tokens: text.strata.map { $0.count * (options.window - 1) }, reference: figures.point(reference),
            policies: curves.map { curve in
                .init(name: curve.name, points: curve.points.dropLast().map(figures.point))
            },
            candidate: candidate.name, matchedExperts: byExperts.compactMap { $0 },
            matchedLatency: byLatency.compactMap { $0 }, misrouting: misrouting)
    }
}

extension [[Int32]] {
    /// Every domain early: speed is measured on few windows.
    func shuffledForTiming() -> [[Int32]] {
        var random = SplitMix(state: 1)
        return shuffled(using: &random)
    }
}
