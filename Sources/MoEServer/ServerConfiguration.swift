// SPDX-License-Identifier: Apache-2.0

import MoEInfer

/// How a server is set up, from (highest first) the command line, a JSON file, and the environment.
///
/// | key | environment | meaning |
/// |---|---|---|
/// | `server.host` | `MOE_SERVER_HOST` | the address to listen on; default 127.0.0.1: this machine only |
/// | `server.port` | `MOE_SERVER_PORT` | default 8080; 0: a free one |
/// | `server.name` | `MOE_SERVER_NAME` | the model's name for clients; default: its file's |
/// | `server.tls.certificate`, `server.tls.key` | `MOE_SERVER_TLS_CERTIFICATE`, `…_KEY` | PEM files: HTTPS |
/// | `server.api.keys` | `MOE_SERVER_API_KEYS` | a file of keys: see ``APIKeys`` |
/// | `server.api.key` | `MOE_SERVER_API_KEY` | one key, without limits |
/// | `server.cors` | `MOE_SERVER_CORS` | origins of other pages that may call, between commas; `*`: all |
/// | `server.body` | `MOE_SERVER_BODY` | bytes of a request's body at most; default 16 MiB |
/// | `server.connections` | `MOE_SERVER_CONNECTIONS` | at the same time; default 1024 |
/// | `server.queue` | `MOE_SERVER_QUEUE` | answers that may wait; default 256; more are refused (429) |
/// | `server.timeout` | `MOE_SERVER_TIMEOUT` | seconds that a request may take, waiting included; default 3600 |
/// | `server.read.timeout` | `MOE_SERVER_READ_TIMEOUT` | seconds for a request's head and body to arrive, and that a connection may be idle; default 60 |
/// | `server.drain` | `MOE_SERVER_DRAIN` | seconds that requests under way get after SIGTERM; default 30 |
/// | `server.choices` | `MOE_SERVER_CHOICES` | `n` at most; default 16 |
/// | `server.routing` | `MOE_SERVER_ROUTING` | how requests are routed that do not say it; default `native` |
/// | `server.floor` | `MOE_SERVER_FLOOR` | the cheapest operating point under load; default `fast` |
/// | `server.objective` | `MOE_SERVER_OBJECTIVE` | milliseconds between tokens to hold by cheaper routing; default: none, text never depends on load |
/// | `server.price` | `MOE_SERVER_PRICE` | US$ of a core-hour, for `usage.moe.cost_usd`; default 0.04 |
/// | `server.page` | `MOE_SERVER_PAGE` | `on` (default) or `off`: the page at / |
public struct ServerConfiguration: Sendable {
    public var host = "127.0.0.1"
    public var port = 8080
    public var name: String?
    public var tlsCertificate: String?
    public var tlsKey: String?
    public var keysFile: String?
    public var key: String?
    public var corsOrigins: [String] = []
    public var bodyLimit = 16 << 20
    public var connectionLimit = 1024
    public var queueLimit = 256
    public var timeout = 3600.0
    public var readTimeout = 60.0
    public var drainSeconds = 30.0
    public var choiceLimit = 16
    public var routing = "native"
    public var floor = "fast"
    public var objectiveMilliseconds: Double?
    public var pricePerCoreHour = 0.04
    public var hasPage = true
    /// Between comments of a stream that has nothing to say.
    public var keepAliveSeconds = 10.0

    public init() {}

    private enum Switch: String, CaseIterable { case on, off }

    /// - Parameters:
    ///   - commandLine: values by key, as text.
    ///   - file: a JSON file with the same keys; also named by `MOE_CONFIG`.
    /// - Throws: ``SettingsError`` for a value that cannot be.
    public static func load(commandLine: [String: String] = [:], file: String? = nil) async throws -> ServerConfiguration {
        let reader = try await SettingsReader(commandLine: commandLine, file: file)
        var result = ServerConfiguration()
        result.host = try await reader.text("server.host") ?? result.host
        result.port = try await reader.integer("server.port", 0...65_535) ?? result.port
        result.name = try await reader.text("server.name")
        result.tlsCertificate = try await reader.text("server.tls.certificate")
        result.tlsKey = try await reader.text("server.tls.key")
        result.keysFile = try await reader.text("server.api.keys")
        result.key = try await reader.text("server.api.key")
        result.corsOrigins = try await reader.list("server.cors") ?? []
        result.bodyLimit = try await reader.integer("server.body", 1024...1 << 30) ?? result.bodyLimit
        result.connectionLimit = try await reader.integer("server.connections", 1...1_000_000) ?? result.connectionLimit
        result.queueLimit = try await reader.integer("server.queue", 0...1_000_000) ?? result.queueLimit
        result.timeout = try await reader.number("server.timeout", 0.001...1e9) ?? result.timeout
        result.readTimeout = try await reader.number("server.read.timeout", 0.001...1e9) ?? result.readTimeout
        result.drainSeconds = try await reader.number("server.drain", 0...1e9) ?? result.drainSeconds
        result.choiceLimit = try await reader.integer("server.choices", 1...1024) ?? result.choiceLimit
        result.routing = try await reader.text("server.routing") ?? result.routing
        result.floor = try await reader.text("server.floor") ?? result.floor
        result.objectiveMilliseconds = try await reader.number("server.objective", 0.001...1e9)
        result.pricePerCoreHour = try await reader.number("server.price", 0...1e6) ?? result.pricePerCoreHour
        let page: Switch? = try await reader.choice("server.page")
        result.hasPage = page != .off
        guard (result.tlsCertificate == nil) == (result.tlsKey == nil) else {
            throw SettingsError(
                "server.tls.key", expected: "a certificate and its key, or neither", found: "one of them")
        }
        return result
    }
}
