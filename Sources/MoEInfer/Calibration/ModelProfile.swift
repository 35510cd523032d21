// SPDX-License-Identifier: Apache-2.0

public import MoEModel
import MoETensors

/// Routing profiles inside model files: putting them in, taking them out, and what they say. A GGUF file is never changed: a
/// copy is written, with the profile as one more string of its metadata. In a Hugging Face folder the profile is a file of its
/// own.
public struct ModelProfile: Sendable {
    /// JSON, as it stands.
    public let text: [UInt8]
    public let profile: RoutingProfile
    public let summary: ProfileSummary

    private init(text: [UInt8], place: String) throws(ModelFileError) {
        self.text = text
        profile = try RoutingProfile(json: text, file: place)
        summary = ProfileSummary(profile, source: place, bytes: text.count)
    }

    // MARK: Reading

    /// - Throws: ``ModelFileError``: the file cannot be read, or is no profile of this version.
    public static func read(path: String) throws -> ModelProfile {
        try ModelProfile(text: MappedFile.contents(path: path, limit: RoutingProfile.sizeLimit), place: path)
    }

    /// The profile that a model carries.
    /// - Throws: ``ModelFileError`` or ``RequestError``: it carries none, or one that is broken or another model's.
    public static func embedded(in source: ModelSource) throws -> ModelProfile {
        let file = try ModelFile.open(source)
        guard let found = try embedded(in: file) else {
            throw RequestError("the model carries no routing profile; expected \(file.profilePlace)")
        }
        return found
    }

    /// nil when the model carries none.
    static func embedded(in file: ModelFile) throws -> ModelProfile? {
        guard let text = try file.profileText() else { return nil }
        let found = try ModelProfile(text: text, place: file.profilePlace)
        try found.check(file, name: file.profilePlace)
        return found
    }

    /// The text of the profile that a model carries, usable or not.
    /// - Throws: ``ModelFileError`` or ``RequestError``: it carries none, or no text.
    public static func embeddedText(in source: ModelSource) throws -> [UInt8] {
        let file = try ModelFile.open(source)
        guard let text = try file.profileText() else {
            throw RequestError("the model carries no routing profile; expected \(file.profilePlace)")
        }
        return text
    }

    /// - Throws: ``RequestError``: the profile is not this model's.
    private func check(_ file: ModelFile, name: String) throws {
        let problem = GateSizes(try file.configuration())
            .problem(profile.routing(mu: 0), identity: ModelIdentity(file.store))
        if let problem { throw RequestError("\(name): \(problem)") }
    }

    // MARK: Writing

    /// What was written.
    public struct Written: Sendable {
        public let path: String
        public let bytes: Int
        /// Files of the same split model that stay as they are, and belong beside what was written.
        public let unchangedShards: Int
    }

    /// This profile with another default point.
    public func withDefault(_ point: String) throws -> ModelProfile {
        guard profile.points.contains(where: { $0.name == point }) else {
            throw RequestError(
                "\(summary.source): the profile has no point '\(point)'; it has: "
                    + profile.points.map(\.name).joined(separator: ", "))
        }
        var changed = profile
        changed.defaultPoint = point
        return try ModelProfile(text: Array(changed.json.utf8), place: summary.source)
    }

    /// Puts the profile into a model, in place of one that is there.
    ///
    /// - Parameters:
    ///   - source: a GGUF file, or a Hugging Face folder.
    ///   - out: for a GGUF file where the copy goes; of a split model the copy is the first shard. nil for a folder, into which
    ///     the profile is written.
    ///   - started: receives the path of the unfinished file, so that it can be removed when the process is ended.
    ///   - progress: bytes written, and bytes in all; what it throws ends the copy, and nothing is left of it.
    /// - Throws: ``RequestError`` for another model's profile or an `out` that cannot be meant, ``ModelFileError`` for files.
    public func embed(
        in source: ModelSource, out: String?, started: (String) -> Void = { _ in },
        progress: (Int, Int) throws -> Void = { _, _ in }
    ) throws -> Written {
        let file = try ModelFile.open(source)
        try check(file, name: summary.source)
        return try Self.write(text, to: file, out: out, started: started, progress: progress)
    }

    /// Takes the profile out of a model, usable or not: a copy without it, or its file removed from a folder.
    /// Parameters and errors are those of ``embed(in:out:started:progress:)``.
    public static func strip(
        from source: ModelSource, out: String?, started: (String) -> Void = { _ in },
        progress: (Int, Int) throws -> Void = { _, _ in }
    ) throws -> Written {
        let file = try ModelFile.open(source)
        return try write(nil, to: file, out: out, started: started, progress: progress)
    }

    private static func write(
        _ text: [UInt8]?, to file: ModelFile, out: String?, started: (String) -> Void, progress: (Int, Int) throws -> Void
    ) throws -> Written {
        switch file {
        case .huggingFace(let folder):
            if let out {
                throw RequestError("\(folder.path): a folder's profile is \(file.profilePlace), not \(out)")
            }
            guard let text else {
                try OutputFile.remove(file.profilePlace)
                return Written(path: file.profilePlace, bytes: 0, unchangedShards: 0)
            }
            let output = try OutputFile(path: file.profilePlace)
            output.temporary.map(started)
            try output.write(text)
            try output.commit()
            return Written(path: file.profilePlace, bytes: text.count, unchangedShards: 0)
        case .gguf(let gguf):
            guard let out else {
                throw RequestError("\(gguf.source): a GGUF file is not changed; say where the copy goes")
            }
            if let same = gguf.paths.first(where: { MappedFile.isSame($0, out) }) {
                throw RequestError("\(out): is the model itself (\(same)); the copy must have another name")
            }
            guard gguf.fitsFirstShard(out) else {
                throw RequestError(
                    "\(out): the copy is the first of \(gguf.shardCount) shards, and its name must say so: "
                        + "NAME-00001-of-\(GGUFFile.shardNumber(gguf.shardCount)).gguf")
            }
            if text == nil, !file.carriesProfile {
                throw RequestError("the model carries no routing profile; expected \(file.profilePlace)")
            }
            let writer = GGUFWriter(gguf, setting: ModelFile.profileKey, to: text)
            let output = try OutputFile(path: out)
            output.temporary.map(started)
            try writer.write(to: output) { try progress($0, writer.byteCount) }
            try output.commit()
            return Written(path: out, bytes: writer.byteCount, unchangedShards: gguf.shardCount - 1)
        }
    }
}

/// A file that is written at once: whole, or not at all.
package enum WholeFile {
    /// - Throws: ``ModelFileError`` when it cannot be written; then nothing is left of it.
    package static func write(_ bytes: [UInt8], to path: String) throws {
        let output = try OutputFile(path: path)
        try output.write(bytes)
        try output.commit()
    }

    /// Whether ``write(_:to:)`` has a place to write to, for what is measured at length before. A pipe or a device is left alone.
    /// - Throws: ``ModelFileError`` when it has none.
    package static func check(_ path: String) throws {
        switch MappedFile.kind(path: path) {
        case nil, .file, .directory: _ = try OutputFile(path: path)
        default: break
        }
    }
}
