#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tiny random models of every architecture, with the logits that Hugging Face transformers computes for them.

Each fixture is a folder:
    config.json, *.safetensors   as transformers' save_pretrained writes them
    model.gguf                   the same weights, written with the `gguf` package (gguf_writer.py)
    expected.json, logits.npy    a prompt and a greedy continuation, and float32 logits [tokens, vocabulary]

The continuation is computed one token at a time with the cache. Weights are rounded to the element types that are stored
before the reference is computed, so the reference is exact: float32, eager attention.

    Tools/golden/make_golden.py                        writes Tests/Fixtures/tiny (the same bytes every time)
    Tools/golden/make_golden.py --random 40 --seed 9 --output DIR      other seeds and shapes, for a wider check
    Tools/golden/make_golden.py --random 16 --seed 9 --prompt 600 --output DIR      long prompts
    Tools/golden/make_golden.py --llama-greedy PATH    also compares each GGUF file's weights in llama.cpp
"""

import argparse
import json
import math
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
import transformers

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from fixtures import FIXTURES, Fixture, random_fixture  # noqa: E402
from gguf_writer import reason_against_llama_cpp, write_gguf  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
STEPS = 16
DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


class TiedExperts(Exception):
    pass


def initialise(model: torch.nn.Module, fixture: Fixture, generator: torch.Generator) -> None:
    """Random weights that give logits of order 1, attention and routing that matter, norms and biases that are not trivial."""

    def normal(shape: torch.Size, deviation: float) -> torch.Tensor:
        return torch.randn(shape, generator=generator) * deviation

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                value = 1 + normal(parameter.shape, 0.25)
            elif name.endswith("bias"):
                value = normal(parameter.shape, 0.3)
            elif "embed_tokens" in name:
                # A tied embedding is the head too: smaller, and scaled up again by the first norm.
                value = normal(parameter.shape, 1.5 / math.sqrt(parameter.shape[-1]) if fixture.tied else 1.0)
            elif name.endswith("gate.weight") or "q_proj" in name or "k_proj" in name or "lm_head" in name:
                value = normal(parameter.shape, 1.5 / math.sqrt(parameter.shape[-1]))
            else:
                value = normal(parameter.shape, 1.0 / math.sqrt(parameter.shape[-1]))
            # Rounded to what will be stored, kept in float32 for the reference.
            parameter.copy_(value.to(DTYPES[fixture.dtype_of(name)]).to(torch.float32))


def smallest_routing_gap(model: torch.nn.Module, tokens: torch.Tensor) -> float:
    """Smallest distance between the last chosen and the first rejected expert's probability over all tokens and layers."""
    gaps = []

    def hook(router, _inputs, output):
        probabilities = torch.softmax(output[0].float(), -1).sort(-1, descending=True).values
        k = router.top_k
        if k < probabilities.shape[-1]:
            gaps.append((probabilities[:, k - 1] - probabilities[:, k]).min().item())

    handles = [
        module.register_forward_hook(hook) for name, module in model.named_modules()
        if type(module).__name__.endswith("TopKRouter")
    ]
    model(tokens, use_cache=False)
    for handle in handles:
        handle.remove()
    return min(gaps, default=math.inf)


@torch.no_grad()
def reference(model: torch.nn.Module, prompt: list[int]) -> tuple[list[int], np.ndarray]:
    """A greedy continuation of STEPS tokens, and the logits after each token of both."""
    result = model(torch.tensor([prompt]), use_cache=True)
    rows = [result.logits[0]]
    continuation = []
    cache = result.past_key_values
    for _ in range(STEPS):
        token = int(rows[-1][-1].argmax())
        continuation.append(token)
        result = model(torch.tensor([[token]]), cache=cache, use_cache=True)
        cache = result.past_key_values
        rows.append(result.logits[0])
    logits = torch.cat(rows)
    whole = model(torch.tensor([prompt + continuation]), use_cache=False).logits[0]
    difference = (whole - logits).abs().max().item()
    assert difference < 5e-5, f"cached and uncached logits differ by {difference}"
    if (gap := smallest_routing_gap(model, torch.tensor([prompt + continuation]))) < 3e-6:
        raise TiedExperts(f"two experts are {gap:.1e} apart, which rounding may decide: another seed")
    return continuation, logits.numpy().astype(np.float32)


def make(fixture: Fixture, folder: pathlib.Path, prompt_tokens: int) -> dict:
    configuration = fixture.configuration()
    model = transformers.AutoModelForCausalLM.from_config(
        configuration, attn_implementation="eager", experts_implementation="eager", dtype=torch.float32)
    model.eval()
    generator = torch.Generator().manual_seed(fixture.seed)
    initialise(model, fixture, generator)
    prompt = torch.randint(0, configuration.vocab_size, (prompt_tokens,), generator=generator).tolist()
    continuation, logits = reference(model, prompt)

    for name, parameter in model.named_parameters():
        parameter.data = parameter.data.to(DTYPES[fixture.dtype_of(name)])
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(
        folder, max_shard_size=fixture.shard_size or "1GB", save_original_format=not fixture.fused_experts)
    (folder / "generation_config.json").unlink(missing_ok=True)
    for file in folder.glob("*.safetensors"):
        file.chmod(0o644)
    if fixture.version_4_keys:
        rewrite_configuration(folder / "config.json")

    if fixture.gguf:
        write_gguf(folder, folder / "model.gguf", element_types=fixture.gguf_types)
    np.save(folder / "logits.npy", logits)
    expected = {"prompt": prompt, "continuation": continuation, "vocabulary": configuration.vocab_size}
    (folder / "expected.json").write_text(json.dumps(expected) + "\n")
    return {
        "logits_deviation": float(logits.std()), "distinct_tokens": len(set(continuation)),
        "bytes": sum(file.stat().st_size for file in folder.iterdir()),
    }


def rewrite_configuration(path: pathlib.Path) -> None:
    """The keys of transformers 4: `rope_theta` and `rope_scaling` in place of `rope_parameters`; no `layer_types`."""
    configuration = json.loads(path.read_text())
    rope = configuration.pop("rope_parameters")
    configuration.pop("layer_types", None)
    configuration["rope_theta"] = rope.pop("rope_theta")
    configuration["rope_scaling"] = None if rope.get("rope_type") == "default" else rope
    path.write_text(json.dumps(configuration, indent=2, sort_keys=True) + "\n")


def compare_in_llama_cpp(program: str, folder: pathlib.Path) -> float:
    """Largest difference of llama.cpp's logits from the reference; weights in F32, because llama.cpp rounds activations to
    the weights' type."""
    expected = json.loads((folder / "expected.json").read_text())
    tokens = expected["prompt"] + expected["continuation"]
    with tempfile.TemporaryDirectory() as temporary:
        model = pathlib.Path(temporary) / "model.gguf"
        write_gguf(folder, model, element_types="f32")
        output = subprocess.run(
            [program, "logits", str(model), "1", ",".join(map(str, tokens)), str(STEPS)], stdout=subprocess.PIPE, check=True)
    logits = np.frombuffer(output.stdout, np.float32).reshape(len(tokens), -1)
    return float(np.abs(logits - np.load(folder / "logits.npy")).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=pathlib.Path, default=ROOT / "Tests/Fixtures/tiny")
    parser.add_argument("--random", type=int, default=0, metavar="N", help="N random configurations instead of the fixtures")
    parser.add_argument("--seed", type=int, default=1, help="of the random configurations")
    parser.add_argument("--prompt", type=int, default=24, help="tokens of the prompts")
    parser.add_argument("--only", help="fixtures whose name contains this")
    parser.add_argument("--llama-greedy", metavar="PATH", help="the driver that Tools/build_llama_cpp.sh builds")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, numpy {np.__version__}")
    fixtures = FIXTURES
    if arguments.random:
        source = random.Random(arguments.seed)
        fixtures = [random_fixture(source, index) for index in range(arguments.random)]
    total = 0
    for fixture in fixtures:
        if arguments.only and arguments.only not in fixture.name:
            continue
        folder = arguments.output / fixture.name
        while True:
            try:
                facts = make(fixture, folder, arguments.prompt)
                break
            except TiedExperts:
                if not arguments.random:
                    raise
                fixture.seed += 1
        total += facts["bytes"]
        line = f"{fixture.name:28} {facts['bytes'] / 1000:7.1f} kB  logits ±{facts['logits_deviation']:.2f}"
        line += f"  {facts['distinct_tokens']} distinct tokens"
        if arguments.llama_greedy and fixture.gguf:
            if reason := reason_against_llama_cpp(json.loads((folder / "config.json").read_text())):
                line += f"  llama.cpp: not comparable ({reason})"
            else:
                line += f"  llama.cpp differs by {compare_in_llama_cpp(arguments.llama_greedy, folder):.1e}"
        print(line, flush=True)
    print(f"{total / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
