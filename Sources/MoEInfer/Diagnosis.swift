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
    /// Int8 products summed in registers, billions of operations per second; and by which instruction set.
    public let int8Gops: Double
    public let int8ISA: String
    public let bandwidthGBs: Double
    public let warnings: [String]

    enum CodingKeys: String, CodingKey {
        case cpu, kernels, blas
        case sgemmGflops = "sgemm_gflops"
        case int8Gops = "int8_gops"
        case int8ISA = "int8_isa"
        case bandwidthGBs = "bandwidth_gbs"
        case warnings
    }

    /// Measures for about two seconds.
    public static func run(settings: Settings) throws -> Diagnosis {
        try BLASLibrary.prepare(settings)
        let threads = settings.threads ?? ComputeDiagnosis.usableCores()
        let found = try ComputeDiagnosis.run(threads: threads)
        return Diagnosis(
            cpu: CPU(
                model: found.cpu.model, features: found.cpu.features, cores: found.cpu.cores.count, threads: threads),
            kernels: Dictionary(uniqueKeysWithValues: found.kernels.map { ($0.type, $0.isa) }),
            kernelSummary: found.kernelSummary,
            blas: BLASReport(
                vendor: found.blas.vendor, version: found.blas.version, path: found.blas.path, symbol: found.blas.symbol,
                threading: found.blas.threading, threads: found.blas.threads, loaded: found.blas.loaded),
            sgemmGflops: found.sgemmGflops, int8Gops: found.int8Gops, int8ISA: found.int8ISA,
            bandwidthGBs: found.bandwidthGBs, warnings: found.warnings)
    }
}
