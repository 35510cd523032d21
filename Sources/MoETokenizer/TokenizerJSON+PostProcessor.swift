// SPDX-License-Identifier: Apache-2.0

import MoEJSON

extension TokenizerJSON {
    /// What goes before and after a text: the single-sequence template.
    func template() throws(TokenizerError) -> (prefix: [Int32], suffix: [Int32]) {
        var prefix: [Int32] = []
        var suffix: [Int32] = []
        for component in components(member("post_processor"), listedAs: "processors") {
            switch type(of: component) {
            case "ByteLevel": break  // moves offsets only
            case "TemplateProcessing":
                var isAfterText = false
                for piece in document.array(document.member("single", of: component)) ?? .init() {
                    if document.member("Sequence", of: piece) != nil {
                        isAfterText = true
                    } else if let special = document.member("SpecialToken", of: piece),
                        let name = document.string(document.member("id", of: special))
                    {
                        let tokens = document.member("special_tokens", of: component)
                        let entry = document.member(name, of: tokens)
                        guard let ids = document.array(document.member("ids", of: entry)) else {
                            throw error("template names a token that it does not define", found: name)
                        }
                        for id in ids {
                            guard let id = document.int(id), id >= 0, id < Int(Int32.max) else {
                                throw error("template has an id that is none")
                            }
                            if isAfterText { suffix.append(Int32(id)) } else { prefix.append(Int32(id)) }
                        }
                    } else {
                        throw error("template has a piece that is neither text nor token")
                    }
                }
            case "BertProcessing", "RobertaProcessing":
                prefix = [try pair("cls", of: component)]
                suffix = [try pair("sep", of: component)]
            case let other:
                throw error(
                    "post-processor is not supported",
                    expected: "BertProcessing, ByteLevel, RobertaProcessing, Sequence, TemplateProcessing",
                    found: "'\(other)'")
            }
        }
        return (prefix, suffix)
    }

    /// The id of a pair (token, id).
    private func pair(_ name: String, of component: Value) throws(TokenizerError) -> Int32 {
        let pair = document.array(document.member(name, of: component))
        guard let pair, pair.count == 2, let id = document.int(pair.dropFirst().first), id >= 0, id < Int(Int32.max) else {
            throw error("post-processor's \(name) is no token", expected: "a name and an id")
        }
        return Int32(id)
    }
}
