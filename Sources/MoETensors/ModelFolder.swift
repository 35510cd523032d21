// SPDX-License-Identifier: Apache-2.0

/// A folder as Hugging Face publishes models: `config.json`, safetensors, and the tokenizer's files. Immutable; opening reads
/// the tables of the weights and no weight.
package final class ModelFolder: Sendable {
    /// Without a trailing slash.
    package let path: String
    package let weights: any WeightStore

    /// The most bytes that a configuration or tokenizer file may have.
    private static let dataLimit = 256 << 20
    /// Less for what becomes a tree of values, which takes several times the text's size.
    private static let objectLimit = 64 << 20

    /// Whether `path` is a folder; one without a `config.json` is, too, and fails to open with a message that says so.
    package static func isFolder(_ path: String) -> Bool { MappedFile.kind(path: path) == .directory }

    package init(path: String) throws(ModelFileError) {
        self.path = path.count > 1 && path.hasSuffix("/") ? String(path.dropLast()) : path
        guard ModelFolder.isFolder(path) else {
            throw ModelFileError(
                file: path, problem: "cannot open", expected: "a folder",
                found: MappedFile.kind(path: path)?.rawValue ?? "nothing")
        }
        guard ModelFolder.exists("config.json", in: self.path) else {
            throw ModelFileError(
                file: self.path, problem: "not a Hugging Face model folder (for GGUF give the file itself)",
                expected: "a config.json in it", found: "none")
        }
        weights = try ModelFolder.openWeights(self.path)
    }

    private static func openWeights(_ folder: String) throws(ModelFileError) -> any WeightStore {
        if exists("model.safetensors", in: folder) { return try SafetensorsFile(path: folder + "/model.safetensors") }
        let index = "model.safetensors.index.json"
        if exists(index, in: folder) { return try ShardedSafetensors(index: folder + "/" + index) }
        let pickled = ["pytorch_model.bin", "pytorch_model.bin.index.json"].first { exists($0, in: folder) }
        throw ModelFileError(
            file: folder, problem: "no weights", expected: "model.safetensors or \(index)",
            found: pickled.map { "only \($0): convert it to safetensors" } ?? "neither")
    }

    private static func exists(_ file: String, in folder: String) -> Bool {
        MappedFile.kind(path: folder + "/" + file) != nil
    }

    /// A JSON file of the folder, at most 64 MiB; nil when it is not there.
    package func object(_ file: String) throws(ModelFileError) -> JSONObject? {
        guard let bytes = try content(file, limit: ModelFolder.objectLimit) else { return nil }
        return try JSONObject(bytes, file: path + "/" + file)
    }

    /// A JSON file of the folder that must be there.
    package func requiredObject(_ file: String) throws(ModelFileError) -> JSONObject {
        guard let object = try object(file) else { throw ModelFileError(file: path + "/" + file, problem: "missing file") }
        return object
    }

    /// A file's content, at most 256 MiB; nil when it is not there.
    package func data(_ file: String) throws(ModelFileError) -> [UInt8]? {
        try content(file, limit: ModelFolder.dataLimit)
    }

    private func content(_ file: String, limit: Int) throws(ModelFileError) -> [UInt8]? {
        guard ModelFolder.exists(file, in: path) else { return nil }
        return try MappedFile.contents(path: path + "/" + file, limit: limit)
    }
}
