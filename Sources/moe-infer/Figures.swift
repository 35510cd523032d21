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
        if let speculation = result.usage.speculation { parts.append(Figures.part(speculation)) }
        return "[" + parts.joined(separator: " · ") + "]"
    }

    /// `1.84 tokens/step, 61 % of 210 drafts right`
    static func part(_ usage: SpeculationUsage) -> String {
        "\(number(usage.tokensPerStep, 2)) tokens/step, \(number(100 * usage.acceptanceRate, 0)) % of \(usage.drafted) drafts right"
    }

    static func parts(_ moe: MoEUsage) -> [String] {
        let saved = moe.savedFraction == 0 ? "" : " (\(number(100 * moe.savedFraction, 0)) % saved)"
        let pairs = moe.histogram.reduce(0, +)
        let reroutes =
            moe.reroutes == 0 ? [] : ["\(number(100 * Double(moe.reroutes) / Double(max(1, pairs)), 1)) % re-routed"]
        return ["\(number(moe.meanExperts, 2)) experts/token\(saved)", "k \(histogram(moe.histogram))"] + reroutes
    }

    /// One bar per k that occurs: `1▃ 2█ 3▅`.
    static func histogram(_ counts: [Int]) -> String {
        let largest = max(1, counts.max() ?? 1)
        return counts.enumerated().filter { $0.element > 0 }
            .map { "\($0.offset)\(bar($0.element, of: largest))" }
            .joined(separator: " ")
    }

    static func number(_ value: Double, _ digits: Int = 1) -> String { String(format: "%.\(digits)f", value) }

    /// A relative change: `+0.42 %`.
    static func percent(_ change: Double) -> String { String(format: "%+.2f %%", 100 * change) }

    /// Three digits that say something: `0.0123`, `-0.00041`.
    static func small(_ value: Double) -> String {
        if value == 0 { return "0" }
        let digits = max(0, min(7, 2 - Int(log10(abs(value)).rounded(.down))))
        return String(format: "%.\(digits)f", value)
    }

    /// As ``small(_:)``.
    static func small(_ interval: [Double]) -> String { interval.map(small).joined(separator: " to ") }

    /// `-0.0012 to 0.0003`
    static func interval(_ bounds: [Double], _ digits: Int) -> String {
        bounds.map { number($0, digits) }.joined(separator: " to ")
    }

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

    /// A row per layer: mean k, a bar per k, a bar per expert (its load), the router's entropy.
    static func table(layers: [LayerRouting]) -> String {
        table(
            [["layer", "experts/token", "entropy", "k", "load by expert"]]
                + layers.map { layer in
                    [
                        "\(layer.layer)", number(layer.meanExperts, 2), number(layer.entropyBits, 2) + " bits",
                        histogram(layer.histogram), bars(layer.expertLoad),
                    ]
                })
    }

    /// One bar per value.
    static func bars(_ values: [Int]) -> String {
        let largest = max(1, values.max() ?? 1)
        return String(values.map { $0 == 0 ? " " : bar($0, of: largest) })
    }

    private static func bar(_ value: Int, of largest: Int) -> Character {
        let bars = Array("▁▂▃▄▅▆▇█")
        return bars[min(bars.count - 1, value * bars.count / (largest + 1))]
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
        let promptTokens: Int
        let cachedTokens: Int
        let completionTokens: Int
        let moe: MoEUsage?
        let speculation: SpeculationUsage?
    }
    struct Timings: Encodable {
        let loadSeconds: Double
        let promptTokensPerSecond: Double
        let generationTokensPerSecond: Double
    }

    let text: String
    let tokens: [Int32]
    let finishReason: String
    let logprobs: [TokenLogprobs]?
    let tokenExperts: [Double]?
    let usage: Usage
    let layers: [LayerRouting]?
    let timings: Timings

    init(_ result: GenerationResult, loadSeconds: Double, layers: Bool) {
        text = result.text
        tokens = result.tokens
        finishReason = result.finishReason.rawValue
        logprobs = result.logprobs.isEmpty ? nil : result.logprobs
        tokenExperts = result.tokenExperts.isEmpty ? nil : result.tokenExperts
        self.layers = layers ? result.layers : nil
        usage = Usage(
            promptTokens: result.usage.promptTokens, cachedTokens: result.usage.cachedTokens,
            completionTokens: result.usage.completionTokens,
            moe: result.usage.moe, speculation: result.usage.speculation)
        timings = Timings(
            loadSeconds: loadSeconds, promptTokensPerSecond: result.timings.promptTokensPerSecond,
            generationTokensPerSecond: result.timings.generationTokensPerSecond)
    }
}
