#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures the embedded model, or another file, under static and learned routing: docs/results.json. page.py makes pages of it.

    .venv/bin/python Tools/results/measure.py                     some ten minutes on two idle cores
    .venv/bin/python Tools/results/measure.py --quick             a small run, a minute: .cache/results/quick
    .venv/bin/python Tools/results/measure.py --model FILE.gguf
    .venv/bin/python Tools/results/measure.py --speed             the times alone, on another machine: docs/results/machines.json

The twins are measured where .cache/train/static/model.gguf, dense-total and dense-active exist; else their quality is carried
over from docs/results.json, with a mark.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import experts
import goals
import memory
import quality
import speed
import texts
from engine import ROOT, Engine, Failure, Others, phase, say

TWINS = {
    "static-twin": ("static", "static", "static twin"),
    "dense-total": ("dense-total", "native", "dense twin, all experts' size"),
    "dense-active": ("dense-active", "native", "dense twin, active experts' size"),
}
POINTS = ("parity", "balanced", "fast")
FULL = {"windows": 96, "rounds": 40, "twin_rounds": 7, "problems": 120, "long": 4, "trials": 10, "mixtures": 8, "pieces": 8}
QUICK = {"windows": 6, "rounds": 3, "twin_rounds": 2, "problems": 6, "long": 1, "trials": 2, "mixtures": 2, "pieces": 3}


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else path.name


def rows_of(engine: Engine, model: Path | None, kmax: int, data: Path) -> list[dict]:
    """Static routing first: what the others are compared with."""
    rows = [{"name": "static", "label": f"static k = {kmax}", "routing": "static", "file": model, "twin": False}]
    rows += [{"name": f"static-{k}", "label": f"static k = {k}", "routing": f"static:k={k}", "file": model, "twin": False}
             for k in (kmax // 2, kmax // 4) if k]
    profile = engine.profile(model)
    if profile is None:
        raise Failure("the model carries no routing profile, so there is no gate to measure; --model names another file")
    names = [point["name"] for point in profile["points"]]
    points = [name for name in names if name in (*POINTS, profile["default_point"])]
    points.sort(key=lambda name: POINTS.index(name) if name in POINTS else -1)
    if not points:
        raise Failure(f"the model's profile has none of the points {', '.join(POINTS)}; it has {', '.join(names)}")
    rows += [{"name": name, "label": f"gate, {name}", "routing": f"profile@{name}", "file": model, "twin": False,
              "default": name == profile["default_point"]} for name in points]
    for name, (folder, routing, label) in TWINS.items():
        rows.append({"name": name, "label": label, "routing": routing, "file": data / folder / "model.gguf", "twin": True,
                     "variant": folder})
    return rows


def carry(rows: list[dict], earlier: dict, static: dict, same_texts: bool) -> None:
    """Twins that are not here keep the quality that was measured before; differences only where the windows are the same."""
    known = {row["name"]: row for row in earlier.get("rows", []) if "quality" in row}
    for row in rows:
        if row.get("missing") and row["twin"] and (old := known.get(row["name"])):
            row |= {"quality": old["quality"], "carried": old.get("carried") or earlier["date"]}
            comparable = same_texts and all(
                old["quality"][d]["bytes"] == static["quality"][d]["bytes"] for d in texts.DOMAINS)
            if comparable:
                quality.against(row, static)
            for part in row["quality"].values():
                part.pop("difference", None)
                if comparable:
                    part["difference"] = part.pop("difference_to_twin")


def prepared(found: dict[str, list[str]], width: dict[str, float], folder: Path, tokens: int, rounds: int) -> dict[str, Path]:
    """The files of the quality and speed measurements. width: characters of a token."""
    files = {}
    for domain, documents in found.items():
        files[domain] = folder / f"{domain}.txt"
        files[domain].write_text(texts.sample(documents, int(tokens * width[domain] * 1.2)))
    timed = {"interleaved": texts.interleaved(found, 640 * 4 * (rounds + 2)), "dialogue": texts.dialogue(found["creative"])}
    for name, text in timed.items():
        files[name] = folder / f"{name}.txt"
        files[name].write_text(text)
    return files


NUMBER = r"(?:[-+0-9.eE]+|null)"


def dump(results: dict, path: Path) -> None:
    """One line for each list of numbers."""
    text = json.dumps(results, indent=1, allow_nan=False)
    text = re.sub(rf"\[\s+({NUMBER}(?:,\s+{NUMBER})*)\s+\]", lambda found: "[" + re.sub(r"\s+", " ", found[1]) + "]", text)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")


def rounded(value):
    """Six significant digits; what has no finite value is null."""
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(part) for part in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if abs(value) < float("inf") else None
    return value


def machine(threads: int) -> dict:
    names = re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {"cpu": names[0] if names else platform.machine(), "threads": threads}


@dataclass
class Inputs:
    """What all measurements read."""
    sizes: dict
    inspected: dict
    file: Path
    experts: int
    kmax: int
    context: int
    window: int
    found: dict[str, list[str]]
    rows: list[dict]
    files: dict[str, Path]

    @property
    def here(self) -> list[dict]:
        return [row for row in self.rows if not row.get("missing")]


def inputs_of(arguments: argparse.Namespace, engine: Engine) -> Inputs:
    sizes, model = (QUICK if arguments.quick else FULL), arguments.model
    inspected = engine.inspect(model)
    metadata = {entry["key"]: entry["value"] for entry in inspected["metadata"]}
    count, kmax = (int(metadata[f"{inspected['architecture']}.{key}"]) for key in ("expert_count", "expert_used_count"))
    context, window = inspected["context_length"], min(1024, inspected["context_length"])
    found = {domain: texts.documents(arguments.data, domain) for domain in texts.DOMAINS}
    rows = rows_of(engine, model, kmax, arguments.data)
    for row in rows:
        if row["twin"] and not row["file"].exists():
            row["missing"] = f"not trained here: Tools/train/train.py --variant {row['variant']}"
    width = {domain: texts.width(part, lambda text: engine.token_count(text, model)) for domain, part in found.items()}
    files = prepared(found, width, engine.folder, sizes["windows"] * window, sizes["rounds"])
    file = model or ROOT / "CSources/CMoEDemoModel/demo.gguf"
    return Inputs(sizes, inspected, file, count, kmax, context, window, found, rows, files)


def timed(inputs: Inputs, rows: list[dict], engine: Engine, seconds: dict[str, float]) -> tuple[dict, dict]:
    """The loads, and the machine that ran them."""
    with phase(f"speed of {len(rows)} rows under {len(speed.LOADS)} loads", seconds):
        others = Others()
        loads = speed.loads(engine, rows, inputs.files, inputs.context, inputs.sizes["rounds"], inputs.sizes["twin_rounds"])
        return loads, machine(engine.threads) | {"other_work_cores": others.cores()}


def speed_alone(arguments: argparse.Namespace, engine: Engine) -> dict:
    """The times of the model's own rows: what differs from machine to machine."""
    inputs = inputs_of(arguments, engine)
    own = [row for row in inputs.rows if not row["twin"]]
    loads, on = timed(inputs, own, engine, {})
    on["isa"] = engine.json("doctor")["kernels"]["Q8_0"]
    return rounded({"date": time.strftime("%Y-%m-%d"), "machine": on, "engine": engine.run("--version").strip(),
                    "sizes": inputs.sizes, "model": {"sha256": sha256(inputs.file)}, "loads": loads,
                    "rows": [{key: row.get(key) for key in ("name", "label", "routing", "default")} for row in own]})


def keep_machine(results: dict, path: Path) -> None:
    """Beside those of other machines and files; an earlier measurement of the same is replaced."""
    def key(entry: dict) -> list:
        return [entry["model"]["sha256"], *(entry["machine"][part] for part in ("cpu", "isa", "threads"))]

    entries = json.loads(path.read_text()) if path.exists() else []
    entries = [entry for entry in entries if key(entry) != key(results)] + [results]
    dump(sorted(entries, key=key), path)


def measure(arguments: argparse.Namespace, engine: Engine) -> dict:
    seconds: dict[str, float] = {}
    inputs = inputs_of(arguments, engine)
    sizes, model, file, inspected = inputs.sizes, arguments.model, inputs.file, inputs.inspected
    kmax, context, window = inputs.kmax, inputs.context, inputs.window
    found, rows, here, files = inputs.found, inputs.rows, inputs.here, inputs.files
    for row in rows:
        if row.get("missing"):
            say(f"results: {row['name']}: {row['missing']}")
    own = [row for row in here if not row["twin"]]
    gates = [row for row in own if row["routing"].startswith("profile")]
    gate = next((row for row in gates if row["default"]), gates[0])
    results = {
        "date": time.strftime("%Y-%m-%d"), "quick": arguments.quick, "sizes": sizes,
        "engine": engine.run("--version").strip(), "price": arguments.price, "window": window,
        "model": {"file": shown(file) if model else "embedded", "sha256": sha256(file), "bytes": file.stat().st_size,
                  "experts_per_token": kmax, "context": context, "default_point": gate["name"],
                  "parameters": inspected["parameters_total"], "parameters_active": inspected["parameters_active"],
                  "experts": inputs.experts, "layers": inspected["layers"]},
        "texts": {d: sha256(arguments.data / f"heldout-{d}.jsonl") for d in texts.DOMAINS},
    }
    results["loads"], results["machine"] = timed(inputs, here, engine, seconds)
    throughput = results["loads"]["throughput"]["rows"]
    results["costs"] = {name: {
        "per_million_tokens": speed.cost(part["decode"]["tokens_per_second"], engine.threads, arguments.price),
        "ratio": part["decode"]["time_ratio"][0]} for name, part in throughput.items()}

    with phase("bits per byte, and experts by domain and difficulty", seconds):
        static = few = None
        for row in here:
            scored = quality.measure(engine, row, {d: files[d] for d in texts.DOMAINS}, window, sizes["windows"], static)
            static = static or scored
            if row["routing"] == f"static:k={kmax // 4}":
                few = scored
            row |= quality.figures(scored, static, few if not row["twin"] else None, kmax)
    earlier = json.loads(arguments.earlier.read_text()) if arguments.earlier.exists() else {}
    carry(rows, earlier, rows[0], earlier.get("texts") == results["texts"] and earlier.get("window") == window)
    twin = next(row for row in rows if row["name"] == "static-twin")
    if "quality" in twin and "difference" in twin["quality"]["all"]:
        for row in rows:
            if "quality" in row and "difference" in row["quality"]["all"]:
                quality.against(row, twin)

    with phase("long texts", seconds):
        long = {domain: texts.long_texts(found[domain], context, sizes["long"], lambda text: engine.token_count(text, model))
                for domain in ("prose", "code", "creative")}
        if not any(long.values()):
            raise Failure(f"no held-out text has {context} tokens")
        twin_here = [row for row in here if row["name"] == "static-twin"]
        results["long"] = quality.long_form(engine, [own[0], *gates, *twin_here], long, context)
    with phase("retrieval of facts stated early", seconds):
        results["retrieval"] = memory.retrieval(engine, [own[0], gate], found["prose"], context, sizes["trials"])
    with phase("mixed domains", seconds):
        mixtures = texts.mixtures(found, sizes["mixtures"], max(2, min(10, context // 480)))
        results["mixture"] = quality.mixed(engine, [own[0], *gates], mixtures, context)
    with phase("experts by domain", seconds):
        results["specialisation"] = {row["name"]: experts.specialisation(engine, row, found, sizes["pieces"], 5000)
                                     for row in [own[0], *gates]}
    with phase("problems solved", seconds):
        problems = texts.problems(found["maths"])
        step = max(1, len(problems) // sizes["problems"])
        results["tasks"] = speed.tasks(engine, here, problems[::step][:sizes["problems"]])

    for row in rows:
        row["file"] = None if row.get("missing") else (results["model"]["file"] if not row["twin"] else shown(row["file"]))
    results |= {"rows": rows, "phases": seconds}
    results["goals"] = {row["name"]: goals.judge(results, row) for row in gates}
    return rounded(results)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a GGUF file with a profile; default: the embedded model")
    parser.add_argument("--binary", type=Path, default=ROOT / ".build/release/moe-infer")
    parser.add_argument("--data", type=Path, default=ROOT / ".cache/train", help="held-out texts, and the twins' folders")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--price", type=float, default=0.04, help="US$ of a core for an hour")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--speed", action="store_true", help="times alone, without twins; page.py shows them as another machine's")
    parser.add_argument("--output", type=Path, action="append", help="default: .cache/results/results.json and docs/results.json; "
                        "with --quick .cache/results/quick/results.json; with --speed docs/results/machines.json")
    parser.add_argument("--earlier", type=Path, default=ROOT / "docs/results.json", help="missing twins' figures come from it")
    arguments = parser.parse_args()
    if not arguments.binary.exists():
        raise Failure(f"{arguments.binary} is missing: run make build")
    if arguments.model and not arguments.model.exists():
        raise Failure(f"{arguments.model} is missing")
    if arguments.price <= 0 or arguments.threads < 1:
        raise Failure("--price and --threads must be more than 0")
    outputs = arguments.output or ([ROOT / "docs/results/machines.json"] if arguments.speed else
                                   [ROOT / ".cache/results/quick/results.json"] if arguments.quick else
                                   [ROOT / ".cache/results/results.json", ROOT / "docs/results.json"])
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="moe-results-") as folder:
        engine = Engine(arguments.binary, arguments.threads, Path(folder))
        results = speed_alone(arguments, engine) if arguments.speed else measure(arguments, engine)
    for output in outputs:
        keep_machine(results, output) if arguments.speed else dump(results, output)
    say(f"results: {time.monotonic() - started:.0f} s in all; " + ", ".join(shown(output) for output in outputs))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Failure, OSError) as failure:
        say(f"results: {failure}")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
