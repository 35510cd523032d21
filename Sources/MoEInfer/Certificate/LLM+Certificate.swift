// SPDX-License-Identifier: Apache-2.0

import Crypto
public import Foundation
import Glibc
import MoECompute
import MoEModel

extension LLM {
    /// Measures a policy against static routing and says so in a certificate, not signed yet.
    ///
    /// - Parameters:
    ///   - routing: the policy as `--routing` takes it.
    ///   - commandLine: for the record.
    /// - Throws: ``RequestError``, ``RoutingSpecificationError`` or ``ModelFileError``
    public func certify(
        _ texts: [(domain: String, text: String)], routing: String, measurement: ParityCertificate.Measurement = .init(),
        commandLine: [String] = [], created: Date = Date(),
        progress: @escaping @Sendable (CalibrationProgress) -> Void = { _ in }
    ) async throws -> ParityCertificate {
        let policy = try check(policy: try RoutingSpecification.parse(routing))
        let figures = try await figures(texts, policy: policy, measurement: measurement, progress: progress)
        let parity = ParityCertificate.Parity(figures)
        return ParityCertificate(
            statement: ParityCertificate.Statement(
                engineVersion: LLM.engineVersion,
                // Whole seconds: what is written reads back as it is.
                created: Date(timeIntervalSince1970: created.timeIntervalSince1970.rounded(.down)),
                commandLine: commandLine, machine: "\(ComputeDiagnosis.model()), \(threads) threads",
                model: certified, policy: ParityCertificate.Policy(routing: routing, policy: policy),
                texts: texts.map(ParityCertificate.Text.init), measurement: measurement, figures: figures, parity: parity))
    }

    /// Checks what a certificate says of this model, and measures again.
    ///
    /// Two machines may compute in different orders, so figures are not compared bit for bit: ``CertificateCheck/compare(_:_:)`` has
    /// how near each must be. Every claim is checked, the intervals and the verdict too: a signature says who wrote them, not that
    /// they are true.
    ///
    /// - Parameters:
    ///   - routing: the policy here, where a profile has another path than on the machine that certified; nil: as certified.
    ///   - measures: false: hashes only.
    /// - Returns: every check, failed or not.
    public func verify(
        _ certificate: ParityCertificate, texts: [(domain: String, text: String)], routing: String? = nil,
        measures: Bool = true, progress: @escaping @Sendable (CalibrationProgress) -> Void = { _ in }
    ) async throws -> [CertificateCheck] {
        let statement = certificate.statement
        let specification = routing ?? statement.policy.routing
        let policy = try check(policy: try RoutingSpecification.parse(specification))
        var checks = [CertificateCheck("model", expected: statement.model, found: certified)]
        let own = ParityCertificate.Policy(routing: specification, policy: policy)
        if statement.policy.gateSha256 == nil {
            checks.append(CertificateCheck("policy", expected: statement.policy.routing, found: own.routing))
        }
        checks.append(
            CertificateCheck(
                "learned gate", expected: statement.policy.gateSha256 ?? "none", found: own.gateSha256 ?? "none"))
        if statement.policy.gateSha256 != nil, statement.policy.additions != own.additions {
            checks.append(CertificateCheck("policy", expected: statement.policy.additions, found: own.additions))
        }
        let found = texts.map(ParityCertificate.Text.init)
        for text in statement.texts {
            checks.append(
                CertificateCheck("text '\(text.domain)'", expected: text, found: found.first { $0.domain == text.domain }))
        }
        for text in found where !statement.texts.contains(where: { $0.domain == text.domain }) {
            checks.append(CertificateCheck("text '\(text.domain)'", expected: "no such text", found: text.sha256))
        }
        let parity = ParityCertificate.Parity(statement.figures)
        checks.append(
            CertificateCheck("parity, by these figures", expected: statement.parity.text, found: parity.text))
        guard measures, checks.allSatisfy(\.holds) else { return checks }

        let figures = try await figures(
            statement.texts.map { text in texts.first { $0.domain == text.domain }! }, policy: policy,
            measurement: statement.measurement, progress: progress)
        guard figures.map(\.domain) == statement.figures.map(\.domain) else {
            checks.append(
                CertificateCheck(
                    "domains", expected: "\(statement.figures.map(\.domain))", found: "\(figures.map(\.domain))"))
            return checks
        }
        for (certified, measured) in zip(statement.figures, figures) {
            checks += CertificateCheck.compare(certified, measured)
        }
        return checks
    }

    private static let all = "all"

    private var certified: ParityCertificate.Model {
        ParityCertificate.Model(
            architecture: architecture, sha256: identity.fullHash, expertsPerToken: expertsPerToken,
            expertCount: expertCount, layerCount: layerCount)
    }

    private func figures(
        _ texts: [(domain: String, text: String)], policy: any RoutingPolicy,
        measurement: ParityCertificate.Measurement, progress: @escaping @Sendable (CalibrationProgress) -> Void
    ) async throws -> [ParityCertificate.Figures] {
        guard expertsPerToken > 0 else { throw RequestError("the model has no experts: there is nothing to certify") }
        guard policy.batchPolicy == nil else {
            throw RequestError("a policy by the batch's union cannot be certified: it depends on what else is running")
        }
        guard measurement.window >= 16, measurement.window <= contextLength, measurement.tokens >= 1 else {
            throw RequestError(
                "\(measurement.tokens) tokens in windows of \(measurement.window) were asked for; expected windows of 16 to "
                    + "\(contextLength)")
        }
        if texts.contains(where: { $0.domain == Self.all }) {
            throw RequestError("a text cannot be named '\(Self.all)': that is all of them together")
        }
        let text = try EvaluationText(
            texts, tokenizer: try tokenizer, window: measurement.window, limit: measurement.tokens, mixes: false)
        let total = 2 * text.windows.count
        let scores = try await PolicyEvaluator(llm: self, windows: text.windows).scores(of: [policy]) {
            progress(CalibrationProgress(phase: "measuring", done: $0, total: total))
        }
        let bootstrap = PairedBootstrap(seed: measurement.seed, strata: text.strata)
        let parts = [(Self.all, Array(text.windows.indices))] + zip(text.domains, text.strata)
        return parts.map { domain, indices in
            let (own, reference) = (scores[1].only(indices), scores[0].only(indices))
            return ParityCertificate.Figures(
                domain: domain, tokensScored: indices.count * (measurement.window - 1),
                staticPerplexity: reference.perplexity, perplexity: own.perplexity,
                perplexityChange: expm1(own.lossDifference(to: reference)),
                perplexityChange95: bootstrap.lossDifference(scores[1], scores[0], only: domain == Self.all ? nil : indices)
                    .map(expm1), kl: own.kl,
                kl95: bootstrap.kl(scores[1], only: domain == Self.all ? nil : indices), kl99: own.klQuantile(0.99),
                topOne: own.topOne,
                meanExperts: own.meanExperts)
        }
    }
}

/// One thing that a certificate says, and what was found.
public struct CertificateCheck: Sendable, Equatable, Encodable {
    public let name: String
    public let holds: Bool
    public let expected: String
    public let found: String

    init(_ name: String, holds: Bool, expected: String, found: String) {
        (self.name, self.holds, self.expected, self.found) = (name, holds, expected, found)
    }

    init(_ name: String, expected: String, found: String) {
        self.init(name, holds: expected == found, expected: expected, found: found)
    }

    init(_ name: String, expected: ParityCertificate.Model, found: ParityCertificate.Model) {
        let same = expected.sha256 == found.sha256
        self.init(
            name, holds: expected == found, expected: same && expected != found ? expected.text : expected.sha256,
            found: same && expected != found ? found.text : found.sha256)
    }

    init(_ name: String, expected: ParityCertificate.Text, found: ParityCertificate.Text?) {
        let same = expected.sha256 == found?.sha256 && expected != found
        self.init(
            name, holds: expected == found, expected: same ? "\(expected.bytes) bytes" : expected.sha256,
            found: found.map { same ? "\($0.bytes) bytes" : $0.sha256 } ?? "not given")
    }

    /// Figures of a second measurement against the certified ones.
    ///
    /// What is measured lies within the certified 95 % interval, and so does the certified figure itself. The interval's ends are
    /// within half its measured width of those measured here, so that it cannot be widened until everything fits. Perplexities and
    /// mean experts agree to 0.5 %, the 99 % quantile of KL to 25 %, top-1 to half a point, the number of tokens exactly.
    package static func compare(
        _ certified: ParityCertificate.Figures, _ measured: ParityCertificate.Figures
    ) -> [CertificateCheck] {
        // An interval of a policy that changes nothing is a point; rounding must not fail it.
        let slack = 1e-6
        func check(_ name: String, _ holds: Bool, _ expected: String, _ found: String) -> CertificateCheck {
            CertificateCheck("\(certified.domain): \(name)", holds: holds, expected: expected, found: found)
        }
        func within(
            _ name: String, _ claim: (value: Double, interval: [Double]), _ here: (value: Double, interval: [Double])
        ) -> CertificateCheck {
            var holds = claim.interval.count == 2 && here.interval.count == 2
            if holds {
                let range = (claim.interval[0] - slack, claim.interval[1] + slack)
                let reach = slack + (here.interval[1] - here.interval[0]) / 2
                holds =
                    [claim.value, here.value].allSatisfy { $0 >= range.0 && $0 <= range.1 }
                    && zip(claim.interval, here.interval).allSatisfy { abs($0 - $1) <= reach }
            }
            func text(_ figure: (value: Double, interval: [Double])) -> String {
                "\(Float(figure.value)) (\(figure.interval.map { "\(Float($0))" }.joined(separator: " to ")))"
            }
            return check(name, holds, text(claim), text(here))
        }
        func near(_ name: String, _ claim: Double, _ here: Double, relative: Double = 0, absolute: Double = 0)
            -> CertificateCheck
        {
            let margin = relative > 0 ? "\(Float(100 * relative)) %" : "\(Float(absolute))"
            return check(
                name, abs(here - claim) <= relative * abs(here) + absolute, "\(Float(claim)) ± \(margin)", "\(Float(here))")
        }
        return [
            check(
                "tokens", certified.tokensScored == measured.tokensScored, "\(certified.tokensScored)",
                "\(measured.tokensScored)"),
            near("static perplexity", certified.staticPerplexity, measured.staticPerplexity, relative: 0.005),
            near("perplexity", certified.perplexity, measured.perplexity, relative: 0.005),
            within(
                "change of perplexity", (certified.perplexityChange, certified.perplexityChange95),
                (measured.perplexityChange, measured.perplexityChange95)),
            within("KL", (certified.kl, certified.kl95), (measured.kl, measured.kl95)),
            near("KL, 99 % of tokens", certified.kl99, measured.kl99, relative: 0.25, absolute: slack),
            near("top-1", certified.topOne, measured.topOne, absolute: 0.005),
            near("mean experts", certified.meanExperts, measured.meanExperts, relative: 0.005),
        ]
    }
}

extension ParityCertificate.Text {
    init(_ text: (domain: String, text: String)) {
        let bytes = Data(text.text.utf8)
        self.init(domain: text.domain, bytes: bytes.count, sha256: SHA256.hash(data: bytes).hexadecimal)
    }
}

extension ParityCertificate.Model {
    var text: String { "\(architecture), \(layerCount) layers, \(expertsPerToken) of \(expertCount) experts" }
}

extension ParityCertificate.Parity {
    /// The verdict that these figures give at the standard limits.
    init(_ figures: [ParityCertificate.Figures]) {
        let limits = Self()
        self = limits
        holds = figures.allSatisfy {
            // Of a certificate that was read, an interval may have any length.
            ($0.perplexityChange95.last ?? .infinity) <= limits.perplexityChange95Limit && $0.kl <= limits.klLimit
                && $0.topOne >= limits.topOneLimit
        }
    }

    var text: String { "\(holds ? "holds" : "does not hold") at \(perplexityChange95Limit), \(klLimit), \(topOneLimit)" }
}

extension ParityCertificate.Policy {
    /// What follows the learned gate's profile: re-routing.
    var additions: String {
        routing.range(of: "+reroute").map { String(routing[$0.lowerBound...]) } ?? "nothing more"
    }

    /// Without the folders of a profile: they are this machine's.
    init(routing: String, policy: any RoutingPolicy) {
        var text = routing
        if text.hasPrefix("profile:"), let slash = text.lastIndex(of: "/") {
            text = "profile:" + text[text.index(after: slash)...]
        }
        self.routing = text
        gateSha256 = (policy.innermost as? LearnedRouting).map { learned in
            let heads = RoutingProfile(
                model: learned.model, minimum: learned.minimum, maximum: learned.maximum, expertCount: learned.expertCount,
                layers: learned.layers, points: [])
            return SHA256.hash(data: Data("\(learned.mu)\n\(heads.json)".utf8)).hexadecimal
        }
    }
}

extension SHA256.Digest {
    var hexadecimal: String { map { String(format: "%02x", $0) }.joined() }
}
