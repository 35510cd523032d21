# SPDX-License-Identifier: Apache-2.0
"""The trained model as GGUF (architecture qwen3moe, a dense twin as qwen3): matrices in Q8_0, router and norms in F32; and its gate
as the routing profile that the file carries.

    python Tools/train/export.py [--run .cache/train/dynamic] [--output .cache/train/dynamic/model.gguf] [--profile P.json]

Without --profile the gate is exported at the prices that the controller found; points.py measures and replaces them. The file
appears whole or not at all. NaN, infinity, a wrong shape or a file above 24 MiB is an error.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
from pathlib import Path

import gguf
import numpy as np
import torch

from gate import HIDDEN_SCALE
from model import DemoModel, ModelConfig
from plan import ANCHORS

ROOT = Path(__file__).resolve().parents[2]
LARGEST = 24 * 1024 * 1024
PROFILE_KEY = "moe_infer.routing_profile"
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
        )]
        names = ("ffn_gate", "ffn_up", "ffn_down") if c.is_dense else ("ffn_gate_exps", "ffn_up_exps", "ffn_down_exps")
        lead = () if c.is_dense else (e,)
        listed += [(f"blk.{index}.{name}", values[0] if c.is_dense else values, lead + shape)
                   for name, values, shape in zip(names, (m.gate, m.up, m.down), ((f, d), (f, d), (d, f)))]
        if not c.is_dense:
            listed.append((f"blk.{index}.ffn_gate_inp", m.router, (e, d)))
    gates = sum(p.numel() for name, p in model.named_parameters() if ".counting." in name)
    assert sum(values.numel() for _, values, _ in listed) + gates == sum(p.numel() for p in model.parameters())
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


def checked(model: DemoModel, floats: bool = False) -> list[tuple[str, np.ndarray, gguf.GGMLQuantizationType]]:
    """Name, values as they stand in the file, type. Raises ValueError for what must not leave the house."""
    result = []
    for name, values, shape in tensors(model):
        if tuple(values.shape) != shape:
            raise ValueError(f"{name}: shape {tuple(values.shape)}, expected {shape}")
        array = np.ascontiguousarray(values.detach().float().cpu().numpy())
        if not np.isfinite(array).all():
            raise ValueError(f"{name}: not all values are finite")
        quantized = is_quantized(name) and not floats
        kind = gguf.GGMLQuantizationType.Q8_0 if quantized else gguf.GGMLQuantizationType.F32
        result.append((name, gguf.quantize(array, kind) if quantized else array, kind))
    return result


def identity(stored: list[tuple[str, np.ndarray, gguf.GGMLQuantizationType]], shapes: dict[str, tuple[int, ...]]) -> str:
    """What the engine binds a profile to (Sources/MoEInfer/Calibration/ModelIdentity.swift): a hash over names, types, shapes and
    samples of the tensors."""
    piece, pieces = 1024, 4
    digest = hashlib.sha256()
    for name, array, kind in sorted(stored, key=lambda item: item[0]):
        content = array.tobytes()
        digest.update(f"{len(name)}:{name} {kind.name} {list(shapes[name])} {len(content)}\n".encode())
        if len(content) <= piece * pieces:
            digest.update(content)
        else:
            for index in range(pieces):
                start = (len(content) - piece) // (pieces - 1) * index
                digest.update(content[start:start + piece])
    return "sha256:" + digest.hexdigest()


def profile(model: DemoModel, content: str, points: list[dict], default: str | None = None) -> dict:
    """The gate as docs/routing.md has it. The layers' prices are in the heads, so log_price is 0."""
    c = model.config
    layers = []
    for index, block in enumerate(model.blocks):
        gate = block.moe.counting
        numbers = {"temperature": math.exp(gate.log_temperature.item()), "log_price": 0.0,
                   "expert_log_norms": gate.expert_log_norms.tolist(), "weights": gate.heads.flatten().tolist(),
                   "hidden_weights": gate.direction.tolist()}
        if not np.isfinite([v for value in numbers.values() for v in np.atleast_1d(value)]).all():
            raise ValueError(f"blk.{index}: the gate has a number that is not finite")
        layers.append({"layer": index} | numbers)
    result = {"schema": "moe-infer.routing-profile", "version": 1, "model": content, "k_min": 1, "k_max": c.experts_per_token,
              "expert_count": c.experts, "layer_count": c.layers, "hidden_size": c.hidden, "points": points, "layers": layers}
    return result | ({"default_point": default} if default else {})


def first_points(log_mu: list[float], kl: float = 0.0) -> list[dict]:
    """Before anything is measured: the prices that gave the wanted mean k in training. Perplexity 0 says that it is not known."""
    points = [{"name": "exact", "mu": 0.0, "mean_k": 8.0, "perplexity": 0.0, "kl": 0.0}]
    named = zip(("fast", "balanced", "parity"), (ANCHORS[0], ANCHORS[1], ANCHORS[3]), (log_mu[0], log_mu[1], log_mu[3]))
    return points + [{"name": name, "mu": math.exp(price), "mean_k": k, "perplexity": 0.0, "kl": kl} for name, k, price in named]


def write(model: DemoModel, tokenizer: Path, output: Path, points: list[dict] | None, given: str | None = None,
          floats: bool = False) -> None:
    """points: of the gate's profile; None for a model without one. given: a profile's JSON to carry instead. floats: nothing is
    quantised, and the file may be larger: to measure what quantisation costs."""
    c = model.config
    tokens, types, merges, end = vocabulary(tokenizer)
    if len(tokens) != c.vocabulary:
        raise ValueError(f"{tokenizer}: {len(tokens)} tokens, the model has {c.vocabulary}")
    stored = checked(model, floats)
    content = identity(stored, {name: shape for name, _, shape in tensors(model)})
    temporary = output.with_name(output.name + ".tmp")
    writer = gguf.GGUFWriter(temporary, "qwen3" if c.is_dense else "qwen3moe")
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name("moe-infer demo")
    count = sum(p.numel() for p in model.parameters()) / 1e6
    writer.add_description(f"{count:.0f}M parameters, trained with dynamic routing. Text generator only.")
    writer.add_license("apache-2.0")
    writer.add_file_type(gguf.LlamaFileType.ALL_F32 if floats else gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_vocab_size(c.vocabulary)
    writer.add_block_count(c.layers)
    writer.add_context_length(c.context)
    writer.add_embedding_length(c.hidden)
    writer.add_feed_forward_length(c.expert_hidden * c.experts_per_token)
    if not c.is_dense:
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
    if given is not None:
        if json.loads(given).get("model") != content:
            raise ValueError(f"the profile is for model {json.loads(given).get('model')}, this is {content}")
        writer.add_string(PROFILE_KEY, given)
    elif points is not None:
        writer.add_string(PROFILE_KEY, json.dumps(profile(model, content, points)))
    for name, array, kind in stored:
        writer.add_tensor(name, array, raw_dtype=kind if kind != gguf.GGMLQuantizationType.F32 else None)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    size = temporary.stat().st_size
    if size > LARGEST and not floats:
        temporary.unlink()
        raise ValueError(f"{output}: {size} bytes, at most {LARGEST} wanted")
    os.replace(temporary, output)
    print(f"wrote {output} ({size / 2**20:.2f} MiB)")


def read(path: Path) -> DemoModel:
    """The model as any reader of the file sees it: weights dequantised to F32."""
    reader = gguf.GGUFReader(path)
    architecture = reader.get_field("general.architecture").contents()

    def number(key: str):
        return reader.get_field(f"{architecture}.{key}").contents()

    sizes = dict(
        vocabulary=number("vocab_size"), layers=number("block_count"), hidden=number("embedding_length"),
        heads=number("attention.head_count"), kv_heads=number("attention.head_count_kv"),
        head_dim=number("attention.key_length"), context=number("context_length"), rope_base=number("rope.freq_base"),
        epsilon=number("attention.layer_norm_rms_epsilon"))
    if architecture == "qwen3":
        sizes |= dict(experts=1, experts_per_token=1, expert_hidden=number("feed_forward_length"))
    else:
        sizes |= dict(experts=number("expert_count"), experts_per_token=number("expert_used_count"),
                      expert_hidden=number("expert_feed_forward_length"))
    model = DemoModel(ModelConfig(**sizes))
    stored = {tensor.name: tensor for tensor in reader.tensors}
    with torch.no_grad():
        for name, values, shape in tensors(model):
            tensor = stored.pop(name)
            values.copy_(torch.from_numpy(gguf.dequantize(tensor.data, tensor.tensor_type).reshape(shape).copy()))
    if stored:
        raise ValueError(f"{path}: unexpected tensors {sorted(stored)}")
    carried = reader.get_field(PROFILE_KEY)
    if carried is not None:
        with torch.no_grad():
            for layer in json.loads(carried.contents())["layers"]:
                gate = model.blocks[layer["layer"]].moe.counting
                gate.log_temperature.fill_(math.log(layer["temperature"]))
                gate.expert_log_norms.copy_(torch.tensor(layer["expert_log_norms"]))
                gate.heads.copy_(torch.tensor(layer["weights"]).view_as(gate.heads))
                if "hidden_weights" in layer:
                    gate.hidden.copy_(torch.tensor(layer["hidden_weights"]) / HIDDEN_SCALE)
    return model


def trained(run: Path) -> tuple[DemoModel, dict]:
    """The model of a run's checkpoint, and the checkpoint."""
    path = run / "checkpoint.pt"
    if not path.exists():
        raise SystemExit(f"{path} is missing: Tools/train/train.py makes it")
    state = torch.load(path, weights_only=True, map_location="cpu")
    fields = ModelConfig.__dataclass_fields__
    model = DemoModel(ModelConfig(**{k: v for k, v in state["identity"].items() if k in fields}))
    model.load_state_dict(state["model"])
    return model, state


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / ".cache/train")
    parser.add_argument("--run", type=Path, default=ROOT / ".cache/train/dynamic")
    parser.add_argument("--output", type=Path, help="default: model.gguf in the run's folder")
    parser.add_argument("--profile", type=Path, help="a profile of measured points to carry")
    parser.add_argument("--f32", action="store_true", help="quantise nothing: to measure what quantisation costs")
    arguments = parser.parse_args()
    model, state = trained(arguments.run)
    dynamic = state["identity"]["variant"] == "dynamic"
    try:
        write(model, arguments.data / "tokenizer.json", arguments.output or arguments.run / "model.gguf",
              first_points(state["progress"]["log_mu"]) if dynamic else None,
              arguments.profile.read_text() if arguments.profile else None, arguments.f32)
    except ValueError as error:
        raise SystemExit(f"export: {error}") from None


if __name__ == "__main__":
    main()
