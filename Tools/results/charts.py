# SPDX-License-Identifier: Apache-2.0
"""Small SVG charts that need nothing else: readable in light and dark, alone or inside a page."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from html import escape

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 34, 46
STYLE = """<style>
.chart{--ink:#1d2126;--soft:#5d6570;--grid:#e2e5e9;--paper:#ffffff;--s0:#5d6570;--s1:#0a66c2;--s2:#b4530a;--s3:#1a7f45;
--s4:#8b3fc7;--s5:#a8862b;--s6:#c03a6b;font:12px system-ui,sans-serif}
@media (prefers-color-scheme:dark){.chart{--ink:#e9ebee;--soft:#a3abb6;--grid:#343a42;--paper:#15181c;--s0:#a3abb6;
--s1:#6cb2f7;--s2:#f2a45c;--s3:#6fcf97;--s4:#c79bf2;--s5:#dcc06c;--s6:#f28bb0}}
.chart text{fill:var(--ink)}.chart .soft{fill:var(--soft)}.chart .grid{stroke:var(--grid)}.chart .zero{stroke:var(--soft)}
.chart .goal{stroke:var(--ink);stroke-dasharray:5 4}.chart .title{font-weight:600;font-size:13px}
</style>"""


@dataclass
class Series:
    name: str
    # (x, y, lower, upper); lower and upper None where there is no interval. x is the index of a category where there are any.
    points: list[tuple[float, float, float | None, float | None]]
    colour: int = 0
    joined: bool = True
    labels: list[str] = field(default_factory=list)
    below: bool = False  # the labels, else above


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers that cover low to high."""
    step = 10 ** math.floor(math.log10((high - low) / count))
    step *= next((m for m in (1, 2, 2.5, 5, 10) if (high - low) / (step * m) <= count), 10)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


def number(value: float) -> str:
    return f"{value:g}".replace("-", "−")


def svg(width: float, height: float, title: str, body: list[str]) -> str:
    return (f'<svg class="chart" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
            f'height="{height:g}" role="img" aria-label="{escape(title, quote=True)}">{STYLE}'
            f'<rect width="100%" height="100%" fill="var(--paper)"/><text class="title" x="10" y="20">{escape(title)}</text>'
            + "".join(body) + "</svg>")


def plot(title: str, series: list[Series], x_label: str, y_label: str, categories: list[str] | None = None,
         goal: float | None = None, zero: bool = False, width: int = WIDTH) -> str:
    """Points with intervals, joined by lines or not. Categories stand side by side; else x is a number."""
    ys = [v for s in series for p in s.points for v in p[1:] if v is not None]
    ys += ([goal] if goal is not None else []) + ([0.0] if zero else [])
    low, high = min(ys), max(ys)
    if high - low < 1e-9:
        low, high = low - 1, high + 1
    y_ticks = ticks(low, high)
    low, high = y_ticks[0], y_ticks[-1]
    legend_rows = 1 + (sum(len(s.name) * 6.5 + 30 for s in series) > width - LEFT - RIGHT)
    top = TOP + 18 * legend_rows
    height = HEIGHT + 18 * (legend_rows - 1)
    bottom, right = height - BOTTOM, width - RIGHT
    if categories:
        slot = (right - LEFT) / len(categories)

        def x_of(x: float, index: int) -> float:
            apart = 0 if all(s.joined for s in series) else min(16, slot * 0.7 / len(series))
            return LEFT + (x + 0.5) * slot + apart * (index - (len(series) - 1) / 2)
        x_marks = [(LEFT + (i + 0.5) * slot, name) for i, name in enumerate(categories)]
    else:
        xs = [p[0] for s in series for p in s.points]
        x_ticks = ticks(min(xs), max(xs) if max(xs) > min(xs) else min(xs) + 1)

        def x_of(x: float, index: int) -> float:
            return LEFT + 8 + (x - x_ticks[0]) / (x_ticks[-1] - x_ticks[0]) * (right - LEFT - 16)
        x_marks = [(x_of(x, 0), number(x)) for x in x_ticks]

    def y_of(y: float) -> float:
        return bottom - (y - low) / (high - low) * (bottom - top)

    body = []
    for y in y_ticks:
        kind = "zero" if zero and y == 0 else "grid"
        body.append(f'<line class="{kind}" x1="{LEFT}" x2="{right}" y1="{y_of(y):.1f}" y2="{y_of(y):.1f}"/>'
                    f'<text class="soft" x="{LEFT - 6}" y="{y_of(y) + 4:.1f}" text-anchor="end">{number(y)}</text>')
    if goal is not None:
        body.append(f'<line class="goal" x1="{LEFT}" x2="{right}" y1="{y_of(goal):.1f}" y2="{y_of(goal):.1f}"/>')
    for x, name in x_marks:
        body.append(f'<text class="soft" x="{x:.1f}" y="{bottom + 17}" text-anchor="middle">{escape(name)}</text>')
    body.append(f'<text class="soft" x="{(LEFT + right) / 2:.0f}" y="{bottom + 36}" text-anchor="middle">'
                f'{escape(x_label)}</text>'
                f'<text class="soft" transform="translate(14 {(top + bottom) / 2:.0f}) rotate(-90)" text-anchor="middle">'
                f'{escape(y_label)}</text>')
    at, line = float(LEFT), 0
    for index, s in enumerate(series):
        colour = f"var(--s{s.colour})"
        length = len(s.name) * 6.5 + 30
        if at + length > right + 20 and line == 0 and index:
            at, line = float(LEFT), 1
        body.append(f'<circle cx="{at + 4:.0f}" cy="{TOP + 4 + 18 * line}" r="4" fill="{colour}"/>'
                    f'<text x="{at + 13:.0f}" y="{TOP + 8 + 18 * line}">{escape(s.name)}</text>')
        at += length
        if s.joined and len(s.points) > 1:
            path = " ".join(f"{x_of(p[0], index):.1f},{y_of(p[1]):.1f}" for p in s.points)
            body.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for place, (x, y, lower, upper) in enumerate(s.points):
            cx = x_of(x, index)
            if lower is not None and upper is not None:
                body.append(f'<line x1="{cx:.1f}" x2="{cx:.1f}" y1="{y_of(lower):.1f}" y2="{y_of(upper):.1f}" '
                            f'stroke="{colour}" stroke-width="2" stroke-opacity="0.55"/>')
            body.append(f'<circle cx="{cx:.1f}" cy="{y_of(y):.1f}" r="3.5" fill="{colour}"><title>{escape(s.name)}: {y:.4g}'
                        '</title></circle>')
            if s.labels:
                end = cx > width * 0.8
                body.append(f'<text x="{cx + (-7 if end else 7):.1f}" y="{y_of(y) + (15 if s.below else -7):.1f}" '
                            f'text-anchor="{"end" if end else "start"}">{escape(s.labels[place])}</text>')
    return svg(width, height, title, body)


def heat_maps(title: str, names: list[str], maps: list[tuple[str, list[list[float]]]], note: str) -> str:
    """One grid below another: a row a name, a column an expert. 1 is equal use; colour grows to 3 times that."""
    columns = len(maps[0][1][0])
    cell = min(32.0, (WIDTH - 90) / columns)
    body, y = [], 40.0
    for heading, values in maps:
        body.append(f'<text class="soft" x="10" y="{y + 10:.0f}">{escape(heading)}</text>')
        y += 18
        for name, line in zip(names, values):
            body.append(f'<text x="72" y="{y + 13:.0f}" text-anchor="end">{escape(name)}</text>')
            for column, value in enumerate(line):
                body.append(f'<rect x="{80 + column * cell:.1f}" y="{y:.1f}" width="{cell - 2:.1f}" height="16" rx="2" '
                            f'fill="var(--s1)" fill-opacity="{0.06 + 0.94 * min(value / 3, 1):.2f}">'
                            f'<title>{escape(name)}, expert {column}: {value:.2f}</title></rect>')
            y += 18
        y += 10
    for step in range(7):
        body.append(f'<rect x="{80 + step * 26}" y="{y:.1f}" width="24" height="12" rx="2" fill="var(--s1)" '
                    f'fill-opacity="{0.06 + 0.94 * step / 6:.2f}"/><text class="soft" x="{92 + step * 26}" y="{y + 26:.0f}" '
                    f'text-anchor="middle">{number(step / 2)}</text>')
    body.append(f'<text class="soft" x="272" y="{y + 11:.0f}">{escape(note)}</text>')
    return svg(WIDTH, y + 38, title, body)
