# SPDX-License-Identifier: Apache-2.0
"""Measures the gate's operating points with the engine itself, on held-out text of all domains, and writes them into the model.

    python Tools/train/points.py [--run .cache/train/dynamic] [--engine .build/release/moe-infer] [--default balanced]

parity, balanced and fast are the dearest prices that keep the limits of docs/routing.md against static k = 8 of the same file: mean
KL, perplexity, the same likeliest token. balanced also keeps bits per byte of every domain within 0.8 %, upper end of the 95 %
interval: that is the point that the model ships with. Writes profile.json to the run's folder and the model again, with it inside.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
from pathlib import Path

import numpy as np

import difficulty
import export
from evaluate import DOMAINS

ROOT = Path(__file__).resolve().parents[2]
PRICES = 16  # measured, evenly in logarithms over the range of the controller's and a little beyond
MOST_BITS = 0.008  # of a domain's bits per byte, for balanced; below docs/routing.md's 0.01, because other text is measured later
BETWEEN = 3  # prices more, between the dearest that keeps a point's limits and the next
# Mean KL in nats, relative change of perplexity, share of the same likeliest token: OperatingPoints.swift.
LIMITS = {"parity": (0.02, 0.01, 0.97), "balanced": (0.06, 0.03, 0.90), "fast": (0.2, 0.1, 0.80)}


def held_out_text(data: Path, folder: Path, size: int) -> list[Path]:
    """A file a domain: its first held-out documents, `size` bytes of them."""
    files = []
    for domain in DOMAINS:
        text = ""
        for line in (data / f"heldout-{domain}.jsonl").read_text().splitlines():
            if len(text) >= size:
                break
            text += json.loads(line)["text"] + "\n\n"
        files.append(folder / f"heldout-{domain}.txt")
        files[-1].write_text(text[:size])
    return files


def compare(engine: Path, model: Path, texts: list[Path], tokens: int, window: int, prices: list[float]) -> dict:
    command = [str(engine), "compare", "--model", str(model), "--json", "--no-mixed", "--rounds", "1", "--prompt", "16",
               "--decode", "2", "--tokens", str(tokens), "--window", str(window)]
    for domain, text in zip(DOMAINS, texts):
        command += ["--text", f"{domain}={text}"]
    for price in prices:
        command += ["--routing", f"profile@mu={price:.9f}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise SystemExit(f"points: {engine.name} compare failed")
    return json.loads(done.stdout)


def most_bits(point: dict, static: dict) -> float:
    """The upper end of the relative change of bits per byte, of the domain where it is largest."""
    changes = []
    for own, reference in zip(point["domains"], static["domains"]):
        assert own["domain"] == reference["domain"]
        changes.append(math.log1p(own["perplexity_change95"][1]) / math.log(reference["perplexity"]))
    return max(changes)


def keeps(name: str, point: dict, static: float, bits: float) -> bool:
    """Whether a point of the curve keeps the limits of an operating point."""
    kl, perplexity, same = LIMITS[name]
    return (point["kl"] <= kl and point["perplexity"] <= static * (1 + perplexity) and point["top_1"] >= same
            and (name != "balanced" or bits <= MOST_BITS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / ".cache/train")
    parser.add_argument("--run", type=Path, default=ROOT / ".cache/train/dynamic")
    parser.add_argument("--output", type=Path, help="default: model.gguf in the run's folder")
    parser.add_argument("--engine", type=Path, default=ROOT / ".build/release/moe-infer")
    parser.add_argument("--tokens", type=int, default=32768, help="of each domain")
    parser.add_argument("--window", type=int, default=1024)
    parser.add_argument("--difficulty", type=float, default=0.1, metavar="GAMMA",
                        help="how far the price falls for tokens that are hard to predict (difficulty.py); 0: not at all")
    parser.add_argument("--default", default="balanced", help="the point that the model is routed by")
    arguments = parser.parse_args()
    output = arguments.output or arguments.run / "model.gguf"
    if not arguments.engine.exists():
        raise SystemExit(f"points: no {arguments.engine}: make build")
    model, state = export.trained(arguments.run)
    if arguments.difficulty:
        shares = difficulty.tilt(model, arguments.data, arguments.difficulty)
        print("log entropy of the next token from each router's input: R² " + " ".join(f"{share:.2f}" for share in shares))
    tokenizer = arguments.data / "tokenizer.json"
    export.write(model, tokenizer, output, export.first_points(state["progress"]["log_mu"]))
    texts = held_out_text(arguments.data, arguments.run, 6 * arguments.tokens)
    anchors = sorted(state["progress"]["log_mu"])
    steps = np.linspace(anchors[0] - 0.7, anchors[-1] + 0.7, PRICES)
    curve = [{"mu": 0.0, "mean_k": float(model.config.experts_per_token), "kl": 0.0, "top_1": 1.0}]
    bits = {0.0: 0.0}

    def measure(prices: list[float]) -> None:
        report = compare(arguments.engine, output, texts, arguments.tokens, arguments.window, prices)
        curve[0]["perplexity"] = report["reference"]["perplexity"]
        for point in report["policies"][0]["points"]:
            curve.append({"mu": float(point["routing"].split("mu=")[1]), "mean_k": point["mean_experts"],
                          "perplexity": point["perplexity"], "kl": point["kl"], "top_1": point["top_one"]})
            bits[curve[-1]["mu"]] = most_bits(point, report["reference"])
        curve.sort(key=lambda p: p["mu"])

    def dearest(name: str) -> int:
        return max(i for i, point in enumerate(curve) if keeps(name, point, curve[0]["perplexity"], bits[point["mu"]]))

    measure([math.exp(step) for step in steps])
    edges = {dearest(name) for name in LIMITS} - {0, len(curve) - 1}
    measure(sorted(price for edge in edges
                   for price in np.geomspace(curve[edge]["mu"], curve[edge + 1]["mu"], BETWEEN + 2)[1:-1].tolist()))
    points = [{"name": "exact"} | curve[0]] + [{"name": name} | curve[dearest(name)] for name in LIMITS]
    content = export.identity(export.checked(model), {name: shape for name, _, shape in export.tensors(model)})
    text = json.dumps(export.profile(model, content, points, arguments.default) | {"curve": curve}, indent=1) + "\n"
    (arguments.run / "profile.json").write_text(text)
    export.write(model, tokenizer, output, None, text)
    for point in curve:
        names = " ".join(p["name"] for p in points if p["mu"] == point["mu"])
        print("mu {mu:.6f}  mean k {mean_k:.2f}  perplexity {perplexity:.3f}  KL {kl:.4f}  same token {top_1:.3f}".format(**point),
              f" worst domain's bits at most {100 * bits[point['mu']]:+.2f} %  {names}")


if __name__ == "__main__":
    main()
