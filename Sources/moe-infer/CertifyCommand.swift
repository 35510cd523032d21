// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import Foundation
import MoEInfer

struct CertifyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "certify",
        abstract: "Measure how far a policy is from the model itself, and write a certificate.",
        discussion: """
            The certificate names model, policy and text by their hashes and holds perplexity, KL and agreement with static
            routing, with 95 % intervals. With --key it is signed (Ed25519). Others check it with `moe-infer verify`.

            EXAMPLES
              openssl genpkey -algorithm ed25519 -out key.pem
              moe-infer certify --text prose=a.txt --text code=b.py --routing profile:P.json@parity --key key.pem --out C.json
              openssl pkey -in key.pem -pubout -out public.pem
              moe-infer verify C.json --text prose=a.txt --text code=b.py --public-key public.pem
            """)

    @Option(help: ArgumentHelp("A text file, or NAME=FILE. May be given several times.", valueName: "file"))
    var text: [String]

    @Option(help: ArgumentHelp("The policy, as for generate.", valueName: "spec"))
    var routing: String

    @Option(help: "Where the certificate goes.")
    var out: String

    @Option(help: "A private key (PEM, Ed25519) to sign with.")
    var key: String?

    @Option(help: "Tokens of each text to use, spread over it.")
    var tokens = ParityCertificate.Measurement().tokens

    @Option(help: "Tokens of a window.")
    var window = ParityCertificate.Measurement().window

    @Option(help: "Of the resampling that gives intervals.")
    var seed: UInt64 = 0

    @OptionGroup var model: ModelOptions

    @Flag(help: "Also write the certificate to standard output.")
    var json = false

    func validate() throws {
        if tokens < 1 { throw ValidationError("--tokens must be at least 1") }
        if window < 16 { throw ValidationError("--window must be at least 16") }
    }

    func run() async throws {
        let key = try key.map { try SigningKey(pem: try PromptInput.read(argument: nil, file: $0), file: $0) }
        let texts = try text.map { try TextDomain.read($0) }
        try OutputFile.check(out)
        var chosen = ParityCertificate.Measurement()
        (chosen.tokens, chosen.window, chosen.seed) = (tokens, window, seed)
        let llm = try await model.load(context: max(window, model.context ?? 0))
        let (routing, measurement) = (routing, chosen)
        let unsigned = try await Interrupts.cancelling {
            let bar = ProgressBar("certify")
            let certificate = try await llm.certify(
                texts, routing: routing, measurement: measurement, commandLine: CommandLine.arguments
            ) { bar.show($0.done, of: $0.total, detail: $0.phase) }
            bar.finish()
            return certificate
        }
        let certificate = try key.map { try unsigned.signed(by: $0) } ?? unsigned
        let text = try certificate.json
        try OutputFile.write(text, to: out)
        if json {
            Terminal.write(text)
        } else {
            Terminal.write(Self.page(certificate))
        }
        Terminal.error("[\(out), \(key == nil ? "not signed" : "signed")]")
    }

    static func page(_ certificate: ParityCertificate) -> String {
        let statement = certificate.statement
        let head = ["text", "tokens", "static", "perplexity", "change", "95 %", "KL", "95 %", "top-1", "mean k"]
        let rows = statement.figures.map {
            [
                $0.domain, "\($0.tokensScored)", Figures.number($0.staticPerplexity, 3), Figures.number($0.perplexity, 3),
                Figures.percent($0.perplexityChange), Figures.interval($0.perplexityChange95.map { 100 * $0 }, 2),
                Figures.small($0.kl), Figures.small($0.kl95), Figures.number(100 * $0.topOne, 1) + " %",
                Figures.number($0.meanExperts, 2),
            ]
        }
        let parity = statement.parity
        let limits =
            "change of perplexity at most \(Figures.percent(parity.perplexityChange95Limit)) at the interval's upper end, KL at most "
            + "\(parity.klLimit), the same likeliest token for \(Figures.number(100 * parity.topOneLimit, 0)) %, on each text"
        return "parity \(parity.holds ? "holds" : "does NOT hold"): \(limits)\n\n" + Figures.table([head] + rows)
    }
}

struct VerifyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify",
        abstract: "Check a certificate: its signature, the model's and texts' hashes, and the figures, measured again.",
        discussion: """
            Exit code 0 when every check holds, 1 otherwise. Texts must have the names and bytes that were certified.

            EXAMPLES
              moe-infer verify C.json --text prose=a.txt --text code=b.py --public-key public.pem
              moe-infer verify C.json --text prose=a.txt --routing profile:elsewhere/P.json@parity --no-rerun --json
            """)

    @Argument(help: "The certificate.")
    var certificate: String

    @Option(help: ArgumentHelp("A text file, or NAME=FILE. May be given several times.", valueName: "file"))
    var text: [String]

    @Option(
        help: ArgumentHelp("The policy, where its profile has another path here. Default: as certified.", valueName: "spec")
    )
    var routing: String?

    @Option(help: "A public key (PEM, Ed25519) that must have signed. Without it any signer will do, even none.")
    var publicKey: String?

    @Flag(help: "Check signature and hashes only.")
    var noRerun = false

    @OptionGroup var model: ModelOptions

    @Flag(help: "Write the checks as one JSON document.")
    var json = false

    private struct Report: Encodable {
        let holds: Bool
        let signedBy: String?
        let parityHolds: Bool
        let checks: [CertificateCheck]
    }

    func run() async throws {
        let bytes = Data(try PromptInput.read(argument: nil, file: certificate).utf8)
        let certificate = try ParityCertificate(json: bytes, file: certificate)
        let signer = try certificate.signer()
        if let publicKey {
            let wanted = try VerificationKey(pem: try PromptInput.read(argument: nil, file: publicKey), file: publicKey)
            guard let signer else { throw InputError(description: "the certificate is not signed") }
            guard signer == wanted else {
                throw InputError(description: "the certificate was signed by another key: \(signer.text)")
            }
        }
        let texts = try text.map { try TextDomain.read($0) }
        let window = certificate.statement.measurement.window
        let llm = try await model.load(context: max(min(window, 1 << 20), model.context ?? 0))
        let (routing, measures) = (routing, !noRerun)
        let checks = try await Interrupts.cancelling {
            let bar = ProgressBar("verify")
            let checks = try await llm.verify(certificate, texts: texts, routing: routing, measures: measures) {
                bar.show($0.done, of: $0.total, detail: $0.phase)
            }
            bar.finish()
            return checks
        }
        let holds = checks.allSatisfy(\.holds)
        if json {
            try Terminal.write(
                json: Report(
                    holds: holds, signedBy: signer?.text, parityHolds: certificate.statement.parity.holds, checks: checks))
        } else {
            let rows = checks.map { [$0.name, $0.holds ? "holds" : "DIFFERS", $0.expected, $0.found] }
            Terminal.write("signed by: \(signer?.text ?? "nobody")\n\n")
            Terminal.write(Figures.table([["check", "", "certified", "here"]] + rows))
            Terminal.write("\n" + CertifyCommand.page(certificate))
        }
        if !holds {
            let failed = checks.filter { !$0.holds }.map(\.name).joined(separator: ", ")
            throw InputError(description: "the certificate does not hold here: \(failed)")
        }
    }
}
