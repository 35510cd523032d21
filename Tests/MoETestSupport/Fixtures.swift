// SPDX-License-Identifier: Apache-2.0

package import Foundation

/// Where test data lies.
package enum Fixtures {
    /// The repository's root.
    package static let root = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    /// `Tests/Fixtures`, committed.
    package static let directory = root.appendingPathComponent("Tests/Fixtures")
    /// `../shared/data`, present only where this project is developed: tests that use it are disabled without it.
    package static let shared = root.deletingLastPathComponent().appendingPathComponent("shared/data")

    package static func exists(_ url: URL) -> Bool { FileManager.default.fileExists(atPath: url.path) }
}
