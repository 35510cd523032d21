// SPDX-License-Identifier: Apache-2.0

import MoEJSON

extension TokenizerJSON {
    /// What the pre-tokenizers do: changes of the whole text, changes of its pieces, the last cut.
    struct PreTokenization {
        /// Bytes, not characters, are merged.
        var isByteLevel = false
        var spacePrefix = Tokenizer.Parts.SpacePrefix.never
        var prefix = [UInt8(ascii: " ")]
        /// Spaces become `▁`.
        var marksSpaces = false
        var lateChanges: [Tokenizer.Parts.LateChange] = []
        /// Since the last change.
        var steps: [PreTokenizer.Step] = []
        /// Whether there was a cut or a change at all.
        fileprivate var isStarted = false

        fileprivate mutating func change(
            marksSpaces: Bool, _ spacePrefix: Tokenizer.Parts.SpacePrefix, _ prefix: [UInt8]
        ) {
            if isStarted {
                lateChanges.append(
                    .init(
                        preTokenizer: PreTokenizer(steps: steps), marksSpaces: marksSpaces, spacePrefix: spacePrefix,
                        prefix: prefix))
                steps = []
            } else {
                self.marksSpaces = marksSpaces
                self.spacePrefix = spacePrefix
                self.prefix = prefix
            }
            isStarted = true
        }

        fileprivate mutating func cut(_ step: PreTokenizer.Step) {
            steps.append(step)
            isStarted = true
        }
    }

    func preTokenization() throws(TokenizerError) -> PreTokenization {
        var result = PreTokenization()
        for component in components(member("pre_tokenizer"), listedAs: "pretokenizers") {
            guard !result.isByteLevel else { throw error("a pre-tokenizer after ByteLevel is not supported") }
            try add(component, to: &result)
        }
        return result
    }

    private static let whiteSpace = CharacterBitmap(CharacterSet(.space))
    private static let numbers = CharacterBitmap(CharacterSet(.number))
    private static let punctuation = CharacterBitmap(CharacterSet(boundaries: UnicodeTables.punctuationBoundaries))
    private static let words = SplitPattern.program(#"\w+|[^\w\s]+"#, .rust)

    private func add(_ component: Value, to result: inout PreTokenization) throws(TokenizerError) {
        func flag(_ name: String) -> Bool? { document.bool(document.member(name, of: component)) }
        switch type(of: component) {
        case "Split":
            let cut: PreTokenizer.Cut
            switch try pattern(of: component, in: "pre-tokenizer Split") {
            case .string(let string):
                guard !string.isEmpty else { throw error("pre-tokenizer Split has an empty pattern") }
                cut = .string(string)
            case .cut(let known): cut = known
            }
            result.cut(.init(cut: cut, behavior: try behavior(of: component), isInverted: flag("invert") ?? false))
        case "Digits":
            let isolated = flag("individual_digits") ?? false
            result.cut(.init(cut: .each(Self.numbers), behavior: isolated ? .isolated : .contiguous))
        case "Punctuation":
            result.cut(.init(cut: .each(Self.punctuation), behavior: try behavior(of: component)))
        case "WhitespaceSplit":
            result.cut(.init(cut: .each(Self.whiteSpace), behavior: .removed))
        case "Whitespace":
            guard let words = Self.words else { throw error("pre-tokenizer Whitespace cannot be made") }
            result.cut(.init(cut: .pattern(words), behavior: .removed, isInverted: true))
        case "BertPreTokenizer":
            result.cut(.init(cut: .each(Self.whiteSpace), behavior: .removed))
            result.cut(.init(cut: .each(Self.punctuation)))
        case "CharDelimiterSplit":
            guard let delimiter = document.string(document.member("delimiter", of: component)),
                delimiter.unicodeScalars.count == 1
            else { throw error("pre-tokenizer CharDelimiterSplit has no delimiter", expected: "one character") }
            result.cut(.init(cut: .string(Array(delimiter.utf8)), behavior: .removed))
        case "ByteLevel":
            result.isByteLevel = true
            if flag("add_prefix_space") ?? true {
                result.change(marksSpaces: false, .always(ifMissing: true), [UInt8(ascii: " ")])
            }
            if flag("use_regex") ?? true { result.cut(.init(cut: .gpt2)) }
        case "Metaspace":
            try metaspace(component, into: &result)
        case let other:
            throw error(
                "pre-tokenizer is not supported",
                expected:
                    "BertPreTokenizer, ByteLevel, CharDelimiterSplit, Digits, Metaspace, Punctuation, Sequence, Split, "
                    + "Whitespace, WhitespaceSplit", found: "'\(other)'")
        }
    }

    private func behavior(of component: Value) throws(TokenizerError) -> PreTokenizer.Behavior {
        let name = document.string(document.member("behavior", of: component)) ?? "Isolated"
        guard let behavior = PreTokenizer.Behavior(rawValue: name) else {
            throw error(
                "\(type(of: component))'s behavior",
                expected: "Contiguous, Isolated, MergedWithNext, MergedWithPrevious, Removed", found: "'\(name)'")
        }
        return behavior
    }

    private func metaspace(_ component: Value, into result: inout PreTokenization) throws(TokenizerError) {
        let replacement = document.bytes(document.member("replacement", of: component)) ?? Normalizer.spaceMark
        guard replacement == Normalizer.spaceMark else {
            throw error(
                "Metaspace's replacement is not supported", expected: "'▁'",
                found: "'\(String(decoding: replacement.prefix(16), as: UTF8.self))'")
        }
        let scheme = document.string(document.member("prepend_scheme", of: component))
        // Older files have a flag instead of the scheme.
        let adds = document.bool(document.member("add_prefix_space", of: component)) ?? true
        let spacePrefix: Tokenizer.Parts.SpacePrefix
        switch scheme ?? (adds ? "always" : "never") {
        case "always": spacePrefix = .always(ifMissing: true)
        case "first": spacePrefix = .first
        case "never": spacePrefix = .never
        case let other: throw error("Metaspace's prepend_scheme", expected: "always, first, never", found: "'\(other)'")
        }
        result.change(marksSpaces: true, spacePrefix, replacement)
        if document.bool(document.member("split", of: component)) ?? true { result.cut(.init(cut: .beforeSpaceMark)) }
    }
}
