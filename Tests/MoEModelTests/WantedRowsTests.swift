// SPDX-License-Identifier: Apache-2.0

import MoEModel
import Testing

/// Which rows the last layer runs. What breaks silently otherwise: a row of another sequence decides, or logits of the wrong row.
@Suite struct WantedRowsTests {
    private final class Counter: RoutingObserver {
        let needsEveryToken: Bool
        init(everyToken: Bool) { needsEveryToken = everyToken }
        func observe(_ event: borrowing RoutingEvent) {}
    }

    private func batch(_ slices: [(count: Int, logits: [Int], everyToken: Bool)]) -> ForwardBatch {
        var batch = ForwardBatch()
        for (index, slice) in slices.enumerated() {
            let tokens = (0..<slice.count).map { Int32(100 * index + $0) }
            let start = batch.count
            batch.append(
                tokens: tokens.span, firstPosition: 10 * index, blockTable: [Int32(index)], phase: .prefill,
                routing: NativeRouting(), observer: Counter(everyToken: slice.everyToken), logits: 0..<0)
            batch.logitRows += slice.logits.map { Int32(start + $0) }
        }
        return batch
    }

    @Test func eachSliceKeepsWhatIsAsked() throws {
        let all = batch([(4, [3], false), (3, [], false), (1, [0], false), (4, [1, 3], false), (2, [1], true)])
        let wanted = try #require(all.wanted())
        #expect(wanted.rows == [3..<4, 7..<8, 9..<12, 12..<14])
        #expect(wanted.batch.tokens == [3, 200, 301, 302, 303, 400, 401])
        #expect(wanted.batch.positions == [3, 20, 31, 32, 33, 40, 41])
        #expect(wanted.batch.logitRows == [0, 1, 2, 4, 6])
        #expect(wanted.batch.slices.map(\.start) == [0, 1, 2, 5] && wanted.batch.slices.map(\.count) == [1, 1, 3, 2])
        #expect(wanted.batch.slices.map(\.blockTable) == [[0], [2], [3], [4]])
    }

    @Test func nothingToLeaveOut() {
        #expect(batch([(1, [0], false), (2, [0, 1], false)]).wanted() == nil)
        #expect(batch([(3, [2], true), (2, [], true)]).wanted() == nil)
        let none = batch([(3, [], false)]).wanted()
        #expect(none?.batch.count == 0 && none?.rows.isEmpty == true)
    }
}
