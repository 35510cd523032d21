// SPDX-License-Identifier: Apache-2.0

/// CPUs, or NUMA nodes, by number, in the order given: `0-3,8`, as the kernel writes them.
package struct CPUList: Sendable, Equatable {
    package let numbers: [Int]

    /// Numbers are below this: the size of the kernel's fixed sets.
    private static let limit = 1024

    package init(_ numbers: [Int]) { self.numbers = numbers }

    /// - Returns: nil unless the text is a list of different numbers and ascending ranges, with white space at its ends only.
    package init?(_ text: some StringProtocol) {
        var numbers: [Int] = []
        var seen: Set<Int> = []
        var text = Substring(text).drop { $0.isWhitespace }
        while let last = text.last, last.isWhitespace { text.removeLast() }
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            let ends = part.split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false).map { Self.number($0) }
            guard let first = ends[0], let last = ends[ends.count - 1], first <= last else { return nil }
            for number in first...last {
                guard seen.insert(number).inserted else { return nil }
                numbers.append(number)
            }
        }
        self.numbers = numbers
    }

    private static func number(_ text: Substring) -> Int? {
        guard text.allSatisfy({ $0.isASCII && $0.isNumber }), text.count <= 4, let number = Int(text), number < limit
        else { return nil }
        return number
    }

    package var count: Int { numbers.count }
}

extension CPUList: CustomStringConvertible {
    /// `0-3,8`
    package var description: String {
        var parts: [String] = []
        var index = 0
        while index < numbers.count {
            var end = index
            while end + 1 < numbers.count, numbers[end + 1] == numbers[end] + 1 { end += 1 }
            parts.append(end == index ? "\(numbers[index])" : "\(numbers[index])-\(numbers[end])")
            index = end + 1
        }
        return parts.joined(separator: ",")
    }
}

/// The NUMA nodes that have memory.
package enum NUMANodes {
    /// - Parameter root: where the kernel describes them
    /// - Returns: node 0 alone where it does not.
    package static func current(root: String = "/sys/devices/system/node") -> [Int] {
        for name in ["has_memory", "online"] {
            if let text = TextFile.read("\(root)/\(name)"), let list = CPUList(text), list.count > 0 { return list.numbers }
        }
        return [0]
    }
}
