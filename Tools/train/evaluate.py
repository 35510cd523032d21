# SPDX-License-Identifier: Apache-2.0
"""Held-out loss of the model under fixed and learned routing, in PyTorch: what training reports, and what the engine is checked
against. The results table measures the engine itself (Tools/results)."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from model import DemoModel, RouterReport, Routing

DOMAINS = ("prose", "code", "maths", "creative")


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

