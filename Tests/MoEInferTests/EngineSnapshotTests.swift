// SPDX-License-Identifier: Apache-2.0

import Glibc
import MoECompute
import MoEInfer
import MoEModel
import MoETestSupport
import Synchronization
import Testing

/// What the engine tells of itself adds up with what requests are told.
@Suite struct EngineSnapshotTests {
    @Test func addsUp() async throws {
        let tiny = try TinyEngine { $0.cache = 320 }
        let fresh = await tiny.llm.snapshot()
        #expect(fresh.steps == 0 && fresh.layers.isEmpty && fresh.blocks.free == 10 && fresh.stepTimes.quantile(0.5) == nil)
        var random = SplitMix64(state: 2)
        let beginning = TinyEngine.prompt(64, using: &random)
        let requests = (0..<6).map { index in
            (
                tokens: beginning + TinyEngine.prompt(5, using: &random),
                options: TinyEngine.options(40, seed: UInt64(index), routing: StaticRouting(expertsPerToken: PerLayer(3)))
            )
        }
        let results = try await tiny.run(requests)
        await #expect(throws: RequestError.self) { _ = try await tiny.run([], TinyEngine.options(3)) }
        for try await event in tiny.llm.generate(tokens: beginning, options: TinyEngine.options(150)) {
            if case .token = event { break }
        }
        try await tiny.expectIdle()
        let snapshot = await tiny.llm.snapshot()
        #expect(snapshot.running == 0 && snapshot.waiting == 0 && snapshot.oldestWaitingSeconds == 0)
        #expect(snapshot.requests.submitted == 8 && snapshot.requests.finished == 6)
        #expect(snapshot.requests.cancelled == 1 && snapshot.requests.failed == 1)
        #expect(snapshot.blocks.free == 10 && snapshot.blocks.cached > 0)
        #expect(snapshot.preemptions == (await tiny.llm.engine.preemptions) && snapshot.preemptions > 0)
        let cached = results.reduce(0) { $0 + $1.usage.cachedTokens }
        #expect(snapshot.cachedTokens >= cached && snapshot.promptTokens >= 6 * 69 - cached)
        #expect(snapshot.generatedTokens >= 240 && snapshot.generatedTokens < 240 + 150)
        #expect(snapshot.steps > 40 && snapshot.lastStepSeconds > 0)
        #expect(snapshot.stepTimes.counts.reduce(0, +) <= snapshot.steps)
        #expect(snapshot.stepTimes.counts.count == EngineSnapshot.StepTimes.bounds.count + 1)
        #expect(snapshot.stepTimes.quantile(0.5)! <= snapshot.stepTimes.quantile(0.99)!)
        #expect(snapshot.layers.map(\.layer) == [0, 1])
        for layer in snapshot.layers {
            #expect(layer.load.count == 16 && layer.recent.count == 16)
            for (load, recent) in zip(layer.load, layer.recent) {
                #expect(recent <= Double(load) && (recent > 0) == (load > 0))
            }
            let total: Int = layer.load.reduce(0, +)
            #expect(layer.recent.reduce(0, +) > Double(total) / 64, "no test runs for a minute")
        }
        // The broken-off request ran the model's own k = 4, the others 3.
        let histogram = snapshot.histogram
        let pairs: Int = snapshot.layers.map(\.tokens).reduce(0, +)
        #expect(histogram.count == 5 && histogram.reduce(0, +) == pairs && histogram[3] > 0)
        let loads: Int = snapshot.layers.flatMap(\.load).reduce(0, +)
        #expect(loads == 3 * histogram[3] + 4 * histogram[4])
        let told: Int = results.map { $0.usage.moe!.histogram[3] }.reduce(0, +)
        #expect(histogram[3] == told, "what the requests were told")
    }

    /// Asked while the engine is in the middle of a step that takes long.
    @Test func answersDuringAStep() async throws {
        let gate = Gate()
        let tiny = try TinyEngine(model: { SlowModel($0, gate: gate) }, { _ in })
        async let result = tiny.run([1, 2, 3], TinyEngine.options(2))
        await gate.untilEntered()
        let snapshot = await tiny.llm.snapshot()
        await tiny.llm.setPressure(2)
        #expect(snapshot.requests.submitted == 1 && snapshot.steps == 0)
        gate.open()
        #expect(try await result.tokens.count == 2)
    }

    @Test func quantiles() {
        let times = EngineSnapshot.StepTimes(recent: [0.01, 0.02, 0.03, 0.9], counts: [], totalSeconds: 0)
        #expect(times.quantile(0.5) == 0.02 && times.quantile(0.99) == 0.9 && times.quantile(0) == 0.01)
        #expect(times.quantile(1) == 0.9 && times.quantile(7) == 0.9)
    }
}

/// Holds the model up until it is opened.
final class Gate: Sendable {
    private let entered = Atomic(false)
    private let isOpen = Atomic(false)

    func open() { isOpen.store(true, ordering: .releasing) }

    func untilEntered() async {
        while !entered.load(ordering: .acquiring) { try? await Task.sleep(for: .milliseconds(1)) }
    }

    /// On the engine's thread.
    func pass() {
        entered.store(true, ordering: .releasing)
        while !isOpen.load(ordering: .acquiring) { usleep(500) }
    }
}

private final class SlowModel: LanguageModel {
    private let base: any LanguageModel
    private let gate: Gate

    init(_ base: any LanguageModel, gate: Gate) {
        self.base = base
        self.gate = gate
    }

    var configuration: ModelConfiguration { base.configuration }

    func forward(
        _ batch: ForwardBatch, cache: KVCache, context: ComputeContext, logits: UnsafeMutableBufferPointer<Float>,
        hidden: UnsafeMutableBufferPointer<Float>
    ) throws {
        gate.pass()
        try base.forward(batch, cache: cache, context: context, logits: logits, hidden: hidden)
    }
}
