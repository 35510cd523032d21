// SPDX-License-Identifier: Apache-2.0

package import MoETensors

/// A file with a model in it: one GGUF file (or its shards), or a Hugging Face folder. Opening maps it and checks its tables;
/// no weight is touched.
package enum ModelFile: Sendable {
    case gguf(GGUFFile)
    case huggingFace(ModelFolder)

    /// - Parameter path: a file, or a folder with a `config.json`.
    package static func open(path: String) throws -> ModelFile {
        if ModelFolder.isFolder(path) { return .huggingFace(try ModelFolder(path: path)) }
        return .gguf(try GGUFFile(path: path))
    }

    package var store: any WeightStore {
        switch self {
        case .gguf(let file): file
        case .huggingFace(let folder): folder.weights
        }
    }

    package func configuration() throws -> ModelConfiguration {
        switch self {
        case .gguf(let file): try GGUFConfiguration(file).configuration()
        case .huggingFace(let folder):
            try HuggingFaceConfiguration(json: folder.requiredObject("config.json"), file: folder.path + "/config.json")
                .configuration()
        }
    }

    private var naming: TensorNaming {
        switch self {
        case .gguf: .gguf
        // By the names, not the architecture: transformers 5 keeps Mixtral's experts under `mlp` in memory, and may save them so.
        case .huggingFace: .huggingFace(mixtral: store.tensorNames.contains { $0.contains(".block_sparse_moe.") })
        }
    }

    package func isRoutedExpert(_ name: String) -> Bool {
        name.contains("_exps.") || name.contains(".experts.")
            || name.split(separator: ".").count == 5 && name.hasPrefix("blk.")
    }

    package func isEmbedding(_ name: String) -> Bool {
        name == "token_embd.weight" || name == "model.embed_tokens.weight"
    }

    /// Puts the model together. Shapes are checked; weights stay in the file.
    /// - Parameters:
    ///   - contextLength: positions to prepare for, at most the model's own; nil: those.
    ///   - weights: the same tensors from elsewhere; nil: from the file.
    /// - Throws: ``ModelFileError`` or ``ResourceError``.
    package func model(contextLength: Int? = nil, weights: (any WeightStore)? = nil) throws -> any LanguageModel {
        let store = weights ?? store
        var configuration = try configuration()
        if let contextLength { configuration.contextLength = min(contextLength, configuration.contextLength) }
        let builder = try LayerBuilder(store: store, naming: naming, configuration: configuration)
        let architecture = ModelRegistry.architectures[configuration.architecture]!
        let (vocabulary, d) = (configuration.vocabularySize, configuration.hiddenSize)
        let embedding = try builder.linear(.embedding, n: vocabulary, k: d)
        let model = Transformer(
            configuration: configuration, store: store, embedding: embedding.weights,
            layers: try (0..<configuration.layerCount).map { try architecture.layer($0, from: builder) },
            outputNorm: try builder.norm(.outputNorm),
            head: configuration.tiedEmbeddings ? embedding : try builder.linear(.head, n: vocabulary, k: d))
        try builder.checkAllUsed { name in
            // Given by the configuration, or a copy of the embedding.
            name == "rope_freqs.weight" || name.hasSuffix("rotary_emb.inv_freq") || name.hasSuffix(".attn_rot_embd.weight")
                || (configuration.tiedEmbeddings && name == "lm_head.weight")
        }
        return model
    }
}

extension ModelFile {
    /// What `inspect` shows beside the tensors: the file's own settings, long values shortened.
    package var metadataSummary: [(key: String, value: String)] {
        switch self {
        case .gguf(let file): return file.metadata.summary
        case .huggingFace(let folder):
            guard let json = try? folder.requiredObject("config.json") else { return [] }
            return json.keys.map { ($0, json.value($0).map(Self.text) ?? "null") }
        }
    }

    private static func text(_ value: JSONValue) -> String {
        switch value {
        case .object(let object): "{" + object.keys.joined(separator: ", ") + "}"
        case .array(let values):
            "[" + values.prefix(8).map(text).joined(separator: ", ") + (values.count > 8 ? ", …]" : "]")
        case .string(let string): string
        case .integer(let number): "\(number)"
        case .double(let number): "\(number)"
        case .bool(let flag): "\(flag)"
        case .null: "null"
        }
    }
}
