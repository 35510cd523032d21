// SPDX-License-Identifier: Apache-2.0

import CMoEKernels
import Foundation
import Glibc
import MoECompute
import Synchronization
import Testing

/// Lists of CPUs, and where threads and their memory go.
@Suite struct PlacementTests {
    @Test(arguments: [
        ("0", [0], "0"), ("0-3,8", [0, 1, 2, 3, 8], "0-3,8"), ("8,0-1", [8, 0, 1], "8,0-1"), ("5-5", [5], "5"),
        ("0,1,2", [0, 1, 2], "0-2"), ("1023", [1023], "1023"), (" \t1,2\n", [1, 2], "1-2"),
    ]) func listsAreRead(text: String, numbers: [Int], description: String) {
        #expect(CPUList(text)?.numbers == numbers)
        #expect(CPUList(text)?.description == description)
    }

    @Test(arguments: [
        "", ",", "0,", "a", "0-", "-1", "3-1", "0,0", "0-2,1", "0x1", "1024", "0-99999999999999999999", "1 2", "1, 2",
        "0--2", "١",
    ]) func badListsAreNot(text: String) {
        #expect(CPUList(text) == nil)
    }

    /// What each worker of a pool sees of itself.
    private struct Sight {
        var cpu: Int32 = -1
        var allowed: Int32 = -1
        var policy: Int32 = -1
        var nodes: UInt64 = 0
    }

    private static func look(_ pool: ThreadPool) -> [Sight] {
        var sights = [Sight](repeating: Sight(), count: pool.threads)
        sights.withUnsafeMutableBytes { bytes in
            moe_pool_run(
                pool.handle,
                { context, worker, _ in
                    let sight = context!.assumingMemoryBound(to: Sight.self) + Int(worker)
                    sight.pointee.cpu = moe_thread_cpu(&sight.pointee.allowed)
                    sight.pointee.policy = moe_thread_memory_policy(&sight.pointee.nodes)
                }, bytes.baseAddress)
        }
        return sights
    }

    @Test func workersRunWhereTheyArePinned() throws {
        let allowed = try #require(UsableCores.allowed()).numbers
        let cpus = Array(allowed.reversed().prefix(3))
        let pool = try ThreadPool(threads: cpus.count, placement: ThreadPlacement(cpus: cpus))
        for (worker, sight) in Self.look(pool).enumerated().dropFirst() {
            #expect(sight.cpu == Int32(cpus[worker]) && sight.allowed == 1)
        }
        // The caller is nobody's to pin, unless it asks.
        #expect(Self.look(pool)[0].allowed == Int32(allowed.count))
        let sight = onThreadOfItsOwn {
            pool.placeCaller()
            return PlacementTests.look(pool)[0]
        }
        #expect(sight.cpu == Int32(cpus[0]) && sight.allowed == 1)
        #expect(Self.look(pool)[0].allowed == Int32(allowed.count))
    }

    @Test func placesThatDoNotExistAreRefused() throws {
        let allowed = try #require(UsableCores.allowed()).numbers
        let absent = try #require((0..<1024).last { !allowed.contains($0) })
        for placement in [
            ThreadPlacement(cpus: [allowed[0], absent]), ThreadPlacement(cpus: [allowed[0], -1]),
            ThreadPlacement(cpus: [allowed[0]]), ThreadPlacement(cpus: []), ThreadPlacement(interleavedNodes: [1_000_000]),
        ] {
            #expect(throws: ResourceError.self) { try ThreadPool(threads: 2, placement: placement) }
        }
        #expect(Self.look(try ThreadPool(threads: 2)).allSatisfy { $0.allowed == Int32(allowed.count) })
    }

    /// Some containers forbid memory policies altogether.
    private static let canSetPolicies: Bool = {
        var nodes: UInt64 = 0
        return moe_thread_memory_policy(&nodes) >= 0
    }()

    /// With one node there is nothing to gain, but the system call is the same.
    @Test(.enabled(if: canSetPolicies)) func workersInterleaveWhatTheyTouchFirst() throws {
        let node = NUMANodes.current()[0]
        let pool = try ThreadPool(threads: 3, placement: ThreadPlacement(interleavedNodes: [node]))
        let sights = Self.look(pool)
        #expect(sights[0].policy == 0)
        for sight in sights.dropFirst() { #expect(sight.policy == 3 && sight.nodes == 1 << UInt64(node)) }
        let caller = onThreadOfItsOwn {
            pool.placeCaller()
            return PlacementTests.look(pool)[0]
        }
        #expect(caller.policy == 3)
    }

    @Test func nodesAreRead() throws {
        let root = FileManager.default.temporaryDirectory.appendingPathComponent("moe-nodes-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: root, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: root) }
        #expect(NUMANodes.current(root: root.path) == [0])
        try Data("0-3\n".utf8).write(to: root.appendingPathComponent("online"))
        #expect(NUMANodes.current(root: root.path) == [0, 1, 2, 3])
        try Data("0,2\n".utf8).write(to: root.appendingPathComponent("has_memory"))
        #expect(NUMANodes.current(root: root.path) == [0, 2])
    }
}

/// Runs work on a new thread and waits for it, so that what it does to its thread ends with it.
private func onThreadOfItsOwn<Result: Sendable>(_ body: @escaping @Sendable () -> Result) -> Result {
    let result = Mutex<Result?>(nil)
    let done = DispatchSemaphore(value: 0)
    Thread {
        let value = body()
        result.withLock { $0 = value }
        done.signal()
    }.start()
    done.wait()
    return result.withLock { $0! }
}
