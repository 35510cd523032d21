// SPDX-License-Identifier: Apache-2.0

import MoEJSON

extension TokenizerJSON {
    /// How tokens become text: what is done to each, then to the first character of all.
    struct Decoding {
        enum Change {
            case replace([UInt8], with: [UInt8])
            case replaceMatches(PreTokenizer.Cut, with: [UInt8])
            /// GPT-2's alphabet for bytes.
            case bytes
            /// `<0x0A>` is that byte.
            case byteToken
            /// Takes characters away at the ends of each token.
            case strip([UInt8], start: Int, stop: Int)
            /// A piece that goes on loses its prefix, another one gets a space before it.
            case wordPiece(prefix: [UInt8], cleansUp: Bool)
            /// A word's end is a space.
            case wordEnd([UInt8])
        }

        var changes: [Change] = []
        /// One space at the start of the text is none.
        var dropsFirstSpace = false
        /// Tokens without a decoder have spaces between them.
        var joinsWithSpaces = false
    }

    func decoding() throws(TokenizerError) -> Decoding {
        var result = Decoding()
        let list = components(member("decoder"), listedAs: "decoders")
        if list.isEmpty { (result.joinsWithSpaces, result.dropsFirstSpace) = (true, true) }
        var isFused = false
        for component in list {
            let type = type(of: component)
            if isFused, type != "Strip", type != "Replace", type != "Fuse" {
                throw error("decoder \(type) after Fuse is not supported")
            }
            func bytes(_ name: String) -> [UInt8]? { document.bytes(document.member(name, of: component)) }
            func int(_ name: String) -> Int { document.int(document.member(name, of: component)) ?? 0 }
            switch type {
            case "ByteLevel": result.changes.append(.bytes)
            case "ByteFallback": result.changes.append(.byteToken)
            case "Fuse": isFused = true
            case "Metaspace":
                let mark = bytes("replacement") ?? Normalizer.spaceMark
                let scheme = document.string(document.member("prepend_scheme", of: component))
                result.dropsFirstSpace =
                    scheme.map { $0 != "never" } ?? document.bool(document.member("add_prefix_space", of: component))
                    ?? true
                result.changes.append(.replace(mark, with: [UInt8(ascii: " ")]))
            case "Replace":
                let content = bytes("content") ?? []
                switch try pattern(of: component, in: "decoder Replace") {
                case .string(let string):
                    if !string.isEmpty { result.changes.append(.replace(string, with: content)) }
                case .cut(let cut): result.changes.append(.replaceMatches(cut, with: content))
                }
            case "Strip":
                let content = bytes("content") ?? [UInt8(ascii: " ")]
                let (start, stop) = (max(int("start"), 0), max(int("stop"), 0))
                guard isFused else {
                    result.changes.append(.strip(content, start: start, stop: stop))
                    break
                }
                guard content == [UInt8(ascii: " ")], start <= 1, stop == 0 else {
                    throw error("decoder Strip after Fuse is supported for one space at the start only")
                }
                result.dropsFirstSpace = start == 1
            case "WordPiece":
                result.changes.append(
                    .wordPiece(
                        prefix: bytes("prefix") ?? Array("##".utf8),
                        cleansUp: document.bool(document.member("cleanup", of: component)) ?? true))
                result.dropsFirstSpace = true
            case "BPEDecoder":
                result.changes.append(.wordEnd(bytes("suffix") ?? Array("</w>".utf8)))
            case let other:
                throw error(
                    "decoder is not supported",
                    expected: "BPEDecoder, ByteFallback, ByteLevel, Fuse, Metaspace, Replace, Sequence, Strip, WordPiece",
                    found: "'\(other)'")
            }
        }
        return result
    }
}

extension TokenizerJSON.Decoding {
    /// What a token that is spelled `text` contributes.
    func bytes(of text: [UInt8]) -> [UInt8] {
        var text = text
        for change in changes {
            switch change {
            case .replace(let pattern, let content): text = Normalizer.Step.replace(pattern, with: content, in: text)
            case .replaceMatches(let cut, let content):
                text = Normalizer.Step.replaceMatches(cut, with: content).apply(to: text)
            case .bytes: text = text.withUnsafeBufferPointer(ByteLevelAlphabet.decode) ?? text
            case .byteToken: if let byte = ByteToken.byte(spelledAs: text) { return [byte] }
            case .strip(let content, var start, var stop):
                guard !content.isEmpty else { break }
                while start > 0, text.starts(with: content) {
                    text.removeFirst(content.count)
                    start -= 1
                }
                while stop > 0, text.count >= content.count, text.suffix(content.count).elementsEqual(content) {
                    text.removeLast(content.count)
                    stop -= 1
                }
            case .wordPiece(let prefix, let cleansUp):
                if !prefix.isEmpty, text.starts(with: prefix) {
                    text.removeFirst(prefix.count)
                } else {
                    text.insert(UInt8(ascii: " "), at: 0)
                }
                if cleansUp { text = Self.cleanUp(text) }
            case .wordEnd(let suffix):
                text = Normalizer.Step.replace(suffix, with: [UInt8(ascii: " ")], in: text)
            }
        }
        if joinsWithSpaces { text.insert(UInt8(ascii: " "), at: 0) }
        return text
    }

    /// Spaces that English does not have, as `tokenizers` takes them away.
    private static func cleanUp(_ text: [UInt8]) -> [UInt8] {
        let changes = [
            (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m"),
            (" do not", " don't"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re"),
        ]
        return changes.reduce(text) { Normalizer.Step.replace(Array($1.0.utf8), with: Array($1.1.utf8), in: $0) }
    }
}

/// The names of tokens that stand for bytes: `<0x00>` to `<0xFF>`.
enum ByteToken {
    static func name(of byte: Int) -> [UInt8] {
        Array("<0x\(byte < 16 ? "0" : "")\(String(byte, radix: 16, uppercase: true))>".utf8)
    }

    static func byte(spelledAs text: [UInt8]) -> UInt8? {
        guard text.count == 6, text.starts(with: "<0x".utf8), text[5] == UInt8(ascii: ">") else { return nil }
        return UInt8(String(decoding: text[3..<5], as: UTF8.self), radix: 16)
    }
}
