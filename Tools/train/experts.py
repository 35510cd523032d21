# SPDX-License-Identifier: Apache-2.0
"""The routed SwiGLU experts, forward and backward: only the rows that an expert was given are multiplied.

N tokens of width d, E experts of width f, P (token, expert) pairs sorted by expert.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def hidden_units(gate: Tensor, up: Tensor, weight: Tensor) -> Tensor:
    """SwiGLU, scaled: the combine weight goes onto the narrower side."""
    return F.silu(gate).mul_(up).mul_(weight)


def hidden_gradients(d_hidden: Tensor, gate: Tensor, up: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """d_hidden (overwritten): of weight * silu(gate) * up. Gives the gradients of gate, up and weight, and the scaled hidden units again."""
    sigmoid = torch.sigmoid(gate)
    silu = gate * sigmoid
    hidden = silu * up
    d_weight = (d_hidden * hidden).sum(1, dtype=torch.float32)
    d_hidden = d_hidden.mul_(weight)
    d_up = d_hidden * silu
    # d silu = sigmoid + silu (1 - sigmoid)
    d_gate = d_hidden.mul_(up).mul_(sigmoid.add_(silu.mul_(1 - sigmoid)))
    return d_gate, d_up, d_weight, hidden.mul_(weight)


def fuse() -> None:
    """One pass over memory for each of the two functions above, by torch.compile; any number of rows."""
    global hidden_units, hidden_gradients
    hidden_units = torch.compile(hidden_units, dynamic=True)
    hidden_gradients = torch.compile(hidden_gradients, dynamic=True)


def rows_of(x: Tensor, tokens: Tensor | None) -> Tensor:
    return x if tokens is None else x.index_select(0, tokens)


def part_of(rows: Tensor, tokens: Tensor | None, start: int, stop: int) -> tuple[Tensor, Tensor | None]:
    """An expert's rows, and which tokens they are."""
    return (rows, None) if tokens is None else (rows[start:stop], tokens[start:stop])


def add_rows(x: Tensor, tokens: Tensor | None, rows: Tensor) -> None:
    if tokens is None:
        x.add_(rows)
    else:
        x.index_add_(0, tokens, rows.float())


class GroupedExperts(torch.autograd.Function):
    """x [N, d], gate and up [E, f, d], down [E, d, f] (all of one type), weights [P] float32, tokens [P], counts of pairs per
    expert -> [N, d] float32: the sum over a token's pairs of weight * expert(x). Pairs of weight 0 get the gradient of their
    weight all the same. tokens None: every expert gets all N."""

    @staticmethod
    def forward(ctx, x: Tensor, gate: Tensor, up: Tensor, down: Tensor, weights: Tensor, tokens: Tensor | None, counts: list[int]):
        output = torch.zeros(x.shape, dtype=torch.float32, device=x.device)
        rows = rows_of(x, tokens)
        gates, ups, start = [], [], 0
        for expert, count in enumerate(counts):
            stop = start + count
            part, token = part_of(rows, tokens, start, stop)
            gates.append(part @ gate[expert].T)
            ups.append(part @ up[expert].T)
            hidden = hidden_units(gates[-1], ups[-1], weights[start:stop, None].to(x.dtype))
            add_rows(output, token, hidden @ down[expert].T)
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
            part, token = part_of(rows, tokens, start, stop)
            g, u, w = gates[expert], ups[expert], weights[start:stop, None].to(rows.dtype)
            d_out = rows_of(upstream, token)
            d_g, d_u, d_weights[start:stop], hidden = hidden_gradients(d_out @ down[expert], g, u, w)
            torch.mm(d_out.T, hidden, out=d_down[expert])
            torch.mm(d_g.T, part, out=d_gate[expert])
            torch.mm(d_u.T, part, out=d_up[expert])
            add_rows(d_x, token, torch.addmm(d_g @ gate[expert], d_u, up[expert]))
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


def whole(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """One network, x [N, d], gate and up [f, d], down [d, f], in slices of its f hidden units, as if they were experts that every
    token gets: what a slice makes stays in the cache, what the whole network makes does not."""
    (n, d), width = x.shape, math.gcd(gate.shape[0], SLICE)
    slices = gate.shape[0] // width
    return GroupedExperts.apply(
        x, gate.view(slices, width, d), up.view(slices, width, d), down.view(d, slices, width).permute(1, 0, 2),
        torch.ones(n * slices, device=x.device), None, [n] * slices)
