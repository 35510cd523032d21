// SPDX-License-Identifier: Apache-2.0

import HTTPTypes
import Hummingbird
import MoEJSON
import Synchronization

/// The table of endpoints.
struct ServerRoutes {
    let state: ServerState

    func router() -> Router<ServerContext> {
        let router = Router(context: ServerContext.self, options: [.autoGenerateHeadEndpoints])
        let table = EndpointTable()
        // Around the frame, so that pages can read errors as well.
        if !state.configuration.corsOrigins.isEmpty {
            router.middlewares.add(CrossOrigin(origins: state.configuration.corsOrigins))
        }
        router.middlewares.add(RequestFrame(state: state, table: table))
        router.middlewares.add(Authentication(state: state))

        let generation = GenerationResponder(state: state)
        let state = state
        func generate(
            _ path: RouterPath, _ read: @escaping @Sendable (JSONFields, KeyRights) throws -> GenerationRequest
        ) {
            router.post(path) { request, context in
                if state.isDraining { throw APIError.unavailable("the server is shutting down") }
                let rights = context.rights
                return try await generation.respond(
                    try await request.read(state) { try read($0, rights) }, endpoint: path.description, context: context)
            }
        }
        generate("/v1/chat/completions") { try ChatRequest($0, state, $1).read() }
        generate("/v1/completions") { try CompletionRequest($0, state, $1).read() }
        generate("/v1/responses") { try ResponsesRequest($0, state, $1).read() }
        generate("/v1/messages") { try MessagesRequest($0, state, $1).read() }

        func json(_ path: RouterPath, _ answer: @escaping @Sendable (JSONFields, ServerContext) throws -> JSONTree) {
            router.post(path) { request, context in
                Response(json: try await request.read(state) { try answer($0, context) })
            }
        }
        let tokens = TokenRoutes(state: state)
        json("/v1/messages/count_tokens") { try MessagesRequest($0, state, $1.rights).countTokens() }
        json("/tokenize") { fields, _ in try tokens.tokenize(fields) }
        json("/detokenize") { fields, _ in try tokens.detokenize(fields) }
        router.post("/v1/embeddings") { request, context in
            if state.isDraining { throw APIError.unavailable("the server is shutting down") }
            let embedding = try await request.read(state) { try tokens.embedding($0, context.rights) }
            return Response(json: try await tokens.embed(embedding, context: context))
        }

        func get(_ path: RouterPath, _ answer: @escaping @Sendable (Request, ServerContext) async throws -> Response) {
            router.get(path) { request, context in try await answer(request, context) }
        }
        let status = StatusRoutes(state: state)
        get("/tokenizer_info") { _, _ in Response(json: try tokens.tokenizerInfo()) }
        for prefix in ["", "/v1"] {
            get("\(prefix)/models") { _, _ in Response(json: status.models()) }
            get("\(prefix)/models/**") { _, context in
                Response(json: try status.model(named: context.parameters.getCatchAll().joined(separator: "/")))
            }
        }
        get("/health") { _, _ in Response(json: ["status": "ok"]) }
        get("/ready") { _, _ in status.ready() }
        get("/metrics") { _, _ in await status.metrics() }
        get("/moe/status") { _, _ in Response(json: await status.status()) }
        get("/moe/heatmap") { _, _ in Response(json: await status.heatmap()) }
        get("/v1/requests/:id") { _, context in
            Response(json: try status.request(id: try context.parameters.require("id"), context: context))
        }
        get("/openapi.json") { _, _ in Response(json: OpenAPIDescription(state).json) }
        if state.configuration.hasPage {
            get("/") { _, _ in try PageRoutes.file("index.html") }
            get("/web/:name") { _, context in try PageRoutes.file(try context.parameters.require("name")) }
        }
        table.fill(router.routes.filter { $0.method != .head }.map { ($0.path.description, $0.method) })
        return router
    }
}

/// Which method a path wants: a request with another one is told so.
final class EndpointTable: Sendable {
    private let entries = Mutex<[(path: [Substring], method: HTTPRequest.Method)]>([])

    func fill(_ routes: [(path: String, method: HTTPRequest.Method)]) {
        entries.withLock { $0 = routes.map { ($0.path.split(separator: "/"), $0.method) } }
    }

    /// nil when there is no such path.
    func method(of path: String) -> HTTPRequest.Method? {
        let words = path.split(separator: "/")
        return entries.withLock { entries in
            entries.first { entry in
                let isOpen = entry.path.last == "**"
                let pattern = isOpen ? entry.path.dropLast() : entry.path[...]
                guard isOpen ? words.count > pattern.count : words.count == pattern.count else { return false }
                return zip(pattern, words).allSatisfy { $0.hasPrefix(":") || $0 == $1 }
            }?.method
        }
    }
}
