# SPDX-License-Identifier: Apache-2.0
"""The configurations that make_golden.py makes models of."""

import dataclasses
import random

import transformers

CONFIGURATIONS = {
    "llama": transformers.LlamaConfig,
    "mistral": transformers.MistralConfig,
    "mixtral": transformers.MixtralConfig,
    "qwen2": transformers.Qwen2Config,
    "qwen2_moe": transformers.Qwen2MoeConfig,
    "qwen3": transformers.Qwen3Config,
    "qwen3_moe": transformers.Qwen3MoeConfig,
    "olmoe": transformers.OlmoeConfig,
}


@dataclasses.dataclass
class Fixture:
    name: str
    type: str
    """Hugging Face's `model_type`."""
    seed: int
    settings: dict
    types: tuple[str, ...] = ("bf16",)
    """Element types of the weights, in turn by the parameter's name; norms and biases take the last."""
    gguf_types: str = "same"
    """Element types of the GGUF file's matrices: 'same' as in the safetensors file, or 'f32'."""
    gguf: bool = True
    """False: a setting that GGUF cannot say."""
    shard_size: str | None = None
    fused_experts: bool = False
    """Experts stored as `gate_up_proj [E, 2f, d]`, as transformers 5 keeps them in memory."""
    version_4_keys: bool = False

    @property
    def tied(self) -> bool:
        return self.settings.get("tie_word_embeddings", False)

    def configuration(self) -> transformers.PreTrainedConfig:
        return CONFIGURATIONS[self.type](**{**COMMON, **self.settings})

    def dtype_of(self, name: str) -> str:
        if "norm" in name or name.endswith("bias"):
            return self.types[-1]
        # By the part's name, so that the matrices of one layer differ, and those that are stored together do not.
        return self.types[sum(name.split(".")[-2 if name.endswith("weight") else -1].encode()) % len(self.types)]


COMMON = {
    "vocab_size": 96, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256, "tie_word_embeddings": False, "rms_norm_eps": 1e-5,
    "pad_token_id": None, "bos_token_id": 1, "eos_token_id": 2,
}
MIXED = ("bf16", "f16", "f32")


def rope(kind: str = "default", theta: float = 10000.0, **others) -> dict:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": theta, **others}}


FIXTURES = [
    Fixture("llama", "llama", 101, {}, types=MIXED),
    # head_dim other than hidden/heads; biases everywhere; tied; sizes that are not multiples of 32.
    Fixture(
        "llama-linear-bias-tied", "llama", 102,
        {"hidden_size": 36, "num_attention_heads": 3, "num_key_value_heads": 1, "head_dim": 20, "intermediate_size": 50,
         "vocab_size": 101, "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True, "rms_norm_eps": 1e-6,
         **rope("linear", factor=4.0)}, types=("f16", "f32")),
    # Wavelengths from 6 to 20,000 positions: kept, on the ramp and divided.
    Fixture(
        "llama-llama3-sharded", "llama", 103,
        {"head_dim": 16, "max_position_embeddings": 2048,
         **rope("llama3", theta=50000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                original_max_position_embeddings=256)},
        types=("bf16",), shard_size="15KB", version_4_keys=True),
    Fixture(
        "llama-yarn", "llama", 104,
        {"head_dim": 16, **rope("yarn", factor=4.0, original_max_position_embeddings=64)}, types=("f16",)),
    Fixture(
        "mistral-window", "mistral", 105, {"sliding_window": 7, "head_dim": 16, "num_key_value_heads": 1},
        types=("bf16", "f32")),
    Fixture("qwen2-tied", "qwen2", 106, {"tie_word_embeddings": True, "rms_norm_eps": 1e-6, **rope(theta=1e6)}, types=MIXED),
    Fixture(
        "qwen2-window", "qwen2", 107,
        {"hidden_size": 44, "num_attention_heads": 2, "num_key_value_heads": 2, "num_hidden_layers": 3,
         "intermediate_size": 52, "use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1},
        types=("bf16",), version_4_keys=True),
    Fixture(
        "mixtral", "mixtral", 108,
        {"num_local_experts": 8, "num_experts_per_tok": 2, "intermediate_size": 24, **rope(theta=1e6)}, types=MIXED,
        shard_size="60KB"),
    Fixture(
        "mixtral-window-fused", "mixtral", 109,
        {"num_local_experts": 4, "num_experts_per_tok": 3, "intermediate_size": 20, "sliding_window": 9, "head_dim": 12,
         "vocab_size": 99}, types=("f16",), fused_experts=True),
    Fixture(
        "qwen2moe", "qwen2_moe", 110,
        {"num_experts": 8, "num_experts_per_tok": 3, "moe_intermediate_size": 20, "shared_expert_intermediate_size": 28},
        types=("bf16", "f16")),
    # Window layers by the architecture's own rule, a dense layer among sparse ones, renormalised weights.
    Fixture(
        "qwen2moe-mixed-window", "qwen2_moe", 111,
        {"num_hidden_layers": 3, "mlp_only_layers": [1], "num_experts": 5, "num_experts_per_tok": 2,
         "moe_intermediate_size": 18, "shared_expert_intermediate_size": 26, "norm_topk_prob": True,
         "use_sliding_window": True, "sliding_window": 5, "max_window_layers": 2, "tie_word_embeddings": True},
        types=("bf16",), version_4_keys=True),
    Fixture("qwen3-tied", "qwen3", 112, {"head_dim": 24, "tie_word_embeddings": True, **rope(theta=1e6)}, types=MIXED),
    Fixture(
        "qwen3-yarn-bias-window", "qwen3", 113,
        {"head_dim": 16, "attention_bias": True, "num_hidden_layers": 3, "use_sliding_window": True, "sliding_window": 8,
         "max_window_layers": 2,
         "max_position_embeddings": 4096,
         **rope("yarn", factor=4.0, original_max_position_embeddings=1024, attention_factor=1.3, beta_fast=8.0,
                beta_slow=2.0)}, types=("f32", "bf16")),
    Fixture(
        "qwen3-yarn-untruncated", "qwen3", 114,
        {"head_dim": 16, "num_hidden_layers": 1,
         **rope("yarn", factor=4.0, original_max_position_embeddings=64, truncate=False, mscale=1.0, mscale_all_dim=0.7)},
        types=("bf16",), gguf=False),
    Fixture(
        "qwen3moe", "qwen3_moe", 115,
        {"head_dim": 16, "num_experts": 16, "num_experts_per_tok": 4, "moe_intermediate_size": 12, "norm_topk_prob": True,
         **rope(theta=1e6)}, types=MIXED, shard_size="80KB"),
    Fixture(
        "qwen3moe-mixed-fused", "qwen3_moe", 116,
        {"head_dim": 10, "num_hidden_layers": 4, "decoder_sparse_step": 2, "mlp_only_layers": [1], "num_experts": 6,
         "num_experts_per_tok": 2, "moe_intermediate_size": 22, "norm_topk_prob": False, "attention_bias": True,
         "use_sliding_window": True, "sliding_window": 10}, types=("bf16",), fused_experts=True),
    Fixture(
        "olmoe", "olmoe", 117,
        {"num_key_value_heads": 4, "num_experts": 8, "num_experts_per_tok": 3, "intermediate_size": 20,
         "norm_topk_prob": False}, types=("bf16", "f16")),
    Fixture(
        "olmoe-gqa-tied", "olmoe", 118,
        {"hidden_size": 40, "num_attention_heads": 4, "num_key_value_heads": 1, "num_experts": 6, "num_experts_per_tok": 2,
         "intermediate_size": 18, "norm_topk_prob": True, "tie_word_embeddings": True, "vocab_size": 103,
         "attention_bias": True}, types=("f16", "f32")),
]


def random_fixture(source: random.Random, index: int) -> Fixture:
    """A configuration nobody chose: sizes, options and seeds from `source`."""
    kind = list(CONFIGURATIONS)[index % len(CONFIGURATIONS)]
    kv_heads = source.choice([1, 2, 3])
    heads = kv_heads * source.choice([1, 2, 3])
    hidden = heads * 2 * source.randint(4, 12)
    layers = source.randint(1, 4)
    settings = {
        "vocab_size": source.randint(70, 260), "hidden_size": hidden, "intermediate_size": source.randint(17, 90),
        "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv_heads,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": source.random() < 0.4, "rms_norm_eps": source.choice([1e-5, 1e-6]),
    }
    if kind in ("llama", "mistral", "mixtral", "qwen3", "qwen3_moe") and (kind.startswith("qwen3") or source.random() < 0.5):
        settings["head_dim"] = 2 * source.randint(4, 16)
    settings |= source.choice([
        rope(theta=source.choice([500.0, 10000.0, 1e6])),
        rope("linear", factor=source.uniform(1.5, 8)),
        rope("yarn", theta=source.choice([10000.0, 1e6]), factor=source.uniform(1.5, 8),
             original_max_position_embeddings=source.choice([32, 512, 4096]),
             **({"beta_fast": 8.0, "beta_slow": 2.0} if source.random() < 0.3 else {})),
        rope("llama3", theta=source.choice([10000.0, 5e5]), factor=source.uniform(2, 16), low_freq_factor=1.0,
             high_freq_factor=source.choice([2.0, 4.0]), original_max_position_embeddings=source.choice([32, 128])),
    ])
    if kind == "mixtral" and settings["rope_parameters"]["rope_type"] == "yarn":
        # transformers 5.24 takes no head_dim of None here, which is MixtralConfig's default.
        settings.setdefault("head_dim", hidden // heads)
    window = source.randint(3, 20)
    if kind in ("mistral", "mixtral"):
        settings["sliding_window"] = source.choice([None, window])
    if kind.startswith("qwen") and source.random() < 0.5:
        settings |= {"use_sliding_window": True, "sliding_window": window}
        if kind != "qwen3_moe":
            settings["max_window_layers"] = source.randint(0, layers)
    if kind in ("llama", "qwen3", "qwen3_moe", "olmoe"):
        settings["attention_bias"] = source.random() < 0.3
    if kind == "llama":
        settings["mlp_bias"] = source.random() < 0.3
    if kind in ("mixtral", "qwen2_moe", "qwen3_moe", "olmoe"):
        experts = source.randint(3, 17)
        settings["num_local_experts" if kind == "mixtral" else "num_experts"] = experts
        settings["num_experts_per_tok"] = source.randint(1, min(experts, 6))
    if kind.startswith("qwen") and kind.endswith("moe"):
        settings |= {
            "moe_intermediate_size": source.randint(9, 40), "decoder_sparse_step": source.choice([1, 1, 2]),
            "mlp_only_layers": source.sample(range(layers), source.randint(0, layers // 2)),
        }
        if kind == "qwen2_moe":
            settings["shared_expert_intermediate_size"] = source.randint(9, 40)
    if kind in ("qwen2_moe", "qwen3_moe", "olmoe"):
        settings["norm_topk_prob"] = source.random() < 0.5
    return Fixture(
        f"{index:03d}-{kind}", kind, source.randrange(1 << 30), settings,
        types=source.choice([("bf16",), ("f16",), ("f32",), MIXED]), gguf_types=source.choice(["same", "f32"]),
        shard_size=source.choice([None, "40KB"]), fused_experts=source.random() < 0.3, version_4_keys=source.random() < 0.4)
