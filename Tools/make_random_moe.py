#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes a GGUF file of OLMoE's shape with random weights: for speed, where no trained mixture of experts can be had.

    .venv/bin/python Tools/make_random_moe.py --layers 4 --output /tmp/olmoe4-f16.gguf
    ~/.cache/moe-infer/llama.cpp/bin/llama-quantize /tmp/olmoe4-f16.gguf /tmp/olmoe4-q4_k_m.gguf Q4_K_M
    Tools/compare_llama.py --skip greedy --skip perplexity --model /tmp/olmoe4-q4_k_m.gguf

OLMoE-1B-7B (arXiv 2409.02060) has 16 layers; fewer keep the file small, with the same products per layer.
"""

import argparse
import pathlib

import gguf
import numpy as np

WIDTH, EXPERTS, EXPERT_WIDTH, EXPERTS_USED, VOCABULARY, HEADS = 2048, 64, 1024, 8, 50304, 16


def byte_alphabet() -> list[str]:
    """GPT-2's characters for the 256 bytes: what a byte-level vocabulary must hold."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + index) for index in range(len(others))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    random = np.random.default_rng(options.seed)
    writer = gguf.GGUFWriter(options.output, "olmoe")
    writer.add_name("random weights")
    writer.add_block_count(options.layers)
    writer.add_context_length(4096)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(EXPERT_WIDTH)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_expert_count(EXPERTS)
    writer.add_expert_used_count(EXPERTS_USED)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)

    alphabet = byte_alphabet()
    tokens = alphabet + [f"token{index}" for index in range(len(alphabet), VOCABULARY)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("olmo")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.NORMAL] * VOCABULARY)
    writer.add_token_merges([f"{alphabet[0]} {alphabet[1]}"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)

    def matrix(name: str, *shape: int) -> None:
        writer.add_tensor(f"{name}.weight", (random.standard_normal(shape, dtype=np.float32) * 0.02).astype(np.float16))

    def ones(name: str) -> None:
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))

    matrix("token_embd", VOCABULARY, WIDTH)
    ones("output_norm")
    matrix("output", VOCABULARY, WIDTH)
    for layer in range(options.layers):
        block = f"blk.{layer}"
        for norm in ("attn_norm", "attn_q_norm", "attn_k_norm", "ffn_norm"):
            ones(f"{block}.{norm}")
        for projection in ("attn_q", "attn_k", "attn_v", "attn_output"):
            matrix(f"{block}.{projection}", WIDTH, WIDTH)
        gate = random.standard_normal((EXPERTS, WIDTH), dtype=np.float32) * 0.05
        writer.add_tensor(f"{block}.ffn_gate_inp.weight", gate)
        matrix(f"{block}.ffn_gate_exps", EXPERTS, EXPERT_WIDTH, WIDTH)
        matrix(f"{block}.ffn_up_exps", EXPERTS, EXPERT_WIDTH, WIDTH)
        matrix(f"{block}.ffn_down_exps", EXPERTS, WIDTH, EXPERT_WIDTH)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file(progress=True)
    writer.close()


if __name__ == "__main__":
    main()
