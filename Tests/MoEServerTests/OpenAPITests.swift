// SPDX-License-Identifier: Apache-2.0

import Foundation
import Logging
import MoEInfer
import MoEJSON
import MoEServer
import MoETestSupport
import Testing

/// Prevents an endpoint that nobody can find, and a description of one that is not there. What endpoints read and write is compared by
/// `make test-openapi`.
@Suite struct OpenAPITests {
    private func described() throws -> JSONDocument {
        let file = Fixtures.root.appendingPathComponent("Sources/MoEServer/OpenAPI/openapi.json").path
        return try JSONDocument(Array(String(contentsOfFile: file, encoding: .utf8).utf8))
    }

    /// `GET /v1/requests/:id` and `GET /v1/requests/{id}` are the same to both sides.
    private func shape(_ path: String) -> String {
        let parts = path.split(separator: "/").map { part in
            part.hasPrefix(":") || part.hasPrefix("{") || part == "**" ? "{}" : String(part)
        }
        return "/" + parts.joined(separator: "/")
    }

    @Test func describesEveryEndpointAndNoOther() async throws {
        let document = try described()
        var wanted: Set<String> = []
        for (path, item) in try #require(document.object(document.member("paths", of: document.root))) {
            for (method, operation) in try #require(document.object(item)) {
                let (path, method) = (try #require(document.string(path)), try #require(document.string(method)))
                wanted.insert("\(method.uppercased()) \(shape(path))")
                #expect(document.object(document.member("responses", of: operation))?.isEmpty == false)
            }
        }
        let model = Fixtures.root.appendingPathComponent("CSources/CMoEDemoModel/demo.gguf").path
        let server = try Server(
            llm: try await LLM.load(.path(model)), modelName: "demo", configuration: ServerConfiguration(),
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        let routes = Set(
            server.endpoints.map { endpoint in
                let words = endpoint.split(separator: " ")
                return "\(words[0]) \(shape(String(words[1])))"
            })
        #expect(wanted.subtracting(routes).isEmpty, "described, and not there")
        #expect(routes.subtracting(wanted).isEmpty, "not described")
        #expect(routes.count > 15)
    }

    /// Clients follow references before they do anything else.
    @Test func everyReferenceLeadsSomewhere() throws {
        let document = try described()
        var count = 0
        func check(_ value: JSONDocument.Value) {
            if let members = document.object(value) {
                for (key, member) in members {
                    if document.string(key) == "$ref", let reference = document.string(member) {
                        count += 1
                        var target: JSONDocument.Value? = document.root
                        for name in reference.split(separator: "/").dropFirst() {
                            target = document.member(String(name), of: target)
                        }
                        #expect(!document.isNull(target), "\(reference)")
                    }
                    check(member)
                }
            } else if let elements = document.array(value) {
                for element in elements { check(element) }
            }
        }
        check(document.root)
        #expect(count > 100)
    }
}
