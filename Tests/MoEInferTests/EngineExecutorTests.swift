// SPDX-License-Identifier: Apache-2.0

import Glibc
import MoECompute
import MoEInfer
import Synchronization
import Testing

/// The engine's own thread.
@Suite struct EngineExecutorTests {
    private actor Subject {
        private let executor: EngineExecutor
        nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }
        private(set) var order: [Int] = []
        private var threads: Set<String> = []
        var threadCount: Int { threads.count }

        init(_ executor: EngineExecutor) { self.executor = executor }

        func add(_ number: Int) {
            order.append(number)
            threads.insert(EngineExecutorTests.threadPath())
        }
    }

    @Test func jobsRunOneAfterTheOtherOnOneThread() async throws {
        let prepared = Atomic(0)
        do {
            let executor = try EngineExecutor { prepared.wrappingAdd(1, ordering: .relaxed) }
            let subject = Subject(executor)
            for number in 0..<100 { await subject.add(number) }
            #expect(await subject.order == Array(0..<100))
            await withTaskGroup(of: Void.self) { group in
                for number in 100..<300 { group.addTask { await subject.add(number) } }
            }
            #expect(await subject.order.count == 300)
            #expect(await subject.threadCount == 1)
        }
        #expect(prepared.load(ordering: .relaxed) == 1)
    }

    /// Prevents a leak: an engine that is dropped takes its thread along.
    @Test func threadsEndWithTheirExecutors() async throws {
        let path = Mutex("")
        func use() async throws {
            let executor = try EngineExecutor { path.withLock { $0 = Self.threadPath() } }
            await Subject(executor).add(1)
            #expect(access(path.withLock { $0 }, F_OK) == 0)
        }
        try await use()
        let gone = path.withLock { $0 }
        #expect(gone.contains("/task/"))
        for _ in 0..<5000 where access(gone, F_OK) == 0 { try await Task.sleep(for: .milliseconds(1)) }
        #expect(access(gone, F_OK) != 0)
    }

    /// Prevents a hang: without a thread there is an error, not a job that never runs.
    @Test func aThreadThatCannotBeIsAnError() {
        #expect {
            try EngineExecutor(stackBytes: 1 << 56)
        } throws: { error in
            (error as? ResourceError)?.description.contains("the engine's thread") == true
        }
    }

    /// `/proc/PID/task/TID` of the calling thread. (Compilers take pthread_self for a constant, across threads too.)
    fileprivate static func threadPath() -> String {
        var bytes = [CChar](repeating: 0, count: 64)
        let count = readlink("/proc/thread-self", &bytes, bytes.count)
        return "/proc/" + String(decoding: bytes.prefix(max(0, count)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
