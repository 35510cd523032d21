# SPDX-License-Identifier: Apache-2.0
"""The count gate, in the form that the engine runs (Sources/MoEModel/MoE/LearnedRouting.swift).

Per layer and step m (1 <= m < K) a linear head predicts u_m = w_m . F + v . x, the log of what expert m + 1 is worth in nats; it
runs while u_m > log mu, and the count stops at the first that is too dear. F = 3K + E + 4 features of the router's logits and of
the norm of its input x [d]. Logits say how sure the router is; how sure the model is of the next token, which decides how much any
expert can change, only x knows (docs/demo-model.md): v is one direction per layer, for all steps.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

WIDTH = 0.35  # of the relaxed threshold, in units of log gain
LEAST = 0.02  # a relaxed mask below this is 0: its expert is not computed
HIDDEN_SCALE = 0.25  # of the parameter that v is learned as: Adam's steps are as long for 256 numbers as for one


def feature_count(experts: int, maximum: int) -> int:
    return 3 * maximum + experts + 4


class CountGate(nn.Module):
    def __init__(self, experts: int, maximum: int, width: int):
        super().__init__()
        self.experts, self.maximum = experts, maximum
        self.log_temperature = nn.Parameter(torch.zeros(1))
        # What the engine calls the experts' log output norms is learned here: a number per expert that its rank carries along.
        self.expert_log_norms = nn.Parameter(torch.zeros(experts))
        self.heads = nn.Parameter(torch.zeros(maximum - 1, feature_count(experts, maximum)))
        self.hidden = nn.Parameter(torch.zeros(width))

    def reset(self) -> None:
        """A gain falls with the square of the expert's probability, at first."""
        with torch.no_grad():
            self.log_temperature.zero_()
            self.expert_log_norms.zero_()
            self.heads.zero_()
            self.hidden.zero_()
            for m in range(1, self.maximum):
                self.heads[m - 1, 1 + m] = 2.0
                self.heads[m - 1, 1 + 2 * self.maximum + m] = 1.0

    def features(self, logits: Tensor, ranked: Tensor, norm: Tensor) -> Tensor:
        """logits [N, E], ranked [N, K] indices of the best, norm [N] of the router's input -> [N, F], in the engine's order."""
        inverse = torch.exp(-self.log_temperature)
        log_p = torch.log_softmax(logits * inverse, -1)
        p = log_p.exp()
        entropy = -(p * log_p).sum(-1, keepdim=True)
        best = log_p.gather(1, ranked).clamp_min(-50)
        mass = best.exp().cumsum(-1)
        return torch.cat((
            torch.ones_like(entropy), best, mass, self.expert_log_norms[ranked], entropy,
            torch.logsumexp(logits, -1, keepdim=True), norm.clamp_min(1e-20).log().unsqueeze(-1),
            logits - logits.mean(-1, keepdim=True)), -1)

    @property
    def direction(self) -> Tensor:
        """v [d], as the engine reads it."""
        return HIDDEN_SCALE * self.hidden

    def forward(self, x: Tensor, logits: Tensor, ranked: Tensor, log_mu: Tensor) -> tuple[Tensor, Tensor]:
        """x [N, d], log_mu [N] -> (relaxed, hard) masks [N, K]; both are 1 for the best expert and never rise along the ranking."""
        features = self.features(logits, ranked, x.norm(dim=-1))
        excess = features @ self.heads.T + (x @ self.direction - log_mu).unsqueeze(-1)
        first = torch.ones_like(excess[:, :1])
        relaxed = torch.cat((first, torch.sigmoid(excess / WIDTH).cumprod(-1)), -1)
        hard = torch.cat((first, (excess > 0).float().cumprod(-1)), -1)
        return torch.where(relaxed < LEAST, 0, relaxed), hard
