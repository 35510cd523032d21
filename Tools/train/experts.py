# SPDX-License-Identifier: Apache-2.0
"""The routed SwiGLU experts, forward and backward: only the rows that an expert was given are multiplied.

N tokens of width d, E experts of width f, P (token, expert) pairs sorted by expert.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def hidden_units(gate: Tensor, up: Tensor, weight: Tensor | None) -> Tensor:
    """SwiGLU, scaled: the combine weight goes onto the narrower side."""
    hidden = F.silu(gate).mul_(up)
    return hidden if weight is None else hidden.mul_(weight)


def hidden_gradients(d_hidden: Tensor, gate: Tensor, up: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    """d_hidden (overwritten): of weight * silu(gate) * up. Gives the gradients of gate, up and weight, and the scaled hidden units again."""
    sigmoid = torch.sigmoid(gate)
    silu = gate * sigmoid
    hidden, d_weight = silu * up, None
    if weight is not None:
        d_weight = (d_hidden * hidden).sum(1, dtype=torch.float32)
        d_hidden, hidden = d_hidden.mul_(weight), hidden.mul_(weight)
    d_up = d_hidden * silu
    # d silu = sigmoid + silu (1 - sigmoid)
    d_gate = d_hidden.mul_(up).mul_(sigmoid.add_(silu.mul_(1 - sigmoid)))
    return d_gate, d_up, d_weight, hidden


def add_all(x: Tensor, rows: Tensor) -> None:
    """Rows of another type are converted on the way, not first."""
    x.add_(rows)


def fuse() -> None:
    """One pass over memory for each of the three functions above, by torch.compile; any number of rows."""
    global hidden_units, hidden_gradients, add_all
    hidden_units = torch.compile(hidden_units, dynamic=True)
    hidden_gradients = torch.compile(hidden_gradients, dynamic=True)
    add_all = torch.compile(add_all, dynamic=True)


class GroupedExperts(torch.autograd.Function):
    """x [N, d], gate and up [E, f, d], down [E, d, f] (all of one type), weights [P] float32, tokens [P], counts of pairs per
    expert -> [N, d] float32: the sum over a token's pairs of weight * expert(x). Pairs of weight 0 get the gradient of their
    weight all the same."""

    @staticmethod
    def forward(ctx, x: Tensor, gate: Tensor, up: Tensor, down: Tensor, weights: Tensor, tokens: Tensor, counts: list[int]):
        output = torch.zeros(x.shape, dtype=torch.float32, device=x.device)
        rows = x.index_select(0, tokens)
        gates, ups, start = [], [], 0
        for expert, count in enumerate(counts):
            stop = start + count
            part, token = rows[start:stop], tokens[start:stop]
            gates.append(part @ gate[expert].T)
            ups.append(part @ up[expert].T)
            hidden = hidden_units(gates[-1], ups[-1], weights[start:stop, None].to(x.dtype))
            output.index_add_(0, token, (hidden @ down[expert].T).float())
            start = stop
        ctx.save_for_backward(rows, gate, up, down, weights, tokens, *gates, *ups)
        ctx.counts = counts
        return output

    @staticmethod
    def backward(ctx, upstream: Tensor):
        rows, gate, up, down, weights, tokens, *halves = ctx.saved_tensors
        counts = ctx.counts
        gates, ups = halves[:len(counts)], halves[len(counts):]
        upstream = upstream.to(rows.dtype)
        d_x = torch.zeros(upstream.shape, dtype=torch.float32, device=rows.device)
        d_gate, d_up, d_down = (torch.zeros_like(t) for t in (gate, up, down))
        d_weights = torch.empty_like(weights)
        start = 0
        for expert, count in enumerate(counts):
            stop = start + count
            part, token = rows[start:stop], tokens[start:stop]
            g, u, w = gates[expert], ups[expert], weights[start:stop, None].to(rows.dtype)
            d_out = upstream.index_select(0, token)
            d_g, d_u, d_weights[start:stop], hidden = hidden_gradients(d_out @ down[expert], g, u, w)
            torch.mm(d_out.T, hidden, out=d_down[expert])
            torch.mm(d_g.T, part, out=d_gate[expert])
            torch.mm(d_u.T, part, out=d_up[expert])
            d_x.index_add_(0, token, torch.addmm(d_g @ gate[expert], d_u, up[expert]).float())
            start = stop
        return d_x.to(rows.dtype), d_gate, d_up, d_down, d_weights, None, None


PADDING = 128  # pairs; experts get a multiple of it


def padded(counts: Tensor, pairs: int) -> tuple[Tensor, list[int]]:
    """counts [E] of pairs -> where each pair goes when every expert's part is rounded up to PADDING, and the parts' sizes.
    oneDNN generates code for every new shape: with free counts it took a third of a step."""
    sizes = (counts + PADDING - 1) // PADDING * PADDING
    shift = (sizes.cumsum(0) - sizes) - (counts.cumsum(0) - counts)
    return torch.arange(pairs, device=counts.device) + shift.repeat_interleave(counts), sizes.tolist()


def routed(x: Tensor, gate: Tensor, up: Tensor, down: Tensor, ranked: Tensor, weights: Tensor, computed: Tensor) -> Tensor:
    """x [N, d]; ranked [N, K]: experts in order of their logits; weights [N, K]; computed [N, K]: which pairs to run."""
    token, rank = computed.nonzero(as_tuple=True)
    expert = ranked[token, rank]
    order = torch.argsort(expert, stable=True)
    places, sizes = padded(torch.bincount(expert, minlength=gate.shape[0]), len(order))
    # What pads is token 0 with weight 0: it adds nothing, forward or backward.
    padded_weights = weights.new_zeros(sum(sizes)).index_copy(0, places, weights[token, rank][order])
    padded_tokens = token.new_zeros(sum(sizes)).index_copy(0, places, token[order])
    return GroupedExperts.apply(x, gate, up, down, padded_weights, padded_tokens, sizes)


SLICE = 320  # hidden units


class Network(torch.autograd.Function):
    """One SwiGLU network: x [N, d], gate and up [f, d], down [d, f] (all of one type) -> [N, d] float32. In slices of its f hidden
    units: what a slice makes stays in the cache, what the whole network makes does not."""

    @staticmethod
    def slices(gate: Tensor) -> list[slice]:
        width = math.gcd(gate.shape[0], SLICE)
        return [slice(start, start + width) for start in range(0, gate.shape[0], width)]

    @staticmethod
    def forward(ctx, x: Tensor, gate: Tensor, up: Tensor, down: Tensor):
        output = torch.zeros(x.shape, dtype=torch.float32, device=x.device)
        gates, ups = [], []
        for part in Network.slices(gate):
            gates.append(x @ gate[part].T)
            ups.append(x @ up[part].T)
            add_all(output, hidden_units(gates[-1], ups[-1], None) @ down[:, part].T)
        ctx.save_for_backward(x, gate, up, down, *gates, *ups)
        return output

    @staticmethod
    def backward(ctx, upstream: Tensor):
        x, gate, up, down, *halves = ctx.saved_tensors
        gates, ups = halves[:len(halves) // 2], halves[len(halves) // 2:]
        d_out = upstream.to(x.dtype)
        # Transposed once: as the left side of a product oneDNN would do it for every slice.
        x_turned, d_out_turned = x.T.contiguous(), d_out.T.contiguous()
        d_x = torch.zeros(x.shape, dtype=torch.float32, device=x.device)
        d_gate, d_up, d_down = (torch.empty_like(t) for t in (gate, up, down))
        for part, g, u in zip(Network.slices(gate), gates, ups):
            d_g, d_u, _, hidden = hidden_gradients(d_out @ down[:, part], g, u, None)
            d_down[:, part] = d_out_turned @ hidden
            d_gate[part] = (x_turned @ d_g).T
            d_up[part] = (x_turned @ d_u).T
            add_all(d_x, torch.addmm(d_g @ gate[part], d_u, up[part]))
        return d_x.to(x.dtype), d_gate, d_up, d_down
