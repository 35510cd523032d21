// SPDX-License-Identifier: Apache-2.0

package import MoETensors

/// A routing profile that a model carries, whoever made it (calibration, or training with the gate). In GGUF: the metadata
/// entry ``ModelFile/profileKey``, a string that is the profile's JSON. In a Hugging Face folder: the file
/// ``ModelFile/profileName`` beside `config.json`.
extension ModelFile {
    /// Lower-case words, `_` and `.`, as the GGUF specification asks; programs that do not know a key leave it alone.
    package static let profileKey = "moe_infer.routing_profile"
    package static let profileName = "routing_profile.json"

    /// Where the profile is, or would be.
    package var profilePlace: String {
        switch self {
        case .gguf(let file): "\(file.source): metadata '\(Self.profileKey)'"
        case .huggingFace(let folder): folder.path + "/" + Self.profileName
        }
    }

    /// Whether there is one, usable or not.
    package var carriesProfile: Bool {
        switch self {
        case .gguf(let file): file.metadata.keys.contains(Self.profileKey)
        // A link that leads nowhere is a profile that cannot be read, not a model without one.
        case .huggingFace: !MappedFile.isAbsent(profilePlace)
        }
    }

    /// The profile's JSON as it stands; nil when the model carries none.
    /// - Throws: ``ModelFileError``: it is no text, or too long.
    package func profileText() throws(ModelFileError) -> [UInt8]? {
        guard carriesProfile else { return nil }
        switch self {
        case .gguf(let file): return try file.metadata.stringBytes(Self.profileKey, limit: RoutingProfile.sizeLimit)
        case .huggingFace: return try MappedFile.contents(path: profilePlace, limit: RoutingProfile.sizeLimit)
        }
    }

    /// nil when the model carries none.
    /// - Throws: ``ModelFileError``: what it carries is no profile of this version. Whether it is this model's is not asked.
    package func profile() throws(ModelFileError) -> RoutingProfile? {
        guard let text = try profileText() else { return nil }
        return try RoutingProfile(json: text, file: profilePlace)
    }
}
