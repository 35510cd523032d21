# SPDX-License-Identifier: Apache-2.0
"""Trains the embedded model, or a twin of it, on what prepare.py wrote.

    python Tools/train/train.py [--variant dynamic|static|dense-total|dense-active] [--steps 2400] [--run .cache/train/dynamic]

Deterministic by seed for a number of workers, on one machine. Interrupt it at will (it finishes its step and writes a
checkpoint): the same command goes on from there, to the same result. Writes checkpoint.pt, log.jsonl, loss.png and summary.json
to the run's folder. Uses a GPU when there is one. export.py makes the GGUF.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import torch
import torch.multiprocessing as multiprocessing
from torch import Tensor
from tqdm import tqdm

import experts
from evaluate import held_out_losses
from loss import tied_cross_entropy
from model import DemoModel, ModelConfig, Routing
from optimizer import SharedState
from plan import ANCHORS, FIRST_LOG_MU, Shape, control, draw

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = ("variant", "elastic_from", "steps", "long", "muon_lr", "adam_lr", "gate_lr", "weight_decay", "entropy", "share", "seed", "workers",
            "window", "long_window", "rows", "compile")
EARLIER = {"elastic_from": 0}  # what settings were before there was a choice: older checkpoints do not name them
VARIANTS = {
    "dynamic": "the model that ships: its gate is learned with it",
    "static": "the same shape, always k = 8",
    "dense-total": "one feed-forward network of all experts' size",
    "dense-active": "one feed-forward network of k experts' size",
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / ".cache/train")
    parser.add_argument("--run", type=Path, help="default: .cache/train/VARIANT")
    parser.add_argument("--variant", choices=VARIANTS, default="dynamic",
                        help="; ".join(f"{name}: {what}" for name, what in VARIANTS.items()))
    parser.add_argument("--elastic-from", type=int, metavar="STEP",
                        help="dynamic: the first step with students; default: after seven twelfths of the steps")
    parser.add_argument("--steps", type=int, default=2400)
    parser.add_argument("--stop-at", type=int, help="stop with a checkpoint after this step")
    parser.add_argument("--window", type=int, default=1024, help="tokens; the last steps read longer ones (--long)")
    parser.add_argument("--rows", type=int, default=6, help="windows per step and worker, at least 6")
    parser.add_argument("--long", type=float, default=0.1, help="share of the steps, the last ones, with --long-window")
    parser.add_argument("--long-window", type=int, default=4096,
                        help="tokens; half of these steps leave out positions, so that distances up to the context occur")
    parser.add_argument("--muon-lr", type=float, default=0.02)
    parser.add_argument("--adam-lr", type=float, default=0.004)
    parser.add_argument("--gate-lr", type=float, default=0.004)
    parser.add_argument("--weight-decay", type=float, default=0.1)
    parser.add_argument("--entropy", type=float, default=1.6, help="what the router's entropy is steered to, nats")
    parser.add_argument("--share", type=float, default=1.0, help="of the teacher in its students' loss; the rest is the text's")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread that share the batch; one a core")
    parser.add_argument("--checkpoint-every", type=int, default=100, help="steps")
    parser.add_argument("--compile", action="store_true", help="fuse with torch.compile: a third faster; needs a C++ compiler")
    parser.add_argument("--shape", type=json.loads, default={}, metavar="JSON", help="other sizes, for experiments")
    options = parser.parse_args()
    if options.rows < 6:
        parser.error(f"--rows {options.rows}: at least 6, or no row is left to learn fewer experts")
    if torch.cuda.is_available():
        # As many windows a step, in one process.
        options.rows, options.workers = options.rows * options.workers, 1
    if options.variant != "dynamic":
        options.elastic_from = 0
    elif options.elastic_from is None:
        options.elastic_from = options.steps * 7 // 12
    options.run = options.run or ROOT / ".cache/train" / options.variant
    return options


def configuration(options: argparse.Namespace, vocabulary: int) -> ModelConfig:
    c = ModelConfig(**{"vocabulary": vocabulary} | options.shape)
    if options.variant.startswith("dense"):
        experts = c.experts if options.variant == "dense-total" else c.experts_per_token
        c = ModelConfig(**c.to_dict() | {"experts": 1, "experts_per_token": 1, "expert_hidden": c.expert_hidden * experts})
    return c


class Windows:
    """Windows of length + 1 tokens in a fixed random order; each epoch is cut at another offset and shuffled anew."""

    def __init__(self, path: Path, length: int, batch: int, seed: int):
        self.ids = np.memmap(path, dtype=np.uint16, mode="r")
        self.length, self.batch, self.seed = length, batch, seed
        self.per_epoch = (len(self.ids) - 2 * length) // length // batch
        if self.per_epoch < 1:
            raise SystemExit(f"{path}: {len(self.ids)} tokens are too few for {batch} windows of {length}")

    def __getitem__(self, step: int) -> Tensor:
        epoch, index = divmod(step, self.per_epoch)
        random = np.random.default_rng((self.seed, self.length, epoch))
        offset = int(random.integers(self.length))
        order = random.permutation(self.per_epoch * self.batch)[index * self.batch:(index + 1) * self.batch]
        starts = order * self.length + offset
        return torch.from_numpy(np.stack([self.ids[s:s + self.length + 1] for s in starts]).astype(np.int64))


def students_from(settings: dict) -> float:
    """The first step with students: until then a dynamic run is its static twin's."""
    return settings["elastic_from"] if settings["variant"] == "dynamic" else float("inf")


class Curriculum:
    """Which windows a worker reads at a step, and what is done with them. All variants read the same text."""

    def __init__(self, options: argparse.Namespace, config: ModelConfig):
        self.options, self.config = options, config
        self.long_from = options.steps - round(options.long * options.steps)
        self.short = Windows(options.data / "train.bin", options.window, options.rows * options.workers, options.seed)
        self.long_rows = 2 * max(1, options.rows * options.window // (6 * options.long_window))
        self.long = Windows(options.data / "train.bin", options.long_window, self.long_rows * options.workers, options.seed)

    def shape(self, step: int) -> Shape:
        rows, window = self.options.rows, self.options.window
        if step < self.long_from:
            shape = Shape(window, rows, elastic=rows // 6, own=rows // 6, relaxed=rows // 6 * 2)
        else:
            half, window = self.long_rows // 2, self.options.long_window
            # In turn: students of all rows for the gate, and of half the rows for the weights.
            shape = Shape(window, half, relaxed=half) if step % 2 else Shape(window, self.long_rows, own=half)
        if step < students_from(vars(self.options)):
            shape = Shape(window, shape.full)
        return shape

    def windows(self, step: int, worker: int) -> Tensor:
        count = self.shape(step).full
        if step < self.long_from:
            return self.short[step][worker * self.options.rows:][:count]
        return self.long[step - self.long_from][worker * self.long_rows:][:count]

    def positions(self, step: int, worker: int) -> Tensor | None:
        """Of a window's tokens; None: as they come. Two in four of the long steps jump once, by as much as the context has room
        for: the model learns all distances of its context from windows that are shorter (PoSE, Zhu et al. 2023)."""
        room = self.config.context - self.options.long_window
        if step < self.long_from or step // 2 % 2 or room < 1:
            return None
        random = np.random.default_rng((self.options.seed, 2, step, worker))
        positions = torch.arange(self.options.long_window)
        positions[int(random.integers(1, self.options.long_window)):] += int(random.integers(1, room + 1))
        return positions


PLATEAU = 0.4  # of the steps


def schedule(step: int, steps: int, warm_up: int = 100) -> float:
    """Warm-up, a plateau, then linearly to zero."""
    return min((step + 1) / min(warm_up, steps // 4 + 1), 1.0, max(0.0, (steps - step) / ((1 - PLATEAU) * steps)))


def save_atomically(state: dict, path: Path) -> None:
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    os.replace(temporary, path)


def plot(log: list[dict], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (losses, counts) = pyplot.subplots(2, 1, figsize=(8, 7), sharex=True)
    steps = [e["step"] for e in log]
    losses.plot(steps, [e["loss"] for e in log], linewidth=0.8, label="training")
    held = [e for e in log if "held_out" in e]
    for domain in held[-1]["held_out"] if held else ():
        losses.plot([e["step"] for e in held], [e["held_out"][domain] for e in held], "o-", markersize=2, linewidth=0.8,
                    label=f"held out, {domain}, k = 8")
    top = np.percentile([e["loss"] for e in log], 95)
    losses.set(ylabel="nats per token", ylim=(None, top + 0.5))
    for index, target in enumerate(ANCHORS if "mean_k" in log[-1] else ()):
        line, = counts.plot(steps, [e["mean_k"][index] if "mean_k" in e else None for e in log], linewidth=0.8)
        counts.axhline(target, color=line.get_color(), linestyle=":", linewidth=0.8)
    counts.set(xlabel="step", ylabel="mean k at the gate's prices (dotted: wanted)")
    for axes in (losses, counts):
        axes.grid(alpha=0.3)
    losses.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


class Stop:
    """Set by SIGINT or SIGTERM: the run ends after the step at hand, with a checkpoint."""

    def __init__(self):
        self.asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)

    def _ask(self, *_) -> None:
        self.asked = True


def step_loss(model: DemoModel, batch: Tensor, positions: Tensor | None, shape: Shape, routing: Routing,
              options: argparse.Namespace):
    """The loss of one worker's rows, the three sums of loss.py, and the routers' reports."""
    inputs = torch.cat((batch, batch[:shape.students]))[:, :-1]
    with torch.autocast(batch.device.type, torch.bfloat16):
        hidden, reports = model.hidden(inputs, routing, positions)
    tokens, width = shape.full * shape.window, model.config.hidden
    flat = hidden.view(-1, width)
    total, sums = tied_cross_entropy(
        flat[:tokens], flat[tokens:], model.embedding.weight, batch[:, 1:].reshape(-1), options.share)
    loss = total / (shape.rows * shape.window)
    # Balance: all experts equally likely on average. Entropy: steered, so that tokens differ in how many they need.
    for report in reports:
        loss = loss + 0.02 * report.imbalance + 0.02 * (report.entropy - options.entropy).square()
        if shape.relaxed:
            # mu nats for each expert: what the gate weighs against the loss, in the rows that it learns from.
            cost = report.cost[shape.own:].mean(1)
            loss = loss + (cost * routing.log_mu[shape.own:].exp()).sum() / shape.rows
    return loss, sums, reports


def work(worker: int, options: argparse.Namespace, identity: dict, config: ModelConfig, state: SharedState, shared: dict,
         barrier, start: int, progress: dict) -> None:
    """One worker: its share of each batch, its share of the parameters. Worker 0 also keeps the log and the checkpoints."""
    device = state.parameters.device
    if device.type == "cpu":
        torch.set_num_threads(1)
    stop = Stop()
    model = DemoModel(config).to(device)
    state.attach(model, worker)
    if options.compile:
        experts.fuse()
        for block in model.blocks:
            for part in (block.attention, block.attention_norm, block.ffn_norm):
                part.compile(dynamic=False)
    curriculum = Curriculum(options, config)
    log, log_mu = progress["log"], list(progress["log_mu"])
    clock, cpu = time.perf_counter() - progress["elapsed"][0], time.process_time() - progress["elapsed"][1]
    recent = []
    bar = tqdm(total=options.steps, initial=start, unit="step", mininterval=5, smoothing=0.05, disable=worker != 0)
    last = min(options.steps, options.stop_at or options.steps)
    for step in range(start, last):
        factor = schedule(step, options.steps)
        shape = curriculum.shape(step)
        drawn = draw(shape, config.experts_per_token, log_mu, (options.seed, 1, step, worker))
        state.gradients[worker].zero_()
        loss, sums, reports = step_loss(
            model, curriculum.windows(step, worker).to(device), curriculum.positions(step, worker), shape,
            drawn.routing.to(device), options)
        loss.backward()
        counts = torch.zeros(len(ANCHORS), 2, dtype=torch.float64)
        if len(drawn.anchors):
            kept = torch.stack([r.kept[shape.full + shape.elastic:].float().mean(1) for r in reports]).mean(0).double().cpu()
            counts[:, 0].index_add_(0, drawn.anchors, kept)
            counts[:, 1].index_add_(0, drawn.anchors, torch.ones_like(kept))
        shared["sums"][worker] = sums.cpu()
        shared["counts"][worker] = counts
        shared["stop"][worker] = stop.asked
        barrier.wait()
        state.average(worker)
        barrier.wait()
        norm = state.update(worker, step, options.muon_lr * factor, options.adam_lr * factor, options.gate_lr * factor,
                            options.weight_decay)
        if not np.isfinite(norm):
            raise RuntimeError(f"step {step}: the gradient is not finite")
        log_mu = control(log_mu, shared["counts"].sum(0))
        recent.append((shared["sums"].sum(0), shared["counts"].sum(0), shape, norm))
        stopping = bool(shared["stop"].any())
        barrier.wait()
        done = step + 1
        checkpoint = done % options.checkpoint_every == 0 or done == last or stopping
        if worker == 0:
            bar.update()
            if done % 10 == 0 or checkpoint:
                entry = log_entry(done, recent, reports, factor, log_mu, config, options)
                entry |= {"seconds": round(time.perf_counter() - clock, 1), "cpu_seconds": round(time.process_time() - cpu, 1)}
                recent = []
                if checkpoint:
                    with torch.compiler.set_stance("force_eager"):
                        entry["held_out"] = held_out_losses(model, options.data, options.window, windows=4)[0]
                log.append(entry)
                bar.set_postfix({"loss": entry["loss"]}, refresh=False)
            if checkpoint:  # the others wait at the next barrier, before anything changes
                elapsed = time.perf_counter() - clock, time.process_time() - cpu
                progress = {"text": progress.get("text"), "log": log, "log_mu": log_mu, "elapsed": elapsed}
                save_atomically({"identity": identity, "state": state.state_dict(), "model": model.state_dict(), "step": done,
                                 "progress": progress}, options.run / "checkpoint.pt")
                (options.run / "log.jsonl").write_text("".join(json.dumps(e) + "\n" for e in log))
                plot(log, options.run / "loss.png")
        if stopping:
            break
    bar.close()


def log_entry(done: int, recent: list, reports: list, factor: float, log_mu: list[float], config: ModelConfig,
              options: argparse.Namespace) -> dict:
    sums = sum(r[0] for r in recent)
    counts = sum(r[1] for r in recent)
    tokens = sum(r[2].full * r[2].window for r in recent) * options.workers
    students = sum(r[2].students * r[2].window for r in recent) * options.workers
    entry = {"step": done, "loss": round(sums[0].item() / tokens, 4), "lr": round(factor, 4), "gradient_norm": round(recent[-1][3], 3)}
    if students:
        entry |= {"student": round(sums[1].item() / students, 4), "kl": round(sums[2].item() / students, 4)}
    if not config.is_dense:
        entry |= {"entropy": [round(r.entropy.item(), 3) for r in reports],
                  "imbalance": [round(r.imbalance.item(), 4) for r in reports]}
    if counts[:, 1].any():
        entry |= {"mean_k": [round(t / n, 3) if n else None for t, n in counts.tolist()],
                  "log_mu": [round(m, 3) for m in log_mu]}
    return entry


class Alone:
    """The barrier of a single worker."""

    def wait(self) -> None:
        pass


def main() -> None:
    options = arguments()
    meta = options.data / "meta.json"
    if not meta.exists():
        raise SystemExit(f"{meta} is missing: Tools/train/prepare.py makes it")
    figures = json.loads(meta.read_text())
    config, text = configuration(options, figures["vocabulary"]), figures.get("train_sha256")
    longest = max(options.window, options.long_window)
    if longest > config.context:
        raise SystemExit(f"windows of {longest} tokens are longer than the context of {config.context}")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = DemoModel(config)
    model.initialize(options.seed)
    state = SharedState(model, options.workers, device)
    options.run.mkdir(parents=True, exist_ok=True)
    identity = {name: getattr(options, name) for name in SETTINGS} | config.to_dict()
    start, progress = 0, {"text": text, "log": [], "log_mu": list(FIRST_LOG_MU), "elapsed": (0.0, 0.0)}
    checkpoint = options.run / "checkpoint.pt"
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True, map_location=device)
        was = EARLIER | saved["identity"]
        other = [k for k in identity if was.get(k) != identity[k]]
        shorter = min(options.steps, saved["identity"]["steps"])
        if "steps" in other and shorter >= 400 and saved["step"] <= PLATEAU * shorter:
            other.remove("steps")  # up to the end of the plateau a longer and a shorter run are the same run
        if {"variant", "elastic_from", "share"}.issuperset(other) and saved["step"] <= min(map(students_from, (was, identity))):
            other = []  # as are two runs that differ in their students, before the first of these
        if other:
            raise SystemExit(f"{checkpoint} is of a run with other settings ({', '.join(other)}): remove it, or give another --run")
        if saved["progress"].get("text", text) != text:
            raise SystemExit(f"{checkpoint} is of a run on other text: prepare.py has made {options.data / 'train.bin'} anew")
        state.load_state_dict(saved["state"])
        start, progress = saved["step"], saved["progress"] | {"text": text}
    shared = {"sums": torch.zeros(options.workers, 3, dtype=torch.float64).share_memory_(),
              "counts": torch.zeros(options.workers, len(ANCHORS), 2, dtype=torch.float64).share_memory_(),
              "stop": torch.zeros(options.workers, dtype=torch.bool).share_memory_()}
    if start < min(options.steps, options.stop_at or options.steps):
        if options.workers == 1:
            work(0, options, identity, config, state, shared, Alone(), start, progress)
        else:
            barrier = multiprocessing.get_context("spawn").Barrier(options.workers)
            context = multiprocessing.spawn(
                work, (options, identity, config, state, shared, barrier, start, progress), nprocs=options.workers, join=False)
            for number in (signal.SIGINT, signal.SIGTERM):  # the workers stop by themselves, with a checkpoint
                signal.signal(number, lambda *_: os.kill(context.pids()[0], signal.SIGTERM))
            while not context.join():
                pass
    saved = torch.load(checkpoint, weights_only=True, map_location="cpu")
    done, progress = saved["step"], saved["progress"]
    if done < options.steps:
        print(f"stopped after step {done} of {options.steps}; the same command goes on from there")
        return
    curriculum = Curriculum(options, config)
    shapes = [curriculum.shape(step) for step in range(options.steps)]
    tokens = sum(shape.full * shape.window for shape in shapes) * options.workers
    summary = {"settings": identity, "parameters": sum(p.numel() for p in model.parameters()), "training_tokens": tokens,
               "seconds": round(progress["elapsed"][0]), "cpu_seconds_of_a_worker": round(progress["elapsed"][1]),
               "held_out_16_windows": progress["log"][-1]["held_out"]}
    (options.run / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
