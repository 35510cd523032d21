# SPDX-License-Identifier: Apache-2.0
"""Head and cross-entropy in one function: the logits of a few hundred rows at a time live in the cache, never in memory."""

from __future__ import annotations

import torch
from torch import Tensor

CHUNK = 512  # rows of logits at a time


class TiedCrossEntropy(torch.autograd.Function):
    """hidden [N, d], embedding [V, d], targets [N] -> mean of -log softmax(hidden @ embedding^T)[target]."""

    @staticmethod
    def forward(ctx, hidden: Tensor, embedding: Tensor, targets: Tensor) -> Tensor:
        count = hidden.shape[0]
        x, w = hidden.bfloat16(), embedding.bfloat16()
        hidden_gradient = torch.empty_like(hidden)
        embedding_gradient = torch.zeros_like(embedding)
        total = torch.zeros((), dtype=torch.float64)
        for start in range(0, count, CHUNK):
            rows, target = x[start:start + CHUNK], targets[start:start + CHUNK].unsqueeze(1)
            logits = (rows @ w.T).float()
            chosen = logits.gather(1, target)
            largest = logits.amax(1, keepdim=True)
            exponentials = logits.sub_(largest).exp_()
            sums = exponentials.sum(1, keepdim=True)
            total += (sums.log() + largest - chosen).sum()
            gradient = exponentials.div_(sums * count)  # softmax / N
            gradient.scatter_add_(1, target, torch.full_like(chosen, -1 / count))
            gradient = gradient.bfloat16()
            hidden_gradient[start:start + CHUNK] = gradient @ w
            embedding_gradient += gradient.T @ rows
        ctx.save_for_backward(hidden_gradient, embedding_gradient)
        return (total / count).float()

    @staticmethod
    def backward(ctx, upstream: Tensor):
        hidden_gradient, embedding_gradient = ctx.saved_tensors
        return hidden_gradient * upstream, embedding_gradient * upstream, None


tied_cross_entropy = TiedCrossEntropy.apply
