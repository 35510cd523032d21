// SPDX-License-Identifier: Apache-2.0

package import MoECompute
package import MoEModel

/// What a deployment may choose, from (highest first) the command line, a JSON file, and the environment.
///
/// | key | environment | meaning |
/// |---|---|---|
/// | `threads` | `MOE_THREADS` | worker threads; default: the cores this process may use |
/// | `cpu.affinity` | `MOE_CPU_AFFINITY` | the CPU of each worker thread, as `0-3,8`; default `none`: wherever the system puts them |
/// | `numa` | `MOE_NUMA` | `off`, or `interleave`: memory that the engine's threads touch first goes to all NUMA nodes in turn |
/// | `gemm` | `MOE_GEMM` | `auto`, `blas`, `native` or `reference` |
/// | `kv` | `MOE_KV` | precision of the KV cache: `f16` (default), `q8_0` (half the memory) or `f32` |
/// | `context` | `MOE_CONTEXT` | positions per sequence; default: the model's, at most 4096 |
/// | `batch` | `MOE_BATCH` | sequences that run together |
/// | `cache` | `MOE_CACHE` | positions that the KV cache holds for all sequences together; default: `context` · `batch`, as far as half of the free memory goes |
/// | `chunk` | `MOE_CHUNK` | prompt tokens per step |
/// | `chunk.shared` | `MOE_CHUNK_SHARED` | the same for a step in which other sequences decode; default: as many as make such a step about twice as long (up to 2.8 times where many prompts wait), measured as it runs. Not where BLAS computes the prompt, whose bits depend on its cuts |
/// | `prefix.cache` | `MOE_PREFIX_CACHE` | `on` (default): a prompt that begins as an earlier one did starts with what is computed of it |
/// | `repack` | `MOE_REPACK` | `on`: a GGUF model gets a second file, once, with its weights laid out for this CPU's kernels; `off` (default) |
/// | `repack.folder` | `MOE_REPACK_FOLDER` | where these files are; default: `moe-infer/repacked` in the user's cache folder |
/// | `blas.library` | `MOE_BLAS_LIBRARY` | a BLAS to load at run time instead of the linked one |
public struct Settings: Sendable, Equatable {
    /// nil: one per CPU of ``cpuAffinity``, or else as many as this process has cores' worth of time.
    public var threads: Int?
    /// nil: no pinning. Worker i runs on the i-th CPU.
    public var cpuAffinity: [Int]?
    public var numa = NUMAPolicy.off
    package var gemm = MatmulPlan.Mode.auto
    /// nil: f16.
    package var kvPrecision: KVCache.Precision?
    public var context: Int?
    public var batch = 8
    public var cache: Int?
    public var chunk = 512
    /// nil: measured. See ``StepPace``.
    public var sharedChunk: Int?
    public var prefixCache = PrefixCaching.on
    public var repack = WeightRepacking.off
    public var repackFolder: String?
    public var blasLibrary: String?

    public init() {}

    /// - Parameters:
    ///   - commandLine: values by key, as text.
    ///   - file: a JSON file with the same keys; also named by `MOE_CONFIG`.
    /// - Throws: ``SettingsError`` for a value that cannot be.
    public static func load(commandLine: [String: String] = [:], file: String? = nil) async throws -> Settings {
        try await Settings(SettingsReader(commandLine: commandLine, file: file))
    }

    /// Whether neither the file nor the environment has a value for a key.
    package static func isSilent(about key: String, file: String?) async throws -> Bool {
        try await SettingsReader(commandLine: [:], file: file).integer(key, .min ... .max) == nil
    }

    /// Worker threads that an engine starts.
    package var threadCount: Int { threads ?? cpuAffinity?.count ?? ComputeDiagnosis.usableCores() }

    package var placement: ThreadPlacement {
        let nodes = numa == .interleave ? NUMANodes.current() : []
        return ThreadPlacement(cpus: cpuAffinity, interleavedNodes: nodes.count > 1 ? nodes : nil)
    }

    private static let threadRange = 1...4096
    private static let contextRange = 1...1_000_000_000
    private static let batchRange = 1...4096
    private static let cacheRange = 1...1_000_000_000_000
    private static let chunkRange = 1...65_536

    /// - Throws: ``SettingsError`` for a value out of range, however it was set.
    package func validate() throws {
        for (key, value, range) in [
            ("threads", threads, Self.threadRange), ("context", context, Self.contextRange),
            ("batch", batch, Self.batchRange), ("cache", cache, Self.cacheRange), ("chunk", chunk, Self.chunkRange),
            ("chunk.shared", sharedChunk, Self.chunkRange),
        ] {
            if let value, !range.contains(value) { throw SettingsError(key, range: range, found: "\(value)") }
        }
        try validateAffinity(allowed: UsableCores.allowed())
    }

    /// - Parameter allowed: the CPUs that this process may use; nil: not known.
    package func validateAffinity(allowed: CPUList?) throws {
        guard let cpus = cpuAffinity else { return }
        if let allowed, let cpu = cpus.first(where: { !allowed.numbers.contains($0) }) {
            throw SettingsError(
                "cpu.affinity", expected: "CPUs that this process may use (\(allowed))", found: "\(cpu)")
        }
        guard !cpus.isEmpty, cpus.count >= threads ?? 1 else {
            throw SettingsError(
                "cpu.affinity", expected: "a CPU for each of \(threads ?? 1) threads", found: "\(cpus.count)")
        }
    }

    private init(_ reader: SettingsReader) async throws {
        threads = try await reader.integer("threads", Self.threadRange)
        cpuAffinity = try await reader.cpus("cpu.affinity")
        numa = try await reader.choice("numa") ?? numa
        gemm = try await reader.choice("gemm") ?? gemm
        kvPrecision = try await reader.choice("kv")
        context = try await reader.integer("context", Self.contextRange)
        batch = try await reader.integer("batch", Self.batchRange) ?? batch
        cache = try await reader.integer("cache", Self.cacheRange)
        chunk = try await reader.integer("chunk", Self.chunkRange) ?? chunk
        sharedChunk = try await reader.integer("chunk.shared", Self.chunkRange)
        prefixCache = try await reader.choice("prefix.cache") ?? prefixCache
        repack = try await reader.choice("repack") ?? repack
        repackFolder = try await reader.text("repack.folder")
        blasLibrary = try await reader.text("blas.library")
    }
}

/// Whether sequences that begin alike share what is computed of their beginning. Their text is the same either way; their usage counts
/// what was computed.
public enum PrefixCaching: String, Sendable, CaseIterable {
    case on, off
}

/// Whether weights are laid out anew for the CPU, in a file of their own. Worth it where memory is faster than the kernels.
public enum WeightRepacking: String, Sendable, CaseIterable {
    case on, off
}

/// Where memory goes that the engine's threads touch first, on machines with several NUMA nodes.
public enum NUMAPolicy: String, Sendable, CaseIterable {
    /// As the system has it: to the node of the thread that touches it.
    case off
    /// To all nodes in turn: weights that are not in the page cache yet, the KV cache, and scratch memory.
    case interleave
}

/// A setting that cannot be used, in one line.
public struct SettingsError: UsageError, Equatable, CustomStringConvertible {
    public let description: String
}

extension SettingsError {
    package init(_ key: String, range: ClosedRange<Int>, found: String) {
        self.init(key, expected: "a whole number from \(range.lowerBound) to \(range.upperBound)", found: found)
    }

    package init(_ key: String, expected: String, found: String) {
        let variable = "MOE_" + key.uppercased().replacing(".", with: "_")
        description = "setting '\(key)' (\(variable)): expected \(expected), found \(found)"
    }
}
