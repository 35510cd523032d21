// SPDX-License-Identifier: Apache-2.0

import CMoEKernels
import Glibc
import MoETensors

/// What this machine offers and what will be used of it, measured in about a second. For `doctor`.
package struct ComputeDiagnosis: Sendable, Codable {
    package struct CPU: Sendable, Codable, Equatable {
        package var model: String
        /// Instruction sets that kernels exist for or BLAS cares about, as in `/proc/cpuinfo`.
        package var features: [String]
        package var cores: UsableCores
        /// NUMA nodes with memory.
        package var nodes: Int

        package init(model: String, features: [String], cores: UsableCores, nodes: Int = 1) {
            self.model = model
            self.features = features
            self.cores = cores
            self.nodes = nodes
        }
    }

    /// Which kernel multiplies weights of one element type.
    package struct Kernel: Sendable, Codable, Equatable {
        package var type: String
        package var isa: String

        package init(type: String, isa: String) {
            self.type = type
            self.isa = isa
        }
    }

    package var cpu: CPU
    package var threads: Int
    package var kernels: [Kernel]
    package var blas: BLASInformation
    /// Billions of floating-point operations per second of float32 products over all threads, as a layer computes them.
    package var sgemmGflops: Double
    /// Billions of int8 operations per second in registers by all threads, and the instruction set that reaches them.
    package var int8Gops: Double
    package var int8ISA: String
    /// Billions of bytes per second read by all threads.
    package var bandwidthGBs: Double
    /// Mixes that are known to be bad, one line each.
    package var warnings: [String]

    package init(
        cpu: CPU, threads: Int, kernels: [Kernel], blas: BLASInformation, sgemmGflops: Double, int8Gops: Double,
        int8ISA: String, bandwidthGBs: Double, warnings: [String]
    ) {
        self.cpu = cpu
        self.threads = threads
        self.kernels = kernels
        self.blas = blas
        self.sgemmGflops = sgemmGflops
        self.int8Gops = int8Gops
        self.int8ISA = int8ISA
        self.bandwidthGBs = bandwidthGBs
        self.warnings = warnings
    }

    /// The cores that this process may use: the default number of threads.
    package static func usableCores() -> Int { UsableCores.current().count }

    /// - Parameters:
    ///   - threads: as many as the engine would use.
    ///   - placement: where the engine would have them, but for the calling thread.
    /// - Throws: ``ResourceError`` when threads or memory cannot be had.
    package static func run(threads: Int, placement: ThreadPlacement = ThreadPlacement()) throws -> ComputeDiagnosis {
        let limits = try limits(pool: try ThreadPool(threads: threads, placement: placement))
        let kernels = ElementType.allCases.filter(\.isWeight).map {
            Kernel(type: $0.name, isa: String(cString: moe_kernel_name(Int32($0.rawValue))))
        }
        var diagnosis = ComputeDiagnosis(
            cpu: CPU(model: model(), features: features(), cores: .current(), nodes: NUMANodes.current().count),
            threads: threads, kernels: kernels,
            blas: BLAS.information, sgemmGflops: limits.sgemmGflops, int8Gops: limits.int8Gops,
            int8ISA: String(cString: moe_probe_int8_name()), bandwidthGBs: limits.bandwidthGBs, warnings: [])
        diagnosis.warnings = diagnosis.findWarnings(coreType: getenv("OPENBLAS_CORETYPE").map { String(cString: $0) })
        return diagnosis
    }

    /// What all threads of a pool reach together, measured in about half a second.
    ///
    /// - Throws: ``ResourceError`` when there is no memory for the probe.
    package static func limits(
        pool: ThreadPool
    ) throws -> (sgemmGflops: Double, int8Gops: Double, bandwidthGBs: Double) {
        (
            try measureProducts(pool: pool), moe_probe_int8(pool.handle, 9),
            moe_probe_bandwidth(pool.handle, 256 << 20, 5)
        )
    }

    /// `avx2: F32 F16 Q4_0 …, avx512vnni: Q8_0`: the types of each instruction set, in the order of the types.
    package var kernelSummary: String {
        var order: [String] = []
        var types: [String: [String]] = [:]
        for kernel in kernels {
            if types[kernel.isa] == nil { order.append(kernel.isa) }
            types[kernel.isa, default: []].append(kernel.type)
        }
        return order.map { "\($0): \(types[$0]!.joined(separator: " "))" }.joined(separator: ", ")
    }

    /// The best of a few products of 128 rows with a [1024, 1024] matrix on the BLAS path, for at most about a third of a
    /// second.
    private static func measureProducts(pool: ThreadPool) throws -> Double {
        let (m, n, k) = (128, 1024, 1024)
        let memory = try MemoryReservation(
            bytes: (m * k + n * k + m * n) * MemoryLayout<Float>.stride, purpose: "sgemm probe")
        let input = memory.base.bindMemory(to: Float.self, capacity: m * k + n * k + m * n)
        let (weights, output) = (input + m * k, input + m * k + n * k)
        for index in 0..<m * k + n * k { input[index] = Float(index % 13) - 6 }
        let task = MatmulTask(
            weights: Matrix(type: .f32, n: n, k: k, rowBytes: k * MemoryLayout<Float>.stride, pointer: weights),
            input: input, output: output, m: m)

        let clock = ContinuousClock()
        let start = clock.now
        var best = Double.infinity
        var statistics = MatmulStatistics()
        for repetition in 0..<64 {
            let elapsed = try clock.measure {
                try withUnsafePointer(to: task) {
                    try OpenBLASBackend().matmul(
                        UnsafeBufferPointer(start: $0, count: 1), pool: pool, statistics: &statistics)
                }
            }
            if repetition > 0 || elapsed > .milliseconds(100) { best = min(best, elapsed / .seconds(1)) }
            if clock.now - start > .milliseconds(300) { break }
        }
        return 2 * Double(m * n * k) / best / 1e9
    }

    package static func model() -> String {
        let lines = (TextFile.read("/proc/cpuinfo") ?? "").split(separator: "\n")
        guard let line = lines.first(where: { $0.hasPrefix("model name") }), let colon = line.firstIndex(of: ":") else {
            return "unknown"
        }
        return String(line[line.index(after: colon)...].drop { $0 == " " })
    }

    private static func features() -> [String] {
        let cpu = moe_cpu_detect()
        let all: [(Bool, String)] = [
            (cpu.avx2, "avx2"), (cpu.fma, "fma"), (cpu.f16c, "f16c"), (cpu.avx512f, "avx512f"),
            (cpu.avx512bw, "avx512bw"), (cpu.avx512vl, "avx512vl"), (cpu.avx512_vnni, "avx512_vnni"),
            (cpu.avx512_bf16, "avx512_bf16"), (cpu.avx_vnni, "avx_vnni"), (cpu.amx_int8, "amx_int8"),
            (cpu.neon, "neon"), (cpu.dotprod, "dotprod"), (cpu.i8mm, "i8mm"),
        ]
        return all.filter(\.0).map(\.1)
    }
}

extension ComputeDiagnosis {
    /// OpenBLAS core types without AVX-512, and without AVX2 (`OPENBLAS_CORETYPE`, case does not matter).
    private static let coresWithoutAVX512: Set = ["haswell", "zen", "excavator"]
    private static let coresWithoutAVX2: Set = [
        "katmai", "coppermine", "northwood", "prescott", "banias", "core2", "penryn", "dunnington", "nehalem", "athlon",
        "opteron", "opteron_sse3", "barcelona", "bobcat", "atom", "nano", "sandybridge", "bulldozer", "piledriver",
        "steamroller",
    ]

    /// What this CPU has and OpenBLAS's kernels do not use; nil: nothing that is known of.
    /// - Parameter description: a core type, or OpenBLAS's own description, which names the one that it chose.
    private func instructionsLeftOut(by description: String) -> String? {
        let words = Set(description.lowercased().split(separator: " ").map(String.init))
        let lacksAVX2 = !words.isDisjoint(with: Self.coresWithoutAVX2)
        let lacksAVX512 = lacksAVX2 || !words.isDisjoint(with: Self.coresWithoutAVX512)
        if cpu.features.contains("avx512f"), lacksAVX512 { return "AVX-512" }
        return cpu.features.contains("avx2") && lacksAVX2 ? "AVX2" : nil
    }

    /// - Parameter coreType: the value of `OPENBLAS_CORETYPE`
    package func findWarnings(coreType: String?) -> [String] {
        var warnings: [String] = []
        if blas.vendor == "netlib" {
            warnings.append(
                "BLAS is the netlib reference, tens of times slower than an optimised one: install libopenblas0 or "
                    + "set MOE_BLAS_LIBRARY")
        }
        if blas.threads > 1 {
            warnings.append(
                "BLAS would start \(blas.threads) \(blas.threading) threads for each of our \(threads): set "
                    + (blas.threading == "openmp" ? "OMP_NUM_THREADS=1" : "its number of threads to 1"))
        }
        if let named = blas.named, !Self.isSame(named, blas.path) {
            warnings.append("'\(named)' was asked for, but its sgemm comes from \(blas.path)")
        } else if blas.loaded, blas.vendor == "OpenBLAS", Self.fileName(blas.path).hasPrefix("libblas.so") {
            warnings.append(
                "\(blas.path) is a front of libopenblas.so.0, and which of its variants answers is not up to it: name "
                    + "that file instead")
        }
        if blas.vendor == "OpenBLAS", let missing = instructionsLeftOut(by: coreType ?? blas.version) {
            let best = missing == "AVX-512" ? "SkylakeX" : "Haswell"
            warnings.append(
                coreType.map { "OPENBLAS_CORETYPE=\($0) keeps OpenBLAS from using \(missing), which this CPU has" }
                    ?? ("OpenBLAS does not know this CPU and leaves out \(missing) (\(blas.version)): set "
                        + "OPENBLAS_CORETYPE=\(best)"))
        }
        if threads > cpu.cores.affinity {
            warnings.append("\(threads) threads share \(cpu.cores.affinity) cores: more threads than cores are slower")
        } else if let quota = cpu.cores.quota, Double(threads) > quota.rounded(.up) {
            warnings.append(
                "\(threads) threads share a control group quota of \((quota * 100).rounded() / 100) cores: they will be stopped "
                    + "for part of each period")
        }
        return warnings
    }

    /// Whether a library's sgemm lies in the file that was asked for: by path, or by file name for a soname.
    private static func isSame(_ named: String, _ path: String) -> Bool {
        if !named.contains("/") { return fileName(named) == fileName(path) }
        return resolved(named) == resolved(path)
    }

    private static func fileName(_ path: String) -> String {
        path.split(separator: "/").last.map(String.init) ?? path
    }

    private static func resolved(_ path: String) -> String {
        guard let real = realpath(path, nil) else { return path }
        defer { free(real) }
        return String(cString: real)
    }
}
