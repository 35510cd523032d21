// SPDX-License-Identifier: Apache-2.0

import Foundation

/// A line chart as inline SVG.
struct Chart {
    struct Series {
        let name: String
        /// Ascending in x. `note` is shown where the pointer rests.
        let points: [(x: Double, y: Double, note: String)]
        /// Whether it stands out.
        let isMain: Bool
    }

    let title: String
    let xLabel: String
    let yLabel: String
    let series: [Series]
    /// Powers of ten on the y axis; values at or below 0 are left out.
    var isLogarithmic = false
    /// What a mark on the y axis says.
    var yText: (Double) -> String = { "\(Float($0))" }

    static let style = """
        figure{margin:0;flex:1 1 26rem;min-width:0}figcaption{font-weight:600;font-size:.95rem}
        .charts{display:flex;flex-wrap:wrap;gap:1rem}svg{width:100%;height:auto;overflow:visible}
        svg text{fill:var(--dim);font:11px system-ui,sans-serif}svg .axis{stroke:var(--line);stroke-width:1}
        svg polyline{fill:none;stroke-width:1.6}svg .main polyline{stroke-width:3}
        .s0{--c:hsl(8 75% 52%)}.s1{--c:hsl(215 65% 52%)}.s2{--c:hsl(150 50% 40%)}.s3{--c:hsl(280 45% 55%)}.s4{--c:hsl(40 85% 45%)}
        .s5{--c:hsl(0 0% 50%)}.s6{--c:hsl(330 60% 60%)}
        svg polyline{stroke:var(--c)}svg circle{fill:var(--c)}
        .key{display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;font-size:.9rem;margin:.5rem 0}
        .key i{display:inline-block;width:1.4rem;height:.25rem;background:var(--c);vertical-align:middle;margin-right:.4rem}
        """

    /// The names and colours of series, for several charts with the same ones.
    static func key(_ series: [Series]) -> String {
        let entries = series.enumerated().map { index, one in
            "<span class=\"s\(index % 7)\"><i></i>\(one.isMain ? "<b>\(Page.escape(one.name))</b>" : Page.escape(one.name))</span>"
        }
        return "<div class=\"key\">\(entries.joined())</div>"
    }

    private static let (width, height, left, right, top, bottom) = (480.0, 300.0, 58.0, 12.0, 10.0, 40.0)

    var svg: String {
        let shown = series.map { one in one.points.filter { !isLogarithmic || $0.y > 0 } }
        let all = shown.flatMap { $0 }
        guard !all.isEmpty else { return "<figure><figcaption>\(Page.escape(title))</figcaption><p>no points</p></figure>" }
        let (xs, ys) = (all.map(\.x), all.map { scaled($0.y) })
        let xTicks = Self.ticks(from: xs.min()!, to: xs.max()!)
        let yTicks =
            isLogarithmic ? Self.decades(from: ys.min()!, to: ys.max()!) : Self.ticks(from: ys.min()!, to: ys.max()!)
        let (x0, x1) = (min(xs.min()!, xTicks[0]), max(xs.max()!, xTicks.last!))
        let (y0, y1) = (min(ys.min()!, yTicks[0]), max(ys.max()!, yTicks.last!))
        func px(_ x: Double) -> String {
            Figures.number(Self.left + (x - x0) / max(x1 - x0, 1e-12) * (Self.width - Self.left - Self.right))
        }
        func py(_ y: Double) -> String {
            Figures.number(
                Self.height - Self.bottom - (y - y0) / max(y1 - y0, 1e-12) * (Self.height - Self.top - Self.bottom))
        }
        let base = Self.height - Self.bottom
        var marks = ""
        for tick in xTicks {
            marks += "<text x=\"\(px(tick))\" y=\"\(base + 15)\" text-anchor=\"middle\">\(Float(tick))</text>"
        }
        for tick in yTicks {
            let value = isLogarithmic ? pow(10, tick) : tick
            marks +=
                "<line class=\"axis\" x1=\"\(Self.left)\" x2=\"\(Self.width - Self.right)\" y1=\"\(py(tick))\" y2=\"\(py(tick))\"/>"
            marks += "<text x=\"\(Self.left - 6)\" y=\"\(py(tick))\" dy=\"4\" text-anchor=\"end\">\(yText(value))</text>"
        }
        // The main series last, so that it lies on top.
        let order = series.indices.sorted { !series[$0].isMain && series[$1].isMain }
        let lines = order.map { index -> String in
            let points = shown[index]
            let path = points.map { "\(px($0.x)),\(py(scaled($0.y)))" }.joined(separator: " ")
            let dots = points.map {
                "<circle cx=\"\(px($0.x))\" cy=\"\(py(scaled($0.y)))\" r=\"3.5\"><title>\(Page.escape(series[index].name)): "
                    + "\(Page.escape($0.note))</title></circle>"
            }
            return
                "<g class=\"s\(index % 7)\(series[index].isMain ? " main" : "")\"><polyline points=\"\(path)\"/>\(dots.joined())</g>"
        }
        return """
            <figure><figcaption>\(Page.escape(title)) <small>\(Page.escape(yLabel))</small></figcaption>
            <svg viewBox="0 0 \(Self.width) \(Self.height)" role="img" aria-label="\(Page.escape(title))">\(marks)\(lines.joined())
            <text x="\((Self.left + Self.width) / 2)" y="\(Self.height - 6)" text-anchor="middle">\(Page.escape(xLabel))</text>
            </svg></figure>
            """
    }

    private func scaled(_ y: Double) -> Double { isLogarithmic ? log10(y) : y }

    /// Round numbers that cover a range in three to seven steps.
    private static func ticks(from low: Double, to high: Double) -> [Double] {
        let span = max(high - low, 1e-9 * max(1, abs(high)))
        let power = pow(10, (log10(span / 4)).rounded(.down))
        let step = [1, 2, 5, 10].map { $0 * power }.first { span / $0 <= 6 } ?? 10 * power
        let first = (low / step).rounded(.down)
        let last = (high / step).rounded(.up)
        return (0...Int(last - first)).map { (first + Double($0)) * step }
    }

    private static func decades(from low: Double, to high: Double) -> [Double] {
        let (first, last) = (Int(low.rounded(.down)), Int(high.rounded(.up)))
        return (first...max(last, first + 1)).map(Double.init)
    }
}
