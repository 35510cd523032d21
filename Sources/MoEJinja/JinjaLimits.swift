// SPDX-License-Identifier: Apache-2.0

/// What one rendering may use, so that a hostile template can neither hang nor exhaust memory. A template that goes beyond is
/// an error that says so.
public struct JinjaLimits: Sendable, Equatable {
    /// Units of work: about one per expression that is evaluated and per 32 bytes that are read or written. 50 million are a few
    /// seconds; a long conversation takes some 100,000.
    public var steps = 50_000_000
    /// Bytes of text written, what is captured included.
    public var outputSize = 64 << 20
    /// Bytes of the values that are alive at one time, beyond those that the template was given.
    public var liveSize = 256 << 20
    /// Bytes of stack for nested expressions, statements and calls of macros.
    public var stackSize = 384 << 10
    /// Levels of lists in lists, dictionaries and other values.
    public var valueDepth = 200
    /// Levels of expressions and statements in the source.
    public var sourceDepth = 100
    /// Bytes of the source.
    public var sourceSize = 4 << 20

    public init() {}
}
