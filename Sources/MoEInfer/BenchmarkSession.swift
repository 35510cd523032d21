// SPDX-License-Identifier: Apache-2.0

import MoECompute
package import MoEModel
import Synchronization

/// Runs cases one at a time on a loaded model, for a harness that measures several engines in turns. Caches are kept from run
/// to run, so the positions before a case are computed once.
public final class BenchmarkSession: Sendable {
    public struct Run: Sendable, Encodable {
        public let seconds: Double
        /// Of all sequences together.
        public let tokens: Int
        public let threads: Int
        public let moe: MoEUsage?
    }

    /// Limits of the machine, as `doctor` measures them.
    public struct Limits: Sendable, Encodable {
        public let bandwidthGBs: Double
        public let int8Gops: Double
        public let sgemmGflops: Double

        enum CodingKeys: String, CodingKey {
            case bandwidthGBs = "bandwidth_gbs"
            case int8Gops = "int8_gops"
            case sgemmGflops = "sgemm_gflops"
        }
    }

    private struct Room: Hashable {
        let batch, depth, count: Int
        let seed: UInt64
    }

    private let llm: LLM
    private let caches = Mutex<[Room: KVCache]>([:])

    init(_ llm: LLM) { self.llm = llm }

    /// - Throws: ``RequestError`` for what the model cannot do, ``ResourceError`` when there is no memory for its cache.
    public func run(_ test: BenchmarkCase, routing: any RoutingPolicy) async throws -> Run {
        let routing = try llm.check(policy: routing)
        // Without positions before the case nothing in the cache depends on the seed.
        let room = Room(
            batch: test.batch, depth: test.depth, count: test.count, seed: test.depth > 0 ? test.seed : 0)
        let known = caches.withLock { $0[room] }
        let settings = llm.settings
        let isDense = llm.expertsPerToken == 0
        let (run, cache) = try await llm.engine.exclusively { runner in
            let benchmark = Benchmark(runner, settings: settings)
            let cache = try known ?? benchmark.cache(for: test)
            if known == nil { try benchmark.fill(cache, for: test, routing: routing) }
            let statistics = RoutingStatistics(everyToken: false)
            let seconds = try benchmark.run(test, cache: cache, routing: routing, statistics: statistics)
            let run = Run(
                seconds: seconds, tokens: test.count * test.batch, threads: runner.context.pool.threads,
                moe: isDense ? nil : statistics.usage)
            return (run, cache)
        }
        caches.withLock { $0[room] = cache }
        return run
    }

    /// What the machine can do at this moment, by the threads of the engine.
    public func limits() async throws -> Limits {
        try await llm.engine.exclusively { runner in
            let found = try ComputeDiagnosis.limits(pool: runner.context.pool)
            return Limits(bandwidthGBs: found.bandwidthGBs, int8Gops: found.int8Gops, sgemmGflops: found.sgemmGflops)
        }
    }
}
