#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes Tests/Fixtures/files: small GGUF and safetensors files made by Python's own packages, and what is in them.

    Tools/golden/make_file_fixtures.py

The contents are random, from a fixed seed: the tests compare metadata values, shapes, and a CRC of each tensor's bytes.
"""

import json
import shutil
import struct
import sys
import zlib
from pathlib import Path

import gguf
import numpy as np
import safetensors
import safetensors.numpy
from gguf import GGMLQuantizationType as Type
from gguf import GGUFValueType as Value

FOLDER = Path(__file__).resolve().parents[2] / "Tests/Fixtures/files"
random = np.random.default_rng(20_251_125)

# One value of each type, at a limit of its range where it has one.
SCALARS = {
    "uint8": (Value.UINT8, 255),
    "int8": (Value.INT8, -128),
    "uint16": (Value.UINT16, 65_535),
    "int16": (Value.INT16, -32_768),
    "uint32": (Value.UINT32, 4_294_967_295),
    "int32": (Value.INT32, -2_147_483_648),
    "uint64": (Value.UINT64, 9_223_372_036_854_775_807),
    "int64": (Value.INT64, -9_223_372_036_854_775_808),
    "float32": (Value.FLOAT32, 0.15625),
    "float64": (Value.FLOAT64, -1e300),
}

# Bytes of a quantised tensor are arbitrary here: dequantisation has fixtures of its own.
QUANTISED = [
    Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1, Type.Q8_0, Type.Q2_K, Type.Q3_K, Type.Q4_K, Type.Q5_K, Type.Q6_K,
    Type.IQ4_NL, Type.IQ4_XS, Type.MXFP4,
]
PLAIN = {
    Type.F32: np.float32, Type.F16: np.float16, Type.F64: np.float64,
    Type.I8: np.int8, Type.I16: np.int16, Type.I32: np.int32, Type.I64: np.int64,
}


def numbers(shape, dtype):
    if np.issubdtype(dtype, np.floating):
        return random.standard_normal(shape).astype(dtype)
    return random.integers(-100, 100, shape).astype(dtype)


def bfloat16(shape):
    return (random.standard_normal(shape).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


def describe(name, type_name, shape, data):
    return {"name": name, "type": type_name, "shape": list(shape), "bytes": data.nbytes, "crc32": zlib.crc32(data.tobytes())}


def add_tensor(writer, expected, name, data, type_=None, shape=None):
    """`data` is raw bytes [rows, row bytes] when `type_` is given."""
    writer.add_tensor(name, data, raw_dtype=type_)
    type_ = type_ or {v: k for k, v in PLAIN.items()}[data.dtype.type]
    expected.append(describe(name, type_.name, shape or data.shape, data))


def add_every_tensor(writer):
    expected = []
    for type_, dtype in PLAIN.items():
        add_tensor(writer, expected, f"plain.{type_.name}", numbers((3, 5), dtype))
    bf16 = bfloat16((3, 5))
    writer.add_tensor("plain.BF16", bf16.view(np.uint8), raw_dtype=Type.BF16)
    expected.append(describe("plain.BF16", "BF16", (3, 5), bf16))
    for type_ in QUANTISED:
        block, size = gguf.GGML_QUANT_SIZES[type_]
        columns = max(64, block)
        data = random.integers(0, 256, (2, columns // block * size), dtype=np.uint8)
        add_tensor(writer, expected, f"quantised.{type_.name}", data, type_, (2, columns))
    add_tensor(writer, expected, "shape.vector", numbers((7,), np.float32))
    add_tensor(writer, expected, "shape.cube", numbers((4, 2, 3), np.float32))
    add_tensor(writer, expected, "shape.four", numbers((2, 1, 3, 4), np.float16))
    return expected


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def make_gguf():
    path = FOLDER / "everything.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    for name, (type_, value) in SCALARS.items():
        writer.add_key_value(f"scalar.{name}", value, type_)
        writer.add_key_value(f"array.{name}", [value, 1, 0], Value.ARRAY, sub_type=type_)
    writer.add_bool("scalar.true", True)
    writer.add_bool("scalar.false", False)
    writer.add_key_value("scalar.uint64.large", 2**64 - 1, Value.UINT64)
    writer.add_string("scalar.string", "Füße, 木, 🜂\n\tend")
    writer.add_string("scalar.string.long", "All the world's a stage. " * 20)
    writer.add_key_value("scalar.string.invalid", b"\xff\xfe", Value.STRING)
    writer.add_array("array.bool", [True, False, True])
    writer.add_array("array.string", ["a", "Füße", "木"])
    writer.add_key_value("array.string.raw", [b"ok", b"\xe6\x9c", b"\xff"], Value.ARRAY, sub_type=Value.STRING)
    writer.add_key_value("array.constant", [8, 8, 8, 8], Value.ARRAY, sub_type=Value.UINT32)
    writer.add_key_value("array.nested", [[1, 2], [3]], Value.ARRAY, sub_type=Value.ARRAY)
    tensors = add_every_tensor(writer)
    finish(writer)
    # Version 2 differs in the number only (version 3 added big-endian files).
    content = path.read_bytes()
    assert content[4:8] == struct.pack("<I", 3)
    (FOLDER / "everything-v2.gguf").write_bytes(content[:4] + struct.pack("<I", 2) + content[8:])
    return tensors


def make_aligned():
    writer = gguf.GGUFWriter(FOLDER / "aligned-256.gguf", "llama")
    writer.add_custom_alignment(256)
    expected = []
    add_tensor(writer, expected, "a.weight", numbers((3,), np.float32))
    add_tensor(writer, expected, "b.weight", numbers((5, 2), np.float32))
    finish(writer)
    return expected


def make_split():
    folder = FOLDER / "split"
    folder.mkdir()
    writer = gguf.GGUFWriter(folder / "model.gguf", "llama", split_max_tensors=2)
    writer.add_uint32("llama.block_count", 1)
    expected = []
    for i in range(5):
        add_tensor(writer, expected, f"blk.{i}.weight", numbers((2, i + 1), np.float32))
    finish(writer)
    return expected


def make_safetensors():
    import torch  # the only writer of BF16
    from safetensors.torch import save_file

    tensors = {
        "f32": numbers((2, 3), np.float32), "f16": numbers((4,), np.float16), "f64": numbers((3, 1), np.float64),
        "i8": numbers((3,), np.int8), "i16": numbers((3,), np.int16), "i32": numbers((2, 2), np.int32),
        "i64": numbers((2,), np.int64), "u8": numbers((5,), np.int8).view(np.uint8), "bool": np.array([True, False, True]),
        "cube": numbers((2, 3, 4), np.float32), "empty": np.zeros((0, 4), np.float32), "scalar": np.float32(0.5).reshape(()),
    }
    bf16 = bfloat16((2, 5))
    as_torch = {name: torch.from_numpy(np.array(data)) for name, data in tensors.items()}
    as_torch["bf16"] = torch.from_numpy(bf16.copy()).view(torch.bfloat16)
    save_file(as_torch, FOLDER / "everything.safetensors", metadata={"format": "pt", "note": "Füße"})
    types = {"u8": "U8", "bool": "BOOL", "cube": "F32", "empty": "F32", "scalar": "F32"}
    expected = [describe(name, types.get(name, name.upper()), data.shape, data) for name, data in tensors.items()]
    return expected + [describe("bf16", "BF16", bf16.shape, bf16)]


def make_folder():
    folder = FOLDER / "sharded"
    folder.mkdir()
    expected, weight_map = [], {}
    for i in range(3):
        shard = f"model-{i + 1:05d}-of-00003.safetensors"
        tensors = {f"layers.{i}.{part}.weight": numbers((2, 4), np.float32) for part in ("q", "k")}
        safetensors.numpy.save_file(tensors, folder / shard, metadata={"format": "pt"})
        weight_map |= {name: shard for name in tensors}
        expected += [describe(name, "F32", data.shape, data) for name, data in tensors.items()]
    index = {"metadata": {"total_size": sum(t["bytes"] for t in expected)}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
    config = {"model_type": "llama", "rope_theta": 10000.0, "eos_token_id": [1, 2], "sliding_window": None}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    return expected


def main():
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    expected = {
        "gguf": make_gguf(), "aligned": make_aligned(), "split": make_split(),
        "safetensors": make_safetensors(), "sharded": make_folder(),
    }
    lines = ",\n".join(
        f'"{key}": [\n' + ",\n".join("  " + json.dumps(t) for t in tensors) + "\n]" for key, tensors in expected.items())
    (FOLDER / "expected.json").write_text("{\n" + lines + "\n}\n")
    for path in FOLDER.rglob("*.safetensors"):
        path.chmod(0o644)
    (FOLDER / "README.md").write_text(
        "# Files as Python's packages write them\n\n"
        "Made by `Tools/golden/make_file_fixtures.py` (seeded; run it again and git shows no difference), with "
        f"gguf {version('gguf')}, safetensors {safetensors.__version__}, numpy {np.__version__}, "
        f"Python {sys.version.split()[0]}.\n\n"
        "- `everything.gguf`: metadata of every type and a tensor of every element type; `everything-v2.gguf`: the same as "
        "version 2.\n- `aligned-256.gguf`: `general.alignment` 256.\n- `split/`: a model in three shards.\n"
        "- `everything.safetensors`: every dtype that people write.\n- `sharded/`: a Hugging Face folder with an index.\n"
        "- `expected.json`: names, types, shapes (outermost first) and CRC-32 of the bytes of every tensor.\n")


def version(package):
    from importlib.metadata import version

    return version(package)


if __name__ == "__main__":
    main()
