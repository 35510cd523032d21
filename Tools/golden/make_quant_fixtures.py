# SPDX-License-Identifier: Apache-2.0
"""Random blocks of every element type and their float32 values by the `gguf` Python package, the reference decoder.

Usage: python Tools/golden/make_quant_fixtures.py            (writes Tests/Fixtures/quant)

NAME.bin holds the blocks as in a GGUF file, NAME.f32 the values, little-endian. The scales go through zero, both signs,
subnormals and the largest float16; none is infinite or NaN, since the bits of a NaN are nobody's promise.
"""

import pathlib
import sys

import gguf
import numpy as np

SEED = 20240607
OUT = pathlib.Path(__file__).resolve().parents[2] / "Tests" / "Fixtures" / "quant"

# Type -> byte offsets of the float16 fields in a block.
HALVES = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108],
    "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0], "IQ4_XS": [0], "MXFP4": [],
}
EXTREME_HALVES = np.array([0x0000, 0x8000, 0x0001, 0x83FF, 0x0400, 0x7BFF, 0xFBFF, 0x3C00], dtype=np.uint16)
EXTREME_EXPONENTS = [0, 1, 2, 127, 251, 252]  # of MXFP4; above, 12 times the scale is infinite


def random_halves(rng: np.random.Generator, count: int) -> np.ndarray:
    """Extremes first, then finite float16 of either sign."""
    values = rng.integers(0, 0x7C00, count, dtype=np.uint16) | (rng.integers(0, 2, count, dtype=np.uint16) << 15)
    extremes = min(count, len(EXTREME_HALVES))
    values[:extremes] = EXTREME_HALVES[:extremes]
    return values


def blocks(name: str, rng: np.random.Generator) -> np.ndarray:
    qtype = gguf.GGMLQuantizationType[name]
    if name == "F32":
        bits = rng.integers(0, 2**32, 259, dtype=np.uint32)
        bits[(bits & 0x7F800000) == 0x7F800000] = 0x00000001
        return bits.view(np.uint8)
    if name == "F16":
        return random_halves(rng, 259).view(np.uint8)
    if name == "BF16":
        bits = rng.integers(0, 2**16, 259, dtype=np.uint16)
        bits[(bits & 0x7F80) == 0x7F80] = 0x0001
        return bits.view(np.uint8)
    elements, size = gguf.GGML_QUANT_SIZES[qtype]
    # 19 blocks of 32 end in an incomplete chunk of 256; the 256-element types get as many blocks as there are extremes.
    count = 19 if elements == 32 else 9
    data = rng.integers(0, 256, (count, size), dtype=np.uint8)
    for field, offset in enumerate(HALVES[name]):
        scales = np.roll(random_halves(rng, count), field)
        data[:, offset:offset + 2] = scales.view(np.uint8).reshape(count, 2)
    if name == "MXFP4":
        data[:, 0] = np.minimum(data[:, 0], EXTREME_EXPONENTS[-1])
        data[:len(EXTREME_EXPONENTS), 0] = EXTREME_EXPONENTS
    return data.reshape(-1)


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    for name in ["F32", "F16", "BF16", *HALVES]:
        data = blocks(name, np.random.default_rng([SEED, int(gguf.GGMLQuantizationType[name])]))
        with np.errstate(over="ignore", invalid="ignore"):
            values = gguf.quants.dequantize(data, gguf.GGMLQuantizationType[name]).astype("<f4")
        if not np.isfinite(values).all():
            sys.exit(f"{name}: a value is not finite")
        (OUT / f"{name}.bin").write_bytes(data.tobytes())
        (OUT / f"{name}.f32").write_bytes(values.tobytes())
        print(f"{name}: {data.size} bytes, {values.size} values")


if __name__ == "__main__":
    main()
