// SPDX-License-Identifier: Apache-2.0

/// Merges neighbouring symbols, best pair first, the leftmost of equals first, until no pair can be merged.
///
/// That is byte-pair encoding when the priority is the rank of a merge, and SentencePiece's variant of it when the priority is
/// the score of the piece that results. Few symbols are scanned for their best pair each time; many go through a heap, so that
/// a text of n symbols costs n log n.
struct PairMerger {
    /// What a pair merges into; lower priorities go first.
    typealias Merge = (priority: UInt32, symbol: Int32)

    /// The symbols, and where each starts in the text: before `merge` those appended, afterwards those that are left.
    private(set) var symbols: [Int32] = []
    private(set) var starts: [Int] = []

    private var priorities: [UInt32] = []
    private var results: [Int32] = []
    private var next: [Int] = []
    private var previous: [Int] = []
    private var heap: [Candidate] = []

    private static let none = UInt32.max
    private static let scanLimit = 32

    mutating func removeAll() {
        symbols.removeAll(keepingCapacity: true)
        starts.removeAll(keepingCapacity: true)
    }

    mutating func append(_ symbol: Int32, start: Int) {
        symbols.append(symbol)
        starts.append(start)
    }

    /// - Parameters:
    ///   - end: where the last symbol ends in the text.
    ///   - pair: what (left symbol, right symbol) merge into, given also where the left starts and the right ends; nil: nothing.
    @inline(__always)
    mutating func merge(end: Int, _ pair: (_ left: Int32, _ right: Int32, _ start: Int, _ end: Int) -> Merge?) {
        guard symbols.count > 1 else { return }
        if symbols.count <= Self.scanLimit {
            mergeByScanning(end: end, pair)
        } else {
            mergeByHeap(end: end, pair)
        }
    }

    /// A symbol, and what the pair that starts with it merges into.
    private struct Item {
        var symbol: Int32
        var result: Int32
        var priority: UInt32
        var start: Int32
    }

    @inline(__always)
    private mutating func mergeByScanning(end: Int, _ pair: (Int32, Int32, Int, Int) -> Merge?) {
        let left = withUnsafeTemporaryAllocation(of: Item.self, capacity: Self.scanLimit) { items in
            var count = symbols.count
            for i in 0..<count {
                items[i] = Item(
                    symbol: symbols[i], result: 0, priority: Self.none, start: Int32(truncatingIfNeeded: starts[i]))
            }
            /// Looks up the pair of the symbols `i` and `i + 1`.
            @inline(__always)
            func look(_ i: Int) {
                let pairEnd = i + 2 < count ? Int(items[i + 2].start) : end
                if let found = pair(items[i].symbol, items[i + 1].symbol, Int(items[i].start), pairEnd) {
                    items[i].priority = found.priority
                    items[i].result = found.symbol
                } else {
                    items[i].priority = Self.none
                }
            }
            for i in 0..<count - 1 { look(i) }
            while count > 1 {
                var best = 0
                var lowest = items[0].priority
                for i in 1..<max(count - 1, 1) where items[i].priority < lowest {
                    best = i
                    lowest = items[i].priority
                }
                guard lowest != Self.none else { break }
                items[best].symbol = items[best].result
                // The right half of the pair goes, with the pair that started at it.
                for i in best + 1..<max(count - 1, best + 1) { items[i] = items[i + 1] }
                count -= 1
                items[count - 1].priority = Self.none
                if best > 0 { look(best - 1) }
                if best + 1 < count { look(best) }
            }
            for i in 0..<count {
                symbols[i] = items[i].symbol
                starts[i] = Int(items[i].start)
            }
            return count
        }
        symbols.removeLast(symbols.count - left)
        starts.removeLast(starts.count - left)
    }

    @inline(__always)
    private mutating func mergeByHeap(end: Int, _ pair: (Int32, Int32, Int, Int) -> Merge?) {
        let count = symbols.count
        priorities = [UInt32](repeating: Self.none, count: count)
        results = [Int32](repeating: 0, count: count)
        next = Array(1...count)
        previous = Array(-1..<count - 1)
        heap.removeAll(keepingCapacity: true)
        for i in 0..<count - 1 { consider(i, end: end, pair) }

        while let candidate = popCandidate() {
            let left = candidate.position
            // Outdated when the pair at this place is another one by now, or its left half was merged away.
            guard priorities[left] == candidate.priority else { continue }
            let right = next[left]
            symbols[left] = results[left]
            next[left] = next[right]
            if next[right] < count { previous[next[right]] = left }
            priorities[right] = Self.none
            priorities[left] = Self.none
            if previous[left] >= 0 { consider(previous[left], end: end, pair) }
            if next[left] < count { consider(left, end: end, pair) }
        }

        var kept = 0
        var i = 0
        while i < count {
            symbols[kept] = symbols[i]
            starts[kept] = starts[i]
            kept += 1
            i = next[i]
        }
        symbols.removeLast(count - kept)
        starts.removeLast(count - kept)
    }

    /// Looks up the pair that starts at `left` and queues it.
    @inline(__always)
    private mutating func consider(_ left: Int, end: Int, _ pair: (Int32, Int32, Int, Int) -> Merge?) {
        let right = next[left]
        let rightEnd = next[right] < symbols.count ? starts[next[right]] : end
        guard let found = pair(symbols[left], symbols[right], starts[left], rightEnd), found.priority != Self.none else {
            priorities[left] = Self.none
            return
        }
        priorities[left] = found.priority
        results[left] = found.symbol
        push(Candidate(priority: found.priority, position: left))
    }

    // MARK: Heap

    private struct Candidate {
        let priority: UInt32
        let position: Int

        @inline(__always)
        func precedes(_ other: Candidate) -> Bool {
            priority < other.priority || (priority == other.priority && position < other.position)
        }
    }

    private mutating func push(_ candidate: Candidate) {
        heap.append(candidate)
        var child = heap.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard candidate.precedes(heap[parent]) else { break }
            heap[child] = heap[parent]
            child = parent
        }
        heap[child] = candidate
    }

    private mutating func popCandidate() -> Candidate? {
        guard let top = heap.first, let last = heap.popLast() else { return nil }
        guard !heap.isEmpty else { return top }
        var parent = 0
        while true {
            var child = 2 * parent + 1
            guard child < heap.count else { break }
            if child + 1 < heap.count, heap[child + 1].precedes(heap[child]) { child += 1 }
            guard heap[child].precedes(last) else { break }
            heap[parent] = heap[child]
            parent = child
        }
        heap[parent] = last
        return top
    }
}
