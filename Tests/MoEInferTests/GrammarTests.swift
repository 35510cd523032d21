// SPDX-License-Identifier: Apache-2.0

import Foundation
import MoEInfer
import MoETestSupport
import Testing

/// Grammars in the engine, on the embedded model: what is said fits, whoever else is served and however it is computed.
@Suite struct GrammarTests {
    private func llm(_ set: (inout Settings) -> Void = { _ in }) async throws -> LLM {
        var settings = Settings()
        settings.threads = 2
        settings.context = 256
        set(&settings)
        return try await LLM.load(EngineTests.model, options: EngineOptions(settings: settings))
    }

    private func options(_ grammar: Grammar, seed: UInt64? = nil, maxTokens: Int = 160) -> GenerationOptions {
        var options = GenerationOptions()
        options.grammar = grammar
        options.sampling.maxTokens = maxTokens
        if let seed {
            options.sampling.temperature = 1
            options.sampling.seed = seed
        }
        return options
    }

    private static let person = #"""
        {"type": "object", "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "kind": {"enum": ["river", "city", "person"]}, "tags": {"type": "array", "items": {"type": "string", "pattern": "^[a-z]{1,8}$"}, "maxItems": 3}},
        "required": ["name", "age", "kind"]}
        """#

    private struct Person: Decodable {
        let name: String
        let age: Int
        let kind: String
        let tags: [String]?
    }

    @Test func documentsSatisfyTheSchema() async throws {
        let llm = try await llm()
        let grammar = try Grammar(jsonSchema: Self.person)
        for seed in [nil, 1, 2, 3, 4] as [UInt64?] {
            let result = try await llm.complete("The history of the city", options: options(grammar, seed: seed))
            #expect(result.finishReason == .stop)
            let person = try JSONDecoder().decode(Person.self, from: Data(result.text.utf8))
            #expect(person.name.unicodeScalars.count <= 20 && (0...120).contains(person.age))
            #expect(["river", "city", "person"].contains(person.kind))
            #expect((person.tags ?? []).count <= 3)
        }
    }

    /// Text whose end is certain ends without a token for it; one that could go on ends by the model's own.
    @Test func endsWhenComplete() async throws {
        let llm = try await llm()
        let yes = try await llm.complete("Yes or no?", options: options(try Grammar(gbnf: #"root ::= "yes" | "no""#)))
        #expect(["yes", "no"].contains(yes.text) && yes.finishReason == .stop)
        var endless = options(try Grammar(gbnf: "root ::= [a-z]+"), maxTokens: 6)
        endless.sampling.ignoreEOS = true
        let result = try await llm.complete("A", options: endless)
        #expect(result.finishReason == .length && result.tokens.count == 6)
        #expect(result.text.utf8.allSatisfy { (0x61...0x7a).contains($0) })
    }

    /// The same alone, among others, under preemption, and with drafts by text and by the model.
    @Test func sameHoweverItIsComputed() async throws {
        let alone = try await llm()
        let grammar = try Grammar(jsonSchema: Self.person)
        let requests = (0..<6).map { options(grammar, seed: UInt64($0)) }
        var expected: [[Int32]] = []
        for request in requests { expected.append(try await alone.complete("The city of", options: request).tokens) }
        let crowded = try await llm {
            $0.batch = 6
            $0.cache = 288
        }
        let together = try await withThrowingTaskGroup(of: (Int, [Int32]).self) { group in
            for (index, request) in requests.enumerated() {
                group.addTask { (index, try await crowded.complete("The city of", options: request).tokens) }
            }
            var result = [[Int32]](repeating: [], count: requests.count)
            for try await (index, tokens) in group { result[index] = tokens }
            return result
        }
        #expect(together == expected)
        let preemptions = await crowded.engine.preemptions
        #expect(preemptions > 0)
        for speculation in ["lookup", "experts:k=1"] {
            for (index, request) in requests.enumerated() {
                var request = request
                request.speculation = try Speculation.parse(speculation)
                let result = try await alone.complete("The city of", options: request)
                #expect(result.tokens == expected[index], "\(speculation)")
            }
        }
    }

    private func error(_ llm: LLM, _ options: GenerationOptions) async -> (any Error)? {
        do {
            _ = try await llm.complete("A", options: options)
            return nil
        } catch {
            return error
        }
    }

    @Test func whatCannotBeMetIsSaid() async throws {
        let llm = try await llm()
        let unknown = await error(llm, options(try Grammar(gbnf: "root ::= <nothing>")))
        #expect(unknown is GrammarError)
        var forbidden = options(try Grammar(gbnf: #"root ::= "x""#))
        for token in try llm.tokenizer.encode("x", addSpecial: false) {
            forbidden.sampling.logitBias[token] = -.infinity
        }
        let none = await error(llm, forbidden)
        #expect(none is RequestError)
        let isEmpty = await llm.engine.isEmpty
        #expect(isEmpty)
    }
}
