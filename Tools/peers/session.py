# SPDX-License-Identifier: Apache-2.0
"""Measures one model file: loading, memory, then rounds in which every program runs every case in turn."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import facts
from cases import DYNAMIC, HALF, OURS, PLAIN, REPACK, STATIC, Case, Run, passes, runs_of
from engine import Engine, Failure, Others, say
from programs import Launcher, Program, available_memory
from rows import Row, Rows

MACHINE, FILE = "machine", "file"
LIMITS = {"bandwidth": ("bandwidth_gbs", "GB/s"), "int8": ("int8_gops", "GOP/s"), "sgemm": ("sgemm_gflops", "GFLOP/s")}
# Rounds of the second pass, where not all programs fit into memory, are numbered from here.
PASS = 100
STARTS = 2
# Seconds. Threads of the program before spin for some milliseconds until they sleep.
PAUSE = 0.05


@dataclass
class Plan:
    file: tuple[str, int, str]  # shape, layers, type
    setting: str
    cases: list[Case]
    rounds: int
    seed: int
    dynamic: bool
    deadline: float = float("inf")  # of time.monotonic()


class Session:
    def __init__(self, engine: Engine, launcher: Launcher, rows: Rows, plan: Plan, progress: Callable[[float, str], None]):
        self.engine, self.launcher, self.rows, self.plan, self.progress = engine, launcher, rows, plan, progress
        self.programs: dict[str, Program] = {}
        self.dials: dict[str, float] = {}

    # Rows

    def has(self, test: str, program: str, routing: str = "", round: int = 0) -> bool:
        return (*self.plan.file, test, program, routing, round) in self.rows.keys

    def add(self, test: str, program: str, value, unit: str, routing: str = "", round: int = 0, moe: dict | None = None) -> None:
        shape, layers, kind = self.plan.file
        self.rows.add(Row(
            time.strftime("%Y-%m-%dT%H:%M:%S"), shape, layers, kind, self.plan.setting, test, program, routing, round,
            f"{value:.6g}" if isinstance(value, float) else str(value), unit,
            f"{moe['mean_experts']:.4f}" if moe else "", *(str(moe[key]) if moe else "" for key in ("expert_bytes_read", "expert_evaluations"))))

    # Steps

    def measure(self, model: Path) -> None:
        plan, others = self.plan, Others()
        found = facts.of_inspection(self.engine.inspect(model))
        for name, value in found.rows().items():
            if not self.has(name, FILE):
                self.add(name, FILE, value, "")
        groups = passes(found.file_bytes, plan.file[2], available_memory())
        if groups is None:
            raise Failure(f"{model.name}: {found.file_bytes / 1e9:.1f} GB of weights for two programs at a time do not fit into "
                          f"the {available_memory() / 1e9:.1f} GB of memory that are free (LAYERS= makes the shape smaller)")
        try:
            for name in dict.fromkeys(name for group in groups for name in group):
                self.starts(name, model)
            if self.modes_are_alike(groups, found.file_bytes):
                groups = [[OURS, REPACK]]
            for number, group in enumerate(groups):
                self.rounds(model, group, number, len(groups), found.k)
        finally:
            self.close()
        if not self.has("other_work", MACHINE):
            self.add("other_work", MACHINE, others.cores(), "cores")

    def modes_are_alike(self, groups: list[list[str]], file_bytes: int) -> bool:
        """llama.cpp repacks only some types on each CPU. A copy would show in its memory."""
        if not any(PLAIN in group for group in groups):
            return False
        peak = {row.program: row.number for row in self.rows.of(self.plan.file) if row.test == "peak memory"}
        return peak[REPACK] - peak[PLAIN] < 0.05 * file_bytes

    def close(self) -> None:
        for program in self.programs.values():
            program.close()
        self.programs = {}

    def starts(self, name: str, model: Path) -> None:
        """Twice: what a program prepares at its first start (a repacked copy on disk) is there at the second."""
        for number in range(1, STARTS + 1):
            if self.has("load", name, round=number):
                continue
            self.progress(0.0, f"start of {name}")
            started = time.monotonic()
            program = self.launcher.start(name, model)
            try:
                program.ask(Case(generate=1).request(self.plan.seed, "static" if name == OURS else None))
                self.add("first token", name, time.monotonic() - started, "s", round=number)
                if number == STARTS:
                    self.memory(program)
                self.add("load", name, program.load_seconds, "s", round=number)
            finally:
                program.close()

    def memory(self, program: Program) -> None:
        """The most that a fresh process held while it ran a prompt and generated in one sequence."""
        prompt = max((case for case in self.plan.cases if case.prompt), key=lambda case: case.prompt, default=None)
        single = next((case for case in self.plan.cases if case.generate and case.batch == 1 and not case.depth), None)
        for case in (prompt, single):
            if case:
                program.ask(case.request(self.plan.seed, "static" if program.name == OURS else None))
        self.add("peak memory", program.name, program.status("VmHWM"), "bytes")

    def routing(self, run: Run, k: int) -> str | None:
        if run.program != OURS:
            return None
        if run.routing == HALF:
            return f"static:k={k // 2}"
        return dynamic(self.dials[run.case.name], k) if run.routing == DYNAMIC else "static"

    def dial(self, case: Case, k: int) -> None:
        """The p of top-p that gives k / 2 experts on average in this case: on the very tokens that are timed."""
        name = case.name
        known = next((row for row in self.rows.of(self.plan.file) if row.key[3:] == (name, OURS, "dial", 0)), None)
        if known is None:
            # A prompt of the same tokens routes as generating them does, and is faster.
            asked = Case(prompt=case.generate) if case.batch == 1 and not case.depth and case.generate else case

            def mean(p: float) -> float:
                return self.programs[OURS].ask(asked.request(self.plan.seed, dynamic(p, k)))["moe"]["mean_experts"]

            if case.depth:  # the positions before it are computed once: as the peer computes them
                self.programs[OURS].ask(case.request(self.plan.seed, STATIC))
            guess = next(reversed(self.dials.values()), 0.5)  # cases differ little
            self.dials[name] = solve(mean, k / 2, guess)
            self.add(name, OURS, self.dials[name], "", "dial")
        else:
            self.dials[name] = known.number

    def rounds(self, model: Path, group: list[str], number: int, count: int, k: int) -> None:
        plan = self.plan
        orders = [[run for case in plan.cases for run in runs_of(case, group, k, plan.dynamic and number == 0, turn)]
                  for turn in range(plan.rounds)]
        if all(self.has(run.case.name, run.program, run.routing, number * PASS + turn + 1)
               for turn, order in enumerate(orders) for run in order):
            return
        for name in group:
            self.progress(number / count, f"loading {name}")
            self.programs[name] = self.launcher.start(name, model)
        if plan.dynamic and any(run.routing == DYNAMIC for run in orders[0]):
            for case in plan.cases:
                self.progress(number / count, f"{case.name}, dial of dynamic routing")
                self.dial(case, k)
        for turn, order in enumerate([orders[0], *orders]):  # the first is not counted: memory is touched, caches are filled
            if turn > 1 and time.monotonic() > plan.deadline:
                say(f"bench-peers: {'-'.join(map(str, plan.file))}: time is over after {turn - 1} of {plan.rounds} rounds")
                break
            for index, run in enumerate(order):
                share = (number + (turn + index / len(order)) / (plan.rounds + 1)) / count
                self.progress(share, f"{f'round {turn} of {plan.rounds}' if turn else 'warm-up'}, {run.case.name}, {run.program}"
                                     f"{'' if run.routing == STATIC else ', ' + run.routing}")
                self.run(run, k, number * PASS + turn if turn else None)
        self.close()

    def run(self, run: Run, k: int, round: int | None) -> None:
        """round: None to warm up."""
        name = run.case.name
        time.sleep(PAUSE)
        if round is not None and self.has(name, run.program, run.routing, round):
            return
        if round is not None and not self.has(name, MACHINE, "bandwidth", round):
            found = self.programs[OURS].ask("limits")
            for limit, (key, unit) in LIMITS.items():
                self.add(name, MACHINE, float(found[key]), unit, limit, round)
        found = self.programs[run.program].ask(run.case.request(self.plan.seed, self.routing(run, k)))
        if found["tokens"] != run.case.tokens:
            raise Failure(f"{run.program}: {name}: {found['tokens']} tokens instead of {run.case.tokens}")
        if round is not None:
            self.add(name, run.program, found["tokens"] / found["seconds"], "tokens/s", run.routing, round, found.get("moe"))


def dynamic(dial: float, k: int) -> str:
    return f"top-p:p={dial:.6f},min=1,max={k}"


def solve(mean: Callable[[float], float], target: float, guess: float, tolerance: float = 0.005, most: int = 14) -> float:
    """The dial in (0, 1) at which `mean`, which grows with it, is nearest to `target`: by secants, or by halving where a secant
    leaves the interval that is left."""
    low, high, best, last = 0.0, 1.0, (float("inf"), guess), None
    for _ in range(most):
        found = mean(guess)
        best = min(best, (abs(found - target), guess))
        if best[0] <= tolerance * target:
            break
        low, high = (guess, high) if found < target else (low, guess)
        slope = (found - last[1]) / (guess - last[0]) if last and guess != last[0] else 0.0
        last = (guess, found)
        guess = guess + (target - found) / slope if slope > 0 else (low + high) / 2
        if not low < guess < high:
            guess = (low + high) / 2
    return round(best[1], 6)
