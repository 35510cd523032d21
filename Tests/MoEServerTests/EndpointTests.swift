// SPDX-License-Identifier: Apache-2.0

import Foundation
import MoEServer
import Testing

/// Endpoints over real connections: shapes, streams, errors, and what happens when clients leave.
@Suite(.serialized) struct EndpointTests {
    private static let completion = #"{"prompt":"The city was","max_tokens":12,"temperature":0}"#

    private func choice(_ json: [String: Any]) throws -> [String: Any] {
        try #require((json["choices"] as? [[String: Any]])?.first)
    }

    @Test func completionsStreamWhatTheySayAtOnce() async throws {
        try await TestServer.with { server in
            let whole = try await server.post("/v1/completions", Self.completion)
            #expect(whole.status == 200)
            let text = try #require(try choice(whole.json())["text"] as? String)
            let stream = try await server.post(
                "/v1/completions",
                #"{"prompt":"The city was","max_tokens":12,"temperature":0,"stream":true,"stream_options":{"include_usage":true}}"#
            )
            #expect(stream.headers["content-type"]?.hasPrefix("text/event-stream") == true)
            #expect(stream.events.last == "[DONE]")
            var streamed = ""
            var usage: [String: Any]?
            for event in stream.events.dropLast() {
                let json = try #require(try JSONSerialization.jsonObject(with: Data(event.utf8)) as? [String: Any])
                if let choices = json["choices"] as? [[String: Any]], let choice = choices.first {
                    streamed += choice["text"] as? String ?? ""
                } else {
                    usage = json["usage"] as? [String: Any]
                }
            }
            #expect(streamed == text)
            let moe = try #require(usage?["moe"] as? [String: Any])
            #expect(usage?["completion_tokens"] as? Int == 12)
            #expect((moe["expert_evaluations"] as? Int ?? 0) > 0)
            #expect(whole.headers["x-moe-mean-experts"] != nil)
            let id = try #require(whole.headers["x-request-id"])
            let record = try await server.get("/v1/requests/\(id)").json()
            #expect(record["status"] as? String == "completed")
            #expect((record["usage"] as? [String: Any])?["completion_tokens"] as? Int == 12)
        }
    }

    @Test func aConversationIsAnswered() async throws {
        try await TestServer.with { server in
            let body =
                #"{"model":"demo","messages":[{"role":"user","content":"Hello"}],"max_tokens":8,"seed":7,"stream":true}"#
            let first = try await server.post("/v1/chat/completions", body)
            let second = try await server.post("/v1/chat/completions", body)
            func texts(_ response: RawConnection.Response) throws -> [String] {
                try response.events.dropLast().compactMap {
                    let json = try JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any]
                    let delta = (json?["choices"] as? [[String: Any]])?.first?["delta"] as? [String: Any]
                    return delta?["content"] as? String
                }
            }
            #expect(try texts(first) == texts(second))
            #expect(try texts(first).first == "")
        }
    }

    @Test func nAnswersDifferAndTheFirstIsTheSeeds() async throws {
        try await TestServer.with { server in
            func texts(_ body: String) async throws -> [String] {
                let json = try await server.post("/v1/completions", body).json()
                return (json["choices"] as? [[String: Any]])?.compactMap { $0["text"] as? String } ?? []
            }
            let base = #""prompt":"The","max_tokens":10,"temperature":1,"seed":3"#
            let three = try await texts("{\(base),\"n\":3}")
            #expect(three.count == 3 && Set(three).count > 1)
            #expect(try await texts("{\(base)}") == [three[0]])
        }
    }

    @Test func aForcedCallIsACall() async throws {
        try await TestServer.with { server in
            let tool =
                #"{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{"x":{"type":"boolean"}},"required":["x"],"additionalProperties":false}}}"#
            let json = try await server.post(
                "/v1/chat/completions",
                "{\"messages\":[{\"role\":\"user\",\"content\":\"go\"}],\"tools\":[\(tool)],\"tool_choice\":\"required\",\"max_tokens\":64,\"temperature\":0}"
            ).json()
            let message = try #require(try choice(json)["message"] as? [String: Any])
            let call = try #require((message["tool_calls"] as? [[String: Any]])?.first)
            let function = try #require(call["function"] as? [String: Any])
            #expect(function["name"] as? String == "f")
            let arguments = try #require(function["arguments"] as? String)
            let parsed = try JSONSerialization.jsonObject(with: Data(arguments.utf8)) as? [String: Bool]
            #expect(parsed?["x"] != nil)
            #expect(try choice(json)["finish_reason"] as? String == "tool_calls")
        }
    }

    /// `{path, body, status, param}`
    @Test(arguments: [
        ("/v1/chat/completions", "{", 400, nil), ("/v1/chat/completions", "[]", 400, nil),
        ("/v1/chat/completions", "{}", 400, "messages"), ("/v1/chat/completions", #"{"messages":[]}"#, 400, "messages"),
        ("/v1/chat/completions", #"{"messages":[{"role":"user","content":1}]}"#, 400, "messages[0].content"),
        ("/v1/chat/completions", #"{"model":"gpt-9","messages":[{"role":"user","content":"a"}]}"#, 404, "model"),
        ("/v1/completions", #"{"prompt":"a","max_tokens":-1}"#, 400, "max_tokens"),
        ("/v1/completions", #"{"prompt":"a","temperature":"hot"}"#, 400, "temperature"),
        ("/v1/completions", #"{"prompt":"a","temperature":1e400}"#, 400, nil),
        ("/v1/completions", #"{"prompt":[99999999]}"#, 400, "prompt"),
        ("/v1/completions", #"{"prompt":[]}"#, 400, "prompt"),
        ("/v1/completions", #"{"prompt":"a","logit_bias":{"x":1}}"#, 400, "logit_bias"),
        ("/v1/completions", #"{"prompt":"a","n":100000}"#, 400, "n"),
        (
            "/v1/completions",
            #"{"prompt":"a","response_format":{"type":"json_schema","json_schema":{"schema":{"type":"nonsense"}}}}"#, 400,
            "response_format.json_schema.schema"
        ),
        ("/v1/completions", #"{"prompt":"a","moe":{"routing":"nonsense"}}"#, 400, "moe.routing"),
        ("/v1/completions", #"{"prompt":"a","moe":{"routing":"profile:/etc/passwd"}}"#, 400, "moe.routing"),
        ("/v1/embeddings", "{}", 400, "input"), ("/tokenize", "{}", 400, "text"),
        ("/detokenize", #"{"tokens":["a"]}"#, 400, "tokens"),
        ("/v1/nothing", "{}", 404, nil),
    ])
    func whatCannotBeAnsweredSaysWhy(path: String, body: String, status: Int, param: String?) async throws {
        try await TestServer.with { server in
            let response = try await server.post(path, body)
            #expect(response.status == status)
            let error = try #require(try response.json()["error"] as? [String: Any])
            #expect((error["message"] as? String)?.isEmpty == false)
            #expect(error["type"] as? String == (status == 404 ? "not_found_error" : "invalid_request_error"))
            #expect(error["param"] as? String == param)
            let status200 = try await server.get("/health").status
            #expect(status200 == 200)
        }
    }

    @Test func unknownFieldsAndNullsDoNotMatter() async throws {
        try await TestServer.with { server in
            let response = try await server.post(
                "/v1/completions",
                #"{"prompt":"a","max_tokens":2,"stop":null,"logprobs":null,"seed":null,"moe":null,"user":"x","best_of":1,"whatever":{"a":[1]}}"#
            )
            #expect(response.status == 200)
        }
    }

    @Test func aPromptBeyondTheContextIsRefused() async throws {
        try await TestServer.with(context: 64) { server in
            let ids = [Int](repeating: 5, count: 65).map(String.init).joined(separator: ",")
            let response = try await server.post("/v1/completions", "{\"prompt\":[\(ids)]}")
            #expect(response.status == 400)
            let error = try #require(try response.json()["error"] as? [String: Any])
            #expect(error["code"] as? String == "context_length_exceeded")
        }
    }

    @Test func largeBodiesAreRefusedAtOnce() async throws {
        var configuration = ServerConfiguration()
        configuration.bodyLimit = 10_000
        try await TestServer.with(configuration: configuration) { server in
            let connection = try server.connect()
            let response = try await RawConnection.off {
                try connection.send("POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n")
                return try connection.response()
            }
            #expect(response.status == 413)
            let status200 = try await server.get("/health").status
            #expect(status200 == 200)
        }
    }

    @Test func slowBodiesRunOutOfTime() async throws {
        var configuration = ServerConfiguration()
        configuration.readTimeout = 0.5
        try await TestServer.with(configuration: configuration) { server in
            let connection = try server.connect()
            let response = try await RawConnection.off {
                try connection.send("POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{")
                return try connection.response()
            }
            #expect(response.status == 408)
        }
    }

    /// A page of another origin must be able to read what went wrong.
    @Test func errorsMayBeReadByAllowedPages() async throws {
        var configuration = ServerConfiguration()
        configuration.corsOrigins = ["https://a.example"]
        try await TestServer.with(configuration: configuration) { server in
            let refused = try await server.post("/v1/completions", "{", headers: ["Origin": "https://a.example"])
            #expect(refused.status == 400)
            #expect(refused.headers["access-control-allow-origin"] == "https://a.example")
            let other = try await server.post("/v1/completions", "{", headers: ["Origin": "https://b.example"])
            #expect(other.headers["access-control-allow-origin"] == nil)
        }
    }

    /// Without keys, a page that somebody looks at must not be able to let this machine work for it.
    @Test func otherHostsPagesMayNotCallWhereThereAreNoKeys() async throws {
        let cases: [([String: String], Int)] = [
            (["Origin": "https://a.example"], 403), (["Origin": "http://localhost:1"], 403),
            (["Origin": "https://a.example", "Sec-Fetch-Site": "cross-site"], 403),
            (["Origin": "https://a.example", "Sec-Fetch-Site": "same-origin"], 200),
            (["Origin": "http://localhost"], 200), (["Origin": "vscode-webview://1"], 200), ([:], 200),
        ]
        try await TestServer.with { server in
            for (headers, expected) in cases {
                let status = try await server.post("/tokenize", #"{"prompt":"x"}"#, headers: headers).status
                #expect(status == expected, "\(headers)")
            }
        }
    }

    @Test func keysAreAskedFor() async throws {
        var configuration = ServerConfiguration()
        configuration.key = "secret"
        try await TestServer.with(configuration: configuration) { server in
            #expect(try await server.post("/v1/completions", Self.completion).status == 401)
            let status401 = try await server.get("/v1/models", headers: ["Authorization": "Bearer wrong"]).status
            #expect(status401 == 401)
            let status200 = try await server.get("/v1/models", headers: ["Authorization": "Bearer secret"]).status
            #expect(status200 == 200)
            let byHeader = try await server.get("/v1/models", headers: ["x-api-key": "secret"]).status
            #expect(byHeader == 200)
            let health = try await server.get("/health").status
            #expect(health == 200)
        }
    }

    /// Clients that leave: while queued, before the first token, in the middle. What remains runs on untouched.
    @Test func whoLeavesTakesNothingAlong() async throws {
        try await TestServer.with(batch: 2) { server in
            let long = #"{"prompt":"Once upon a time","max_tokens":400,"temperature":0,"ignore_eos":true,"stream":true}"#
            let expected = try await server.post("/v1/completions", Self.completion).json()
            var connections: [RawConnection] = []
            for _ in 0..<6 {
                let connection = try server.connect()
                try connection.request("POST", "/v1/completions", body: long)
                connections.append(connection)
            }
            _ = try await RawConnection.off { [connections] in try connections[0].head() }
            let whole = Task { try await server.post("/v1/completions", Self.completion) }
            for connection in connections { connection.close() }
            let got = try await whole.value.json()
            #expect(try choice(got)["text"] as? String == choice(expected)["text"] as? String)
            #expect(try await server.becomesIdle())
            let status = try await server.get("/moe/status").json()
            #expect(status["queued"] as? Int == 0)
            #expect(status["active"] as? Int == 0)
        }
    }

    /// What became of who left can be asked for, with what was spent until then.
    @Test func aRecordSaysWhatWasSpentOnWhoLeft() async throws {
        try await TestServer.with { server in
            let connection = try server.connect()
            try connection.request(
                "POST", "/v1/completions", headers: ["x-request-id": "leaver"],
                body: #"{"prompt":"Once upon a time","max_tokens":480,"ignore_eos":true,"stream":true,"temperature":0}"#)
            _ = try await RawConnection.off {
                _ = try connection.head()
                return try connection.line()
            }
            connection.close()
            #expect(try await server.becomesIdle())
            var record: [String: Any] = [:]
            for _ in 0..<500 {
                record = try await server.get("/v1/requests/leaver").json()
                // The engine tells at its next step.
                if record["status"] as? String == "cancelled", (record["usage"] as? [String: Any])?["moe"] != nil { break }
                try await Task.sleep(for: .milliseconds(10))
            }
            #expect(record["status"] as? String == "cancelled")
            let usage = try #require(record["usage"] as? [String: Any])
            // The client was gone before the last ones could be told.
            let tokens = try #require(usage["completion_tokens"] as? Int)
            #expect(tokens >= record["tokens"] as? Int ?? .max)
            #expect((usage["prompt_tokens"] as? Int ?? 0) > 0)
            let moe = try #require(usage["moe"] as? [String: Any])
            #expect(moe["expert_evaluations"] as? Int ?? 0 > 4 * tokens)
            #expect(moe["cost_usd"] as? Double ?? 0 > 0)
        }
    }

    /// HTTP/1.0 has no chunks, and its answers end with their connection; so does a client's that says "close", in any letters.
    @Test(arguments: [("1.0", ""), ("1.0", "Connection: keep-alive\r\n"), ("1.1", "Connection: Close\r\n")])
    func connectionsAreClosedWhereTheClientExpectsIt(version: String, header: String) async throws {
        try await TestServer.with { server in
            for isStreamed in [false, true] {
                let body = "{\"prompt\":\"Once\",\"max_tokens\":4,\"stream\":\(isStreamed)}"
                let connection = try server.connect()
                let text = try await RawConnection.off {
                    try connection.send(
                        "POST /v1/completions HTTP/\(version)\r\nHost: localhost\r\n\(header)Content-Length: \(body.utf8.count)\r\n\r\n"
                            + body)
                    return try connection.rest()
                }
                #expect(text.hasPrefix("HTTP/\(version) 200"))
                #expect(text.contains("transfer-encoding: chunked") == (version == "1.1" && isStreamed))
                #expect(text.contains(isStreamed ? "data: [DONE]\n\n" : "\"completion_tokens\":4"))
            }
        }
    }

    /// Some clients stop sending after their request; their answer still comes.
    @Test(arguments: [false, true]) func whoOnlyStopsSendingIsAnswered(isStreamed: Bool) async throws {
        try await TestServer.with { server in
            let connection = try server.connect()
            let response = try await RawConnection.off {
                try connection.request(
                    "POST", "/v1/completions",
                    body:
                        "{\"prompt\":\"Once\",\"max_tokens\":300,\"ignore_eos\":true,\"temperature\":0,\"stream\":\(isStreamed)}"
                )
                connection.endSending()
                var head = try connection.head()
                while head.status == 100 { head = try connection.head() }
                return try connection.response(after: head)
            }
            #expect(response.status == 200)
            #expect(isStreamed ? response.events.last == "[DONE]" : response.text.contains("\"completion_tokens\":300"))
        }
    }

    @Test func aFullQueueSaysWhenToComeBack() async throws {
        var configuration = ServerConfiguration()
        configuration.queueLimit = 0
        try await TestServer.with(batch: 1, configuration: configuration) { server in
            let connection = try server.connect()
            try connection.request(
                "POST", "/v1/completions",
                body: #"{"prompt":"Once","max_tokens":480,"ignore_eos":true,"stream":true,"temperature":0}"#)
            _ = try await RawConnection.off { try connection.head() }
            let refused = try await server.post("/v1/completions", Self.completion)
            #expect(refused.status == 429)
            #expect(Int(refused.headers["retry-after"] ?? "").map { $0 >= 1 } == true)
            connection.close()
        }
    }

    @Test func messagesHaveAnthropicsShape() async throws {
        try await TestServer.with { server in
            let body =
                #"{"model":"demo","max_tokens":6,"system":"Be brief.","messages":[{"role":"user","content":[{"type":"text","text":"Hi"}]}]"#
            let whole = try await server.post("/v1/messages", body + "}").json()
            #expect(whole["type"] as? String == "message")
            #expect(whole["stop_reason"] is String)
            let stream = try await server.post("/v1/messages", body + #","stream":true}"#)
            let names = stream.text.split(separator: "\n").filter { $0.hasPrefix("event: ") }.map { $0.dropFirst(7) }
            #expect(names.first == "message_start" && names.last == "message_stop")
            #expect(names.contains("content_block_delta"))
            let count = try await server.post("/v1/messages/count_tokens", body + "}").json()
            #expect((count["input_tokens"] as? Int ?? 0) > 3)
            let error = try await server.post("/v1/messages", "{}").json()
            #expect(error["type"] as? String == "error")
        }
    }

    @Test func responsesHaveTheirEvents() async throws {
        try await TestServer.with { server in
            let whole = try await server.post("/v1/responses", #"{"input":"Hello","max_output_tokens":6}"#).json()
            #expect(whole["object"] as? String == "response")
            let stream = try await server.post("/v1/responses", #"{"input":"Hello","max_output_tokens":6,"stream":true}"#)
            let types = try stream.events.map {
                try #require(try JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any])["type"] as? String
                    ?? ""
            }
            #expect(types.first == "response.created")
            #expect(["response.completed", "response.incomplete"].contains(types.last))
            #expect(types.contains("response.output_text.delta"))
        }
    }

    @Test func tokensGoThereAndBack() async throws {
        try await TestServer.with { server in
            let tokens = try await server.post("/tokenize", #"{"prompt":"The city","add_special_tokens":false}"#).json()[
                "tokens"]
            let ids = try #require(tokens as? [Int])
            let body = String(decoding: try JSONSerialization.data(withJSONObject: ["tokens": ids]), as: UTF8.self)
            #expect(try await server.post("/detokenize", body).json()["prompt"] as? String == "The city")
        }
    }

    /// SIGTERM's path: what is under way is finished, nothing new is let in.
    @Test func drainingFinishesWhatIsUnderWay() async throws {
        let outcome = Outcome()
        try await TestServer.with { server in
            let connection = try server.connect()
            try connection.request(
                "POST", "/v1/completions",
                body: #"{"prompt":"Once","max_tokens":100,"ignore_eos":true,"stream":true,"temperature":0}"#)
            outcome.task = Task { try await RawConnection.off { try connection.response() } }
            try await Task.sleep(for: .milliseconds(100))
        }
        let response = try await #require(outcome.task).value
        #expect(response.events.last == "[DONE]")
    }

    private final class Outcome: @unchecked Sendable { var task: Task<RawConnection.Response, any Error>? }
}
