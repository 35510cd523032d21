// SPDX-License-Identifier: Apache-2.0

package import HTTPTypes
package import MoEJSON

/// What a client is told when its request cannot be answered, in the shape of OpenAI's API.
package struct APIError: Error, CustomStringConvertible {
    package var status: HTTPResponse.Status
    package var type: String
    package var message: String
    /// The field that is to blame.
    package var param: String?
    package var code: String?
    /// Seconds until another try makes sense.
    package var retryAfter: Double?
    /// The method that would be right.
    package var allow: String?

    package var description: String { message }

    private init(
        _ status: HTTPResponse.Status, _ type: String, _ message: String, param: String? = nil, code: String? = nil,
        retryAfter: Double? = nil
    ) {
        // Messages quote what was sent.
        let isLong = message.utf8.count > 1000
        (self.status, self.type, self.message) = (status, type, isLong ? String(message.prefix(500)) + "…" : message)
        (self.param, self.code, self.retryAfter) = (param, code, retryAfter)
    }

    package static func invalid(_ message: String, param: String? = nil, code: String? = nil) -> APIError {
        APIError(.badRequest, "invalid_request_error", message, param: param, code: code)
    }

    package static func contextLength(_ message: String) -> APIError {
        invalid(message, param: "messages", code: "context_length_exceeded")
    }

    package static func unauthenticated(_ message: String) -> APIError {
        APIError(.unauthorized, "authentication_error", message, code: "invalid_api_key")
    }

    package static func forbidden(_ message: String) -> APIError { APIError(.forbidden, "permission_error", message) }

    package static func notFound(_ message: String, code: String? = nil, param: String? = nil) -> APIError {
        APIError(.notFound, "not_found_error", message, param: param, code: code)
    }

    package static func methodNotAllowed(_ message: String) -> APIError {
        APIError(.methodNotAllowed, "invalid_request_error", message, code: "method_not_allowed")
    }

    package static func tooLarge(_ message: String) -> APIError {
        APIError(.contentTooLarge, "invalid_request_error", message, code: "request_too_large")
    }

    package static func timeout(_ message: String) -> APIError {
        APIError(.requestTimeout, "invalid_request_error", message, code: "request_timeout")
    }

    package static func tooMany(_ message: String, retryAfter: Double, code: String = "rate_limit_exceeded") -> APIError {
        APIError(.tooManyRequests, "rate_limit_error", message, code: code, retryAfter: retryAfter)
    }

    package static func unavailable(_ message: String, retryAfter: Double = 1) -> APIError {
        APIError(.serviceUnavailable, "unavailable_error", message, retryAfter: retryAfter)
    }

    /// The time that the server gives a request is over.
    package static func deadline(_ message: String) -> APIError {
        APIError(.gatewayTimeout, "server_error", message, code: "deadline_exceeded")
    }

    package static func server(_ message: String) -> APIError { APIError(.internalServerError, "server_error", message) }

    package var json: JSONTree {
        ["error": content]
    }

    package var content: JSONTree {
        [
            "message": .string(message), "type": .string(type), "param": param.map { .string($0) } ?? .null,
            "code": code.map { .string($0) } ?? .null,
        ]
    }

    /// In the shape of Anthropic's API.
    package var anthropicJSON: JSONTree {
        let type =
            switch type {
            case "unavailable_error": "overloaded_error"
            case "server_error": "api_error"
            case "invalid_request_error" where code == "request_too_large": "request_too_large"
            default: self.type
            }
        return ["type": "error", "error": ["type": .string(type), "message": .string(message)]]
    }

    package var headers: HTTPFields {
        var headers: HTTPFields = [.contentType: "application/json"]
        if let retryAfter {
            let milliseconds = max(1, Int((retryAfter * 1000).rounded(.up)))
            headers[.retryAfter] = String((milliseconds + 999) / 1000)
            headers[HTTPField.Name("retry-after-ms")!] = String(milliseconds)
        }
        if let allow { headers[.allow] = allow }
        if status == .unauthorized { headers[.wwwAuthenticate] = "Bearer" }
        return headers
    }
}
