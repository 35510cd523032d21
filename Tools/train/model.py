# SPDX-License-Identifier: Apache-2.0
"""The embedded model: Qwen3-MoE's architecture (RoPE, grouped-query attention with a norm per head, SwiGLU experts), tiny, with a
gate that decides how many experts a token gets; and its dense twins.

B sequences of T tokens, hidden size d, E experts of width f, h heads of size c.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experts import Network, routed
from gate import CountGate


@dataclass(frozen=True)
class ModelConfig:
    vocabulary: int = 4096
    layers: int = 4
    hidden: int = 256
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 64
    experts: int = 16  # 1: a dense model, with no router
    experts_per_token: int = 8
    expert_hidden: int = 320
    context: int = 8192
    rope_base: float = 100_000.0
    epsilon: float = 1e-6

    def to_dict(self) -> dict:
        return asdict(self)

    @property
    def is_dense(self) -> bool:
        return self.experts == 1


@dataclass
class Routing:
    """How many experts the tokens of each sequence get.

    Static and top-p, count and mass [B]: the best `count`, and of those no more than it takes to reach `mass` (2: no limit).
    The last `gated` sequences are routed by the learned gate instead, at log_mu [gated]; where `relaxed` [gated] the mask is a
    number between 0 and 1, which the gate learns from. The first expert is always kept.
    """

    count: Tensor
    mass: Tensor
    log_mu: Tensor
    relaxed: Tensor

    @property
    def gated(self) -> int:
        return len(self.log_mu)

    @staticmethod
    def of(count: Tensor, mass: Tensor) -> Routing:
        return Routing(count, mass, torch.zeros(0), torch.zeros(0, dtype=torch.bool))

    @staticmethod
    def static(k: int, batch: int) -> Routing:
        return Routing.of(torch.full((batch,), k), torch.full((batch,), 2.0))

    @staticmethod
    def top_p(p: float, maximum: int, batch: int) -> Routing:
        return Routing.of(torch.full((batch,), maximum), torch.full((batch,), p))

    @staticmethod
    def learned(log_mu: float, maximum: int, batch: int) -> Routing:
        return Routing(torch.full((batch,), maximum), torch.full((batch,), 2.0), torch.full((batch,), log_mu),
                       torch.zeros(batch, dtype=torch.bool))

    def to(self, device: torch.device) -> Routing:
        return Routing(*(t.to(device) for t in (self.count, self.mass, self.log_mu, self.relaxed)))


@dataclass
class RouterReport:
    """What the auxiliary losses and the statistics need of one layer."""

    entropy: Tensor  # scalar: mean over tokens of the entropy of the router's softmax, nats
    imbalance: Tensor  # scalar: log E minus the entropy of the mean softmax, nats; 0 when all experts are equally likely
    kept: Tensor  # [B, T]: experts per token
    cost: Tensor  # [gated, T]: the relaxed count of the sequences that the gate routes, with a gradient


class RMSNorm(nn.Module):
    def __init__(self, size: int, epsilon: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        x = x.float()
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.epsilon) * self.weight


def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """NeoX-style rotary embedding: x [B, h, T, c], the halves of c are the pairs' members."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cosine - b * sine, b * cosine + a * sine), dim=-1)


def causal_attention(query: Tensor, key: Tensor, value: Tensor, rows: int = 128) -> Tensor:
    """[B, h, T, c] each. `rows` queries at a time, so that the scores stay in the cache and the masked half is never computed:
    on the CPU two to four times the speed of PyTorch's scaled_dot_product_attention, gradients included."""
    if query.device.type != "cpu":
        return F.scaled_dot_product_attention(query, key, value, is_causal=True)
    mask = torch.ones(rows, rows, dtype=torch.bool).triu(1)
    mixed = []
    for start in range(0, query.shape[-2], rows):
        part = query[..., start:start + rows, :]
        count = part.shape[-2]
        scores = (part @ key[..., :start + count, :].mT).float() * query.shape[-1] ** -0.5
        scores[..., start:].masked_fill_(mask[:count, :count], -1e30)
        mixed.append(scores.softmax(-1).to(value.dtype) @ value[..., :start + count, :])
    return torch.cat(mixed, -2)


class Attention(nn.Module):
    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        d, c = config.hidden, config.head_dim
        self.query = nn.Linear(d, config.heads * c, bias=False)
        self.key = nn.Linear(d, config.kv_heads * c, bias=False)
        self.value = nn.Linear(d, config.kv_heads * c, bias=False)
        self.output = nn.Linear(config.heads * c, d, bias=False)
        self.query_norm = RMSNorm(c, config.epsilon)
        self.key_norm = RMSNorm(c, config.epsilon)

    def forward(self, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        b, t, _ = x.shape
        c = self.config.head_dim
        query = self.query_norm(self.query(x).view(b, t, -1, c)).transpose(1, 2)
        key = self.key_norm(self.key(x).view(b, t, -1, c)).transpose(1, 2)
        value = self.value(x).view(b, t, -1, c).transpose(1, 2)
        query, key = rotate(query, cosine, sine).to(value.dtype), rotate(key, cosine, sine).to(value.dtype)
        groups = self.config.heads // self.config.kv_heads
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
        mixed = causal_attention(query, key, value)
        return self.output(mixed.transpose(1, 2).reshape(b, t, -1))


class MoE(nn.Module):
    """The experts of a layer and what chooses among them. Weights follow from the kept experts alone: softmax, renormalised."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        e, d, f = config.experts, config.hidden, config.expert_hidden
        if not config.is_dense:
            self.router = nn.Parameter(torch.empty(e, d))
            self.counting = CountGate(e, config.experts_per_token, d)
        self.gate = nn.Parameter(torch.empty(e, f, d))
        self.up = nn.Parameter(torch.empty(e, f, d))
        self.down = nn.Parameter(torch.empty(e, d, f))

    def weigh(self, x: Tensor, routing: Routing) -> tuple[Tensor, Tensor, Tensor, RouterReport]:
        """x [B, T, d] -> the ranking [N, K], combine weights [N, K], which pairs are computed [N, K]; N = B * T."""
        b, t, d = x.shape
        k, e = self.config.experts_per_token, self.config.experts
        logits = x.view(-1, d) @ self.router.T
        best, ranked = logits.topk(k, -1)
        log_probabilities = logits.log_softmax(-1)
        probabilities = log_probabilities.exp()
        entropy = -(probabilities * log_probabilities).sum(-1).mean()
        mean = probabilities.mean(0)
        imbalance = math.log(e) + (mean * mean.log()).sum()

        score = log_probabilities.gather(1, ranked).exp()
        with torch.no_grad():
            rank = torch.arange(k, device=x.device)
            mass_above = score.cumsum(-1) - score
            count, mass = (v.repeat_interleave(t).unsqueeze(-1) for v in (routing.count, routing.mass))
            mask = ((rank < count) & ((mass_above < mass) | (rank == 0))).float()
        computed, kept, cost = mask > 0, mask, score.new_zeros(0, t)
        if routing.gated > 0:
            own = (b - routing.gated) * t
            relaxed, hard = self.counting(
                x.view(-1, d)[own:], logits[own:], ranked[own:], routing.log_mu.repeat_interleave(t))
            soft = routing.relaxed.repeat_interleave(t).unsqueeze(-1)
            gated = torch.where(soft, relaxed, hard)
            computed = torch.cat((computed[:own], gated > 0))
            kept = torch.cat((mask[:own], hard))
            mask = torch.cat((mask[:own], gated))
            cost = relaxed.sum(-1).view(routing.gated, t)
        weights = score * mask
        weights = weights / weights.sum(-1, keepdim=True)
        return ranked, weights, computed, RouterReport(entropy, imbalance, kept.sum(-1).view(b, t), cost)

    def forward(self, x: Tensor, routing: Routing) -> tuple[Tensor, RouterReport | None]:
        b, t, d = x.shape
        kind = torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else x.dtype
        with torch.autocast(x.device.type, enabled=False):
            if self.config.is_dense:
                parts = (part.to(kind) for part in (x.view(-1, d), self.gate[0], self.up[0], self.down[0]))
                return Network.apply(*parts).view(b, t, d), None
            ranked, weights, computed, report = self.weigh(x, routing)
            y = routed(x.view(-1, d).to(kind), self.gate.to(kind), self.up.to(kind), self.down.to(kind), ranked, weights, computed)
        return y.view(b, t, d), report


class Block(nn.Module):
    def __init__(self, config: ModelConfig):
        super().__init__()
        self.attention_norm = RMSNorm(config.hidden, config.epsilon)
        self.attention = Attention(config)
        self.ffn_norm = RMSNorm(config.hidden, config.epsilon)
        self.moe = MoE(config)

    def forward(self, x: Tensor, cosine: Tensor, sine: Tensor, routing: Routing) -> tuple[Tensor, RouterReport]:
        x = x + self.attention(self.attention_norm(x), cosine, sine)
        y, report = self.moe(self.ffn_norm(x), routing)
        return x + y, report


class DemoModel(nn.Module):
    """ids [B, T] -> logits [B, T, V]; the head is the embedding."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.hidden)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = RMSNorm(config.hidden, config.epsilon)
        frequency = config.rope_base ** (-torch.arange(0, config.head_dim, 2).double() / config.head_dim)
        angle = torch.arange(config.context).double()[:, None] * frequency
        self.register_buffer("cosine", angle.cos().float(), persistent=False)
        self.register_buffer("sine", angle.sin().float(), persistent=False)

    def initialize(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 1:
                nn.init.ones_(parameter)
            elif name.endswith(("output.weight", "moe.down")):
                nn.init.zeros_(parameter)  # every block starts as the identity
            else:
                std = 0.05 if name == "embedding.weight" else parameter.shape[-1] ** -0.5
                nn.init.normal_(parameter, std=std, generator=generator)
        for block in self.blocks:
            if not self.config.is_dense:
                block.moe.counting.reset()

    def hidden(self, ids: Tensor, routing: Routing, positions: Tensor | None = None) -> tuple[Tensor, list[RouterReport]]:
        """positions [T], rising; None: 0 to T - 1."""
        where = slice(ids.shape[1]) if positions is None else positions
        cosine, sine = self.cosine[where], self.sine[where]
        x = self.embedding(ids)
        reports = []
        for block in self.blocks:
            x, report = block(x, cosine, sine, routing)
            if report is not None:
                reports.append(report)
        return self.norm(x), reports

    def forward(self, ids: Tensor, routing: Routing) -> tuple[Tensor, list[RouterReport]]:
        x, reports = self.hidden(ids, routing)
        return F.linear(x, self.embedding.weight), reports
