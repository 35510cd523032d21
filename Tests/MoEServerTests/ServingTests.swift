// SPDX-License-Identifier: Apache-2.0

import Foundation
import MoEInfer
import MoEServer
import Testing

/// What only this server has, and what evaluations rely on: log probabilities of prompts, budgets, batches that change nothing.
@Suite(.serialized) struct ServingTests {
    private func choices(_ response: RawConnection.Response) throws -> [[String: Any]] {
        try #require(try response.json()["choices"] as? [[String: Any]])
    }

    private func moe(_ response: RawConnection.Response) throws -> [String: Any] {
        let usage = try #require(try response.json()["usage"] as? [String: Any])
        return try #require(usage["moe"] as? [String: Any])
    }

    /// As lm-evaluation-harness asks, and as it decides whether an answer is greedy: by equality.
    @Test func evaluationsGetTheLogprobsOfThePrompt() async throws {
        try await TestServer.with { server in
            let ids = try server.llm.tokenizer.encode("The city was founded in")
            let list = ids.map { "\($0)" }.joined(separator: ",")
            let response = try await server.post(
                "/v1/completions",
                "{\"prompt\":[[\(list)],[\(list)]],\"max_tokens\":1,\"logprobs\":1,\"echo\":true,\"temperature\":0,\"seed\":1234}"
            )
            let choices = try choices(response)
            #expect(choices.map { $0["index"] as? Int } == [0, 1])
            let logprobs = try #require(choices[0]["logprobs"] as? [String: Any])
            let values = try #require(logprobs["token_logprobs"] as? [Any])
            let tops = try #require(logprobs["top_logprobs"] as? [Any])
            #expect(values.count == ids.count + 1 && tops.count == ids.count + 1)
            #expect((logprobs["tokens"] as? [String])?.count == ids.count + 1)
            #expect(values[0] is NSNull && tops[0] is NSNull)
            for (value, top) in zip(values, tops).dropFirst() {
                let (value, top) = (try #require(value as? Double), try #require(top as? [String: Double]))
                let best = try #require(top.values.max())
                #expect(value <= best)
            }
            // The generated token is the likeliest one, to the bit.
            #expect(values.last as? Double == (tops.last as? [String: Double])?.values.max())
            let usage = try #require(try response.json()["usage"] as? [String: Any])
            #expect(usage["prompt_tokens"] as? Int == 2 * ids.count)
        }
    }

    @Test(arguments: [200, 500, 3000]) func budgetsAreNeverExceeded(budget: Int) async throws {
        try await TestServer.with { server in
            let response = try await server.post(
                "/v1/completions",
                "{\"prompt\":\"The city was\",\"max_tokens\":100,\"ignore_eos\":true,\"temperature\":0,\"moe\":{\"routing\":\"exact\",\"budget\":\(budget)}}"
            )
            #expect(response.status == 200)
            let evaluations = try #require(try moe(response)["expert_evaluations"] as? Int)
            #expect(evaluations <= budget && evaluations > budget / 2)
            let small = try await server.post("/v1/completions", #"{"prompt":"The city was","moe":{"budget":3}}"#)
            #expect(small.status == 400)
            let stream = try await server.post(
                "/v1/completions", #"{"prompt":"The city was","stream":true,"moe":{"budget":3}}"#)
            // By its status, or, where the engine is late to say so, by an event.
            #expect(stream.status == 400 || stream.events.contains { $0.hasPrefix("{\"error\"") })
        }
    }

    @Test func pointsAndCapsChangeWhatIsSpent() async throws {
        try await TestServer.with { server in
            func mean(_ moe: String) async throws -> Double {
                let response = try await server.post(
                    "/v1/completions",
                    "{\"prompt\":\"The city was\",\"max_tokens\":40,\"ignore_eos\":true,\"temperature\":0,\"moe\":\(moe)}")
                return try #require(try self.moe(response)["mean_experts"] as? Double)
            }
            let exact = try await mean(#"{"routing":"exact"}"#)
            let fast = try await mean(#"{"routing":"fast"}"#)
            let capped = try await mean(#"{"routing":"exact","max_experts":3}"#)
            #expect(exact == 8)
            #expect(fast < 4)
            #expect(capped == 3)
            let effort = try await server.post(
                "/v1/chat/completions",
                #"{"messages":[{"role":"user","content":"a"}],"max_tokens":2,"reasoning_effort":"low"}"#)
            #expect(effort.headers["x-moe-operating-point"] == "fast")
        }
    }

    /// The same request alone and among many others, first come and with a prefix hit: the same text and log probabilities.
    @Test func othersChangeNothing() async throws {
        try await TestServer.with(batch: 16, cache: 2048) { server in
            let body =
                #"{"prompt":"In the beginning there was a city","max_tokens":24,"temperature":0.8,"seed":5,"logprobs":2,"ignore_eos":true}"#
            func answer() async throws -> String {
                let choice = try choices(try await server.post("/v1/completions", body))[0]
                let data = try JSONSerialization.data(withJSONObject: choice, options: .sortedKeys)
                return String(decoding: data, as: UTF8.self)
            }
            let alone = try await answer()
            let answers = try await withThrowingTaskGroup(of: String?.self) { group in
                for index in 0..<24 {
                    group.addTask {
                        if index % 3 == 0 { return try await answer() }
                        _ = try await server.post(
                            "/v1/completions",
                            "{\"prompt\":\"\(String(repeating: "word ", count: 5 * index))\",\"max_tokens\":\(index + 5),\"temperature\":1,\"n\":2}"
                        )
                        return nil
                    }
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(answers.compactMap { $0 }.count == 8)
            #expect(answers.allSatisfy { $0 == nil || $0 == alone })
            let idle = try await server.becomesIdle()
            #expect(idle)
        }
    }

    @Test func embeddingsAreVectorsOfUnitLength() async throws {
        try await TestServer.with { server in
            let floats = try await server.post("/v1/embeddings", #"{"input":["The city","The sea"]}"#)
            let data = try #require(try floats.json()["data"] as? [[String: Any]])
            let vector = try #require(data[1]["embedding"] as? [Double])
            #expect(abs(vector.reduce(0) { $0 + $1 * $1 } - 1) < 1e-4)
            let text = try await server.post("/v1/embeddings", #"{"input":"The sea","encoding_format":"base64"}"#)
            let encoded = try #require((try text.json()["data"] as? [[String: Any]])?.first?["embedding"] as? String)
            let bytes = try #require(Data(base64Encoded: encoded))
            let first = bytes.withUnsafeBytes { $0.loadUnaligned(as: Float.self) }
            #expect(Double(first) == Double(Float(vector[0])))
            #expect(bytes.count == 4 * vector.count)
        }
    }

    /// `min_tokens` keeps a text from ending; a grammar's text is what it must be.
    @Test func textsHaveTheFormThatIsAskedFor() async throws {
        try await TestServer.with { server in
            let json = try await server.post(
                "/v1/chat/completions",
                #"{"messages":[{"role":"user","content":"a number"}],"max_tokens":30,"temperature":0,"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"object","properties":{"n":{"type":"integer","minimum":1,"maximum":9}},"required":["n"],"additionalProperties":false}}}}"#
            )
            let message = try #require(try choices(json)[0]["message"] as? [String: Any])
            let content = try #require(message["content"] as? String)
            let parsed = try #require(try JSONSerialization.jsonObject(with: Data(content.utf8)) as? [String: Int])
            let number = try #require(parsed["n"])
            #expect((1...9).contains(number))
            let stopped = try await server.post(
                "/v1/completions", #"{"prompt":"The","max_tokens":30,"temperature":0,"min_tokens":30}"#)
            #expect((try stopped.json()["usage"] as? [String: Any])?["completion_tokens"] as? Int == 30)
        }
    }
}
