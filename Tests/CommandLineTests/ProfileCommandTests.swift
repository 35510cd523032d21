// SPDX-License-Identifier: Apache-2.0

import Foundation
import MoETestSupport
import Testing

/// `moe-infer profile` and what a model with a profile does, through the built program.
@Suite struct ProfileCommandTests {
    private static let model = Fixtures.root.appendingPathComponent("CSources/CMoEDemoModel/demo.gguf").path

    private static func run(_ arguments: [String]) async throws -> CommandLineTests.Outcome {
        try await CommandLineTests.run(arguments)
    }

    /// A folder with `P.json`, a profile for the embedded model, whose hash the refusal of another one tells.
    private static func prepared() async throws -> URL {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("moe-cli-profile-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        let profile = folder.appendingPathComponent("P.json")
        try Data(RoutingProfiles.text(model: "sha256:other").utf8).write(to: profile)
        let refused = try await run(["profile", "embed", "--profile", profile.path, "--out", folder.path + "/M.gguf"])
        #expect(refused.code == 1 && refused.output.isEmpty && refused.errorLines.count == 1)
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == ["P.json"])
        let hash = try #require(refused.error.split(separator: "but this is ").last).trimmingCharacters(in: .newlines)
        #expect(hash.hasPrefix("sha256:") && hash.count == 71, "\(refused.error)")
        try Data(RoutingProfiles.text(model: hash).utf8).write(to: profile)
        return folder
    }

    private static func meanExperts(_ model: String, _ routing: [String]) async throws -> Double? {
        let result = try await run(["generate", "The city", "-n", "4", "--json", "--model", model] + routing)
        #expect(result.code == 0, "\(result.error)")
        let usage = try result.object()["usage"] as? [String: Any]
        return (usage?["moe"] as? [String: Any])?["mean_experts"] as? Double
    }

    @Test func embedShowExtractStrip() async throws {
        let folder = try await Self.prepared()
        defer { try? FileManager.default.removeItem(at: folder) }
        let (profile, copy) = (folder.path + "/P.json", folder.path + "/M.gguf")
        let plain = folder.path + "/plain.gguf"
        #expect(try await Self.run(["profile", "strip", "--out", plain]).code == 0)
        // The embedded model and its file give the same copy.
        let embedded = try await Self.run(["profile", "embed", "--profile", profile, "--out", copy])
        #expect(embedded.code == 0 && embedded.output.isEmpty && embedded.error.contains("'parity'"), "\(embedded.error)")
        let again = folder.path + "/again.gguf"
        #expect(
            try await Self.run(["profile", "embed", "--model", Self.model, "--profile", profile, "--out", again]).code == 0)
        let content = try Data(contentsOf: URL(fileURLWithPath: copy))
        #expect(try Data(contentsOf: URL(fileURLWithPath: again)) == content)

        // Native routing is the profile's; the dial changes what is computed.
        for (routing, expected) in [
            ([], 2), (["--routing", "native"], 2), (["--routing", "static"], 8), (["--routing", "profile@fast"], 1),
            (["--routing", "profile@mu=0"], 8),
        ] as [([String], Double)] {
            #expect(try await Self.meanExperts(copy, routing) == expected, "\(routing)")
        }

        let shown = try await Self.run(["profile", "show", "--model", copy])
        #expect(shown.code == 0 && shown.output.contains("parity") && shown.output.contains("1 to 8 of 16"))
        let json = try await Self.run(["profile", "show", "--model", copy, "--json"]).object()
        #expect(json["default_point"] as? String == "parity" && json["k_max"] as? Int == 8)
        #expect((json["points"] as? [[String: Any]])?.map { $0["name"] as? String } == ["exact", "parity", "fast"])
        #expect((json["layers"] as? [Any])?.count == 4)
        #expect(try await Self.run(["profile", "show", "--profile", profile]).code == 0)

        let inspection = try await Self.run(["inspect", "--model", copy, "--json"]).object()
        #expect((inspection["profile"] as? [String: Any])?["k_min"] as? Int == 1)
        #expect(try await Self.run(["inspect", "--model", copy]).output.contains("default point: parity"))

        let text = try Data(contentsOf: URL(fileURLWithPath: profile))
        let printed = try await Self.run(["profile", "extract", "--model", copy]).output
        #expect(printed == String(decoding: text, as: UTF8.self))
        let extracted = folder.path + "/E.json"
        #expect(try await Self.run(["profile", "extract", "--model", copy, "--out", extracted]).code == 0)
        #expect(try Data(contentsOf: URL(fileURLWithPath: extracted)) == text)

        let stripped = folder.path + "/stripped.gguf"
        #expect(try await Self.run(["profile", "strip", "--model", copy, "--out", stripped]).code == 0)
        #expect(try Data(contentsOf: URL(fileURLWithPath: stripped)) == Data(contentsOf: URL(fileURLWithPath: plain)))

        // What is refused, and leaves all as it is.
        let files = try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted()
        for (arguments, mention) in [
            (["embed", "--model", copy, "--profile", profile, "--out", copy], "is the model itself"),
            (["embed", "--profile", profile, "--out", "/dev/full"], "No space left"),
            (["embed", "--profile", profile, "--out", folder.path + "/none/M.gguf"], "No such file"),
            (["embed", "--profile", profile, "--default", "slow", "--out", folder.path + "/x.gguf"], "no point 'slow'"),
            (["embed", "--profile", folder.path + "/none.json", "--out", folder.path + "/x.gguf"], "none.json"),
            (["embed", "--model", copy, "--profile", copy, "--out", folder.path + "/x.gguf"], "JSON"),
            (["strip", "--model", plain, "--out", folder.path + "/x.gguf"], "carries no routing profile"),
            (["extract", "--model", plain], "carries no routing profile"),
            (["show", "--model", plain], "carries no routing profile"),
            (["show", "--profile", copy], "JSON"), (["extract", "--model", copy, "--out", "/dev/full"], "No space left"),
        ] {
            let result = try await Self.run(["profile"] + arguments)
            #expect(result.code == 1 && result.output.isEmpty, "\(arguments): \(result.code)")
            #expect(result.errorLines.count == 1 && result.error.contains(mention), "\(result.error)")
        }
        // No file may grow past a size: the copy that does not fit is removed.
        let line =
            #"ulimit -f 100; "$0" profile embed --profile "$1/P.json" --out "$1/x.gguf" 2>"$1/../err-$$" ; c=$?; "#
            + #"grep -q "File too large" "$1/../err-$$" || c=99; rm "$1/../err-$$"; exit $c"#
        #expect(try Self.shell(line, folder.path) == 1)
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted() == files)
        #expect(try Data(contentsOf: URL(fileURLWithPath: copy)) == content)
    }

    private static func shell(_ line: String, _ argument: String) throws -> Int32 {
        let shell = Process()
        shell.executableURL = URL(fileURLWithPath: "/bin/sh")
        shell.arguments = ["-c", line, CommandLineTests.program.path, argument]
        try shell.run()
        shell.waitUntilExit()
        return shell.terminationReason == .exit ? shell.terminationStatus : 1000 + shell.terminationStatus
    }

    @Test(arguments: [
        ["profile", "embed", "--profile", "P.json"], ["profile", "strip"], ["profile", "nonsense"],
        ["profile", "embed", "--out", "x"], ["profile", "show", "--model", "a", "--profile", "b"],
        ["profile", "embed", "--model", "/tmp", "--profile", "P.json", "--out", "x"],
        ["generate", "x", "--routing", "profile@"], ["generate", "x", "--routing", "profile@mu=x"],
        ["generate", "x", "--routing", "profile:@fast"],
    ])
    func usageErrorsExitWith64(arguments: [String]) async throws {
        let result = try await Self.run(arguments)
        #expect(result.code == 64 && result.output.isEmpty && !result.error.isEmpty, "\(arguments): \(result.code)")
    }

    @Test func aModelWithoutAProfileSaysSo() async throws {
        let plain = FileManager.default.temporaryDirectory.appendingPathComponent("moe-cli-\(UUID().uuidString).gguf").path
        defer { try? FileManager.default.removeItem(atPath: plain) }
        #expect(try await Self.run(["profile", "strip", "--out", plain]).code == 0)
        let result = try await Self.run(["generate", "x", "--routing", "profile@fast", "--model", plain])
        #expect(result.code == 1 && result.errorLines.count == 1 && result.error.contains("carries no routing profile"))
    }

    /// Prevents a rename over a device, which every program of the machine would miss.
    @Test func devicesAreWrittenThrough() async throws {
        let text = Fixtures.root.appendingPathComponent("CONTRIBUTING.md").path
        let route = ["route", "--text", text, "--max-bytes", "100", "--html"]
        let full = try await Self.run(route + ["/dev/full"])
        #expect(full.code == 1 && full.error.contains("/dev/full: cannot be written: No space left"), "\(full.error)")
        #expect(try await Self.run(route + ["/dev/null"]).code == 0)
        for device in ["/dev/full", "/dev/null"] {
            let kind = try FileManager.default.attributesOfItem(atPath: device)[.type] as? FileAttributeType
            #expect(kind == .typeCharacterSpecial, "\(device)")
        }
    }

    @Test func helpShowsExamples() async throws {
        for command in [[], ["embed"], ["extract"], ["show"], ["strip"]] {
            let result = try await Self.run(["profile"] + command + ["--help"])
            #expect(result.code == 0 && result.output.contains("EXAMPLES"), "\(command)")
        }
    }
}
