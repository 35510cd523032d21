// SPDX-License-Identifier: Apache-2.0

/// Ctrl-R: the newest entry that holds a text, and the ones before it.
package struct HistorySearch {
    package let before: EditBuffer
    package private(set) var query = ""
    package private(set) var found: Int?
    private var limit = Int.max

    package init(before: EditBuffer) { self.before = before }

    package mutating func extend(by text: String) {
        query += text
        limit = found.map { $0 + 1 } ?? limit
    }

    package mutating func shorten() {
        query = String(query.dropLast())
        limit = .max
    }

    package mutating func searchOlder() { limit = found ?? limit }

    package mutating func find(in entries: [String]) {
        guard !query.isEmpty else { return }
        found = entries.prefix(limit).lastIndex { $0.contains(query) } ?? found
    }
}
