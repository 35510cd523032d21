// SPDX-License-Identifier: Apache-2.0

public import Foundation

/// What a third party needs to check "is it still the same model?": what was run on which text, and how far its predictions are
/// from the model's own static routing. docs/routing.md has the format.
public struct ParityCertificate: Sendable, Codable, Equatable {
    public static let schema = "moe-infer.parity-certificate"
    public static let version = 1

    public struct Model: Sendable, Codable, Equatable {
        public let architecture: String
        /// SHA-256 over the names, types, shapes and whole contents of all tensors.
        public let sha256: String
        public let expertsPerToken: Int
        public let expertCount: Int
        public let layerCount: Int
    }

    public struct Policy: Sendable, Codable, Equatable {
        /// As `--routing` takes it; of a profile's path only the last part.
        public let routing: String
        /// SHA-256 over the learned gate's heads and its mu; nil without one.
        public let gateSha256: String?
    }

    public struct Text: Sendable, Codable, Equatable {
        public let domain: String
        public let bytes: Int
        public let sha256: String
    }

    /// How the text was measured.
    public struct Measurement: Sendable, Codable, Equatable {
        public var window = 512
        /// Tokens of each text, at most.
        public var tokens = 16384
        /// Of the bootstrap.
        public var seed: UInt64 = 0

        public init() {}
    }

    /// Against the model's own static routing on the same text.
    public struct Figures: Sendable, Codable, Equatable {
        public let domain: String
        public let tokensScored: Int
        public let staticPerplexity: Double
        public let perplexity: Double
        /// Relative, with its 95 % interval.
        public let perplexityChange: Double
        public let perplexityChange95: [Double]
        /// Mean KL(static ‖ policy) in nats per token, its 95 % interval, and what 99 % of the tokens stay below.
        public let kl: Double
        public let kl95: [Double]
        public let kl99: Double
        /// Share of tokens with the same likeliest successor.
        public let topOne: Double
        public let meanExperts: Double
    }

    /// Parity: the upper end of the interval of the change of perplexity at most 1 %, mean KL at most 0.02, and the same likeliest
    /// token for at least 97 %; for each text and for all together.
    public struct Parity: Sendable, Codable, Equatable {
        public var perplexityChange95Limit = 0.01
        public var klLimit = 0.02
        public var topOneLimit = 0.97
        public var holds = false
    }

    public struct Statement: Sendable, Codable, Equatable {
        public let engineVersion: String
        public let created: Date
        public let commandLine: [String]
        public let machine: String
        public let model: Model
        public let policy: Policy
        public let texts: [Text]
        public let measurement: Measurement
        /// All texts together, then each.
        public let figures: [Figures]
        public let parity: Parity
    }

    public struct Signature: Sendable, Codable, Equatable {
        public let algorithm: String
        /// 32 bytes, base64.
        public let publicKey: String
        /// 64 bytes, base64: over the statement in canonical form.
        public let value: String
    }

    public let schema: String
    public let version: Int
    public let statement: Statement
    public let signature: Signature?

    init(statement: Statement, signature: Signature? = nil) {
        (schema, version) = (Self.schema, Self.version)
        self.statement = statement
        self.signature = signature
    }
}

/// A certificate that cannot be believed, in one line.
public struct CertificateError: Error, Equatable, Sendable, CustomStringConvertible {
    public let description: String

    init(_ description: String) { self.description = description }
}

// MARK: Text

extension ParityCertificate {
    static let sizeLimit = 1 << 20

    /// The file: JSON with sorted keys. The same certificate gives the same bytes.
    public var json: String { get throws { String(decoding: try Self.encode(self), as: UTF8.self) + "\n" } }

    /// What is signed.
    var signedBytes: Data { get throws { try Self.encode(statement) } }

    private static func encode(_ value: some Encodable) throws -> Data {
        let encoder = JSONEncoder()
        encoder.keyEncodingStrategy = .convertToSnakeCase
        encoder.dateEncodingStrategy = .iso8601
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return try encoder.encode(value)
    }

    /// Reads a certificate. Only the canonical form is read: a file with a field more, or one written twice, says something that the
    /// signature does not cover.
    ///
    /// - Parameter file: for messages.
    /// - Throws: ``CertificateError``
    public init(json: Data, file: String) throws(CertificateError) {
        guard json.count <= Self.sizeLimit else {
            throw CertificateError("\(file): a certificate of \(json.count) bytes; expected at most \(Self.sizeLimit)")
        }
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        decoder.dateDecodingStrategy = .iso8601
        struct Head: Decodable {
            let schema: String
            let version: Int
        }
        guard let head = try? decoder.decode(Head.self, from: json), head.schema == Self.schema else {
            throw CertificateError("\(file): not a certificate; expected schema '\(Self.schema)'")
        }
        guard head.version == Self.version else {
            throw CertificateError("\(file): unknown version; expected \(Self.version), found \(head.version)")
        }
        do {
            self = try decoder.decode(Self.self, from: json)
        } catch {
            throw CertificateError("\(file): a damaged certificate: \(Self.reason(error))")
        }
        guard let canonical = try? self.json, Data(canonical.utf8) == json else {
            throw CertificateError("\(file): not in the form that certificates are written in: it was edited")
        }
    }

    private static func reason(_ error: any Error) -> String {
        func place(_ context: DecodingError.Context) -> String {
            context.codingPath.map(\.stringValue).joined(separator: ".")
        }
        return switch error {
        case DecodingError.keyNotFound(let key, _): "'\(key.stringValue)' is missing"
        case DecodingError.typeMismatch(_, let context), DecodingError.valueNotFound(_, let context),
            DecodingError.dataCorrupted(let context):
            "'\(place(context))' cannot be read"
        default: "it cannot be read"
        }
    }
}
