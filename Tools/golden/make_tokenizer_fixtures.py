#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes Tests/Fixtures/tokenizers: tiny trained tokenizers and the ids that their reference implementations give.

    pip install tokenizers sentencepiece mistral-common protobuf
    Tools/golden/make_tokenizer_fixtures.py

Every tokenizer is trained here on the text below, so nothing comes from anybody's model. `*.tokenizer.json` are files of Python's
`tokenizers`, `*.vocabulary.json` vocabularies as a GGUF file would have them, `*.cases.json` texts with their expected ids, `*.model` files
of SentencePiece, `tekken.json` one of Mistral's kind.
"""
import base64
import io
import json
import pathlib
import tempfile

import sentencepiece
import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

OUTPUT = pathlib.Path(__file__).resolve().parents[2] / "Tests/Fixtures/tokenizers"

TEXT = """
The router sends every token to a few experts, and the experts that are not chosen do nothing at all.
It's said that they're fast, that we've seen it, that I'm sure, that you'll like it and that he'd agree; don't panic.
Das Modell wählt für jedes Wort die passenden Experten. Le modèle choisit les experts pour chaque mot.
Модель выбирает экспертов для каждого слова. 模型为每个词选择专家。 モデルは単語ごとに専門家を選びます。
The value is 3.14159, the year 2024, the price 1234567 and the count 100 200 300 400.
def route(tokens, experts, k=2):
    for token in tokens:
        scores = gate(token)
        if scores.max() > 0.5 and len(experts) >= k:
            yield token, sorted(experts, key=lambda e: -scores[e])[:k]
        else:
            return None  # nothing to do
for (int i = 0; i < n; ++i) { sum += weights[i] * values[i]; }
Hello world, hello World, HELLO WORLD! Hello, hello, hello... (hello) [hello] {hello} "hello" 'hello'
"""

MODERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{DIGITS}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN = MODERN.replace("{DIGITS}", "")
LLAMA = MODERN.replace("{DIGITS}", "{1,3}")

TEXTS = [
    "", " ", "  ", "\n", "\t", "\r\n", "\n\n\n", " \n ", "   \t\n  x", "Hello world", " Hello world ", "Hello, world!  Hello",
    "it's IT'S we'Ve they'LL I'd 'ſ 'hello 'S", "don't won't", "1", "12", "123", "1234", "12345678901", "3.14159 and ٣٤٥ and Ⅷ½²",
    "a1b2c3 x=1;y=22", "naïve café Größe Äpfel", "cafe\u0301 A\u030a e\u0323\u0302 \u1100\u1161\u11a8 \u0958 \u212b",
    "Модель 模型 モデル 한국어 กำลัง ខ្មែរ", "👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪 ☃️", "\u0000\u0001\u001b[0m\u007f", "\u00a0\u2003\u3000\u0085x\u2028y",
    "    def f(x):\n        return x\n\n\nfoo()", "line\r\nline\r\n\r\nline", "!!!???...---===", "(a) [b] {c} <d>", "``` ''' \"\"\"",
    "<|end|>", "a <tool> b<tool>", "Hello<|end|>world", " <|end|> ", "<|end|><|end|>", "<|begin|>Hello<tool>x</tool>", "<|en", "<|end|", "<mask> x <mask>",
    "a<mask>b", " wordy word wordword word", "▁a ▁ b▁", "Ġ Ċ", "<s>Hello</s>", "<0x41> <unk>", "x" * 100, "ab" * 60, " " * 70,
    "hello hello hello " * 12, "\ufeffBOM", "\ufffd replaced", "e\u0301" * 20, "\u0344 \u0f73 \u0f81\u0f80 \u0eba\u0eb8",
]


def byte_level(split, normalizer=None, ignore_merges=False):
    t = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    if normalizer:
        t.normalizer = normalizer
    t.pre_tokenizer = split
    t.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False, special_tokens=[])
    t.train_from_iterator([TEXT], trainer)
    return t


def isolated(pattern):
    return pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def add_tokens(t, prefix=()):
    """Special and other tokens with every flag that changes what is matched; a template with `prefix` before the text."""
    t.add_special_tokens([AddedToken("<|begin|>", normalized=False), AddedToken("<|end|>", normalized=False)])
    t.add_tokens([AddedToken("<tool>", normalized=False), AddedToken("</tool>", normalized=True),
                  AddedToken("<mask>", lstrip=True, rstrip=True, normalized=False),
                  AddedToken("word", single_word=True, normalized=False)])
    if prefix:
        t.post_processor = processors.TemplateProcessing(
            single=" ".join(prefix) + " $A", pair=None, special_tokens=[(p, t.token_to_id(p)) for p in prefix])
    return t


def sentence_piece_like(metaspace=None):
    """Byte pairs over characters with byte fallback, as converted SentencePiece models have them."""
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    marks = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
    t.pre_tokenizer = marks  # while training, so that pieces do not cross words
    trainer = trainers.BpeTrainer(
        vocab_size=650, show_progress=False, limit_alphabet=90,
        special_tokens=["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)])
    t.train_from_iterator([TEXT.replace("\n", " ")], trainer)
    # Byte tokens are plain tokens of the vocabulary: only the first three are special.
    state = json.loads(t.to_str())
    state["added_tokens"] = [a for a in state["added_tokens"] if a["id"] < 3]
    t = Tokenizer.from_str(json.dumps(state))
    if metaspace:
        t.pre_tokenizer = metaspace
        t.decoder = decoders.Sequence([
            decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    else:
        t.pre_tokenizer = None
        t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        t.decoder = decoders.Sequence([
            decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    t.add_special_tokens([AddedToken("<|end|>", normalized=True)])
    t.add_tokens([AddedToken("<tool>", normalized=True)])
    t.post_processor = processors.TemplateProcessing(single="<s> $A", pair=None, special_tokens=[("<s>", 1)])
    return t


def cases(t):
    special_ids = {i for i, a in t.get_added_tokens_decoder().items() if a.special}
    rows = []
    for text in TEXTS:
        t.encode_special_tokens = False
        ids = t.encode(text, add_special_tokens=False).ids
        special = t.encode(text, add_special_tokens=True).ids
        t.encode_special_tokens = True
        plain = t.encode(text, add_special_tokens=False).ids
        row = {"text": text, "ids": ids}
        if special != ids:
            row["with_special"] = special
        if plain != ids:
            row["plain"] = plain
        # Special ids are left out here: `decode` itself does not recognise those that a normalizer has changed.
        decoded = t.decode([i for i in ids if i not in special_ids], skip_special_tokens=False)
        if decoded != text:
            row["decoded"] = decoded
        rows.append(row)
    return rows


def write(name, value):
    (OUTPUT / name).write_text(json.dumps(value, ensure_ascii=True, separators=(",", ":")) + "\n")


def write_tokenizer(name, t):
    state = json.loads(t.to_str())
    (OUTPUT / f"{name}.tokenizer.json").write_text(json.dumps(state, ensure_ascii=False, separators=(",", ":")) + "\n")
    write(f"{name}.cases.json", {"made_by": f"tokenizers {tokenizers.__version__}", "cases": cases(t)})


def write_byte_level_vocabulary(name, pre, t):
    """The vocabulary as GGUF has it, and what `t` (without a normalizer) makes of the texts."""
    t.normalizer = None
    state = json.loads(t.to_str())
    vocabulary = state["model"]["vocab"]
    added = {a["id"]: a for a in state["added_tokens"]}
    tokens = {i: s for s, i in vocabulary.items()} | {i: a["content"] for i, a in added.items()}
    types = [3 if added.get(i, {}).get("special") else 4 if i in added else 1 for i in range(len(tokens))]
    write(f"{name}.vocabulary.json", {
        "model": "gpt2", "pre": pre, "tokens": [tokens[i] for i in range(len(tokens))], "token_type": types,
        "merges": [" ".join(m) for m in state["model"]["merges"]]})
    write(f"{name}.cases.json", {"made_by": f"tokenizers {tokenizers.__version__}", "cases": cases(t)})


def write_sentence_piece():
    """A SentencePiece model of type BPE; text is taken as it is, so that the ids are those of llama.cpp's "llama" too."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([line for line in TEXT.split("\n") if line]), model_writer=model, vocab_size=560,
        model_type="bpe", byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False,
        add_dummy_prefix=True, character_coverage=0.98, minloglevel=2)
    p = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    kinds = [2 if p.is_unknown(i) else 3 if p.is_control(i) else 6 if p.is_byte(i) else 1 for i in range(p.get_piece_size())]
    write("sentencepiece.vocabulary.json", {
        "model": "llama", "tokens": [p.id_to_piece(i) for i in range(len(kinds))], "token_type": kinds,
        "scores": [p.get_score(i) for i in range(len(kinds))]})
    rows = [{"text": t, "plain": p.encode(t), "decoded": p.decode(p.encode(t))} for t in TEXTS]
    write("sentencepiece.cases.json", {"made_by": f"sentencepiece {sentencepiece.__version__}", "cases": rows})


CASED = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}"
         r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK = [r"\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
            r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+"
            r"|\s+(?!\S)|\s+"]


def splits(*steps, use_regex=False):
    return pre_tokenizers.Sequence([*steps, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)])


def train_sentence_piece(kind, size, **options):
    """A model with rules of its own, so that the compiled table is small."""
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as rules:
        # Source and target as hexadecimal code points: ligatures, full-width letters, a tab and a no-break space.
        for source, target in [("FB01", "66 69"), ("FF21", "41"), ("9", "20"), ("A0", "20"), ("65 301", "E9"), ("2460", "31")]:
            rules.write(f"{source}\t{target}\n")
        rules.flush()
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter([line for line in TEXT.split("\n") if line]), model_writer=model, vocab_size=size,
            model_type=kind, normalization_rule_tsv=rules.name, minloglevel=2, hard_vocab_limit=False, num_threads=1, **options)
    return model.getvalue()


def write_sentence_piece_model(name, kind, size, **options):
    data = train_sentence_piece(kind, size, **options)
    (OUTPUT / f"{name}.model").write_bytes(data)
    p = sentencepiece.SentencePieceProcessor(model_proto=data)
    rows = [{"text": t, "plain": p.encode(t), "decoded": p.decode(p.encode(t))} for t in TEXTS]
    write(f"{name}.cases.json", {"made_by": f"sentencepiece {sentencepiece.__version__}", "cases": rows})
    return data


def unigram(model, pre, **parts):
    """The pieces of a SentencePiece model as `tokenizers` has them."""
    p = sentencepiece.SentencePieceProcessor(model_proto=model)
    vocabulary = [(p.id_to_piece(i), p.get_score(i)) for i in range(p.get_piece_size())]
    state = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None, "pre_tokenizer": None,
             "post_processor": None, "decoder": None,
             "model": {"type": "Unigram", "unk_id": 0, "vocab": vocabulary, "byte_fallback": parts.pop("byte_fallback", False)}}
    t = Tokenizer.from_str(json.dumps(state | parts))
    t.pre_tokenizer = pre
    return t


def charsmap(model):
    from sentencepiece import sentencepiece_model_pb2
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(model)
    return base64.b64encode(proto.normalizer_spec.precompiled_charsmap).decode()


def write_tekken():
    """A file of Mistral's kind: ranks of bytes, then of merges in their order."""
    from mistral_common.tokens.tokenizers.tekken import Tekkenizer
    import mistral_common
    t = byte_level(splits(pre_tokenizers.Split(Regex(CASED), "isolated")))
    back = {c: b for b, c in zip(range(256), byte_alphabet())}
    state = json.loads(t.to_str())["model"]
    tokens = [bytes([b]) for b in range(256)] + [bytes(back[c] for c in "".join(m)) for m in state["merges"]]
    tokens = list(dict.fromkeys(tokens))
    special = 20
    # One token more than the model has: the file's last is left out.
    value = {"config": {"pattern": CASED, "num_vocab_tokens": len(tokens), "default_vocab_size": len(tokens) - 1 + special,
                        "default_num_special_tokens": special, "version": "v3"},
             "vocab": [{"rank": i, "token_bytes": base64.b64encode(b).decode(), "token_str": b.decode(errors="ignore")}
                       for i, b in enumerate(tokens)]}
    path = OUTPUT / "tekken.json"
    path.write_text(json.dumps(value, ensure_ascii=True, separators=(",", ":")) + "\n")
    reference = Tekkenizer.from_file(path)
    rows = [{"text": x, "plain": reference.encode(x, bos=False, eos=False)} for x in TEXTS]
    write("tekken.cases.json", {"made_by": f"mistral-common {mistral_common.__version__}", "cases": rows})
    (OUTPUT / "ranks.tiktoken").write_text("".join(f"{base64.b64encode(b).decode()} {i}\n" for i, b in enumerate(tokens)))


def byte_alphabet():
    """GPT-2's character for each byte."""
    printable = [*range(0x21, 0x7f), *range(0xa1, 0xad), *range(0xae, 0x100)]
    extra = iter(range(0x100, 0x200))
    return [chr(b) if b in printable else chr(next(extra)) for b in range(256)]


def write_more():
    """Components that the first ones do not have."""
    isolated_all = [pre_tokenizers.Split(Regex(p), "isolated") for p in DEEPSEEK]
    write_tokenizer("deepseek", add_tokens(byte_level(splits(*isolated_all))))
    write_tokenizer("o200k", add_tokens(byte_level(splits(pre_tokenizers.Split(Regex(CASED), "removed", True)))))
    behaviours = splits(
        pre_tokenizers.Split(Regex(r"[\r\n]"), "merged_with_previous"), pre_tokenizers.Split("(", "merged_with_next"),
        pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.Digits(False), pre_tokenizers.WhitespaceSplit())
    write_tokenizer("behaviours", byte_level(behaviours, normalizers.Sequence([
        normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase(), normalizers.Replace(Regex(r"\s+"), " "),
        normalizers.Strip()])))
    piece = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=20))
    piece.normalizer = normalizers.BertNormalizer()
    piece.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    piece.decoder = decoders.WordPiece()
    piece.train_from_iterator([TEXT], trainers.WordPieceTrainer(
        vocab_size=400, show_progress=False, special_tokens=["[UNK]", "[CLS]", "[SEP]"]))
    piece.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    write_tokenizer("wordpiece", piece)

    write_sentence_piece_model("sp-bpe", "bpe", 560, byte_fallback=True, character_coverage=0.98, user_defined_symbols=["<tool>", "wor"])
    write_sentence_piece_model("sp-unigram", "unigram", 300, character_coverage=0.98)
    model = write_sentence_piece_model(
        "sp-unigram-bytes", "unigram", 560, byte_fallback=True, character_coverage=0.98, user_defined_symbols=["<tool>", "wor"],
        remove_extra_whitespaces=False)
    fuse = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    t = unigram(model, pre_tokenizers.Metaspace(prepend_scheme="first", split=False), byte_fallback=True)
    t.decoder = fuse
    write_tokenizer("unigram-bytes", t)
    t = unigram(model, pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]),
                normalizer={"type": "Precompiled", "precompiled_charsmap": charsmap(model)})
    t.decoder = decoders.Metaspace()
    write_tokenizer("unigram-t5", t)
    write_tekken()


def main():
    OUTPUT.mkdir(parents=True, exist_ok=True)
    gpt2 = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    write_tokenizer("qwen", add_tokens(byte_level(isolated(QWEN), normalizers.NFC())))
    write_tokenizer("llama-3", add_tokens(byte_level(isolated(LLAMA), ignore_merges=True), ["<|begin|>"]))
    write_tokenizer("gpt-2-prefix", add_tokens(byte_level(pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=True))))
    digits = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), gpt2])
    write_tokenizer("smollm", add_tokens(byte_level(digits)))
    spaces = byte_level(gpt2, normalizers.NFC())
    spaces.add_tokens([AddedToken(" " * n, normalized=True) for n in range(24, 1, -1)])
    write_tokenizer("olmo", add_tokens(spaces))
    write_tokenizer("mixtral", sentence_piece_like())
    write_tokenizer("metaspace", sentence_piece_like(pre_tokenizers.Metaspace(prepend_scheme="first", split=False)))

    def only_plain(t):
        t.add_special_tokens([AddedToken("<|begin|>", normalized=False), AddedToken("<|end|>", normalized=False)])
        return t

    write_byte_level_vocabulary("gguf-gpt-2", "gpt-2", only_plain(byte_level(gpt2)))
    write_byte_level_vocabulary("gguf-qwen2", "qwen2", only_plain(byte_level(isolated(QWEN))))
    write_byte_level_vocabulary("gguf-smollm", "smollm", only_plain(byte_level(digits)))
    default = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(r"[\p{P}\$\+<=>\^~\|]+"), "isolated"),
        pre_tokenizers.Split(Regex(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"), "isolated"),
        pre_tokenizers.Split(Regex(r"\p{N}+"), "isolated"), pre_tokenizers.Split(Regex(r"[0-9][0-9][0-9]"), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    write_byte_level_vocabulary("gguf-default", "default", only_plain(byte_level(default)))
    write_sentence_piece()
    write_more()
    (OUTPUT / "README.md").write_text(
        "# Tokenizer fixtures\n\nTiny tokenizers, trained by `Tools/golden/make_tokenizer_fixtures.py` on a text of its own, and what "
        f"tokenizers {tokenizers.__version__}\nand sentencepiece {sentencepiece.__version__} make of its test texts. In a case, `ids` has special "
        "tokens in the text parsed,\n`plain` has not, `with_special` has what the post-processor adds (each only where it differs), and "
        "`decoded` is the text of\n`ids` where that is not the text itself. Regenerate after changing the script; nothing here is "
        "edited by hand.\n")
    print(sum(f.stat().st_size for f in OUTPUT.iterdir()), "bytes in", OUTPUT)


if __name__ == "__main__":
    main()
