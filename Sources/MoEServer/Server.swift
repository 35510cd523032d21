// SPDX-License-Identifier: Apache-2.0

import Foundation
import Hummingbird
import HummingbirdCore
import HummingbirdTLS
public import Logging
public import MoEInfer
import NIOCore
import NIOSSL
public import ServiceLifecycle
import UnixSignals

/// An HTTP server for one model: OpenAI's API, Anthropic's messages, and what this engine knows beyond them.
///
/// ```swift
/// let llm = try await LLM.load(.path("model.gguf"))
/// try await Server(llm: llm, modelName: "model", configuration: ServerConfiguration(), logger: logger).run()
/// ```
///
/// Stops at SIGTERM and SIGINT: no new requests, those under way get ``ServerConfiguration/drainSeconds``.
public struct Server: Sendable {
    let state: ServerState
    private let onListening: @Sendable (_ url: String) -> Void

    /// - Parameters:
    ///   - modelName: for clients, where the configuration has none.
    ///   - onListening: called once with the address.
    /// - Throws: ``SettingsError`` or ``RequestError`` for what the configuration names and is not there.
    public init(
        llm: LLM, modelName: String, configuration: ServerConfiguration, logger: Logger,
        onListening: @escaping @Sendable (_ url: String) -> Void = { _ in }
    ) throws {
        state = try ServerState(llm: llm, modelName: modelName, configuration: configuration, logger: logger)
        self.onListening = onListening
    }

    /// - Throws: ``ServerError`` when the address cannot be listened on, or the certificate cannot be read.
    public func run() async throws {
        let group = ServiceGroup(configuration: try serviceConfiguration(signals: true))
        try await run(group)
    }

    /// The same without signal handlers, for programs that have their own; stops gracefully when the group is told to.
    public func run(_ group: ServiceGroup) async throws {
        do {
            try await group.run()
        } catch let error as IOError {
            throw ServerError(
                description:
                    "cannot listen on \(state.configuration.host):\(state.configuration.port): "
                    + String(cString: strerror(error.errnoCode)))
        }
    }

    public func serviceConfiguration(signals: Bool) throws -> ServiceGroupConfiguration {
        let configuration = state.configuration
        let http = HTTPServerBuilder.http1(
            configuration: .init(
                additionalChannelHandlers: [ConnectionWatch(restTimeout: .seconds(10))],
                // A body that does not arrive is told so first.
                idleTimeout: .nanoseconds(Int64((configuration.readTimeout + 1) * 1e9))))
        var quiet = state.logger
        if quiet.logLevel < .notice { quiet.logLevel = .notice }
        let (state, onListening) = (state, onListening)
        let application = Application(
            responder: ServerRoutes(state: state).router().buildResponder(), server: try tls(http),
            configuration: .init(
                address: .hostname(configuration.host, port: configuration.port), backlog: 1024,
                availableConnectionsDelegate: MaximumAvailableConnections(configuration.connectionLimit)),
            onServerRunning: { channel in
                let port = channel.localAddress?.port ?? configuration.port
                let host = configuration.host.contains(":") ? "[\(configuration.host)]" : configuration.host
                onListening("\(configuration.tlsCertificate == nil ? "http" : "https")://\(host):\(port)")
            },
            logger: state.logger)
        var group = ServiceGroupConfiguration(
            services: [.init(service: application), .init(service: Background(state: state))],
            gracefulShutdownSignals: signals ? [.sigterm, .sigint] : [], logger: quiet)
        group.maximumGracefulShutdownDuration = .nanoseconds(Int64(max(0.001, configuration.drainSeconds) * 1e9))
        return group
    }

    private func tls(_ http: HTTPServerBuilder) throws -> HTTPServerBuilder {
        guard let certificate = state.configuration.tlsCertificate, let key = state.configuration.tlsKey else {
            return http
        }
        func read<Value>(_ file: String, _ body: () throws -> Value) throws -> Value {
            do { return try body() } catch { throw ServerError(description: "\(file): cannot be read as PEM: \(error)") }
        }
        let chain = try read(certificate) { try NIOSSLCertificate.fromPEMFile(certificate) }
        let privateKey = try read(key) { try NIOSSLPrivateKey(file: key, format: .pem) }
        guard !chain.isEmpty else { throw ServerError(description: "\(certificate): no certificate in it") }
        return try .tls(
            http,
            tlsConfiguration: .makeServerConfiguration(
                certificateChain: chain.map { .certificate($0) }, privateKey: .privateKey(privateKey)))
    }
}

/// A server that cannot start, in one line.
public struct ServerError: Error, Equatable, CustomStringConvertible {
    public let description: String
}

/// What runs beside requests: rates for people, and the pressure that load puts on routing.
private struct Background: Service {
    let state: ServerState

    func run() async throws {
        let state = state
        await withTaskCancellationOrGracefulShutdownHandler {
            var load = LoadWatch(state)
            while !Task.isShuttingDownGracefully, !Task.isCancelled {
                await load.tick()
                try? await cancelWhenGracefulShutdown { try await Task.sleep(for: .milliseconds(250)) }
            }
        } onCancelOrGracefulShutdown: {
            state.isDraining = true
        }
    }
}
