// SPDX-License-Identifier: Apache-2.0

import Hummingbird
import MoEJSON

/// The table of endpoints.
struct ServerRoutes {
    let state: ServerState

    func router() -> Router<ServerContext> {
        let router = Router(context: ServerContext.self)
        router.middlewares.add(RequestFrame(state: state))
        if !state.configuration.corsOrigins.isEmpty {
            router.middlewares.add(CrossOrigin(origins: state.configuration.corsOrigins))
        }
        router.middlewares.add(Authentication(state: state))

        let generation = GenerationResponder(state: state)
        let state = state
        func generate(
            _ path: RouterPath, _ read: @escaping @Sendable (JSONFields, KeyRights) throws -> GenerationRequest
        ) {
            router.post(path) { request, context in
                if state.isDraining { throw APIError.unavailable("the server is shutting down") }
                let fields = try JSONFields(body: try await request.collect(state.configuration))
                return try await generation.respond(
                    try read(fields, context.rights), endpoint: path.description, context: context)
            }
        }
        generate("/v1/chat/completions") { try ChatRequest($0, state, $1).read() }
        generate("/v1/completions") { try CompletionRequest($0, state, $1).read() }
        generate("/v1/responses") { try ResponsesRequest($0, state, $1).read() }
        generate("/v1/messages") { try MessagesRequest($0, state, $1).read() }

        func json(_ path: RouterPath, _ answer: @escaping @Sendable (JSONFields, ServerContext) async throws -> JSONTree) {
            router.post(path) { request, context in
                Response(json: try await answer(try JSONFields(body: try await request.collect(state.configuration)), context))
            }
        }
        let tokens = TokenRoutes(state: state)
        json("/v1/messages/count_tokens") { try MessagesRequest($0, state, $1.rights).countTokens() }
        json("/tokenize") { fields, _ in try tokens.tokenize(fields) }
        json("/detokenize") { fields, _ in try tokens.detokenize(fields) }
        json("/v1/embeddings") { try await tokens.embeddings($0, context: $1) }

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
        return router
    }
}
