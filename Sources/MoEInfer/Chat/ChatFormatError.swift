// SPDX-License-Identifier: Apache-2.0

/// A conversation that cannot become a prompt, in one line.
public struct ChatFormatError: Error, Equatable, Sendable, CustomStringConvertible {
    public enum Kind: Sendable {
        /// The model's files have no template: it has not learned to converse.
        case noTemplate
        /// The template cannot be read.
        case badTemplate
        /// The template, or the format, refuses this conversation.
        case refused
    }

    public let kind: Kind
    public let description: String

    init(_ kind: Kind, _ description: String) { (self.kind, self.description) = (kind, description) }
}
