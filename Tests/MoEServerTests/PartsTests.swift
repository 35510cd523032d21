// SPDX-License-Identifier: Apache-2.0

import CoreMetrics
import Foundation
import MoEChat
import MoEJSON
import MoEServer
import Testing

@Suite struct APIKeysTests {
    private func file(_ text: String) throws -> String {
        let url = FileManager.default.temporaryDirectory.appendingPathComponent("moe-keys-\(UUID().uuidString).json")
        try text.write(to: url, atomically: true, encoding: .utf8)
        return url.path
    }

    @Test func aMadeKeyOpensAndNothingElse() throws {
        let made = APIKeyMaker.make(name: "team")
        let keys = try APIKeys(file: try file("{\"keys\": [\(made.entry)]}"), key: "extra")
        #expect(keys.rights(of: made.key)?.name == "team")
        #expect(keys.rights(of: "extra")?.name == "default")
        #expect(keys.rights(of: made.key + "x") == nil)
        #expect(keys.rights(of: "") == nil)
        #expect(!made.entry.contains(made.key))
        #expect(try APIKeys(file: nil, key: nil).areOpen)
    }

    @Test(arguments: [
        "{", "{}", "{\"keys\": []}", "{\"keys\": [{\"name\": \"a\"}]}",
        "{\"keys\": [{\"name\": \"a\", \"sha256\": \"ab\"}]}",
        "{\"keys\": [{\"name\": \"a\", \"sha256\": \"\(String(repeating: "0", count: 64))\", \"concurrent\": 0}]}",
    ])
    func damagedFilesAreRefused(text: String) throws {
        let path = try file(text)
        let error = #expect(throws: (any Error).self) { try APIKeys(file: path, key: nil) }
        #expect("\(try #require(error))".hasPrefix(path))
    }

    @Test func limitsFillEvenly() throws {
        let keys = try APIKeys(file: nil, key: "k")
        var rights = KeyRights(name: "k")
        rights.requestsPerMinute = 2
        let now = ContinuousClock.now
        try keys.charge(rights, now: now)
        try keys.charge(rights, now: now)
        let error = #expect(throws: APIError.self) { try keys.charge(rights, now: now) }
        #expect(try #require(error?.retryAfter) == 30)
        try keys.charge(rights, now: now + .seconds(31))
        #expect(throws: APIError.self) { try keys.charge(rights, now: now + .seconds(31)) }
    }

    @Test func tokensCountWhenTheyAreKnown() throws {
        let keys = try APIKeys(file: nil, key: "k")
        var rights = KeyRights(name: "k")
        rights.tokensPerMinute = 600
        let now = ContinuousClock.now
        try keys.charge(rights, now: now)
        keys.charge(rights, tokens: 900, now: now)
        let error = #expect(throws: APIError.self) { try keys.charge(rights, now: now) }
        #expect(try #require(error?.retryAfter) == 30)
        try keys.charge(rights, now: now + .seconds(31))
    }
}

@Suite struct ForcedCallTests {
    private func tools(_ names: [String]) -> [ToolDefinition] {
        names.map {
            ToolDefinition(
                name: $0, parameters: #"{"type":"object","properties":{"x":{"type":"string"}},"required":["x"]}"#)
        }
    }

    /// Whatever the pieces, the call is the same, and what is streamed adds up to it.
    @Test(arguments: [1, 2, 3, 7, 100])
    func callsAreTakenApartInAnyPieces(size: Int) throws {
        let call = try ForcedCall(tools: tools(["weather", "we"]))
        for (text, arguments) in [
            (#"{"name":"we","arguments":{"x":"a}b"}}"#, #"{"x":"a}b"}"#),
            (#"{"name": "we", "arguments": {"x": "}}"}}"#, #"{"x": "}}"}"#),
        ] {
            var reader = ForcedCallReader(call, id: "id")
            var events: [OutputEvent] = []
            let characters = Array(text)
            for start in stride(from: 0, to: characters.count, by: size) {
                events += reader.append(String(characters[start..<min(start + size, characters.count)]))
            }
            events += reader.finish(isWhole: true)
            #expect(reader.call?.name == "we")
            #expect(reader.call?.arguments == arguments)
            var streamed = ""
            for case .callArguments(_, let fragment) in events { streamed += fragment }
            #expect(streamed == arguments)
        }
    }

    /// What is cut off is told as far as it came.
    @Test func aCallThatIsCutOffKeepsItsBeginning() throws {
        var reader = ForcedCallReader(try ForcedCall(tools: tools(["f"])), id: "id")
        _ = reader.append(#"{"name":"f","arguments":{"x":"a}"#)
        _ = reader.finish(isWhole: false)
        #expect(reader.call?.arguments == #"{"x":"a}"#)
        var silent = ForcedCallReader(try ForcedCall(tools: tools(["f"])), id: "id")
        _ = silent.append(#"{"name":"#)
        _ = silent.finish(isWhole: false)
        #expect(silent.call == nil)
    }

    /// What nested models of clients have: references to the root of their own parameters.
    @Test func parametersMayReferToThemselves() throws {
        let parameters = #"""
            {"$defs":{"P":{"type":"object","properties":{"age":{"type":"integer"},"$ref":{"const":{"$ref":"#/x"}}},
            "required":["age"]}},"type":"object","properties":{"p":{"type":"array","items":{"$ref":"#/$defs/P"}}},"required":["p"]}
            """#
        _ = try ForcedCall(tools: [
            ToolDefinition(name: "a", parameters: parameters), ToolDefinition(name: "b", parameters: parameters),
        ])
    }

    @Test func aSchemaThatIsNoneNamesItsTool() {
        let error = #expect(throws: APIError.self) {
            try ForcedCall(tools: [ToolDefinition(name: "bad", parameters: #"{"type": "nonsense"}"#)])
        }
        #expect(error?.message.contains("'bad'") == true)
    }
}

@Suite struct PrometheusTests {
    /// The text format, as its specification writes it.
    @Test func writesTheTextFormat() {
        let metrics = Prometheus(help: ["a_total": "Things."])
        let counter = Counter(label: "a_total", dimensions: [("k", "v\"\\\n")], factory: metrics)
        counter.increment(by: 3)
        counter.increment()
        Meter(label: "g", dimensions: [], factory: metrics).set(2.5)
        let timer = Timer(label: "t_seconds", dimensions: [], factory: metrics)
        timer.recordMilliseconds(3)
        timer.recordSeconds(1000)
        let text = metrics.text
        #expect(text.contains("# HELP a_total Things.\n# TYPE a_total counter\na_total{k=\"v\\\"\\\\\\n\"} 4\n"))
        #expect(text.contains("# TYPE g gauge\ng 2.5\n"))
        #expect(text.contains("t_seconds_bucket{le=\"0.002\"} 0\nt_seconds_bucket{le=\"0.005\"} 1\n"))
        #expect(text.contains("t_seconds_bucket{le=\"600\"} 1\nt_seconds_bucket{le=\"+Inf\"} 2\n"))
        #expect(text.contains("t_seconds_sum 1000.003\nt_seconds_count 2\n"))
    }
}
