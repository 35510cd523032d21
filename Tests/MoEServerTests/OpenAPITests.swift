// SPDX-License-Identifier: Apache-2.0

import Hummingbird
import Logging
import MoEInfer
import MoEJSON
import MoETestSupport
import Testing

import MoEServer

/// Prevents an endpoint that nobody can find, and a description of one that is not there. What endpoints read and write is compared by
/// `make test-openapi`.
@Suite struct OpenAPITests {
    private func state() async throws -> ServerState {
        var settings = Settings()
        settings.context = 64
        let model = Fixtures.root.appendingPathComponent("CSources/CMoEDemoModel/demo.gguf").path
        return try ServerState(
            llm: try await LLM.load(.path(model), options: EngineOptions(settings: settings)), modelName: "demo",
            configuration: ServerConfiguration(), logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    }

    /// `GET /v1/requests/:id` and `GET /v1/requests/{id}` are the same to both sides.
    private func shape(_ method: String, _ path: String) -> String {
        let parts = path.split(separator: "/").map { $0.hasPrefix(":") || $0.hasPrefix("{") || $0 == "**" ? "{}" : String($0) }
        return "\(method.uppercased()) /\(parts.joined(separator: "/"))"
    }

    @Test func describesEveryEndpointAndNoOther() async throws {
        let state = try await state()
        let document = try JSONDocument(OpenAPIDescription(state).json.bytes)
        var described: Set<String> = []
        for (path, item) in try #require(document.object(document.member("paths", of: document.root))) {
            for (method, operation) in try #require(document.object(item)) {
                let name = try #require(document.string(method))
                guard name != "parameters" else { continue }
                described.insert(shape(name, try #require(document.string(path))))
                #expect(document.object(document.member("responses", of: operation))?.isEmpty == false)
            }
        }
        let routes = Set(ServerRoutes(state: state).router().routes.map { shape($0.method.rawValue, $0.path.description) })
        #expect(described.subtracting(routes).isEmpty, "described, and not there")
        #expect(routes.subtracting(described).isEmpty, "not described")
        #expect(routes.count > 15)
    }

    /// Clients of both kinds follow references before they do anything else.
    @Test func everyReferenceLeadsSomewhere() async throws {
        let document = try JSONDocument(OpenAPIDescription(try await state()).json.bytes)
        var count = 0
        func check(_ value: JSONDocument.Value) throws {
            if let members = document.object(value) {
                for (key, member) in members {
                    if document.string(key) == "$ref", let reference = document.string(member) {
                        count += 1
                        var target: JSONDocument.Value? = document.root
                        for name in reference.split(separator: "/").dropFirst() { target = document.member(String(name), of: target) }
                        #expect(!document.isNull(target), "\(reference)")
                    }
                    try check(member)
                }
            } else if let elements = document.array(value) {
                for element in elements { try check(element) }
            }
        }
        try check(document.root)
        #expect(count > 100)
    }
}
