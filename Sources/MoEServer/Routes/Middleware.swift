// SPDX-License-Identifier: Apache-2.0

import HTTPTypes
import Hummingbird
import Logging
import MoEJSON
import NIOCore
import NIOHTTP1

/// Gives every request its id, turns errors into responses, logs and counts.
struct RequestFrame: RouterMiddleware {
    let state: ServerState
    let table: EndpointTable

    func handle(
        _ request: Request, context: ServerContext, next: (Request, ServerContext) async throws -> Response
    ) async throws -> Response {
        var context = context
        let start = ContinuousClock.now
        context.requestID = Self.id(request)
        context.logger[metadataKey: "request"] = .string(context.requestID)
        var response: Response
        do {
            response = try await next(request, context)
        } catch let error as HTTPParserError {
            throw error
        } catch is CancellationError {
            // Nobody reads it: the client has gone.
            response = Response(status: .init(code: 499, reasonPhrase: "Client Closed Request"))
        } catch {
            var error = APIError(any: error, logger: context.logger)
            if error.status == .notFound, let method = table.method(of: request.uri.path),
                method != request.method
            {
                error = .methodNotAllowed("\(request.uri.path) wants \(method), not \(request.method)")
                error.allow = method.rawValue
            }
            let json = request.uri.path.hasPrefix("/v1/messages") ? error.anthropicJSON : error.json
            response = Response(json: json, status: error.status, headers: error.headers)
        }
        response.headers[Self.name] = context.requestID
        if request.uri.path.hasPrefix("/v1/messages") { response.headers[Self.anthropicName] = context.requestID }
        let endpoint = context.endpointPath ?? "none"
        state.metrics.countRequest(endpoint: endpoint, status: Int(response.status.code))
        // A page that looks at the load, and health checks, would fill the log.
        let level: Logger.Level = request.method == .get && response.status.code < 400 ? .debug : .info
        context.logger.log(
            level: level, "\(request.method) \(request.uri.path.prefix(200)) \(response.status.code)",
            metadata: [
                "milliseconds": .stringConvertible(((ContinuousClock.now - start) / .milliseconds(1)).rounded()),
                "key": .string(context.rights.name),
            ])
        return response
    }

    private static let name = HTTPField.Name("x-request-id")!
    private static let anthropicName = HTTPField.Name("request-id")!

    /// The client's own where it is short and plain.
    private static func id(_ request: Request) -> String {
        if let id = request.headers[name], (1...128).contains(id.utf8.count),
            id.utf8.allSatisfy({ byte in
                (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20)
                    || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || "-_.:".utf8.contains(byte)
            })
        {
            return id
        }
        return "req-" + Identifiers.random()
    }
}

/// Lets other pages call, and answers their browsers' questions before.
struct CrossOrigin: RouterMiddleware {
    let origins: [String]

    func handle(
        _ request: Request, context: ServerContext, next: (Request, ServerContext) async throws -> Response
    ) async throws -> Response {
        guard let origin = request.headers[.origin], origins.contains("*") || origins.contains(origin) else {
            return try await next(request, context)
        }
        var response: Response
        if request.method == .options {
            response = Response(status: .noContent)
            response.headers[.accessControlAllowMethods] = "GET, POST, OPTIONS"
            response.headers[.accessControlAllowHeaders] = request.headers[.accessControlRequestHeaders] ?? "*"
            response.headers[.accessControlMaxAge] = "600"
        } else {
            response = try await next(request, context)
            response.headers[.accessControlExposeHeaders] = "*"
        }
        response.headers[.accessControlAllowOrigin] = origins.contains("*") ? "*" : origin
        if !origins.contains("*") { response.headers[.vary] = "Origin" }
        return response
    }
}

/// Asks for a key where there are keys. Where there are none, any page that somebody looks at could let this machine work for it: what a
/// browser says comes from another page is refused there, unless that page may call (``CrossOrigin``).
struct Authentication: RouterMiddleware {
    let state: ServerState
    private static let open: Set<String> = ["/", "/health", "/ready", "/openapi.json"]

    func handle(
        _ request: Request, context: ServerContext, next: (Request, ServerContext) async throws -> Response
    ) async throws -> Response {
        let path = request.uri.path
        if Self.open.contains(path) || path.hasPrefix("/web/") { return try await next(request, context) }
        if state.keys.areOpen {
            if let origin = foreignOrigin(request) {
                throw APIError.forbidden("pages of \(origin.prefix(200)) may not call: --cors lets them")
            }
            return try await next(request, context)
        }
        guard let key = Self.key(request) else {
            throw APIError.unauthenticated("a key is needed: Authorization: Bearer KEY")
        }
        guard let rights = state.keys.rights(of: key) else { throw APIError.unauthenticated("the key is not known") }
        context.rights = rights
        if request.method == .post { try state.keys.charge(rights) }
        return try await next(request, context)
    }

    /// The page of another host that a request is from. Origins without a host, as of programs that show pages of their own, are not meant.
    /// Who forwards requests and changes their host leaves the browser's own word for it, which no page can write.
    private func foreignOrigin(_ request: Request) -> String? {
        guard request.headers[HTTPField.Name("sec-fetch-site")!] != "same-origin", let origin = request.headers[.origin],
            let scheme = origin.firstRange(of: "://"),
            ["http", "https"].contains(origin[..<scheme.lowerBound].lowercased()),
            origin[scheme.upperBound...].lowercased() != request.head.authority?.lowercased(),
            !state.configuration.corsOrigins.contains("*"), !state.configuration.corsOrigins.contains(origin)
        else { return nil }
        return origin
    }

    private static func key(_ request: Request) -> String? {
        if let header = request.headers[.authorization] {
            let words = header.split(separator: " ", maxSplits: 1)
            return words.count == 2 && words[0].lowercased() == "bearer" ? String(words[1]) : nil
        }
        return request.headers[HTTPField.Name("x-api-key")!]
    }
}
