// SPDX-License-Identifier: Apache-2.0

/// A SentencePiece `.model` file: a protocol buffer (sentencepiece_model.proto), of which the fields that matter are read.
struct SentencePieceModel {
    enum Kind: Int {
        case unigram = 1
        case bytePairs, word, character
    }
    enum PieceType: Int {
        case normal = 1
        case unknown, control, userDefined, unused, byte
    }

    struct Piece {
        var text: [UInt8] = []
        var score: Float = 0
        var type = PieceType.normal
    }

    var pieces: [Piece] = []
    var kind = Kind.unigram
    var unknown = 0
    var bos = 1
    var eos = 2
    var putsSpacesLast = false
    var charsmap: [UInt8] = []
    var addsSpace = true
    var removesExtraSpaces = true
    var writesMarks = true

    private static let pieceLimit = 1 << 22

    /// Whether the bytes begin as a model does: with a piece, or with one of the specifications.
    static func isLikely(_ bytes: [UInt8]) -> Bool {
        var fields = ProtocolBuffer(bytes[...])
        guard let (number, value) = try? fields.next(), (1...3).contains(number), case .bytes(let inner) = value else {
            return false
        }
        var piece = ProtocolBuffer(inner)
        return (try? piece.next()) != nil
    }

    init(_ bytes: [UInt8], source: String) throws(TokenizerError) {
        func error(_ problem: String, _ expected: String? = nil, _ found: String? = nil) -> TokenizerError {
            TokenizerError(file: source, problem: problem, expected: expected, found: found)
        }
        do throws(ProtocolBuffer.Failure) {
            var fields = ProtocolBuffer(bytes[...])
            while let (number, value) = try fields.next() {
                switch (number, value) {
                case (1, .bytes(let inner)):
                    guard pieces.count < Self.pieceLimit else { throw ProtocolBuffer.Failure(what: "too many pieces") }
                    pieces.append(try Self.piece(inner))
                case (2, .bytes(let inner)): try readTrainer(inner)
                case (3, .bytes(let inner)): try readNormalizer(inner)
                default: break
                }
            }
        } catch {
            throw TokenizerError(file: source, problem: "no SentencePiece model: \(error.what)")
        }
        guard !pieces.isEmpty else { throw error("no SentencePiece model: it has no pieces") }
        guard pieces.indices.contains(unknown), pieces[unknown].type == .unknown else {
            throw error("unk_id is not the unknown piece", "one of 0 to \(pieces.count - 1)", "\(unknown)")
        }
        guard kind == .unigram || kind == .bytePairs else {
            throw error("model_type is not supported", "unigram or bpe", "\(kind)")
        }
        if let long = pieces.first(where: { $0.text.count > TokenizerJSON.longestPiece }) {
            throw error("a piece is too long", "at most \(TokenizerJSON.longestPiece) bytes", "\(long.text.count) bytes")
        }
        if let bad = pieces.first(where: { $0.score.isNaN }) {
            throw error(
                "a score is no number", "a number",
                "NaN for '\(String(decoding: bad.text.prefix(64), as: UTF8.self))'")
        }
    }

    private static func piece(_ bytes: ArraySlice<UInt8>) throws(ProtocolBuffer.Failure) -> Piece {
        var piece = Piece()
        var fields = ProtocolBuffer(bytes)
        while let (number, value) = try fields.next() {
            switch (number, value) {
            case (1, .bytes(let text)): piece.text = Array(text)
            case (2, .fixed32(let bits)): piece.score = Float(bitPattern: bits)
            case (3, .number(let type)):
                guard let known = PieceType(rawValue: Int(truncatingIfNeeded: type)) else {
                    throw ProtocolBuffer.Failure(what: "a piece has the unknown type \(type)")
                }
                piece.type = known
            default: break
            }
        }
        return piece
    }

    private mutating func readTrainer(_ bytes: ArraySlice<UInt8>) throws(ProtocolBuffer.Failure) {
        var fields = ProtocolBuffer(bytes)
        while let (number, value) = try fields.next() {
            guard case .number(let value) = value else { continue }
            let int = Int(Int32(truncatingIfNeeded: value))
            switch number {
            case 3:
                guard let known = Kind(rawValue: int) else {
                    throw ProtocolBuffer.Failure(what: "model_type \(int) is not known")
                }
                kind = known
            case 24: putsSpacesLast = value != 0
            case 40: unknown = int
            case 41: bos = int
            case 42: eos = int
            default: break
            }
        }
    }

    private mutating func readNormalizer(_ bytes: ArraySlice<UInt8>) throws(ProtocolBuffer.Failure) {
        var fields = ProtocolBuffer(bytes)
        while let (number, value) = try fields.next() {
            switch (number, value) {
            case (2, .bytes(let table)): charsmap = Array(table)
            case (3, .number(let flag)): addsSpace = flag != 0
            case (4, .number(let flag)): removesExtraSpaces = flag != 0
            case (5, .number(let flag)): writesMarks = flag != 0
            default: break
            }
        }
    }
}

/// The fields of a message, one after the other; every length is checked against what is there.
struct ProtocolBuffer {
    enum Value {
        case number(UInt64)
        case bytes(ArraySlice<UInt8>)
        case fixed32(UInt32)
        case fixed64
    }

    struct Failure: Error {
        let what: String
    }

    private var rest: ArraySlice<UInt8>

    init(_ bytes: ArraySlice<UInt8>) { rest = bytes }

    /// nil at the end.
    mutating func next() throws(Failure) -> (number: Int, value: Value)? {
        guard !rest.isEmpty else { return nil }
        let tag = try number()
        guard tag >> 3 > 0, tag >> 3 < 1 << 29 else { throw Failure(what: "a field has no valid number") }
        let field = Int(tag >> 3)
        switch tag & 7 {
        case 0: return (field, .number(try number()))
        case 1:
            _ = try take(8)
            return (field, .fixed64)
        case 2:
            let count = try number()
            guard count <= UInt64(rest.count) else { throw Failure(what: "a field is longer than what is left") }
            return (field, .bytes(try take(Int(count))))
        case 5:
            let bytes = try take(4)
            return (field, .fixed32(bytes.reversed().reduce(0) { $0 << 8 | UInt32($1) }))
        default: throw Failure(what: "a field of an unknown type")
        }
    }

    private mutating func take(_ count: Int) throws(Failure) -> ArraySlice<UInt8> {
        guard count <= rest.count else { throw Failure(what: "it ends in the middle of a field") }
        defer { rest = rest.dropFirst(count) }
        return rest.prefix(count)
    }

    private mutating func number() throws(Failure) -> UInt64 {
        var value: UInt64 = 0
        var shift: UInt64 = 0
        while shift < 64, let byte = rest.popFirst() {
            value |= UInt64(byte & 0x7F) << shift
            if byte < 0x80 { return value }
            shift += 7
        }
        throw Failure(what: "a number does not end")
    }
}
