// SPDX-License-Identifier: Apache-2.0

import Crypto
import Foundation

/// Ed25519 (RFC 8032) keys as PEM files, as `openssl genpkey -algorithm ed25519` writes them. RFC 8410 fixes the few bytes around
/// the 32 of a key, so no ASN.1 parser is needed: other forms are refused.
public struct SigningKey: Sendable {
    /// 32 bytes, known to be a key.
    fileprivate let raw: Data
    private static let prefix: [UInt8] = [
        0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
    ]

    /// - Throws: ``CertificateError``
    public init(pem: String, file: String) throws(CertificateError) {
        let bytes = try PEM.bytes(of: pem, label: "PRIVATE KEY", prefix: Self.prefix, file: file)
        guard (try? Curve25519.Signing.PrivateKey(rawRepresentation: bytes)) != nil else {
            throw CertificateError("\(file): not an Ed25519 key")
        }
        raw = bytes
    }
}

public struct VerificationKey: Sendable, Equatable {
    /// 32 bytes, known to be a key.
    fileprivate let raw: Data
    private static let prefix: [UInt8] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00]

    fileprivate init(_ key: Curve25519.Signing.PublicKey) { raw = key.rawRepresentation }

    /// - Throws: ``CertificateError``
    public init(pem: String, file: String) throws(CertificateError) {
        let bytes = try PEM.bytes(of: pem, label: "PUBLIC KEY", prefix: Self.prefix, file: file)
        guard let key = try? Curve25519.Signing.PublicKey(rawRepresentation: bytes) else {
            throw CertificateError("\(file): not an Ed25519 key")
        }
        self.init(key)
    }

    /// 32 bytes, base64.
    public var text: String { raw.base64EncodedString() }
}

private enum PEM {
    static func bytes(of pem: String, label: String, prefix: [UInt8], file: String) throws(CertificateError) -> Data {
        let lines = pem.split(whereSeparator: \.isNewline).map { String($0) }
        guard lines.first == "-----BEGIN \(label)-----", lines.last == "-----END \(label)-----",
            let data = Data(base64Encoded: lines.dropFirst().dropLast().joined()),
            data.count == prefix.count + 32, data.prefix(prefix.count) == Data(prefix)
        else {
            throw CertificateError("\(file): expected an Ed25519 key in PEM form ('-----BEGIN \(label)-----')")
        }
        return Data(data.dropFirst(prefix.count))
    }
}

extension ParityCertificate {
    private static let algorithm = "Ed25519"

    /// The same statement, signed.
    public func signed(by key: SigningKey) throws -> ParityCertificate {
        let key = try Curve25519.Signing.PrivateKey(rawRepresentation: key.raw)
        let value = try key.signature(for: try signedBytes)
        return ParityCertificate(
            statement: statement,
            signature: Signature(
                algorithm: Self.algorithm, publicKey: VerificationKey(key.publicKey).text,
                value: value.base64EncodedString()))
    }

    /// Who signed; nil when nobody did.
    /// - Throws: ``CertificateError`` when the signature does not fit the statement.
    public func signer() throws -> VerificationKey? {
        guard let signature else { return nil }
        guard signature.algorithm == Self.algorithm, let raw = Data(base64Encoded: signature.publicKey),
            let value = Data(base64Encoded: signature.value),
            let key = try? Curve25519.Signing.PublicKey(rawRepresentation: raw)
        else { throw CertificateError("the certificate's signature is none of Ed25519") }
        guard key.isValidSignature(value, for: try signedBytes) else {
            throw CertificateError("the certificate's signature does not fit what it says: it was changed after signing")
        }
        return VerificationKey(key)
    }
}
