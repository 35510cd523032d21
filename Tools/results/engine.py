# SPDX-License-Identifier: Apache-2.0
"""The engine's command line: every figure of the results comes through it."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class Failure(Exception):
    """One line for the person who runs this."""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextmanager
def phase(name: str, seconds: dict[str, float]):
    """Says on standard error what runs and how long it took; keeps the time."""
    say(f"results: {name} ...")
    started = time.monotonic()
    yield
    seconds[name] = round(time.monotonic() - started, 1)
    say(f"results: {name}: {seconds[name]:.0f} s")


class Others:
    """How many cores other processes keep busy meanwhile: what the kernel counts, less this process and those it started."""

    def __init__(self):
        self.start = self.now()

    @staticmethod
    def now() -> tuple[float, float]:
        fields = [int(part) for part in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        user, nice, system, _, _, interrupts, soft, steal = fields
        busy = (user + nice + system + interrupts + soft + steal) / os.sysconf("SC_CLK_TCK")
        own = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return time.monotonic(), busy - sum(usage.ru_utime + usage.ru_stime for usage in own)

    def cores(self) -> float:
        (started, before), (ended, after) = self.start, self.now()
        return max(0.0, (after - before) / max(1e-3, ended - started))


class Engine:
    def __init__(self, binary: Path, threads: int, folder: Path):
        self.binary, self.threads, self.folder = binary, threads, folder

    def run(self, command: str, *parts, model: Path | None = None, text: str | None = None) -> str:
        """Standard output. `model` is a GGUF file, None the embedded model; `text` goes to standard input."""
        line = [self.binary, *command.split(), *parts] + (["--model", model] if model else [])
        done = subprocess.run([str(part) for part in line], input=text or "", capture_output=True, text=True)
        if done.returncode != 0:
            lines = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()
            raise Failure(f"moe-infer {command} failed with exit code {done.returncode}: {lines[-1]}")
        return done.stdout

    def json(self, command: str, *parts, model: Path | None = None):
        return json.loads(self.run(command, *parts, "--json", model=model))

    def inspect(self, model: Path | None) -> dict:
        return self.json("inspect", model=model)

    def profile(self, model: Path | None) -> dict | None:
        """The profile that the model carries; None where it has none."""
        carried = any(entry["key"] == "moe_infer.routing_profile" for entry in self.inspect(model)["metadata"])
        return self.json("profile show", model=model) if carried else None

    def token_count(self, text: str, model: Path | None) -> int:
        """With the token that starts a text, as `perplexity` counts."""
        return len(json.loads(self.run("tokenize", "-", "--json", model=model, text=text)))

    def per_token(
        self, text: Path, context: int, routing: str, model: Path | None, chunks: int | None = None, first: int = 1,
        stride: int | None = None
    ) -> list[dict]:
        """Every scored token of the text, in order."""
        lines = self.folder / "tokens.jsonl"
        parts = ["--text", text, "--context", context, "--score-from", first, "--routing", routing, "--per-token", lines]
        parts += ["--chunks", chunks] if chunks else []
        parts += ["--stride", stride] if stride else []
        self.json("perplexity", *parts, "--threads", self.threads, model=model)
        return [json.loads(line) for line in lines.read_text().splitlines()]

    def bench(
        self, text: Path, prompt: int, generate: int, rounds: int, routings: list[str], model: Path | None
    ) -> dict[str, dict[str, dict]]:
        """By routing, `prefill` and `decode`. All policies take turns within each round."""
        parts = ["--text", text, "--prompt", prompt, "--generate", generate, "--repetitions", rounds]
        for routing in routings:
            parts += ["--routing", routing]
        result: dict[str, dict[str, dict]] = {}
        for row in self.json("bench", *parts, "--threads", self.threads, model=model):
            name = "prefill" if row["test"].startswith("pp") else "decode"
            result.setdefault(row["routing"], {})[name] = {
                "tokens_per_second": row["tokens_per_second"]["median"],
                "time_ratio": [row["time_ratio"][key] for key in ("median", "lower", "upper")],
                "mean_k": row["moe"]["mean_experts"] if row.get("moe") else None,
            }
        return result

    def generate(self, prompt: str, count: int, routing: str, model: Path | None, *parts) -> dict:
        """Greedy."""
        file = self.folder / "prompt.txt"
        file.write_text(prompt)
        return self.json(
            "generate", "--file", file, "--max-tokens", count, "--temperature", 0, "--routing", routing,
            "--threads", self.threads, *parts, model=model)
