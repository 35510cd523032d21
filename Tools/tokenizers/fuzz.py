#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Feeds mutated tokenizer files to Benchmarks/Tokenizers: each must give an error or a tokenizer that encodes and decodes, without a
crash, in bounded time and memory.

    fuzz.py DRIVER FOLDER [--minutes N] [--seed N] [FILE...]

Without files: those of Tests/Fixtures/tokenizers, and a GGUF vocabulary of ../shared/data/tokenizers if it is there.
"""
import argparse
import pathlib
import random
import resource
import sys
import time

import texts
from driver import Driver

ROOT = pathlib.Path(__file__).resolve().parents[2]
MEMORY = 4 << 30
SECONDS = 30


def mutate(rng, data):
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        at = rng.randrange(len(out))
        # Most files say what matters at their beginning.
        if rng.random() < 0.3:
            at = min(at, rng.randrange(min(len(out), 4096)))
        kind = rng.random()
        if kind < 0.4:
            out[at] = rng.randrange(256)
        elif kind < 0.6:
            out[at] = out[rng.randrange(len(out))]
        elif kind < 0.75:
            n = rng.randrange(1, 64)
            start = rng.randrange(len(out))
            out[at:at] = out[start:start + n]
        elif kind < 0.9:
            del out[at:at + rng.randrange(1, 64)]
        elif kind < 0.95:
            out[at:at + 4] = rng.choice((b"\xff\xff\xff\xff", b"\x00\x00\x00\x80", b"\xff\xff\xff\x7f", b"9999", b"-1,0"))
        else:
            del out[at:]
        if not out:
            out = bytearray(data[:1])
    return bytes(out)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("driver")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("files", nargs="*", type=pathlib.Path)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    fixtures = ROOT / "Tests/Fixtures/tokenizers"
    files = options.files or [p for p in sorted(fixtures.iterdir()) if p.suffix in (".model", ".tiktoken") or p.name == "tekken.json"
                              or p.name.endswith("tokenizer.json")]
    if not options.files:
        files += [p for p in [ROOT.parent / "shared/data/tokenizers/ggml-vocab-gpt-2.gguf"] if p.exists()]
    rng = random.Random(options.seed)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    options.folder.mkdir(parents=True, exist_ok=True)
    driver, until, runs, loaded, slowest = Driver(options.driver), time.time() + 60 * options.minutes, 0, 0, 0.0
    while time.time() < until:
        source = rng.choice(files)
        path = options.folder / f"fuzz{source.suffix}"
        path.write_bytes(mutate(rng, source.read_bytes()))
        started = time.time()
        try:
            error = driver.load(path)
            if error is None:
                loaded += 1
                ids = driver.encode([texts.text(rng, 30), "a" * 5000, " \n" * 500], rng.random() < 0.5, True)
                driver.decode(ids[0])
            elif "\n" in error or not error:
                raise RuntimeError(f"an error of several lines: {error!r}")
        except Exception as failure:
            kept = options.folder / f"failure-{options.seed}-{runs}{source.suffix}"
            path.rename(kept)
            sys.exit(f"{kept}: {failure}")
        taken = time.time() - started
        slowest = max(slowest, taken)
        if taken > SECONDS:
            kept = options.folder / f"slow-{options.seed}-{runs}{source.suffix}"
            path.rename(kept)
            sys.exit(f"{kept}: {taken:.0f} s")
        runs += 1
    print(f"{runs} mutated files, {loaded} loaded, the slowest took {slowest:.1f} s")


if __name__ == "__main__":
    main()
