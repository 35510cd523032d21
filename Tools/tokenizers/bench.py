#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures encoding beside `tokenizers`, `tiktoken` and `sentencepiece`, one thread each, in one run on the same text.

    bench.py DRIVER FOLDER [--text FILE] [--size BYTES]

The text is English: enwik8 without its markup where ../shared/data has it, else a file. Then texts without a space, 1 MB of each,
which must not take longer than others of their size by much.
"""
import argparse
import gzip
import os
import pathlib
import re
import time

os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import compare  # noqa: E402
from driver import Driver  # noqa: E402

ENWIK = pathlib.Path(__file__).resolve().parents[3] / "shared/data/corpora/enwik8.gz"


def english(path, size):
    if path:
        return pathlib.Path(path).read_text(errors="ignore")[:size]
    data = gzip.open(ENWIK).read(3 * size).decode(errors="ignore")
    data = re.sub(r"<[^>]+>|&[a-z]+;|[\[\]{}|=]+|'{2,}|https?:\S+", " ", data)
    return re.sub(r" {2,}", " ", data)[:size]


def best(encode, repetitions=3):
    times = []
    for _ in range(repetitions):
        started = time.thread_time()
        count = encode()
        times.append(time.thread_time() - started)
    return min(times), count


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("driver")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--text")
    parser.add_argument("--size", type=int, default=4_000_000)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    text = english(options.text, options.size)
    size = len(text.encode()) / 1e6
    driver = Driver(options.driver)
    wanted = ("qwen-3", "deepseek-r1-distill-llama-8b", "deepseek-v3", "glm-4.5v", "tiktoken-100256", "tiktoken-199998",
              "tekken_240911.json", "mistral_instruct_tokenizer_240323.model.v3")
    print(f"{size:.1f} MB of English, one thread, MB per second of the thread's time (best of 3)")
    odd = ["a", "A", "1", " ", "\n", "世", "ab", "e\u0301", "-", "👍"]
    slow = []
    for name, path, reference in compare.from_packages(options.folder):
        if name not in wanted:
            continue
        error = driver.load(path)
        if error:
            raise SystemExit(f"{name}: {error}")
        seconds, count = driver.time(text)
        reference = reference()
        theirs, expected = best(lambda: len(reference.encode(text)))
        print(f"{name:42} ours {size / seconds:6.1f}   {type(reference).__name__} {size / theirs:6.1f}"
              f"{'' if count == expected else f'   IDS DIFFER: {count} and {expected}'}", flush=True)
        for unit in odd:
            one = unit * (1_000_000 // len(unit.encode()))
            taken = driver.time(one, 1)[0]
            slow.append((taken, name, ascii(unit)))
    slow.sort(reverse=True)
    print("1 MB of one unit without a space, the slowest: " + ", ".join(f"{n} {u} {t:.2f} s" for t, n, u in slow[:5]))


if __name__ == "__main__":
    main()
