# SPDX-License-Identifier: Apache-2.0
"""What is measured, and by whom."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """A prompt of `prompt` tokens, or `generate` tokens in each of `batch` sequences of different text, after `depth`
    positions."""
    prompt: int = 0
    generate: int = 0
    batch: int = 1
    depth: int = 0

    @property
    def name(self) -> str:
        text = f"pp{self.prompt}" if self.prompt else f"tg{self.generate}"
        return text + (f" at {self.depth}" if self.depth else "") + (f" x {self.batch}" if self.batch > 1 else "")

    @property
    def tokens(self) -> int:
        return self.prompt or self.generate * self.batch

    @property
    def positions(self) -> int:
        return self.depth + (self.prompt or self.generate)

    def request(self, seed: int, routing: str | None = None) -> str:
        """A line for `moe-infer bench --serve` or llama-serve-bench."""
        parts = {"prompt": self.prompt, "generate": self.generate, "batch": self.batch if self.batch > 1 else 0,
                 "depth": self.depth, "seed": seed}
        line = " ".join(f"{key}={value}" for key, value in parts.items() if value)
        return line + (f" routing={routing}" if routing else "")


def case_named(name: str) -> Case:
    """The inverse of Case.name."""
    words = name.split()
    settings = dict(zip(words[1::2], words[2::2]))
    count = int(words[0][2:])
    return Case(prompt=count if name.startswith("pp") else 0, generate=0 if name.startswith("pp") else count,
                batch=int(settings.get("x", 1)), depth=int(settings.get("at", 0)))


FULL = [Case(prompt=128), Case(prompt=512), Case(generate=64), Case(generate=64, depth=4096),
        *(Case(generate=32, batch=batch) for batch in (4, 8, 16))]
QUICK = [Case(prompt=128), Case(prompt=512), Case(generate=32), Case(generate=32, depth=1024),
         *(Case(generate=16, batch=batch) for batch in (4, 8, 16))]

# Programs that are measured. `plain` is llama.cpp without its repacking.
OURS, REPACK, PLAIN = "moe-infer", "llama.cpp", "llama.cpp plain"
PEERS = (REPACK, PLAIN)
# Columns of routing. `half` is static at half of the model's k; `dynamic` is top-p with a dial that gives as many on average.
STATIC, HALF, DYNAMIC = "static", "half", "dynamic"
LEAST_K_FOR_DYNAMIC = 4


@dataclass(frozen=True)
class Run:
    """One thing to be timed in a round."""
    case: Case
    program: str
    routing: str = STATIC


def runs_of(case: Case, programs: list[str], k: int, dynamic: bool, number: int) -> list[Run]:
    """The order rotates from round to round, so that nobody always comes after the same other."""
    runs = [Run(case, program) for program in programs]
    if dynamic and k >= LEAST_K_FOR_DYNAMIC:
        runs += [Run(case, OURS, HALF), Run(case, OURS, DYNAMIC)]
    turn = number % len(runs)
    return runs[turn:] + runs[:turn]


def passes(file_bytes: int, file_type: str, available: int) -> list[list[str]] | None:
    """Which programs are loaded at the same time. llama.cpp repacks weights into a copy, and ours may map a repacked file beside
    the model: three copies where all are loaded. llama.cpp repacks no floats, so they have one mode and one copy. None where
    two programs do not fit."""
    reserve = 3 << 30
    copies = (available - reserve) / file_bytes
    if file_type == "F16":
        return [[OURS, REPACK]] if copies >= 1 else None
    if copies >= 3:
        return [[OURS, REPACK, PLAIN]]
    return [[OURS, REPACK], [OURS, PLAIN]] if copies >= 2 else None
