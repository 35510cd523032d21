# SPDX-License-Identifier: Apache-2.0
"""Trains the embedded model on what prepare.py wrote, then exports it.

    python Tools/train/train.py [--steps 4000] [--run .cache/train/run] [--compile]

Deterministic by seed for a number of workers, on one machine. Interrupt it at will: the same command goes on from the last
checkpoint, to the same result. Writes checkpoint.pt, log.jsonl, loss.png and summary.json to the run's folder.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
import torch
import torch.multiprocessing as multiprocessing
from torch import Tensor
from tqdm import tqdm

import export
from evaluate import held_out_loss
from loss import tied_cross_entropy
from model import DemoModel, ModelConfig, Routing
from optimizer import SharedState

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = ("steps", "batch", "muon_lr", "adam_lr", "weight_decay", "entropy", "seed", "workers")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / ".cache/train")
    parser.add_argument("--run", type=Path, default=ROOT / ".cache/train/run")
    parser.add_argument("--export", type=Path, default=ROOT / "CSources/CMoEDemoModel/demo.gguf")
    parser.add_argument("--no-export", action="store_true", help="leave the embedded model as it is")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--batch", type=int, default=8, help="windows of the model's context per step")
    parser.add_argument("--muon-lr", type=float, default=0.03)
    parser.add_argument("--adam-lr", type=float, default=0.006)
    parser.add_argument("--weight-decay", type=float, default=0.1)
    parser.add_argument("--entropy", type=float, default=1.6, help="what the router's entropy is steered to, nats")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread that share the batch; one a core")
    parser.add_argument("--checkpoint-every", type=int, default=200, help="steps")
    parser.add_argument("--compile", action="store_true", help="fuse with torch.compile; needs a C++ compiler")
    options = parser.parse_args()
    if options.batch % options.workers:
        parser.error("--batch must be a multiple of --workers")
    return options


class Windows:
    """Windows of context + 1 tokens in a fixed random order; each epoch is cut at another offset and shuffled anew."""

    def __init__(self, path: Path, context: int, batch: int, seed: int):
        self.ids = np.memmap(path, dtype=np.uint16, mode="r")
        self.context, self.batch, self.seed = context, batch, seed
        self.per_epoch = (len(self.ids) - 2 * context) // context // batch

    def __getitem__(self, step: int) -> Tensor:
        epoch, index = divmod(step, self.per_epoch)
        random = np.random.default_rng((self.seed, epoch))
        offset = int(random.integers(self.context))
        order = random.permutation(self.per_epoch * self.batch)[index * self.batch:(index + 1) * self.batch]
        starts = order * self.context + offset
        return torch.from_numpy(np.stack([self.ids[s:s + self.context + 1] for s in starts]).astype(np.int64))


def routing_draw(step: int, batch: int, maximum: int, seed: int) -> Routing:
    """Elastic training: half of the sequences run k = maximum, a quarter a uniform k below it, a quarter top-p.

    So the model meets every way in which it will be deployed, and the router's ranking has to be right from the first
    expert on.
    """
    random = np.random.default_rng((seed, 1, step))
    count = np.full(batch, maximum)
    mass = np.full(batch, 2.0)
    kinds = random.permutation(batch) * 4 // batch
    for row, kind in enumerate(kinds):
        if kind == 2:
            count[row] = random.integers(1, maximum)
        elif kind == 3:
            mass[row] = random.uniform(0.3, 0.95)
    return Routing(torch.from_numpy(count)[:, None], torch.from_numpy(mass).float()[:, None])


def schedule(step: int, steps: int, warm_up: int = 100) -> float:
    """Warm-up, a plateau for the first 40 %, then linearly to zero."""
    return min((step + 1) / min(warm_up, steps // 4 + 1), 1.0, max(0.0, (steps - step) / (0.6 * steps)))


def save_atomically(state: dict, path: Path) -> None:
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    os.replace(temporary, path)


def plot(log: list[dict], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4))
    steps, losses = [e["step"] for e in log], np.array([e["loss"] for e in log])
    axes.plot(steps, losses, linewidth=0.8, label="training, mean of 10 steps (k drawn at random)")
    held = [(e["step"], e["held_out"]) for e in log if "held_out" in e]
    axes.plot(*zip(*held), "o-", markersize=3, label="held out, k = 8")
    axes.set(xlabel="step", ylabel="nats per token", ylim=(min(losses.min(), held[-1][1]) - 0.1, 6.5))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=100)


def work(worker: int, options: argparse.Namespace, identity: dict, config: ModelConfig, state: SharedState,
         losses: Tensor, barrier, start: int, elapsed: tuple[float, float], log: list[dict]) -> None:
    """One worker: its share of each batch, its share of the parameters. Worker 0 also keeps the log and the checkpoints.

    `elapsed`: seconds so far, of the clock and of one worker's processor time; on an idle machine the two agree.
    """
    torch.set_num_threads(1)
    model = DemoModel(config)
    state.attach(model, worker)
    if options.compile:
        for block in model.blocks:
            block.compile(dynamic=False)
    windows = Windows(options.data / "train.bin", config.context, options.batch, options.seed)
    share = slice(worker * options.batch // options.workers, (worker + 1) * options.batch // options.workers)
    clock, cpu = time.perf_counter() - elapsed[0], time.process_time() - elapsed[1]
    recent: list[float] = []
    bar = tqdm(total=options.steps, initial=start, unit="step", mininterval=5, smoothing=0.05, disable=worker != 0)
    for step in range(start, options.steps):
        factor = schedule(step, options.steps)
        batch = windows[step][share]
        routing = routing_draw(step, options.batch, config.experts_per_token, options.seed)
        routing = Routing(routing.count[share], routing.mass[share])
        state.gradients[worker].zero_()
        with torch.autocast("cpu", torch.bfloat16):
            hidden, reports = model.hidden(batch[:, :-1], routing)
        loss = tied_cross_entropy(hidden.view(-1, config.hidden), model.embedding.weight, batch[:, 1:].reshape(-1))
        # Balance: all experts equally likely on average. Entropy: steered, so that tokens differ in how many they need.
        balance = sum(r.imbalance for r in reports)
        steer = sum((r.entropy - options.entropy).square() for r in reports)
        (loss + 0.02 * balance + 0.02 * steer).backward()
        losses[worker] = loss.item()
        barrier.wait()
        state.average(worker)
        barrier.wait()
        norm = state.update(worker, step, options.muon_lr * factor, options.adam_lr * factor, options.weight_decay)
        recent.append(losses.mean().item())
        if not np.isfinite(norm):
            raise RuntimeError(f"step {step}: the gradient is not finite")
        barrier.wait()
        if worker != 0:
            continue
        bar.update()
        done = step + 1
        checkpoint = done % options.checkpoint_every == 0 or done == options.steps
        if done % 10 == 0 or checkpoint:
            entry = {"step": done, "loss": round(float(np.mean(recent)), 4), "lr": round(factor, 4),
                     "gradient_norm": round(norm, 3), "entropy": [round(r.entropy.item(), 3) for r in reports],
                     "imbalance": [round(r.imbalance.item(), 4) for r in reports],
                     "seconds": round(time.perf_counter() - clock, 1),
                     "cpu_seconds": round(time.process_time() - cpu, 1)}
            recent = []
            if checkpoint:
                entry["held_out"] = round(held_out_loss(model, options.data, windows=24), 4)
            log.append(entry)
            bar.set_postfix({k: entry[k] for k in ("loss", "held_out") if k in entry}, refresh=False)
        if checkpoint:  # the others wait at the next barrier, before anything changes
            elapsed = time.perf_counter() - clock, time.process_time() - cpu
            save_atomically({"identity": identity, "state": state.state_dict(), "model": model.state_dict(), "step": done,
                             "log": log, "elapsed": elapsed}, options.run / "checkpoint.pt")
            (options.run / "log.jsonl").write_text("".join(json.dumps(e) + "\n" for e in log))
    bar.close()


def main() -> None:
    options = arguments()
    meta = json.loads((options.data / "meta.json").read_text())
    config = ModelConfig(vocabulary=meta["vocabulary"])
    model = DemoModel(config)
    model.initialize(options.seed)
    state = SharedState(model, options.workers)
    options.run.mkdir(parents=True, exist_ok=True)
    identity = {name: getattr(options, name) for name in SETTINGS} | config.to_dict()
    start, elapsed, log = 0, (0.0, 0.0), []
    checkpoint = options.run / "checkpoint.pt"
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        if saved["identity"] != identity:
            raise SystemExit(f"{checkpoint} is of a run with other settings: remove it, or give another --run")
        state.load_state_dict(saved["state"])
        start, elapsed, log = saved["step"], saved["elapsed"], saved["log"]
    losses = torch.zeros(options.workers, dtype=torch.float64).share_memory_()
    barrier = multiprocessing.get_context("spawn").Barrier(options.workers)
    multiprocessing.spawn(
        work, (options, identity, config, state, losses, barrier, start, elapsed, log), nprocs=options.workers)

    saved = torch.load(checkpoint, weights_only=True)
    model.load_state_dict(saved["model"])
    log = saved["log"]
    plot(log, options.run / "loss.png")
    summary = {"settings": identity, "tokens": options.steps * options.batch * config.context,
               "parameters": sum(p.numel() for p in model.parameters()), "compiled": options.compile,
               "seconds": round(saved["elapsed"][0]), "cpu_seconds_of_a_worker": round(saved["elapsed"][1]),
               "held_out_24_windows": log[-1]["held_out"]}
    (options.run / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    print(json.dumps(summary))
    if not options.no_export:
        export.write(model, options.data / "tokenizer.json", options.export)


if __name__ == "__main__":
    main()
