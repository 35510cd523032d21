#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Texts that tokenizers disagree about: random mixtures of scripts, marks, emoji, controls, numbers, white space and words."""
import random
import unicodedata

WORDS = ("the a of and to in is that it for was on are as with his they at be this from have or by one had not but what all were "
         "when we there can an your which their said if do will each about how up out them then she many some so these would "
         "it's don't we've I'm they'll he'd can't IT'S DON'T We'Ve 'tis o'clock Hello WORLD camelCase snake_case HTTPServer iPhone "
         "naïve café Größe Äpfel Straße œuvre Привет мир слово и не на 你好 世界 模型 選擇 こんにちは カタカナ 한국어 문장 ไทย ภาษา हिन्दी भाषा "
         "العربية كلمة עברית ελληνικά Ժամանակ ქართული አማርኛ ខ្មែរ မြန်မာ বাংলা தமிழ் 'ſ ſt İstanbul ǅ ŉ ﬁ Ⅷ").split()
PIECES = ["👩‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪", "☃️", "👍🏽", "e\u0301", "a\u030a\u0323", "\u1100\u1161\u11a8", "\u212b", "\ufeff", "\u200b", "\u200d", "\u00ad",
          "\u0000", "\u0001", "\x1b[0m", "\x7f", "\x85", "\u2028", "\u2029", "\u00a0", "\u3000", "\u2003", "\t", "\n", "\r\n", "\r", "\n\n", "  ", "   ",
          "    ", " \n ", "\n  ", "'", "''", "\"", "...", "…", "!!!", "?!", "--", "—", "/", "//", "\\", "()", "[]", "{}", "<|", "|>", "<s>", "$", "€", "+", "=",
          "^", "~", "|", "`", "```", "#", "@", "%", "&", "*", "_", "▁", "Ġ", "。", "，", "、", "！", "「", "」", "1", "12", "123", "1234", "12345678", "3.14", "1,000",
          "٣٤٥", "½", "²", "Ⅷ", "〇", "々", "㊗", "𝟘", "𝒳", "𐍈", "\U0001f9d1\u200d\U0001f680", "\u0e33", "\u0f73", "\u0344", "\ufffd", "\ue000", "\U000f0000"]
RANGES = [(0, 0x7f), (0x20, 0x7e), (0x80, 0x2ff), (0x300, 0x36f), (0x370, 0x5ff), (0x600, 0xdff), (0xe00, 0x1fff), (0x2000, 0x2fff), (0x3000, 0x30ff),
          (0x3400, 0x9fff), (0xa000, 0xd7ff), (0xe000, 0xffff), (0x10000, 0x1ffff), (0x20000, 0x323af), (0xe0000, 0x10ffff)]


def known(c, version=None):
    return not 0xd800 <= c < 0xe000 and (version is None or unicodedata.category(chr(c)) != "Cn")


def text(rng, length, assigned=False):
    """`length` items. With `assigned`, only characters that Python's Unicode version knows."""
    out = []
    for _ in range(rng.randrange(1, length + 1)):
        kind = rng.random()
        if kind < 0.45:
            out.append(rng.choice(WORDS))
            if rng.random() < 0.7:
                out.append(" ")
        elif kind < 0.8:
            out.append(rng.choice(PIECES))
        else:
            low, high = rng.choice(RANGES)
            for _ in range(rng.randrange(1, 4)):
                c = rng.randint(low, high)
                if known(c, assigned or None):
                    out.append(chr(c))
    return "".join(out)


def texts(seed, size, length=40, assigned=False):
    """Random texts of together about `size` bytes."""
    rng = random.Random(seed)
    total = 0
    while total < size:
        one = text(rng, length, assigned)
        total += len(one.encode())
        yield one
