// SPDX-License-Identifier: Apache-2.0

import CMoEKernels
import Glibc

/// Where a pool's threads run, and on which NUMA nodes the memory lies that they touch first.
package struct ThreadPlacement: Sendable, Equatable {
    /// Worker i runs on the i-th of them only; nil: wherever the system puts it.
    package var cpus: [Int]?
    /// Pages that a thread touches first go to these nodes in turn; nil: to its own node.
    package var interleavedNodes: [Int]?

    package init(cpus: [Int]? = nil, interleavedNodes: [Int]? = nil) {
        self.cpus = cpus
        self.interleavedNodes = interleavedNodes
    }

    /// The same in C, valid for the length of the call.
    fileprivate func withCPlacement<Result>(_ body: (UnsafePointer<moe_thread_placement>) -> Result) -> Result {
        func pointer<R>(_ numbers: [Int]?, _ body: (UnsafePointer<Int32>?, Int32) -> R) -> R {
            guard let numbers = numbers.map({ $0.map { Int32(clamping: $0) } }) else { return body(nil, 0) }
            return numbers.withUnsafeBufferPointer { body($0.baseAddress, Int32($0.count)) }
        }
        return pointer(cpus) { cpus, cpuCount in
            pointer(interleavedNodes) { nodes, nodeCount in
                var placement = moe_thread_placement(
                    cpus: cpus, cpu_count: cpuCount, nodes: nodes, node_count: nodeCount)
                return body(&placement)
            }
        }
    }
}

/// Our fork-join pool (C, see `thread_pool.c`): spins briefly, then sleeps. One parallel region at a time.
///
/// Lifetime: the C pool lives as long as this object; ``handle`` must not outlive it.
package final class ThreadPool: @unchecked Sendable {
    package let threads: Int
    package let handle: OpaquePointer
    package let placement: ThreadPlacement

    /// - Parameters:
    ///   - threads: workers, the caller included; at least 1.
    ///   - placement: at least as many CPUs as threads, where it has any.
    /// - Throws: ``ResourceError`` when threads cannot be started, or not there.
    package init(threads: Int, placement: ThreadPlacement) throws {
        let handle = placement.withCPlacement { moe_pool_create_placed(Int32(clamping: threads), $0) }
        guard let handle else {
            let reason = errno == ENOMEM || errno == EAGAIN ? "" : " (\(String(cString: strerror(errno))))"
            throw ResourceError(what: "\(threads) worker threads\(reason)", bytes: nil)
        }
        self.handle = handle
        self.placement = placement
        self.threads = Int(moe_pool_threads(handle))
    }

    /// Threads that run wherever the system puts them.
    package convenience init(threads: Int) throws { try self.init(threads: threads, placement: ThreadPlacement()) }

    /// Places the calling thread as worker 0. For a thread of the engine's own: it stays there.
    package func placeCaller() { _ = placement.withCPlacement { moe_thread_place($0) } }

    deinit {
        moe_pool_destroy(handle)
        tasks.deallocate()
    }

    /// Where the tasks of a call are put together for C: kept between calls, because one is made for every product of a step.
    private var tasks = UnsafeMutableRawBufferPointer(start: nil, count: 0)

    /// Room for `count` values, valid until the next call. One parallel region at a time, so one call at a time.
    func taskMemory<Task: BitwiseCopyable>(of type: Task.Type, count: Int) -> UnsafeMutablePointer<Task> {
        let bytes = max(count, 1) * MemoryLayout<Task>.stride
        if tasks.count < bytes {
            tasks.deallocate()
            tasks = .allocate(byteCount: max(bytes, 1 << 14), alignment: 64)
        }
        return tasks.baseAddress!.bindMemory(to: type, capacity: count)
    }
}
