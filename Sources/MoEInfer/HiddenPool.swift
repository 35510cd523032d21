// SPDX-License-Identifier: Apache-2.0

import Glibc
import MoEModel
import MoETensors
import Synchronization

/// How one vector is made of the hidden states of a text's tokens.
public enum EmbeddingPooling: String, Sendable, CaseIterable, Codable {
    case mean
    /// That of the last token.
    case last

    /// As the file asks for it, `{arch}.pooling_type` of GGUF; the mean where it says nothing.
    /// - Throws: ``ModelFileError`` for metadata of a wrong type, ``RequestError`` for a pooling that this model family has no use for.
    init(_ file: ModelFile) throws {
        guard case .gguf(let gguf) = file, let architecture = try gguf.metadata.string("general.architecture"),
            let number = try gguf.metadata.int("\(architecture).pooling_type")
        else {
            self = .mean
            return
        }
        switch number {
        // 0: none, which says nothing of one vector.
        case 0, 1: self = .mean
        case 3: self = .last
        default:
            throw RequestError(
                "\(gguf.source) asks for pooling type \(number), which is not supported; choose mean or last")
        }
    }
}

/// The vector of one text, as it grows while the text is computed. Sums are of doubles and in the order of the tokens, so it does not
/// depend on the steps that they come in.
final class HiddenPool: Sendable {
    private struct State {
        /// [d]
        var sum: [Double] = []
        var count = 0
    }

    let pooling: EmbeddingPooling
    /// Of all texts of one call.
    let statistics: RoutingStatistics
    private let state = Mutex(State())

    init(pooling: EmbeddingPooling, statistics: RoutingStatistics) {
        self.pooling = pooling
        self.statistics = statistics
    }

    /// - Parameter row: `[d]`
    func add(_ row: UnsafeBufferPointer<Float>) {
        state.withLock { state in
            if state.sum.isEmpty { state.sum = Array(repeating: 0, count: row.count) }
            for index in row.indices { state.sum[index] += Double(row[index]) }
            state.count += 1
        }
    }

    /// - Parameter normalized: to a length of 1; zeros stay zeros.
    /// - Returns: `[d]`
    func vector(normalized: Bool) -> [Float] {
        let (sum, count) = state.withLock { ($0.sum, $0.count) }
        let mean = sum.map { $0 / Double(max(1, count)) }
        let length = normalized ? sqrt(mean.reduce(0) { $0 + $1 * $1 }) : 1
        return mean.map { Float(length > 0 ? $0 / length : $0) }
    }
}
