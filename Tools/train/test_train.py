# SPDX-License-Identifier: Apache-2.0
"""Tests of the trainer: a minute on two cores, no corpora needed.

    .venv/bin/python -m unittest discover -s Tools/train -p 'test_*.py'
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

import arithmetic
import difficulty
import experts
import export
from gate import HIDDEN_SCALE
from loss import tied_cross_entropy
from model import DemoModel, ModelConfig, MoE, Routing
from plan import ANCHORS, control
from prepare import train_tokenizer

HERE = Path(__file__).resolve().parent
SHAPE = dict(layers=2, hidden=64, heads=2, kv_heads=1, head_dim=32, experts=16, experts_per_token=8, expert_hidden=32, context=64)


def tiny(**changes) -> DemoModel:
    model = DemoModel(ModelConfig(**dict(SHAPE, vocabulary=300) | changes))
    model.initialize(1)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if name.endswith(("down", "output.weight")):
            parameter.data.normal_(std=0.1, generator=generator)
    return model


def mixed_routing() -> Routing:
    return Routing(torch.tensor([8, 3, 8, 8]), torch.tensor([2.0, 0.6, 2.0, 2.0]), torch.tensor([-4.0, -5.0]),
                   torch.tensor([False, True]))


class ModelTests(unittest.TestCase):
    def test_grouped_experts_are_the_dense_sum(self):
        model = tiny()
        ids = torch.randint(300, (4, 32), generator=torch.Generator().manual_seed(1))

        def dense(self, x, routing):
            b, t, d = x.shape
            ranked, weights, _, report = self.weigh(x, routing)
            full = torch.zeros(b * t, self.config.experts).scatter(1, ranked, weights)
            hidden = F.silu(torch.einsum("nd,efd->nef", x.reshape(-1, d), self.gate))
            hidden = hidden * torch.einsum("nd,efd->nef", x.reshape(-1, d), self.up)
            y = torch.einsum("nef,edf->ned", hidden, self.down)
            return (y * full.unsqueeze(-1)).sum(1).view(b, t, d), report

        def gradients():
            model.zero_grad()
            logits, reports = model(ids, mixed_routing())
            loss = F.cross_entropy(logits.flatten(0, 1), ids.flatten()) + 1e-3 * sum(r.cost.sum() for r in reports)
            loss.backward()
            return loss.item(), {n: p.grad.clone() for n, p in model.named_parameters()}

        loss, grouped = gradients()
        forward, MoE.forward = MoE.forward, dense
        try:
            reference_loss, reference = gradients()
        finally:
            MoE.forward = forward
        self.assertAlmostEqual(loss, reference_loss, places=5)
        for name, gradient in grouped.items():
            torch.testing.assert_close(gradient, reference[name], rtol=1e-3, atol=1e-6, msg=name)
        self.assertGreater(grouped["blocks.0.moe.counting.heads"].abs().max().item(), 0)

    def test_a_network_in_slices_is_the_whole_one(self):
        torch.manual_seed(1)
        values = [torch.randn(shape, requires_grad=True) for shape in ((7, 16), (640, 16), (640, 16), (16, 640))]
        upstream = torch.randn(7, 16)
        x, gate, up, down = values
        plain = F.linear(F.silu(F.linear(x, gate)) * F.linear(x, up), down)
        sliced = experts.Network.apply(*values)
        torch.testing.assert_close(sliced, plain, rtol=1e-4, atol=1e-3)
        for one, other in zip(torch.autograd.grad(sliced, values, upstream), torch.autograd.grad(plain, values, upstream)):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-3)

    def test_fused_functions_are_the_plain_ones(self):
        generator = torch.Generator().manual_seed(2)
        names = "hidden_units", "hidden_gradients", "add_all"
        plain = [getattr(experts, name) for name in names]
        experts.fuse()
        fused = [getattr(experts, name) for name in names]
        for name, function in zip(names, plain):
            setattr(experts, name, function)
        for rows in (128, 384):
            gate, up, d_hidden = (torch.randn(rows, 32, generator=generator) for _ in range(3))
            for weight in (torch.rand(rows, 1, generator=generator), None):
                torch.testing.assert_close(fused[0](gate, up, weight), plain[0](gate, up, weight))
                # Both overwrite their first argument.
                for one, other in zip(fused[1](d_hidden.clone(), gate, up, weight), plain[1](d_hidden.clone(), gate, up, weight)):
                    self.assertEqual(one is None, other is None)
                    if one is not None:
                        torch.testing.assert_close(one, other)
            sums = [d_hidden.clone(), d_hidden.clone()]
            for function, total in zip((fused[2], plain[2]), sums):
                function(total, gate.bfloat16())
            torch.testing.assert_close(*sums)

    def test_padding_adds_nothing(self):
        places, sizes = experts.padded(torch.tensor([3, 0, 128, 129]), 260)
        self.assertEqual(sizes, [128, 0, 128, 256])
        self.assertEqual(places[[0, 2, 3, 130, 131, 259]].tolist(), [0, 2, 128, 255, 256, 384])

    def test_the_gate_is_a_prefix_and_the_price_a_dial(self):
        model = tiny()
        ids = torch.randint(300, (2, 32), generator=torch.Generator().manual_seed(2))
        counts = []
        for log_mu in (-20.0, -5.0, -3.0, 20.0):
            _, reports = model(ids, Routing.learned(log_mu, 8, 2))
            counts.append(float(reports[0].kept.mean()))
        self.assertEqual(counts[-1], 1)
        self.assertEqual(counts, sorted(counts, reverse=True))
        self.assertEqual(counts[0], 8)

    def test_a_direction_of_the_hidden_state_moves_the_count(self):
        gate = tiny().blocks[0].moe.counting
        x = torch.randn(1, gate.hidden.numel(), generator=torch.Generator().manual_seed(6))
        logits = torch.randn(1, 16, generator=torch.Generator().manual_seed(7))
        counts = []
        for slope in (-40, -2, 0, 2, 40):
            with torch.no_grad():
                gate.hidden.copy_(slope * x[0] / x.square().sum())
            _, hard = gate(x, logits, logits.topk(8).indices, torch.tensor([-4.0]))
            counts.append(hard.sum().item())
        self.assertEqual(counts, sorted(counts))
        self.assertEqual((counts[0], counts[-1]), (1, 8))

    def test_the_price_falls_with_the_entropy(self):
        # One layer's inputs tell the entropy: an embedding whose even tokens are sure of what follows, and whose odd ones are not.
        model = tiny()
        with tempfile.TemporaryDirectory() as folder, torch.no_grad():
            np.random.default_rng(1).integers(0, 300, 5000).astype(np.uint16).tofile(Path(folder) / "train.bin")
            model.embedding.weight[::2, 0] = 3.0
            before = [block.moe.counting.hidden.clone() for block in model.blocks]
            shares = difficulty.tilt(model, Path(folder), 0.5, window=64, count=16)
            windows = torch.from_numpy(np.fromfile(Path(folder) / "train.bin", dtype=np.uint16)[:64].astype(np.int64))[None]
            inputs, entropies = difficulty.inputs_and_entropies(model, windows)
        self.assertEqual(len(shares), 2)
        self.assertGreater(min(shares), 0.5)
        for x, block, old in zip(inputs, model.blocks, before):
            added = x.float() @ (HIDDEN_SCALE * (block.moe.counting.hidden.detach() - old))
            order = entropies.argsort()
            self.assertGreater(added[order[-16:]].mean().item(), added[order[:16]].mean().item())

    def test_all_experts_is_static_routing(self):
        model = tiny()
        ids = torch.randint(300, (1, 32), generator=torch.Generator().manual_seed(3))
        free, _ = model(ids, Routing.learned(-1e9, 8, 1))
        static, _ = model(ids, Routing.static(8, 1))
        self.assertTrue(torch.equal(free, static))

    def test_features_as_the_engine_computes_them(self):
        gate = tiny().blocks[0].moe.counting
        with torch.no_grad():
            gate.log_temperature.fill_(math.log(1.3))
            gate.expert_log_norms.copy_(torch.arange(16.0))
        logits = torch.randn(1, 16, generator=torch.Generator().manual_seed(4))
        ranked = logits.topk(8).indices
        features = gate.features(logits, ranked, torch.tensor([2.5]))[0].tolist()
        z, order = logits[0].tolist(), ranked[0].tolist()
        p = [math.exp(v / 1.3) for v in z]
        p = [v / sum(p) for v in p]
        expected = [1.0] + [math.log(p[e]) for e in order] + [sum(p[e] for e in order[:i + 1]) for i in range(8)]
        expected += [float(e) for e in order] + [-sum(v * math.log(v) for v in p), math.log(sum(map(math.exp, z))), math.log(2.5)]
        expected += [v - sum(z) / 16 for v in z]
        np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)

    def test_loss_and_its_gradients(self):
        generator = torch.Generator().manual_seed(5)
        hidden, students, embedding = (torch.randn(*s, generator=generator).bfloat16().float().requires_grad_()
                                       for s in ((700, 16), (600, 16), (50, 16)))
        targets = torch.randint(50, (700,), generator=generator)
        total, sums = tied_cross_entropy(hidden, students, embedding, targets, 0.3)
        total.backward()
        own = [t.grad.clone() for t in (hidden, students, embedding)]
        hidden.grad = students.grad = embedding.grad = None
        p, q = (hidden @ embedding.T).log_softmax(1), (students @ embedding.T).log_softmax(1)
        teacher = p[:600].detach()
        plain = F.nll_loss(p, targets, reduction="sum")
        taught = F.nll_loss(q, targets[:600], reduction="sum")
        kl = (teacher.exp() * (teacher - q)).sum()
        (plain + 0.7 * taught + 0.3 * kl).backward()
        np.testing.assert_allclose(sums.tolist(), [plain.item(), taught.item(), kl.item()], rtol=1e-3)
        for mine, reference in zip(own, (hidden.grad, students.grad, embedding.grad)):
            self.assertLess((mine - reference).norm().item(), 0.01 * reference.norm().item())

    def test_the_controller_holds_the_wanted_counts(self):
        log_mu = [0.0] * len(ANCHORS)
        for _ in range(600):  # an expert more for every halving of the price
            rows = [[max(1.0, 4 - m / math.log(2)), 1.0] for m in log_mu]
            log_mu = control(log_mu, torch.tensor(rows, dtype=torch.float64))
        for price, target in zip(log_mu, ANCHORS):
            self.assertAlmostEqual(4 - price / math.log(2), target, delta=0.05)


class ExportTests(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.path = Path(self.folder.name)
        self.tokenizer = train_tokenizer(["a text of few words"], 257)
        self.tokenizer.save(str(self.path / "tokenizer.json"))
        self.vocabulary = self.tokenizer.get_vocab_size()

    def write(self, model: DemoModel, points=()) -> Path:
        output = self.path / "m.gguf"
        export.write(model, self.path / "tokenizer.json", output, None if model.config.is_dense else list(points))
        return output

    def test_what_was_written_reads_back(self):
        model = tiny(vocabulary=self.vocabulary)
        for block in model.blocks:
            torch.nn.init.normal_(block.moe.counting.hidden, generator=torch.Generator().manual_seed(9))
        read = export.read(self.write(model))
        for ours, theirs in zip(model.blocks, read.blocks):
            for name, values in ours.moe.counting.state_dict().items():
                torch.testing.assert_close(theirs.moe.counting.state_dict()[name], values, msg=name)
        ids = torch.arange(20)[None]
        with torch.no_grad():
            for routing in (Routing.static(8, 1), Routing.learned(-4, 8, 1)):
                a, b = model(ids, routing)[0], read(ids, routing)[0]
                self.assertLess((a - b).norm().item(), 0.1 * a.norm().item())

    def test_dense_twin_reads_back(self):
        model = tiny(vocabulary=self.vocabulary, experts=1, experts_per_token=1, expert_hidden=128)
        read = export.read(self.write(model))
        self.assertTrue(read.config.is_dense)
        self.assertEqual(read.config.expert_hidden, 128)

    def test_refuses_what_is_not_finite(self):
        model = tiny(vocabulary=self.vocabulary)
        model.blocks[1].moe.down.data[3, 0, 0] = math.nan
        with self.assertRaisesRegex(ValueError, "blk.1.ffn_down_exps.weight: not all values are finite"):
            self.write(model)
        model = tiny(vocabulary=self.vocabulary)
        model.blocks[0].moe.counting.heads.data[0, 0] = math.inf
        with self.assertRaisesRegex(ValueError, "blk.0: the gate"):
            self.write(model)
        self.assertFalse((self.path / "m.gguf").exists())

    def test_refuses_a_wrong_shape(self):
        model = tiny(vocabulary=self.vocabulary)
        model.norm.weight = torch.nn.Parameter(torch.ones(32))
        with self.assertRaises((ValueError, AssertionError)):
            self.write(model)
        model = tiny(vocabulary=self.vocabulary)
        model.blocks[0].moe.up = torch.nn.Parameter(model.blocks[0].moe.up.data.transpose(1, 2).contiguous())
        with self.assertRaisesRegex(ValueError, "blk.0.ffn_up_exps.weight: shape .*, expected"):
            self.write(model)


class TrainingTests(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.path = Path(self.folder.name)
        random = np.random.default_rng(1)
        for name, size in (("train", 40_000), *((f"heldout-{d}", 500) for d in ("prose", "code", "maths", "creative"))):
            random.integers(0, 300, size).astype(np.uint16).tofile(self.path / f"{name}.bin")
        (self.path / "meta.json").write_text(json.dumps({"vocabulary": 300}))

    def train(self, run: str, *more: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, str(HERE / "train.py"), "--data", str(self.path), "--run", str(self.path / run), "--steps", "6",
             "--window", "32", "--long-window", "48", "--rows", "6", "--long", "0.34", "--checkpoint-every", "4", "--shape", json.dumps(SHAPE), *more],
            capture_output=True, text=True)

    def checkpoint(self, run: str) -> dict:
        return torch.load(self.path / run / "checkpoint.pt", weights_only=True)

    def test_interrupted_training_has_the_same_result(self):
        elastic = "--elastic-from", "1"
        self.assertEqual(self.train("whole", *elastic).returncode, 0)
        self.assertEqual(self.train("parts", *elastic, "--stop-at", "3").returncode, 0)
        self.assertEqual(self.checkpoint("parts")["step"], 3)
        self.assertEqual(self.train("parts", *elastic).returncode, 0)
        whole, parts = self.checkpoint("whole"), self.checkpoint("parts")
        for name, values in whole["state"].items():
            self.assertTrue(torch.equal(values, parts["state"][name]), name)
        self.assertEqual(whole["progress"]["log_mu"], parts["progress"]["log_mu"])
        refused = self.train("parts", *elastic, "--seed", "2")
        self.assertIn("other settings (seed)", refused.stderr)
        self.assertIn("longer than the context of 64", self.train("parts", "--long-window", "65").stderr)

    def test_a_static_run_goes_on_as_an_elastic_one(self):
        elastic = "--elastic-from", "3"  # also the default: seven twelfths of six
        self.assertEqual(self.train("whole").returncode, 0)
        self.assertEqual(self.train("parts", "--variant", "static", "--stop-at", "3").returncode, 0)
        done = self.train("parts", *elastic)
        self.assertEqual(done.returncode, 0, done.stderr)
        for name, values in self.checkpoint("whole")["state"].items():
            self.assertTrue(torch.equal(values, self.checkpoint("parts")["state"][name]), name)
        self.assertEqual(self.train("late", "--variant", "static", "--stop-at", "4").returncode, 0)
        self.assertIn("other settings (variant, elastic_from)", self.train("late", *elastic).stderr)

    def test_every_twin_trains(self):
        for variant in ("static", "dense-total", "dense-active"):
            done = self.train(variant, "--variant", variant)
            self.assertEqual(done.returncode, 0, done.stderr)

    def test_missing_data_is_one_line(self):
        (self.path / "meta.json").unlink()
        done = self.train("none")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(len(done.stderr.strip().splitlines()), 1, done.stderr)
        self.assertIn("prepare.py makes it", done.stderr)


class ArithmeticTests(unittest.TestCase):
    def test_same_seed_same_problems_and_right_sums(self):
        problems = arithmetic.problems(500, 3)
        self.assertEqual(problems, arithmetic.problems(500, 3))
        self.assertEqual(len({p for p, _ in problems}), 500)
        for problem, text in problems:
            if problem.startswith("What is ") and "%" not in problem and "average" not in problem:
                a, operation, b = problem[8:-1].split()
                expected = {"+": int(a) + int(b), "-": int(a) - int(b), "*": int(a) * int(b)}[operation]
                self.assertTrue(text.endswith(f"Answer: {expected}\n"), text)


if __name__ == "__main__":
    unittest.main()
