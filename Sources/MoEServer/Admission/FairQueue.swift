// SPDX-License-Identifier: Apache-2.0

/// Who is next: fair between keys, first come first served within one. A pure state machine.
///
/// Start-time fair queueing (Goyal, Vin and Cheng 1996): every key has a virtual time that grows with what its requests cost; the
/// waiting key that is furthest behind goes first. A key that was idle starts at the present, so it cannot save up.
///
/// ```
/// a: 3 requests of 100 tokens waiting, b: comes later with 1 of 100
/// order: a, b, a, a
/// ```
package struct FairQueue {
    package struct Entry {
        package let id: Int
        package let key: String
        /// Higher goes first among the requests of the same key.
        package let priority: Int
        /// Tokens, as far as they are known when it comes.
        package let cost: Double

        package init(id: Int, key: String, priority: Int, cost: Double) {
            (self.id, self.key, self.priority, self.cost) = (id, key, priority, cost)
        }
    }

    private struct Line {
        var entries: [Entry] = []
        var time = 0.0
        var running = 0
    }

    /// Answers at a time.
    package let slots: Int
    /// Answers that wait.
    package let limit: Int
    private var lines: [String: Line] = [:]
    /// Of the request that was started last.
    private var present = 0.0
    package private(set) var runningCount = 0
    package private(set) var waitingCount = 0

    package init(slots: Int, limit: Int) { (self.slots, self.limit) = (slots, limit) }

    /// Whether so many more would find a place. Those that could start at once need none in the queue.
    package func hasRoom(for count: Int) -> Bool {
        waitingCount + count <= limit + max(0, slots - runningCount)
    }

    package mutating func append(_ entry: Entry) {
        var line = lines[entry.key] ?? Line()
        if line.entries.isEmpty, line.running == 0 { line.time = max(line.time, present) }
        let index = line.entries.firstIndex { $0.priority < entry.priority } ?? line.entries.endIndex
        line.entries.insert(entry, at: index)
        lines[entry.key] = line
        waitingCount += 1
    }

    /// The next to start, if there is a slot.
    /// - Parameter limit: how many of a key may run at a time.
    package mutating func next(limit: (String) -> Int) -> Entry? {
        guard runningCount < slots else { return nil }
        let ready = lines.filter { !$0.value.entries.isEmpty && $0.value.running < limit($0.key) }
        guard let key = ready.min(by: { ($0.value.time, $0.key) < ($1.value.time, $1.key) })?.key, var line = lines[key]
        else { return nil }
        let entry = line.entries.removeFirst()
        present = max(present, line.time)
        line.time += entry.cost
        line.running += 1
        lines[key] = line
        runningCount += 1
        waitingCount -= 1
        return entry
    }

    /// A request that runs has ended.
    /// - Parameter extra: what it cost beyond what was known.
    package mutating func finish(key: String, extra: Double) {
        guard var line = lines[key], line.running > 0 else { return }
        line.running -= 1
        line.time += extra
        runningCount -= 1
        // A key that is not ahead of the present is as good as new.
        lines[key] = line.running == 0 && line.entries.isEmpty && line.time <= present ? nil : line
        if lines.count > 4096 { forgetIdle() }
    }

    /// A request that waits is not wanted any more.
    package mutating func remove(id: Int, key: String) -> Bool {
        guard let index = lines[key]?.entries.firstIndex(where: { $0.id == id }) else { return false }
        lines[key]?.entries.remove(at: index)
        waitingCount -= 1
        return true
    }

    private mutating func forgetIdle() {
        lines = lines.filter { $0.value.running > 0 || !$0.value.entries.isEmpty }
    }
}
