// SPDX-License-Identifier: Apache-2.0

import Foundation
import MoEJSON
import MoETestSupport
import Testing

@testable import MoEChat

/// Texts that no model should write. What they mean is not the question: the same must come out however they are cut, calls must
/// have valid arguments, and nothing may take long.
@Suite struct AnswerFuzzTests {
    static let tools = try! AnswerCases("templates.json").tools

    /// Every format, with texts of its own that are cut, doubled, mixed and torn.
    @Test func tornTextsAreReadTheSameHoweverTheyAreCut() throws {
        let examples = try (AnswerCases("templates.json").cases + AnswerCases("oracles.json").cases)
        let formats = AnswerFormat.all
        var random = SplitMix64(state: 3)
        let count = ProcessInfo.processInfo.environment["MOE_ANSWER_FUZZ"].flatMap(Int.init) ?? 1500
        for round in 0..<count {
            let example = examples.randomElement(using: &random)!
            let name = AnswerOracleTests.formats[example.origin] ?? example.origin
            let format = try #require(formats[name])
            let text = torn(example.text, with: examples.randomElement(using: &random)!.text, using: &random)
            let starts = Bool.random(using: &random)
            let whole = Answer(text, format: format, tools: Self.tools, startsInReasoning: starts)
            for limit in [1, 2, 7, 30] {
                let cut = Answer(
                    pieces: text.pieces(using: &random, upTo: limit), format: format, tools: Self.tools, startsInReasoning: starts)
                #expect(cut == whole, "round \(round), \(name): \(text.debugDescription)")
            }
            for call in whole.toolCalls {
                let json = try? JSONDocument(Array(call.arguments.utf8))
                #expect(json.map { $0.object($0.root) != nil } == true, "round \(round), \(name): \(call.arguments)")
            }
        }
    }

    private func torn(_ text: String, with other: String, using random: inout SplitMix64) -> String {
        var scalars = Array(text.unicodeScalars)
        let others = Array(other.unicodeScalars)
        for _ in 0..<Int.random(in: 0...4, using: &random) {
            guard !scalars.isEmpty else { break }
            let at = Int.random(in: 0..<scalars.count, using: &random)
            let end = min(scalars.count, at + Int.random(in: 0...12, using: &random))
            switch Int.random(in: 0..<6, using: &random) {
            case 0: scalars.removeSubrange(at..<end)
            case 1: scalars.insert(contentsOf: Array(scalars[at..<end]), at: at)
            case 2: scalars.insert("<>{}[]\"\\'| \n:,／é"  .unicodeScalars.randomElement(using: &random)!, at: at)
            case 3:
                let from = Int.random(in: 0...others.count, using: &random)
                scalars.insert(contentsOf: others[from..<min(others.count, from + 40)], at: at)
            case 4: scalars.removeSubrange(at...)
            default: scalars.swapAt(at, Int.random(in: 0..<scalars.count, using: &random))
            }
        }
        var view = String.UnicodeScalarView()
        view.append(contentsOf: scalars)
        return String(view)
    }

    /// A text that grows by a factor takes no more than that factor longer; a quadratic reader would not come back from these.
    @Test(arguments: [
        "<", "[", "{", " ", "\n", "{\"a\":", "<tool_call>", "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": \"",
        "<think>", "</think>", "<|channel|>", "<|start|>assistant<|channel|>", "<function=f>", "<parameter=a>", ">>>f\n", "[TOOL_CALLS]",
        "{\"name\": \"f\", \"parameters\": {}};", "<｜tool▁call▁begin｜>f<｜tool▁sep｜>{}", "<|\"|>", "\\", "f(a=[", "'", "<｜DSML｜",
    ])
    func longTexts(unit: String) {
        let piece = String(repeating: unit, count: 200_000 / unit.utf8.count)
        for (name, format) in AnswerFormat.all {
            var parser = AnswerParser(format: format, tools: Self.tools + [ToolDefinition(name: "f")])
            var answer = Answer()
            answer.add(parser.append(piece))
            // And in small pieces, after something that opens a call.
            answer.add(parser.append(Self.opening[name] ?? ""))
            for _ in 0..<2000 { answer.add(parser.append(unit)) }
            answer.add(parser.finish())
            #expect(answer.content.utf8.count + answer.reasoning.utf8.count <= piece.utf8.count * 3 + 100_000)
        }
    }

    private static let opening = [
        "hermes": "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": \"", "qwen-xml": "<function=f><parameter=a>",
        "glm": "<tool_call>f\n<arg_key>a</arg_key><arg_value>", "harmony": "<|channel|>commentary to=functions.f<|message|>{\"a\": \"",
        "lfm2": "<|tool_call_start|>[f(a='", "gemma4": "<|tool_call>call:f{a:<|\"|>",
    ]

    @Test func deepArgumentsAreMalformed() {
        let deep = String(repeating: "[", count: 200_000)
        for (format, text) in [
            ("hermes", "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": \(deep)"), ("lfm2", "<|tool_call_start|>[f(a=\(deep)"),
            ("gemma4", "<|tool_call>call:f{a:\(deep)"), ("qwen-xml", "<function=f><parameter=a>\(deep)</parameter></function>"),
        ] {
            let answer = Answer(text, format: AnswerFormat.all[format]!, tools: [ToolDefinition(name: "f")])
            if format == "qwen-xml" {
                // What is no JSON is a string.
                #expect(answer.toolCalls.count == 1)
            } else {
                #expect(answer.toolCalls == [] && answer.content == text)
            }
        }
    }

    /// Ours against the project's own parser, on texts that are nearly JSON.
    @Test func jsonIsCheckedAsElsewhere() {
        var random = SplitMix64(state: 4)
        let seeds = [
            #"{"a": [1, -2.5e+10, "x\u00e9\n\"", true, false, null, {}], "b": {"c": []}}"#, "[0, 0.5, 1E5, -0]", #""\ud83d\ude00""#,
            "  12  ", "[[[]]]", #"{"": ""}"#,
        ]
        for _ in 0..<20_000 {
            var bytes = Array(seeds.randomElement(using: &random)!.utf8)
            for _ in 0..<Int.random(in: 0...2, using: &random) {
                let at = Int.random(in: 0..<bytes.count, using: &random)
                switch Int.random(in: 0..<3, using: &random) {
                case 0: bytes.remove(at: at)
                case 1: bytes.insert(Array("{}[]\",:01.eE+-\\utfn ".utf8).randomElement(using: &random)!, at: at)
                default: bytes.swapAt(at, Int.random(in: 0..<bytes.count, using: &random))
                }
                if bytes.isEmpty { bytes = [0x20] }
            }
            // The parser reads NaN and a byte order mark as well, and knows what a half of a surrogate pair is; no text here has those.
            let text = String(decoding: bytes, as: UTF8.self)
            if text.contains("\\ud") || text.contains("Inf") || text.contains("NaN") { continue }
            let isJSON = (try? JSONDocument(bytes)) != nil
            #expect((JSONChecker.type(of: bytes) != nil) == isJSON, "\(text)")
        }
    }
}
