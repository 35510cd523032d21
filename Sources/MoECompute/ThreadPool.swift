// SPDX-License-Identifier: Apache-2.0

import CMoEKernels

/// Our fork-join pool (C, see `thread_pool.c`): spins briefly, then sleeps. One parallel region at a time.
///
/// Lifetime: the C pool lives as long as this object; ``handle`` must not outlive it.
package final class ThreadPool: @unchecked Sendable {
    package let threads: Int
    package let handle: OpaquePointer

    /// - Parameter threads: workers, the caller included; at least 1.
    /// - Throws: ``ResourceError`` when threads cannot be started.
    package init(threads: Int) throws {
        guard let handle = moe_pool_create(Int32(clamping: threads)) else {
            throw ResourceError(what: "\(threads) worker threads", bytes: nil)
        }
        self.handle = handle
        self.threads = Int(moe_pool_threads(handle))
    }

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
