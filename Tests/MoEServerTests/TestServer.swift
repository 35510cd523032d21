// SPDX-License-Identifier: Apache-2.0

import Foundation
import Logging
import MoEInfer
import MoEServer
import MoETestSupport
import ServiceLifecycle
import Testing

/// A server on a free port of loopback, for as long as `body` runs, with the demo model.
struct TestServer: Sendable {
    let port: Int
    let llm: LLM

    static func with(
        batch: Int = 8, context: Int = 512, cache: Int? = nil,
        configuration given: ServerConfiguration = ServerConfiguration(), _ body: (TestServer) async throws -> Void
    ) async throws {
        var settings = Settings()
        (settings.batch, settings.context, settings.cache) = (batch, context, cache)
        let model = Fixtures.root.appendingPathComponent("CSources/CMoEDemoModel/demo.gguf").path
        let llm = try await LLM.load(.path(model), options: EngineOptions(settings: settings))
        var configuration = given
        configuration.port = 0
        configuration.drainSeconds = 60
        let (urls, continuation) = AsyncStream<String>.makeStream()
        let server = try Server(
            llm: llm, modelName: "demo", configuration: configuration,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        ) { continuation.yield($0) }
        let group = ServiceGroup(configuration: try server.serviceConfiguration(signals: false))
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            tasks.addTask { try await server.run(group) }
            var iterator = urls.makeAsyncIterator()
            let url = try #require(await iterator.next())
            let port = try #require(url.split(separator: ":").last.flatMap { Int($0) })
            do {
                try await body(TestServer(port: port, llm: llm))
            } catch {
                await group.triggerGracefulShutdown()
                throw error
            }
            await group.triggerGracefulShutdown()
            try await tasks.waitForAll()
        }
    }

    func connect() throws -> RawConnection { try RawConnection(port: port) }

    func get(_ path: String, headers: [String: String] = [:]) async throws -> RawConnection.Response {
        let connection = try connect()
        return try await RawConnection.off {
            try connection.request("GET", path, headers: headers)
            return try connection.response()
        }
    }

    func post(_ path: String, _ body: String, headers: [String: String] = [:]) async throws -> RawConnection.Response {
        let connection = try connect()
        return try await RawConnection.off {
            try connection.request("POST", path, headers: headers, body: body)
            return try connection.response()
        }
    }

    /// Until the engine has nothing to do and every block is free.
    func becomesIdle(within seconds: Double = 20) async throws -> Bool {
        let end = ContinuousClock.now + .seconds(seconds)
        while ContinuousClock.now < end {
            if await llm.engine.isEmpty { return true }
            try await Task.sleep(for: .milliseconds(10))
        }
        return false
    }
}
