# SPDX-License-Identifier: Apache-2.0
"""Gathers what training logged into docs/demo-model.json and docs/demo-model-loss.png.

    python Tools/train/report.py       after train.py and points.py
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / ".cache/train")
    parser.add_argument("--run", type=Path, default=ROOT / ".cache/train/dynamic")
    parser.add_argument("--output", type=Path, default=ROOT / "docs")
    arguments = parser.parse_args()
    log = [json.loads(line) for line in (arguments.run / "log.jsonl").read_text().splitlines()]
    parts = {name: json.loads((folder / f"{name}.json").read_text()) for name, folder in (
        ("meta", arguments.data), ("summary", arguments.run), ("profile", arguments.run))}
    report = {
        "data": parts["meta"], "training": parts["summary"],
        "curve": [{key: entry[key] for key in ("step", "loss", "held_out", "mean_k", "cpu_seconds") if key in entry}
                  for entry in log if "held_out" in entry],
        "operating_points": parts["profile"]["points"], "price_curve": parts["profile"]["curve"],
    }
    arguments.output.mkdir(exist_ok=True)
    (arguments.output / "demo-model.json").write_text(json.dumps(report, indent=1) + "\n")
    shutil.copyfile(arguments.run / "loss.png", arguments.output / "demo-model-loss.png")


if __name__ == "__main__":
    main()
