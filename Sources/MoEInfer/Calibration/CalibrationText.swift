// SPDX-License-Identifier: Apache-2.0

import MoETokenizer

/// The windows of a calibration: drawn by seed, as many of each text, and none used for two things.
struct CalibrationText {
    /// What heads are fitted on.
    var train: [[Int32]] = []
    /// What gates are chosen on: temperatures, ridges, prices.
    var choice: [[Int32]] = []
    /// What operating points and comparisons are measured on, by text.
    var heldOut: [[Int32]] = []
    /// The text, by index, that each window of `train` is from.
    var trainSources: [Int] = []
    var warnings: [String] = []

    /// - Throws: ``RequestError`` for too little text.
    init(_ texts: [String], heldOut measured: [String], options: CalibrationOptions, tokenizer: Tokenizer) throws {
        var random = SplitMix(state: options.seed)
        var sources = texts.map {
            EvaluationText.cut($0, tokenizer: tokenizer, window: options.window).shuffled(using: &random)
        }
        let available = sources.reduce(0) { $0 + $1.count }
        let wanted = max(1, options.tokens / options.window)
        if available < wanted {
            warnings.append(
                "the text has \(available * options.window) tokens in windows of \(options.window); "
                    + "\(options.tokens) were asked for")
        }
        for (index, source) in sources.enumerated() where source.isEmpty {
            warnings.append("text \(index + 1) of \(texts.count) is shorter than a window of \(options.window) tokens")
        }
        let limit = max(1, options.heldOutTokens / options.window)
        if measured.isEmpty {
            heldOut = Self.take(min(limit, max(1, min(available, wanted) / 8)), from: &sources).map(\.window)
        } else {
            var others = measured.map { EvaluationText.cut($0, tokenizer: tokenizer, window: options.window) }
            heldOut = Self.take(limit, from: &others).map(\.window)
        }
        let rest = min(sources.reduce(0) { $0 + $1.count }, wanted)
        choice = Self.take(max(1, rest / 6), from: &sources).map(\.window)
        let learned = Self.take(rest - choice.count, from: &sources)
        (train, trainSources) = (learned.map(\.window), learned.map(\.source))
        if train.isEmpty || choice.isEmpty || heldOut.isEmpty {
            let expected = measured.isEmpty ? "3" : "2, and 1 of held-out text (found \(heldOut.count))"
            throw RequestError(
                "too little text: \(min(available, wanted)) windows of \(options.window) tokens; expected at least "
                    + expected)
        }
        let seen = Set(train + choice)
        let known = heldOut.count { seen.contains($0) }
        if known > 0 {
            warnings.append(
                "\(known) of \(heldOut.count) windows of the held-out text are learned from, too: its figures are too good")
        }
        if heldOut.count * options.window < 4096 {
            warnings.append("operating points are measured on \(heldOut.count * options.window) tokens only")
        }
    }

    /// Drops what a plan does not use, as evenly as the text is spread over its sources.
    mutating func keep(train: Int, choice: Int, heldOut: Int) {
        let kept = Self.spread(train, of: self.train.count)
        (self.train, trainSources) = (kept.map { self.train[$0] }, kept.map { trainSources[$0] })
        self.choice = Self.spread(choice, of: self.choice.count).map { self.choice[$0] }
        self.heldOut = Self.spread(heldOut, of: self.heldOut.count).map { self.heldOut[$0] }
    }

    /// `count` of `total` indices, evenly.
    static func spread(_ count: Int, of total: Int) -> [Int] {
        let count = min(count, total)
        return (0..<count).map { $0 * total / max(count, 1) }
    }

    /// `count` windows in turn from every source that has any left, removed from it.
    private static func take(_ count: Int, from sources: inout [[[Int32]]]) -> [(window: [Int32], source: Int)] {
        var taken: [(window: [Int32], source: Int)] = []
        while taken.count < count, sources.contains(where: { !$0.isEmpty }) {
            for index in sources.indices where !sources[index].isEmpty && taken.count < count {
                taken.append((sources[index].removeFirst(), index))
            }
        }
        // By source, in order.
        return taken.enumerated().sorted { ($0.element.source, $0.offset) < ($1.element.source, $1.offset) }
            .map(\.element)
    }
}
