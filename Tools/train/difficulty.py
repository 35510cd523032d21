# SPDX-License-Identifier: Apache-2.0
"""A lower price for hard tokens. The gate learns what an expert is worth; by that alone a token that nothing helps gets few experts.
Here the direction that it reads of the hidden state is turned a little towards how unsure the model is of the next token:

    û_m = w_m . F + (v + gamma u) . x - gamma u . x̄

u [d]: per layer, ridge regression of the logarithm of the entropy of the next token's distribution (static k = 8, nats) on the router's
input x, over training text; x̄ its mean. Twice the entropy lowers a token's price by 2^gamma, as far as u can tell.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from gate import HIDDEN_SCALE
from model import DemoModel, Routing

LEAST = 0.02  # nats, added to entropies: below, the model is sure
RIDGE = 100.0


@torch.no_grad()
def inputs_and_entropies(model: DemoModel, windows: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
    """ids [B, T] -> by layer the routers' inputs [B T, d], and the entropies [B T]."""
    seen: list[torch.Tensor] = []
    hooks = [block.moe.register_forward_pre_hook(lambda _, given: seen.append(given[0].reshape(-1, given[0].shape[-1]).double()))
             for block in model.blocks]
    try:
        hidden, _ = model.hidden(windows, Routing.static(model.config.experts_per_token, len(windows)))
    finally:
        for hook in hooks:
            hook.remove()
    log_p = F.linear(hidden, model.embedding.weight).log_softmax(-1)
    return seen, -(log_p.exp() * log_p).sum(-1).flatten().double()


@torch.no_grad()
def tilt(model: DemoModel, data: Path, gamma: float, window: int = 1024, count: int = 32, batch: int = 4) -> list[float]:
    """Changes the gates of `model`, from `count` windows spread over train.bin. Returns R² by layer, on every fourth window, which the
    fit has not seen."""
    ids = np.memmap(data / "train.bin", dtype=np.uint16, mode="r")
    starts = np.linspace(0, len(ids) - window, count).astype(int)
    windows = torch.from_numpy(np.stack([ids[s:s + window] for s in starts]).astype(np.int64))
    parts = [inputs_and_entropies(model, part) for part in windows.split(batch)]
    target = torch.cat([entropy for _, entropy in parts]).add(LEAST).log()
    held = (torch.arange(len(target)) // window) % 4 == 3
    shares = []
    for layer, block in enumerate(model.blocks):
        x = torch.cat([inputs[layer] for inputs, _ in parts])
        mean, level = x[~held].mean(0), target[~held].mean()
        centred = x[~held] - mean
        gram = centred.T @ centred + RIDGE * torch.eye(x.shape[1], dtype=x.dtype)
        u = torch.linalg.solve(gram, centred.T @ (target[~held] - level))
        rest = target[held] - level - (x[held] - mean) @ u
        shares.append(1 - (rest.square().mean() / target[held].var()).item())
        gate = block.moe.counting
        gate.hidden += (gamma * u / HIDDEN_SCALE).float()
        gate.heads[:, 0] -= gamma * (u @ mean).item()
    return shares
