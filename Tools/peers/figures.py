# SPDX-License-Identifier: Apache-2.0
"""Medians, ratios and shares of the limits, from the rows of one file."""

from __future__ import annotations

import statistics
from collections import defaultdict

import intervals
from cases import DYNAMIC, HALF, OURS, PEERS, STATIC, Case, case_named
from facts import Facts
from rows import Row

Spread = list[float]  # median, lower and upper quartile


class FileFigures:
    def __init__(self, rows: list[Row]):
        self.file = rows[0].file
        self.shape, self.layers, self.type = self.file
        self.values: dict[tuple[str, str, str], dict[int, Row]] = defaultdict(dict)
        for row in rows:
            self.values[row.test, row.program, row.routing][row.round] = row
        self.facts = Facts(**{name: int(self.single(name, "file")) for name in Facts.__dataclass_fields__})
        names = dict.fromkeys(row.test for row in rows if row.unit == "tokens/s")
        self.cases = sorted((case_named(name) for name in names), key=lambda c: (not c.prompt, c.batch, c.depth, c.tokens))

    def single(self, test: str, program: str) -> float | None:
        found = self.values.get((test, program, ""))
        return next(iter(found.values())).number if found else None

    def starts(self, test: str, program: str) -> list[float]:
        return [row.number for _, row in sorted(self.values.get((test, program, ""), {}).items())]

    def speeds(self, case: Case, program: str, routing: str = STATIC) -> dict[int, float]:
        return {number: row.number for number, row in self.values.get((case.name, program, routing), {}).items()}

    def median(self, case: Case, program: str, routing: str = STATIC) -> float | None:
        found = self.speeds(case, program, routing)
        return statistics.median(found.values()) if found else None

    def best_peer(self, case: Case) -> str | None:
        """The faster of the peer's two modes: that is what we are compared with."""
        found = {program: self.median(case, program) for program in PEERS}
        measured = [program for program in PEERS if found[program] is not None]
        return max(measured, key=lambda program: found[program]) if measured else None

    def ratio(self, case: Case, one: tuple[str, str], other: tuple[str, str]) -> Spread | None:
        """Of runs in the same round, which are neighbours in time."""
        first, second = self.speeds(case, *one), self.speeds(case, *other)
        both = [first[number] / second[number] for number in first if number in second]
        return intervals.quartiles(both) if both else None

    def against_peer(self, case: Case) -> Spread | None:
        peer = self.best_peer(case)
        return self.ratio(case, (OURS, STATIC), (peer, STATIC)) if peer else None

    # Limits

    def limit_name(self, case: Case) -> str:
        return "bandwidth" if not case.prompt else "sgemm" if self.type in ("F16", "F32", "BF16") else "int8"

    def work(self, case: Case, program: str, routing: str) -> float | None:
        """Bytes that generation reads or operations that a prompt takes, in a run. The experts that the peer reads are those
        that ours reads: the tokens are the same."""
        mine = self.values.get((case.name, OURS, routing if program == OURS else STATIC))
        if not mine:
            return None
        row = next(iter(mine.values()))
        if case.prompt:
            return self.facts.operations(case, float(row.expert_evaluations or 0) if program == OURS else
                                         self.facts.peer_evaluations(case, self.layers))
        return self.facts.bytes_read(case, float(row.expert_bytes or 0))

    def achieved(self, case: Case, program: str, routing: str = STATIC) -> tuple[float, Spread] | None:
        """Billions of bytes or operations per second, and the share of the limit measured in the same round."""
        work, speeds = self.work(case, program, routing), self.speeds(case, program, routing)
        limits = self.values.get((case.name, "machine", self.limit_name(case)), {})
        if work is None or not speeds:
            return None
        rates = {number: work / case.tokens * speed / 1e9 for number, speed in speeds.items()}
        shares = [rate / limits[number].number for number, rate in rates.items() if number in limits]
        return (statistics.median(rates.values()), intervals.quartiles(shares)) if shares else None

    def limit(self, case: Case) -> float | None:
        found = self.values.get((case.name, "machine", self.limit_name(case)), {})
        return statistics.median(row.number for row in found.values()) if found else None

    def mean_experts(self, case: Case, routing: str) -> float | None:
        found = self.values.get((case.name, OURS, routing))
        return statistics.median(float(row.mean_experts or 0) for row in found.values()) if found else None

    @property
    def rounds(self) -> int:
        return max((len(self.speeds(case, OURS)) for case in self.cases), default=0)

    @property
    def has_fewer(self) -> bool:
        return any(self.median(case, OURS, routing) is not None for case in self.cases for routing in (HALF, DYNAMIC))
