// SPDX-License-Identifier: Apache-2.0

import MoECompute
import MoEGrammar
import MoEModel
import MoETensors
public import MoETokenizer
import Synchronization

/// How an engine is set up.
public struct EngineOptions: Sendable {
    public var settings: Settings
    /// Called while weights are prepared: once per model and machine, and for seconds. See ``Settings/repack``.
    public var preparing: (@Sendable (WeightPreparation) -> Void)?

    public init(settings: Settings = Settings(), preparing: (@Sendable (WeightPreparation) -> Void)? = nil) {
        self.settings = settings
        self.preparing = preparing
    }
}

/// A loaded model, ready for any number of requests at once.
///
/// ```swift
/// let llm = try await LLM.load(.path("model.gguf"))
/// for try await event in llm.generate("Once upon a time") {
///     if case .token(let token) = event { print(token.text, terminator: "") }
/// }
/// ```
public final class LLM: Sendable {
    /// Of this package, as reports and certificates name it.
    public static let engineVersion = "0.1.0"

    private let loadedTokenizer: Result<Tokenizer, any Error>
    let chatFacts: Result<ModelChatFacts, any Error>
    /// What its file says of vectors, and of filling in the middle.
    let modelPooling: Result<EmbeddingPooling, any Error>
    let middleFormat: Result<FillInTheMiddle?, any Error>
    let knownChatFormat = Mutex<ChatFormat?>(nil)
    /// - Throws: why the model's files have no tokenizer that this version knows; logits and generation by token ids work
    ///   without.
    public var tokenizer: Tokenizer { get throws { try loadedTokenizer.get() } }
    public let vocabularySize: Int
    /// Positions that one sequence may have: prompt and generated text together.
    public let contextLength: Int
    /// The model's own name of its architecture.
    public let architecture: String
    /// Bytes that the KV cache takes when every position is in use.
    public let cacheBytes: Int
    package let engine: Engine
    let settings: Settings
    /// The content hash that routing profiles are bound to.
    let identity: ModelIdentity
    let gate: GateSizes
    /// What the file carries, and where.
    let loadedProfile: Result<RoutingProfile?, ModelFileError>
    let profilePlace: String
    package var layerCount: Int { gate.layerCount }
    let batchPolicyLog = BatchPolicyLog()
    private let grammarVocabulary = GrammarVocabulary()
    /// k, the experts that the model was trained with per token; 0 for a dense model.
    public var expertsPerToken: Int { gate.expertsPerToken }
    package var expertCount: Int { gate.expertCount }
    /// d
    package var hiddenSize: Int { gate.hiddenSize }
    /// Worker threads, the caller's among them.
    package let threads: Int
    /// Sequences that run together.
    package var batchLimit: Int { settings.batch }

    /// Opens, checks and prepares a model; weights stay in their mapped file.
    ///
    /// - Throws: ``ModelFileError``, ``RequestError`` (a context longer than the model's), ``SettingsError``,
    ///   ``BLASLibraryError``, or ``ResourceError`` (no memory for the context).
    public static func load(_ source: ModelSource, options: EngineOptions = EngineOptions()) async throws -> LLM {
        try LLM(source, settings: options.settings, preparing: options.preparing)
    }

    /// - Parameter model: puts something around the model, for tests of what happens when it fails.
    package init(
        _ source: ModelSource, settings: Settings, preparing: (@Sendable (WeightPreparation) -> Void)? = nil,
        model: (any LanguageModel) -> any LanguageModel = { $0 }
    ) throws {
        try settings.validate()
        try BLASLibrary.prepare(settings)
        let file = try ModelFile.open(source)
        let configuration = try file.configuration()
        let tokenizer = Result { try Self.tokenizer(of: file, vocabularySize: configuration.vocabularySize) }
        let context = settings.context ?? min(configuration.contextLength, 4096)
        guard context <= configuration.contextLength else {
            throw RequestError(
                "a context of \(context) positions was asked for, but the model's is \(configuration.contextLength)")
        }
        let (blockSize, attention) = (32, configuration.attention)
        let precision = settings.kvPrecision ?? .f16
        let bytesPerBlock = KVCache.bytesPerBlock(
            precision: precision, blockSize: blockSize, layerCount: configuration.layerCount, kvHeads: attention.kvHeads,
            headDim: attention.headDim)
        let positions =
            settings.cache
            ?? Self.defaultCache(
                context: context, batch: settings.batch, bytesPerPosition: bytesPerBlock / blockSize)
        guard positions >= context else {
            throw RequestError("a cache of \(positions) positions cannot hold one context of \(context)")
        }
        let blockCount = (positions + blockSize - 1) / blockSize
        guard blockCount < Int(Int32.max) else {
            throw ResourceError(what: "KV cache of \(positions) positions", bytes: nil)
        }
        let cache = try KVCache(
            precision: precision, blockSize: blockSize, blockCount: blockCount,
            layerCount: configuration.layerCount, kvHeads: attention.kvHeads, headDim: attention.headDim)
        let identity = ModelIdentity(file.store)
        let compute = try ComputeContext(settings: settings)
        let isRowwise = Self.isRowwise(plan: compute.plan, weights: file.store)
        var language = try file.model(contextLength: context)  // one that is refused is refused before anything is written
        if let weights = try RepackedWeights.open(
            file, identity: identity, settings: settings, isRowwise: isRowwise, progress: preparing)
        {
            language = try file.model(contextLength: context, weights: weights)
        }
        let runner = ModelRunner(model: model(language), context: compute, cache: cache)

        threads = runner.context.pool.threads
        loadedTokenizer = tokenizer
        chatFacts = Result { try ModelChatFacts(file, tokenizer: try? tokenizer.get()) }
        modelPooling = Result { try EmbeddingPooling(file) }
        middleFormat = Result { try FillInTheMiddle(file, tokenizer: try tokenizer.get()) }
        self.identity = identity
        gate = GateSizes(configuration)
        loadedProfile = Result { () throws(ModelFileError) in try file.profile() }
        profilePlace = file.profilePlace
        self.settings = settings
        vocabularySize = configuration.vocabularySize
        contextLength = context
        architecture = configuration.architecture
        cacheBytes = cache.byteCount
        engine = try Engine(
            runner: runner, tokenizer: try? tokenizer.get(),
            limits: Scheduler.Limits(
                sequences: settings.batch, chunk: settings.chunk, isRowwise: isRowwise,
                sharing: Self.sharing(settings, isRowwise: isRowwise, blockSize: blockSize)),
            rowsBesideDecoding: settings.sharedChunk, contextLength: context)
    }

    /// All sequences at full length, or what half of the free memory holds: the scheduler copes with less than all. At least
    /// one whole context.
    private static func defaultCache(context: Int, batch: Int, bytesPerPosition: Int) -> Int {
        let budget = MemoryReservation.availableBytes().map { $0 / 2 / max(bytesPerPosition, 1) } ?? .max
        return max(context, min(context * batch, budget))
    }

    /// What sequences can share of a common beginning without a bit that differs.
    private static func sharing(_ settings: Settings, isRowwise: Bool, blockSize: Int) -> Scheduler.Sharing? {
        guard settings.prefixCache == .on else { return nil }
        if isRowwise { return .blocks }
        return settings.chunk.isMultiple(of: blockSize) ? .chunks : nil
    }

    /// Whether a row's bits are the same whatever the length of the slice that it is computed in.
    private static func isRowwise(plan: MatmulPlan, weights: any WeightStore) -> Bool {
        plan.isRowwise(
            quantized: weights.tensorNames.allSatisfy { name in
                guard let tensor = weights.tensor(named: name), tensor.shape.dimensions.count > 1 else { return true }
                return tensor.type.isQuantized || name.contains("ffn_gate_inp")
            })
    }

    private static func tokenizer(of file: ModelFile, vocabularySize: Int) throws -> Tokenizer {
        let tokenizer = try Tokenizer.load(from: file)
        guard tokenizer.vocabularySize <= vocabularySize else {
            throw ModelFileError(
                file: file.store.source, problem: "the tokenizer does not fit the model",
                expected: "at most \(vocabularySize) tokens", found: "\(tokenizer.vocabularySize)")
        }
        return tokenizer
    }

    // MARK: Generation

    /// Continues a text. The stream ends with ``GenerationEvent/finished(_:)``, or throws. Dropping it cancels the request.
    ///
    /// Events wait for a listener who is slow; the model does not. What may pile up is bounded by `maxTokens` and the context: one
    /// event per token, with its log probabilities if they were asked for.
    public func generate(
        _ prompt: String, options: GenerationOptions = GenerationOptions()
    ) -> AsyncThrowingStream<GenerationEvent, any Error> {
        do {
            return generate(tokens: try tokenizer.encode(prompt, addSpecial: true, parseSpecial: true), options: options)
        } catch {
            return AsyncThrowingStream { $0.finish(throwing: error) }
        }
    }

    /// Continues a sequence of token ids, used as they are. Without a tokenizer the text stays empty.
    public func generate(
        tokens: [Int32], options: GenerationOptions = GenerationOptions()
    ) -> AsyncThrowingStream<GenerationEvent, any Error> {
        let (stream, continuation) = AsyncThrowingStream<GenerationEvent, any Error>.makeStream()
        var options = options
        do {
            options.routing = try check(options.routing)
            try check(options.speculation, routing: options.routing)
            options.fallbacks = try checkCompute(options)
        } catch {
            continuation.finish(throwing: error)
            return stream
        }
        let (engine, ticket) = (engine, Engine.Ticket())
        continuation.onTermination = { reason in
            guard case .cancelled = reason else { return }
            ticket.cancel()
            Task { await engine.collectCancelled() }
        }
        let resolved = options
        Task {
            do {
                // Here and not on the engine's thread: the first time takes a while.
                let trie = resolved.grammar == nil ? nil : try grammarTrie()
                await engine.submit(tokens, options: resolved, trie: trie, ticket: ticket, to: continuation)
            } catch {
                continuation.finish(throwing: error)
            }
        }
        return stream
    }

    private func grammarTrie() throws -> TokenTrie {
        do {
            return grammarVocabulary.trie(of: try tokenizer)
        } catch {
            throw RequestError("a grammar needs the model's tokenizer: \(error)")
        }
    }

    /// The whole continuation at once.
    public func complete(_ prompt: String, options: GenerationOptions = GenerationOptions()) async throws
        -> GenerationResult
    {
        for try await event in generate(prompt, options: options) {
            if case .finished(let result) = event { return result }
        }
        // The stream ends without a result only when this task was cancelled.
        throw CancellationError()
    }
}

extension ComputeContext {
    package convenience init(settings: Settings) throws {
        try self.init(
            threads: settings.threadCount, placement: settings.placement, plan: MatmulPlan(mode: settings.gemm))
    }
}

/// The process has one BLAS: the first engine's settings load it.
enum BLASLibrary {
    /// - Throws: ``BLASLibraryError`` when the library that the settings name is not a BLAS, or another is in use already.
    static func prepare(_ settings: Settings) throws {
        if let library = settings.blasLibrary { try BLAS.load(library) }
    }
}
