// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import MoEInfer

struct DoctorCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor",
        abstract: "Show what this machine offers and what will be used: CPU, kernels, BLAS, speed limits.",
        discussion: """
            EXAMPLES
              moe-infer doctor
              MOE_BLAS_LIBRARY=libblis.so.4 moe-infer doctor --json
            """)

    @Option(help: "Worker threads. Default: the cores that this process may use.")
    var threads: Int?

    @Flag(help: "Write one JSON document.")
    var json = false

    func run() async throws {
        let settings = try await Settings.load(commandLine: threads.map { ["threads": "\($0)"] } ?? [:], file: nil)
        let report = try Diagnosis.run(settings: settings)
        if json {
            try Terminal.write(json: report)
            return
        }
        let blas = report.blas
        Terminal.write(
            """
            cpu        \(report.cpu.model)
                       \(report.cpu.features.joined(separator: " "))
                       \(report.cpu.threads) threads used of \(report.cpu.cores) cores, \(Self.placement(report.cpu))
            kernels    \(report.kernelSummary)
            blas       \(blas.vendor) \(blas.version)
                       \(blas.path) (\(blas.loaded ? "MOE_BLAS_LIBRARY" : "linked"), \(blas.symbol), \(blas.threading))
            sgemm      \(Figures.number(report.sgemmGflops)) GFLOP/s
            bandwidth  \(Figures.number(report.bandwidthGBs)) GB/s

            """)
        for warning in report.warnings { Terminal.write("warning    \(warning)\n") }
        if report.warnings.isEmpty { Terminal.write("no warnings\n") }
    }

    /// Pinning, control group quota and NUMA nodes.
    private static func placement(_ cpu: Diagnosis.CPU) -> String {
        let nodes = cpu.nodes == 1 ? "1 NUMA node" : "\(cpu.nodes) NUMA nodes (\(cpu.numa))"
        let quota = cpu.quota.map { "quota \(Figures.number($0)) cores" } ?? "no quota"
        return "\(cpu.affinity.map { "pinned to \($0)" } ?? "not pinned"), \(quota), \(nodes)"
    }
}
