# SPDX-License-Identifier: Apache-2.0
"""The page and the plots that are made of the rows."""

from __future__ import annotations

from pathlib import Path

import targets
from cases import DYNAMIC, HALF, OURS, PEERS, PLAIN, REPACK, STATIC
from charts import Series, plot
from figures import FileFigures
from rows import Rows
from shapes import SHAPES, TYPES

COLOURS = {"F16": 1, "Q8_0": 2, "Q4_0": 3, "Q4_K_M": 4}


def number(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def speed(value: float | None) -> str:
    return number(value, 1 if value is not None and value < 200 else 0)


def plural(count: str, what: str) -> str:
    return f"{count} {what}" + ("" if count == "1" else "s")


def times(found: list[float] | None) -> str:
    return "-" if found is None else targets.spread(found)


def table(header: list[str], lines: list[list[str]]) -> list[str]:
    return ["| " + " | ".join(header) + " |", "|" + "---|" * len(header),
            *("| " + " | ".join(line) + " |" for line in lines), ""]


class Page:
    def __init__(self, rows: Rows, stem: str):
        self.stem, self.plots = stem, {}
        self.machine = {row.test: row.value for row in rows.rows if row.shape == "-"}
        self.date = max((row.date for row in rows.rows), default="")[:10]
        # A file that was stopped before a first case has nothing to show.
        files = [FileFigures(rows.of(file)) for file in rows.files()
                 if file[0] != "-" and any(row.unit == "tokens/s" for row in rows.of(file))]
        self.settings = sorted({row.setting for row in rows.rows if row.shape != "-"})
        order = {name: index for index, name in enumerate([*SHAPES, *TYPES])}
        self.files = sorted(files, key=lambda f: (order.get(f.shape, 99), f.shape, f.layers, order.get(f.type, 99), f.type))
        self.groups: dict[tuple[str, int], list[FileFigures]] = {}
        for figures in self.files:
            self.groups.setdefault((figures.shape, figures.layers), []).append(figures)

    @staticmethod
    def title(shape: str, layers: int) -> str:
        if shape not in SHAPES:
            return shape
        known = SHAPES[shape]
        return known.title + (f", {layers} of {known.full_layers} layers" if layers != known.full_layers else "")

    def build(self) -> str:
        m = self.machine
        lines = [
            "# moe-infer and llama.cpp on the same files", "",
            f"Measured on {self.date} by `make bench-peers` on {plural(m.get('threads', '?'), 'thread')} of {m.get('cpu', '?')} "
            f"({m.get('features', '?')}); BLAS: {m.get('blas', '?')}. {'; '.join(self.settings)}.", "",
            ("Files have random weights. " if any(f.shape in SHAPES for f in self.files) else "") + "Both programs keep the model loaded, run the same random tokens (other ones in every "
            "sequence of a batch, so that sequences share experts by chance only) and take turns case by case. Speeds are medians "
            "over rounds; a ratio is the median over runs of the same round, with its quartiles. llama.cpp counts in the better of "
            "two modes for each case: its default, which repacks weights (`repack`), and `--repack 0` (`plain`); `-` where it has nothing to "
            "repack. Routing is static "
            "at the model's own k, unless a column says otherwise.", "",
            "ppN: a prompt of N tokens. tgN: N tokens generated, after 4096 positions with `at 4096`, in 8 sequences together with "
            "`x 8` (tokens of all sequences count). Generation is held against the bandwidth of memory: weights that a step must "
            "read, experts of all sequences once, and the KV cache. A prompt is held against the CPU: int8 products summed in "
            f"registers ({m.get('int8', '?')}), or sgemm for float weights; attention's own products are left out. The limits are "
            "measured beside each case.", "",
            "llama.cpp computes the last layer's experts of a prompt only for the token whose logits are wanted, which saves it a "
            "part of one layer's work: much of all where layers are few.", ""]
        if m.get("warnings"):
            lines += [f"**`moe-infer doctor` warns: {m['warnings']}.**", ""]
        busy = [f for f in self.files if (f.single("other_work", "machine") or 0) > 0.15]
        if busy:
            lines += [f"**Other work kept {max(f.single('other_work', 'machine') for f in busy):.1f} cores busy meanwhile: speeds "
                      "are lower than on an idle machine, and ratios less sure.**", ""]
        for group in self.groups.items():
            if group[0][0] == targets.SHAPE:
                lines += self.goals(*group)
        for group in self.groups.items():
            lines += self.shape(*group)
        return "\n".join(lines)

    def goals(self, key: tuple[str, int], files: list[FileFigures]) -> list[str]:
        return [f"## Goals: {self.title(*key)}", "",
                *table(["goal", "ratio, or time", "share of the limit, or memory"], targets.judged(files))]

    def shape(self, key: tuple[str, int], files: list[FileFigures]) -> list[str]:
        k, rounds = files[0].facts.k, sorted({figures.rounds for figures in files})
        lines = [f"## {self.title(*key)}", "",
                 (f"k = {k}. " if k else "") + f"Rounds: {' to '.join(map(str, dict.fromkeys((rounds[0], rounds[-1]))))}.", ""]
        lines += table(
            ["type", "case", "llama.cpp, tokens/s", "mode", "moe-infer", "ratio", "rate", "share of limit", "llama.cpp's share"],
            [line for figures in files for line in self.speeds(figures)])
        cases = list(dict.fromkeys(case for figures in files for case in figures.cases))
        for name, caption, y, value, goal in (
                ("", "speed over llama.cpp's better mode", "times llama.cpp's speed",
                 lambda f, case: f.against_peer(case), 1.0),
                ("-limits", "share of the machine's limit", "share of the limit",
                 lambda f, case: (f.achieved(case, OURS) or (0, None))[1], 1.0)):
            series = []
            for index, figures in enumerate(files):
                points = [(float(cases.index(case)), *found) for case in figures.cases if (found := value(figures, case))]
                if points:
                    series.append(Series(figures.type, points, COLOURS.get(figures.type, index % 7), joined=False))
            if series:
                file = f"{self.stem}-{key[0]}{name}.svg"
                self.plots[file] = plot(f"{self.title(*key)}: {caption}", series, "case; bars are quartiles", y,
                                        [case.name for case in cases], goal=goal, zero=True, width=760)
                lines += [f"![{caption}]({file})", ""]
        if any(figures.has_fewer for figures in files):
            lines += [f"Fewer experts, moe-infer only: static at k = {k / 2:g}, and dynamic routing (`top-p`, its dial set for a mean "
                      f"of {k / 2:g} on the tokens of each case).", ""]
            lines += table(
                ["type", "case", f"static k = {k}, tokens/s", f"static k = {k / 2:g}", "over k = " + str(k), "dynamic", "its mean k",
                 f"over k = {k}", f"over static k = {k / 2:g}"],
                [line for figures in files for line in self.fewer(figures)])
        lines += ["Start and memory: from the start of the process to a loaded model, and to the first token, at a first and a second "
                  "start (the file is in the page cache); the most memory that is resident while a prompt and one sequence run.", ""]
        return lines + table(
            ["type", "file, GB", "program", "loaded, s", "first token, s", "memory, GB"],
            [line for figures in files for line in self.starts(figures)])

    @staticmethod
    def speeds(figures: FileFigures) -> list[list[str]]:
        lines = []
        for case in figures.cases:
            peer, mine = figures.best_peer(case), figures.achieved(case, OURS)
            theirs = figures.achieved(case, peer) if peer else None
            unit = {"bandwidth": "GB/s", "int8": "GOP/s", "sgemm": "GFLOP/s"}[figures.limit_name(case)]
            lines.append([
                figures.type, case.name, speed(figures.median(case, peer)) if peer else "-",
                {REPACK: "repack", PLAIN: "plain", None: "-"}[peer] if figures.speeds(case, PLAIN) else "-",
                speed(figures.median(case, OURS)), times(figures.against_peer(case)),
                f"{number(mine[0], 0)} {unit} of {number(figures.limit(case), 0)}" if mine else "-",
                f"{mine[1][0]:.2f}" if mine else "-", f"{theirs[1][0]:.2f}" if theirs else "-"])
        return lines

    @staticmethod
    def fewer(figures: FileFigures) -> list[list[str]]:
        lines = []
        for case in figures.cases:
            if figures.median(case, OURS, HALF) is None and figures.median(case, OURS, DYNAMIC) is None:
                continue
            whole, half, dynamic = (OURS, STATIC), (OURS, HALF), (OURS, DYNAMIC)
            lines.append([
                figures.type, case.name, speed(figures.median(case, *whole)), speed(figures.median(case, *half)),
                times(figures.ratio(case, half, whole)), speed(figures.median(case, *dynamic)),
                number(figures.mean_experts(case, DYNAMIC), 2), times(figures.ratio(case, dynamic, whole)),
                times(figures.ratio(case, dynamic, half))])
        return lines

    @staticmethod
    def starts(figures: FileFigures) -> list[list[str]]:
        lines = []
        for program in (OURS, *PEERS):
            loads, tokens = figures.starts("load", program), figures.starts("first token", program)
            peak = figures.single("peak memory", program)
            if loads or tokens:
                lines.append([
                    figures.type, number(figures.facts.file_bytes / 1e9, 2), program,
                    ", ".join(f"{value:.2f}" for value in loads), ", ".join(f"{value:.2f}" for value in tokens),
                    number(peak / 1e9 if peak else None, 2)])
        return lines


def write(rows: Rows, path: Path) -> list[Path]:
    """CPU.md and CPU-SHAPE.svg beside CPU.csv."""
    page = Page(rows, path.stem)
    if not page.files:
        return [path]
    files = [path, path.with_suffix(".md")]
    files[1].write_text(page.build())
    for name, chart in page.plots.items():
        files.append(path.with_name(name))
        files[-1].write_text(chart + "\n")
    return files
