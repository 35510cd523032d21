# SPDX-License-Identifier: Apache-2.0
"""What the tests check the embedded model against: Tests/Fixtures/demo, see the README there.

    python Tools/train/fixtures.py      after training, prepare.py's output still in .cache/train

heldout.txt: text that was never trained on. baseline.json: perplexity on it of the model (PyTorch, float32, weights dequantised
from the file) and of the n-grams. logits.json, logits.f32: next-token logits for a fixed prompt.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

import export
from model import DemoModel, Routing
from ngram import KneserNey, text_of, token_sizes

ROOT = Path(__file__).resolve().parents[2]
SHARES = {"prose": 8_000, "maths": 3_000, "creative": 6_000}  # bytes of heldout.txt
OWN_CODE = ("Tools/compare_llama.py", 6_000)  # the held-out code is other people's and not ours to publish; this is
CONTEXT = 512  # of a chunk
PROMPT = "The history of the city begins in the twelfth century, when it was a small town on the river."


def held_out_sample(data: Path) -> tuple[str, list[str]]:
    """The first paragraphs of held-out documents, drawn by the hash of their titles, and those titles."""
    pieces, titles = [], []
    for domain, wanted in SHARES.items():
        documents = [json.loads(line) for line in (data / f"heldout-{domain}.jsonl").read_text().splitlines()]
        for document in sorted(documents, key=lambda d: hashlib.sha256(d["title"].encode()).digest()):
            if wanted <= 0:
                break
            taken = ""
            for paragraph in document["text"].split("\n\n"):
                if len(taken) > min(wanted, 4_000):
                    break
                taken += paragraph + "\n\n"
            pieces.append(taken)
            titles.append(f"{document['source']}: {document['title']}")
            wanted -= len(taken.encode())
    path, wanted = OWN_CODE
    pieces.append((ROOT / path).read_text()[:wanted])
    titles.append(f"moe-infer: {path}")
    return "".join(pieces).rstrip("\n") + "\n", titles


def scored_positions(count: int, context: int) -> list[range]:
    """The convention of `moe-infer perplexity` and llama.cpp's tool: of each chunk the tokens after the middle one."""
    return [range(start + context // 2 + 1, start + context) for start in range(0, count - context + 1, context)]


def measured(path: Path, model: DemoModel) -> list[tuple[str, Callable[[int], Routing]]]:
    """The policies, by the names that the engine gives them: the gate at the points that the file carries, and fixed ones."""
    most = model.config.experts_per_token
    points = json.loads(gguf.GGUFReader(path).get_field(export.PROFILE_KEY).contents())["points"]
    return ([(f"profile@{p['name']}", lambda n, mu=math.log(p["mu"]): Routing.learned(mu, most, n)) for p in points if p["mu"] > 0]
            + [(f"static:k={k}", lambda n, k=k: Routing.static(k, n)) for k in (8, 4, 2, 1)]
            + [("top-p:p=0.7,min=1,max=8", lambda n: Routing.top_p(0.7, most, n))])


@torch.no_grad()
def model_bits(model: DemoModel, ids: np.ndarray, begin: int, routing) -> tuple[np.ndarray, float]:
    """-log2 p of the scored tokens, each chunk's first token replaced by BOS; and mean experts per token and layer, of all tokens."""
    bits, kept = [], []
    for positions in scored_positions(len(ids), CONTEXT):
        chunk = torch.from_numpy(ids[positions.stop - CONTEXT:positions.stop].astype(np.int64))[None]
        chunk[0, 0] = begin
        logits, reports = model(chunk, routing(1))
        logits = logits[0]
        kept += [report.kept.double().mean().item() for report in reports]
        losses = F.cross_entropy(logits[:-1], chunk[0, 1:], reduction="none")
        bits.append(losses[CONTEXT // 2:].double().numpy() / math.log(2))
    return np.concatenate(bits), float(np.mean(kept))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / ".cache/train")
    parser.add_argument("--gguf", type=Path, default=ROOT / "CSources/CMoEDemoModel/demo.gguf")
    parser.add_argument("--output", type=Path, default=ROOT / "Tests/Fixtures/demo")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    model = export.read(arguments.gguf)
    tokenizer = Tokenizer.from_file(str(arguments.data / "tokenizer.json"))
    begin = tokenizer.token_to_id(export.END_OF_TEXT)
    sizes = token_sizes(tokenizer)
    train = np.fromfile(arguments.data / "train.bin", dtype=np.uint16)

    text, titles = held_out_sample(arguments.data)
    (arguments.output / "heldout.txt").write_text(text, encoding="utf-8")
    ids = np.array([begin] + tokenizer.encode(text, add_special_tokens=False).ids, dtype=np.uint16)
    scored = np.concatenate([np.array(p) for p in scored_positions(len(ids), CONTEXT)])
    size = int(sizes[ids[scored]].sum())

    def report(bits: np.ndarray) -> dict:
        return {"perplexity": round(float(2 ** bits.mean()), 4), "bits_per_byte": round(float(bits.sum() / size), 5)}

    order = 3
    ngram = KneserNey(train, order, len(sizes)).bits(np.concatenate([np.zeros(order - 1, dtype=np.uint16), ids]))
    # Bytes: every byte of a scored token counts; byte i of the text follows bytes i - 2 and i - 1.
    ends = np.cumsum(sizes[ids])
    byte_bits = KneserNey(text_of(train, tokenizer), order, 256).bits(
        np.concatenate([np.zeros(order - 1, dtype=np.uint8), np.frombuffer(text.encode(), dtype=np.uint8)]))
    byte_total = sum(byte_bits[ends[i] - sizes[ids[i]]:ends[i]].sum() for i in scored)
    baseline = {
        "text": {"file": "heldout.txt", "documents": titles, "bytes": len(text.encode()), "tokens": len(ids),
                 "tokens_sha256": hashlib.sha256(ids.astype("<i4").tobytes()).hexdigest()},
        "scored": {"context": CONTEXT, "chunks": len(scored_positions(len(ids), CONTEXT)),
                   "tokens": len(scored), "bytes": size},
        "model_sha256": hashlib.sha256(arguments.gguf.read_bytes()).hexdigest(),
        "model": {name: report(bits) | {"mean_k": round(k, 4)} for name, (bits, k) in (
            (name, model_bits(model, ids, begin, routing)) for name, routing in measured(arguments.gguf, model))},
        "token_3_gram": report(ngram[scored]),
        "byte_3_gram": {"bits_per_byte": round(float(byte_total / size), 5)},
    }
    (arguments.output / "baseline.json").write_text(json.dumps(baseline, indent=1) + "\n")
    print(json.dumps(baseline, indent=1))

    prompt = [begin] + tokenizer.encode(PROMPT, add_special_tokens=False).ids
    positions = [0, len(prompt) // 2, len(prompt) - 1]
    rows = []
    with torch.no_grad():
        for k in (8, 2):
            rows.append(model(torch.tensor([prompt]), Routing.static(k, 1))[0][0, positions].numpy())
    np.concatenate(rows).astype("<f4").tofile(arguments.output / "logits.f32")
    (arguments.output / "logits.json").write_text(json.dumps({
        "model_sha256": baseline["model_sha256"], "prompt": PROMPT, "tokens": prompt, "positions": positions,
        "routing": ["static:k=8", "static:k=2"], "file": "logits.f32",
        "shape": [2, len(positions), model.config.vocabulary], "type": "float32, little-endian",
    }, indent=1) + "\n")


if __name__ == "__main__":
    main()
