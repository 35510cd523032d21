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
              moe-infer doctor --verbose
              MOE_BLAS_LIBRARY=libblis.so.4 moe-infer doctor --json
            """)

    @Option(help: "Worker threads. Default: the cores that this process may use.")
    var threads: Int?

    @Flag(help: "Measure every way of multiplying (half a minute), and show which is chosen for which number of rows.")
    var verbose = false

    @Flag(help: "Write one JSON document.")
    var json = false

    func run() async throws {
        let settings = try await Settings.load(commandLine: threads.map { ["threads": "\($0)"] } ?? [:], file: nil)
        let bar = ProgressBar("doctor")
        let report = try await Interrupts.cancelling { [verbose] in
            try Diagnosis.run(settings: settings, products: verbose) { bar.show($0, of: $1) }
        }
        bar.finish()
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
            int8       \(Figures.number(report.int8Gops)) GOP/s (\(report.int8ISA))
            bandwidth  \(Figures.number(report.bandwidthGBs)) GB/s

            """)
        if let products = report.products { Terminal.write(table(products)) }
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

private func table(_ products: [Diagnosis.Product]) -> String {
    func cells(_ texts: [String]) -> String {
        zip(texts, [8, 6, 10, 10, 15, 0]).map { text, width in
            String(repeating: " ", count: max(0, width - text.count)) + text
        }.joined(separator: " ") + "\n"
    }
    let header = cells(["weights", "rows", "native", "BLAS", "chosen", " (GOP/s; eight [1024, 2048] matrices from memory)"])
    return "\n" + header
        + products.map { product in
            cells([
                product.type, "\(product.rows)", Figures.number(product.nativeGops), Figures.number(product.blasGops),
                product.chosen,
                product.chosenShare < 0.95 ? " \(Figures.number(100 * product.chosenShare, 0)) % of the fastest" : "",
            ])
        }.joined() + "\n"
}
