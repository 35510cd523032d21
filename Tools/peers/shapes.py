# SPDX-License-Identifier: Apache-2.0
"""The shapes that are measured, as lists of tensors. Random weights: speed does not depend on what a model knows."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Shape:
    name: str
    title: str
    architecture: str
    layers: int
    width: int
    heads: int
    kv_heads: int
    head: int
    experts: int
    experts_used: int
    expert_width: int
    vocabulary: int
    epsilon: float
    rope_base: float
    qk_norm: int | None = None  # width of the norms of q and k; None: all heads at once, 0: no norms
    full_layers: int = 0

    def with_layers(self, layers: int | None) -> Shape:
        return replace(self, layers=layers or self.layers)


# Sizes from the models' own configurations; layers are as many as issue and memory allow.
SHAPES = {shape.name: shape for shape in (
    Shape("olmoe", "OLMoE-1B-7B", "olmoe", 16, 2048, 16, 16, 128, 64, 8, 1024, 50304, 1e-5, 1e4, None, 16),
    Shape("qwen3", "Qwen3-30B-A3B", "qwen3moe", 12, 2048, 32, 4, 128, 128, 8, 768, 151936, 1e-6, 1e6, 128, 48),
    Shape("mixtral", "Mixtral-8x7B", "llama", 4, 4096, 32, 8, 128, 8, 2, 14336, 32000, 1e-5, 1e6, 0, 32),
    Shape("tiny", "a tiny shape, for tests", "olmoe", 2, 256, 4, 4, 64, 8, 4, 256, 512, 1e-5, 1e4, None, 2),
)}
TYPES = ("F16", "Q8_0", "Q4_0", "Q4_K_M")


@dataclass(frozen=True)
class Tensor:
    name: str
    shape: tuple[int, ...]  # outermost first
    kind: str
    gain: float = 1.0
    ones: bool = False

    @property
    def elements(self) -> int:
        product = 1
        for part in self.shape:
            product *= part
        return product


def more_bits(layer: int, layers: int) -> bool:
    """Where llama.cpp's Q4_K_M spends Q6_K: the first and the last eighth, and every third layer between."""
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


def kind_of(name: str, file_type: str, shape: Shape) -> str:
    """The element type that llama.cpp's quantiser gives a tensor (llama-quant.cpp), checked by test_peers.py against
    `llama-quantize --dry-run`."""
    if file_type == "F16":
        return "F16"
    if name == "output.weight":
        return "Q8_0" if file_type == "Q8_0" else "Q6_K"
    base = "Q4_K" if file_type == "Q4_K_M" else file_type
    part = re.fullmatch(r"blk\.(\d+)\.(\w+)\.weight", name)
    if part is None:
        return base
    layer, what = int(part[1]), part[2]
    # Eight experts share one attention, so llama.cpp gives its small tensors more bits.
    if shape.experts == 8 and what in ("attn_k", "attn_v"):
        return "Q8_0"
    if file_type == "Q4_K_M":
        if shape.experts == 8 and what == "attn_output":
            return "Q5_K"
        if what in ("attn_v", "ffn_down_exps") and more_bits(layer, shape.layers):
            return "Q6_K"
    return base


def tensors(shape: Shape, file_type: str) -> list[Tensor]:
    d, q, kv = shape.width, shape.heads * shape.head, shape.kv_heads * shape.head

    def matrix(name: str, *size: int, gain: float = 1.0) -> Tensor:
        return Tensor(name, size, kind_of(name, file_type, shape), gain)

    def norm(name: str, size: int) -> Tensor:
        return Tensor(name, (size,), "F32", ones=True)

    # Embeddings are larger than weights, so that a token's own vector decides which experts it takes, whatever stands before.
    result = [matrix("token_embd.weight", shape.vocabulary, d, gain=32.0), norm("output_norm.weight", d),
              matrix("output.weight", shape.vocabulary, d)]
    for layer in range(shape.layers):
        block = f"blk.{layer}"
        result += [norm(f"{block}.attn_norm.weight", d), norm(f"{block}.ffn_norm.weight", d)]
        if shape.qk_norm != 0:
            result += [norm(f"{block}.attn_q_norm.weight", shape.qk_norm or q),
                       norm(f"{block}.attn_k_norm.weight", shape.qk_norm or kv)]
        result += [
            matrix(f"{block}.attn_q.weight", q, d), matrix(f"{block}.attn_k.weight", kv, d),
            matrix(f"{block}.attn_v.weight", kv, d), matrix(f"{block}.attn_output.weight", d, q),
            # Scores of deviation 2.3: some experts are clearly preferred, none is always.
            Tensor(f"{block}.ffn_gate_inp.weight", (shape.experts, d), "F32", 2.3 / d ** 0.5),
            matrix(f"{block}.ffn_gate_exps.weight", shape.experts, shape.expert_width, d),
            matrix(f"{block}.ffn_up_exps.weight", shape.experts, shape.expert_width, d),
            matrix(f"{block}.ffn_down_exps.weight", shape.experts, d, shape.expert_width)]
    return result
