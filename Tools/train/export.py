# SPDX-License-Identifier: Apache-2.0
"""The trained model as GGUF (architecture qwen3moe): matrices in Q8_0, router and norms in F32.

    python Tools/train/export.py [--run .cache/train/run] [--output CSources/CMoEDemoModel/demo.gguf]

The file appears whole or not at all. NaN, infinity, a wrong shape or a file above 6 MiB is an error.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import gguf
import numpy as np
import torch

from model import DemoModel, ModelConfig

ROOT = Path(__file__).resolve().parents[2]
LARGEST = 6 * 1024 * 1024
END_OF_TEXT = "<|endoftext|>"


def tensors(model: DemoModel) -> list[tuple[str, torch.Tensor, tuple[int, ...]]]:
    """GGUF name, values, and the shape that the architecture prescribes (outermost first)."""
    c = model.config
    d, e, f = c.hidden, c.experts, c.expert_hidden
    q, kv = c.heads * c.head_dim, c.kv_heads * c.head_dim
    listed = [("token_embd", model.embedding.weight, (c.vocabulary, d)), ("output_norm", model.norm.weight, (d,))]
    for index, block in enumerate(model.blocks):
        a, m = block.attention, block.moe
        listed += [(f"blk.{index}.{name}", values, shape) for name, values, shape in (
            ("attn_norm", block.attention_norm.weight, (d,)),
            ("attn_q", a.query.weight, (q, d)),
            ("attn_k", a.key.weight, (kv, d)),
            ("attn_v", a.value.weight, (kv, d)),
            ("attn_output", a.output.weight, (d, q)),
            ("attn_q_norm", a.query_norm.weight, (c.head_dim,)),
            ("attn_k_norm", a.key_norm.weight, (c.head_dim,)),
            ("ffn_norm", block.ffn_norm.weight, (d,)),
            ("ffn_gate_inp", m.router, (e, d)),
            ("ffn_gate_exps", m.gate, (e, f, d)),
            ("ffn_up_exps", m.up, (e, f, d)),
            ("ffn_down_exps", m.down, (e, d, f)),
        )]
    assert sum(values.numel() for _, values, _ in listed) == sum(p.numel() for p in model.parameters())
    return [(f"{name}.weight", values, shape) for name, values, shape in listed]


def is_quantized(name: str) -> bool:
    return not name.endswith(("_norm.weight", "ffn_gate_inp.weight"))


def vocabulary(path: Path) -> tuple[list[str], list[int], list[str], int]:
    """tokenizer.json -> tokens by id, their types, merges, the end-of-text id."""
    state = json.loads(path.read_text())
    ids = state["model"]["vocab"]
    tokens = [token for token, _ in sorted(ids.items(), key=lambda item: item[1])]
    if [ids[token] for token in tokens] != list(range(len(tokens))):
        raise ValueError(f"{path}: ids are not 0 to {len(tokens) - 1}")
    special = {token["content"] for token in state["added_tokens"]}
    types = [gguf.TokenType.CONTROL if token in special else gguf.TokenType.NORMAL for token in tokens]
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in state["model"]["merges"]]
    return tokens, types, merges, ids[END_OF_TEXT]


def write(model: DemoModel, tokenizer: Path, output: Path) -> None:
    c = model.config
    tokens, types, merges, end = vocabulary(tokenizer)
    if len(tokens) != c.vocabulary:
        raise ValueError(f"{tokenizer}: {len(tokens)} tokens, the model has {c.vocabulary}")
    temporary = output.with_name(output.name + ".tmp")
    writer = gguf.GGUFWriter(temporary, "qwen3moe")
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name("moe-infer demo")
    writer.add_description(
        "A 5M-parameter mixture of experts, elastic in the number of experts per token. Text generator only.")
    writer.add_license("apache-2.0")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_vocab_size(c.vocabulary)
    writer.add_block_count(c.layers)
    writer.add_context_length(c.context)
    writer.add_embedding_length(c.hidden)
    writer.add_feed_forward_length(c.expert_hidden * c.experts_per_token)
    writer.add_expert_feed_forward_length(c.expert_hidden)
    writer.add_expert_count(c.experts)
    writer.add_expert_used_count(c.experts_per_token)
    writer.add_expert_weights_norm(True)
    writer.add_head_count(c.heads)
    writer.add_head_count_kv(c.kv_heads)
    writer.add_key_length(c.head_dim)
    writer.add_value_length(c.head_dim)
    writer.add_rope_dimension_count(c.head_dim)
    writer.add_rope_freq_base(c.rope_base)
    writer.add_layer_norm_rms_eps(c.epsilon)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(end)
    writer.add_eos_token_id(end)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    for name, values, shape in tensors(model):
        if tuple(values.shape) != shape:
            raise ValueError(f"{name}: shape {tuple(values.shape)}, expected {shape}")
        array = np.ascontiguousarray(values.detach().float().numpy())
        if not np.isfinite(array).all():
            raise ValueError(f"{name}: not all values are finite")
        if is_quantized(name):
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(name, gguf.quantize(array, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    size = temporary.stat().st_size
    if size > LARGEST:
        temporary.unlink()
        raise ValueError(f"{output}: {size} bytes, at most {LARGEST} wanted")
    os.replace(temporary, output)
    print(f"wrote {output} ({size / 2**20:.2f} MiB)")


def read(path: Path) -> DemoModel:
    """The model as any reader of the file sees it: weights dequantised to F32."""
    reader = gguf.GGUFReader(path)

    def number(key: str):
        return reader.get_field(f"qwen3moe.{key}").contents()

    model = DemoModel(ModelConfig(
        vocabulary=number("vocab_size"), layers=number("block_count"), hidden=number("embedding_length"),
        heads=number("attention.head_count"), kv_heads=number("attention.head_count_kv"),
        head_dim=number("attention.key_length"), experts=number("expert_count"),
        experts_per_token=number("expert_used_count"), expert_hidden=number("expert_feed_forward_length"),
        context=number("context_length"), rope_base=number("rope.freq_base"),
        epsilon=number("attention.layer_norm_rms_epsilon")))
    stored = {tensor.name: tensor for tensor in reader.tensors}
    with torch.no_grad():
        for name, values, shape in tensors(model):
            tensor = stored.pop(name)
            values.copy_(torch.from_numpy(gguf.dequantize(tensor.data, tensor.tensor_type).reshape(shape).copy()))
    if stored:
        raise ValueError(f"{path}: unexpected tensors {sorted(stored)}")
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / ".cache/train")
    parser.add_argument("--run", type=Path, default=ROOT / ".cache/train/run")
    parser.add_argument("--output", type=Path, default=ROOT / "CSources/CMoEDemoModel/demo.gguf")
    arguments = parser.parse_args()
    state = torch.load(arguments.run / "checkpoint.pt", weights_only=True)
    fields = ModelConfig.__dataclass_fields__
    model = DemoModel(ModelConfig(**{k: v for k, v in state["identity"].items() if k in fields}))
    model.load_state_dict(state["model"])
    write(model, arguments.data / "tokenizer.json", arguments.output)


if __name__ == "__main__":
    main()
