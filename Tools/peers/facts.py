# SPDX-License-Identifier: Apache-2.0
"""What a token costs at the least: bytes that must be read, operations that must be done. From `moe-infer inspect`."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from cases import Case


@dataclass(frozen=True)
class Facts:
    file_bytes: int
    k: int  # experts of a token; 0 for a dense model
    always_bytes: int  # weights that a step of generation reads besides routed experts: the head, no embeddings
    always_products: int  # multiplications of a prompt's token besides routed experts: no head, which only the last token needs
    expert_products: int  # of one expert in one layer
    cache_bytes: int  # keys and values of one position, as float16

    def rows(self) -> dict[str, int]:
        return asdict(self)

    def bytes_read(self, case: Case, expert_bytes: float) -> float:
        """By generation: weights once a step, the experts that any sequence takes once a step, each sequence's cache."""
        cached = case.batch * (case.depth + (case.generate - 1) / 2) * self.cache_bytes
        return case.generate * (self.always_bytes + cached) + expert_bytes

    def operations(self, case: Case, evaluations: float) -> float:
        """Of a prompt: a product and a sum for each weight. Attention's own products are left out.
        evaluations: (token, layer, expert) triples that are computed."""
        return 2 * (case.prompt * self.always_products + self.expert_products * evaluations)

    def peer_evaluations(self, case: Case, layers: int) -> int:
        """llama.cpp computes the last layer's experts only for the token whose logits are wanted."""
        return self.k * (case.prompt * (layers - 1) + 1)


def of_inspection(found: dict) -> Facts:
    metadata = {entry["key"].split(".", 1)[-1]: entry["value"] for entry in found["metadata"]
                if not entry["key"].startswith("general.")}
    router, by_experts = found.get("router"), {entry["experts"]: entry["bytes"] for entry in found["bytes_per_token"]}
    routed = always = 0
    for tensor in found["tensors"]:
        if len(tensor["shape"]) < 2 or tensor["name"] in ("token_embd.weight", "output.weight"):
            continue
        count = 1
        for part in tensor["shape"]:
            count *= part
        if tensor["name"].split(".")[-2].endswith("_exps"):
            routed += count
        else:
            always += count
    heads = int(metadata["attention.head_count"])
    kv_heads = int(metadata.get("attention.head_count_kv", heads))
    head = int(metadata.get("attention.key_length", found["hidden_size"] // heads))
    return Facts(
        file_bytes=found["bytes_total"], k=router["experts_per_token"] if router else 0,
        always_bytes=2 * by_experts[1] - by_experts[2] if router else by_experts[0], always_products=always,
        expert_products=routed // router["experts"] // found["layers"] if router else 0,
        cache_bytes=2 * 2 * found["layers"] * kv_heads * head)
