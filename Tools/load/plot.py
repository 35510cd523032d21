#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""plot.py soak|bench REPORT.json: the report as a picture beside it. Runs in the environment `load` (matplotlib)."""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plot  # noqa: E402

COLOURS = {"moe-infer": "#0b6e4f", "llama-server": "#b5651d"}


def soak(report: dict, target: Path):
    samples = report["samples"]
    seconds = [sample["seconds"] for sample in samples]
    figure, (memory, load, times) = plot.subplots(3, 1, figsize=(9, 9), constrained_layout=True)
    memory.plot(seconds, [sample["rss"] / 2**20 for sample in samples], color=COLOURS["moe-infer"])
    memory.set(title=f"Resident memory ({report['model']}, {report['minutes']:g} minutes)", ylabel="MiB", ylim=(0, None), xlim=(0, None))
    for name, colour in (("running", "#0b6e4f"), ("waiting", "#b5651d"), ("queued", "#777777")):
        load.plot(seconds, [sample[name] for sample in samples], label=name, color=colour, linewidth=1)
    load.step(seconds, [sample["phase"] for sample in samples], label="clients", color="#bbbbbb", linewidth=1)
    load.set(title="Requests in the server", xlabel="seconds", xlim=(0, None), ylim=(0, None))
    load.legend(ncols=4, frameon=False)
    rows = [row for row in report["latencies"] if row["ttft_p50"]]
    names = [str(row["clients"]) for row in rows]
    for name, label, colour in (("ttft_p50", "first token, median", "#0b6e4f"), ("ttft_p99", "first token, p99", "#7fb8a4"),
                                ("itl_p50", "between tokens, median", "#b5651d"), ("itl_p99", "between tokens, p99", "#e0b48a")):
        times.plot(names, [(row[name] or 0) * 1000 for row in rows], marker="o", label=label, color=colour)
    times.set(title="Latency by number of clients", xlabel="clients", ylabel="ms", yscale="log")
    times.legend(frameon=False)
    figure.savefig(target, dpi=110)


def bench(report: dict, target: Path):
    figures = [("tokens_per_second", "Tokens a second, all clients", 1), ("ttft_p50", "First token, median (ms)", 1000),
               ("itl_p50", "Between tokens, median (ms)", 1000), ("itl_p99", "Between tokens, p99 (ms)", 1000)]
    panels = len(figures) + bool(report["mixed"])
    figure, axes = plot.subplots(1, panels, figsize=(3.6 * panels, 3.8), constrained_layout=True)
    servers = list(dict.fromkeys(row["server"] for row in report["rows"]))
    for panel, (name, title, factor) in zip(axes, figures):
        for server in servers:
            rows = [row for row in report["rows"] if row["server"] == server]
            panel.plot([f"{row['clients']:.0f}" for row in rows], [row[name] * factor for row in rows], marker="o", label=server, color=COLOURS[server])
        panel.set(title=title, xlabel="clients", ylim=(0, None))
    axes[0].legend(frameon=False)
    if report["mixed"]:
        panel = axes[-1]
        for place, row in enumerate(report["mixed"]):
            panel.bar([place - 0.18, place + 0.18], [row["quiet_p99"] * 1000, row["loaded_p99"] * 1000], width=0.34,
                      color=["#cccccc", COLOURS[row["server"]]])
            panel.annotate(f"{row['ratio_p99']:.1f}x", (place + 0.18, row["loaded_p99"] * 1000), ha="center", va="bottom")
        panel.set(title="Between tokens, p99 (ms):\nalone, and with long prompts", xticks=range(len(report["mixed"])),
                  xticklabels=[row["server"] for row in report["mixed"]])
    figure.suptitle(f"{report['model']}, {report['threads']} threads, prompts of {report['prompt']} tokens, answers of {report['tokens']}")
    figure.savefig(target, dpi=110)


if __name__ == "__main__":
    kind, path = sys.argv[1], Path(sys.argv[2])
    {"soak": soak, "bench": bench}[kind](json.loads(path.read_text()), path.with_suffix(".png"))
