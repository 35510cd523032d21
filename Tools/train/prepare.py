# SPDX-License-Identifier: Apache-2.0
"""Corpora to token files: clean, split off the held-out documents, train the tokenizer, encode.

    python Tools/train/prepare.py [--corpora ../shared/data/corpora] [--evaluation ../shared/data/eval] [--output .cache/train]

Writes tokenizer.json, train.bin and per domain heldout-DOMAIN.bin (uint16 ids, every document after an <|endoftext|>) and
heldout-DOMAIN.jsonl, meta.json; and the manifest of sources, licences and sizes, Tools/train/manifest.json.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import random
import re
import time
from pathlib import Path

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

import code_corpus
import corpus
from rdata import MissingSource

ROOT = Path(__file__).resolve().parents[2]
END_OF_TEXT = "<|endoftext|>"
# The pre-tokenizer that GGUF calls "qwen2": digits one by one, a letter run takes one leading character.
QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
SHINGLE = 10  # words
WORD = re.compile(r"\w+")
# Per domain: held-out documents in a thousand; bytes of training text at most; how often the training text is read per epoch.
SHARES = {"prose": (10, 34_000_000, 1), "code": (12, 40_000_000, 1), "maths": (30, 20_000_000, 1), "creative": (40, 20_000_000, 2)}
# What overlaps with a test set that somebody may measure on is not trained on.
TEST_SETS = ("HumanEval.jsonl.gz", "gsm8k_test.jsonl", "wikitext2_valid.txt")
LICENCES = {
    "wikipedia": ("enwik8: the first 100 MB of the dump of March 2006, running text only", "GFDL, CC BY-SA 3.0"),
    "shakespeare": ("tinyshakespeare, NLTK", "public domain"),
    "austen": ("six novels, Debian's package r-cran-janeaustenr", "public domain"),
    "inaugural": ("inaugural addresses, NLTK", "public domain"),
    "state_union": ("State of the Union addresses, NLTK", "public domain"),
    "genesis": ("Genesis, two translations, NLTK", "public domain"),
    "gsm8k": ("GSM8K, training set", "MIT"),
    "arithmetic": ("synthetic, Tools/train/arithmetic.py", "Apache-2.0 (this project)"),
}


def shingles(text: str) -> set[int]:
    words = WORD.findall(text.lower())  # test sets may be tokenised: punctuation does not count
    return {hash(tuple(words[i:i + SHINGLE])) for i in range(len(words) - SHINGLE + 1)}


def test_shingles(folder: Path) -> set[int]:
    seen: set[int] = set()
    for name in TEST_SETS:
        path = folder / name
        if not path.exists():
            raise MissingSource(f"{path} is missing: test sets are needed to keep them out of the training text")
        text = (gzip.open(path, "rt", encoding="utf-8") if name.endswith(".gz") else open(path, encoding="utf-8")).read()
        if name.endswith((".jsonl", ".jsonl.gz")):
            for line in text.splitlines():
                for value in json.loads(line).values():
                    seen |= shingles(str(value))
        else:
            seen |= shingles(text)
    return seen


def split(documents: list[corpus.Document], per_mille: int, known: set[int]
          ) -> tuple[list[corpus.Document], list[corpus.Document]]:
    """Held-out documents by a draw on their titles; training documents that share passages with them, or with a test set
    (`known`), are dropped (tinyshakespeare and NLTK's plays overlap, presidents quote each other)."""
    if documents and documents[0].domain == "maths":
        # Problems are distinct; their wording repeats by design, so it cannot tell copies. Test sets still can.
        held = [d for d in documents if d.held_out(per_mille)]
        return [d for d in documents if not d.held_out(per_mille) and not shingles(d.text) & known], held
    held = [d for d in documents if d.held_out(per_mille)]
    seen = known.union(*(shingles(d.text) for d in held))
    train = []
    for document in documents:
        if document.held_out(per_mille):
            continue
        own = shingles(document.text)
        # Source code repeats its idioms: there a copy is what shares more than a twentieth.
        allowed = max(3, 0.05 * len(own)) if document.domain == "code" else 3
        if len(own & seen) < allowed:
            train.append(document)
    return train, held


def without_copies(documents: list[corpus.Document]) -> list[corpus.Document]:
    """Of documents that share half of their passages with earlier ones, the first."""
    seen: set[int] = set()
    result = []
    for document in documents:
        own = shingles(document.text)
        if len(own & seen) <= 0.5 * len(own):
            result.append(document)
            seen |= own
    return result


def up_to(documents: list[corpus.Document], limit: int) -> list[corpus.Document]:
    """In a fixed random order, as many as fit."""
    order = sorted(documents, key=lambda d: hashlib.sha256(f"{d.title}/{d.source}".encode()).digest())
    total, taken = 0, []
    for document in order:
        total += len(document.text.encode())
        if total > limit:
            break
        taken.append(document)
    return taken


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


def manifest(train: list[corpus.Document], held: list[corpus.Document]) -> list[dict]:
    packages = {p.distribution: p for p in code_corpus.PACKAGES}
    entries: dict[tuple[str, str], dict] = {}
    for part, documents in (("train", train), ("held_out", held)):
        for document in documents:
            entry = entries.get((document.domain, document.source))
            if entry is None:
                package = packages.get(document.source)
                what, licence = ((f"Python package {package.distribution} {code_corpus.version(package)}", package.licence)
                                 if package else LICENCES[document.source])
                entry = entries[document.domain, document.source] = {
                    "domain": document.domain, "source": document.source, "what": what, "licence": licence,
                    "train_documents": 0, "train_bytes": 0, "held_out_documents": 0, "held_out_bytes": 0}
            entry[f"{part}_documents"] += 1
            entry[f"{part}_bytes"] += len(document.text.encode())
    return [entries[key] for key in sorted(entries, key=lambda k: (corpus.DOMAINS.index(k[0]), k[1]))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=Path, default=ROOT.parent / "shared/data/corpora")
    parser.add_argument("--evaluation", type=Path, default=ROOT.parent / "shared/data/eval")
    parser.add_argument("--output", type=Path, default=ROOT / ".cache/train")
    parser.add_argument("--manifest", type=Path, default=ROOT / "Tools/train/manifest.json")
    parser.add_argument("--vocabulary", type=int, default=4096)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    for name in ("corpora", "evaluation"):
        if not getattr(arguments, name).is_dir():
            parser.error(f"no folder {getattr(arguments, name)}: give --{name}")
    arguments.output.mkdir(parents=True, exist_ok=True)

    started = time.time()
    try:
        known = test_shingles(arguments.evaluation)
        documents = corpus.everything(arguments.corpora, arguments.evaluation, arguments.output / "sources")
    except (MissingSource, FileNotFoundError) as error:
        raise SystemExit(f"prepare: {error}") from None
    train: dict[str, list[corpus.Document]] = {}
    held: dict[str, list[corpus.Document]] = {}
    figures: dict = {"domains": {}}
    listed_train, listed_held = [], []
    for domain, (per_mille, limit, repeats) in SHARES.items():
        mine = [d for d in documents if d.domain == domain]
        if domain == "code":
            mine = without_copies(mine)
        train[domain], held[domain] = split(mine, per_mille, known)
        dropped = len(mine) - len(train[domain]) - len(held[domain])
        train[domain] = up_to(train[domain], limit)
        listed_train += train[domain]
        listed_held += held[domain]
        figures["domains"][domain] = {"dropped_for_overlap": dropped, "repeats": repeats}
        if domain == "maths":
            train[domain], held[domain] = corpus.sheets(train[domain], 1), corpus.sheets(held[domain], 2)
    # As much of each domain for the tokenizer, or the largest would have it.
    sample = [d.text for part in train.values() for d in up_to(part, 8_000_000)]
    tokenizer = train_tokenizer(sample, arguments.vocabulary)
    tokenizer.save(str(arguments.output / "tokenizer.json"))
    figures["vocabulary"] = tokenizer.get_vocab_size()
    mixed = [d for domain, part in train.items() for d in part * SHARES[domain][2]]
    random.Random(arguments.seed).shuffle(mixed)
    ids = encode(tokenizer, mixed)
    ids.tofile(arguments.output / "train.bin")
    figures["train_tokens"] = len(ids)
    for domain in SHARES:
        row = figures["domains"][domain]
        row["train_tokens"] = len(encode(tokenizer, train[domain]))
        row["train_bytes"] = sum(len(d.text.encode()) for d in train[domain])
        ids = encode(tokenizer, held[domain])
        ids.tofile(arguments.output / f"heldout-{domain}.bin")
        row["held_out_tokens"], row["held_out_documents"] = len(ids), len(held[domain])
        row["held_out_bytes"] = sum(len(d.text.encode()) for d in held[domain])
        row["bytes_per_token"] = round(row["held_out_bytes"] / len(ids), 3)
        with open(arguments.output / f"heldout-{domain}.jsonl", "w", encoding="utf-8") as file:
            for document in held[domain]:
                file.write(json.dumps({"source": document.source, "title": document.title, "text": document.text}) + "\n")
    figures["train_sha256"] = hashlib.sha256((arguments.output / "train.bin").read_bytes()).hexdigest()
    (arguments.output / "meta.json").write_text(json.dumps(figures, indent=1) + "\n")
    arguments.manifest.write_text(
        json.dumps(figures | {"sources": manifest(listed_train, listed_held)}, indent=1) + "\n")
    print(json.dumps(figures, indent=1))
    print(f"prepared in {time.time() - started:.0f} s: {arguments.output}")


if __name__ == "__main__":
    main()
