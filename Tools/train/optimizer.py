# SPDX-License-Identifier: Apache-2.0
"""Muon for the matrices of the blocks, AdamW for everything else, over memory that several processes share.

Muon (Jordan 2024): momentum, then the nearest orthogonal matrix to it by Newton-Schulz iterations. Reported to need fewer
tokens than AdamW; it costs about 30 ms of a step of 300 here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


def orthogonalized(matrices: Tensor, steps: int = 5) -> Tensor:
    """matrices [N, r, c] -> [N, r, c] with all singular values near 1. Quintic iteration, coefficients from Jordan 2024."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrices.bfloat16()
    transpose = x.shape[-2] > x.shape[-1]
    if transpose:
        x = x.mT.contiguous()  # once, not in every product
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if transpose else x).float()


@dataclass
class Slot:
    """Where a parameter lives in the flat buffers."""

    name: str
    shape: torch.Size
    start: int
    stop: int
    muon: bool
    gate: bool  # of the count gate: its own rate
    owner: int  # the worker that updates it


class SharedState:
    """Parameters, gradients and moments as flat tensors in shared memory: workers see each other's updates without copies."""

    def __init__(self, model: nn.Module, workers: int, device: torch.device = torch.device("cpu")):
        self.slots: list[Slot] = []
        start, load = 0, [0] * workers
        for name, parameter in sorted(model.named_parameters(), key=lambda item: -item[1].numel()):
            gate = ".counting." in name
            muon = parameter.dim() >= 2 and name.startswith("blocks.") and not name.endswith("router") and not gate
            owner = load.index(min(load))
            load[owner] += parameter.numel() * (4 if muon else 1)  # Newton-Schulz is the dear part
            self.slots.append(Slot(name, parameter.shape, start, start + parameter.numel(), muon, gate, owner))
            start += parameter.numel()
        self.parameters, self.first, self.second = (torch.zeros(start, device=device) for _ in range(3))
        self.gradients = torch.zeros(workers, start, device=device)
        self.norms = torch.zeros(workers, dtype=torch.float64, device=device)
        if device.type == "cpu":
            for buffer in (self.parameters, self.first, self.second, self.gradients, self.norms):
                buffer.share_memory_()
        named = dict(model.named_parameters())
        for slot in self.slots:
            self.parameters[slot.start:slot.stop] = named[slot.name].detach().flatten()

    def attach(self, model: nn.Module, worker: int) -> None:
        """Makes the model's parameters and gradients views of the shared ones."""
        named = dict(model.named_parameters())
        for slot in self.slots:
            parameter = named[slot.name]
            parameter.data = self.parameters[slot.start:slot.stop].view(slot.shape)
            parameter.grad = self.gradients[worker, slot.start:slot.stop].view(slot.shape)

    def state_dict(self) -> dict:
        return {"parameters": self.parameters, "first": self.first, "second": self.second}

    def load_state_dict(self, state: dict) -> None:
        for name, values in state.items():
            getattr(self, name).copy_(values)

    # One step in two halves with a barrier after each: first everyone's share of the norm, then the updates.

    @torch.no_grad()
    def average(self, worker: int) -> None:
        """Means of the owned gradients over the workers, into worker 0's row; their squared norm."""
        total = torch.zeros((), dtype=torch.float64, device=self.norms.device)
        for slot in self.slots:
            if slot.owner == worker:
                mean = self.gradients[0, slot.start:slot.stop]
                mean.copy_(self.gradients[:, slot.start:slot.stop].mean(0))
                total += mean.square().sum()
        self.norms[worker] = total

    @torch.no_grad()
    def update(self, worker: int, step: int, muon_lr: float, adam_lr: float, gate_lr: float, weight_decay: float,
               clip: float = 1.0) -> float:
        """Updates the owned parameters; returns the norm of the whole gradient before clipping."""
        norm = float(self.norms.sum().sqrt())
        scale = min(1.0, clip / (norm + 1e-6))
        for slot in self.slots:
            if slot.owner != worker:
                continue
            parameter, gradient, first, second = (
                t[slot.start:slot.stop].view(slot.shape)
                for t in (self.parameters, self.gradients[0], self.first, self.second))
            gradient.mul_(scale)
            if slot.muon:
                first.lerp_(gradient, 0.05)
                direction = gradient.lerp(first, 0.95)  # Nesterov
                matrices = direction if direction.dim() == 3 else direction.unsqueeze(0)
                aspect = max(1.0, matrices.shape[-2] / matrices.shape[-1]) ** 0.5
                parameter.mul_(1 - muon_lr * weight_decay)
                parameter.add_(orthogonalized(matrices).view(slot.shape), alpha=-muon_lr * aspect)
            else:
                first.lerp_(gradient, 0.1)
                second.lerp_(gradient.square(), 0.05)
                mean, variance = first / (1 - 0.9 ** (step + 1)), second / (1 - 0.95 ** (step + 1))
                parameter.add_(mean / (variance.sqrt() + 1e-8), alpha=-(gate_lr if slot.gate else adam_lr))
        return norm
