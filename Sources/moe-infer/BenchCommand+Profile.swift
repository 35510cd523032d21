// SPDX-License-Identifier: Apache-2.0

import MoEInfer

extension BenchCommand {
    /// `bench --profile`: each test as a table of stages.
    func profileSteps(_ tests: [BenchmarkCase], _ policies: [(name: String, policy: any RoutingPolicy)]) async throws {
        let (repetitions, quiet) = (repetitions, json)
        let llm = try await model.load()
        let reports = try await Interrupts.cancelling {
            var reports: [StepReport] = []
            for (name, policy) in policies {
                for test in tests {
                    let report = try await llm.profileSteps(test, repetitions: repetitions, routing: policy, named: name)
                    if !quiet { Terminal.write(table(report)) }
                    reports.append(report)
                    try Task.checkCancellation()
                }
            }
            return reports
        }
        if json { try Terminal.write(json: reports) }
    }
}

private func table(_ report: StepReport) -> String {
    let title =
        "\(report.test), batch \(report.batch), \(report.routing): \(Figures.number(report.microsecondsPerStep)) us per step, "
        + "\(report.steps) steps\n"
    let rows = report.stages.map { stage in
        let speed = stage.weightBytes > 0 ? Figures.number(stage.gigabytesPerSecond) + " GB/s" : ""
        return "  " + pad(stage.name, 20, left: true) + pad(Figures.number(stage.microseconds), 12) + " us"
            + pad(Figures.number(100 * stage.share), 7) + " %" + pad(speed, 13) + "\n"
    }
    return title + rows.joined()
}

private func pad(_ text: String, _ width: Int, left: Bool = false) -> String {
    let padding = String(repeating: " ", count: max(0, width - text.count))
    return left ? text + padding : padding + text
}
