// SPDX-License-Identifier: Apache-2.0

import Logging
import Synchronization

/// Says that a request's policy makes its text depend on its batch-mates: as a warning for the first such request of a loaded
/// model, at level `debug` for every one after it, so that a server's log names the fact without being flooded.
final class BatchPolicyLog: Sendable {
    private let logger = Logger(label: "moe-infer")
    private let hasWarned = Atomic(false)

    func note(_ routing: RoutingChoice) {
        let phases = [("prefill", routing.prefill?.batchPolicy), ("decode", routing.decode?.batchPolicy)]
            .compactMap { phase, policy in policy.map { (phase, $0) } }
        guard let first = phases.first else { return }
        let level: Logger.Level = hasWarned.exchange(true, ordering: .relaxed) ? .debug : .warning
        logger.log(
            level: level,
            "routing by the batch's union is not batch-invariant: a text may differ with what else is in its batch",
            metadata: [
                "phases": "\(phases.map(\.0).joined(separator: ","))", "policy": "\(first.1)",
            ])
    }
}
