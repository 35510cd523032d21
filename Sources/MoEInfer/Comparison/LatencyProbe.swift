// SPDX-License-Identifier: Apache-2.0

import MoEModel
import Synchronization

/// Speed of one policy on real text, prompt and decoding apart. Times are relative to static routing measured in the same round.
struct PolicyLatency: Sendable {
    struct Phase: Sendable, Encodable {
        let tokensPerSecond: BenchmarkResult.Speed
        /// Median over the rounds of this policy's time over static routing's in the same round, and its quartiles.
        let timeRatio: Double
        let timeRatioQuartiles: [Double]
        /// Bytes of expert weights read per token.
        let expertBytesPerToken: Double
        /// Share of the model's time that routers take.
        let gateTimeFraction: Double
        let usage: MoEUsage?
    }

    let prefill: Phase
    let decode: Phase
}

/// Measures policies in turns on the same text: every round runs each of them once, in an order that rotates, so that a slow
/// spell of the machine meets all alike.
struct LatencyProbe {
    let llm: LLM
    let windows: [[Int32]]
    let promptTokens: Int
    let decodeTokens: Int
    /// nil: as many as `seconds` allow, 5 to 31.
    let rounds: Int?
    let seconds: Double

    private struct Run {
        var prefill: [Double] = []
        var decode: [Double] = []
        let phases = PhaseStatistics()
    }

    /// - Parameter policies: static routing first.
    func measure(
        _ policies: [any RoutingPolicy], progress: @Sendable (_ done: Int, _ total: Int) -> Void
    ) async throws -> [PolicyLatency] {
        var runs = policies.map { _ in Run() }
        // The first round warms up, and tells how many there can be.
        let start = ContinuousClock.now
        for index in policies.indices { _ = try await time(policies[index], round: 0, statistics: nil) }
        let warmUp = max(1e-6, (ContinuousClock.now - start) / .seconds(1))
        let count = rounds ?? max(5, min(31, Int(seconds / warmUp)))
        for round in 1...count {
            for turn in policies.indices {
                let index = (turn + round) % policies.count
                let times = try await time(policies[index], round: round, statistics: runs[index].phases)
                runs[index].prefill.append(times.prefill)
                runs[index].decode.append(times.decode)
                progress((round - 1) * policies.count + turn + 1, count * policies.count)
            }
        }
        return runs.map { run in
            PolicyLatency(
                prefill: phase(run.prefill, reference: runs[0].prefill, tokens: promptTokens, run.phases.prefill),
                decode: phase(run.decode, reference: runs[0].decode, tokens: decodeTokens, run.phases.decode))
        }
    }

    /// Seconds of a prompt, and of decoding the tokens that follow it in the text.
    private func time(
        _ policy: any RoutingPolicy, round: Int, statistics: PhaseStatistics?
    ) async throws -> (prefill: Double, decode: Double) {
        let window = windows[round % windows.count]
        let chunk = llm.settings.chunk
        return try await llm.engine.exclusively { runner in
            let pass = try EvaluationPass(
                runner: runner, positions: promptTokens + decodeTokens, chunk: chunk, routing: RoutingChoice(policy),
                observer: statistics)
            let start = ContinuousClock.now
            try pass.prefill(window[..<promptTokens], scoring: promptTokens) { _ in }
            let middle = ContinuousClock.now
            for token in window[promptTokens..<promptTokens + decodeTokens] {
                try Task.checkCancellation()
                try pass.decode(token) { _ in }
            }
            let end = ContinuousClock.now
            let (prefill, decode) = ((middle - start) / .seconds(1), (end - middle) / .seconds(1))
            statistics?.prefill.addForward(seconds: prefill)
            statistics?.decode.addForward(seconds: decode)
            return (prefill, decode)
        }
    }

    private func phase(
        _ times: [Double], reference: [Double], tokens: Int, _ statistics: RoutingStatistics
    ) -> PolicyLatency.Phase {
        let ratios = zip(times, reference).map { $0 / $1 }.sorted()
        let speeds = times.map { Double(tokens) / $0 }.sorted()
        let usage = statistics.usage
        return PolicyLatency.Phase(
            tokensPerSecond: .init(median: quantile(speeds, 0.5), min: speeds[0], max: speeds[speeds.count - 1]),
            timeRatio: quantile(ratios, 0.5), timeRatioQuartiles: [quantile(ratios, 0.25), quantile(ratios, 0.75)],
            expertBytesPerToken: Double(usage?.expertBytesRead ?? 0) / Double(tokens * times.count),
            gateTimeFraction: usage?.gateTimeFraction ?? 0, usage: usage)
    }
}

/// Between the two nearest of sorted values.
func quantile(_ sorted: [Double], _ share: Double) -> Double {
    let place = share * Double(sorted.count - 1)
    let low = Int(place)
    let high = min(low + 1, sorted.count - 1)
    return sorted[low] + (sorted[high] - sorted[low]) * (place - Double(low))
}

/// Statistics of prompt and decoding apart.
final class PhaseStatistics: RoutingObserver {
    let prefill = RoutingStatistics()
    let decode = RoutingStatistics()
    let needsEveryToken = false

    func observe(_ event: borrowing RoutingEvent) {
        switch event.phase {
        case .prefill: prefill.observe(event)
        case .decode: decode.observe(event)
        }
    }
}
