// SPDX-License-Identifier: Apache-2.0

import MoEJSON

/// The description of all endpoints, for tools that read one.
struct OpenAPIDescription {
    init(_ state: ServerState) {}

    var json: JSONTree { .text(String(decoding: PackageResources.openapi_json, as: UTF8.self)) }
}
