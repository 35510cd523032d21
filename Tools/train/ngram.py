# SPDX-License-Identifier: Apache-2.0
"""The baseline: an interpolated n-gram with modified Kneser-Ney smoothing (Chen and Goodman 1998), over tokens or bytes.

    python Tools/train/ngram.py        measures all orders on the held-out documents of each domain; writes .cache/train/ngram.json

It learns from all of train.bin and is asked for the same held-out tokens as the model.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from evaluate import DOMAINS, whole_windows

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Level:
    """Counts of the n-grams of one length; a gram is its tokens as digits of a number in base V."""

    grams: np.ndarray  # sorted
    discounted: np.ndarray  # max(count - D(count), 0)
    contexts: np.ndarray  # sorted: grams without their last token
    totals: np.ndarray  # per context: sum of counts
    back_off: np.ndarray  # per context: share of the mass that goes to the shorter n-grams


def level(grams: np.ndarray, counts: np.ndarray, vocabulary: int) -> Level:
    n = [np.count_nonzero(counts == c) for c in (1, 2, 3, 4)]
    if min(n) == 0:  # too few kinds of counts for the estimate: plain absolute discounting
        discounts = np.array([0.0, 0.5, 0.5, 0.5])
    else:
        y = n[0] / (n[0] + 2 * n[1])
        discounts = np.array([0.0, 1 - 2 * y * n[1] / n[0], 2 - 3 * y * n[2] / n[1], 3 - 4 * y * n[3] / n[2]])
    discount = discounts[np.minimum(counts, 3)]
    contexts, first = np.unique(grams // vocabulary, return_index=True)
    totals = np.add.reduceat(counts, first)
    return Level(grams, counts - discount, contexts, totals, np.add.reduceat(discount, first) / totals)


class KneserNey:
    def __init__(self, ids: np.ndarray, order: int, vocabulary: int):
        if order * np.log2(vocabulary) > 63:
            raise ValueError(f"order {order} over {vocabulary} symbols does not fit 63 bits")
        self.order, self.vocabulary = order, vocabulary
        grams, counts = np.unique(self._windows(ids.astype(np.int64), order), return_counts=True)
        self.levels = [level(grams, counts, vocabulary)]
        for length in range(order - 1, 0, -1):  # shorter ones count the distinct symbols that they follow
            grams, counts = np.unique(grams % vocabulary**length, return_counts=True)
            self.levels.append(level(grams, counts, vocabulary))

    def _windows(self, ids: np.ndarray, length: int) -> np.ndarray:
        grams = np.zeros(len(ids) - length + 1, dtype=np.int64)
        for offset in range(length):
            grams = grams * self.vocabulary + ids[offset:len(ids) - length + 1 + offset]
        return grams

    def bits(self, ids: np.ndarray) -> np.ndarray:
        """-log2 p of ids[order - 1:], each given all that the order allows to see."""
        full = self._windows(ids.astype(np.int64), self.order)
        probability = np.full(len(full), 1 / self.vocabulary)
        for length, table in zip(range(1, self.order + 1), reversed(self.levels)):
            grams = full % self.vocabulary**length
            seen, where = self._find(table.grams, grams)
            numerator = np.where(seen, table.discounted[where], 0.0)
            known, where = self._find(table.contexts, grams // self.vocabulary)
            mixed = numerator / table.totals[where] + table.back_off[where] * probability
            probability = np.where(known, mixed, probability)
        return -np.log2(probability)

    @staticmethod
    def _find(table: np.ndarray, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        where = np.minimum(np.searchsorted(table, keys), len(table) - 1)
        return table[where] == keys, where


def token_sizes(tokenizer: Tokenizer) -> np.ndarray:
    """Bytes of each token's text; 0 for the special ones. A byte-level token has one character a byte."""
    special = set(tokenizer.get_added_tokens_decoder())
    return np.array([0 if i in special else len(tokenizer.id_to_token(i)) for i in range(tokenizer.get_vocab_size())])


def text_of(ids: np.ndarray, tokenizer: Tokenizer) -> np.ndarray:
    """The bytes of a token file, a zero byte for every <|endoftext|>."""
    # GPT-2's alphabet of visible characters, one for each byte: the printable ones stand for themselves.
    visible = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or 174 <= b <= 255]
    byte_of = {chr(b): b for b in visible}
    byte_of |= {chr(256 + i): b for i, b in enumerate(b for b in range(256) if b not in visible)}
    special = set(tokenizer.get_added_tokens_decoder())
    pieces = [b"\0" if i in special else bytes(byte_of[c] for c in tokenizer.id_to_token(i))
              for i in range(tokenizer.get_vocab_size())]
    return np.frombuffer(b"".join(pieces[i] for i in ids), dtype=np.uint8)


def measure(model: KneserNey, held: np.ndarray, size: np.ndarray) -> dict:
    """size: bytes of text of each symbol; symbols without any are read but not scored."""
    order = model.order
    padded = np.concatenate([np.zeros(order - 1, dtype=held.dtype), held])
    bits, sizes = model.bits(padded), size[held]
    total, count = bits[sizes > 0].sum(), np.count_nonzero(sizes)
    return {"order": order, "perplexity": round(float(2 ** (total / count)), 3),
            "bits_per_byte": round(float(total / sizes.sum()), 4), "scored": int(count)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / ".cache/train")
    data = parser.parse_args().data
    tokenizer = Tokenizer.from_file(str(data / "tokenizer.json"))
    train = np.fromfile(data / "train.bin", dtype=np.uint16)
    sizes = token_sizes(tokenizer)
    results: dict[str, list[dict]] = {}
    for order in (1, 2, 3, 4, 5):
        started = time.time()
        model = KneserNey(train, order, len(sizes))
        for domain in DOMAINS:
            held = whole_windows(np.fromfile(data / f"heldout-{domain}.bin", dtype=np.uint16), 1024)
            results.setdefault(domain, []).append(measure(model, held, sizes))
            print(domain, results[domain][-1], f"{time.time() - started:.0f} s", flush=True)
    (data / "ngram.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
