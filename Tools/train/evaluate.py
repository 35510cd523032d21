# SPDX-License-Identifier: Apache-2.0
"""Held-out perplexity of the model under fixed and dynamic routing, and how many experts each layer used.

    python Tools/train/evaluate.py [--gguf CSources/CMoEDemoModel/demo.gguf]   (the exported file, dequantised; default)
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
    kept = [torch.cat([report[layer].kept.flatten() for report in reports]) for layer in range(model.config.layers)]
    return {
        "perplexity": round(math.exp(total / (size > 0).sum().item()), 3),
        "bits_per_byte": round(total / math.log(2) / size.sum().item(), 4),
        "mean_k": round(torch.cat(kept).double().mean().item(), 3),
        "mean_k_per_layer": [round(k.double().mean().item(), 2) for k in kept],
        "histogram": torch.bincount(torch.cat(kept), minlength=model.config.experts_per_token + 1)[1:].tolist(),
    }


def main() -> None:
    import export
    from ngram import token_sizes
    from tokenizers import Tokenizer

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / ".cache/train")
    parser.add_argument("--gguf", type=Path, default=ROOT / "CSources/CMoEDemoModel/demo.gguf")
    arguments = parser.parse_args()
    model = export.read(arguments.gguf)
    windows = windows_of(np.fromfile(arguments.data / "heldout.bin", dtype=np.uint16), model.config.context)
    sizes = torch.from_numpy(token_sizes(Tokenizer.from_file(str(arguments.data / "tokenizer.json"))))
    results = {}
    for name, routing in POLICIES:
        results[name] = measure(model, windows, sizes, routing)
        print(name, results[name], flush=True)
    (arguments.data / "evaluation.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
