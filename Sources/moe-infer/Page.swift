// SPDX-License-Identifier: Apache-2.0

/// What the HTML pages share: one file, nothing fetched, no script, readable in the dark.
enum Page {
    static func html(title: String, style: String = "", body: String) -> String {
        """
        <!doctype html>
        <html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
        <meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
        <title>\(escape(title))</title><style>\(common)
        \(style)</style></head><body>
        \(body)
        </body></html>

        """
    }

    static func escape(_ text: String) -> String {
        text.replacing("&", with: "&amp;").replacing("<", with: "&lt;").replacing(">", with: "&gt;")
            .replacing("\"", with: "&quot;")
    }

    /// A bar that is cut in proportion to how many tokens ran k experts, k from 0 on.
    static func bar(histogram counts: [Int], maximum: Int) -> String {
        let total = Double(max(1, counts.reduce(0, +)))
        let parts = counts.enumerated().filter { $0.element > 0 }.map { k, count in
            let share = 100 * Double(count) / total
            let heat = maximum <= 1 ? 0 : max(0, Double(k - 1) / Double(maximum - 1))
            return "<span style=\"width:\(Figures.number(share, 2))%;--s:\(Figures.number(heat, 2))\""
                + " title=\"k = \(k): \(Figures.number(share, 1)) %\">\(share >= 5 ? "\(k)" : "")</span>"
        }
        return "<div>\(parts.joined())</div>"
    }

    private static let common = """
        :root{color-scheme:light dark;--bg:#fff;--fg:#1a1a1a;--dim:#666;--line:#ddd}
        @media(prefers-color-scheme:dark){:root{--bg:#16181c;--fg:#e6e6e6;--dim:#999;--line:#333}}
        body{background:var(--bg);color:var(--fg);font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
        h1{font-size:1.6rem;margin:0}h2{font-size:1.2rem;margin:2rem 0 .3rem}h3{font-size:1rem;margin:1rem 0 .2rem}
        small,th{color:var(--dim);font-weight:400}.lead{font-size:1.05rem}
        table{border-collapse:collapse;width:100%}th{text-align:left;white-space:nowrap;padding-right:.8rem;font-size:.9rem}
        td{padding:1px;font-variant-numeric:tabular-nums}
        .bar{width:100%}.bar div{display:flex;height:1.4rem;border:1px solid var(--line)}
        .bar span{display:block;text-align:center;font-size:.8rem;overflow:hidden}
        .bar span{background:hsl(calc(215 - 205*var(--s)) 75% 50%/calc(.18 + .5*var(--s)))}
        """
}
