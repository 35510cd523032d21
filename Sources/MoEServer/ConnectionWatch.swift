// SPDX-License-Identifier: Apache-2.0

import HTTPTypes
import NIOCore
import NIOHTTP1
import NIOHTTPTypes
import Synchronization

/// Cancels what is done for a client when its connection is gone.
///
/// The end of what a client sends does not tell who only stops sending, as some do after their request, from who is gone. So something is
/// sent that means nothing: an interim response (100) before the response's head, a comment in a stream of events. Who is gone answers
/// with a reset, and the channel becomes inactive.
final class ConnectionWatch: ChannelDuplexHandler, RemovableChannelHandler, Sendable {
    typealias InboundIn = HTTPRequestPart
    typealias OutboundIn = HTTPResponsePart
    typealias OutboundOut = HTTPResponsePart

    private enum Answer { case none, expected, events, other }

    private struct State {
        var isClosed = false
        /// Requests whose head has come and whose answer has not ended.
        var open = 0
        /// Requests so far, and whether the last one's body is still on its way.
        var count = 0
        var isReading = false
        var nextID = 0
        var actions: [Int: @Sendable () -> Void] = [:]
        var answer = Answer.none
    }

    private let state = Mutex(State())
    /// For the rest of a body that nobody wants any more: the answer was an error.
    private let restTimeout: TimeAmount

    init(restTimeout: TimeAmount) { self.restTimeout = restTimeout }

    // MARK: Channel

    func handlerAdded(context: ChannelHandlerContext) {
        let pipeline = context.pipeline.syncOperations
        do {
            let decoder = try pipeline.context(handlerType: ByteToMessageHandler<HTTPRequestDecoder>.self)
            try pipeline.addHandler(OldClients(), position: .after(decoder.handler))
        } catch {
            context.fireErrorCaught(error)
        }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head:
            state.withLock { state in
                (state.open, state.count, state.isReading) = (state.open + 1, state.count + 1, true)
                if state.answer == .none { state.answer = .expected }
            }
        case .body: break
        case .end: state.withLock { $0.isReading = false }
        }
        context.fireChannelRead(data)
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        switch unwrapOutboundIn(data) {
        case .head(let head):
            let isStream = head.headerFields[.contentType]?.hasPrefix("text/event-stream") == true
            state.withLock { $0.answer = isStream ? .events : .other }
        case .end:
            let unread = state.withLock { state -> Int? in
                state.open -= 1
                state.answer = state.open > 0 ? .expected : .none
                return state.isReading ? state.count : nil
            }
            if let unread { closeUnlessRead(unread, context) }
        case .body: break
        }
        context.write(data, promise: promise)
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .inputClosed? = event as? ChannelEvent {
            probe(context)
        }
        context.fireUserInboundEventTriggered(event)
    }

    /// A body that keeps dripping after its answer must not hold the connection.
    private func closeUnlessRead(_ request: Int, _ context: ChannelHandlerContext) {
        let channel = context.channel
        context.eventLoop.scheduleTask(in: restTimeout) { [self] in
            if state.withLock({ $0.isReading && $0.count == request }) { channel.close(promise: nil) }
        }
    }

    private func probe(_ context: ChannelHandlerContext) {
        guard context.channel.isActive else { return }
        switch state.withLock({ $0.answer }) {
        case .expected:
            context.writeAndFlush(wrapOutboundOut(.head(HTTPResponse(status: .continue))), promise: nil)
        case .events:
            context.writeAndFlush(wrapOutboundOut(.body(ByteBuffer(string: ":\n\n"))), promise: nil)
        case .none, .other: break
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        let actions = state.withLock { state in
            state.isClosed = true
            defer { state.actions = [:] }
            return state.actions
        }
        for action in actions.values { action() }
        context.fireChannelInactive()
    }

    // MARK: Work

    /// Runs work that is cancelled when the connection is gone, or when this task is cancelled.
    func cancelling<Result: Sendable>(_ body: @escaping @Sendable () async throws -> Result) async throws -> Result {
        let task = Task { try await body() }
        let id = state.withLock { state -> Int? in
            if state.isClosed { return nil }
            state.nextID += 1
            state.actions[state.nextID] = { task.cancel() }
            return state.nextID
        }
        if id == nil { task.cancel() }
        defer { if let id { state.withLock { _ = $0.actions.removeValue(forKey: id) } } }
        return try await task.valueOrCancel
    }

    static func of(_ channel: any Channel) async throws -> ConnectionWatch {
        do {
            return try await channel.pipeline.handler(type: ConnectionWatch.self).get()
        } catch {
            // The channel is gone already.
            throw CancellationError()
        }
    }
}
