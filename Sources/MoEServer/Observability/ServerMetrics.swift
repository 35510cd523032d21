// SPDX-License-Identifier: Apache-2.0

import CoreMetrics
import Foundation
import MoEInfer
import Synchronization

/// What `GET /metrics` tells, kept by swift-metrics in a ``Prometheus`` of this server's own.
final class ServerMetrics: Sendable {
    private let registry = Prometheus(help: [
        "moe_requests_total": "Requests by endpoint and HTTP status.",
        "moe_generations_total": "Requests for text by how they ended.",
        "moe_tokens_total": "Tokens of prompts that were computed, that were cached, and generated ones.",
        "moe_expert_evaluations_total": "(token, layer, expert) triples that requests were charged with.",
        "moe_time_to_first_token_seconds": "From a request's arrival to its first token, waiting included.",
        "moe_inter_token_seconds": "Between two tokens of an answer.",
        "moe_request_seconds": "From a request's arrival to its last token.",
        "moe_running": "Answers that the engine runs.",
        "moe_waiting": "Answers that the engine holds back: no room in the KV cache, or preempted.",
        "moe_queued": "Answers that wait for a place in the engine.",
        "moe_kv_blocks": "Blocks of the KV cache by state; cached ones are free and hold a prefix.",
        "moe_preemptions_total": "Answers that had to give their blocks back and start over.",
        "moe_pressure_level": "0: none; above: new tokens run at cheaper operating points.",
        "moe_degraded_tokens_total": "Tokens that ran at a cheaper operating point because of load.",
        "moe_experts_per_token": "Mean experts per token and layer, by request.",
        "moe_cost_usd_total": "What answers cost at the configured price of a core-hour.",
        "process_resident_memory_bytes": "Resident memory of the server.",
    ])

    private let promptTokens, cachedTokens, generatedTokens, evaluations, degraded: Counter
    private let cost: FloatingPointCounter
    private let firstToken, interToken, requestTime: CoreMetrics.Timer
    private let experts: Recorder
    private let recent = Mutex(1.0)
    private struct Totals {
        var completed = 0
        var cancelled = 0
        var failed = 0
        var refused = 0
        var cost = 0.0
    }
    private let totals = Mutex(Totals())

    init() {
        let registry = registry
        func tokens(_ kind: String) -> Counter {
            Counter(label: "moe_tokens_total", dimensions: [("kind", kind)], factory: registry)
        }
        (promptTokens, cachedTokens, generatedTokens) = (tokens("prompt"), tokens("cached"), tokens("generated"))
        evaluations = Counter(label: "moe_expert_evaluations_total", dimensions: [], factory: registry)
        degraded = Counter(label: "moe_degraded_tokens_total", dimensions: [], factory: registry)
        cost = FloatingPointCounter(label: "moe_cost_usd_total", dimensions: [], factory: registry)
        func timer(_ label: String) -> CoreMetrics.Timer { Timer(label: label, dimensions: [], factory: registry) }
        firstToken = timer("moe_time_to_first_token_seconds")
        interToken = timer("moe_inter_token_seconds")
        requestTime = timer("moe_request_seconds")
        experts = Recorder(label: "moe_experts_per_token", dimensions: [], aggregate: true, factory: registry)
    }

    // MARK: Counting

    func countRequest(endpoint: String, status: Int) {
        Counter(
            label: "moe_requests_total", dimensions: [("endpoint", endpoint), ("status", String(status))], factory: registry
        ).increment()
        if status == 429 { totals.withLock { $0.refused += 1 } }
    }

    func countFirstToken(seconds: Double) { firstToken.recordNanoseconds(Int64(seconds * 1e9)) }
    func countInterToken(seconds: Double) { interToken.recordNanoseconds(Int64(seconds * 1e9)) }

    func countEnd(_ status: RequestRecord.Status, seconds: Double) {
        Counter(label: "moe_generations_total", dimensions: [("outcome", status.rawValue)], factory: registry).increment()
        totals.withLock { totals in
            switch status {
            case .completed: totals.completed += 1
            case .cancelled: totals.cancelled += 1
            default: totals.failed += 1
            }
        }
        guard status == .completed else { return }
        requestTime.recordNanoseconds(Int64(seconds * 1e9))
        recent.withLock { $0 = 0.9 * $0 + 0.1 * seconds }
    }

    func countUsage(_ usage: GenerationResult.Usage, cost: Double) {
        promptTokens.increment(by: usage.promptTokens - usage.cachedTokens)
        cachedTokens.increment(by: usage.cachedTokens)
        generatedTokens.increment(by: usage.completionTokens)
        degraded.increment(by: usage.degradedTokens)
        if let moe = usage.moe {
            evaluations.increment(by: moe.expertEvaluations)
            experts.record(moe.meanExperts)
        }
        self.cost.increment(by: cost)
        totals.withLock { $0.cost += cost }
    }

    /// Seconds that completed requests took, lately.
    var recentSeconds: Double { recent.withLock { $0 } }

    var figures: (completed: Int, cancelled: Int, failed: Int, refused: Int, cost: Double) {
        totals.withLock { ($0.completed, $0.cancelled, $0.failed, $0.refused, $0.cost) }
    }

    // MARK: Text

    /// - Parameter gauges: name, labels and value of what is asked for rather than counted.
    func text(preemptions: Int, gauges: [(name: String, labels: [(String, String)], value: Double)]) -> String {
        registry.setCounter("moe_preemptions_total", to: Double(preemptions))
        for gauge in gauges { Meter(label: gauge.name, dimensions: gauge.labels, factory: registry).set(gauge.value) }
        if let bytes = Self.residentBytes {
            Meter(label: "process_resident_memory_bytes", dimensions: [], factory: registry).set(Double(bytes))
        }
        return registry.text
    }

    static var residentBytes: Int? {
        guard let data = FileManager.default.contents(atPath: "/proc/self/statm") else { return nil }
        let words = String(decoding: data, as: UTF8.self).split(separator: " ")
        return words.count > 1 ? Int(words[1]).map { $0 * sysconf(Int32(_SC_PAGESIZE)) } : nil
    }
}
