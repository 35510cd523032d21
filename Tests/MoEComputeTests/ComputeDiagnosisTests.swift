// SPDX-License-Identifier: Apache-2.0

import Foundation
import MoECompute
import Testing

@Suite struct ComputeDiagnosisTests {
    @Test func measuresThisMachine() throws {
        let diagnosis = try ComputeDiagnosis.run(threads: 1)
        #expect(diagnosis.sgemmGflops > 0 && diagnosis.sgemmGflops.isFinite)
        #expect(diagnosis.int8Gops > 0 && diagnosis.int8Gops.isFinite && !diagnosis.int8ISA.isEmpty)
        #expect(diagnosis.bandwidthGBs > 0 && diagnosis.bandwidthGBs.isFinite)
        #expect(diagnosis.kernels.count == 16)
        #expect(diagnosis.kernels.allSatisfy { !$0.isa.isEmpty })
        #expect(ComputeDiagnosis.usableCores() >= 1)
    }

    private func diagnosis(
        features: [String] = ["avx2"], affinity: Int = 4, quota: Double? = nil, threads: Int = 4,
        _ change: (inout BLASInformation) -> Void = { _ in }
    ) -> ComputeDiagnosis {
        var blas = BLAS.information
        (blas.vendor, blas.threads, blas.threading, blas.path) = ("OpenBLAS", 1, "pthread", "/lib/libopenblas.so.0")
        (blas.loaded, blas.named, blas.version) = (false, nil, "OpenBLAS 0.3.21 DYNAMIC_ARCH SkylakeX MAX_THREADS=64")
        change(&blas)
        return ComputeDiagnosis(
            cpu: .init(model: "test", features: features, cores: UsableCores(affinity: affinity, quota: quota)),
            threads: threads, kernels: [.init(type: "F32", isa: "avx2"), .init(type: "Q8_0", isa: "ref")], blas: blas,
            sgemmGflops: 1, int8Gops: 1, int8ISA: "avx2", bandwidthGBs: 1, warnings: [])
    }

    @Test func warnsOnlyOfBadMixes() {
        func warnings(_ diagnosis: ComputeDiagnosis, coreType: String? = nil) -> [String] {
            diagnosis.findWarnings(coreType: coreType)
        }
        #expect(warnings(diagnosis()).isEmpty)
        #expect(warnings(diagnosis { $0.vendor = "netlib" }).first?.contains("netlib") == true)
        #expect(
            warnings(diagnosis { ($0.threads, $0.threading) = (8, "openmp") }).first?.contains("OMP_NUM_THREADS=1") == true)
        let named = diagnosis { ($0.loaded, $0.named) = (true, "libblis.so.4") }
        #expect(warnings(named).first?.contains("comes from /lib/libopenblas.so.0") == true)
        #expect(warnings(diagnosis { ($0.loaded, $0.named) = (true, "libopenblas.so.0") }).isEmpty)
        let front = diagnosis { ($0.loaded, $0.named, $0.path) = (true, "/x/libblas.so.3", "/x/libblas.so.3") }
        #expect(warnings(front).first?.contains("front") == true)

        #expect(warnings(diagnosis(), coreType: "Haswell").isEmpty)
        #expect(warnings(diagnosis(), coreType: "nehalem").first?.contains("AVX2") == true)
        #expect(warnings(diagnosis(features: ["avx2", "avx512f"]), coreType: "Haswell").first?.contains("AVX-512") == true)
        #expect(warnings(diagnosis(features: ["avx2", "avx512f"]), coreType: "SkylakeX").isEmpty)

        // A CPU newer than the library: seen of 0.3.21 on Emerald Rapids.
        let unknown = diagnosis(features: ["avx2", "avx512f"]) {
            $0.version = "OpenBLAS 0.3.21 NO_LAPACKE DYNAMIC_ARCH NO_AFFINITY Prescott MAX_THREADS=64"
        }
        #expect(warnings(unknown).first?.contains("OPENBLAS_CORETYPE=SkylakeX") == true)
        #expect(warnings(unknown, coreType: "SkylakeX").isEmpty)

        #expect(warnings(diagnosis(threads: 5)).first?.contains("more threads than cores") == true)
        #expect(warnings(diagnosis(quota: 1.5)).first?.contains("quota of 1.5 cores") == true)
        #expect(warnings(diagnosis(quota: 3.5)).isEmpty)
    }

    @Test func kernelsAreSummedUp() {
        #expect(diagnosis().kernelSummary == "avx2: F32, ref: Q8_0")
    }

    @Test(arguments: [
        ("Cpus_allowed:\tff\nCpus_allowed_list:\t0-3,8\n", "0-3,8"), ("Cpus_allowed_list:\t7\n", "7"), ("Name: x\n", nil),
        ("Cpus_allowed_list:\tx\n", nil),
    ]) func affinityIsRead(status: String, expected: String?) {
        #expect(UsableCores.affinity(status: status)?.description == expected)
    }

    @Test func quotasRoundToWholeThreadsAndNeverToNothing() {
        #expect(UsableCores(affinity: 8, quota: nil).count == 8)
        #expect(UsableCores(affinity: 8, quota: 1.5).count == 2)
        #expect(UsableCores(affinity: 8, quota: 2.5).count == 3)
        #expect(UsableCores(affinity: 8, quota: 1.4).count == 1)
        #expect(UsableCores(affinity: 8, quota: 1e300).count == 8)
        #expect(UsableCores(affinity: 8, quota: 0.1).count == 1)
        #expect(UsableCores(affinity: 2, quota: 16).count == 2)
    }

    /// Both versions of control groups, limits of ancestors, and paths that belong to the host.
    @Test func quotaIsTheTightestLimit() throws {
        let root = FileManager.default.temporaryDirectory.appendingPathComponent("moe-cgroup-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: root) }
        func write(_ path: String, _ text: String) throws {
            let url = root.appendingPathComponent(path)
            try FileManager.default.createDirectory(at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
            try text.write(to: url, atomically: true, encoding: .utf8)
        }
        try write("a/cpu.max", "250000 100000\n")
        try write("a/b/cpu.max", "max 100000\n")
        try write("cpu,cpuacct/docker/cpu.cfs_quota_us", "-1\n")
        try write("cpu,cpuacct/docker/cpu.cfs_period_us", "100000\n")
        try write("cpu,cpuacct/cpu.cfs_quota_us", "50000\n")
        try write("cpu,cpuacct/cpu.cfs_period_us", "100000\n")

        func quota(_ memberships: String) -> Double? { UsableCores.quota(memberships: memberships, root: root.path) }
        #expect(quota("0::/a/b\n") == 2.5)
        #expect(quota("0::/other\n") == nil)
        #expect(quota("4:cpu,cpuacct:/docker/xyz\n") == 0.5)
        #expect(quota("4:memory:/docker\n0::/a\n") == 2.5)
        #expect(quota("nonsense\n\n") == nil)
    }
}
