# SPDX-License-Identifier: Apache-2.0
"""Corpora to token files: clean, split off the held-out documents, train the tokenizer, encode.

    python Tools/train/prepare.py [--corpora ../shared/data/corpora] [--output .cache/train]

Writes tokenizer.json, train.bin and heldout.bin (uint16 ids, every document after an <|endoftext|>), heldout.jsonl, meta.json.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import Counter
from pathlib import Path

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

import corpus

ROOT = Path(__file__).resolve().parents[2]
END_OF_TEXT = "<|endoftext|>"
# The pre-tokenizer that GGUF calls "qwen2": digits one by one, a letter run takes one leading character.
QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
SHINGLE = 10  # words


def shingles(text: str) -> set[int]:
    words = text.lower().split()
    return {hash(tuple(words[i:i + SHINGLE])) for i in range(len(words) - SHINGLE + 1)}


def split(documents: list[corpus.Document], per_mille: int) -> tuple[list[corpus.Document], list[corpus.Document]]:
    """Held-out documents by a draw on their titles; training documents that share passages with them are dropped
    (tinyshakespeare and NLTK's plays overlap, presidents quote each other)."""
    held = [d for d in documents if d.held_out(per_mille)]
    seen = set().union(*(shingles(d.text) for d in held))
    train = [d for d in documents if not d.held_out(per_mille)]
    return [d for d in train if len(shingles(d.text) & seen) < 3], held


def train_tokenizer(texts, vocabulary: int) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(QWEN2), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=[END_OF_TEXT], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False))
    return tokenizer


def encode(tokenizer: Tokenizer, documents: list[corpus.Document]) -> np.ndarray:
    end = tokenizer.token_to_id(END_OF_TEXT)
    ids: list[int] = []
    for start in range(0, len(documents), 256):
        for encoding in tokenizer.encode_batch_fast([d.text for d in documents[start:start + 256]], add_special_tokens=False):
            ids.append(end)
            ids.extend(encoding.ids)
    return np.array(ids, dtype=np.uint16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=Path, default=ROOT.parent / "shared/data/corpora")
    parser.add_argument("--output", type=Path, default=ROOT / ".cache/train")
    parser.add_argument("--vocabulary", type=int, default=4096)
    parser.add_argument("--held-out", type=int, default=10, help="documents in a thousand that are never trained on")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    if not arguments.corpora.is_dir():
        parser.error(f"no folder {arguments.corpora}: give --corpora")
    arguments.output.mkdir(parents=True, exist_ok=True)

    started = time.time()
    documents = corpus.everything(arguments.corpora)
    train, held = split(documents, arguments.held_out)
    random.Random(arguments.seed).shuffle(train)
    tokenizer = train_tokenizer((d.text for d in train), arguments.vocabulary)
    tokenizer.save(str(arguments.output / "tokenizer.json"))
    figures = {"documents": {}, "vocabulary": tokenizer.get_vocab_size(), "dropped": len(documents) - len(train) - len(held)}
    for name, part in (("train", train), ("heldout", held)):
        ids = encode(tokenizer, part)
        ids.tofile(arguments.output / f"{name}.bin")
        size = sum(len(d.text.encode()) for d in part)
        sources = Counter()
        for document in part:
            sources[document.source] += len(document.text.encode())
        figures[name] = {"documents": len(part), "bytes": size, "tokens": len(ids),
                         "bytes_per_token": round(size / len(ids), 4), "bytes_by_source": dict(sources)}
    del figures["documents"]
    with open(arguments.output / "heldout.jsonl", "w", encoding="utf-8") as file:
        for document in held:
            file.write(json.dumps({"source": document.source, "title": document.title, "text": document.text}) + "\n")
    (arguments.output / "meta.json").write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures, indent=1))
    print(f"prepared in {time.time() - started:.0f} s: {arguments.output}")


if __name__ == "__main__":
    main()
