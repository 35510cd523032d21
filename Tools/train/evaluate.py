# SPDX-License-Identifier: Apache-2.0
"""Held-out loss of the model under fixed and learned routing, in PyTorch: what training reports, and what the engine is checked
against. The results table measures the engine itself (Tools/results)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from corpus import DOMAINS
from model import DemoModel, RouterReport, Routing


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
