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
    /// Shows the experts' own outputs, before they are weighted, to the observers that ask for them.
    func trace(
        _ expertOutput: UnsafePointer<Float>, assignment: ExpertAssignment, plan: DispatchPlan, run: Range<Int>,
        logits: UnsafePointer<Float>, x: UnsafePointer<Float>, step: ForwardStep
    ) {
        for slice in step.batch.slices where run.contains(slice.start) {
            guard let observer = slice.outputObserver else { continue }
            let width = experts.weights.down[0].n
            for index in 0..<slice.count {
                let token = slice.start + index
                let (first, last) = (Int(assignment.offsets[token]), Int(assignment.offsets[token + 1]))
                let base = Int(assignment.offsets[run.lowerBound])
                observer.observe(
                    ExpertOutputs(
                        layer: router.layer, position: slice.firstPosition + index, count: last - first, width: width,
                        output: expertOutput, slots: plan.slots + (first - base), weights: assignment.weights + first,
                        experts: assignment.experts + first,
                        logits: UnsafeBufferPointer(
                            start: logits + token * router.slotCount, count: router.slotCount),
                        hidden: UnsafeBufferPointer(start: x + token * width, count: width)))
            }
        }
    }

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
                    slotCount: router.slotCount, modelExpertsPerToken: router.expertsPerToken,
                    bytesPerExpert: experts.weights.bytesPerExpert,
                    gateSeconds: watch.gateSeconds * share, layerSeconds: watch.totalSeconds * share,
                    expertBytes: Int((Double(expertBytes) * pairShare).rounded()),
                    evaluations: UnsafeBufferPointer(start: evaluations + slice.start, count: slice.count),
                    logits: UnsafeBufferPointer(
                        start: logits + slice.start * router.slotCount, count: slice.count * router.slotCount),
                    offsets: UnsafeBufferPointer(start: assignment.offsets + slice.start, count: slice.count + 1),
                    experts: UnsafeBufferPointer(start: assignment.experts, count: assignment.count),
                    weights: UnsafeBufferPointer(start: assignment.weights, count: assignment.count),
                    added: UnsafeBufferPointer(start: assignment.added + slice.start, count: slice.count)))
        }
    }
}
