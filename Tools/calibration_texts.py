#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes texts of several kinds to calibrate on, and others of the same kinds to measure on: docs/routing.md's figures.

    Tools/calibration_texts.py --output /tmp/texts
    moe-infer calibrate --text /tmp/texts/learn-*.txt \
        --held-out Tests/Fixtures/demo/heldout.txt /tmp/texts/measure-*.txt --out P.json

Prose is WikiText-2 (valid), mathematics GSM8K (train), dialogue tinyshakespeare, all in ../shared/data; code is the standard library of
the Python that runs this. No piece is in both sets.
"""

import argparse
import json
import pathlib
import sysconfig

ROOT = pathlib.Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, default=ROOT.parent / "shared/data")
    parser.add_argument("--output", type=pathlib.Path, required=True)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)

    prose = (options.data / "eval/wikitext2_valid.txt").read_bytes()
    problems = [json.loads(line) for line in (options.data / "eval/gsm8k_train.jsonl").open()]
    mathematics = "\n\n".join(f"{p['question']}\n{p['answer']}" for p in problems).encode()
    drama = (options.data / "corpora/tinyshakespeare.txt").read_bytes()
    files = sorted(pathlib.Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    code = [b"".join(path.read_bytes() for path in files[first::2]) for first in (0, 1)]

    pieces = {
        "learn-prose": prose[250_000:360_000], "learn-code": code[0][200_000:310_000],
        "learn-mathematics": mathematics[:110_000], "learn-dialogue": drama[:60_000],
        "measure-prose": prose[700_000:780_000], "measure-code": code[1][200_000:280_000],
        "measure-mathematics": mathematics[2_000_000:2_080_000], "measure-dialogue": drama[800_000:850_000],
    }
    for name, piece in pieces.items():
        (options.output / f"{name}.txt").write_bytes(piece)
        print(f"{name}.txt: {len(piece)} bytes")


if __name__ == "__main__":
    main()
