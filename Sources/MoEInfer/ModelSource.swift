// SPDX-License-Identifier: Apache-2.0

package import MoEModel
import MoETensors

/// Where a model comes from.
public enum ModelSource: @unchecked Sendable {
    /// A GGUF file (any of its shards), or a Hugging Face folder.
    case path(String)
    /// A GGUF file in memory that stays valid for the life of the process: an embedded model.
    case bytes(UnsafeRawBufferPointer, name: String)
}

extension ModelFile {
    /// - Throws: ``ModelFileError``
    package static func open(_ source: ModelSource) throws -> ModelFile {
        switch source {
        case .path(let path): try open(path: path)
        case .bytes(let bytes, let name): .gguf(try GGUFFile(bytes: bytes, name: name))
        }
    }
}

/// A request that cannot be meant: wrong before any work was done. The command line answers with exit code 64.
public protocol UsageError: Error {}

extension RoutingSpecificationError: UsageError {}

/// A request that this model or engine cannot serve, in one line.
public struct RequestError: Error, Equatable, Sendable, CustomStringConvertible {
    public let description: String

    public init(_ description: String) { self.description = description }
}
