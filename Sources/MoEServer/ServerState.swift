// SPDX-License-Identifier: Apache-2.0

import Foundation
import Logging
import MoEChat
import MoEGrammar
import MoEInfer
import MoEJSON
import MoEModel
import Synchronization

/// What all requests share.
final class ServerState: Sendable {
    let llm: LLM
    let configuration: ServerConfiguration
    let logger: Logger
    let keys: APIKeys
    let admission: Admission
    let requests = RequestLog()
    let metrics: ServerMetrics
    let modelName: String
    let chatFormat: ChatFormat
    /// Of requests that do not say it.
    let defaultPolicy: any RoutingPolicy
    let created = Int(Date.now.timeIntervalSince1970)
    let started = ContinuousClock.now
    private let changing = Changing()

    /// Apart, because an initialiser that may fail cannot hold atomics of its own: Swift 6.3 does not compile it.
    private final class Changing: Sendable {
        let isDraining = Atomic(false)
        /// Bytes of bodies that are being read.
        let bodyBytes = Atomic(0)
        let rates = Mutex(TokenRates())
        /// Of the last requests, by their text.
        let grammars = Mutex<[(text: String, grammar: Grammar)]>([])
    }

    /// - Throws: ``SettingsError`` or ``RequestError`` for what the configuration names and is not there.
    init(llm: LLM, modelName: String, configuration: ServerConfiguration, logger: Logger) throws {
        let keys = try APIKeys(file: configuration.keysFile, key: configuration.key)
        for floor in keys.floors + [configuration.floor] { _ = try llm.operatingPoint(floor) }
        let defaultPolicy = try llm.routing(named: configuration.routing, allowingFiles: true)
        let chatFormat = try Self.chatFormat(of: llm, logger)

        (self.llm, self.configuration, self.logger, self.keys) = (llm, configuration, logger, keys)
        (self.defaultPolicy, self.chatFormat) = (defaultPolicy, chatFormat)
        self.modelName = configuration.name ?? modelName
        admission = Admission(slots: llm.batchLimit, limit: configuration.queueLimit) { keys.concurrency(of: $0) }
        metrics = ServerMetrics()
    }

    private static func chatFormat(of llm: LLM, _ logger: Logger) throws -> ChatFormat {
        do {
            return try llm.chatFormat
        } catch let error as ChatFormatError where error.kind == .noTemplate {
            logger.info("the model has no chat template: conversations are written as a dialogue")
            return .plain
        }
    }

    var isDraining: Bool {
        get { changing.isDraining.load(ordering: .relaxed) }
        set { changing.isDraining.store(newValue, ordering: .relaxed) }
    }

    var rates: TokenRates { changing.rates.withLock { $0 } }
    func updateRates(_ change: (inout TokenRates) -> Void) { changing.rates.withLock { change(&$0) } }

    // MARK: Grammars

    /// What was prepared for one request serves the next one with the same text.
    func grammar(_ text: String, make: () throws(GrammarError) -> Grammar) throws(GrammarError) -> Grammar {
        let known = changing.grammars.withLock { entries -> Grammar? in
            guard let index = entries.firstIndex(where: { $0.text == text }) else { return nil }
            entries.append(entries.remove(at: index))
            return entries[entries.count - 1].grammar
        }
        if let known { return known }
        let grammar = try make()
        changing.grammars.withLock { entries in
            entries.append((text, grammar))
            if entries.count > 32 { entries.removeFirst() }
        }
        return grammar
    }

    func grammar(jsonSchema schema: String) throws(GrammarError) -> Grammar {
        try grammar("json " + schema) { () throws(GrammarError) in try Grammar(jsonSchema: schema) }
    }

    // MARK: Bodies

    /// Counts bytes of a body that arrived; all bodies together are bounded.
    /// - Throws: ``APIError`` 503 where there are too many; they are not counted then.
    func takeBody(_ count: Int) throws(APIError) {
        let limit = max(256 << 20, 2 * configuration.bodyLimit)
        guard changing.bodyBytes.add(count, ordering: .relaxed).newValue <= limit else {
            giveBody(count)
            throw .unavailable("too many large requests at once")
        }
    }

    func giveBody(_ count: Int) { changing.bodyBytes.subtract(count, ordering: .relaxed) }

    // MARK: Load

    /// How far pressure can rise until nothing gets cheaper.
    var pressureLevels: Int { OperatingPoint.names.count - 1 }

    /// What load makes of a routing, step by step down to a floor. A policy that a request has spelled out stays what it is.
    func fallbacks(after name: String, floor: String) -> [any RoutingPolicy] {
        guard configuration.objectiveMilliseconds != nil else { return [] }
        guard OperatingPoint.names.contains(name) || name == "native" else { return [] }
        return (try? llm.fallbacks(below: name == "native" ? "parity" : name, downTo: floor)) ?? []
    }

    /// Seconds until a full server may have a place: what requests took lately.
    var retryAfter: Double { min(30, max(1, metrics.recentSeconds)) }

    /// US$ of an answer: the time that the model spent on it, on all threads.
    func cost(modelSeconds: Double) -> Double {
        modelSeconds * Double(llm.threads) / 3600 * configuration.pricePerCoreHour
    }
}
