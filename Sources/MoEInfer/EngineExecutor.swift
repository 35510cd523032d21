// SPDX-License-Identifier: Apache-2.0

import Glibc
import MoECompute
import Synchronization

/// A serial executor with one thread of its own, so that a long step never blocks the cooperative pool. The thread exists before
/// the first job: a process that may not start it gets an error, not a job that never runs.
///
/// Jobs hold the executor until they are done; without any, and without owners, the thread ends.
package final class EngineExecutor: SerialExecutor {
    /// Jobs that wait, in order. Shared by the executor and its thread.
    private final class Queue: Sendable {
        struct Entry {
            let job: UnownedJob
            let executor: EngineExecutor
        }

        private struct State {
            var entries: [Entry] = []
            var isClosed = false
        }

        private let state = Mutex(State())
        /// Counts up with every change of the state: what the thread sleeps on.
        private let changes = Semaphore()

        func append(_ entry: Entry) {
            state.withLock { $0.entries.append(entry) }
            changes.signal()
        }

        func close() {
            state.withLock { $0.isClosed = true }
            changes.signal()
        }

        /// Exchanges an empty array for the jobs that wait, so that both keep their memory.
        /// - Returns: false when the queue is closed and empty.
        func take(into entries: inout [Entry]) -> Bool {
            while true {
                changes.wait()
                let isOpen = state.withLock { state in
                    swap(&state.entries, &entries)
                    return !state.isClosed
                }
                if !entries.isEmpty { return true }
                if !isOpen { return false }
            }
        }
    }

    /// What a new thread gets.
    private final class Start: Sendable {
        let queue: Queue
        let prepare: @Sendable () -> Void

        init(queue: Queue, prepare: @escaping @Sendable () -> Void) {
            self.queue = queue
            self.prepare = prepare
        }
    }

    private let queue = Queue()

    /// - Parameters:
    ///   - stackBytes: of the new thread; nil: as the system has it
    ///   - prepare: runs on the new thread before everything else
    /// - Throws: ``ResourceError`` when the thread cannot be started.
    package init(stackBytes: Int? = nil, prepare: @escaping @Sendable () -> Void = {}) throws {
        let start = Unmanaged.passRetained(Start(queue: queue, prepare: prepare))
        var (thread, attributes) = (pthread_t(), pthread_attr_t())
        pthread_attr_init(&attributes)
        defer { pthread_attr_destroy(&attributes) }
        if let stackBytes { pthread_attr_setstacksize(&attributes, stackBytes) }
        let error = pthread_create(
            &thread, &attributes,
            { argument in
                let start = Unmanaged<Start>.fromOpaque(argument!).takeRetainedValue()
                start.prepare()
                EngineExecutor.run(start.queue)
                return nil
            }, start.toOpaque())
        guard error == 0 else {
            start.release()
            throw ResourceError(what: "the engine's thread (\(String(cString: strerror(error))))", bytes: nil)
        }
        pthread_detach(thread)
    }

    deinit { queue.close() }

    private static func run(_ queue: Queue) {
        var entries: [Queue.Entry] = []
        while queue.take(into: &entries) {
            for entry in entries {
                entry.job.runSynchronously(on: entry.executor.asUnownedSerialExecutor())
            }
            entries.removeAll(keepingCapacity: true)
        }
    }

    package func enqueue(_ job: consuming ExecutorJob) {
        queue.append(Queue.Entry(job: UnownedJob(job), executor: self))
    }

    package func asUnownedSerialExecutor() -> UnownedSerialExecutor { UnownedSerialExecutor(ordinary: self) }
}

/// A counting semaphore of the system's.
private final class Semaphore: @unchecked Sendable {
    private let memory = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)

    init() { sem_init(memory, 0, 0) }

    deinit {
        sem_destroy(memory)
        memory.deallocate()
    }

    func signal() { sem_post(memory) }
    func wait() { while sem_wait(memory) != 0 {} }
}
