// SPDX-License-Identifier: Apache-2.0

import Foundation
import MoETerminal
import Testing

@Suite struct HistoryTests {
    private let folder = FileManager.default.temporaryDirectory.appendingPathComponent("moe-history-\(UUID().uuidString)")

    /// What people write to a model is nobody else's business.
    @Test func entriesComeBackFromAFileThatIsTheOwnersAlone() throws {
        defer { try? FileManager.default.removeItem(at: folder) }
        let path = folder.appendingPathComponent("a/history").path
        var problem: String?
        var history = History(path: path, problem: &problem)
        for entry in ["one", "two\nlines \\ and \\n", "two\nlines \\ and \\n", " ", "漢"] { history.add(entry) }
        #expect(problem == nil && history.entries.count == 3)
        let again = History(path: path, problem: &problem)
        #expect(again.entries == ["one", "two\nlines \\ and \\n", "漢"])
        let mode = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
        #expect(mode == 0o600)
    }

    @Test func aFileThatHasGrownIsCut() throws {
        defer { try? FileManager.default.removeItem(at: folder) }
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        let path = folder.appendingPathComponent("history").path
        try (1...50).map { "entry \($0)\n" }.joined().write(toFile: path, atomically: false, encoding: .utf8)
        var problem: String?
        let history = History(path: path, limit: 10, problem: &problem)
        #expect(history.entries.first == "entry 41" && history.entries.count == 10)
        #expect(try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n").count == 10)
    }

    @Test func aFileThatCannotBeUsedIsToldOf() throws {
        var problem: String?
        let history = History(path: "/dev/null", problem: &problem)
        #expect(problem == "/dev/null: not a file" && history.entries.isEmpty)
    }

    @Test func searchGoesFromNewToOld() {
        let entries = ["make one", "other", "make two"]
        var search = HistorySearch(before: EditBuffer())
        search.extend(by: "make")
        search.find(in: entries)
        #expect(search.found == 2)
        search.searchOlder()
        search.find(in: entries)
        #expect(search.found == 0)
        search.searchOlder()
        search.find(in: entries)
        #expect(search.found == 0)
    }
}
