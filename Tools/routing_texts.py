# SPDX-License-Identifier: Apache-2.0
"""Writes text of four domains in two disjoint parts, to calibrate on and to measure on.

    python3 Tools/routing_texts.py FOLDER [--data ../shared/data]

FOLDER/learn/NAME.txt and FOLDER/measure/NAME.txt for prose, code, mathematics and drama. Needs nothing but Python: code is taken
from the standard library of the Python that runs this, other text from the project's data folder.
"""

import argparse
import json
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LEARN_MODULES = ("ast", "inspect", "difflib", "typing", "textwrap")
MEASURE_MODULES = ("argparse", "doctest", "tarfile")
BYTES = 150_000


def read(path: Path) -> str:
    if not path.is_file():
        sys.exit(f"error: {path}: not found; give the data folder with --data")
    return path.read_text(encoding="utf-8", errors="strict")


def modules(names: tuple[str, ...]) -> str:
    library = Path(sysconfig.get_paths()["stdlib"])
    return "\n\n".join(read(library / f"{name}.py") for name in names)


def problems(path: Path) -> str:
    rows = (json.loads(line) for line in read(path).splitlines())
    return "\n".join(f"{row['question']}\n{row['answer']}\n" for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, default=ROOT / "../shared/data")
    options = parser.parse_args()
    drama = read(options.data / "corpora/tinyshakespeare.txt")
    texts = {
        "prose": (read(options.data / "eval/wikitext2_valid.txt"), read(ROOT / "Tests/Fixtures/demo/heldout.txt")),
        "code": (modules(LEARN_MODULES), modules(MEASURE_MODULES)),
        "mathematics": (problems(options.data / "eval/gsm8k_train.jsonl"), problems(options.data / "eval/gsm8k_test.jsonl")),
        "drama": (drama[-BYTES:], drama[:BYTES]),
    }
    for part, index in (("learn", 0), ("measure", 1)):
        (options.folder / part).mkdir(parents=True, exist_ok=True)
        for name, pair in texts.items():
            (options.folder / part / f"{name}.txt").write_text(pair[index][:BYTES], encoding="utf-8")


if __name__ == "__main__":
    main()
