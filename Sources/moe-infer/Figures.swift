// SPDX-License-Identifier: Apache-2.0

import Foundation
import MoEInfer

/// Figures for people.
enum Figures {
    /// `prompt 12 tokens, 340.1/s · generation 160 tokens, 98.2/s · 3.1 experts/token of 8 (−61 %) · k 1▃2█3▅4▂`
    static func line(_ result: GenerationResult) -> String {
        let timings = result.timings
        var parts = [
            "prompt \(result.usage.promptTokens) tokens, \(number(timings.promptTokensPerSecond))/s",
            "generation \(result.usage.completionTokens) tokens, \(number(timings.generationTokensPerSecond))/s",
        ]
        if let moe = result.usage.moe { parts.append(contentsOf: Figures.parts(moe)) }
        return "[" + parts.joined(separator: " · ") + "]"
    }

    static func parts(_ moe: MoEUsage) -> [String] {
        let saved = moe.savedFraction == 0 ? "" : " (\(number(100 * moe.savedFraction, 0)) % saved)"
        return ["\(number(moe.meanExperts, 2)) experts/token\(saved)", "k \(histogram(moe.histogram))"]
    }

    /// One bar per k that occurs: `1▃ 2█ 3▅`.
    static func histogram(_ counts: [Int]) -> String {
        let bars = Array("▁▂▃▄▅▆▇█")
        let largest = max(1, counts.max() ?? 1)
        return counts.enumerated().filter { $0.element > 0 }
            .map { "\($0.offset)\(bars[min(bars.count - 1, $0.element * bars.count / (largest + 1))])" }
            .joined(separator: " ")
    }

    static func number(_ value: Double, _ digits: Int = 1) -> String { String(format: "%.\(digits)f", value) }

    static func bytes(_ count: Int) -> String {
        let units = ["B", "KiB", "MiB", "GiB"]
        var value = Double(count)
        var unit = 0
        while value >= 1024, unit < units.count - 1 {
            value /= 1024
            unit += 1
        }
        return unit == 0 ? "\(count) B" : "\(number(value)) \(units[unit])"
    }

    /// Columns of text: the first to the left, the rest to the right.
    static func table(_ rows: [[String]]) -> String {
        let widths = (0..<(rows.map(\.count).max() ?? 0)).map { column in
            rows.map { $0.indices.contains(column) ? $0[column].count : 0 }.max() ?? 0
        }
        return rows.map { row in
            row.enumerated().map { column, cell in
                let padding = String(repeating: " ", count: widths[column] - cell.count)
                return column == 0 ? cell + padding : padding + cell
            }.joined(separator: "  ")
        }.joined(separator: "\n") + "\n"
    }
}

/// `moe-infer generate --json`
struct GenerateReport: Encodable {
    struct Usage: Encodable {
        let prompt_tokens: Int
        let completion_tokens: Int
        let moe: MoEUsage?
    }
    struct Timings: Encodable {
        let load_seconds: Double
        let prompt_tokens_per_second: Double
        let generation_tokens_per_second: Double
    }

    let text: String
    let tokens: [Int32]
    let finish_reason: String
    let logprobs: [TokenLogprobs]?
    let usage: Usage
    let timings: Timings

    init(_ result: GenerationResult, loadSeconds: Double) {
        text = result.text
        tokens = result.tokens
        finish_reason = result.finishReason.rawValue
        logprobs = result.logprobs.isEmpty ? nil : result.logprobs
        usage = Usage(
            prompt_tokens: result.usage.promptTokens, completion_tokens: result.usage.completionTokens,
            moe: result.usage.moe)
        timings = Timings(
            load_seconds: loadSeconds, prompt_tokens_per_second: result.timings.promptTokensPerSecond,
            generation_tokens_per_second: result.timings.generationTokensPerSecond)
    }
}
