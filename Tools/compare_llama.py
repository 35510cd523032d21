#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The same GGUF files in llama.cpp and in moe-infer: greedy tokens, perplexity. Standard library only.

    Tools/fetch_models.sh && Tools/build_llama_cpp.sh && swift build -c release
    Tools/compare_llama.py                              the two models of fetch_models.sh
    Tools/compare_llama.py --model FILE.gguf --skip greedy

Greedy: the prompts' ids must be equal. Generated ids are compared up to the first difference, which is named with llama.cpp's
margin there (its best logit minus its second): rounding of activations differs between the programs, so a difference is an
error only where the margin is large.
Perplexity: the same chunks of 512 tokens, scored on their second half (llama.cpp's convention), within --perplexity-tolerance.
Speed is measured by Tools/peers (`make bench-peers MODEL=FILE.gguf`).

The exit code is 1 when a prompt's ids, a clear greedy choice or a perplexity disagrees.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
CACHE = pathlib.Path.home() / ".cache/moe-infer"
MODELS = pathlib.Path(os.environ.get("MOE_MODELS", CACHE / "models"))
LLAMA = pathlib.Path(os.environ.get("MOE_LLAMA_CPP", CACHE / "llama.cpp")) / "bin"
TEXT = ROOT.parent / "shared/data/eval/wikitext2_valid.txt"
STATIC = ["--routing", "static"]  # the other program knows no other routing, whatever profile the file carries
PARTS = ("greedy", "perplexity")
# Chunks of 512 tokens by default: about the same time for a small and a large model.
SMALL_MODEL_BYTES, SMALL_MODEL_CHUNKS, LARGE_MODEL_CHUNKS = 500_000_000, 40, 8
# In logits. Below, two correct programs may choose differently.
CLEAR_MARGIN = 0.5

PROMPTS = [
    "The capital of France is",
    "def is_prime(n):",
    "Once upon a time, in a land far away, there lived",
    "<|im_start|>user\nWrite a Python function fib(n) that returns the n-th Fibonacci number, with fib(0) = 0 and "
    "fib(1) = 1. Answer with code only.<|im_end|>\n<|im_start|>assistant\n",
]


class Failure(Exception):
    """One line for the person who runs this."""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def run(command: list, what: str) -> subprocess.CompletedProcess:
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if result.returncode != 0:
        lines = (result.stderr.strip() or result.stdout.strip() or "no output").splitlines()
        raise Failure(f"{what} failed with exit code {result.returncode}: {lines[-1]}")
    return result


class Ours:
    def __init__(self, binary: pathlib.Path, threads: int):
        self.binary, self.threads = binary, threads

    def tokenize(self, model: pathlib.Path, text: str) -> list[int]:
        return json.loads(run([self.binary, "tokenize", text, "--model", model, "--json"], "moe-infer tokenize").stdout)

    def greedy(self, model: pathlib.Path, prompt: str, count: int) -> dict:
        command = [self.binary, "generate", prompt, "--model", model, "--max-tokens", count, "--temperature", 0] + STATIC
        return json.loads(run(command + ["--threads", self.threads, "--json"], "moe-infer generate").stdout)

    def perplexity(self, model: pathlib.Path, text: pathlib.Path, chunks: int) -> dict:
        command = [self.binary, "perplexity", "--text", text, "--model", model, "--context", 512, "--chunks", chunks] + STATIC
        return json.loads(run(command + ["--threads", self.threads, "--json"], "moe-infer perplexity").stdout)


class Llama:
    def __init__(self, folder: pathlib.Path, threads: int):
        self.folder, self.threads = folder, threads

    def greedy(self, model: pathlib.Path, prompts: list[str], count: int) -> list[dict]:
        command = [self.folder / "llama-greedy", "greedy", model, self.threads, count, *prompts]
        return [json.loads(line) for line in run(command, "llama-greedy").stdout.splitlines()]

    def perplexity(self, model: pathlib.Path, text: pathlib.Path, chunks: int) -> float:
        command = [self.folder / "llama-perplexity", "-m", model, "-f", text, "-c", 512, "-b", 512, "--chunks", chunks]
        result = run(command + ["-t", self.threads], "llama-perplexity")
        found = re.search(r"Final estimate: PPL = ([0-9.]+)", result.stdout + result.stderr)
        if not found:
            raise Failure("llama-perplexity printed no final estimate")
        return float(found[1])


def compare_greedy(ours: Ours, llama: Llama, model: pathlib.Path, count: int) -> tuple[list[dict], bool]:
    rows, good = [], True
    for prompt, theirs in zip(PROMPTS, llama.greedy(model, PROMPTS, count), strict=True):
        mine = ours.greedy(model, prompt, count)
        tokens, expected = mine["tokens"], theirs["tokens"]
        if theirs["ended"] and len(tokens) == len(expected) - 1:
            # Whether the token that ends the text is listed is a matter of taste.
            expected = expected[:-1]
        same = next((i for i, (a, b) in enumerate(zip(tokens, expected)) if a != b), min(len(tokens), len(expected)))
        equal = tokens == expected
        row = {
            "prompt": prompt, "prompt_tokens_equal": ours.tokenize(model, prompt) == theirs["prompt_tokens"],
            "equal": equal, "equal_tokens": same, "tokens": len(expected), "llama_cpp_tokens": theirs["tokens"],
            "moe_infer_tokens": tokens, "text": mine["text"],
        }
        if not equal:
            row["margin_at_difference"] = theirs["margins"][same] if same < len(theirs["margins"]) else None
        rows.append(row)
        good &= row["prompt_tokens_equal"] and (equal or (row["margin_at_difference"] or 0) < CLEAR_MARGIN)
    return rows, good


def compare_perplexity(ours: Ours, llama: Llama, model: pathlib.Path, text: pathlib.Path, chunks: int) -> dict:
    started = time.monotonic()
    theirs = llama.perplexity(model, text, chunks)
    between = time.monotonic()
    mine = ours.perplexity(model, text, chunks)
    return {
        "chunks": chunks, "llama_cpp": theirs, "moe_infer": mine["perplexity"],
        "difference_percent": (mine["perplexity"] / theirs - 1) * 100, "bits_per_byte": mine["bits_per_byte"],
        "tokens_scored": mine["tokens_scored"], "llama_cpp_seconds": round(between - started, 1),
        "moe_infer_seconds": round(time.monotonic() - between, 1),
    }


def table(report: dict) -> str:
    lines = []
    for model in report["models"]:
        lines.append(model["file"])
        for row in model.get("greedy", []):
            verdict = "equal" if row["equal"] else (
                f"differ at token {row['equal_tokens']}, where llama.cpp's margin is {row['margin_at_difference']}")
            ids = "" if row["prompt_tokens_equal"] else " PROMPT IDS DIFFER;"
            lines.append(f"  greedy      {row['prompt'].strip().splitlines()[0][:44]:46}{ids} {row['tokens']} tokens {verdict}")
        if row := model.get("perplexity"):
            lines.append(
                f"  perplexity  llama.cpp {row['llama_cpp']:.4f}  moe-infer {row['moe_infer']:.4f}"
                f"  {row['difference_percent']:+.3f} %  ({row['chunks']} chunks)")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, action="append", help="a GGUF file; may be given several times")
    parser.add_argument("--binary", type=pathlib.Path, default=ROOT / ".build/release/moe-infer")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--text", type=pathlib.Path, default=TEXT)
    parser.add_argument("--chunks", type=int, help="chunks of the perplexity; default: 40 for small models, 8 for others")
    parser.add_argument("--tokens", type=int, default=64, help="greedy tokens per prompt")
    parser.add_argument("--perplexity-tolerance", type=float, default=0.5, metavar="PERCENT")
    parser.add_argument("--skip", action="append", choices=PARTS, default=[])
    parser.add_argument("--output", type=pathlib.Path, help="where the JSON report goes")
    arguments = parser.parse_args()

    models = arguments.model or sorted(MODELS.glob("*.gguf"))
    if not models:
        raise Failure(f"no models in {MODELS}: run Tools/fetch_models.sh")
    for file, maker in [(arguments.binary, "swift build -c release"), (LLAMA / "llama-greedy", "Tools/build_llama_cpp.sh")]:
        if not file.exists():
            raise Failure(f"{file} is missing: run {maker}")
    ours, llama = Ours(arguments.binary, arguments.threads), Llama(LLAMA, arguments.threads)
    report = {"threads": arguments.threads, "date": time.strftime("%Y-%m-%d"), "models": []}
    good = True
    for model in models:
        if not model.exists():
            raise Failure(f"{model} is missing")
        entry: dict = {"file": model.name, "bytes": model.stat().st_size}
        if "greedy" not in arguments.skip:
            say(f"{model.name}: greedy text")
            entry["greedy"], agree = compare_greedy(ours, llama, model, arguments.tokens)
            good &= agree
        if "perplexity" not in arguments.skip:
            small = entry["bytes"] < SMALL_MODEL_BYTES
            chunks = arguments.chunks or (SMALL_MODEL_CHUNKS if small else LARGE_MODEL_CHUNKS)
            if not arguments.text.exists():
                raise Failure(f"{arguments.text} is missing; --text names another file")
            say(f"{model.name}: perplexity of {chunks} chunks")
            entry["perplexity"] = compare_perplexity(ours, llama, model, arguments.text, chunks)
            good &= abs(entry["perplexity"]["difference_percent"]) <= arguments.perplexity_tolerance
        report["models"].append(entry)
    report["agree"] = good
    print(table(report))
    print("agreement: yes" if good else "agreement: NO")
    if arguments.output:
        arguments.output.write_text(json.dumps(report, indent=2) + "\n")
    return 0 if good else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as failure:
        say(f"compare: {failure}")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
