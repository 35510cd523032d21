// SPDX-License-Identifier: Apache-2.0

import Foundation
import MoETestSupport
import Testing

/// The command line's contract (exit codes, one JSON document, one line for an error), through the built program.
@Suite struct CommandLineTests {
    struct Outcome {
        let code: Int32
        let output: String
        let error: String

        func json() throws -> Any { try JSONSerialization.jsonObject(with: Data(output.utf8), options: .fragmentsAllowed) }
        func object() throws -> [String: Any] { try #require(try json() as? [String: Any]) }
        var errorLines: [Substring] { error.split(separator: "\n") }
    }

    /// The executable lies beside the test bundle.
    static let program = URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent()
        .appendingPathComponent("moe-infer")

    static func run(_ arguments: [String], input: String = "", environment: [String: String] = [:]) async throws -> Outcome
    {
        let process = Process()
        process.executableURL = program
        process.arguments = arguments
        process.environment = ProcessInfo.processInfo.environment.filter { !$0.key.hasPrefix("MOE_") }
            .merging(environment) { $1 }
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("moe-cli-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        // Files, not pipes: nothing blocks however much is written.
        let files = try ["in", "out", "err"].map { name in
            let url = folder.appendingPathComponent(name)
            try Data(name == "in" ? Array(input.utf8) : []).write(to: url)
            return url
        }
        process.standardInput = try FileHandle(forReadingFrom: files[0])
        process.standardOutput = try FileHandle(forWritingTo: files[1])
        process.standardError = try FileHandle(forWritingTo: files[2])
        try await withCheckedThrowingContinuation { (done: CheckedContinuation<Void, any Error>) in
            process.terminationHandler = { _ in done.resume() }
            do { try process.run() } catch { done.resume(throwing: error) }
        }
        return Outcome(
            code: process.terminationReason == .exit ? process.terminationStatus : 1000 + process.terminationStatus,
            output: String(decoding: try Data(contentsOf: files[1]), as: UTF8.self),
            error: String(decoding: try Data(contentsOf: files[2]), as: UTF8.self))
    }

    // MARK: What works

    @Test func generateWritesTextAndFigures() async throws {
        let result = try await Self.run(
            ["generate", "The history of", "--max-tokens", "12", "--routing", "top-p:p=0.7,min=1,max=8"])
        #expect(result.code == 0)
        #expect(result.output.count > 10)
        #expect(result.error.contains("experts/token") && result.error.contains("tokens"))
    }

    @Test func generateJSONHasTheContractsFields() async throws {
        let result = try await Self.run([
            "generate", "The", "--max-tokens", "5", "--json", "--ignore-eos", "--logprobs", "2",
        ])
        let object = try result.object()
        #expect(Set(object.keys).isSuperset(of: ["text", "tokens", "finish_reason", "usage", "timings", "logprobs"]))
        #expect((object["tokens"] as? [Int])?.count == 5)
        #expect(object["finish_reason"] as? String == "length")
        let usage = try #require(object["usage"] as? [String: Any])
        let moe = try #require(usage["moe"] as? [String: Any])
        #expect(
            Set(moe.keys) == [
                "mean_experts", "histogram", "expert_evaluations", "expert_bytes_read", "saved_fraction",
                "gate_time_fraction", "reroutes",
            ])
        let timings = try #require(object["timings"] as? [String: Any])
        #expect(
            Set(timings.keys).isSuperset(
                of: ["load_seconds", "prompt_tokens_per_second", "generation_tokens_per_second"]))
    }

    @Test func generateIsDeterministicAndReadsStandardInput() async throws {
        let arguments = ["generate", "--max-tokens", "20", "--temperature", "0.9", "--seed", "5", "--json"]
        let first = try await Self.run(arguments, input: "The river").object()
        let second = try await Self.run(arguments + ["The river"]).object()
        #expect(first["text"] as? String == second["text"] as? String)
    }

    @Test func speculationChangesFiguresOnly() async throws {
        let arguments = ["generate", "The river and the river and", "--max-tokens", "40", "--ignore-eos", "--json"]
        let plain = try await Self.run(arguments).object()
        for speculation in ["off", "lookup:n=2,max=6", "experts:k=1"] {
            let found = try await Self.run(arguments + ["--speculate", speculation]).object()
            #expect(found["text"] as? String == plain["text"] as? String)
            let usage = (found["usage"] as? [String: Any])?["speculation"] as? [String: Any]
            #expect((usage == nil) == (speculation == "off"))
            guard let usage else { continue }
            #expect(
                Set(usage.keys).isSuperset(of: ["steps", "drafted", "accepted", "tokens_per_step", "acceptance_rate"]))
        }
        let figures = try await Self.run(["generate", "The", "--max-tokens", "9", "--speculate", "lookup"])
        #expect(figures.error.contains("tokens/step"))
        for bad in ["lookup:n=x", "guess"] {
            let refused = try await Self.run(arguments + ["--speculate", bad])
            #expect(refused.code == 64 && refused.errorLines.count == 1 && refused.output.isEmpty)
        }
    }

    @Test func benchComparesSpeculation() async throws {
        let text = Fixtures.root.appendingPathComponent("LICENSE").path
        let arguments = ["bench", "--prompt", "32", "--generate", "8", "--repetitions", "2", "--speculate", "lookup"]
        let results = try #require(
            try await Self.run(arguments + ["--text", text, "--json"]).json() as? [[String: Any]])
        #expect(results.map { $0["speculation"] as? String } == ["off", "lookup"])
        #expect((results[0]["time_ratio"] as? [String: Double])?["median"] == 1)
        #expect((results[1]["usage"] as? [String: Any])?["drafted"] is Int)
        let table = try await Self.run(arguments + ["--text", text, "--temperature", "0.7"])
        #expect(table.code == 0 && table.output.contains("tokens/step"))
        #expect(try await Self.run(arguments).code == 64)
    }

    @Test func tokenizeListsIntegers() async throws {
        let ids = try #require(try await Self.run(["tokenize", "Hello, world", "--json"]).json() as? [Int])
        #expect(ids.count > 1)
        let piped = try await Self.run(["tokenize", "--json"], input: "Hello, world").json() as? [Int]
        #expect(piped == ids)
    }

    @Test func logitsWritesNumPy() async throws {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent("logits-\(UUID().uuidString).npy")
        defer { try? FileManager.default.removeItem(at: path) }
        let result = try await Self.run(["logits", "--tokens", "1,2,3", "--output", path.path])
        #expect(result.code == 0, "\(result.error)")
        let data = try Data(contentsOf: path)
        #expect(data.prefix(6) == Data([0x93] + Array("NUMPY".utf8)))
        let header = String(decoding: data[10..<128], as: UTF8.self)
        #expect(header.contains("'<f4'") && header.contains("(3, "))
        let columns = try #require(Int(header.split(separator: "(3, ", maxSplits: 1)[1].prefix { $0.isNumber }))
        let start = 10 + Int(data[8]) + 256 * Int(data[9])
        #expect(start % 64 == 0 && data.count == start + 3 * columns * 4)
    }

    /// Said once, on standard error, and only where it is so.
    @Test func aPolicyThatDependsOnTheBatchIsWarnedOf() async throws {
        let arguments = ["generate", "The", "--max-tokens", "4", "--json", "--routing"]
        let union = try await Self.run(arguments + ["union:k0=2"])
        #expect(union.code == 0 && union.errorLines.count == 1)
        #expect(union.error.hasPrefix("warning: ") && union.error.contains("not batch-invariant"))
        _ = try union.object()
        #expect(try await Self.run(arguments + ["top-p:p=0.7"]).error.isEmpty)
    }

    @Test func reroutesAreReported() async throws {
        let text = Fixtures.root.appendingPathComponent("LICENSE").path
        let routing = ["--routing", "static:k=2+reroute:margin=0.1,entropy=0.95"]
        let report = try await Self.run(
            ["perplexity", "--text", text, "--context", "128", "--chunks", "1", "--json"] + routing
        )
        .object()
        #expect(((report["moe"] as? [String: Any])?["reroutes"] as? Int ?? 0) > 0)
        let result = try await Self.run(["generate", "The history of", "--max-tokens", "12"] + routing)
        #expect(result.error.contains("% re-routed"))
    }

    @Test func perplexityReports() async throws {
        let text = Fixtures.root.appendingPathComponent("LICENSE").path
        let report = try await Self.run(
            ["perplexity", "--text", text, "--context", "128", "--chunks", "3", "--json"]
        ).object()
        #expect((report["perplexity"] as? Double ?? 0) > 1)
        #expect((report["bits_per_byte"] as? Double ?? 0) > 0.1)
        #expect(report["tokens_scored"] as? Int == 3 * 63)
        #expect(report["moe"] is [String: Any])
    }

    @Test func benchListsResults() async throws {
        let results = try #require(
            try await Self.run([
                "bench", "--prompt", "32", "--generate", "8", "--repetitions", "1", "--batch", "2", "--routing",
                "static:k=2",
                "--json",
            ]).json() as? [[String: Any]])
        #expect(results.map { $0["test"] as? String } == ["pp32", "tg8"])
        #expect(results.allSatisfy { ($0["tokens_per_second"] as? [String: Double])?["median"] ?? 0 > 0 })
        #expect(results.allSatisfy { ($0["moe"] as? [String: Any])?["mean_experts"] as? Double == 2 })
    }

    /// The protocol of Tools/peers: one answer per line, errors among them; what is generated after a depth routes as without it
    /// counts, and different text in every sequence takes more experts than one sequence does.
    @Test func benchServesCases() async throws {
        let cases = [
            "limits", "prompt=16 seed=3 routing=static", "generate=4 depth=32 routing=static:k=2",
            "generate=4 batch=4 routing=static:k=2", "generate=4 batch=4 depth=32 routing=static:k=2",
            "generate=4 batch=4 depth=32 routing=static:k=2", "prompt=4 batch=2", "prompt=9999999", "generate=x", "speed=1",
        ]
        let result = try await Self.run(["bench", "--serve"], input: cases.joined(separator: "\n") + "\n")
        let answers = try result.output.split(separator: "\n").map {
            try #require(try JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any])
        }
        try #require(result.code == 0 && answers.count == 1 + cases.count)
        #expect((answers[0]["load_seconds"] as? Double ?? 0) > 0 && answers[0]["vocabulary_size"] as? Int == 4096)
        #expect(["bandwidth_gbs", "int8_gops", "sgemm_gflops"].allSatisfy { answers[1][$0] as? Double ?? 0 > 0 })
        #expect(answers[2...6].map { $0["tokens"] as? Int } == [16, 4, 16, 16, 16])
        #expect(answers[2...6].allSatisfy { ($0["seconds"] as? Double ?? 0) > 0 })
        let moe = try answers[2...6].map { try #require($0["moe"] as? [String: Any]) }
        #expect(moe.map { $0["mean_experts"] as? Double } == [8, 2, 2, 2, 2])
        let bytes = moe.map { $0["expert_bytes_read"] as? Int ?? 0 }
        #expect(bytes[2] > bytes[1] * 3 / 2 && bytes[3] != bytes[2] && bytes[4] == bytes[3])
        #expect(answers[7...].allSatisfy { ($0["error"] as? String)?.isEmpty == false })
        let mixed = try await Self.run(["bench", "--serve", "--json"])
        #expect(mixed.code == 64)
    }

    /// Real text, policies in turns: fewer experts are counted, and the first policy is what times are compared with.
    @Test func benchOnText() async throws {
        let text = Fixtures.root.appendingPathComponent("LICENSE").path
        let arguments = [
            "bench", "--text", text, "--prompt", "32", "--generate", "8", "--repetitions", "2", "--routing", "static",
            "--routing", "static:k=2",
        ]
        let results = try #require(try await Self.run(arguments + ["--json"]).json() as? [[String: Any]])
        #expect(results.map { $0["test"] as? String } == ["pp32", "tg8", "pp32", "tg8"])
        #expect(results.map { ($0["moe"] as? [String: Any])?["mean_experts"] as? Double } == [8, 8, 2, 2])
        let ratios = results.map { ($0["time_ratio"] as? [String: Double]) ?? [:] }
        #expect(ratios[0] == ["median": 1, "lower": 1, "upper": 1] && ratios[1] == ratios[0])
        #expect(ratios[3]["lower"]! <= ratios[3]["upper"]!)
        let short = try await Self.run(
            ["bench", "--text", "/dev/stdin", "--prompt", "8", "--generate", "8"], input: "too short")
        #expect(short.code == 1 && short.errorLines.count == 1 && short.error.contains("16 tokens are needed"))
    }

    @Test func perplexityListsTokens() async throws {
        let text = Fixtures.root.appendingPathComponent("LICENSE").path
        let out = FileManager.default.temporaryDirectory.appendingPathComponent("moe-tokens-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: out) }
        let arguments = ["perplexity", "--text", text, "--context", "64", "--chunks", "2", "--routing", "top-p:p=0.6"]
        let report = try await Self.run(arguments + ["--score-from", "1", "--per-token", out.path, "--json"]).object()
        let lines = try String(contentsOf: out, encoding: .utf8).split(separator: "\n").map {
            try #require(try JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any])
        }
        #expect(lines.map { $0["position"] as? Int } == Array(1...63) + Array(1...63))
        let nats = lines.reduce(0) { $0 + ($1["nats"] as? Double ?? .nan) }
        #expect(abs(exp(nats / 126) / (report["perplexity"] as? Double ?? 0) - 1) < 1e-9)
        // The last token of a chunk predicts nothing that is scored, and has experts all the same.
        let experts = lines.map { $0["experts"] as? [Int] ?? [] }
        #expect(experts.allSatisfy { $0.count == 4 && $0.allSatisfy { (1...8).contains($0) } })
        let all = (report["moe"] as? [String: Any])?["expert_evaluations"] as? Int ?? 0
        let listed = experts.joined().reduce(0, +)
        #expect(listed < all && listed > all - 2 * 4 * 9)
        let refused = try await Self.run(arguments + ["--score-from", "64"])
        #expect(refused.code == 1 && refused.error.contains("expected 1 to 63"))
    }

    /// Policies as they are given: no search, nothing matched.
    @Test func compareGivenPolicies() async throws {
        let text = Fixtures.root.appendingPathComponent("LICENSE").path
        let arguments = [
            "compare", "--text", text, "--tokens", "128", "--window", "64", "--prompt", "16", "--decode", "2", "--rounds",
            "1",
            "--routing", "static:k=2", "--routing", "top-p:p=0.5",
        ]
        let report = try await Self.run(arguments + ["--json"]).object()
        let policies = try #require(report["policies"] as? [[String: Any]])
        let points = try #require(policies.first?["points"] as? [[String: Any]])
        #expect(policies.count == 1)
        #expect(Set(points.map { $0["routing"] as? String }) == ["static:k=2", "top-p:p=0.5"])
        #expect(points.contains { $0["mean_experts"] as? Double == 2 })
        #expect((report["matched_latency"] as? [Any])?.isEmpty == true)
        let page = try await Self.run(arguments)
        #expect(page.output.hasPrefix("2 policies as given") && !page.output.contains("at the same decode time"))
        #expect(try await Self.run(arguments + ["--mean", "2"]).code == 64)
    }

    @Test func inspectAndDoctorReport() async throws {
        let model = try await Self.run(["inspect", "--json"]).object()
        #expect(model["architecture"] as? String == "qwen3moe")
        #expect((model["parameters_active"] as? Int ?? 0) < (model["parameters_total"] as? Int ?? 0))
        let doctor = try await Self.run(["doctor", "--json"]).object()
        #expect(
            Set(doctor.keys).isSuperset(of: ["cpu", "kernels", "blas", "sgemm_gflops", "bandwidth_gbs", "warnings"]))
    }

    @Test func helpShowsExamples() async throws {
        for command in ["generate", "tokenize", "logits", "perplexity", "bench", "route", "inspect", "doctor"] {
            let result = try await Self.run([command, "--help"])
            #expect(result.code == 0 && result.output.contains("EXAMPLES"), "\(command)")
        }
    }

    // MARK: What does not

    @Test(arguments: [
        ["generate", "x", "--routing", "top-p:p=2"], ["generate", "x", "--routing", "nonsense"],
        ["generate", "x", "--routing", "top-p:p=0.5,min=4,max=2"], ["generate", "x", "--temperature", "-1"],
        ["generate", "x", "--unknown"], ["nonsense"], ["logits", "--tokens", "1,x"], ["generate", "x", "--threads", "0"],
        ["generate", "x", "--gemm", "cuda"], ["bench", "--repetitions", "0"],
    ])
    func usageErrorsExitWith64(arguments: [String]) async throws {
        let result = try await Self.run(arguments)
        #expect(result.code == 64, "\(arguments): \(result.code) \(result.error)")
        #expect(result.output.isEmpty && !result.error.isEmpty)
    }

    @Test(arguments: [
        (["generate", "x", "--model", "/no/such/file.gguf"], "/no/such/file.gguf"),
        (["generate", "x", "--model", "/dev/null"], "/dev/null"),
        (["generate", "x", "--context", "100000000"], "context"),
        (["generate", "x", "--config", "/no/such/settings.json"], "settings.json"),
        (["perplexity", "--text", "/no/such/text"], "/no/such/text"),
        (["logits", "--tokens", "99999999"], "vocabulary"),
        (["generate", "x", "--routing", "static:k=99"], "99 experts"),
        (["generate", "x", "--routing", "static:k=1,2,3,4,5"], "5 layers"),
        (["generate", "x", "--routing", "ratio:min=40,t=0.5"], "40 experts"),
        (["logits", "--tokens", "1", "--output", "/no/such/folder/x.npy"], "cannot be written"),
        // Before anything is measured, and said before a line of it.
        (["calibrate", "--text", "/etc/passwd", "--out", "/no/such/folder/P.json"], "cannot be written"),
        (["calibrate", "--text", "/etc/passwd", "--out", "/etc"], "cannot be written"),
        (["certify", "--text", "/etc/passwd", "--routing", "static", "--out", "/no/such/C.json"], "cannot be written"),
        (["compare", "--text", "/etc/passwd", "--html", "/no/such/c.html"], "cannot be written"),
        (["route", "--text", "/etc/passwd", "--html", "/no/such/r.html"], "cannot be written"),
        // A name must not steer the terminal.
        (["perplexity", "--text", "/no/such/\u{1B}[31m"], "/no/such/?[31m"),
    ])
    func failuresAreOneLineAndExitWith1(arguments: [String], mention: String) async throws {
        let result = try await Self.run(arguments)
        #expect(result.code == 1 || (mention == "settings.json" && result.code == 64), "\(result.code) \(result.error)")
        #expect(result.output.isEmpty)
        #expect(result.errorLines.count == 1 && result.error.contains(mention), "\(result.error)")
    }

    @Test func invalidUTF8IsRefused() async throws {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent("bytes-\(UUID().uuidString)")
        try Data([0x41, 0xFF, 0xFE, 0x42]).write(to: path)
        defer { try? FileManager.default.removeItem(at: path) }
        let result = try await Self.run(["generate", "--file", path.path])
        #expect(result.code == 1 && result.error.contains("UTF-8") && result.errorLines.count == 1)
        // Swift cannot pass such an argument, a shell can.
        #expect(try Self.shell(#""$0" generate "$(printf 'a\377b')" --max-tokens 1 2>/dev/null"#) == 1)
    }

    /// Runs a line of shell in which `$0` is the program.
    private static func shell(_ line: String) throws -> Int32 {
        let shell = Process()
        shell.executableURL = URL(fileURLWithPath: "/bin/sh")
        shell.arguments = ["-c", line, program.path]
        try shell.run()
        shell.waitUntilExit()
        return shell.terminationReason == .exit ? shell.terminationStatus : 1000 + shell.terminationStatus
    }

    /// Prevents traps where a standard stream is closed, full, or no stream at all.
    @Test(
        arguments: [
            (#""$0" generate hi -n 3 >/dev/null 2>&-"#, 0), (#""$0" generate hi -n 3 >/dev/null 2>/dev/full"#, 0),
            (#""$0" generate hi --routing foo 2>&-"#, 64), (#""$0" generate -n 3 <&- 2>/dev/null"#, 1),
            (#""$0" tokenize </ 2>/dev/null"#, 1), (#""$0" generate hi -n 3 >/dev/full 2>/dev/null"#, 1),
            (#""$0" inspect --json >/dev/full 2>/dev/null"#, 1), (#""$0" inspect --tensors | head -1 >/dev/null"#, 0),
        ] as [(String, Int32)])
    func standardStreamsMayBeMissing(line: String, code: Int32) throws { #expect(try Self.shell(line) == code, "\(line)") }

    @Test func outputGoesWhereItIsPointed() async throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("moe-out-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let (target, link) = (folder.appendingPathComponent("target.npy"), folder.appendingPathComponent("link.npy"))
        try Data("old".utf8).write(to: target)
        try FileManager.default.createSymbolicLink(at: link, withDestinationURL: target)
        let result = try await Self.run(["logits", "--tokens", "1,2", "--output", link.path])
        #expect(result.code == 0)
        #expect(try FileManager.default.destinationOfSymbolicLink(atPath: link.path) == target.path)
        #expect(try Data(contentsOf: target).count > 1000)
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted() == ["link.npy", "target.npy"])
        // A device is written through, never replaced.
        #expect(try await Self.run(["logits", "--tokens", "1,2", "--output", "/dev/null"]).code == 0)
        #expect(
            try FileManager.default.attributesOfItem(atPath: "/dev/null")[.type] as? FileAttributeType
                == .typeCharacterSpecial)
    }

    @Test func aLibraryThatIsNoBLASIsRefused() async throws {
        for library in ["libm.so.6", "/no/such/blas.so"] {
            let result = try await Self.run(
                ["generate", "x", "--max-tokens", "1"], environment: ["MOE_BLAS_LIBRARY": library])
            #expect(result.code == 1 && result.error.contains(library), "\(result.error)")
            #expect(result.errorLines.count == 1)
        }
    }

    @Test func environmentAndCommandLineSet() async throws {
        func threads(_ arguments: [String], _ environment: [String: String]) async throws -> Int? {
            let report = try await Self.run(["doctor", "--json"] + arguments, environment: environment).object()
            return (report["cpu"] as? [String: Any])?["threads"] as? Int
        }
        #expect(try await threads([], ["MOE_THREADS": "3"]) == 3)
        #expect(try await threads(["--threads", "1"], ["MOE_THREADS": "3"]) == 1)
        let bad = try await Self.run(["doctor"], environment: ["MOE_THREADS": "many"])
        #expect(bad.code == 64 && bad.error.contains("MOE_THREADS"))
    }

    @Test func doctorTellsWhereThreadsRun() async throws {
        func cpu(_ environment: [String: String]) async throws -> [String: Any] {
            try #require(
                try await Self.run(["doctor", "--json"], environment: environment).object()["cpu"] as? [String: Any])
        }
        let plain = try await cpu([:])
        #expect(plain["affinity"] == nil && (plain["nodes"] as? Int ?? 0) >= 1 && plain["numa"] as? String == "off")
        let pinned = try await cpu(["MOE_CPU_AFFINITY": "0", "MOE_NUMA": "interleave"])
        #expect(pinned["affinity"] as? String == "0" && pinned["threads"] as? Int == 1)
        #expect(pinned["numa"] as? String == "interleave")
        for (environment, found) in [
            (["MOE_CPU_AFFINITY": "0-"], "'0-'"), (["MOE_CPU_AFFINITY": "1000"], "found 1000"),
            (["MOE_CPU_AFFINITY": "0", "MOE_THREADS": "2"], "found 1"), (["MOE_NUMA": "all"], "'all'"),
            (["MOE_KV": "q4_0"], "f16, f32, q8_0"),
        ] {
            let result = try await Self.run(["generate", "x", "--max-tokens", "1"], environment: environment)
            #expect(result.code == 64 && result.error.contains(found) && result.errorLines.count == 1, "\(result.error)")
        }
    }
}
