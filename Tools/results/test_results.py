# SPDX-License-Identifier: Apache-2.0
"""Seconds, no model, no corpora: .venv/bin/python -m unittest discover -s Tools/results -p 'test_*.py'"""

from __future__ import annotations

import json
import math
import tempfile
import unittest
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

import charts
import goals
import intervals
import measure
import page
import quality
import speed
import texts


class Intervals(unittest.TestCase):
    def test_equal_windows_have_no_spread(self):
        found = intervals.ratio([2, 2, 2], [1, 1, 1])
        self.assertEqual(found, {"value": 2, "interval": [2, 2]})

    def test_interval_is_that_of_a_mean(self):
        values = np.random.default_rng(1).normal(10, 2, 400)
        low, high = intervals.ratio(values, np.ones(400))["interval"]
        self.assertAlmostEqual((high - low) / 2, 1.96 * 2 / math.sqrt(400), delta=0.03)
        self.assertLess(low, values.mean())
        self.assertGreater(high, values.mean())

    def test_pairing_removes_what_windows_share(self):
        reference = np.random.default_rng(2).uniform(1, 100, 50)
        found = intervals.difference(reference * 1.01, reference)
        self.assertAlmostEqual(found["value"], 1, places=9)
        self.assertAlmostEqual(found["interval"][0], 1, places=9)
        self.assertAlmostEqual(found["interval"][1], 1, places=9)

    def test_groups_keep_their_sizes(self):
        index = intervals.draws([3, 5])
        self.assertTrue((index[:, :3] < 3).all())
        self.assertTrue(((index[:, 3:] >= 3) & (index[:, 3:] < 8)).all())

    def test_no_pass_has_no_price(self):
        self.assertEqual(intervals.ratio([1, 1], [0, 0])["value"], math.inf)

    def test_bits(self):
        self.assertAlmostEqual(intervals.bits_per_byte([math.log(2) * 8], [4])["value"], 2)

    def test_wilson(self):
        low, high = intervals.wilson(0, 10)
        self.assertEqual(low, 0)
        self.assertAlmostEqual(high, 0.2775, places=3)


class Groups(unittest.TestCase):
    def test_fifths_are_equal_and_ordered(self):
        fifth = intervals.fifths([9, 1, 8, 2, 7, 3, 6, 4, 5, 0])
        self.assertEqual(np.bincount(fifth).tolist(), [2] * 5)
        self.assertEqual(fifth.tolist(), [4, 0, 4, 1, 3, 1, 3, 2, 2, 0])
        self.assertEqual(np.bincount(intervals.fifths(np.zeros(100))).tolist(), [20] * 5)

    def test_mean_of_an_empty_group(self):
        self.assertEqual(intervals.mean_by([1.0, 3.0], np.array([0, 0]), 2), [2.0, None])

    def test_bins(self):
        self.assertEqual(intervals.bins(8192)[-1], (4096, 8192))
        self.assertEqual(intervals.bins(700), [(1, 256), (256, 512), (512, 700)])

    def test_information(self):
        self.assertAlmostEqual(intervals.mutual_information([[5, 0], [0, 7]]), 1)
        self.assertAlmostEqual(intervals.mutual_information([[3, 3], [40, 40]]), 0)

    def test_chance(self):
        domain = [0] * 8 + [1] * 8
        clear = intervals.permuted_information([[9, 1]] * 8 + [[1, 9]] * 8, domain, 2, 200)
        none = intervals.permuted_information([[9, 1], [1, 9]] * 8, domain, 2, 200)
        self.assertLess(clear["p"], 0.01)
        self.assertGreater(none["p"], 0.5)


class Texts(unittest.TestCase):
    def test_every_document_has_a_part(self):
        found = ["a\n" * 3000, "b\n" * 100, "c\n" * 3000]
        text = texts.sample(found, 6000)
        self.assertLess(abs(len(text) - 6000), 30)
        for letter, count in (("a", 1450), ("b", 100), ("c", 1450)):
            self.assertAlmostEqual(text.count(letter), count, delta=3)
        self.assertEqual(texts.sample(["ab", "cd"], 100), "ab\n\ncd\n")

    def test_a_small_sample_is_not_of_scraps(self):
        text = texts.sample([f"{i} line\n" * 500 for i in range(300)], 6000)
        self.assertLess(len(text.split("\n\n")), 10)

    def test_long_texts_use_no_document_twice(self):
        found = texts.long_texts(["a" * 50, "b" * 30, "c" * 40, "d" * 5], 60, 5, len)
        self.assertEqual([(text.count("a"), text.count("b"), text.count("c")) for text in found], [(50, 0, 40)])

    def test_problems(self):
        sheet = ("Problem: What is 2 + 3?\nSolution:\n- 2 + 3 = 5\nAnswer: 5\n\n"
                 "Problem: Betty is 40. How old was she?\nSolution:\n- no\nAnswer: 30\n")
        self.assertEqual(texts.problems([sheet]), [("Problem: What is 2 + 3?\nSolution:\n", "5")])
        self.assertEqual(texts.answer_of("- 2 + 3 = 5\nAnswer: 5\n"), "5")
        self.assertIsNone(texts.answer_of("- 2 + 3 ="))

    def test_mixtures_take_turns(self):
        found = {name: [f"{name} line of text\n" * 40] for name in ("one", "two")}
        mixture, = texts.mixtures(found, 3, 2, 50)
        self.assertEqual([domain for domain, _ in mixture], ["one", "two", "one", "two"])
        self.assertTrue(all(piece.endswith("\n") for _, piece in mixture))

    def test_interleaved_gives_every_domain_as_much(self):
        text = texts.interleaved({"one": ["1 line\n" * 900], "two": ["2\n"] * 900}, 4000, 500)
        self.assertAlmostEqual(text.count("1 line\n") * 7, 2000, delta=100)
        self.assertLess(abs(len(text) - 4000), 100)

    def test_facts(self):
        answers = [answer for *_, answer in texts.facts(24)]
        self.assertEqual(len(set(answers)), 24)

    def test_tokens_belong_to_the_piece_of_their_first_byte(self):
        tokens = [{"nats": 1.0, "bytes": size, "experts": [1], "chunk": 0, "position": i + 1}
                  for i, size in enumerate((2, 2, 1, 3))]
        self.assertEqual(quality.by_piece(quality.Scored.of(tokens), ["abc", "de", "é."]).tolist(), [0, 0, 1, 2])


class Speed(unittest.TestCase):
    def test_latencies(self):
        row = {"prefill": {"tokens_per_second": 1000, "time_ratio": [0.5, 0.4, 0.6]},
               "decode": {"tokens_per_second": 100, "time_ratio": [0.8, 0.7, 0.9]}}
        self.assertEqual(speed.latencies(row, 100, 10), {"first_token_ms": 110, "whole_ms": 200})
        ratio = speed.ratios(row, row, 100, 10)
        self.assertAlmostEqual(ratio["whole_ratio"][0], 0.65)
        self.assertAlmostEqual(ratio["first_token_ratio"][0], (0.1 * 0.5 + 0.01 * 0.8) / 0.11)

    def test_cost(self):
        self.assertAlmostEqual(speed.cost(1000, 2, 0.036), 0.02)


def scored(k: list[int], nats: list[float]) -> quality.Scored:
    count = len(nats)
    return quality.Scored.of([{"nats": nats[i], "bytes": 2, "experts": [k[i], k[i]], "chunk": i // 5, "position": i % 5 + 1}
                              for i in range(count)])


def made_up() -> dict:
    """The figures of a model that does not exist, in the shape of results.json."""
    random = np.random.default_rng(0)
    loss = {d: random.uniform(0.1, 8, 40) for d in texts.DOMAINS}
    rows, few, kinds = [], None, (("static", "static", 8), ("static-2", "static:k=2", 2), ("balanced", "profile@balanced", 0))
    for name, routing, k in kinds:
        part = {d: scored([k or 1 + int(v > 4) * 2 for v in nats], list(nats * (1 if k == 8 else 1.002)))
                for d, nats in loss.items()}
        static = part if name == "static" else static
        few = part if k == 2 else few
        rows.append({"name": name, "label": name, "routing": routing, "file": "embedded", "twin": False,
                     "default": k == 0} | quality.figures(part, static, few, 8))
    twin = {"name": "static-twin", "label": "twin", "routing": "static", "file": None, "twin": True,
            "missing": "not trained here"}
    phase = {"tokens_per_second": 1000.0, "time_ratio": [0.55, 0.5, 0.6], "mean_k": 2.0}
    load = {"prefill": phase, "decode": phase, "first_token_ms": 1.0, "whole_ms": 2.0, "first_token_ratio": [0.6, 0.5, 0.7],
            "whole_ratio": [0.6, 0.5, 0.7]}
    value = {"value": 1.0, "interval": [0.9, 1.1]}
    kinds = [row["name"] for row in rows]
    layers = [{"bits": 0.2, "chance_bits": 0.01, "p": 0.001, "use": [[1.0, 2.0]] * 4}] * 2
    mixed = {d: value | {"mean_k": 2.0} for d in (*texts.DOMAINS, "all")}
    results = {
        "date": "2026-01-01", "quick": False, "price": 0.04, "window": 1024, "engine": "0", "sizes": measure.FULL,
        "machine": {"cpu": "a <machine> & more", "threads": 2, "other_work_cores": 0.5},
        "model": {"file": "embedded", "sha256": "0" * 64, "bytes": 1, "experts_per_token": 8, "context": 8192,
                  "parameters": 1, "parameters_active": 1, "default_point": "balanced", "experts": 16, "layers": 2},
        "texts": {}, "rows": [*rows, twin], "phases": {"speed": 1.0},
        "loads": {name: {"prompt": 64, "generate": 8, "text": "code", "rows": {kind: load for kind in kinds}}
                  for name in speed.LOADS},
        "costs": {kind: {"per_million_tokens": 0.02, "ratio": 0.55} for kind in kinds},
        "long": {"context": 512, "bins": [[1, 256], [256, 512]], "texts": {"prose": 1}, "rows": {
            kind: {"bits_per_byte": [value] * 2, "difference": [value] * 2, "mean_k": [2.0] * 2}
            for kind in ("static", "balanced", quality.SHORT)}},
        "retrieval": {"trials": 2, "distances": [200, 500], "rows": {kind: [
            {"distance": d, "right": 1, "interval": [0.1, 0.9], "nats": 4.0, "nats_saved": 1.0,
             "nats_saved_interval": [0.5, 1.5]}
            for d in (200, 500)] for kind in ("static", "balanced")}},
        "mixture": {"mixtures": 1, "pieces": 8, "rows": {kind: {"mixed": mixed, "apart": mixed, "difference": mixed}
                                                        for kind in ("static", "balanced")}},
        "specialisation": {kind: {"routing": "profile@balanced", "pieces": 8, "tokens": 9, "domains": list(texts.DOMAINS),
                                  "layers": layers} for kind in ("static", "balanced")},
        "tasks": {"problems": 2, "rows": {kind: {
            "passed": 0, "share": 0.0, "interval": [0.0, 0.5], "tokens": 3, "core_seconds": 1.0, "core_seconds_per_pass": None,
            "agrees_with_static": 2} for kind in kinds}},
    }
    results["goals"] = {"balanced": goals.judge(results, rows[2])}
    return results


class Goals(unittest.TestCase):
    def test_met(self):
        found = goals.judge(made_up(), made_up()["rows"][2])
        self.assertEqual([goal["met"] for goal in found], [True, True, True, True, None, True, True])

    def test_missed_says_by_how_much(self):
        results = made_up()
        row = results["rows"][2]
        results["loads"]["throughput"]["rows"]["balanced"]["decode"]["time_ratio"][0] = 0.75
        row["quality"]["code"]["difference"]["interval"][1] = 1.25
        row["fifths"]["all"] = [2.5, 2.5, 2.5, 2.5, 2.6]
        results["specialisation"]["balanced"]["layers"] = [{"bits": 0.1, "chance_bits": 0.1, "p": 0.4, "use": []}]
        verdicts = [goal["verdict"] for goal in goals.judge(results, row)]
        self.assertEqual(verdicts[0], "missed by 15.0 points")
        self.assertEqual(verdicts[3], "missed by 0.25 points in code")
        self.assertIn("0.50 experts too many on the easiest fifth", verdicts[5])
        self.assertIn("1.04 times", verdicts[5])
        self.assertEqual(verdicts[6], "missed in layer 0")


class Carried(unittest.TestCase):
    def test_twin_that_is_not_here(self):
        rows = json.loads(json.dumps(made_up()["rows"]))
        old = json.loads(json.dumps(rows[1]["quality"]))
        earlier = {"date": "2025-12-31", "rows": [{"name": "static-twin", "quality": old}]}
        measure.carry(rows, earlier, rows[0], same_texts=True)
        self.assertEqual(rows[3]["carried"], "2025-12-31")
        self.assertAlmostEqual(rows[3]["quality"]["code"]["difference"]["value"], 0.2, places=2)
        measure.carry(rows, earlier, rows[0], same_texts=False)
        self.assertNotIn("difference", rows[3]["quality"]["code"])


def elsewhere(date: str, isa: str) -> dict:
    results = made_up()
    return {"date": date, "engine": "0", "sizes": measure.FULL, "model": results["model"], "loads": results["loads"],
            "machine": {"cpu": "other", "isa": isa, "threads": 4, "other_work_cores": 0.0},
            "rows": [{"name": row["name"], "label": row["name"], "default": row["default"]} for row in results["rows"][:3]]}


class Machines(unittest.TestCase):
    def test_each_is_kept_once(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "results/machines.json"
            for date, isa in (("2026-01-02", "avx2"), ("2026-01-03", "neon"), ("2026-01-04", "avx2")):
                measure.keep_machine(elsewhere(date, isa), path)
            self.assertEqual([(entry["machine"]["isa"], entry["date"]) for entry in json.loads(path.read_text())],
                             [("avx2", "2026-01-04"), ("neon", "2026-01-03")])

    def test_page_shows_those_of_the_same_file(self):
        other = elsewhere("2026-01-03", "neon")
        other["model"] = other["model"] | {"sha256": "1" * 64}
        with tempfile.TemporaryDirectory() as folder:
            page.write(measure.rounded(made_up()), Path(folder), [elsewhere("2026-01-02", "avx2"), other])
            text = Path(folder, "results.md").read_text()
        self.assertEqual(text.count("other (avx2), 4 threads, 2026-01-02"), len(speed.LOADS))
        self.assertNotIn("neon", text)
        self.assertIn("0.55 (0.50 to 0.60)", text.split("Decoding on other machines")[1].split("##")[0])


class Pages(unittest.TestCase):
    def test_pages(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "results.json"
            measure.dump(measure.rounded(made_up()), path)
            files = page.write(json.loads(path.read_text()), Path(folder))
            text, html = (Path(folder, name).read_text() for name in ("results.md", "results.html"))
            for file in files:
                if file.suffix == ".svg":
                    ElementTree.fromstring(file.read_text())
                    self.assertIn(f"results/{file.name}", text)
        self.assertIn("a <machine> & more", text)
        self.assertIn("a &lt;machine&gt; &amp; more", html)
        self.assertEqual(html.count("<svg"), len(files) - 2)
        self.assertNotIn("nan", html.lower().replace("nano", ""))
        self.assertIn("not trained here", text)
        for block in text.split("\n\n"):
            if block.startswith("|"):
                self.assertEqual(len({line.count("|") for line in block.splitlines()}), 1, block)

    def test_lists_of_numbers_are_one_line(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "x.json"
            measure.dump({"a": [1, 2.5, None], "b": [[1, 2], [3]]}, path)
            self.assertEqual(json.loads(path.read_text()), {"a": [1, 2.5, None], "b": [[1, 2], [3]]})
            self.assertIn("[1, 2.5, null]", path.read_text())

    def test_ticks(self):
        self.assertEqual(charts.ticks(0, 1), [0, 0.2, 0.4, 0.6, 0.8, 1.0])
        self.assertEqual(charts.ticks(-0.3, 0.31)[0], -0.4)


if __name__ == "__main__":
    unittest.main()
