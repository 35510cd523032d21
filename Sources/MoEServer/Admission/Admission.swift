// SPDX-License-Identifier: Apache-2.0

import Synchronization

/// Lets as many answers run as the engine has places, and has the others wait in a bounded, fair queue.
package final class Admission: Sendable {
    /// A place in the queue, then in the engine. Given back by ``finish(tokens:)``, also when the wait was given up.
    package final class Place: Sendable {
        fileprivate enum State {
            case waiting(CheckedContinuation<Void, any Error>?)
            case running
            case over
        }

        fileprivate let id: Int
        fileprivate let key: String
        fileprivate let cost: Double
        fileprivate let time = ContinuousClock.now
        private let admission: Admission
        fileprivate let state = Mutex(State.waiting(nil))

        fileprivate init(id: Int, key: String, cost: Double, admission: Admission) {
            (self.id, self.key, self.cost, self.admission) = (id, key, cost, admission)
        }

        /// Returns when it is this answer's turn.
        /// - Throws: `CancellationError` when the task is cancelled first.
        package func wait() async throws {
            try await withTaskCancellationHandler {
                try await withCheckedThrowingContinuation { continuation in
                    let now: Result<Void, any Error>? = state.withLock { state in
                        switch state {
                        case .running: return .success(())
                        case .over: return .failure(CancellationError())
                        case .waiting:
                            state = .waiting(continuation)
                            return nil
                        }
                    }
                    if let now { continuation.resume(with: now) }
                }
            } onCancel: {
                finish(tokens: 0)
            }
        }

        /// - Parameter tokens: what the answer came to.
        package func finish(tokens: Int) { admission.end(self, tokens: tokens) }

        deinit { finish(tokens: 0) }

        fileprivate func start() {
            let continuation = state.withLock { state -> CheckedContinuation<Void, any Error>? in
                guard case .waiting(let continuation) = state else { return nil }
                state = .running
                return continuation
            }
            continuation?.resume()
        }
    }

    private struct State {
        var queue: FairQueue
        /// Those that wait. Held weakly: who forgets a place gives it back.
        var places: [Int: WeakPlace] = [:]
        var nextID = 0
    }

    private struct WeakPlace { weak var place: Place? }

    private let state: Mutex<State>
    private let concurrency: @Sendable (String) -> Int

    /// - Parameter concurrency: answers that a key may have at a time.
    package init(slots: Int, limit: Int, concurrency: @escaping @Sendable (String) -> Int) {
        state = Mutex(State(queue: FairQueue(slots: slots, limit: limit)))
        self.concurrency = concurrency
    }

    package var counts: (running: Int, waiting: Int) { state.withLock { ($0.queue.runningCount, $0.queue.waitingCount) } }
    /// How long the one that waits longest has waited; 0 when none does.
    package var oldestSeconds: Double {
        // Let go of after the lock: the last reference to a place gives it back.
        let places = state.withLock { $0.places.values.compactMap(\.place) }
        return places.map(\.time).min().map { (ContinuousClock.now - $0) / .seconds(1) } ?? 0
    }
    package var isFull: Bool { state.withLock { !$0.queue.hasRoom(for: 1) } }

    /// Places for all answers of a request, or none.
    /// - Throws: ``APIError`` 429 when the queue is full.
    package func enter(key: String, priority: Int, costs: [Double], retryAfter: Double) throws -> [Place] {
        let places = try state.withLock { state throws(APIError) -> [Place] in
            guard state.queue.hasRoom(for: costs.count) else {
                throw .tooMany(
                    "the server is full: \(state.queue.runningCount) answers run and \(state.queue.waitingCount) wait",
                    retryAfter: retryAfter, code: "queue_full")
            }
            return costs.map { cost in
                let place = Place(id: state.nextID, key: key, cost: cost, admission: self)
                state.nextID += 1
                state.places[place.id] = WeakPlace(place: place)
                state.queue.append(.init(id: place.id, key: key, priority: priority, cost: cost))
                return place
            }
        }
        dispatch()
        return places
    }

    private func dispatch() {
        while true {
            let place = state.withLock { state -> Place?? in
                guard let entry = state.queue.next(limit: concurrency) else { return .none }
                return .some(state.places.removeValue(forKey: entry.id)?.place)
            }
            guard let place else { return }
            place?.start()
        }
    }

    private func end(_ place: Place, tokens: Int) {
        let before = place.state.withLock { state in
            defer { state = .over }
            return state
        }
        switch before {
        case .over: return
        case .running: state.withLock { $0.queue.finish(key: place.key, extra: max(0, Double(tokens) - place.cost)) }
        case .waiting(let continuation):
            state.withLock { state in
                state.places[place.id] = nil
                // Not in the queue any more: it was just given a slot, which nobody takes.
                if !state.queue.remove(id: place.id, key: place.key) { state.queue.finish(key: place.key, extra: 0) }
            }
            continuation?.resume(throwing: CancellationError())
        }
        dispatch()
    }
}
