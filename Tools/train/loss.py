# SPDX-License-Identifier: Apache-2.0
"""Head and cross-entropy in one function: the logits of a few hundred rows at a time live in the cache, never in memory."""

from __future__ import annotations

import torch
from torch import Tensor

CHUNK = 512  # rows of logits at a time


class TiedCrossEntropy(torch.autograd.Function):
    """hidden [N, d], embedding [V, d], targets [N] -> sum of -log softmax(hidden @ embedding^T)[target].

    The first S rows are also the teacher of as many others: students [S, d] are scored against their targets with weight
    1 - share and against the teacher's distribution with weight share. Gives three sums: the plain rows' loss, the students'
    loss against targets, and KL(teacher || student). No gradient reaches the teacher from its students."""

    @staticmethod
    def forward(ctx, hidden: Tensor, students: Tensor, embedding: Tensor, targets: Tensor, share: float):
        w = embedding.bfloat16()
        hidden_gradient, student_gradient = torch.empty_like(hidden), torch.empty_like(students)
        embedding_gradient = torch.zeros_like(embedding)
        sums = torch.zeros(3, dtype=torch.float64, device=hidden.device)
        for start in range(0, hidden.shape[0], CHUNK):
            rows = hidden[start:start + CHUNK].bfloat16()
            target = targets[start:start + CHUNK].unsqueeze(1)
            log_p = (rows @ w.T).float().log_softmax(1)
            chosen = log_p.gather(1, target)
            sums[0] -= chosen.sum()
            p = log_p.exp()
            pulled = min(max(students.shape[0] - start, 0), CHUNK)
            if pulled:
                own = students[start:start + pulled].bfloat16()
                log_q = (own @ w.T).float().log_softmax(1)
                sums[1] -= log_q.gather(1, target[:pulled]).sum()
                sums[2] += torch.sum(p[:pulled] * (log_p[:pulled] - log_q))
                # softmax - ((1 - share) onehot + share teacher)
                gradient = torch.add(log_q.exp_(), p[:pulled], alpha=-share)
                gradient.scatter_add_(1, target[:pulled], torch.full_like(chosen[:pulled], share - 1))
                gradient = gradient.bfloat16()
                student_gradient[start:start + pulled] = gradient @ w
                embedding_gradient += gradient.T @ own
            gradient = p.scatter_add_(1, target, torch.full_like(chosen, -1)).bfloat16()
            hidden_gradient[start:start + CHUNK] = gradient @ w
            embedding_gradient += gradient.T @ rows
        ctx.save_for_backward(hidden_gradient, student_gradient, embedding_gradient)
        ctx.mark_non_differentiable(sums)
        total = sums[0] + (1 - share) * sums[1] + share * sums[2]
        return total.float(), sums

    @staticmethod
    def backward(ctx, upstream: Tensor, _):
        hidden_gradient, student_gradient, embedding_gradient = ctx.saved_tensors
        return hidden_gradient * upstream, student_gradient * upstream, embedding_gradient * upstream, None, None


tied_cross_entropy = TiedCrossEntropy.apply
