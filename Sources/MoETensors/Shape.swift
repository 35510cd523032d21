// SPDX-License-Identifier: Apache-2.0

/// The extents of a tensor, outermost first (row-major, as numpy and safetensors write them; GGUF files list the reverse).
package struct Shape: Equatable, Sendable, CustomStringConvertible, ExpressibleByArrayLiteral {
    package let dimensions: [Int]

    package init(_ dimensions: [Int]) { self.dimensions = dimensions }
    package init(arrayLiteral elements: Int...) { self.dimensions = elements }

    package var rank: Int { dimensions.count }
    package subscript(axis: Int) -> Int { dimensions[axis] }

    /// The innermost extent: the contiguous one. 1 for a scalar.
    package var columns: Int { dimensions.last ?? 1 }

    /// The product of all extents, or nil when it overflows or an extent is negative.
    package var checkedElementCount: Int? {
        var count = 1
        for extent in dimensions {
            guard extent >= 0 else { return nil }
            let (product, overflow) = count.multipliedReportingOverflow(by: extent)
            if overflow { return nil }
            count = product
        }
        return count
    }

    package var description: String { "[" + dimensions.map(String.init).joined(separator: ", ") + "]" }
}
