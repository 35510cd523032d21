// SPDX-License-Identifier: Apache-2.0

import Foundation
import MoEInfer
import MoETestSupport
import Testing

/// Certificates of parity: what is signed, what is refused, and that a changed claim does not pass.
@Suite struct CertificateTests {
    // The example keys of RFC 8410, sections 10.1 and 10.3.
    private static let privateKey = """
        -----BEGIN PRIVATE KEY-----
        MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
        -----END PRIVATE KEY-----

        """
    private static let publicKey = """
        -----BEGIN PUBLIC KEY-----
        MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
        -----END PUBLIC KEY-----

        """

    private static func text() throws -> String {
        try String(contentsOf: Fixtures.directory.appendingPathComponent("demo/heldout.txt"), encoding: .utf8)
    }

    private func certified(_ routing: String) async throws -> (LLM, ParityCertificate) {
        var settings = Settings()
        settings.context = 256
        let llm = try await LLM.load(EngineTests.model, options: EngineOptions(settings: settings))
        var measurement = ParityCertificate.Measurement()
        (measurement.window, measurement.tokens) = (128, 1024)
        let certificate = try await llm.certify(
            [("prose", try Self.text())], routing: routing, measurement: measurement, commandLine: ["moe-infer", "certify"])
        return (llm, certificate)
    }

    @Test func aSignatureIsThatOfTheKey() async throws {
        let (_, certificate) = try await certified("static")
        #expect(try certificate.signer() == nil)
        let signed = try certificate.signed(by: try SigningKey(pem: Self.privateKey, file: "key"))
        #expect(try signed.signer() == VerificationKey(pem: Self.publicKey, file: "public"))
        #expect(signed.statement == certificate.statement)
        // Written, read, written: the same bytes.
        let again = try ParityCertificate(json: Data(try signed.json.utf8), file: "C")
        #expect(try again == signed && again.json == signed.json)
    }

    @Test func staticRoutingIsCertifiedAsTheModelItself() async throws {
        let (_, certificate) = try await certified("static")
        let all = try #require(certificate.statement.figures.first)
        #expect(all.kl == 0 && all.topOne == 1 && all.perplexityChange == 0 && all.meanExperts == 8)
        #expect(certificate.statement.parity.holds)
        let (_, cut) = try await certified("static:k=1")
        #expect(!cut.statement.parity.holds && cut.statement.figures.allSatisfy { $0.kl > 0.02 })
    }

    @Test func aMeasurementIsRepeated() async throws {
        let (llm, certificate) = try await certified("top-p:p=0.7")
        let text = try Self.text()
        let checks = try await llm.verify(certificate, texts: [("prose", text)])
        #expect(checks.allSatisfy(\.holds) && checks.count > 8, "\(checks)")

        // Another text, another policy, another name: each is told, and nothing is measured.
        let other = try await llm.verify(certificate, texts: [("prose", text + ".")])
        #expect(other.filter { !$0.holds }.map(\.name) == ["text 'prose'"] && other.count == 5)
        let policy = try await llm.verify(certificate, texts: [("prose", text)], routing: "top-p:p=0.8")
        #expect(policy.filter { !$0.holds }.map(\.name) == ["policy"])
        let names = try await llm.verify(certificate, texts: [("code", text)])
        #expect(names.filter { !$0.holds }.map(\.name) == ["text 'prose'", "text 'code'"])
    }

    /// A claim that is better than what is measured does not pass, however well it is signed.
    @Test func anEmbellishedClaimFails() async throws {
        let (llm, honest) = try await certified("top-p:p=0.5")
        let (_, better) = try await certified("top-p:p=0.9")
        // The figures of p = 0.9 under the name of p = 0.5.
        let json = try better.json.replacing("top-p:p=0.9", with: "top-p:p=0.5")
        let forged = try ParityCertificate(json: Data(json.utf8), file: "C")
        #expect(forged.statement.policy == honest.statement.policy)
        let checks = try await llm.verify(forged, texts: [("prose", try Self.text())])
        let failed = Set(checks.filter { !$0.holds }.map(\.name))
        #expect(failed.isSuperset(of: ["all: KL", "prose: KL", "all: mean experts"]), "\(failed)")
    }

    /// A signature says who makes a claim, so who signs may claim anything: each figure, interval and verdict is checked.
    @Test func everyClaimIsChecked() async throws {
        let (llm, honest) = try await certified("top-p:p=0.5")
        let text = try Self.text()
        func failed(_ key: String, _ change: (String) -> String) async throws -> [String] {
            var lines = try honest.json.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
            let index = try #require(lines.firstIndex { $0.contains("\"\(key)\" : ") })
            // Of an interval: its upper end.
            let line = lines[index].hasSuffix("[") ? index + 2 : index
            let value = try #require(lines[line].split(separator: " ").last).replacing(",", with: "")
            lines[line].replace(value, with: change(String(value)))
            let forged = try ParityCertificate(json: Data(lines.joined(separator: "\n").utf8), file: "C")
            #expect(forged != honest, "\(key)")
            return try await llm.verify(forged, texts: [("prose", text)]).filter { !$0.holds }.map(\.name)
        }
        func scaled(_ factor: Double) -> (String) -> String { { "\(Double($0)! * factor)" } }
        #expect(try await failed("holds") { $0 == "true" ? "false" : "true" } == ["parity, by these figures"])
        #expect(try await failed("kl_limit", scaled(2)) == ["parity, by these figures"])
        #expect(try await failed("kl", scaled(0.001)).contains("all: KL"))
        #expect(try await failed("kl95", scaled(3)) == ["all: KL"])
        #expect(try await failed("kl99", scaled(0.5)) == ["all: KL, 99 % of tokens"])
        #expect(try await failed("perplexity", scaled(0.9)) == ["all: perplexity"])
        #expect(try await failed("perplexity_change", scaled(-9)) == ["all: change of perplexity"])
        #expect(try await failed("perplexity_change95") { _ in "7.5" } == ["all: change of perplexity"])
        #expect(try await failed("top_one", { _ in "0.96875" }) == ["all: top-1"])
        #expect(try await failed("tokens_scored", { _ in "99999" }) == ["all: tokens"])
        #expect(try await failed("expert_count", { _ in "99" }) == ["model"])
        #expect(try await failed("bytes", { _ in "99" }) == ["text 'prose'"])
    }

    @Test func whatWasChangedAfterSigningIsRefused() async throws {
        let (_, certificate) = try await certified("top-p:p=0.7")
        let json = try certificate.signed(by: try SigningKey(pem: Self.privateKey, file: "key")).json
        func error(_ text: String) -> String {
            do {
                _ = try ParityCertificate(json: Data(text.utf8), file: "C.json").signer()
                return "none"
            } catch { return "\(error)" }
        }
        #expect(error(json) == "none")
        #expect(error(json.replacing("top-p:p=0.7", with: "top-p:p=0.6")).contains("changed after signing"))
        #expect(error(json.replacing("\"holds\" : false", with: "\"holds\" : true")).contains("changed after signing"))
        #expect(error(json + " ").contains("edited"))
        #expect(error(json.replacing("\"machine\"", with: "\"note\" : \"trust me\",\n    \"machine\"")).contains("edited"))
        #expect(error(json.replacing("\"version\" : 1", with: "\"version\" : 2")).contains("expected 1, found 2"))
        #expect(
            error(json.replacing("\"kl95_limit\"", with: "x").replacing("\"figures\"", with: "\"numbers\""))
                .contains("'figures' is missing"))
        #expect(error("{}").contains("not a certificate"))
        #expect(error("").contains("not a certificate"))
        #expect(error(String(repeating: "[", count: 100_000)).contains("not a certificate"))
        #expect(error(String(repeating: " ", count: 2 << 20)).contains("at most"))
    }

    @Test func whatIsNoKeyIsRefused() {
        for bad in ["", "key", Self.publicKey, Self.privateKey.replacing("MC4C", with: "MC4D"), Self.privateKey + "x"] {
            #expect(throws: CertificateError.self) { try SigningKey(pem: bad, file: "k") }
        }
        #expect(throws: CertificateError.self) { try VerificationKey(pem: Self.privateKey, file: "k") }
    }
}
