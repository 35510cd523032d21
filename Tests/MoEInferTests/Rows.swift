// SPDX-License-Identifier: Apache-2.0

/// Rows of logits as they come. Used by one task at a time.
final class Rows: @unchecked Sendable {
    private(set) var values: [[Float]] = []
    func append(_ row: UnsafeBufferPointer<Float>) { values.append(Array(row)) }
}
