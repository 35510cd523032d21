// SPDX-License-Identifier: Apache-2.0

import Glibc
import MoEModel

/// Whether a calibration text is of more than one kind, as the model's own routers see it and as its characters show it. Heads learned
/// from prose alone are measured on code at somebody's first request.
public struct TextDiversity {
    /// What was found.
    public struct Measured: Sendable, Encodable {
        /// Files with text in them.
        public let texts: Int
        /// Mutual information between window and expert, bits, mean over layers; less what chance gives on windows of this size.
        public let windowInformation: Double
        /// The same between file and expert; nil for one file.
        public let textInformation: Double?
        /// Kinds of text found among the windows: prose, code, mathematics, dialogue.
        public let kinds: [String]
        public let warnings: [String]
    }

    let passes: CalibrationPasses
    let text: CalibrationText

    static let allKinds = ["prose", "code", "mathematics", "dialogue"]
    /// Windows looked at, evenly over the text.
    static let windows = 24

    func measure() async throws -> Measured {
        let chosen = CalibrationText.spread(Self.windows, of: text.train.count)
        var loads: [[Int: [Double]]] = []
        var seen: [String: Int] = [:]
        let tokenizer = try passes.llm.tokenizer
        for index in chosen {
            let window = text.train[index]
            let flat = try await passes.journal.value("diversity/\(index)") {
                let statistics = RoutingStatistics()
                try await PolicyEvaluator(llm: passes.llm, windows: [window]).run(StaticRouting(), observer: statistics)
                return statistics.layers.flatMap { [Double($0.layer)] + $0.expertLoad.map(Double.init) }
            }
            passes.advance("kinds of text", by: window.count)
            let width = passes.shape.expertCount + 1
            loads.append(
                Dictionary(
                    uniqueKeysWithValues: stride(from: 0, to: flat.count, by: width).map {
                        (Int(flat[$0]), Array(flat[$0 + 1..<$0 + width]))
                    }))
            var bytes: [UInt8] = []
            for token in window.dropFirst() { bytes += tokenizer.bytes(of: token) }
            seen[TextKind.of(String(decoding: bytes, as: UTF8.self)), default: 0] += 1
        }
        let sources = chosen.map { text.trainSources[$0] }
        // A kind counts from a tenth of the windows on.
        let kinds = Self.allKinds.filter { seen[$0, default: 0] * 10 >= chosen.count }
        let files = Set(text.trainSources).count
        var warnings: [String] = []
        let missing = Self.allKinds.filter { !kinds.contains($0) }
        if kinds.count == 1 {
            warnings.append(
                "the text to learn from looks like \(kinds[0]) only: add text of other kinds (\(missing.joined(separator: ", "))), "
                    + "or the gate is a guess there")
        }
        return Measured(
            texts: files, windowInformation: Self.information(loads, groups: Array(loads.indices)),
            textInformation: files > 1 ? Self.information(loads, groups: sources) : nil, kinds: kinds,
            warnings: warnings)
    }

    /// I(group; expert) in bits, mean over layers: how much an expert's name says about where its token is from. The plug-in estimate
    /// less (groups - 1)(E - 1) / (2 N ln 2), its bias for independent draws (Miller 1955).
    package static func information(_ loads: [[Int: [Double]]], groups: [Int]) -> Double {
        guard let layers = loads.first?.keys.sorted(), !layers.isEmpty else { return 0 }
        let names = Set(groups).sorted()
        var sum = 0.0
        for layer in layers {
            var table: [[Double]] = []
            for name in names {
                let members = loads.indices.filter { groups[$0] == name }.compactMap { loads[$0][layer] }
                guard let first = members.first else { continue }
                table.append(members.dropFirst().reduce(first) { zip($0, $1).map(+) })
            }
            let total = table.joined().reduce(0, +)
            guard total > 0, let experts = table.first?.count else { continue }
            let columns = (0..<experts).map { expert in table.reduce(0) { $0 + $1[expert] } }
            for row in table {
                let rowTotal = row.reduce(0, +)
                for (expert, count) in row.enumerated() where count > 0 {
                    sum += count / total * log2(count * total / (rowTotal * columns[expert]))
                }
            }
            sum -= Double((table.count - 1) * (experts - 1)) / (2 * total * M_LN2)
        }
        return max(0, sum / Double(layers.count))
    }
}

/// What kind of text a window is, by its characters: coarse, but nothing is needed to know.
package enum TextKind {
    package static func of(_ text: String) -> String {
        var (letters, digits, symbols, operators, quotes) = (0, 0, 0, 0, 0)
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), 128...: letters += 1
            case UInt8(ascii: "0")...UInt8(ascii: "9"): digits += 1
            case UInt8(ascii: "{"), UInt8(ascii: "}"), UInt8(ascii: "_"), UInt8(ascii: ";"), UInt8(ascii: "("),
                UInt8(ascii: ")"), UInt8(ascii: "["), UInt8(ascii: "]"), UInt8(ascii: "#"):
                symbols += 1
            case UInt8(ascii: "="), UInt8(ascii: "+"), UInt8(ascii: "*"), UInt8(ascii: "/"), UInt8(ascii: "^"),
                UInt8(ascii: "$"), UInt8(ascii: "\\"), UInt8(ascii: "%"):
                operators += 1
            case UInt8(ascii: "\""): quotes += 1
            default: break
            }
        }
        let lines = text.split(separator: "\n")
        let count = max(letters, 1)
        if symbols * 25 > count || (symbols * 40 > count && lines.contains { $0.hasPrefix("    ") }) { return "code" }
        if digits * 20 > count && operators * 100 > count || operators * 30 > count { return "mathematics" }
        // Speaker names, or quotes in every other sentence.
        let speakers = lines.filter { $0.count < 30 && $0.hasSuffix(":") }.count
        if speakers * 12 > lines.count && lines.count > 8 || quotes * 60 > count { return "dialogue" }
        return "prose"
    }
}
