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
        #expect(other.filter { !$0.holds }.map(\.name) == ["text 'prose'"] && other.count == 4)
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
