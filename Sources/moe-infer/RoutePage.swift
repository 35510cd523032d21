// SPDX-License-Identifier: Apache-2.0

import Foundation
import MoEInfer

/// The page of `moe-infer route --html`.
struct RoutePage {
    let trace: RoutingTrace
    let routing: String
    let model: String

    var html: String {
        Page.html(
            title: "moe-infer: experts by token", style: Self.style,
            body: """
                <h1>How many experts each token was worth</h1>
                <p class="lead">\(summary)</p>
                \(trace.domains.map(tokens).joined())
                <h2>Experts per token, by layer</h2>
                <p>Share of tokens that ran k experts. Each layer decides anew.</p>
                \(histograms)
                <h2>Which expert serves which text</h2>
                <p>Colour: the expert's share of the layer's work on that text. Experts that specialise are dark in one row and light
                in another.\(informationNote)</p>
                \(heatMaps)
                """)
    }

    private var summary: String {
        let moe = trace.moe
        let saved =
            moe.savedFraction > 0 ? ", \(Figures.number(100 * moe.savedFraction, 0)) % fewer than static routing" : ""
        return
            "\(escape(model)) under <code>\(escape(routing))</code>: <b>\(Figures.number(moe.meanExperts, 2))</b> experts per"
            + " token and layer\(saved). \(moe.expertEvaluations) expert evaluations, counted where they were computed."
    }

    private var informationNote: String {
        trace.domains.count > 1
            ? " Bits: the mutual information between text and expert; 0 means that all texts use the experts alike, at most"
                + " \(Figures.number(log2(Double(trace.domains.count)), 2))." : ""
    }

    // MARK: Parts

    private func tokens(_ domain: RoutingTrace.Domain) -> String {
        let mean = domain.tokens.reduce(0) { $0 + $1.meanExperts } / Double(max(1, domain.tokens.count))
        let spans = domain.tokens.map { token -> String in
            let detail = token.experts.map(String.init).joined(separator: " ")
            return "<span style=\"--s:\(Figures.number(trace.heat(token.meanExperts), 2))\""
                + " title=\"\(Figures.number(token.meanExperts, 2)) experts; by layer \(detail)\">\(escape(token.text))</span>"
        }
        return
            "<h2>\(escape(domain.name)) <small>\(domain.tokens.count) tokens, \(Figures.number(mean, 2)) experts each</small></h2>"
            + "<div class=\"legend\">1 <i style=\"--s:0\"></i><i style=\"--s:.2\"></i><i style=\"--s:.4\"></i>"
            + "<i style=\"--s:.6\"></i><i style=\"--s:.8\"></i><i style=\"--s:1\"></i> \(Figures.number(trace.largestMean)) experts</div>"
            + "<pre class=\"tokens\">\(spans.joined())</pre>"
    }

    private var histograms: String {
        let all = trace.domains.flatMap(\.tokens)
        let layers = all.first?.experts.count ?? 0
        let rows = (0..<layers).map { layer -> String in
            var counts = [Int](repeating: 0, count: trace.maximumExperts + 1)
            for token in all { counts[token.experts[layer]] += 1 }
            let mean = counts.enumerated().reduce(0.0) { $0 + Double($1.offset * $1.element) } / Double(max(1, all.count))
            return
                "<tr><th>layer \(layer)</th><td class=\"bar\">\(Page.bar(histogram: counts, maximum: trace.maximumExperts))</td>"
                + "<td>\(Figures.number(mean, 2))</td></tr>"
        }
        return "<table><tr><th></th><th>k</th><th>mean</th></tr>\(rows.joined())</table>"
    }

    private var heatMaps: String {
        let layers = trace.domains.first?.load.count ?? 0
        return (0..<layers).map { layer -> String in
            let shares = trace.domains.map { domain -> [Double] in
                let load = domain.load[layer]
                let total = Double(max(1, load.reduce(0, +)))
                return load.map { Double($0) / total }
            }
            let largest = max(shares.flatMap { $0 }.max() ?? 0, 1e-9)
            let rows = zip(trace.domains, shares).map { domain, row -> String in
                let cells = row.enumerated().map { expert, share in
                    "<td class=\"cell\" style=\"--s:\(Figures.number(share / largest, 2))\""
                        + " title=\"expert \(expert): \(Figures.number(100 * share, 1)) %\"></td>"
                }
                return "<tr><th>\(escape(domain.name))</th>\(cells.joined())</tr>"
            }
            let bits =
                trace.domains.count > 1
                ? " <small>\(Figures.number(trace.mutualInformationBits[layer], 3)) bits</small>" : ""
            return "<h3>layer \(layer)\(bits)</h3><table class=\"heat\">\(rows.joined())</table>"
        }.joined()
    }

    private func escape(_ text: String) -> String { Page.escape(text) }

    private static let style = """
        .legend{color:var(--dim);font-size:.85rem}.legend i{display:inline-block;width:1.4rem;height:.8rem}
        .tokens{white-space:pre-wrap;overflow-wrap:anywhere;font:15px/1.7 ui-monospace,monospace;margin:.3rem 0}
        .tokens span,.legend i{background:hsl(calc(215 - 205*var(--s)) 75% 50%/calc(.18 + .5*var(--s)))}
        .tokens span{border-radius:2px;padding:1px 0}
        .heat th{width:9rem;overflow:hidden;text-overflow:ellipsis}.heat td{height:1.2rem;border:1px solid var(--line)}
        .cell{background:hsl(260 60% 50%/var(--s))}
        """
}
