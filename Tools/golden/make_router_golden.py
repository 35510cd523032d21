#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Routers that no whole supported model has, and models that route dynamically by nature, with PyTorch's answers.

    zeda-qwen3         a tiny random Qwen3MoePlusPlusForCausalLM: a model folder with prompt and logits, as make_golden.py's.
                       transformers has no such class; the reference is its Qwen3Moe with the router below.
    longcat, deepseek-v3, deepseek-v2, ernie
                       one MoE layer each of transformers' own classes: model.safetensors and layer.json with input, output,
                       and each token's slots with their weights.

    Tools/golden/make_router_golden.py      writes Tests/Fixtures/router (the same bytes every time)
"""

import json
import os
import pathlib
import shutil
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
from safetensors.torch import save_file
from transformers.models.deepseek_v2.modeling_deepseek_v2 import DeepseekV2Experts, DeepseekV2TopkRouter
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3Experts, DeepseekV3TopkRouter
from transformers.models.ernie4_5_moe.modeling_ernie4_5_moe import Ernie4_5_MoeExperts, Ernie4_5_MoeTopKRouter
from transformers.models.longcat_flash.modeling_longcat_flash import LongcatFlashMoE
from transformers.models.qwen3_moe import modeling_qwen3_moe as qwen3

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import make_golden  # noqa: E402
from fixtures import Fixture, rope  # noqa: E402

OUTPUT = make_golden.ROOT / "Tests/Fixtures/router"
TOKENS, WIDTH = 24, 32


class ZeroExpertTopKRouter(torch.nn.Module):
    """ZEDA's router: softmax and top k over real and zero experts; renormalised over all k; zero experts then answer 0.

    Qwen3MoeExperts skips the index `num_experts`, so that is where the zero experts are sent. make_golden.py finds routers by
    the ending of the class's name.
    """

    all = []

    def __init__(self, config):
        super().__init__()
        self.all.append(self)
        self.top_k = config.num_experts_per_tok
        self.num_experts = config.num_experts
        self.norm_topk_prob = config.norm_topk_prob
        self.weight = torch.nn.Parameter(torch.zeros(config.num_experts + sum(config.zce_nums), config.hidden_size))
        self.real_counts = []

    def forward(self, hidden):
        logits = torch.nn.functional.linear(hidden.reshape(-1, hidden.shape[-1]), self.weight)
        weights, slots = torch.topk(torch.softmax(logits, -1, dtype=torch.float), self.top_k, dim=-1)
        if self.norm_topk_prob:
            weights = weights / weights.sum(-1, keepdim=True)
        is_zero = slots >= self.num_experts
        self.real_counts += (~is_zero).sum(-1).tolist()
        return logits, weights.masked_fill(is_zero, 0), slots.masked_fill(is_zero, self.num_experts)


def make_zeda(name: str, seed: int, settings: dict) -> None:
    fixture = Fixture(
        name, "qwen3_moe", seed,
        {"head_dim": 16, "num_experts": 12, "num_experts_per_tok": 4, "moe_intermediate_size": 12, **rope(theta=1e6),
         "zce_nums": [6], "zce_types": ["zero"], "use_zce_mask": False, **settings},
        types=("bf16", "f16"), gguf=False)
    folder = OUTPUT / name
    original = qwen3.Qwen3MoeTopKRouter
    qwen3.Qwen3MoeTopKRouter = ZeroExpertTopKRouter
    try:
        make_golden.make(fixture, folder, prompt_tokens=TOKENS)
    finally:
        qwen3.Qwen3MoeTopKRouter = original
    # As ZEDA's instructions have it: the name of the class is changed, the model_type is not.
    configuration = json.loads((folder / "config.json").read_text())
    configuration["architectures"] = ["Qwen3MoePlusPlusForCausalLM"]
    (folder / "config.json").write_text(json.dumps(configuration, indent=2, sort_keys=True) + "\n")
    # The last counts are those of make_golden's check of gaps: the whole sequence in one pass.
    expected = json.loads((folder / "expected.json").read_text())
    tokens = len(expected["prompt"]) + len(expected["continuation"])
    expected["real_experts"] = [router.real_counts[-tokens:] for router in ZeroExpertTopKRouter.all]
    counts = sum(expected["real_experts"], [])
    expected["histogram"] = [counts.count(k) for k in range(5)]
    (folder / "expected.json").write_text(json.dumps(expected) + "\n")
    print(f"{name:14} real experts per token, of 4 slots: {expected['histogram']}")


def randomise(module: torch.nn.Module, generator: torch.Generator) -> None:
    for name, value in [*module.named_parameters(), *module.named_buffers()]:
        spread = 0.08 if "bias" in name else (1.5 if name.endswith(("classifier.weight", "gate.weight")) else 1.0) * WIDTH**-0.5
        value.data = torch.randn(value.shape, generator=generator) * spread


class Layer(torch.nn.Module):
    def __init__(self, gate, experts, config):
        super().__init__()
        self.gate, self.experts = gate(config), experts(config)

    def forward(self, hidden):
        _, weights, slots = self.gate(hidden)
        return self.experts(hidden, slots, weights)


def make_layer(name: str, seed: int, layer: torch.nn.Module, gate, bias, scored, real: int) -> None:
    """`scored`: what the slots are ranked by, to see that no choice is a matter of rounding."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        randomise(layer, generator)
        hidden = torch.randn(TOKENS, WIDTH, generator=generator)
        logits, weights, slots = gate(hidden)
        output = layer(hidden[None])[0] if isinstance(layer, LongcatFlashMoE) else layer(hidden)
        ranked = scored(logits).sort(-1, descending=True).values
        gap = (ranked[:, :-1] - ranked[:, 1:]).min().item()
        assert gap > 1e-6, f"{name}: two slots are {gap:.1e} apart, which rounding may decide: another seed"
        state = dict(layer.state_dict())
        classifier = gate.classifier.weight if hasattr(gate, "classifier") else gate.weight
        prefix = "model.layers.0.mlp"
        tensors = {f"{prefix}.gate.weight": classifier}
        if bias is not None:
            tensors[f"{prefix}.gate.e_score_correction_bias"] = bias.reshape(-1)
        for expert in range(real):
            gated, up = state["experts.gate_up_proj"][expert].chunk(2)
            down = state["experts.down_proj"][expert]
            for part, matrix in [("gate", gated), ("up", up), ("down", down)]:
                tensors[f"{prefix}.experts.{expert}.{part}_proj.weight"] = matrix
    folder = OUTPUT / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    save_file({key: value.detach().clone().contiguous() for key, value in tensors.items()}, folder / "model.safetensors")
    (folder / "model.safetensors").chmod(0o644)
    expected = {
        "input": hidden.flatten().tolist(), "output": output.flatten().tolist(), "slots": slots.tolist(),
        "weights": weights.tolist(),
    }
    (folder / "layer.json").write_text(json.dumps(expected) + "\n")
    pseudo = sum(slot >= real for row in expected["slots"] for slot in row)
    print(f"{name:14} output ±{output.std():.2f}, {pseudo} of {slots.numel()} slots are pseudo-experts")


def main() -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    make_zeda("zeda-qwen3", 301, {"norm_topk_prob": True})

    config = transformers.LongcatFlashConfig(
        hidden_size=WIDTH, expert_ffn_hidden_size=12, n_routed_experts=8, zero_expert_num=5, moe_topk=4,
        routed_scaling_factor=2.5)
    layer = LongcatFlashMoE(config)
    router = layer.router
    make_layer(
        "longcat", 302, layer, router, router.e_score_correction_bias,
        lambda logits: logits.softmax(-1) + router.e_score_correction_bias, 8)

    config = transformers.DeepseekV3Config(
        hidden_size=WIDTH, moe_intermediate_size=12, n_routed_experts=16, num_experts_per_tok=4, n_group=4, topk_group=2,
        routed_scaling_factor=2.5, norm_topk_prob=True)
    layer3 = Layer(DeepseekV3TopkRouter, DeepseekV3Experts, config)
    make_layer(
        "deepseek-v3", 303, layer3, layer3.gate, layer3.gate.e_score_correction_bias,
        lambda logits: logits.sigmoid() + layer3.gate.e_score_correction_bias, 16)

    config = transformers.DeepseekV2Config(
        hidden_size=WIDTH, moe_intermediate_size=12, n_routed_experts=16, num_experts_per_tok=3, n_group=4, topk_group=2,
        topk_method="group_limited_greedy", routed_scaling_factor=1.5)
    layer2 = Layer(DeepseekV2TopkRouter, DeepseekV2Experts, config)
    make_layer("deepseek-v2", 304, layer2, layer2.gate, None, lambda logits: logits.softmax(-1), 16)

    config = transformers.Ernie4_5_MoeConfig(
        hidden_size=WIDTH, moe_intermediate_size=12, moe_num_experts=10, moe_k=3, moe_norm_min=0.55)
    layer4 = Layer(Ernie4_5_MoeTopKRouter, Ernie4_5_MoeExperts, config)
    bias = layer4.gate.moe_statics.e_score_correction_bias
    make_layer(
        "ernie", 305, layer4, layer4.gate, bias,
        lambda logits: logits.softmax(-1) + layer4.gate.moe_statics.e_score_correction_bias.squeeze(), 10)


if __name__ == "__main__":
    main()
