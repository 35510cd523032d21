// SPDX-License-Identifier: Apache-2.0

#if Server

    public import ArgumentParser
    import Foundation
    import Logging
    import MoEInfer
    public import MoEServer

    /// `moe-infer serve`
    struct ServeCommand: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "serve",
            abstract: "Serve a model over HTTP: OpenAI's API, Anthropic's messages, and a page to try it.",
            discussion: """
                Prints one line when it listens, and logs to standard error. SIGTERM or Ctrl-C: no new requests, those under way are
                finished (--drain seconds at most).

                Each request may choose its compute: "moe": {"routing": "exact | parity | balanced | fast | SPEC", "max_experts": 4,
                "budget": 100000}, or reasoning_effort.

                Every option is also an environment variable (--read-timeout: MOE_SERVER_READ_TIMEOUT) and a key of the --config file
                ("server": {"read": {"timeout": 30}}).

                EXAMPLES
                  moe-infer serve --model olmoe.gguf
                  moe-infer serve --model olmoe.gguf --host 0.0.0.0 --api-keys keys.json --tls-certificate cert.pem --tls-key key.pem
                  moe-infer serve --batch 16 --context 2048 --objective 80 --floor balanced
                  curl http://127.0.0.1:8080/v1/chat/completions -d '{"messages": [{"role": "user", "content": "Hello"}]}'
                """)

        @OptionGroup var model: ModelOptions

        @Option(help: "The address to listen on. Default: 127.0.0.1, this machine only.")
        var host: String?

        @Option(help: "The port to listen on; 0: a free one. Default: 8080.")
        var port: Int?

        @Option(help: "The model's name for clients. Default: its file's.")
        var name: String?

        @Option(help: "Answers that run together. Default: 32.")
        var batch: Int?

        @Option(
            help:
                "Positions that the KV cache holds for all of them. Default: all at full length, or half of the free memory."
        )
        var cache: Int?

        @Option(help: "Answers that may wait for a place; more are refused with 429. Default: 256.")
        var queue: Int?

        @Option(help: "A JSON file of API keys: see moe-infer key.")
        var apiKeys: String?

        @Option(help: "A PEM file with the certificate chain: HTTPS.")
        var tlsCertificate: String?

        @Option(help: "A PEM file with its private key.")
        var tlsKey: String?

        @Option(help: "An origin whose pages may call; several between commas, '*' for all. Default: none.")
        var cors: String?

        @Option(
            help: "How requests are routed that do not say it: exact, parity, balanced, fast or a SPEC. Default: native.")
        var routing: String?

        @Option(
            help:
                "Milliseconds between tokens to hold under load, by cheaper routing. Default: none: no text depends on load."
        )
        var objective: Double?

        @Option(help: "The cheapest operating point that load may lead to. Default: fast.")
        var floor: String?

        @Option(help: "US$ of a core-hour, for the cost of answers. Default: 0.04.")
        var price: Double?

        @Option(help: "Seconds that a request may take, waiting included. Default: 3600.")
        var timeout: Double?

        @Option(help: "Seconds for a request to arrive. Default: 60.")
        var readTimeout: Double?

        @Option(help: "Seconds that requests under way get after SIGTERM. Default: 30.")
        var drain: Double?

        @Option(help: "Bytes of a request's body at most. Default: 16777216.")
        var body: Int?

        @Option(help: "Connections at the same time. Default: 1024.")
        var connections: Int?

        @Option(help: "The page at /: on or off.")
        var page: String?

        @Option(help: "How the log is written: text or json.")
        var logFormat: ServerLog.Format = .text

        @Option(
            help: "What is logged: trace, debug, info, notice, warning, error or critical.",
            transform: { text in
                guard let level = Logger.Level(rawValue: text) else { throw ValidationError("'\(text)' is no level") }
                return level
            })
        var logLevel = Logger.Level.info

        func run() async throws {
            let configuration = try await ServerConfiguration.load(commandLine: overrides, file: model.config)
            var settings = try await model.settings(more: [
                "batch": batch.map(String.init), "cache": cache.map(String.init),
            ])
            if batch == nil, try await Settings.isSilent(about: "batch", file: model.config) { settings.batch = 32 }
            let logger = Logger(label: "moe-infer") { [logFormat, logLevel] _ in
                ServerLog(format: logFormat, level: logLevel)
            }
            let start = ContinuousClock.now
            let llm = try await model.load(settings)
            logger.info(
                "model loaded",
                metadata: [
                    "architecture": "\(llm.architecture)", "context": "\(llm.contextLength)", "batch": "\(settings.batch)",
                    "cache_bytes": "\(llm.cacheBytes)", "seconds": "\((ContinuousClock.now - start) / .seconds(1))",
                ])
            let name = model.model.map { URL(filePath: $0).deletingPathExtension().lastPathComponent } ?? "embedded"
            let server = try Server(llm: llm, modelName: name, configuration: configuration, logger: logger) { url in
                Terminal.write("moe-infer is listening on \(url)\n")
            }
            try await server.run()
        }

        private var overrides: [String: String] {
            var values: [String: String] = [:]
            values["server.host"] = host
            values["server.port"] = port.map(String.init)
            values["server.name"] = name
            values["server.queue"] = queue.map(String.init)
            values["server.api.keys"] = apiKeys
            values["server.tls.certificate"] = tlsCertificate
            values["server.tls.key"] = tlsKey
            values["server.cors"] = cors
            values["server.routing"] = routing
            values["server.objective"] = objective.map { "\($0)" }
            values["server.floor"] = floor
            values["server.price"] = price.map { "\($0)" }
            values["server.timeout"] = timeout.map { "\($0)" }
            values["server.read.timeout"] = readTimeout.map { "\($0)" }
            values["server.drain"] = drain.map { "\($0)" }
            values["server.body"] = body.map(String.init)
            values["server.connections"] = connections.map(String.init)
            values["server.page"] = page
            return values
        }
    }

    extension ServerLog.Format: ExpressibleByArgument {}

    /// `moe-infer key`
    struct KeyCommand: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "key",
            abstract: "Make an API key for moe-infer serve.",
            discussion: """
                Prints the key, which is kept nowhere, and the entry for the file of --api-keys, which holds its SHA-256 only.

                EXAMPLE
                  moe-infer key team-a
                """)

        @Argument(help: "Whose key it is: the name in logs and metrics.")
        var name: String

        @Flag(help: "One JSON document: the key and its entry.")
        var json = false

        func run() throws {
            let made = APIKeyMaker.make(name: name)
            if json {
                Terminal.write(made.json + "\n")
            } else {
                Terminal.write("key:   \(made.key)\nentry: \(made.entry)\n")
            }
        }
    }

#endif
