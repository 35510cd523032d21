# SPDX-License-Identifier: Apache-2.0
"""    .venv/bin/python -m unittest discover -s Tools/peers -p 'test_*.py'"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import gguf
import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "results")]
import bench  # noqa: E402
import blocks  # noqa: E402
import model_file  # noqa: E402
import summary  # noqa: E402
import targets  # noqa: E402
from cases import DYNAMIC, FULL, HALF, OURS, PLAIN, QUICK, REPACK, STATIC, Case, case_named, passes, runs_of  # noqa: E402
from engine import Failure  # noqa: E402
from facts import Facts, of_inspection  # noqa: E402
from figures import FileFigures  # noqa: E402
from programs import Program  # noqa: E402
from rows import Row, Rows  # noqa: E402
from session import solve  # noqa: E402
from shapes import SHAPES, TYPES, tensors  # noqa: E402

QUANTIZE = bench.LLAMA / "bin/llama-quantize"


class RandomBlocks(unittest.TestCase):
    def values(self, kind: str, elements: int, gain: float = 1.0) -> np.ndarray:
        raw = np.concatenate(list(blocks.draw(kind, elements, [1, 2], gain)))
        self.assertEqual(raw.size, blocks.size(kind, elements))
        if kind in ("F32", "F16"):
            return raw.view(np.float32 if kind == "F32" else np.float16).astype(np.float64)
        return gguf.quants.dequantize(raw.reshape(-1, blocks.BLOCKS[kind][1]), gguf.GGMLQuantizationType[kind]).astype(np.float64)

    def test_values_have_the_deviation_and_no_mean(self):
        """A mean would make all tokens alike to the routers: they would share experts, and batches look too fast."""
        for kind in ("F16", "Q8_0", "Q4_0", "Q4_K", "Q5_K", "Q6_K"):
            found = self.values(kind, 1 << 20).reshape(-1)
            self.assertTrue(np.isfinite(found).all(), kind)
            deviation = found.std()
            self.assertTrue(0.015 < deviation < 0.06, f"{kind}: {deviation}")
            self.assertLess(abs(found.mean()), 0.01 * deviation, kind)
            self.assertLess(abs(found.reshape(-1, 1024).mean(axis=1)).max(), 0.35 * deviation, kind)
            self.assertAlmostEqual(self.values(kind, 1 << 18, 32.0).std() / deviation, 32, delta=3)

    def test_same_seed_same_bytes(self):
        first, again, other = (np.concatenate(list(blocks.draw("Q4_K", 1 << 16, [1, seed]))) for seed in (2, 2, 3))
        self.assertTrue((first == again).all())
        self.assertGreater((first != other).mean(), 0.8)

    def test_pieces_join(self):
        whole = sum(piece.size for piece in blocks.draw("Q8_0", 3 * blocks.PIECE_BYTES, [1]))
        self.assertEqual(whole, blocks.size("Q8_0", 3 * blocks.PIECE_BYTES))


class Files(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name)

    def tearDown(self):
        self.folder.cleanup()

    def test_a_file_reads_back(self):
        for kind in TYPES:
            path = self.path / f"{kind}.gguf"
            model_file.write(path, SHAPES["tiny"], kind, 7)
            found = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
            for part in tensors(SHAPES["tiny"], kind):
                self.assertEqual(found[part.name].tensor_type.name, part.kind, part.name)
                self.assertEqual(tuple(reversed(found[part.name].shape.tolist())), part.shape, part.name)

    def test_broken_files_are_made_again(self):
        files, shape = model_file.ModelFiles(self.path, 1), SHAPES["tiny"]
        path = files.make(shape, "Q4_0", lambda *_: None)
        whole = path.read_bytes()
        path.write_bytes(whole[:-1])
        self.assertFalse(files.is_whole(path))
        files.make(shape, "Q4_0", lambda *_: None)
        self.assertEqual(path.read_bytes(), whole)
        files.note(path).write_text("{")
        self.assertFalse(files.is_whole(path))
        files.remove(path)
        self.assertEqual(list(self.path.iterdir()), [])

    def test_disk_space_is_checked_first(self):
        with self.assertRaisesRegex(Failure, "GB free"):
            model_file.ModelFiles(self.path, 1).make(SHAPES["mixtral"].with_layers(100_000), "F16", lambda *_: None)

    def test_full_sizes(self):
        """Parameters of the models that the shapes are named after."""
        for name, billions in (("olmoe", 6.92), ("qwen3", 30.5), ("mixtral", 46.7)):
            shape = SHAPES[name].with_layers(SHAPES[name].full_layers)
            self.assertAlmostEqual(sum(part.elements for part in tensors(shape, "F16")) / 1e9, billions, delta=0.06)

    @unittest.skipUnless(QUANTIZE.exists(), "llama.cpp is not built (make peer)")
    def test_types_are_those_that_llama_cpp_chooses(self):
        for name, experts in (("tiny", 4), ("tiny", 8), ("mixtral", 8)):
            shape = bench_shape(name, experts)
            path = self.path / "f16.gguf"
            model_file.write(path, shape, "F16", 1)
            for kind in ("Q8_0", "Q4_0", "Q4_K_M"):
                told = subprocess.run([QUANTIZE, "--dry-run", path, kind], capture_output=True, text=True, check=True)
                chosen = dict(re.findall(r"\] (\S+) .*-> .*\((\w+)\)", told.stdout + told.stderr))
                self.assertGreater(len(chosen), 5)
                for part in tensors(shape, kind):
                    if part.name in chosen:
                        self.assertEqual(chosen[part.name].upper(), part.kind, f"{name} {experts} {kind} {part.name}")


def bench_shape(name: str, experts: int):
    """A small file that meets the quantiser's rules for layers and for eight experts."""
    from dataclasses import replace
    shape = replace(SHAPES["tiny"], experts=experts, layers=17)
    return replace(shape, architecture="llama", qk_norm=0) if name == "mixtral" else shape


class Cases(unittest.TestCase):
    def test_names(self):
        for case in FULL + QUICK:
            self.assertEqual(case_named(case.name), case)
        self.assertEqual(Case(generate=64, depth=4096).name, "tg64 at 4096")

    def test_requests(self):
        self.assertEqual(Case(prompt=512).request(3), "prompt=512 seed=3")
        self.assertEqual(Case(generate=8, batch=4, depth=16).request(1, "static"),
                         "generate=8 batch=4 depth=16 seed=1 routing=static")

    def test_everybody_runs_and_the_order_rotates(self):
        firsts = set()
        for number in range(5):
            runs = runs_of(Case(prompt=1), [OURS, REPACK, PLAIN], 8, True, number)
            self.assertEqual({(run.program, run.routing) for run in runs},
                             {(OURS, STATIC), (REPACK, STATIC), (PLAIN, STATIC), (OURS, HALF), (OURS, DYNAMIC)})
            firsts.add((runs[0].program, runs[0].routing))
        self.assertEqual(len(firsts), 5)
        self.assertEqual(len(runs_of(Case(prompt=1), [OURS, REPACK], 2, True, 0)), 2)

    def test_memory_decides_who_is_loaded_together(self):
        gb = 10 ** 9
        self.assertEqual(passes(4 * gb, "Q4_0", 20 * gb), [[OURS, REPACK, PLAIN]])
        self.assertEqual(passes(8 * gb, "Q8_0", 20 * gb), [[OURS, REPACK], [OURS, PLAIN]])
        self.assertEqual(passes(14 * gb, "F16", 20 * gb), [[OURS, REPACK]])
        self.assertIsNone(passes(14 * gb, "Q8_0", 20 * gb))

    def test_the_dial_is_found_soon(self):
        asked = []

        def mean(p: float) -> float:
            asked.append(p)
            return round(1 + 7 * p ** 3, 2)

        for guess in (0.5, 0.75, 0.999, 0.001):
            asked.clear()
            self.assertAlmostEqual(mean(solve(mean, 4, guess)), 4, delta=0.03)
            self.assertLess(len(asked), 9)
        self.assertLess(solve(lambda p: 5.0, 4, 0.5), 0.6)


class Measurements(unittest.TestCase):
    def test_facts_of_a_file(self):
        """OLMoE's shape: peers.md's 1.25 GB a token in Q8_0 and 2.15 billion operations of a prompt's token."""
        shape = SHAPES["olmoe"]
        parts = tensors(shape, "Q8_0")
        sizes = {part.name: blocks.size(part.kind, part.elements) for part in parts}
        routed = sum(size for name, size in sizes.items() if "_exps" in name)
        always = sum(size for name, size in sizes.items() if "_exps" not in name and name != "token_embd.weight")
        facts = of_inspection({
            "metadata": [{"key": "olmoe.attention.head_count", "value": "16"}], "hidden_size": 2048, "layers": 16,
            "router": {"experts": 64, "experts_per_token": 8}, "bytes_total": sum(sizes.values()),
            "bytes_per_token": [{"experts": k, "bytes": always + routed // 64 * k} for k in range(1, 9)],
            "tensors": [{"name": part.name, "shape": list(part.shape)} for part in parts]})
        self.assertEqual(facts.cache_bytes, 2 * 2 * 16 * 2048)
        self.assertAlmostEqual(facts.bytes_read(Case(generate=1), 8 * routed / 64) / 1e9, 1.25, delta=0.02)
        self.assertAlmostEqual(facts.operations(Case(prompt=1), 8 * 16) / 1e9, 2.15, delta=0.01)
        deep = facts.bytes_read(Case(generate=2, batch=3, depth=100), 7.0) - facts.bytes_read(Case(generate=2, batch=3), 7.0)
        self.assertEqual(deep, 2 * 3 * 100 * facts.cache_bytes)

    def test_a_program_that_ends_says_why(self):
        with self.assertRaisesRegex(Failure, "exit code 3: no such model"):
            Program("peer", ["sh", "-c", "echo no such model >&2; exit 3"])
        program = Program("peer", ["sh", "-c", """echo '{"a": 1}'; read line; echo '{"error": "too long"}'; cat >/dev/null"""])
        with self.assertRaisesRegex(Failure, "too long"):
            program.ask("prompt=1")
        program.close()

    def test_names_of_machines(self):
        cpu = {"model": "Intel(R) Xeon(R) Processor @ 2.10GHz", "threads": 4}
        self.assertEqual(bench.slug({"cpu": cpu, "int8_isa": "avx2"}), "intel-xeon-2-10ghz-avx2-4-threads")

    def test_unknown_names_are_refused(self):
        with self.assertRaisesRegex(Failure, "olmo2 not known: olmoe"):
            bench.chosen("olmoe, olmo2", ["olmoe", "qwen3"], "shape")


def row(test: str, program: str, value, routing: str = "", round: int = 0, unit: str = "", experts: str = "", size: str = "",
        evaluations: str = "", kind: str = "Q4_K_M", setting: str = "s") -> Row:
    return Row("2026-01-01T00:00:00", "olmoe", 16, kind, setting, test, program, routing, round, str(value), unit, experts, size,
               evaluations)


def measured() -> list[Row]:
    facts = Facts(4_000_000_000, 8, 200_000_000, 300_000_000, 100_000_000 // 16, 100_000)
    rows = [row(name, "file", value) for name, value in facts.rows().items()]
    for number, (mine, repack, plain) in enumerate(((30, 20, 24), (33, 22, 22), (60, 30, 40)), 1):
        rows += [row("tg64", OURS, mine, STATIC, number, "tokens/s", "8.0", str(64 * 400_000_000)),
                 row("tg64", OURS, 1.5 * mine, HALF, number, "tokens/s", "4.0", str(64 * 200_000_000)),
                 row("tg64", OURS, 1.6 * mine, DYNAMIC, number, "tokens/s", "4.0", str(64 * 200_000_000)),
                 row("tg64", REPACK, repack, STATIC, number, "tokens/s"), row("tg64", PLAIN, plain, STATIC, number, "tokens/s"),
                 row("tg64", "machine", 40, "bandwidth", number, "GB/s"),
                 row("pp512", OURS, 200, STATIC, number, "tokens/s", "8.0", "1", str(512 * 16 * 8)),
                 row("pp512", REPACK, 100, STATIC, number, "tokens/s"), row("pp512", "machine", 880, "int8", number, "GOP/s")]
    rows += [row("load", OURS, 0.4, round=1), row("load", OURS, 0.2, round=2), row("peak memory", OURS, 4_100_000_000)]
    return rows


class Figures(unittest.TestCase):
    def test_ratios_are_of_neighbours_and_against_the_better_mode(self):
        figures = FileFigures(measured())
        decode, prompt = case_named("tg64"), case_named("pp512")
        self.assertEqual(figures.cases, [prompt, decode])
        self.assertEqual(figures.best_peer(decode), PLAIN)
        self.assertEqual(figures.against_peer(decode)[0], 1.5)
        self.assertEqual(figures.ratio(decode, (OURS, STATIC), (REPACK, STATIC))[0], 1.5)
        self.assertEqual(figures.best_peer(prompt), REPACK)
        self.assertEqual(figures.ratio(decode, (OURS, DYNAMIC), (OURS, HALF))[0], 1.6 / 1.5)

    def test_shares_of_the_limit(self):
        figures = FileFigures(measured())
        rate, shares = figures.achieved(case_named("tg64"), OURS)
        self.assertAlmostEqual(rate, 33 * (0.6e9 + 31.5 * 1e5) / 1e9)
        self.assertAlmostEqual(shares[0], rate / 40)
        theirs, _ = figures.achieved(case_named("tg64"), PLAIN)
        self.assertAlmostEqual(theirs, 24 / 33 * rate)
        rate, shares = figures.achieved(case_named("pp512"), OURS)
        self.assertAlmostEqual(rate, 200 * 2 * (0.3 + 0.8))
        self.assertAlmostEqual(shares[0], 0.5)
        theirs, _ = figures.achieved(case_named("pp512"), REPACK)
        self.assertAlmostEqual(theirs, 100 * 2 * (0.3 + 0.8 * (15 * 512 + 1) / (16 * 512)))

    def test_goals(self):
        lines = {line[0]: line[1:] for line in targets.judged([FileFigures(measured())])}
        self.assertTrue(lines["decode Q4_K_M: 1.4x, 0.80 of bandwidth"][0].startswith("**met**: 1.50"))
        self.assertTrue(lines["decode Q4_K_M: 1.4x, 0.80 of bandwidth"][1].startswith("missed by 0.30: 0.50"))
        self.assertEqual(lines["decode Q8_0: 1.25x, 0.90 of bandwidth"], ["not measured", "not measured"])
        dynamic = next(line for name, line in lines.items() if "dynamic" in name)
        self.assertTrue(all(cell.startswith("**met**") for cell in dynamic))
        start = next(line for name, line in lines.items() if "loads in" in name)
        self.assertEqual(start, ["**met**: 0.20 s", "**met**: 1.01 of it"])

    def test_rows_survive_an_end_in_the_middle(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "cpu.csv"
            rows = Rows(path)
            for entry in measured():
                rows.add(entry)
            with path.open("a") as file:
                file.write("2026-01-01,olmoe,16,Q4_K")
            again = Rows(path)
            self.assertEqual(again.rows, rows.rows)
            again.keep(lambda entry: entry.test != "load")
            self.assertEqual(len(Rows(path).rows), len(rows.rows) - 2)
            path.write_text("a,b\n1,2\n")
            with self.assertRaisesRegex(Failure, "other columns"):
                Rows(path)

    def test_the_page_is_made(self):
        with tempfile.TemporaryDirectory() as folder:
            rows = Rows(Path(folder) / "cpu.csv")
            for entry in measured():
                rows.add(entry)
            files = summary.write(rows, rows.path)
            self.assertEqual([file.name for file in files], ["cpu.csv", "cpu.md", "cpu-olmoe.svg", "cpu-olmoe-limits.svg"])
            page = files[1].read_text()
            self.assertIn("| Q4_K_M | tg64 | 24.0 | plain | 33.0 | 1.50 (1.38 to 1.50) |", page)
            for line in page.splitlines():
                if line.startswith("|"):
                    self.assertNotIn("None", line)


if __name__ == "__main__":
    unittest.main()
