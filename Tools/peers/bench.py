#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""moe-infer and llama.cpp side by side on the same files: `make bench-peers`.

    .venv/bin/python Tools/peers/bench.py --shapes olmoe --types Q4_K_M --quick
    .venv/bin/python Tools/peers/bench.py --model real.gguf

For every shape and type a file with random weights is made, measured and removed (--keep keeps it; one that is there already is
used). Both programs keep the model loaded, run the same tokens, and take turns case by case. A row is written for each value, so
that a run that was stopped (Ctrl-C, a time budget) goes on where it was; rows of another build of either program are measured
again. Results: Benchmarks/results/CPU.csv, CPU.md, CPU-SHAPE.svg; of --quick and --layers runs: .cache/bench-peers."""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "results"))
from cases import FULL, QUICK  # noqa: E402
from engine import ROOT, Engine, Failure, say  # noqa: E402
from model_file import ModelFiles, weight_bytes  # noqa: E402
from programs import Launcher  # noqa: E402
from progress import Progress  # noqa: E402
from rows import Row, Rows  # noqa: E402
from session import Plan, Session  # noqa: E402
from shapes import SHAPES, TYPES, tensors  # noqa: E402
from summary import write  # noqa: E402

CACHE = Path(os.environ.get("MOE_CACHE_DIR") or Path.home() / ".cache/moe-infer/bench")
LLAMA = Path(os.environ.get("MOE_LLAMA_CPP", Path.home() / ".cache/moe-infer/llama.cpp"))
# Making a file, and starting programs, as shares of the work on a file.
MAKING, STARTING = 0.1, 0.1


def chosen(text: str, known: list[str], what: str) -> list[str]:
    names = [name for name in re.split(r"[,\s]+", text) if name]
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise Failure(f"{what} {', '.join(unknown) or 'none'} not known: {', '.join(known)}")
    return names


def build_of(program: Path, length: int = 12) -> str:
    return hashlib.sha256(program.read_bytes()).hexdigest()[:length]


def slug(doctor: dict) -> str:
    """Virtual machines call different CPUs `AMD EPYC`, so the instruction set is part of the name."""
    cpu = doctor["cpu"]
    text = f"{cpu['model']} {doctor['int8_isa']} {cpu['threads']} threads".lower()
    return re.sub(r"[^a-z0-9]+", "-", re.sub(r"\((r|tm)\)|processor|cpu @.*ghz", "", text)).strip("-")


class Run:
    def __init__(self, options: argparse.Namespace):
        self.options = options
        for file, maker in ((options.binary, "make build"), (options.peer, "make peer")):
            if not file.exists():
                raise Failure(f"{file} is missing: {maker}")
        self.engine = Engine(options.binary, options.threads, CACHE)
        self.doctor = self.engine.json("doctor", "--threads", options.threads)
        folder = options.output or (ROOT / ".cache/bench-peers" if options.quick or options.layers
                                    else ROOT / "Benchmarks/results")
        self.results = folder / f"{slug(self.doctor)}.csv"
        if options.fresh:
            self.results.unlink(missing_ok=True)
        self.rows = Rows(self.results)
        stamp = LLAMA / "built"
        peer = "llama.cpp " + (stamp.read_text().split()[1] if stamp.exists() and options.peer.is_relative_to(LLAMA)
                               else build_of(options.peer))
        self.setting = f"seed {options.seed}; threads {options.threads}; moe-infer {build_of(options.binary)}; {peer}"
        self.cases = QUICK if options.quick else FULL
        self.progress, self.code = Progress(1), 0

    def describe(self) -> None:
        """Rows about the machine, which the report needs in words."""
        self.rows.keep(lambda row: row.shape != "-")
        doctor = self.doctor
        blas = doctor["blas"]
        for test, value in (
                ("cpu", doctor["cpu"]["model"]), ("features", " ".join(doctor["cpu"]["features"])),
                ("threads", self.options.threads), ("int8", doctor["int8_isa"]),
                ("blas", blas["version"] if blas["version"].startswith(blas["vendor"]) else f"{blas['vendor']} {blas['version']}"),
                ("warnings", "; ".join(doctor["warnings"])), ("setting", self.setting)):
            self.rows.add(Row(time.strftime("%Y-%m-%dT%H:%M:%S"), "-", 0, "-", self.setting, test, "machine", "", 0, str(value),
                              "text"))

    def plan(self, file: tuple[str, int, str], context: int, left: int) -> Plan:
        """left: files to measure, this one among them; each gets its share of the time."""
        plan = Plan(file, self.setting, [case for case in self.cases if case.positions <= context],
                    self.options.rounds or (3 if self.options.quick else 5), self.options.seed, not self.options.static)
        if self.options.budget:
            now, end = time.monotonic(), self.started + 60 * self.options.budget
            plan.deadline = now + max(0.0, end - now) / left
        return plan

    def supersede(self, file: tuple[str, int, str]) -> None:
        """Values of other builds, seeds or numbers of threads do not stand beside those of this run."""
        if any(row.setting != self.setting for row in self.rows.of(file)):
            self.rows.keep(lambda row: row.file != file or row.setting == self.setting)

    def measure(self, file: tuple[str, int, str], model: Path, weight: float, left: int) -> None:
        context = self.engine.inspect(model)["context_length"]
        plan = self.plan(file, context, left)
        launcher = Launcher(self.options.binary, self.options.peer, self.options.threads,
                            max(case.positions for case in plan.cases))
        begin = MAKING + STARTING
        Session(self.engine, launcher, self.rows, plan,
                lambda share, text: self.progress.show(weight * (begin + (1 - begin) * share), text)).measure(model)

    def all(self) -> None:
        self.started = time.monotonic()
        self.describe()
        if self.options.model:
            self.progress = Progress(sum(model.stat().st_size for model in self.options.model))
            for index, model in enumerate(self.options.model):
                found = self.engine.inspect(model)
                file = (model.stem, found["layers"], found["types"][0]["type"])
                self.progress.begin(model.name)
                self.supersede(file)
                self.measure(file, model, model.stat().st_size, len(self.options.model) - index)
                self.progress.finish(model.stat().st_size)
                write(self.rows, self.results)
            return
        work = [(SHAPES[name].with_layers(self.options.layers), kind)
                for name in self.options.shapes for kind in self.options.types]
        weights = [weight_bytes(tensors(shape, kind)) for shape, kind in work]
        self.progress, files = Progress(sum(weights)), ModelFiles(CACHE, self.options.seed)
        for index, ((shape, kind), weight) in enumerate(zip(work, weights)):
            try:
                self.shape(shape, kind, weight, len(work) - index, files)
            except Failure as failure:  # the other files can still be measured
                self.progress.clear()
                say(f"bench-peers: {failure}")
                self.code = 1
            self.progress.finish(weight)
            write(self.rows, self.results)

    def is_done(self, file: tuple[str, int, str]) -> bool:
        """Whether the rows of all rounds are there: then the file is not made again."""
        plan = self.plan(file, 1 << 30, 1)
        counted = [row for row in self.rows.of(file) if row.setting == self.setting and row.unit == "tokens/s"]
        return all(len({row.round for row in counted if row.test == case.name and row.program == program}) >= plan.rounds
                   for case in plan.cases for program in ("moe-infer", "llama.cpp")) and any(
            row.test == "other_work" for row in self.rows.of(file))

    def shape(self, shape, kind: str, weight: float, left: int, files: ModelFiles) -> None:
        file = (shape.name, shape.layers, kind)
        self.progress.begin(f"{shape.title}, {shape.layers} layers, {kind}")
        self.supersede(file)
        if self.is_done(file):
            return
        if self.options.budget and time.monotonic() > self.started + 60 * self.options.budget:
            say(f"bench-peers: {shape.title} {kind} is not measured: time is over")
            return
        path = files.path(shape, kind)
        was_there = files.is_whole(path)
        try:
            files.make(shape, kind, lambda done, total: self.progress.show(
                weight * MAKING * done / total, f"making the file, {done / 1e9:.1f} of {total / 1e9:.1f} GB"))
            self.measure(file, path, weight, left)
        finally:
            if not was_there and not self.options.keep:
                files.remove(path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", default="olmoe,qwen3,mixtral", help=f"of {', '.join(SHAPES)}")
    parser.add_argument("--types", default=",".join(TYPES), help="of " + ", ".join(TYPES))
    parser.add_argument("--layers", type=int, help="fewer layers than the shape's: faster, products per layer are the same")
    parser.add_argument("--model", type=Path, action="append", help="measure this GGUF file instead; may be given several times")
    parser.add_argument("--quick", action="store_true", help="3 rounds, shorter cases")
    parser.add_argument("--rounds", type=int, help="default: 5, with --quick 3")
    parser.add_argument("--static", action="store_true", help="leave out the columns of fewer experts")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--budget", type=float, metavar="MINUTES", help="end after about this time; at least one round a file")
    parser.add_argument("--keep", action="store_true", help="keep the files that are made")
    parser.add_argument("--fresh", action="store_true", help="forget earlier rows")
    parser.add_argument("--output", type=Path, help="folder of the results")
    parser.add_argument("--binary", type=Path, default=ROOT / ".build/release/moe-infer")
    parser.add_argument("--peer", type=Path, default=LLAMA / "bin/llama-serve-bench",
                        help="a program that speaks the protocol of Tools/peers/llama_bench.cpp")
    run = None
    try:
        options = parser.parse_args()
        options.shapes = chosen(options.shapes, list(SHAPES), "shape")
        options.types = chosen(options.types, list(TYPES), "type")
        run = Run(options)
        run.all()
        code = run.code
    except Failure as failure:
        say(f"bench-peers: {failure}")
        code = 1
    except KeyboardInterrupt:
        code = 130
    if run and run.rows.rows:
        run.progress.clear()
        for file in write(run.rows, run.results):
            print(file.relative_to(ROOT) if file.is_relative_to(ROOT) else file)
        if code == 130:
            say("bench-peers: stopped; the same command goes on")
    return code


if __name__ == "__main__":
    sys.exit(main())
