// SPDX-License-Identifier: Apache-2.0

import CMoEKernels
import Glibc
import MoECompute
import Testing

/// Run under ThreadSanitizer by `make sanitize`.
@Suite struct ThreadPoolTests {
    @Test(arguments: [1, 2, 3, 8]) func everyWorkerRunsOnceInEveryRegion(threads: Int) throws {
        let pool = try ThreadPool(threads: threads)
        #expect(pool.threads == threads)
        let counts = UnsafeMutablePointer<Int32>.allocate(capacity: threads)
        counts.initialize(repeating: 0, count: threads)
        defer { counts.deallocate() }
        for _ in 0..<300 {
            moe_pool_run(
                pool.handle,
                { context, worker, _ in context!.assumingMemoryBound(to: Int32.self)[Int(worker)] += 1 }, counts)
        }
        #expect((0..<threads).allSatisfy { counts[$0] == 300 })
    }

    /// What a region writes, the next one reads on other threads: also after the workers have gone to sleep.
    @Test(arguments: [0, 500]) func regionsFollowOneAnother(pauseMicroseconds: UInt32) throws {
        let threads = 3
        let pool = try ThreadPool(threads: threads)
        let values = UnsafeMutablePointer<Int32>.allocate(capacity: 2 * threads)
        values.initialize(repeating: 0, count: 2 * threads)
        defer { values.deallocate() }
        for _ in 0..<100 {
            // Even and odd regions copy back and forth, each from its neighbour's place, adding one.
            moe_pool_run(
                pool.handle,
                { context, worker, workers in
                    let values = context!.assumingMemoryBound(to: Int32.self)
                    values[Int(workers + worker)] = values[Int((worker + 1) % workers)] + 1
                }, values)
            if pauseMicroseconds > 0 { usleep(pauseMicroseconds) }
            moe_pool_run(
                pool.handle,
                { context, worker, workers in
                    let values = context!.assumingMemoryBound(to: Int32.self)
                    values[Int(worker)] = values[Int(workers + (worker + 1) % workers)] + 1
                }, values)
        }
        #expect((0..<threads).allSatisfy { values[$0] == 200 })
    }

    /// Regions whose work is taken piece by piece: nothing is lost or done twice when workers come late.
    @Test(arguments: [1, 2, 3, 8]) func piecesAreDoneOnce(threads: Int) throws {
        let pool = try ThreadPool(threads: threads)
        let numbers = TestNumbers(seed: 1)
        let count = 70_000
        let (x, y) = (numbers.filled(count, Float(1)), numbers.filled(count, Float(0)))
        for region in 1...200 {
            Ops.add(x, to: y, count: count, pool: pool)
            if region % 50 == 0 { usleep(300) }
        }
        #expect((0..<count).allSatisfy { y[$0] == 200 })
    }

    /// Prevents a hang: a worker that comes late to the last region of pieces must not take the pool's end for a region.
    @Test func poolsEndRightAfterPieces() throws {
        let numbers = TestNumbers(seed: 2)
        let count = 70_000
        let (x, y) = (numbers.filled(count, Float(1)), numbers.filled(count, Float(0)))
        let rounds = 3000
        for _ in 0..<rounds {
            Ops.add(x, to: y, count: count, pool: try ThreadPool(threads: 3))
        }
        #expect((0..<count).allSatisfy { y[$0] == Float(rounds) })
    }

    @Test func poolsComeAndGo() throws {
        for threads in 1...20 { _ = try ThreadPool(threads: threads % 5 + 1) }
        #expect(throws: ResourceError.self) { try ThreadPool(threads: 0) }
        #expect(throws: ResourceError.self) { try ThreadPool(threads: 1_000_000) }
    }
}
