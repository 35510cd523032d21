#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes GGUF files with random weights at the shapes of shapes.py.

    .venv/bin/python Tools/peers/model_file.py --shape olmoe --type Q4_K_M --layers 4 --output olmoe4.gguf

Written in pieces, so that memory stays small whatever the file's size. A file is only used when the note beside it (its size,
and what made it) fits: one that was cut short, changed, or made by another version of this code is made again."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1] / "results"))
import blocks  # noqa: E402
from engine import Failure, say  # noqa: E402
from shapes import SHAPES, TYPES, Shape, Tensor, tensors  # noqa: E402

FILE_TYPES = {"F16": gguf.LlamaFileType.MOSTLY_F16, "Q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
              "Q4_0": gguf.LlamaFileType.MOSTLY_Q4_0, "Q4_K_M": gguf.LlamaFileType.MOSTLY_Q4_K_M}
CONTEXT = 8192


def version() -> str:
    here = Path(__file__).resolve().parent
    return hashlib.sha256(b"".join((here / name).read_bytes() for name in ("blocks.py", "shapes.py", "model_file.py"))).hexdigest()[:16]


def weight_bytes(parts: list[Tensor]) -> int:
    return sum(blocks.size(part.kind, part.elements) for part in parts)


def byte_alphabet() -> list[str]:
    """GPT-2's characters for the 256 bytes: what a byte-level vocabulary must hold."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + index) for index in range(len(others))]


def header(path: Path, shape: Shape, file_type: str) -> gguf.GGUFWriter:
    writer = gguf.GGUFWriter(path, shape.architecture)
    writer.add_name(f"random weights, {shape.title}")
    writer.add_block_count(shape.layers)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(shape.width)
    writer.add_feed_forward_length(shape.expert_width)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head)
    writer.add_value_length(shape.head)
    writer.add_layer_norm_rms_eps(shape.epsilon)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_rope_dimension_count(shape.head)
    writer.add_expert_count(shape.experts)
    writer.add_expert_used_count(shape.experts_used)
    if shape.architecture != "llama":
        writer.add_expert_feed_forward_length(shape.expert_width)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_file_type(FILE_TYPES[file_type])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    alphabet = byte_alphabet()
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("olmo")
    writer.add_token_list(alphabet + [f"token{index}" for index in range(len(alphabet), shape.vocabulary)])
    writer.add_token_types([gguf.TokenType.NORMAL] * shape.vocabulary)
    writer.add_token_merges([f"{alphabet[0]} {alphabet[1]}"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    return writer


def write(path: Path, shape: Shape, file_type: str, seed: int, progress: Callable[[int, int], None] = lambda *_: None) -> None:
    parts = tensors(shape, file_type)
    writer = header(path, shape, file_type)
    for part in parts:
        writer.add_tensor_info(part.name, part.shape, np.dtype(np.float32), blocks.size(part.kind, part.elements),
                               raw_dtype=gguf.GGMLQuantizationType[part.kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    file, done, total = writer.fout[0], 0, weight_bytes(parts)
    writer.write_padding(file, file.tell())
    for part in parts:
        pieces = ([np.ones(part.elements, np.float32).view(np.uint8)] if part.ones else
                  blocks.draw(part.kind, part.elements, [seed, zlib.crc32(part.name.encode())], part.gain))
        for piece in pieces:
            piece.tofile(file)
            done += piece.size
            progress(done, total)
        writer.write_padding(file, blocks.size(part.kind, part.elements))
    file.flush()
    os.fsync(file.fileno())  # or the disk would be written to while speed is measured
    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    writer.close()
    # Memory holds what was written in small pages. What was read, as a user's file is, lies in huge ones where the system has them.
    with path.open("rb", buffering=0) as written:
        while written.read(1 << 24):
            pass


class ModelFiles:
    """The cache folder."""

    def __init__(self, folder: Path, seed: int):
        self.folder, self.seed = folder, seed

    def path(self, shape: Shape, file_type: str) -> Path:
        return self.folder / f"{shape.name}-{shape.layers}-{file_type}-{self.seed}.gguf"

    def note(self, path: Path) -> Path:
        return path.with_suffix(".json")

    def is_whole(self, path: Path) -> bool:
        try:
            known = json.loads(self.note(path).read_text())
            return known == {"bytes": path.stat().st_size, "version": version()}
        except (OSError, json.JSONDecodeError):
            return False

    def make(self, shape: Shape, file_type: str, progress: Callable[[int, int], None]) -> Path:
        """The file, made where it is not there yet."""
        path = self.path(shape, file_type)
        if self.is_whole(path):
            return path
        self.folder.mkdir(parents=True, exist_ok=True)
        self.remove(path)
        needed, free = weight_bytes(tensors(shape, file_type)) + (64 << 20), shutil.disk_usage(self.folder).free
        if needed + (1 << 30) > free:
            raise Failure(f"{path.name} needs {needed / 1e9:.1f} GB and a reserve of 1 GB, but {self.folder} has "
                          f"{free / 1e9:.1f} GB free (MOE_CACHE_DIR names another folder, LAYERS= makes the shape smaller)")
        part = path.with_suffix(".part")
        try:
            write(part, shape, file_type, self.seed, progress)
            self.note(path).write_text(json.dumps({"bytes": part.stat().st_size, "version": version()}))
            part.rename(path)
        except OSError as error:
            raise Failure(f"{path.name} could not be written: {error.strerror}") from error
        finally:
            part.unlink(missing_ok=True)
        return path

    def remove(self, path: Path) -> None:
        for file in (path, self.note(path)):
            file.unlink(missing_ok=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="olmoe")
    parser.add_argument("--type", choices=TYPES, default="Q4_K_M")
    parser.add_argument("--layers", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    write(options.output, SHAPES[options.shape].with_layers(options.layers), options.type, options.seed)
    say(f"{options.output}: {options.output.stat().st_size / 1e9:.2f} GB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
