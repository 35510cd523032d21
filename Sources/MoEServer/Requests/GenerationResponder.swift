// SPDX-License-Identifier: Apache-2.0

import HTTPTypes
import Hummingbird
import Logging
import MoEChat
import MoEGrammar
import MoEInfer
import MoEJSON
import NIOCore
import Synchronization

/// Answers requests for text: one response, or a stream of events.
struct GenerationResponder: Sendable {
    let state: ServerState

    func respond(_ request: GenerationRequest, endpoint: String, context: ServerContext) async throws -> Response {
        var request = request
        if let budget = request.budget {
            // Never exceeded by all answers together.
            for index in request.plans.indices { request.plans[index].generation.budget = budget / request.plans.count }
        }
        try check(request.plans)
        let places = try state.admission.enter(
            key: context.rights.name, priority: context.rights.priority + request.priority,
            costs: request.plans.map(\.cost), retryAfter: state.retryAfter)
        let record = RequestRecord(
            id: context.requestID, responseID: request.format.idPrefix + Identifiers.random(), endpoint: endpoint,
            model: state.modelName, key: context.rights.name)
        record.describe(operatingPoint: request.operatingPoint)
        state.requests.add(record)
        let job = Job(
            state: state, request: request, rights: context.rights, record: record,
            guardian: RecordGuard(record, state.metrics),
            runs: zip(request.plans, places).map { AnswerRun(state: state, record: record, plan: $0, place: $1) },
            watch: try await ConnectionWatch.of(context.channel), channel: context.channel)
        return request.isStreamed ? try await job.stream() : try await job.response()
    }

    /// In words that clients look for.
    static func tooLong(_ count: Int, _ state: ServerState) -> String {
        "This model's maximum context length is \(state.llm.contextLength) tokens, its answer included, but the prompt has \(count)"
    }

    /// What can be told before anything runs.
    private func check(_ plans: [AnswerPlan]) throws {
        for plan in plans {
            guard plan.tokens.count < state.llm.contextLength || plan.generation.sampling.maxTokens == 0 else {
                throw APIError.contextLength(
                    Self.tooLong(plan.tokens.count, state))
            }
            try plan.generation.sampling.validate(vocabularySize: state.llm.vocabularySize)
        }
    }
}

/// Ends the record of a request that nobody ended: its connection was gone before its answer began.
private final class RecordGuard: Sendable {
    private let record: RequestRecord
    private let metrics: ServerMetrics

    init(_ record: RequestRecord, _ metrics: ServerMetrics) { (self.record, self.metrics) = (record, metrics) }

    deinit { if record.end(.cancelled) { metrics.countEnd(.cancelled, seconds: record.elapsed) } }
}

private struct Job: Sendable {
    let state: ServerState
    let request: GenerationRequest
    let rights: KeyRights
    let record: RequestRecord
    let guardian: RecordGuard
    let runs: [AnswerRun]
    let watch: ConnectionWatch
    let channel: any Channel
    private let spent = Spent()

    /// What the answers have cost so far: those that came to their end, and those that did not.
    private final class Spent: Sendable {
        private let answers = Mutex<[AnswerCost]>([])

        func add(_ answer: AnswerCost) { answers.withLock { $0.append(answer) } }
        var all: [AnswerCost] { answers.withLock { $0 } }
    }

    var facts: ResponseFacts {
        ResponseFacts(
            id: record.responseID, created: record.created, model: state.modelName,
            request: .init(
                operatingPoint: request.operatingPoint, budget: request.budget, includesUsage: request.includesUsage,
                continuousUsage: request.continuousUsage), state: state, record: record,
            promptTokens: Dictionary(request.plans.map { ($0.promptIndex, $0.tokens.count) }, uniquingKeysWith: { $1 })
                .values
                .reduce(0, +))
    }

    // MARK: Running

    private func run(
        event: @escaping @Sendable (OutputEvent, Int) -> Void, end: @escaping @Sendable (Output, Int) -> Void
    ) async throws -> [Output] {
        do {
            let outputs = try await watch.cancelling {
                try await withDeadline(seconds: state.configuration.timeout) {
                    try await withThrowingTaskGroup(of: (Int, Output).self) { group in
                        for (index, var run) in runs.enumerated() {
                            let promptIndex = run.plan.promptIndex
                            run.plan.generation.unfinished = { unfinished(AnswerCost(usage: $0, promptIndex: promptIndex)) }
                            group.addTask { [run] in (index, try await run.run { event($0, index) }) }
                        }
                        var outputs: [Int: Output] = [:]
                        for try await (index, output) in group {
                            outputs[index] = output
                            spent.add(output.cost)
                            end(output, index)
                        }
                        return runs.indices.map { outputs[$0]! }
                    }
                }
            }
            complete(outputs)
            return outputs
        } catch {
            fail(error)
            throw error
        }
    }

    /// Comes from the engine, before or after the request has ended.
    private func unfinished(_ answer: AnswerCost) {
        spent.add(answer)
        // Of a prompt that was left half-way it is not known how much was computed.
        if answer.usage.completionTokens > 0 {
            state.metrics.countUsage(answer.usage, cost: state.cost(modelSeconds: answer.usage.modelSeconds))
        }
        amend()
    }

    private func amend() {
        let answers = spent.all
        if !answers.isEmpty { record.amend(usage: facts.usageJSON(answers)) }
    }

    private func complete(_ outputs: [Output]) {
        let usage = facts.usage(outputs)
        if record.end(.completed, usage: facts.usageJSON(outputs)) {
            state.metrics.countEnd(.completed, seconds: record.elapsed)
        }
        for output in outputs {
            let usage = output.generation.usage
            state.metrics.countUsage(usage, cost: state.cost(modelSeconds: usage.modelSeconds))
        }
        state.keys.charge(rights, tokens: usage.promptTokens + usage.completionTokens)
        log(
            "answered",
            [
                "prompt": "\(usage.promptTokens)", "cached": "\(usage.cachedTokens)",
                "generated": "\(usage.completionTokens)",
                "experts": usage.meanExperts.map { "\(($0 * 100).rounded() / 100)" } ?? "none",
            ])
    }

    private func log(_ message: Logger.Message, _ metadata: Logger.Metadata = [:]) {
        var metadata = metadata
        let record = record.snapshot
        metadata["request"] = "\(self.record.id)"
        for (name, seconds) in [
            ("queue_ms", record.queueSeconds), ("first_token_ms", record.firstTokenSeconds), ("total_ms", record.seconds),
        ] {
            if let seconds { metadata[name] = "\((seconds * 1000).rounded())" }
        }
        state.logger.info(message, metadata: metadata)
    }

    private func fail(_ error: any Error) {
        let status: RequestRecord.Status = error is CancellationError ? .cancelled : .failed
        let error = error is CancellationError ? nil : APIError(any: error, logger: state.logger)
        let known = record.snapshot
        let hasRun = known.status == .running
        let usage = hasRun ? Optional(facts.usageJSON(tokens: known.tokens)) : .none
        guard record.end(status, usage: usage, error: error) else { return }
        amend()
        // What was generated was paid for, also by who left.
        if hasRun { state.keys.charge(rights, tokens: facts.promptTokens + known.tokens) }
        state.metrics.countEnd(status, seconds: record.elapsed)
        log(status == .cancelled ? "cancelled" : "failed", error.map { ["error": "\($0.message)"] } ?? [:])
    }

    // MARK: At once

    func response() async throws -> Response {
        let outputs = try await run(event: { _, _ in }, end: { _, _ in })
        var headers: HTTPFields = [.contentType: "application/json"]
        let usage = facts.usage(outputs)
        func set(_ name: String, _ value: String?) { if let value { headers[HTTPField.Name(name)!] = value } }
        set("x-moe-operating-point", headerSafe(request.operatingPoint))
        set("x-moe-mean-experts", usage.meanExperts.map { "\($0)" })
        set("x-moe-expert-evaluations", usage.expertEvaluations.map { "\($0)" })
        set("x-moe-saved-fraction", usage.savedFraction.map { "\($0)" })
        set("x-moe-degraded-tokens", "\(usage.degradedTokens)")
        set("x-moe-cost-usd", "\(state.cost(modelSeconds: usage.modelSeconds))")
        return Response(
            status: .ok, headers: headers,
            body: ResponseBody(byteBuffer: ByteBuffer(bytes: request.format.response(outputs, facts).bytes)))
    }

    // MARK: As it comes

    private enum Item: Sendable {
        case event(OutputEvent, Int)
        case end(Output, Int)
        case finished([Output])
        case failed(any Error)
        case pause
    }

    /// The head is not sent before it is known that something runs, or waits: who is refused by the engine gets a status that says so.
    func stream() async throws -> Response {
        // Bounded by the answers' own lengths, should the client not read.
        let (items, continuation) = AsyncStream<Item>.makeStream()
        let producer = Task {
            do {
                let outputs = try await run(
                    event: { continuation.yield(.event($0, $1)) }, end: { continuation.yield(.end($0, $1)) })
                continuation.yield(.finished(outputs))
            } catch {
                continuation.yield(.failed(error))
            }
            continuation.finish()
        }
        let timer = Timers.after(0.25) { continuation.yield(.pause) }
        var iterator = items.makeAsyncIterator()
        let first = await iterator.next() ?? .failed(CancellationError())
        timer.cancel()
        if case .failed(let error) = first { throw error }

        var headers: HTTPFields = [
            .contentType: "text/event-stream; charset=utf-8", .cacheControl: "no-cache",
            HTTPField.Name("x-accel-buffering")!: "no",
        ]
        headers[HTTPField.Name("x-moe-operating-point")!] = headerSafe(request.operatingPoint)
        return Response(
            status: .ok, headers: headers,
            body: ResponseBody { writer in
                defer { producer.cancel() }
                try await write(first, items, pause: { continuation.yield(.pause) }, to: &writer)
            })
    }

    private func write(
        _ first: Item, _ items: AsyncStream<Item>, pause: @escaping @Sendable () -> Void,
        to writer: inout any ResponseBodyWriter
    ) async throws {
        let pauses = Timers.every(state.configuration.keepAliveSeconds, pause)
        // Who does not read at all holds his connection no longer than an answer may take.
        let closing = Timers.after(state.configuration.timeout + state.configuration.readTimeout) { [channel] in
            channel.close(promise: nil)
        }
        defer {
            pauses.cancel()
            closing.cancel()
        }
        var encoder = request.format.stream(facts)
        var isQuiet = false
        try await write(encoder.begin(), to: &writer)
        var (next, iterator) = (Optional(first), items.makeAsyncIterator())
        while let item = next {
            if case .pause = item {
                if isQuiet { try await writer.write(ByteBuffer(string: ": still here\n\n")) }
                isQuiet = true
            } else {
                isQuiet = false
                try await write(try encode(item, &encoder), to: &writer)
            }
            next = await iterator.next()
        }
        try Task.checkCancellation()
        try await writer.finish(nil)
    }

    private func encode(_ item: Item, _ encoder: inout any StreamEncoder) throws -> [ServerSentEvent] {
        switch item {
        case .event(let event, let choice): encoder.encode(event, choice: choice)
        case .end(let output, let choice): encoder.end(output, choice: choice)
        case .finished(let outputs): encoder.finish(outputs)
        case .failed(is CancellationError): throw CancellationError()
        case .failed(let error): encoder.fail(APIError(any: error, logger: state.logger))
        case .pause: []
        }
    }

    private func write(_ events: [ServerSentEvent], to writer: inout any ResponseBodyWriter) async throws {
        if events.isEmpty { return }
        try await writer.write(ByteBuffer(bytes: events.flatMap(\.bytes)))
    }

    private func headerSafe(_ text: String) -> String {
        String(text.unicodeScalars.filter { $0.isASCII && $0.value >= 0x20 && $0.value != 0x7F }.map(Character.init))
    }
}

extension APIError {
    /// What a client is told of any error. Those that are not its own are logged, not told.
    init(any error: any Error, logger: Logger) {
        switch error {
        case let error as APIError: self = error
        case let error as RequestError: self = .invalid(error.description)
        case let error as GrammarError: self = .invalid(String(describing: error))
        case let error as ChatFormatError:
            self = error.kind == .badTemplate ? .server(error.description) : .invalid(error.description, param: "messages")
        case let error as ResourceError: self = .unavailable(String(describing: error))
        case let error as HTTPError where error.status == .contentTooLarge: self = .tooLarge("the body is too large")
        case let error as HTTPError where error.status == .notFound: self = .notFound("there is no such endpoint")
        case let error as HTTPError:
            self = .invalid(error.body ?? error.status.reasonPhrase)
            status = error.status
        default:
            logger.error("unexpected error", metadata: ["error": "\(error)"])
            self = .server("internal error")
        }
    }
}
