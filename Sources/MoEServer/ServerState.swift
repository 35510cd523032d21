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
    private let draining = Atomic(false)
    /// Bytes of bodies that are being read.
    private let bodyBytes = Atomic(0)
    private let currentRates = Mutex(TokenRates())

    /// - Throws: ``SettingsError`` or ``RequestError`` for what the configuration names and is not there.
    init(llm: LLM, modelName: String, configuration: ServerConfiguration, logger: Logger) throws {
        (self.llm, self.configuration, self.logger) = (llm, configuration, logger)
        self.modelName = configuration.name ?? modelName
        let keys = try APIKeys(file: configuration.keysFile, key: configuration.key)
        self.keys = keys
        admission = Admission(slots: llm.batchLimit, limit: configuration.queueLimit) { keys.concurrency(of: $0) }
        metrics = ServerMetrics()
        do {
            chatFormat = try llm.chatFormat
        } catch let error as ChatFormatError where error.kind == .noTemplate {
            chatFormat = .plain
            logger.info("the model has no chat template: conversations are written as a dialogue")
        }
        for floor in keys.floors + [configuration.floor] { _ = try llm.operatingPoint(floor) }
        defaultPolicy = try llm.routing(named: configuration.routing, allowingFiles: true)
    }

    var isDraining: Bool {
        get { draining.load(ordering: .relaxed) }
        set { draining.store(newValue, ordering: .relaxed) }
    }

    var rates: TokenRates { currentRates.withLock { $0 } }
    func updateRates(_ change: (inout TokenRates) -> Void) { currentRates.withLock { change(&$0) } }

    // MARK: Grammars

    /// Grammars of the last requests, by their text: what was prepared for one serves the next.
    private let grammars = Mutex<[(text: String, grammar: Grammar)]>([])

    func grammar(_ text: String, make: () throws(GrammarError) -> Grammar) throws(GrammarError) -> Grammar {
        let known = grammars.withLock { entries -> Grammar? in
            guard let index = entries.firstIndex(where: { $0.text == text }) else { return nil }
            entries.append(entries.remove(at: index))
            return entries[entries.count - 1].grammar
        }
        if let known { return known }
        let grammar = try make()
        grammars.withLock { entries in
            entries.append((text, grammar))
            if entries.count > 32 { entries.removeFirst() }
        }
        return grammar
    }

    // MARK: Bodies

    /// Counts bytes of a body that arrived; all bodies together are bounded.
    /// - Throws: ``APIError`` 503 where there are too many; they are not counted then.
    func takeBody(_ count: Int) throws(APIError) {
        let limit = max(256 << 20, 2 * configuration.bodyLimit)
        guard bodyBytes.add(count, ordering: .relaxed).newValue <= limit else {
            giveBody(count)
            throw .unavailable("too many large requests at once")
        }
    }

    func giveBody(_ count: Int) { bodyBytes.subtract(count, ordering: .relaxed) }

    // MARK: Load

    /// Operating points from dear to cheap.
    private static let points = ["exact", "parity", "balanced", "fast"]

    /// How far pressure can rise until nothing gets cheaper.
    var pressureLevels: Int { Self.points.count - 1 }

    /// What load makes of a routing, step by step down to a floor. A policy that a request has spelled out stays what it is.
    func fallbacks(after name: String, floor: String) -> [any RoutingPolicy] {
        guard configuration.objectiveMilliseconds != nil else { return [] }
        guard Self.points.contains(name) || name == "native" else { return [] }
        return (try? llm.fallbacks(below: name == "native" ? "parity" : name, downTo: floor)) ?? []
    }

    /// Seconds until a full server may have a place: what requests took lately.
    var retryAfter: Double { min(30, max(1, metrics.recentSeconds)) }

    /// US$ of an answer: the time that the model spent on it, on all threads.
    func cost(modelSeconds: Double) -> Double {
        modelSeconds * Double(llm.threads) / 3600 * configuration.pricePerCoreHour
    }
}
