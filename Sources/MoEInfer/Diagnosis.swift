// SPDX-License-Identifier: Apache-2.0

import MoECompute

/// What this machine offers and what would be used: the report of `moe-infer doctor`.
public struct Diagnosis: Sendable, Encodable {
    public struct CPU: Sendable, Encodable {
        public let model: String
        public let features: [String]
        /// Cores that this process may use: its affinity and its cgroup's quota.
        public let cores: Int
        /// Worker threads that an engine would start.
        public let threads: Int
        /// The CPUs that they would be pinned to, as `0-3,8`; nil: none.
        public let affinity: String?
        /// Cores' worth of time that the control groups allow; nil: no limit.
        public let quota: Double?
        /// NUMA nodes with memory, and what is done about them.
        public let nodes: Int
        public let numa: String
    }

    public struct BLASReport: Sendable, Encodable {
        public let vendor: String
        public let version: String
        /// The shared object that holds sgemm.
        public let path: String
        public let symbol: String
        public let threading: String
        /// Threads it would use by itself; our pool splits the work, so 1 is wanted. 0: unknown.
        public let threads: Int
        /// Whether `MOE_BLAS_LIBRARY` named it.
        public let loaded: Bool
    }

    /// One way of multiplying, measured.
    public struct Product: Sendable, Encodable {
        /// Element type of the weights, and activation rows.
        public let type: String
        public let rows: Int
        public let nativeGops: Double
        public let blasGops: Double
        /// What is used for dense products of that many rows, and its share of the faster one's speed.
        public let chosen: String
        public let chosenShare: Double

        enum CodingKeys: String, CodingKey {
            case type, rows, chosen
            case nativeGops = "native_gops"
            case blasGops = "blas_gops"
            case chosenShare = "chosen_share"
        }
    }

    public let cpu: CPU
    /// Element type to the instruction set of its dot kernel.
    public let kernels: [String: String]
    /// The same for people: `avx2: F32 F16 …, avx512vnni: Q8_0`.
    public let kernelSummary: String
    public let blas: BLASReport
    public let sgemmGflops: Double
    /// Int8 products summed in registers, billions of operations per second; and by which instruction set.
    public let int8Gops: Double
    public let int8ISA: String
    public let bandwidthGBs: Double
    public let warnings: [String]
    /// Only where they were asked for.
    public let products: [Product]?

    enum CodingKeys: String, CodingKey {
        case cpu, kernels, blas, products
        case sgemmGflops = "sgemm_gflops"
        case int8Gops = "int8_gops"
        case int8ISA = "int8_isa"
        case bandwidthGBs = "bandwidth_gbs"
        case warnings
    }

    /// Measures for about two seconds; with `products` for half a minute more.
    public static func run(
        settings: Settings, products: Bool = false, progress: (_ done: Int, _ total: Int) -> Void = { _, _ in }
    ) throws -> Diagnosis {
        try BLASLibrary.prepare(settings)
        try settings.validate()
        let threads = settings.threadCount
        let found = try ComputeDiagnosis.run(threads: threads, placement: settings.placement)
        let crossover =
            products
            ? try MatmulCrossover.measure(threads: threads, plan: MatmulPlan(mode: settings.gemm), progress: progress) : nil
        return Diagnosis(
            cpu: CPU(
                model: found.cpu.model, features: found.cpu.features, cores: found.cpu.cores.count, threads: threads,
                affinity: settings.cpuAffinity.map { CPUList($0).description }, quota: found.cpu.cores.quota,
                nodes: found.cpu.nodes, numa: settings.numa.rawValue),
            kernels: Dictionary(uniqueKeysWithValues: found.kernels.map { ($0.type, $0.isa) }),
            kernelSummary: found.kernelSummary,
            blas: BLASReport(
                vendor: found.blas.vendor, version: found.blas.version, path: found.blas.path, symbol: found.blas.symbol,
                threading: found.blas.threading, threads: found.blas.threads, loaded: found.blas.loaded),
            sgemmGflops: found.sgemmGflops, int8Gops: found.int8Gops, int8ISA: found.int8ISA,
            bandwidthGBs: found.bandwidthGBs, warnings: found.warnings,
            products: crossover?.rows.map {
                Product(
                    type: $0.type, rows: $0.rows, nativeGops: $0.nativeGops, blasGops: $0.blasGops, chosen: $0.chosen,
                    chosenShare: $0.chosenShare)
            })
    }
}
