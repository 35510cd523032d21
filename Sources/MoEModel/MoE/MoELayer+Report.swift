// SPDX-License-Identifier: Apache-2.0

import MoECompute

/// Time of one layer, split at the point where routing is done.
struct LayerWatch {
    private let clock = ContinuousClock()
    private let start: ContinuousClock.Instant
    private var routedAt: ContinuousClock.Instant
    private var end: ContinuousClock.Instant

    init() {
        start = clock.now
        routedAt = start
        end = start
    }

    mutating func routed() { routedAt = clock.now }
    mutating func finished() { end = clock.now }

    var gateSeconds: Double { (routedAt - start) / .seconds(1) }
    var totalSeconds: Double { (end - start) / .seconds(1) }
}

extension MoELayer {
    /// Tells each slice's observer what was routed and what the kernels counted.
    func report(
        _ assignment: ExpertAssignment, logits: UnsafePointer<Float>, evaluations: UnsafePointer<Int32>, expertBytes: Int,
        watch: LayerWatch, step: ForwardStep
    ) {
        for slice in step.batch.slices {
            guard let observer = slice.observer else { continue }
            let share = Double(slice.count) / Double(step.rows)
            let pairs = assignment.offsets[slice.start + slice.count] - assignment.offsets[slice.start]
            let pairShare = assignment.count == 0 ? 0 : Double(pairs) / Double(assignment.count)
            observer.observe(
                RoutingEvent(
                    layer: router.layer, phase: slice.phase, tokenCount: slice.count, expertCount: router.expertCount,
                    modelExpertsPerToken: router.expertsPerToken, bytesPerExpert: experts.weights.bytesPerExpert,
                    gateSeconds: watch.gateSeconds * share, layerSeconds: watch.totalSeconds * share,
                    expertBytes: Int((Double(expertBytes) * pairShare).rounded()),
                    evaluations: UnsafeBufferPointer(start: evaluations + slice.start, count: slice.count),
                    logits: UnsafeBufferPointer(
                        start: logits + slice.start * router.expertCount, count: slice.count * router.expertCount),
                    offsets: UnsafeBufferPointer(start: assignment.offsets + slice.start, count: slice.count + 1),
                    experts: UnsafeBufferPointer(start: assignment.experts, count: assignment.count),
                    weights: UnsafeBufferPointer(start: assignment.weights, count: assignment.count)))
        }
    }
}
