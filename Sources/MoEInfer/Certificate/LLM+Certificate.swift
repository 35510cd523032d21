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
        var parity = ParityCertificate.Parity()
        parity.holds = figures.allSatisfy {
            $0.perplexityChange95[1] <= parity.perplexityChange95Limit && $0.kl <= parity.klLimit
                && $0.topOne >= parity.topOneLimit
        }
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
    /// Two machines may compute in different orders, so figures are not compared bit for bit: each must lie within the certified
    /// 95 % interval, and static perplexity and mean experts within 0.5 %.
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
        var checks = [CertificateCheck("model", expected: statement.model.sha256, found: certified.sha256)]
        let own = ParityCertificate.Policy(routing: specification, policy: policy)
        if statement.policy.gateSha256 == nil {
            checks.append(CertificateCheck("policy", expected: statement.policy.routing, found: own.routing))
        }
        checks.append(
            CertificateCheck(
                "learned gate", expected: statement.policy.gateSha256 ?? "none", found: own.gateSha256 ?? "none"))
        let found = texts.map(ParityCertificate.Text.init)
        for text in statement.texts {
            checks.append(
                CertificateCheck(
                    "text '\(text.domain)'", expected: text.sha256,
                    found: found.first { $0.domain == text.domain }?.sha256 ?? "not given"))
        }
        for text in found where !statement.texts.contains(where: { $0.domain == text.domain }) {
            checks.append(CertificateCheck("text '\(text.domain)'", expected: "no such text", found: text.sha256))
        }
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

    /// Figures of a second measurement against the certified ones.
    package static func compare(
        _ certified: ParityCertificate.Figures, _ measured: ParityCertificate.Figures
    ) -> [CertificateCheck] {
        func within(_ name: String, _ interval: [Double], _ value: Double) -> CertificateCheck {
            // An interval of a policy that changes nothing is a point; rounding must not fail it.
            let slack = 1e-6
            let holds = interval.count == 2 && value >= interval[0] - slack && value <= interval[1] + slack
            return CertificateCheck(
                "\(certified.domain): \(name)", holds: holds,
                expected: interval.map { "\(Float($0))" }.joined(separator: " to "), found: "\(Float(value))")
        }
        func near(_ name: String, _ expected: Double, _ found: Double) -> CertificateCheck {
            CertificateCheck(
                "\(certified.domain): \(name)", holds: abs(found - expected) <= 0.005 * abs(expected),
                expected: "\(Float(expected)) ± 0.5 %", found: "\(Float(found))")
        }
        return [
            near("static perplexity", certified.staticPerplexity, measured.staticPerplexity),
            within("change of perplexity", certified.perplexityChange95, measured.perplexityChange),
            within("KL", certified.kl95, measured.kl),
            near("mean experts", certified.meanExperts, measured.meanExperts),
        ]
    }
}

extension ParityCertificate.Text {
    init(_ text: (domain: String, text: String)) {
        let bytes = Data(text.text.utf8)
        self.init(domain: text.domain, bytes: bytes.count, sha256: SHA256.hash(data: bytes).hexadecimal)
    }
}

extension ParityCertificate.Policy {
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
