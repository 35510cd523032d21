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

    public let cpu: CPU
    /// Element type to the instruction set of its dot kernel.
    public let kernels: [String: String]
    /// The same for people: `avx2: F32 F16 …, avx512vnni: Q8_0`.
    public let kernelSummary: String
    public let blas: BLASReport
    public let sgemmGflops: Double
    public let bandwidthGBs: Double
    public let warnings: [String]

    enum CodingKeys: String, CodingKey {
        case cpu, kernels, blas
        case sgemmGflops = "sgemm_gflops"
        case bandwidthGBs = "bandwidth_gbs"
        case warnings
    }

    /// Measures for about two seconds.
    public static func run(settings: Settings) throws -> Diagnosis {
        try BLASLibrary.prepare(settings)
        try settings.validate()
        let threads = settings.threadCount
        let found = try ComputeDiagnosis.run(threads: threads, placement: settings.placement)
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
            sgemmGflops: found.sgemmGflops, bandwidthGBs: found.bandwidthGBs, warnings: found.warnings)
    }
}
