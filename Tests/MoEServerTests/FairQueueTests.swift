// SPDX-License-Identifier: Apache-2.0

import MoEServer
import Testing

@Suite struct FairQueueTests {
    private func order(_ queue: inout FairQueue, limit: (String) -> Int = { _ in .max }) -> [Int] {
        var order: [Int] = []
        while let entry = queue.next(limit: limit) {
            order.append(entry.id)
            queue.finish(key: entry.key, extra: 0)
        }
        return order
    }

    private func entry(_ id: Int, _ key: String, priority: Int = 0, cost: Double = 100) -> FairQueue.Entry {
        FairQueue.Entry(id: id, key: key, priority: priority, cost: cost)
    }

    @Test func aKeyWithManyRequestsDoesNotHoldUpAnother() {
        var queue = FairQueue(slots: 1, limit: 100)
        for id in 0..<3 { queue.append(entry(id, "a")) }
        let first = queue.next { _ in .max }
        #expect(first?.id == 0)
        queue.append(entry(3, "b"))
        queue.finish(key: "a", extra: 0)
        #expect(order(&queue) == [3, 1, 2])
    }

    @Test func sharesAreByCost() {
        var queue = FairQueue(slots: 1, limit: 100)
        for id in 0..<4 { queue.append(entry(id, "short", cost: 10)) }
        for id in 10..<12 { queue.append(entry(id, "long", cost: 40)) }
        let order = order(&queue)
        // One of 40 against four of 10.
        #expect(order.firstIndex(of: 11)! > order.firstIndex(of: 3)!)
    }

    @Test func priorityCountsWithinAKeyOnly() {
        var queue = FairQueue(slots: 1, limit: 100)
        queue.append(entry(0, "a"))
        queue.append(entry(1, "a", priority: 5))
        queue.append(entry(2, "b", priority: 100))
        #expect(order(&queue) == [1, 2, 0])
    }

    @Test func anIdleKeyDoesNotSaveUp() {
        var queue = FairQueue(slots: 1, limit: 100)
        for id in 0..<10 { queue.append(entry(id, "busy")) }
        for _ in 0..<5 {
            _ = queue.next { _ in .max }
            queue.finish(key: "busy", extra: 0)
        }
        for id in 20..<24 { queue.append(entry(id, "late")) }
        let order = order(&queue)
        // In turns from here on, not all of the late one's first.
        #expect(order.prefix(4).filter { $0 >= 20 }.count <= 3)
        #expect(order.prefix(4).contains { $0 < 20 })
    }

    @Test func placesAreBounded() {
        var queue = FairQueue(slots: 2, limit: 3)
        #expect(queue.hasRoom(for: 5))
        #expect(!queue.hasRoom(for: 6))
        for id in 0..<5 { queue.append(entry(id, "a")) }
        _ = queue.next { _ in .max }
        _ = queue.next { _ in .max }
        let none = queue.next { _ in .max }
        #expect(none?.id == nil)
        #expect(!queue.hasRoom(for: 1))
        let (first, second) = (queue.remove(id: 4, key: "a"), queue.remove(id: 4, key: "a"))
        #expect(first && !second)
        #expect(queue.hasRoom(for: 1))
    }

    @Test func aKeysLimitLetsOthersPass() {
        var queue = FairQueue(slots: 4, limit: 10)
        for id in 0..<3 { queue.append(entry(id, "a")) }
        queue.append(entry(3, "b"))
        var started: [Int] = []
        while let entry = queue.next(limit: { $0 == "a" ? 1 : .max }) { started.append(entry.id) }
        #expect(started.sorted() == [0, 3])
    }
}

@Suite struct AdmissionTests {
    @Test func waitsForAPlaceAndGivesItBack() async throws {
        let admission = Admission(slots: 1, limit: 10) { _ in .max }
        let first = try admission.enter(key: "a", priority: 0, costs: [1], retryAfter: 1)[0]
        try await first.wait()
        let second = try admission.enter(key: "a", priority: 0, costs: [1], retryAfter: 1)[0]
        let task = Task { try await second.wait() }
        await Task.yield()
        #expect(admission.counts == (1, 1))
        first.finish(tokens: 10)
        try await task.value
        #expect(admission.counts == (1, 0))
        second.finish(tokens: 0)
        #expect(admission.counts == (0, 0))
    }

    @Test func refusesWhatDoesNotFit() throws {
        let admission = Admission(slots: 1, limit: 1) { _ in .max }
        let places = try admission.enter(key: "a", priority: 0, costs: [1, 1], retryAfter: 3)
        #expect(throws: APIError.self) { try admission.enter(key: "b", priority: 0, costs: [1], retryAfter: 3) }
        withExtendedLifetime(places) {}
    }

    /// Cancelled at every moment, a thousand times, from many tasks: no place is lost.
    @Test func cancellationsLoseNoPlace() async throws {
        let admission = Admission(slots: 3, limit: 10_000) { _ in .max }
        await withTaskGroup(of: Void.self) { group in
            for index in 0..<1000 {
                group.addTask {
                    guard let place = try? admission.enter(key: "\(index % 7)", priority: 0, costs: [1], retryAfter: 1)[0]
                    else { return }
                    let task = Task { try await place.wait() }
                    if index % 3 == 0 { task.cancel() }
                    if index % 5 == 0 { await Task.yield() }
                    _ = await task.result
                    if index % 2 == 0 { place.finish(tokens: index) }
                }
            }
        }
        #expect(admission.counts == (0, 0))
    }
}
