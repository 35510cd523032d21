// SPDX-License-Identifier: Apache-2.0

import MoECompute
import MoEModel
import MoETensors
public import MoETokenizer

/// How an engine is set up.
public struct EngineOptions: Sendable {
    public var settings: Settings

    public init(settings: Settings = Settings()) { self.settings = settings }
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
    private let loadedTokenizer: Result<Tokenizer, any Error>
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

    /// Opens, checks and prepares a model; weights stay in their mapped file.
    ///
    /// - Throws: ``ModelFileError``, ``TokenizerError``, ``RequestError`` (a context longer than the model's), or
    ///   ``ResourceError`` (no memory for the context).
    public static func load(_ source: ModelSource, options: EngineOptions = EngineOptions()) async throws -> LLM {
        try LLM(source, settings: options.settings)
    }

    private init(_ source: ModelSource, settings: Settings) throws {
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
        let positions = settings.cache ?? context * settings.batch
        guard positions >= context else {
            throw RequestError("a cache of \(positions) positions cannot hold one context of \(context)")
        }
        let cache = try KVCache(
            precision: settings.kvPrecision ?? .f16, blockSize: blockSize,
            blockCount: (positions + blockSize - 1) / blockSize,
            layerCount: configuration.layerCount, kvHeads: attention.kvHeads, headDim: attention.headDim)
        let runner = ModelRunner(
            model: try file.model(), context: try ComputeContext(settings: settings), cache: cache)

        loadedTokenizer = tokenizer
        self.settings = settings
        vocabularySize = configuration.vocabularySize
        contextLength = context
        architecture = configuration.architecture
        cacheBytes = cache.byteCount
        engine = Engine(
            runner: runner, tokenizer: try? tokenizer.get(),
            limits: Scheduler.Limits(sequences: settings.batch, chunk: settings.chunk), contextLength: context)
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
        let engine = engine
        Task { await engine.submit(tokens, options: options, to: continuation) }
        return stream
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
            threads: settings.threads ?? ComputeDiagnosis.usableCores(), plan: MatmulPlan(mode: settings.gemm))
    }
}

/// The process has one BLAS: the first engine's settings load it.
enum BLASLibrary {
    /// - Throws: ``SettingsError`` when the library that the settings name is not a BLAS.
    static func prepare(_ settings: Settings) throws {
        guard let library = settings.blasLibrary else { return }
        do {
            try BLAS.load(library)
        } catch {
            throw BLASLoadError(description: "MOE_BLAS_LIBRARY '\(library)': \(error)")
        }
    }
}

/// A BLAS library that cannot be used, in one line.
public struct BLASLoadError: Error, Equatable, Sendable, CustomStringConvertible {
    public let description: String
}
