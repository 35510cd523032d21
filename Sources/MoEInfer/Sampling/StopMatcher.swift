// SPDX-License-Identifier: Apache-2.0

/// Finds the first stop text in a stream of text, and never lets out the beginning of one.
package struct StopMatcher {
    private let stops: [[UInt8]]
    /// Text that may be the beginning of a stop text.
    private var held: [UInt8] = []
    /// The stop text that was found.
    package private(set) var found: String?

    package init(_ stops: [String]) { self.stops = stops.map { Array($0.utf8) } }

    /// - Returns: the text that is safe to show, and whether a stop text was found right behind it.
    package mutating func append(_ text: String) -> (text: String, stopped: Bool) {
        if stops.isEmpty { return (text, false) }
        held.append(contentsOf: text.utf8)
        let places = stops.compactMap { stop in held.firstRange(of: stop).map { (start: $0.lowerBound, stop: stop) } }
        if let (end, stop) = places.min(by: { $0.start < $1.start }) {
            found = String(decoding: stop, as: UTF8.self)
            let safe = String(decoding: held[..<end], as: UTF8.self)
            held = []
            return (safe, true)
        }
        let safe = held.count - longestPrefixAtEnd
        defer { held.removeFirst(safe) }
        return (String(decoding: held[..<safe], as: UTF8.self), false)
    }

    /// What was held back, when no more text comes.
    package mutating func finish() -> String {
        defer { held = [] }
        return String(decoding: held, as: UTF8.self)
    }

    /// How many of the last bytes are the beginning of some stop text. A stop text begins at a character's first byte, so the
    /// text before it is whole.
    private var longestPrefixAtEnd: Int {
        stops.map { stop in
            (0...min(stop.count - 1, held.count)).last { held.suffix($0).elementsEqual(stop.prefix($0)) } ?? 0
        }.max() ?? 0
    }
}
