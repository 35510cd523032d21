// SPDX-License-Identifier: Apache-2.0

import Foundation
import MoEInfer

/// A text as `--text` names it: `FILE`, or `NAME=FILE`.
enum TextDomain {
    /// - Parameter maximumBytes: reads no more, up to a whole character.
    static func read(_ argument: String, maximumBytes: Int = .max) throws -> (domain: String, text: String) {
        let parts = argument.split(separator: "=", maxSplits: 1).map(String.init)
        let isPair = parts.count == 2 && !FileManager.default.fileExists(atPath: argument)
        let path = isPair ? parts[1] : argument
        let whole = try PromptInput.read(argument: nil, file: path)
        let name = isPair ? parts[0] : URL(fileURLWithPath: path).lastPathComponent
        if whole.utf8.count <= maximumBytes { return (name, whole) }
        return (name, String(whole.utf8.prefix(maximumBytes)) ?? String(whole.unicodeScalars.prefix(maximumBytes / 4)))
    }
}

/// A result that goes to a file: written beside its place and renamed, so a reader never sees half of it. A device is written
/// through, never replaced.
enum OutputFile {
    static func write(_ text: String, to path: String) throws { try WholeFile.write(Array(text.utf8), to: path) }

    /// Says before a long measurement what would be said after it.
    static func check(_ path: String?) throws {
        if let path { try WholeFile.check(path) }
    }
}
