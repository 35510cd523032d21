// SPDX-License-Identifier: Apache-2.0

import Foundation
import MoEJSON
import MoETestSupport

@testable import MoEChat

/// Answers and what is in them, as others say.
struct AnswerCase: Sendable {
    let name: String
    /// What decides on the format: a template's name or the format's own.
    let origin: String
    let prompt: String
    let text: String
    let reasoning: String
    let content: String
    /// Name and arguments, these in one spelling.
    let calls: [String]

    var testDescription: String { "\(origin): \(name)" }
}

struct AnswerCases {
    let cases: [AnswerCase]
    let tools: [ToolDefinition]

    /// - Parameter file: In `Tests/Fixtures/answers`.
    init(_ file: String) throws {
        let url = Fixtures.directory.appendingPathComponent("answers").appendingPathComponent(file)
        let json = try JSONDocument(Array(Data(contentsOf: url)))
        func string(_ key: String, _ value: JSONDocument.Value) -> String { json.string(json.member(key, of: value)) ?? "" }
        tools = json.array(json.member("tools", of: json.root))!.map { tool in
            let function = json.member("function", of: tool)!
            return ToolDefinition(
                name: string("name", function),
                parameters: canonical(json, json.member("parameters", of: function)!))
        }
        cases = json.array(json.member("cases", of: json.root))!.map { value in
            AnswerCase(
                name: string("name", value), origin: string("template", value) + string("format", value),
                prompt: string("prompt", value), text: string("text", value), reasoning: string("reasoning", value),
                content: string("content", value),
                calls: json.array(json.member("calls", of: value))!.map { call in
                    string("name", call) + canonical(json, json.member("arguments", of: call)!)
                })
        }
    }
}

/// A value with its members sorted by name, numbers by value.
func canonical(_ json: JSONDocument, _ value: JSONDocument.Value) -> String {
    switch json.content(value) {
    case .object(let members):
        let texts = members.map { (json.string($0.key)!, canonical(json, $0.value)) }
        return "{"
            + texts.sorted { $0.0 < $1.0 }.map { String(decoding: JSONEscape.quoted($0.0.utf8), as: UTF8.self) + ":" + $0.1 }
            .joined(separator: ",") + "}"
    case .array(let elements): return "[" + elements.map { canonical(json, $0) }.joined(separator: ",") + "]"
    case .string(let text): return String(decoding: JSONEscape.quoted(text.utf8), as: UTF8.self)
    case .integer(let number): return "\(number)"
    case .double(let number): return Int(exactly: number).map { "\($0)" } ?? "\(number)"
    case .bool(let value): return "\(value)"
    case .null: return "null"
    }
}

extension Answer {
    /// Name and arguments of each call, as ``AnswerCase/calls`` has them. Arguments that are no JSON object stop the test.
    var canonicalCalls: [String] {
        get throws {
            try toolCalls.map { call in
                let json = try JSONDocument(Array(call.arguments.utf8))
                return call.name + canonical(json, json.root)
            }
        }
    }

    /// Takes a text apart that comes in pieces.
    init(pieces: [String], format: AnswerFormat, tools: [ToolDefinition], startsInReasoning: Bool) {
        var parser = AnswerParser(format: format, tools: tools, startsInReasoning: startsInReasoning)
        self.init()
        for piece in pieces { add(parser.append(piece)) }
        add(parser.finish())
    }
}

extension String {
    /// Cut at random places, at any scalar, also within a character.
    func pieces(using random: inout SplitMix64, upTo limit: Int) -> [String] {
        var pieces: [String] = []
        var scalars = Array(unicodeScalars)[...]
        while !scalars.isEmpty {
            let count = min(scalars.count, Int.random(in: 1...limit, using: &random))
            var view = UnicodeScalarView()
            view.append(contentsOf: scalars.prefix(count))
            pieces.append(String(view))
            scalars = scalars.dropFirst(count)
        }
        return pieces
    }

    var stripped: String { trimmingCharacters(in: .whitespacesAndNewlines) }
}
