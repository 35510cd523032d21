# SPDX-License-Identifier: Apache-2.0
"""The result file: a row for every value that was measured, so that a run that was stopped goes on."""

from __future__ import annotations

import csv
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from engine import Failure


@dataclass(frozen=True)
class Row:
    date: str
    shape: str  # or a file's name
    layers: int
    type: str
    setting: str  # what must be the same for rows to be compared: seed, threads, both programs' builds
    test: str
    program: str
    routing: str
    round: int
    value: str
    unit: str
    mean_experts: str = ""
    expert_bytes: str = ""
    expert_evaluations: str = ""

    @property
    def file(self) -> tuple[str, int, str]:
        return self.shape, self.layers, self.type

    @property
    def key(self) -> tuple:
        return *self.file, self.test, self.program, self.routing, self.round

    @property
    def number(self) -> float:
        return float(self.value)


COLUMNS = [field.name for field in fields(Row)]


class Rows:
    """Rows are written as they come."""

    def __init__(self, path: Path):
        self.path, self.rows = path, []
        if path.exists():
            with path.open(newline="") as file:
                reader = csv.DictReader(file)
                if reader.fieldnames != COLUMNS:
                    raise Failure(f"{path} has other columns than this version writes: move it away, or FRESH=1")
                for line in reader:
                    # A line that was cut short by the end of a run.
                    if None not in line.values() and None not in line:
                        self.rows.append(Row(**{**line, "layers": int(line["layers"]), "round": int(line["round"])}))
        self.keys = {row.key for row in self.rows}

    def add(self, row: Row) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not self.path.exists() or self.path.stat().st_size == 0
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            if is_new:
                writer.writeheader()
            writer.writerow(asdict(row))
        self.rows.append(row)
        self.keys.add(row.key)

    def keep(self, wanted) -> None:
        """Drops rows that `wanted` refuses, and lines that were cut short."""
        self.rows = [row for row in self.rows if wanted(row)]
        self.keys = {row.key for row in self.rows}
        part = self.path.with_suffix(".part")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(asdict(row) for row in self.rows)
        os.replace(part, self.path)

    def of(self, file: tuple[str, int, str]) -> list[Row]:
        return [row for row in self.rows if row.file == file]

    def files(self) -> list[tuple[str, int, str]]:
        return list(dict.fromkeys(row.file for row in self.rows))
