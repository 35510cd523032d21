// SPDX-License-Identifier: Apache-2.0

import MoECompute
public import MoEModel

/// Where the time of a step goes, stage by stage, on the thread that runs it: the times of all stages add up to the step's.
public struct StepReport: Sendable, Encodable {
    public struct Stage: Sendable, Encodable {
        public let name: String
        /// Per step, and of the step's time.
        public let microseconds: Double
        public let share: Double
        /// Weights read per step, and how fast.
        public let weightBytes: Int
        public var gigabytesPerSecond: Double { microseconds > 0 ? Double(weightBytes) / microseconds / 1000 : 0 }

        enum CodingKeys: String, CodingKey {
            case name, microseconds, share
            case weightBytes = "weight_bytes"
        }
    }

    /// `pp512` or `tg128`.
    public let test: String
    public let batch: Int
    public let routing: String
    public let steps: Int
    public let microsecondsPerStep: Double
    /// In the order of the forward pass; what took no time is left out.
    public let stages: [Stage]

    enum CodingKeys: String, CodingKey {
        case test, batch, routing, steps
        case microsecondsPerStep = "microseconds_per_step"
        case stages
    }

    init(_ profile: StepProfile, test: String, batch: Int, routing: String) {
        self.test = test
        self.batch = batch
        self.routing = routing
        steps = profile.steps
        let count = Double(max(1, profile.steps))
        let total = max(profile.entries.reduce(0) { $0 + $1.seconds }, .leastNormalMagnitude)
        microsecondsPerStep = total / count * 1e6
        stages = zip(StepProfile.Stage.allCases, profile.entries).compactMap { stage, entry in
            entry.seconds == 0
                ? nil
                : Stage(
                    name: stage.rawValue, microseconds: entry.seconds / count * 1e6, share: entry.seconds / total,
                    weightBytes: entry.weightBytes / max(1, profile.steps))
        }
    }
}

extension LLM {
    /// Where the time of a case goes; a run before the repetitions warms up and is not counted.
    public func profileSteps(
        _ test: BenchmarkCase, repetitions: Int, routing: any RoutingPolicy, named name: String
    ) async throws -> StepReport {
        let (routing, settings) = (try check(policy: routing), settings)
        return try await engine.exclusively { runner in
            let profile = StepProfile(ofPrompts: test.kind == .prompt)
            let benchmark = Benchmark(runner, settings: settings)
            let cache = try benchmark.cache(for: test)
            try benchmark.fill(cache, for: test, routing: routing)
            _ = try benchmark.run(test, cache: cache, routing: routing, statistics: nil)
            runner.context.profile = profile
            defer { runner.context.profile = nil }
            for _ in 0..<repetitions {
                _ = try benchmark.run(test, cache: cache, routing: routing, statistics: nil)
            }
            return StepReport(profile, test: test.name, batch: test.batch, routing: name)
        }
    }
}
