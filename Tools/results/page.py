#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes docs/results.md, docs/results/*.svg and docs/results.html of results.json.

    .venv/bin/python Tools/results/page.py [--results docs/results.json] [--output docs]
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from html import escape
from pathlib import Path

from engine import ROOT, Failure, say
from report import Report

STYLE = """
:root{color-scheme:light dark;--ink:#1d2126;--soft:#5d6570;--paper:#fff;--line:#dfe3e8;--tint:#f4f6f8;--good:#1a7f45;
--bad:#b4530a}
@media (prefers-color-scheme:dark){:root{--ink:#e9ebee;--soft:#a3abb6;--paper:#15181c;--line:#343a42;--tint:#1e2227;
--good:#6fcf97;--bad:#f2a45c}}
body{margin:0 auto;max-width:72rem;padding:1.5rem;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
h1{font-size:1.7rem;margin:.2em 0}h2{font-size:1.2rem;margin:2em 0 .4em;border-bottom:1px solid var(--line);padding-bottom:.2em}
p{max-width:52rem}.scroll{overflow-x:auto;margin:.8em 0}
table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums}
th,td{padding:.3em .7em;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}
th{color:var(--soft);font-weight:600}tr:hover td{background:var(--tint)}
td.short{white-space:nowrap}td.met b{color:var(--good)}td.missed{color:var(--bad)}
figure{margin:1em 0;max-width:100%}figure svg{max-width:100%;height:auto;border:1px solid var(--line);border-radius:6px}
figcaption{color:var(--soft);font-size:13px}
pre{background:var(--tint);padding:.8em;overflow-x:auto;font-size:12.5px;border-radius:6px}code{font-size:.93em}
"""


def markdown(title: str, blocks: list[tuple]) -> str:
    lines = [f"# {title}", ""]
    for kind, *parts in blocks:
        if kind == "heading":
            lines += [f"## {parts[0]}", ""]
        elif kind == "text":
            lines += [parts[0], ""]
        elif kind == "code":
            lines += ["```", parts[0], "```", ""]
        elif kind == "plot":
            lines += [f"![{parts[1]}](results/{parts[0]}.svg)", ""]
        else:
            header, rows = parts
            cells = [[cell.replace("|", "\\|") for cell in row] for row in [header, *rows]]
            lines += ["| " + " | ".join(cells[0]) + " |", "|" + "---|" * len(header)]
            lines += ["| " + " | ".join(row) + " |" for row in cells[1:]] + [""]
    return "\n".join(lines)


def inline(text: str) -> str:
    text = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", escape(text, quote=False))
    return re.sub(r"`(.+?)`", r"<code>\1</code>", text)


def mark(cell: str) -> str:
    if cell.startswith("**met**"):
        return "met"
    return "missed" if cell.startswith("missed") else "short" if len(cell) < 32 else ""


def html(title: str, blocks: list[tuple]) -> str:
    body = [f"<h1>{escape(title)}</h1>"]
    for kind, *parts in blocks:
        if kind == "heading":
            body.append(f"<h2>{escape(parts[0])}</h2>")
        elif kind == "text":
            body.append(f"<p>{inline(parts[0])}</p>")
        elif kind == "code":
            body.append(f"<pre>{escape(parts[0], quote=False)}</pre>")
        elif kind == "plot":
            body.append(f"<figure>{parts[2]}<figcaption>{inline(parts[1])}</figcaption></figure>")
        else:
            header, rows = parts
            lines = ["<tr>" + "".join(f"<th>{inline(cell)}</th>" for cell in header) + "</tr>"]
            for row in rows:
                lines.append("<tr>" + "".join(f'<td class="{mark(cell)}">{inline(cell)}</td>' for cell in row) + "</tr>")
            body.append('<div class="scroll"><table>' + "\n".join(lines) + "</table></div>")
    return ('<!doctype html>\n<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
            f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n<body>\n" + "\n".join(body) + "\n</body></html>\n")


def write(results: dict, output: Path, machines: list[dict] | None = None) -> list[Path]:
    title = "Results: static and learned routing on the demo model"
    blocks = Report(results, machines).build()
    plots = output / "results"
    plots.mkdir(parents=True, exist_ok=True)
    files = []
    for kind, *parts in blocks:
        if kind == "plot":
            files.append(plots / f"{parts[0]}.svg")
            files[-1].write_text(parts[2] + "\n")
    for name, text in (("results.md", markdown(title, blocks)), ("results.html", html(title, blocks))):
        files.append(output / name)
        files[-1].write_text(text)
    return files


def read(path: Path):
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise Failure(f"{path} is missing: run Tools/results/measure.py") from None
    except json.JSONDecodeError as error:
        raise Failure(f"{path} is not JSON: {error}") from None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=ROOT / "docs/results.json")
    parser.add_argument("--machines", type=Path, default=ROOT / "docs/results/machines.json", help="times of other machines")
    parser.add_argument("--output", type=Path, help="default: the folder of results.json")
    arguments = parser.parse_args()
    try:
        results = read(arguments.results)
        machines = read(arguments.machines) if arguments.machines.exists() else []
    except Failure as failure:
        say(f"page: {failure}")
        return 1
    for file in write(results, arguments.output or arguments.results.parent, machines):
        print(file.relative_to(ROOT) if file.is_relative_to(ROOT) else file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
