// SPDX-License-Identifier: Apache-2.0

import MoEJSON

/// A token that is not of the model's own vocabulary, or that is and is special.
struct AddedToken {
    let id: Int32
    let content: [UInt8]
    let isSpecial: Bool
    let isNormalized: Bool
    let stripsLeft: Bool
    let stripsRight: Bool
    let isWholeWord: Bool
}

extension TokenizerJSON {
    /// Ids from here on are refused: a file that lies about one id must not cost memory.
    static let idLimit = 1 << 22

    func id(_ value: Value?, of what: @autoclosure () -> String) throws(TokenizerError) -> Int32 {
        guard let id = document.int(value), id >= 0, id < Self.idLimit else {
            throw error(
                "\(what()) has no valid id", expected: "0 to \(Self.idLimit - 1)",
                found: document.int(value).map(String.init))
        }
        return Int32(id)
    }

    // MARK: Added tokens

    /// `added_tokens`, and what `tokenizer_config.json` adds in `added_tokens_decoder`.
    func addedTokens(config: TokenizerJSON?) throws(TokenizerError) -> [AddedToken] {
        var tokens: [AddedToken] = []
        var known: Set<Int32> = []
        for value in document.array(member("added_tokens")) ?? .init() {
            let token = try addedToken(value, id: id(document.member("id", of: value), of: "an added token"))
            if known.insert(token.id).inserted { tokens.append(token) }
        }
        for entry in config?.document.object(config?.member("added_tokens_decoder")) ?? .init() {
            guard let config, let number = config.document.string(entry.key).flatMap(Int32.init), number >= 0,
                number < Self.idLimit
            else {
                throw error("added_tokens_decoder has no valid id", found: config?.document.string(entry.key))
            }
            if known.insert(number).inserted { tokens.append(try config.addedToken(entry.value, id: number)) }
        }
        return tokens
    }

    private func addedToken(_ value: Value, id: Int32) throws(TokenizerError) -> AddedToken {
        guard let content = document.bytes(document.member("content", of: value)) else {
            throw error("added token \(id) has no content")
        }
        func flag(_ name: String) -> Bool? { document.bool(document.member(name, of: value)) }
        let isSpecial = flag("special") ?? false
        return AddedToken(
            id: id, content: content, isSpecial: isSpecial, isNormalized: flag("normalized") ?? !isSpecial,
            stripsLeft: flag("lstrip") ?? false, stripsRight: flag("rstrip") ?? false,
            isWholeWord: flag("single_word") ?? false)
    }
}
