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

    deinit { moe_pool_destroy(handle) }
}
