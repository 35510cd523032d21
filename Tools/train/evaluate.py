# SPDX-License-Identifier: Apache-2.0
"""Held-out loss of the model per domain under fixed and dynamic routing, and how many experts each layer used.

    python Tools/train/evaluate.py [--gguf .cache/train/dynamic/model.gguf] [--windows 32]   (the exported file, dequantised)

Writes evaluation.json beside the file.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from model import DemoModel, RouterReport, Routing

DOMAINS = ("prose", "code", "maths", "creative")

ROOT = Path(__file__).resolve().parents[2]


def whole_windows(ids: np.ndarray, context: int) -> np.ndarray:
    """As many tokens as fill whole windows, and the one after: what every measurement on the held-out text scores."""
    return ids[:(len(ids) - 1) // context * context + 1]


def windows_of(ids: np.ndarray, context: int) -> Tensor:
    """[N, context + 1]: windows that overlap by the one token that is only predicted."""
    count = (len(ids) - 1) // context
    return torch.from_numpy(np.stack([ids[i * context:(i + 1) * context + 1] for i in range(count)]).astype(np.int64))


@torch.no_grad()
def token_losses(model: DemoModel, windows: Tensor, routing, batch: int = 8) -> tuple[Tensor, list[list[RouterReport]]]:
    """-log p of each window's tokens after the first, [N, context], nats; `routing` maps a batch size to a Routing."""
    losses, reports = [], []
    for part in windows.split(batch):
        logits, report = model(part[:, :-1], routing(len(part)))
        losses.append(F.cross_entropy(logits.float().transpose(1, 2), part[:, 1:], reduction="none"))
        reports.append(report)
    return torch.cat(losses), reports


def held_out_losses(model: DemoModel, data: Path, context: int, windows: int, routing=None) -> tuple[dict, dict]:
    """Per domain: nats per token, and mean experts per token, of `windows` windows spread evenly over the held-out text."""
    routing = routing or (lambda n: Routing.static(model.config.experts_per_token, n))
    device = model.norm.weight.device
    losses, counts = {}, {}
    for domain in DOMAINS:
        part = windows_of(np.fromfile(data / f"heldout-{domain}.bin", dtype=np.uint16), context)
        part = part[torch.linspace(0, len(part) - 1, min(windows, len(part))).long()].to(device)
        with torch.autocast(device.type, torch.bfloat16):
            loss, reports = token_losses(model, part, lambda n: routing(n).to(device), batch=2)
        losses[domain] = round(loss.mean().item(), 4)
        counts[domain] = round(float(np.mean([r.kept.float().mean().item() for rs in reports for r in rs] or [0])), 3)
    return losses, counts


POLICIES = (
    [(f"static:k={k}", lambda n, k=k: Routing.static(k, n)) for k in (8, 7, 6, 5, 4, 3, 2, 1)]
    + [(f"top-p:p={p},min=1,max=8", lambda n, p=p: Routing.top_p(p, 8, n)) for p in (0.9, 0.8, 0.7, 0.6, 0.5, 0.3)]
)


def measure(model: DemoModel, windows: Tensor, sizes: Tensor, routing) -> dict:
    """sizes: bytes of each token's text; tokens without any (<|endoftext|>) are read but not scored."""
    losses, reports = token_losses(model, windows, routing)
    size = sizes[windows[:, 1:]]
    total = losses[size > 0].double().sum().item()
    quality = {"perplexity": round(math.exp(total / (size > 0).sum().item()), 3),
               "bits_per_byte": round(total / math.log(2) / size.sum().item(), 4)}
    if model.config.is_dense:
        return quality | {"mean_k": 1}
    kept = [torch.cat([report[layer].kept.flatten().long() for report in reports]) for layer in range(model.config.layers)]
    return quality | {
        "mean_k": round(torch.cat(kept).double().mean().item(), 3),
        "mean_k_per_layer": [round(k.double().mean().item(), 2) for k in kept],
        "histogram": torch.bincount(torch.cat(kept), minlength=model.config.experts_per_token + 1)[1:].tolist(),
    }


def policies(path: Path, model: DemoModel) -> list[tuple[str, object]]:
    """Of a dense model one; else the fixed ones, and the gate at the points that the file carries."""
    import gguf

    import export

    if model.config.is_dense:
        return [("dense", lambda n: Routing.static(1, n))]
    field = gguf.GGUFReader(path).get_field(export.PROFILE_KEY)
    points = json.loads(field.contents())["points"] if field is not None else []
    learned = [(f"profile@{p['name']}", lambda n, mu=math.log(p["mu"]): Routing.learned(mu, model.config.experts_per_token, n))
               for p in points if p["mu"] > 0]
    return learned + POLICIES


def main() -> None:
    import export
    from ngram import token_sizes
    from tokenizers import Tokenizer

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / ".cache/train")
    parser.add_argument("--gguf", type=Path, default=ROOT / ".cache/train/dynamic/model.gguf")
    parser.add_argument("--context", type=int, default=1024, help="tokens of a window")
    parser.add_argument("--windows", type=int, help="of each domain; default: all")
    arguments = parser.parse_args()
    if not arguments.gguf.exists():
        raise SystemExit(f"evaluate: no {arguments.gguf}: Tools/train/export.py makes it")
    model = export.read(arguments.gguf)
    sizes = torch.from_numpy(token_sizes(Tokenizer.from_file(str(arguments.data / "tokenizer.json"))))
    results: dict[str, dict] = {}
    for name, routing in policies(arguments.gguf, model):
        results[name] = {}
        for domain in DOMAINS:
            windows = windows_of(np.fromfile(arguments.data / f"heldout-{domain}.bin", dtype=np.uint16), arguments.context)
            if arguments.windows:
                windows = windows[torch.linspace(0, len(windows) - 1, min(arguments.windows, len(windows))).long()]
            results[name][domain] = measure(model, windows, sizes, routing)
            row = results[name][domain]
            print(f"{name:28} {domain:9} perplexity {row['perplexity']:8.3f}  bits per byte {row['bits_per_byte']:.4f}  "
                  f"mean k {row['mean_k']:.2f}", flush=True)
    arguments.gguf.with_name("evaluation.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
