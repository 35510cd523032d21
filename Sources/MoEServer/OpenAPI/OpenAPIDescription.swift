// SPDX-License-Identifier: Apache-2.0

import Hummingbird
import MoEJSON

/// The description of all endpoints, for tools that read one. Tools/openapi/describe.py writes it.
struct OpenAPIDescription {
    init(_ state: ServerState) {}

    var json: JSONTree { .text(String(decoding: PackageResources.openapi_json, as: UTF8.self)) }
}

extension Server {
    /// Method and path of all endpoints, as `GET /v1/requests/:id`.
    package var endpoints: [String] {
        ServerRoutes(state: state).router().routes.filter { $0.method != .head }.map { "\($0.method.rawValue) \($0.path)" }
    }
}
