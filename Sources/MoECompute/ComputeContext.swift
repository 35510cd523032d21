// SPDX-License-Identifier: Apache-2.0

/// What a forward pass computes with: threads, backends, scratch memory and counters, passed explicitly. One per engine;
/// used by one step at a time.
package final class ComputeContext {
    package let pool: ThreadPool
    package let scratch = ScratchArena()
    package var plan: MatmulPlan
    /// All products since the start, counted by the backends.
    package private(set) var statistics = MatmulStatistics()
    /// Set: where the time of the steps goes.
    package var profile: StepProfile?

    private let native = NativeBackend()
    private let blas = OpenBLASBackend()
    private let reference = ReferenceBackend()

    package init(
        threads: Int, placement: ThreadPlacement = ThreadPlacement(), plan: MatmulPlan = MatmulPlan()
    ) throws {
        BLAS.use()
        pool = try ThreadPool(threads: threads, placement: placement)
        self.plan = plan
    }

    /// The end of a stage of the step.
    @inline(__always)
    package func lap(_ stage: StepProfile.Stage) { profile?.lap(stage, weightBytes: statistics.weightBytes) }

    /// Computes all tasks on one path.
    package func matmul(_ tasks: UnsafeBufferPointer<MatmulTask>, path: MatmulPlan.Path) throws {
        if tasks.isEmpty { return }
        switch path {
        case .native: try native.matmul(tasks, pool: pool, statistics: &statistics)
        case .blas: try blas.matmul(tasks, pool: pool, statistics: &statistics)
        case .reference: try reference.matmul(tasks, pool: pool, statistics: &statistics)
        }
    }
}
