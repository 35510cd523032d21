#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Vectors of texts as Hugging Face transformers gives them, for some of the tiny models of Tests/Fixtures/tiny.

The hidden states are `last_hidden_state` of the model without its head, after the final norm; pooled in float64 and scaled to a
length of 1. Float32, eager attention and experts, as make_golden.py has them.

    Tools/golden/make_embedding_fixtures.py        writes Tests/Fixtures/embeddings/expected.json (the same bytes every time)
"""

import json
import os
import pathlib

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODELS = ["llama", "olmoe", "qwen2moe", "qwen3moe"]


@torch.no_grad()
def vectors(folder: pathlib.Path) -> list[dict]:
    model = transformers.AutoModel.from_pretrained(
        folder, attn_implementation="eager", experts_implementation="eager", dtype=torch.float32)
    model.eval()
    expected = json.loads((folder / "expected.json").read_text())
    tokens = expected["prompt"] + expected["continuation"]
    cases = []
    for input_ids in [tokens, tokens[:1], tokens[5:12], tokens[::-1]]:
        states = model(torch.tensor([input_ids]), use_cache=False).last_hidden_state[0].double()
        pooled = {"mean": states.mean(0), "last": states[-1]}
        cases.append({
            "tokens": input_ids,
            **{name: [round(float(value), 7) for value in vector] for name, vector in pooled.items()},
            "mean_normalized": [round(float(value), 7) for value in pooled["mean"] / pooled["mean"].norm()],
        })
    return cases


def main() -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    print(f"torch {torch.__version__}, transformers {transformers.__version__}")
    output = ROOT / "Tests/Fixtures/embeddings/expected.json"
    output.parent.mkdir(exist_ok=True)
    result = {name: vectors(ROOT / "Tests/Fixtures/tiny" / name) for name in MODELS}
    output.write_text(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
