// SPDX-License-Identifier: Apache-2.0

import Foundation
import MoEInfer

/// The page of `moe-infer route --html`: one file, nothing fetched, readable in the dark.
struct RoutePage {
    let trace: RoutingTrace
    let routing: String
    let model: String

    var html: String {
        """
        <!doctype html>
        <html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
        <meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
        <title>moe-infer: experts by token</title><style>\(Self.style)</style></head><body>
        <h1>How many experts each token was worth</h1>
        <p class="lead">\(summary)</p>
        \(trace.domains.map(tokens).joined())
        <h2>Experts per token, by layer</h2>
        <p>Share of tokens that ran k experts. Each layer decides anew.</p>
        \(histograms)
        <h2>Which expert serves which text</h2>
        <p>Colour: the expert's share of the layer's work on that text. Experts that specialise are dark in one row and light in
        another.\(informationNote)</p>
        \(heatMaps)
        </body></html>

        """
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
            let bars = counts.enumerated().filter { $0.element > 0 }.map { k, count in
                let share = 100 * Double(count) / Double(all.count)
                let heat = trace.maximumExperts <= 1 ? 0 : max(0, Double(k - 1) / Double(trace.maximumExperts - 1))
                return "<span style=\"width:\(Figures.number(share, 2))%;--s:\(Figures.number(heat, 2))\""
                    + " title=\"k = \(k): \(Figures.number(share, 1)) %\">\(share >= 5 ? "\(k)" : "")</span>"
            }
            return "<tr><th>layer \(layer)</th><td class=\"bar\"><div>\(bars.joined())</div></td>"
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

    private func escape(_ text: String) -> String {
        text.replacing("&", with: "&amp;").replacing("<", with: "&lt;").replacing(">", with: "&gt;")
            .replacing("\"", with: "&quot;")
    }

    private static let style = """
        :root{color-scheme:light dark;--bg:#fff;--fg:#1a1a1a;--dim:#666;--line:#ddd}
        @media(prefers-color-scheme:dark){:root{--bg:#16181c;--fg:#e6e6e6;--dim:#999;--line:#333}}
        body{background:var(--bg);color:var(--fg);font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
        h1{font-size:1.6rem;margin:0}h2{font-size:1.2rem;margin:2rem 0 .3rem}h3{font-size:1rem;margin:1rem 0 .2rem}
        small,.legend,th{color:var(--dim);font-weight:400}.lead{font-size:1.05rem}
        .tokens{white-space:pre-wrap;overflow-wrap:anywhere;font:15px/1.7 ui-monospace,monospace;margin:.3rem 0}
        .tokens span,.legend i,.bar span,.cell{background:hsl(calc(215 - 205*var(--s)) 75% 50%/calc(.18 + .5*var(--s)))}
        .tokens span{border-radius:2px;padding:1px 0}
        .legend{font-size:.85rem}.legend i{display:inline-block;width:1.4rem;height:.8rem}
        table{border-collapse:collapse;width:100%}th{text-align:left;white-space:nowrap;padding-right:.8rem;font-size:.9rem}
        .bar{width:100%}.bar div{display:flex;height:1.4rem;border:1px solid var(--line)}
        .bar span{display:block;text-align:center;font-size:.8rem;overflow:hidden}
        td{padding:1px;font-variant-numeric:tabular-nums}.heat th{width:9rem;overflow:hidden;text-overflow:ellipsis}
        .heat td{height:1.2rem;border:1px solid var(--line)}
        .cell{background:hsl(260 60% 50%/var(--s))}
        """
}
