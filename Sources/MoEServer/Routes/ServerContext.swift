// SPDX-License-Identifier: Apache-2.0

import HTTPTypes
import Hummingbird
import MoEJSON
import NIOCore

/// What goes with a request through middleware and routes.
struct ServerContext: RequestContext {
    var coreContext: CoreRequestContextStorage
    let channel: any Channel
    var requestID = ""
    var rights = KeyRights.everyone

    init(source: ApplicationRequestContextSource) {
        coreContext = .init(source: source)
        channel = source.channel
    }
}

extension Request {
    /// The whole body.
    /// - Throws: ``APIError`` 413 for one that is too large, at once where its length is stated, and 408 for one that does not come.
    func collect(_ configuration: ServerConfiguration) async throws -> [UInt8] {
        let limit = configuration.bodyLimit
        let tooLarge = APIError.tooLarge("the body is larger than \(limit) bytes")
        if let length = headers[.contentLength].flatMap({ Int($0) }), length > limit { throw tooLarge }
        let body = body
        return try await withDeadline(
            seconds: configuration.readTimeout,
            error: .timeout("the body did not arrive within \(configuration.readTimeout) seconds")
        ) {
            var bytes: [UInt8] = []
            for try await buffer in body {
                guard bytes.count + buffer.readableBytes <= limit else { throw tooLarge }
                bytes.append(contentsOf: buffer.readableBytesView)
            }
            return bytes
        }
    }
}

extension Response {
    init(json: JSONTree, status: HTTPResponse.Status = .ok, headers: HTTPFields = [:]) {
        var headers = headers
        headers[.contentType] = "application/json"
        self.init(status: status, headers: headers, body: ResponseBody(byteBuffer: ByteBuffer(bytes: json.bytes)))
    }
}
