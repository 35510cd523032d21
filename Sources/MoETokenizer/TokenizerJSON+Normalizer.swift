// SPDX-License-Identifier: Apache-2.0

import MoEJSON

extension TokenizerJSON {
    func normalizer() throws(TokenizerError) -> Normalizer {
        var normalizer = Normalizer()
        for component in components(member("normalizer"), listedAs: "normalizers") {
            normalizer.steps += try steps(component)
        }
        return normalizer
    }

    private func steps(_ component: Value) throws(TokenizerError) -> [Normalizer.Step] {
        func flag(_ name: String) -> Bool? { document.bool(document.member(name, of: component)) }
        switch type(of: component) {
        case "NFC": return [.form(.nfc)]
        case "NFD": return [.form(.nfd)]
        case "NFKC": return [.form(.nfkc)]
        case "NFKD": return [.form(.nfkd)]
        case "Lowercase": return [.lowercase]
        case "StripAccents": return [.stripMarks(onlyNonSpacing: false)]
        case "Nmt": return [.controlsAndSpaces]
        case "ByteLevel": return [.byteAlphabet]
        case "Strip":
            return [.strip(left: flag("strip_left") ?? true, right: flag("strip_right") ?? true)]
        case "Prepend":
            return [.prepend(document.bytes(document.member("prepend", of: component)) ?? [])]
        case "Replace":
            let content = document.bytes(document.member("content", of: component)) ?? []
            switch try pattern(of: component, in: "normalizer Replace") {
            case .string(let string): return string.isEmpty ? [] : [.replace(pattern: string, with: content)]
            case .cut(let cut): return [.replaceMatches(cut, with: content)]
            }
        case "Precompiled":
            guard let text = document.bytes(document.member("precompiled_charsmap", of: component)),
                let bytes = Base64.decode(text), bytes.isEmpty || PrecompiledCharsmap(bytes) != nil
            else {
                throw error("normalizer Precompiled has no valid precompiled_charsmap", expected: "a table in base64")
            }
            return PrecompiledCharsmap(bytes).map { [.precompiled($0)] } ?? []
        case "BertNormalizer":
            let lowercase = flag("lowercase") ?? true
            var steps: [Normalizer.Step] = []
            if flag("clean_text") ?? true { steps.append(.cleanText) }
            if flag("handle_chinese_chars") ?? true { steps.append(.spaceChinese) }
            if flag("strip_accents") ?? lowercase { steps += [.form(.nfd), .stripMarks(onlyNonSpacing: true)] }
            if lowercase { steps.append(.lowercase) }
            return steps
        case let other:
            throw error(
                "normalizer is not supported",
                expected: "BertNormalizer, ByteLevel, Lowercase, NFC, NFD, NFKC, NFKD, Nmt, Precompiled, Prepend, Replace, "
                    + "Sequence, Strip, StripAccents", found: "'\(other)'")
        }
    }

    /// What a component looks for.
    enum Pattern {
        case string([UInt8])
        case cut(PreTokenizer.Cut)
    }

    /// `pattern`: an object with a String or a Regex.
    func pattern(of component: Value, in what: String) throws(TokenizerError) -> Pattern {
        let value = document.member("pattern", of: component)
        if let string = document.bytes(document.member("String", of: value)) ?? document.bytes(value) {
            return .string(string)
        }
        guard let expression = document.string(document.member("Regex", of: value)) else {
            throw error("\(what) has no pattern", expected: "pattern.String or pattern.Regex")
        }
        do throws(SplitPattern.Failure) {
            return .cut(try SplitPattern.cut(expression, .oniguruma))
        } catch {
            throw self.error(
                "\(what) has an expression that is not supported: \(error.what)", expected: "a regular expression",
                found: "'\(expression.prefix(200))'")
        }
    }
}
