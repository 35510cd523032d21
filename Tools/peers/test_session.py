# SPDX-License-Identifier: Apache-2.0
"""A whole measurement with programs that answer at once."""

from __future__ import annotations

import sys
import tempfile
import time
import unittest
from pathlib import Path
from unittest import mock

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "results")]
import session  # noqa: E402
from cases import DYNAMIC, HALF, OURS, PLAIN, REPACK, STATIC, Case  # noqa: E402
from engine import Failure  # noqa: E402
from programs import Program  # noqa: E402
from rows import Rows  # noqa: E402

# Ours takes 1 ms a token; llama.cpp 2, and 1.5 with its repacking, for which it holds a copy. top-p's mean is 8 p.
FAKE = """
import json, re, sys
name = sys.argv[1]
memory = bytearray(64 << 20) if name == "llama.cpp" and sys.argv[2] == "copies" else None
print(json.dumps({"load_seconds": 0.1}), flush=True)
for line in sys.stdin:
    print(line.strip(), file=open(sys.argv[3], "a"))
    if line.strip() == "limits":
        print(json.dumps({"bandwidth_gbs": 40.0, "int8_gops": 1000.0, "sgemm_gflops": 200.0}), flush=True)
        continue
    settings = dict(word.split("=", 1) for word in line.split())
    tokens = int(settings.get("prompt", 0)) or int(settings["generate"]) * int(settings.get("batch", 1))
    answer = {"tokens": tokens, "seconds": tokens * {"moe-infer": 1e-3, "llama.cpp": 1.5e-3, "llama.cpp plain": 2e-3}[name]}
    if name == "moe-infer":
        routing = settings["routing"]
        mean = 8.0 if routing == "static" else 4.0 if routing == "static:k=4" else 8 * float(re.search("p:p=([0-9.]+)", routing)[1])
        answer["moe"] = {"mean_experts": mean, "expert_bytes_read": 1000, "expert_evaluations": int(mean * tokens)}
    print(json.dumps(answer), flush=True)
"""
INSPECTED = {
    "metadata": [{"key": "olmoe.attention.head_count", "value": "4"}], "hidden_size": 256, "layers": 2, "bytes_total": 10 ** 8,
    "router": {"experts": 16, "experts_per_token": 8}, "bytes_per_token": [{"experts": k, "bytes": 100 + k} for k in (1, 2)],
    "tensors": [{"name": "blk.0.ffn_up_exps.weight", "shape": [16, 4, 4]}, {"name": "blk.0.attn_q.weight", "shape": [4, 4]}]}
CASES = [Case(prompt=32), Case(generate=8), Case(generate=8, depth=64), Case(generate=4, batch=4)]


class Launcher:
    def __init__(self, folder: Path, copies: bool):
        self.script, self.log, self.copies, self.started = folder / "fake.py", folder / "log", copies, []
        self.script.write_text(FAKE)

    def start(self, name: str, _: Path) -> Program:
        self.started.append(name)
        return Program(name, [sys.executable, str(self.script), name, "copies" if self.copies else "maps", str(self.log)])


class Sessions(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name)
        self.engine = mock.Mock()
        self.engine.inspect.return_value = INSPECTED

    def tearDown(self):
        self.folder.cleanup()

    def measure(self, available: int = 1 << 40, copies: bool = True, **settings) -> tuple[Rows, Launcher]:
        rows, launcher = Rows(self.path / "rows.csv"), Launcher(self.path, copies)
        plan = session.Plan(**{"file": ("olmoe", 2, "Q8_0"), "setting": "s", "cases": CASES, "rounds": 3, "seed": 1,
                               "dynamic": True, **settings})
        with mock.patch.object(session, "available_memory", lambda: available), mock.patch.object(session, "PAUSE", 0):
            session.Session(self.engine, launcher, rows, plan, lambda *_: None).measure(self.path / "model.gguf")
        return rows, launcher

    def counts(self, rows: Rows) -> dict[tuple[str, str], int]:
        found: dict[tuple[str, str], int] = {}
        for row in rows.rows:
            if row.unit == "tokens/s":
                found[row.program, row.routing] = found.get((row.program, row.routing), 0) + 1
        return found

    def test_everything_is_measured_once_a_round(self):
        rows, launcher = self.measure()
        every = len(CASES) * 3
        self.assertEqual(self.counts(rows), {(OURS, STATIC): every, (REPACK, STATIC): every, (PLAIN, STATIC): every,
                                             (OURS, HALF): every, (OURS, DYNAMIC): every})
        self.assertEqual(launcher.started, 2 * [OURS] + 2 * [REPACK] + 2 * [PLAIN] + [OURS, REPACK, PLAIN])
        speeds = {row.program: round(row.number) for row in rows.rows if row.unit == "tokens/s"}
        self.assertEqual(speeds, {OURS: 1000, REPACK: 667, PLAIN: 500})
        dials = [row.number for row in rows.rows if row.routing == "dial"]
        self.assertEqual(len(dials), len(CASES))
        self.assertTrue(all(abs(dial - 0.5) < 0.01 for dial in dials))
        self.assertEqual(len({row.key for row in rows.rows}), len(rows.rows))

    def test_a_run_that_was_stopped_goes_on(self):
        rows, _ = self.measure()
        gone = [row for row in rows.rows if row.round == 3 and row.unit == "tokens/s" and row.program == PLAIN]
        rows.keep(lambda row: row not in gone)
        (self.path / "log").unlink()
        again, launcher = self.measure()
        self.assertEqual({row.key for row in again.rows}, {row.key for row in rows.rows} | {row.key for row in gone})
        self.assertEqual(launcher.started, [OURS, REPACK, PLAIN])
        _, launcher = self.measure()
        self.assertEqual(launcher.started, [])

    def test_two_passes_where_memory_is_short(self):
        rows, launcher = self.measure(available=(3 << 30) + 250_000_000)
        self.assertEqual(launcher.started[-4:], [OURS, REPACK, OURS, PLAIN])
        rounds = {program: {row.round for row in rows.rows if row.unit == "tokens/s" and (row.program, row.routing) == (program, STATIC)}
                  for program in (OURS, REPACK, PLAIN)}
        self.assertEqual(rounds, {OURS: {1, 2, 3, 101, 102, 103}, REPACK: {1, 2, 3}, PLAIN: {101, 102, 103}})
        self.assertEqual(self.counts(rows)[OURS, HALF], len(CASES) * 3)
        with self.assertRaisesRegex(Failure, "do not fit"):
            self.measure(available=1 << 20)

    def test_modes_that_are_alike_are_one(self):
        rows, launcher = self.measure(copies=False)
        self.assertNotIn((PLAIN, STATIC), self.counts(rows))
        self.assertEqual(launcher.started[-2:], [OURS, REPACK])

    def test_time_ends_after_a_round(self):
        rows, _ = self.measure(deadline=time.monotonic() - 1)
        self.assertEqual({row.round for row in rows.rows if row.unit == "tokens/s"}, {1})

    def test_positions_before_a_case_are_computed_as_the_peer_does(self):
        self.measure()
        asked = [line for line in (self.path / "log").read_text().splitlines() if "depth=64" in line and "routing" in line]
        self.assertIn("routing=static", asked[0])
        self.assertNotIn("static:k", asked[0])


if __name__ == "__main__":
    unittest.main()
