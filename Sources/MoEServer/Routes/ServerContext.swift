// SPDX-License-Identifier: Apache-2.0

import HTTPTypes
import Hummingbird
import MoEJSON
import NIOCore
import NIOPosix
import Synchronization

/// What goes with a request through middleware and routes.
struct ServerContext: RequestContext {
    var coreContext: CoreRequestContextStorage
    let channel: any Channel
    var requestID = ""
    /// Who asks. Shared with the contexts of outer middleware, which log it.
    var rights: KeyRights {
        get { owner.rights.withLock { $0 } }
        nonmutating set { owner.rights.withLock { $0 = newValue } }
    }
    private let owner = Owner()

    private final class Owner: Sendable { let rights = Mutex(KeyRights.everyone) }

    init(source: ApplicationRequestContextSource) {
        coreContext = .init(source: source)
        channel = source.channel
    }
}

extension Request {
    /// Reads the whole body, and the request that it says, on a thread where that may take its time.
    /// - Throws: ``APIError`` 413 for a body that is too large, at once where its length is stated, and 408 for one that does not come.
    func read<Result: Sendable>(
        _ state: ServerState, _ read: @escaping @Sendable (JSONFields) throws -> Result
    ) async throws -> Result {
        let configuration = state.configuration
        let limit = configuration.bodyLimit
        let tooLarge = APIError.tooLarge("the body is larger than \(limit) bytes")
        if let length = headers[.contentLength].flatMap({ Int($0) }), length > limit { throw tooLarge }
        let body = body
        let bytes = Mutex<[UInt8]>([])
        defer { state.giveBody(bytes.withLock { $0.count }) }
        try await withDeadline(
            seconds: configuration.readTimeout,
            error: .timeout("the body did not arrive within \(configuration.readTimeout) seconds")
        ) {
            for try await buffer in body {
                try bytes.withLock { bytes in
                    guard bytes.count + buffer.readableBytes <= limit else { throw tooLarge }
                    try state.takeBody(buffer.readableBytes)
                    bytes.append(contentsOf: buffer.readableBytesView)
                }
            }
        }
        let text = bytes.withLock { $0 }
        // Templates, schemas and long texts take a while: not on the threads that all requests share.
        return try await NIOThreadPool.singleton.runIfActive { try read(try JSONFields(body: text)) }
    }
}

extension Response {
    init(json: JSONTree, status: HTTPResponse.Status = .ok, headers: HTTPFields = [:]) {
        var headers = headers
        headers[.contentType] = "application/json"
        self.init(status: status, headers: headers, body: ResponseBody(byteBuffer: ByteBuffer(bytes: json.bytes)))
    }
}
