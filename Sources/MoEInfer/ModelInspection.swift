// SPDX-License-Identifier: Apache-2.0

import MoEModel
import MoETensors

/// What is in a model file, without running it.
public struct ModelInspection: Sendable, Encodable {
    public struct Router: Sendable, Encodable {
        public let experts: Int
        public let expertsPerToken: Int
        public let intermediateSize: Int
        public let sharedIntermediateSize: Int
        public let score: String
        public let renormalizes: Bool

        enum CodingKeys: String, CodingKey {
            case experts
            case expertsPerToken = "experts_per_token"
            case intermediateSize = "intermediate_size"
            case sharedIntermediateSize = "shared_intermediate_size"
            case score, renormalizes
        }
    }

    /// Weights that one generated token reads, at this many experts.
    public struct TokenBytes: Sendable, Encodable {
        public let experts: Int
        public let bytes: Int
    }

    public struct Metadatum: Sendable, Encodable {
        public let key: String
        public let value: String
    }

    public struct TypeCount: Sendable, Encodable {
        public let type: String
        public let tensors: Int
        public let bytes: Int
    }

    public struct Tensor: Sendable, Encodable {
        public let name: String
        public let type: String
        /// Outermost first.
        public let shape: [Int]
        public let bytes: Int
    }

    public let source: String
    public let architecture: String
    public let layers: Int
    public let hiddenSize: Int
    public let vocabularySize: Int
    public let contextLength: Int
    public let router: Router?
    /// The routing profile that the file carries; nil when it carries none.
    public let profile: ProfileSummary?
    /// Why the profile cannot be used.
    public let profileProblem: String?
    public let parametersTotal: Int
    /// At the model's own k; the embedding counts once, as one row is read.
    public let parametersActive: Int
    public let bytesTotal: Int
    public let bytesPerToken: [TokenBytes]
    public let metadata: [Metadatum]
    public let types: [TypeCount]
    public let tensors: [Tensor]

    enum CodingKeys: String, CodingKey {
        case source, architecture, layers
        case hiddenSize = "hidden_size"
        case vocabularySize = "vocabulary_size"
        case contextLength = "context_length"
        case router, profile
        case profileProblem = "profile_problem"
        case parametersTotal = "parameters_total"
        case parametersActive = "parameters_active"
        case bytesTotal = "bytes_total"
        case bytesPerToken = "bytes_per_token"
        case metadata, types, tensors
    }

    /// - Throws: ``ModelFileError`` when the file cannot be used.
    public static func inspect(_ source: ModelSource) throws -> ModelInspection {
        let file = try ModelFile.open(source)
        return ModelInspection(file: file, configuration: try file.configuration())
    }

    private init(file: ModelFile, configuration: ModelConfiguration) {
        let store = file.store
        let views = store.tensorNames.compactMap { store.tensor(named: $0) }
        source = store.source
        architecture = configuration.architecture
        layers = configuration.layerCount
        hiddenSize = configuration.hiddenSize
        vocabularySize = configuration.vocabularySize
        contextLength = configuration.contextLength
        router = configuration.experts.map {
            Router(
                experts: $0.count, expertsPerToken: $0.perToken, intermediateSize: $0.intermediateSize,
                sharedIntermediateSize: $0.sharedIntermediateSize, score: $0.gating.score.rawValue,
                renormalizes: $0.gating.renormalizes)
        }
        do {
            profile = try ModelProfile.embedded(in: file)?.summary
            profileProblem = nil
        } catch {
            (profile, profileProblem) = (nil, "\(error)")
        }
        parametersTotal = views.reduce(0) { $0 + $1.elementCount }
        bytesTotal = views.reduce(0) { $0 + $1.bytes.count }

        // Routed experts are read k of E at a time; of the embedding one row, unless it is the head too.
        var routed = (parameters: 0, bytes: 0)
        var idle = (parameters: 0, bytes: 0)
        for view in views {
            if file.isRoutedExpert(view.name) {
                routed.parameters += view.elementCount
                routed.bytes += view.bytes.count
            } else if file.isEmbedding(view.name), !configuration.tiedEmbeddings {
                idle.parameters += view.elementCount - configuration.hiddenSize
                idle.bytes += view.bytes.count - view.rowBytes
            }
        }
        let always = (
            parameters: parametersTotal - routed.parameters - idle.parameters,
            bytes: bytesTotal - routed.bytes - idle.bytes
        )
        if let experts = configuration.experts {
            parametersActive = always.parameters + routed.parameters / experts.count * experts.perToken
            bytesPerToken = (1...max(experts.perToken, min(8, experts.count))).map {
                TokenBytes(experts: $0, bytes: always.bytes + routed.bytes / experts.count * $0)
            }
        } else {
            parametersActive = always.parameters
            bytesPerToken = [TokenBytes(experts: 0, bytes: always.bytes)]
        }
        metadata = file.metadataSummary.map { Metadatum(key: $0.key, value: $0.value) }
        types = Dictionary(grouping: views, by: \.type.name).map { name, views in
            TypeCount(type: name, tensors: views.count, bytes: views.reduce(0) { $0 + $1.bytes.count })
        }.sorted { ($0.bytes, $0.type) > ($1.bytes, $1.type) }
        tensors = views.map {
            Tensor(name: $0.name, type: $0.type.name, shape: $0.shape.dimensions, bytes: $0.bytes.count)
        }
    }
}
