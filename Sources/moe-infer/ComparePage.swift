// SPDX-License-Identifier: Apache-2.0

import MoEInfer

/// The page of `moe-infer compare --html`.
struct ComparePage {
    let report: ComparisonReport
    let model: String

    var html: String {
        Page.html(
            title: "moe-infer: routing policies compared", style: Chart.style + Self.style,
            body: """
                <h1>\(escape(sentence(report.verdict)))</h1>
                \(report.warnings.map { "<p><b>Warning:</b> \(escape($0))</p>" }.joined())
                <p class="lead">\(summary)</p>
                \(Chart.key(series { point in (point.meanExperts, point.kl) }))
                <div class="charts">
                \(chart("KL to static, by decode time", yLabel: "nats per token", logarithmic: true) { ($0.decode.timeRatio, $0.kl) })
                \(chart("Perplexity, by decode time", yLabel: "change") { ($0.decode.timeRatio, $0.perplexityChange) })
                \(chart("KL to static, by mean k", x: "experts per token", yLabel: "nats per token", logarithmic: true) {
                    ($0.meanExperts, $0.kl)
                })
                \(chart("Perplexity, by mean k", x: "experts per token", yLabel: "change") { ($0.meanExperts, $0.perplexityChange) })
                </div>
                <h2>At the same decode time</h2>
                <p>\(escape(report.candidate)) less the other policy, with 95 % intervals. Negative is better. A difference whose interval
                contains 0 is grey.</p>
                \(differences(report.matchedLatency, at: "time"))
                <h2>At the same number of experts</h2>
                \(differences(report.matchedExperts, at: "mean k"))
                \(misrouting)
                <h2>Every point</h2>
                <p>Perplexity as change against static routing. Time: median of the ratio to static routing in the same round, its
                quartiles when the pointer rests.</p>
                \(points)
                <h2>By domain</h2>
                <p>Change of perplexity, and experts per token. The last domain may mix the others.</p>
                \(domains)
                <h2>Experts per token, by layer</h2>
                \(layers)
                """)
    }

    private var summary: String {
        let reference = report.reference
        let texts = zip(report.domains, report.tokens).map { "\(escape($0)) (\($1) tokens)" }.joined(separator: ", ")
        return
            "\(escape(model)), \(report.layerCount) layers, \(report.expertsPerToken) of \(report.expertCount) experts. Text: \(texts). "
            + "Static routing at k = \(report.expertsPerToken): perplexity \(Figures.number(reference.perplexity, 3)), "
            + "\(Figures.number(reference.decode.tokensPerSecond.median)) tokens/s decoding, "
            + "\(Figures.number(reference.prefill.tokensPerSecond.median)) of a prompt, on \(report.threads) threads."
    }

    // MARK: Charts

    private func series(_ place: (ComparisonReport.Point) -> (Double, Double)) -> [Chart.Series] {
        report.policies.map { policy in
            let points = (policy.points + [report.reference]).map { point -> (x: Double, y: Double, note: String) in
                let (x, y) = place(point)
                let note =
                    "\(Figures.number(point.meanExperts, 2)) experts, KL \(Figures.small(point.kl)), "
                    + "perplexity \(Figures.percent(point.perplexityChange)), time \(Figures.number(point.decode.timeRatio, 3))"
                return (x, y, note)
            }
            return Chart.Series(
                name: policy.name, points: points.sorted { $0.x < $1.x }, isMain: policy.name == report.candidate)
        }
    }

    private func chart(
        _ title: String, x: String = "decode time, times static", yLabel: String, logarithmic: Bool = false,
        _ place: (ComparisonReport.Point) -> (Double, Double)
    ) -> String {
        Chart(
            title: title, xLabel: x, yLabel: yLabel, series: series(place), isLogarithmic: logarithmic,
            yText: logarithmic ? { "\(Float($0))" } : { Figures.number(100 * $0, 1) + " %" }
        ).svg
    }

    // MARK: Tables

    private var misrouting: String {
        guard let first = report.misrouting.first else { return "" }
        func row(_ name: String, _ figures: ComparisonReport.Misrouting.Figures, _ last: String = "<td></td><td></td>")
            -> String
        {
            "<tr><th title=\"\(escape(figures.routing))\">\(escape(name))</th><td>\(Figures.number(figures.meanExperts, 2))</td>"
                + "<td>\(Figures.small(figures.kl))</td><td>\(Figures.small(figures.worstKL))</td>"
                + "<td>\(figures.mixedKL.map { Figures.small($0) } ?? "")</td>\(last)</tr>"
        }
        var rows = row("none", first.base)
        for one in report.misrouting {
            let rule = one.rerouted.routing.split(separator: "+reroute:").last.map(String.init) ?? ""
            rows += row(
                rule, one.rerouted,
                "<td>\(Figures.number(100 * one.reroutes)) %</td>"
                    + cell(
                        one.worstDifference95, Figures.small(one.worstDifference),
                        Figures.small(one.worstDifference95)))
            rows += row("control: the dial instead", one.control)
        }
        return """
            <h2>Unsure tokens</h2>
            <p>Tokens whose gate is unsure are routed again with two more experts. The worst are the \(first.worstTokens) tokens with the
            largest KL without re-routing. The control spends as many experts by turning the dial.</p>
            <table class="figures"><tr><th>re-routing</th><th>mean k</th><th>KL</th><th>KL of the worst</th><th>KL, mixed</th>
            <th>re-routed</th><th>worst, less control</th><th>95 %</th></tr>\(rows)</table>
            """
    }

    private func differences(_ matches: [ComparisonReport.Match], at label: String) -> String {
        let rows = matches.flatMap { match in
            match.differences.enumerated().map { index, one in
                "<tr><th>\(index == 0 ? Figures.number(match.at, 3) : "")</th><td>\(escape(one.policy))</td>"
                    + cell(one.kl95, Figures.small(one.kl), Figures.small(one.kl95))
                    + cell(
                        one.perplexity95, Figures.percent(one.perplexity),
                        Figures.interval(one.perplexity95.map { 100 * $0 }, 2) + " %") + "</tr>"
            }
        }
        return
            "<table class=\"figures\"><tr><th>\(label)</th><th>less</th><th>KL</th><th>95 %</th><th>perplexity</th><th>95 %</th></tr>"
            + "\(rows.joined())</table>"
    }

    /// A value and its interval, coloured when the interval leaves 0 out.
    private func cell(_ interval: [Double], _ value: String, _ text: String) -> String {
        let name = interval[1] < 0 ? "good" : interval[0] > 0 ? "bad" : "even"
        return "<td class=\"\(name)\">\(value)</td><td class=\"\(name)\">\(text)</td>"
    }

    private var points: String {
        let rows = report.policies.flatMap { policy in
            policy.points.map { point in
                let quartiles = Figures.interval(point.decode.timeRatioQuartiles, 3)
                return
                    "<tr><th title=\"\(escape(point.routing))\">\(escape(policy.name))</th><td>\(Figures.number(point.meanExperts, 2))</td>"
                    + "<td title=\"\(Figures.interval(point.perplexityChange95.map { 100 * $0 }, 2)) %\">"
                    + "\(Figures.percent(point.perplexityChange))</td><td>\(Figures.small(point.kl))</td>"
                    + "<td>\(Figures.small(point.kl99))</td><td>\(Figures.number(100 * point.topOne, 1)) %</td>"
                    + "<td title=\"\(quartiles)\">\(Figures.number(point.decode.timeRatio, 3))</td>"
                    + "<td>\(Figures.number(point.decode.tokensPerSecond.median))</td>"
                    + "<td>\(Figures.number(100 * point.decode.gateTimeFraction, 1)) %</td>"
                    + "<td>\(Figures.bytes(Int(point.decode.expertBytesPerToken)))</td>"
                    + "<td>\(Figures.number(point.prefill.timeRatio, 3))</td>"
                    + "<td>\(Figures.number(point.prefill.tokensPerSecond.median))</td></tr>"
            }
        }
        return """
            <table class="figures"><tr><th>policy</th><th>mean k</th><th>perplexity</th><th>KL</th><th>p99 KL</th><th>top-1</th>
            <th>decode time</th><th>tokens/s</th><th>gate</th><th>expert bytes</th><th>prompt time</th><th>tokens/s</th></tr>
            \(rows.joined(separator: "\n"))</table>
            """
    }

    private var domains: String {
        let head = report.domains.map { "<th>\(escape($0))</th>" }.joined()
        let rows = report.policies.flatMap { policy in
            policy.points.map { point in
                let cells = point.domains.map { one in
                    cell(one.perplexityChange95, one, worst: one.domain == point.worstDomain)
                }
                return
                    "<tr><th>\(escape(policy.name))</th><td>\(Figures.number(point.meanExperts, 2))</td>\(cells.joined())</tr>"
            }
        }
        return
            "<table class=\"figures\"><tr><th>policy</th><th>mean k</th>\(head)</tr>\(rows.joined(separator: "\n"))</table>"
    }

    private func cell(_ interval: [Double], _ one: ComparisonReport.DomainFigures, worst: Bool) -> String {
        let value = "\(Figures.percent(one.perplexityChange)) <small>\(Figures.number(one.meanExperts, 2))</small>"
        return "<td title=\"\(Figures.interval(interval.map { 100 * $0 }, 2)) %\">\(worst ? "<b>\(value)</b>" : value)</td>"
    }

    /// The candidate at its point nearest half of the model's experts.
    private var layers: String {
        guard let policy = report.policies.first(where: { $0.name == report.candidate }),
            let point = policy.points.min(by: {
                abs($0.meanExperts - Double(report.expertsPerToken) / 2)
                    < abs($1.meanExperts - Double(report.expertsPerToken) / 2)
            })
        else { return "" }
        let rows = point.layers.map { layer in
            "<tr><th>layer \(layer.layer)</th><td class=\"bar\">"
                + Page.bar(histogram: layer.histogram, maximum: report.expertsPerToken)
                + "</td><td>\(Figures.number(layer.meanExperts, 2))</td></tr>"
        }
        return """
            <p>Share of tokens that ran k experts: \(escape(policy.name)) at \(Figures.number(point.meanExperts, 2)) experts per token,
            <code>\(escape(point.routing))</code>.</p>
            <table><tr><th></th><th>k</th><th>mean</th></tr>\(rows.joined())</table>
            """
    }

    private func escape(_ text: String) -> String { Page.escape(text) }

    private func sentence(_ text: String) -> String { text.prefix(1).uppercased() + text.dropFirst() + "." }

    private static let style = """

        h1{font-size:1.3rem;line-height:1.35}.figures{font-size:.88rem}.figures td,.figures th{white-space:nowrap;padding:.1rem .6rem .1rem 0}
        .figures tr{border-bottom:1px solid var(--line)}.even{color:var(--dim)}.good{color:hsl(150 60% 35%)}.bad{color:hsl(8 75% 50%)}
        .figures{display:block;overflow-x:auto}
        """
}
