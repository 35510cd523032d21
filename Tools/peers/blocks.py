# SPDX-License-Identifier: Apache-2.0
"""Random weights, drawn as the blocks of a GGUF file: nothing is quantised, so billions of them take seconds.

All values have mean zero: a mean would grow from layer to layer until every token looks alike to the routers and takes the
same experts, which makes batched decoding look faster than it is. Blocks whose integers are not symmetric have scales of both
signs (Q4_0, Q8_0, Q6_K), or a minimum that is the integers' mean (Q4_K, Q5_K)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

# Elements and bytes of a block, as in CSources/CMoEKernels/blocks.h.
BLOCKS = {"F32": (1, 4), "F16": (1, 2), "Q8_0": (32, 34), "Q4_0": (32, 18), "Q4_K": (256, 144), "Q5_K": (256, 176),
          "Q6_K": (256, 210)}
DEVIATION = 0.03  # of a weight, about
PIECE_BYTES = 32 << 20


def size(kind: str, elements: int) -> int:
    per_block, bytes_per_block = BLOCKS[kind]
    if elements % per_block:
        raise ValueError(f"{elements} values are no whole blocks of {kind}")
    return elements // per_block * bytes_per_block


def scales(deviation: float, signed: bool) -> np.ndarray:
    """16 float16 scales around `deviation`. Three bits of mantissa each: 7.5 and 15.5 times as much is exact, too."""
    base = 2.0 ** np.round(np.log2(deviation / 1.45)) * (8 + np.arange(8)) / 8
    return np.concatenate([base, -base if signed else base]).astype(np.float16)


def put(blocks: np.ndarray, column: int, values: np.ndarray) -> None:
    """float16 values into the two bytes at `column` of each block."""
    blocks[:, column:column + 2] = values.view(np.uint8).reshape(-1, 2)


def f16(raw: np.ndarray, gain: float) -> np.ndarray:
    """Sign and mantissa are random, the exponent is one of four."""
    bits = raw.view(np.uint16)
    lowest = 7 + int(round(np.log2(gain)))  # 2^-8 for a gain of 1
    exponent = ((bits >> 10) & 3) + np.uint16(lowest)
    return ((bits & 0x83FF) | (exponent << 10)).view(np.uint8)


def q8_0(blocks: np.ndarray, gain: float) -> np.ndarray:
    pick = blocks[:, 0] & 15
    values = blocks[:, 2:].view(np.int8)
    np.maximum(values, -127, out=values)  # no quantiser writes -128
    put(blocks, 0, scales(gain * DEVIATION / 73.6, signed=True)[pick])
    return blocks


def q4_0(blocks: np.ndarray, gain: float) -> np.ndarray:
    put(blocks, 0, scales(gain * DEVIATION / 4.6, signed=True)[blocks[:, 0] & 15])
    return blocks


def with_minimum(blocks: np.ndarray, deviation: float, middle: float) -> np.ndarray:
    """Q4_K and Q5_K: w = d * scale * q - dmin * min with min = scale and dmin = d * middle."""
    d = scales(deviation, signed=False)
    pick = blocks[:, 0] & 15
    put(blocks, 0, d[pick])
    put(blocks, 2, (d.astype(np.float32) * middle).astype(np.float16)[pick])
    blocks[:, 8:12] = blocks[:, 4:8]
    blocks[:, 12:16] = (blocks[:, 12:16] & 15) * 17  # low nibble: scale, high nibble: min
    return blocks


def q4_k(blocks: np.ndarray, gain: float) -> np.ndarray:
    return with_minimum(blocks, gain * DEVIATION / (4.61 * 36.6), 7.5)


def q5_k(blocks: np.ndarray, gain: float) -> np.ndarray:
    return with_minimum(blocks, gain * DEVIATION / (9.23 * 36.6), 15.5)


def q6_k(blocks: np.ndarray, gain: float) -> np.ndarray:
    signs = (blocks[:, 192:208] >> 7).astype(np.int8) * -2 + 1
    blocks[:, 192:208] = (((blocks[:, 192:208] & 31) + 16).view(np.int8) * signs).view(np.uint8)
    put(blocks, 208, scales(gain * DEVIATION / (18.5 * 32.6), signed=False)[blocks[:, 208] & 15])
    return blocks


MAKERS = {"Q8_0": q8_0, "Q4_0": q4_0, "Q4_K": q4_k, "Q5_K": q5_k, "Q6_K": q6_k}


def draw(kind: str, elements: int, seed: list[int], gain: float = 1.0) -> Iterator[np.ndarray]:
    """Pieces of uint8, together a tensor of `elements` values. Same seed, same bytes."""
    stream = np.random.SFC64(seed)
    if kind == "F32":
        yield (np.random.Generator(stream).standard_normal(elements, np.float32) * np.float32(gain)).view(np.uint8)
        return
    block = BLOCKS[kind][1]
    left, most = size(kind, elements), PIECE_BYTES // (8 * block) * 8 * block
    while left:
        count = min(left, most)
        raw = stream.random_raw((count + 7) // 8).view(np.uint8)[:count]
        yield f16(raw, gain) if kind == "F16" else MAKERS[kind](raw.reshape(-1, block), gain).reshape(-1)
        left -= count
