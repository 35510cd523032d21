// SPDX-License-Identifier: Apache-2.0

import NIOCore
import NIOPosix
import Synchronization

/// Timers on the event loops. Not `Task.sleep`: one that is cancelled keeps its timer and its task until the time is over (Swift 6.3 on
/// Linux, some 400 bytes), and nearly all timers of a server are for minutes and cancelled after milliseconds.
enum Timers {
    static func after(_ seconds: Double, _ body: @escaping @Sendable () -> Void) -> Scheduled<Void> {
        MultiThreadedEventLoopGroup.singleton.any().scheduleTask(in: amount(seconds)) { body() }
    }

    static func every(_ seconds: Double, _ body: @escaping @Sendable () -> Void) -> RepeatedTask {
        MultiThreadedEventLoopGroup.singleton.any()
            .scheduleRepeatedTask(initialDelay: amount(seconds), delay: amount(seconds)) { _ in body() }
    }

    private static func amount(_ seconds: Double) -> TimeAmount { .nanoseconds(Int64(min(max(seconds, 0), 1e9) * 1e9)) }
}

/// - Throws: `error` when the work takes longer; it is cancelled then, and has ended when this returns.
func withDeadline<Result: Sendable>(
    seconds: Double, error: APIError = .deadline("the server's time for a request is over"),
    _ body: @escaping @Sendable () async throws -> Result
) async throws -> Result {
    let task = Task { try await body() }
    let lateness = Lateness()
    let timer = Timers.after(seconds) {
        lateness.begin()
        task.cancel()
    }
    defer { timer.cancel() }
    do {
        return try await task.valueOrCancel
    } catch let thrown {
        throw lateness.hasBegun ? error : thrown
    }
}

extension Task where Failure == any Error {
    /// The task's value. Who waits for it and is cancelled cancels the task.
    var valueOrCancel: Success {
        get async throws {
            try await withTaskCancellationHandler {
                try await value
            } onCancel: {
                cancel()
            }
        }
    }
}

private final class Lateness: Sendable {
    private let state = Mutex(false)

    func begin() { state.withLock { $0 = true } }
    var hasBegun: Bool { state.withLock { $0 } }
}
