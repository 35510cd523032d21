// SPDX-License-Identifier: Apache-2.0

/// Vectors of texts.
public struct EmbeddingResult: Sendable {
    /// By input: `[d]`.
    public let vectors: [[Float]]
    /// By input.
    public let promptTokens: [Int]
    /// Of all inputs together; nil for a dense model.
    public let moe: MoEUsage?
}

extension LLM {
    /// Inputs of one call that are under way at once: requests of others take turns with them.
    private static let embeddingsAtOnce = 4

    /// One vector per input: its hidden states after the output norm, pooled.
    ///
    /// Inputs run as prompts of requests do: in slices between the tokens of running generations, in the same queue, a few at a time.
    /// A vector is the same alone and among others. A cancelled task's inputs leave the engine before its next step.
    ///
    /// - Parameters:
    ///   - inputs: token ids, used as they are; each at least one token, and no longer than the context.
    ///   - pooling: nil: as the model's file asks for it (`{arch}.pooling_type` of GGUF), else the mean.
    ///   - normalize: to a length of 1 (L2).
    ///   - routing: its policy for prompts.
    /// - Throws: ``RequestError`` for an input that cannot be, `CancellationError`.
    public func embed(
        _ inputs: [[Int32]], pooling: EmbeddingPooling? = nil, normalize: Bool = true,
        routing: RoutingChoice = RoutingChoice()
    ) async throws -> EmbeddingResult {
        let pooling = try pooling ?? modelPooling.get()
        for (index, tokens) in inputs.enumerated() {
            guard !tokens.isEmpty else { throw RequestError("input \(index) has no tokens") }
            guard tokens.count <= contextLength else {
                throw RequestError(
                    "input \(index) has \(tokens.count) tokens, but the context holds \(contextLength)")
            }
            if let token = tokens.first(where: { $0 < 0 || Int($0) >= vocabularySize }) {
                throw RequestError("token \(token) of input \(index) is not in the vocabulary of \(vocabularySize)")
            }
        }
        let statistics = RoutingStatistics(everyToken: false)
        let vectors = try await withThrowingTaskGroup(of: (Int, [Float]).self) { group in
            var vectors = [[Float]](repeating: [], count: inputs.count)
            var rest = inputs.indices.makeIterator()
            func start() {
                guard let index = rest.next() else { return }
                group.addTask { [self] in
                    let pool = HiddenPool(pooling: pooling, statistics: statistics)
                    return (index, try await embed(inputs[index], into: pool, normalize: normalize, routing: routing))
                }
            }
            for _ in 0..<Self.embeddingsAtOnce { start() }
            while let (index, vector) = try await group.next() {
                vectors[index] = vector
                start()
            }
            return vectors
        }
        return EmbeddingResult(vectors: vectors, promptTokens: inputs.map(\.count), moe: statistics.usage)
    }

    private func embed(
        _ tokens: [Int32], into pool: HiddenPool, normalize: Bool, routing: RoutingChoice
    ) async throws -> [Float] {
        var options = GenerationOptions(routing: routing)
        options.hidden = pool
        for try await event in generate(tokens: tokens, options: options) {
            if case .finished = event { return pool.vector(normalized: normalize) }
        }
        throw CancellationError()
    }
}
