# SPDX-License-Identifier: Apache-2.0
"""Hugging Face folders to GGUF, with the names, keys and layouts that llama.cpp's converter gives these architectures."""

import json
import math
import pathlib
import re

import gguf
import numpy as np
import torch
import transformers
from gguf import GGMLQuantizationType
from safetensors.torch import load_file

ARCHITECTURES = {
    "llama": gguf.MODEL_ARCH.LLAMA, "mistral": gguf.MODEL_ARCH.LLAMA, "mixtral": gguf.MODEL_ARCH.LLAMA,
    "qwen2": gguf.MODEL_ARCH.QWEN2, "qwen2_moe": gguf.MODEL_ARCH.QWEN2MOE, "qwen3": gguf.MODEL_ARCH.QWEN3,
    "qwen3_moe": gguf.MODEL_ARCH.QWEN3MOE, "olmoe": gguf.MODEL_ARCH.OLMOE,
}
TYPES = {
    torch.float32: GGMLQuantizationType.F32, torch.float16: GGMLQuantizationType.F16,
    torch.bfloat16: GGMLQuantizationType.BF16,
}


def rope_parameters(configuration: dict) -> dict:
    """Transformers 5 keeps all in `rope_parameters`, 4 in `rope_theta` and `rope_scaling`."""
    if "rope_parameters" in configuration:
        return configuration["rope_parameters"]
    return {"rope_theta": configuration["rope_theta"], "rope_type": "default", **(configuration["rope_scaling"] or {})}


def windows(configuration: dict) -> list[bool]:
    """Which layers see a window only, as transformers' modelling code decides."""
    layers = configuration["num_hidden_layers"]
    if not configuration.get("sliding_window"):
        return [False] * layers
    if configuration["model_type"] in ("mistral", "mixtral", "qwen3_moe"):
        return [True] * layers
    kinds = configuration.get("layer_types") or transformers.AutoConfig.for_model(**configuration).layer_types
    return [kind == "sliding_attention" for kind in kinds]


def reason_against_llama_cpp(configuration: dict) -> str | None:
    """Why llama.cpp's graph of this architecture cannot agree with transformers; None when it can."""
    kind = configuration["model_type"]
    heads, hidden = configuration["num_attention_heads"], configuration["hidden_size"]
    if any(windows(configuration)):
        return "it knows no window here"
    if configuration.get("mlp_only_layers") or configuration.get("decoder_sparse_step", 1) != 1:
        return "it knows no dense layers here"
    if kind in ("qwen2_moe", "olmoe") and configuration.get("norm_topk_prob"):
        return "it never renormalises here"
    if kind == "qwen3_moe" and not configuration.get("norm_topk_prob"):
        return "it always renormalises here"
    if kind in ("qwen2_moe", "olmoe") and configuration.get("tie_word_embeddings"):
        return "it wants a head of its own here"
    if kind == "olmoe" and configuration["num_key_value_heads"] != heads:
        return "it knows no grouped queries here"
    if configuration.get("attention_bias") and kind not in ("llama", "mistral"):
        return "it knows no output bias here"
    rope = rope_parameters(configuration)
    if rope["rope_type"] == "yarn" and {"attention_factor", "beta_fast", "beta_slow"} & set(rope):
        return "it ignores YaRN's settings here"
    if rope["rope_type"] == "llama3" and kind not in ("llama", "mistral", "mixtral"):
        return "it knows no frequency factors here"
    if kind in ("qwen2", "qwen2_moe", "olmoe") and (configuration.get("head_dim") or hidden // heads) * heads != hidden:
        return "it knows no other head size here"
    return None


def permute(weights: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows of q and k reordered so that the pairs (i, i + n/2) of each head stand next to each other: arch `llama` rotates
    (2i, 2i + 1)."""
    half = weights.shape[0] // heads // 2
    return weights.reshape(heads, 2, half, -1).transpose(1, 2).reshape(weights.shape)


def state(folder: pathlib.Path) -> dict[str, torch.Tensor]:
    tensors = {}
    for file in sorted(folder.glob("*.safetensors")):
        tensors |= load_file(file)
    return tensors


def stacked_experts(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Every layout of experts as `…experts.{gate,up,down}_proj.weight [E, n, k]`, the name that gguf's mapping knows."""
    result, separate = {}, {}
    names = {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}
    for name, tensor in tensors.items():
        name = name.replace(".block_sparse_moe.", ".mlp.")
        if match := re.fullmatch(r"(.*\.experts)\.(\d+)\.(\w+)\.weight", name):
            separate.setdefault((match[1], names.get(match[3], match[3])), {})[int(match[2])] = tensor
        elif name.endswith(".experts.gate_up_proj"):
            gate, up = tensor.chunk(2, dim=1)
            result[name.replace("gate_up_proj", "gate_proj.weight")] = gate
            result[name.replace("gate_up_proj", "up_proj.weight")] = up
        elif name.endswith(".experts.down_proj"):
            result[name + ".weight"] = tensor
        else:
            result[name] = tensor
    for (prefix, part), experts in separate.items():
        result[f"{prefix}.{part}.weight"] = torch.stack([experts[index] for index in range(len(experts))])
    return result


def llama3_divisors(rope: dict, rotary: int) -> np.ndarray:
    """llama.cpp keeps Llama 3's scaling as a divisor per frequency."""
    frequencies = 1.0 / (rope["rope_theta"] ** (torch.arange(0, rotary, 2, dtype=torch.float32) / rotary))
    low, high, original = rope["low_freq_factor"], rope["high_freq_factor"], rope["original_max_position_embeddings"]
    divisors = []
    for frequency in frequencies.tolist():
        wavelength = 2 * math.pi / frequency
        if wavelength < original / high:
            divisors.append(1.0)
        elif wavelength > original / low:
            divisors.append(rope["factor"])
        else:
            smooth = (original / wavelength - low) / (high - low)
            divisors.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return np.array(divisors, np.float32)


def add_metadata(writer: gguf.GGUFWriter, configuration: dict) -> None:
    head_dim = configuration.get("head_dim") or configuration["hidden_size"] // configuration["num_attention_heads"]
    kind = configuration["model_type"]
    writer.add_block_count(configuration["num_hidden_layers"])
    writer.add_context_length(configuration["max_position_embeddings"])
    writer.add_embedding_length(configuration["hidden_size"])
    writer.add_feed_forward_length(configuration["intermediate_size"])
    writer.add_head_count(configuration["num_attention_heads"])
    writer.add_head_count_kv(configuration["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(configuration["rms_norm_eps"])
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_rope_dimension_count(head_dim)
    writer.add_vocab_size(configuration["vocab_size"])
    writer.add_tokenizer_model("no_vocab")

    experts = configuration.get("num_local_experts") or configuration.get("num_experts")
    if experts:
        writer.add_expert_count(experts)
        writer.add_expert_used_count(configuration["num_experts_per_tok"])
        if "moe_intermediate_size" in configuration:
            writer.add_expert_feed_forward_length(configuration["moe_intermediate_size"])
        if "shared_expert_intermediate_size" in configuration:
            writer.add_expert_shared_feed_forward_length(configuration["shared_expert_intermediate_size"])
        # llama.cpp's own rule per architecture holds where the key is absent.
        usual = kind in ("mixtral", "qwen3_moe")
        renormalises = kind == "mixtral" or configuration["norm_topk_prob"]
        if renormalises != usual:
            writer.add_expert_weights_norm(renormalises)

    sliding = windows(configuration)
    if any(sliding):
        writer.add_sliding_window(configuration["sliding_window"])
        if not all(sliding):
            writer.add_sliding_window_pattern(sliding)

    rope = rope_parameters(configuration)
    writer.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    elif rope["rope_type"] == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(rope["factor"])
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
        if "attention_factor" in rope:
            writer.add_rope_scaling_yarn_attn_factor(rope["attention_factor"])
        if "beta_fast" in rope:
            writer.add_rope_scaling_yarn_beta_fast(rope["beta_fast"])
        if "beta_slow" in rope:
            writer.add_rope_scaling_yarn_beta_slow(rope["beta_slow"])
    elif rope["rope_type"] == "llama3":
        writer.add_tensor("rope_freqs.weight", llama3_divisors(rope, head_dim))


def dense_name(name: str) -> str | None:
    """gguf's mapping of the MoE architectures has no dense FFN; the names are those of all other architectures."""
    match = re.fullmatch(r"model\.layers\.(\d+)\.mlp\.(gate|up|down)_proj\.weight", name)
    return f"blk.{match[1]}.ffn_{match[2]}.weight" if match else None


def write_gguf(folder: pathlib.Path, path: pathlib.Path, element_types: str) -> None:
    """element_types: 'same' as in the folder, or 'f32'. Norms and biases are always F32, as llama.cpp wants them."""
    configuration = json.loads((folder / "config.json").read_text())
    architecture = ARCHITECTURES[configuration["model_type"]]
    names = gguf.get_tensor_name_map(architecture, configuration["num_hidden_layers"])
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[architecture])
    add_metadata(writer, configuration)
    for name, tensor in stacked_experts(state(folder)).items():
        if name == "lm_head.weight" and configuration.get("tie_word_embeddings"):
            continue
        if architecture == gguf.MODEL_ARCH.LLAMA:
            if re.search(r"q_proj\.(weight|bias)$", name):
                tensor = permute(tensor, configuration["num_attention_heads"])
            elif re.search(r"k_proj\.(weight|bias)$", name):
                tensor = permute(tensor, configuration["num_key_value_heads"])
        target = names.get_name(name, try_suffixes=(".weight", ".bias")) or dense_name(name)
        assert target, f"no GGUF name for {name}"
        small = tensor.dim() == 1 or name.endswith("shared_expert_gate.weight") or name.endswith("mlp.gate.weight")
        kind = GGMLQuantizationType.F32 if small or element_types == "f32" else TYPES[tensor.dtype]
        values = tensor.to(torch.float32).contiguous().numpy()
        if kind == GGMLQuantizationType.F32:
            writer.add_tensor(target, values)
        elif kind == GGMLQuantizationType.F16:
            writer.add_tensor(target, values.astype(np.float16))
        else:
            writer.add_tensor(target, gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
