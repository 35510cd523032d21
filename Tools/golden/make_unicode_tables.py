#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes Sources/MoETokenizer/UnicodeTables.swift from the Unicode Character Database.

    pip install unicodedata2==16.0.0 tokenizers==0.23.3
    Tools/golden/make_unicode_tables.py

The version is pinned to that of the regular-expression engine inside Python's `tokenizers` (Oniguruma, Unicode 16.0), so that
\\p{L}, \\p{N} and \\s mean the same there and here for every code point. Python's own `unicodedata` is older on most systems.
The normaliser inside `tokenizers` knows Unicode 9.0 only: it leaves alone what was assigned later, and so do these tables, because
the ids that a model was trained with are what counts.
"""
import pathlib
import sys

try:
    import unicodedata2 as ucd
except ImportError:
    import unicodedata as ucd

from tokenizers import Regex, normalizers, pre_tokenizers

VERSION = "16.0.0"
CATEGORIES = ["Cn", "Cc", "Cf", "Co", "Cs", "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No",
              "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm", "Sc", "Sk", "So", "Zs", "Zl", "Zp"]
LIMIT = 0x110000
OUTPUT = pathlib.Path(__file__).resolve().parents[2] / "Sources/MoETokenizer/UnicodeTables.swift"


def category_ranges():
    """(first code point, category) of every maximal run of one general category."""
    previous = None
    for c in range(LIMIT):
        category = ucd.category(chr(c))
        if category != previous:
            yield c, CATEGORIES.index(category)
            previous = category


def unknown_to_reference():
    """The code points that Unicode's form C treats otherwise than the normaliser of `tokenizers` does: newer ones."""
    reference = normalizers.NFC()
    for c in range(0x300, LIMIT):
        if 0xD800 <= c < 0xE000:
            continue
        # Alone, before a mark of the lowest class, after a letter, and in its parts.
        tests = (chr(c), chr(c) + "\u0334", "a" + chr(c), ucd.normalize("NFD", chr(c)))
        if any(ucd.normalize("NFC", t) != reference.normalize_str(t) for t in tests):
            yield c


def unknown_compatible():
    """The same for the compatibility forms."""
    reference = normalizers.NFKD()
    for c in range(0x80, LIMIT):
        if not 0xD800 <= c < 0xE000 and ucd.normalize("NFKD", chr(c)) != reference.normalize_str(chr(c)):
            yield c


UNKNOWN = set(unknown_to_reference())
UNKNOWN_COMPATIBLE = set(unknown_compatible())


def combining(c):
    return 0 if c in UNKNOWN else ucd.combining(chr(c))


def canonical_parts(c):
    """The code points of the canonical decomposition, none where there is none."""
    parts = [] if c in UNKNOWN else ucd.decomposition(chr(c)).split()
    return [int(p, 16) for p in parts] if parts and not parts[0].startswith("<") else []


def composes(c):
    """Whether the two parts of `c` compose to it again."""
    parts = canonical_parts(c)
    return len(parts) == 2 and ucd.normalize("NFC", "".join(map(chr, parts))) == chr(c)


def normalisation_boundaries():
    """Boundaries of the set of code points that NFC may change: not already composed, combining, or able to compose with
    what precedes them (NFC_Quick_Check is not Yes, or a combining class other than 0)."""
    composing = set(range(0x1161, 0x1176)) | set(range(0x11A8, 0x11C3))  # Hangul vowels and final consonants
    composing |= {canonical_parts(c)[1] for c in range(LIMIT) if composes(c)}
    inside = False
    for c in range(LIMIT):
        surrogate = 0xD800 <= c < 0xE000
        changes = not surrogate and c not in UNKNOWN and ucd.normalize("NFC", chr(c)) != chr(c)
        may = c in composing or combining(c) != 0 or changes
        if may != inside:
            yield c
            inside = may


def decompositions():
    """Canonical decompositions, ascending: code point (bit 31: the pair composes again), first part, second part or 0."""
    for c in range(LIMIT):
        parts = canonical_parts(c)
        if parts:
            assert len(parts) <= 2
            yield c | (composes(c) << 31)
            yield parts[0]
            yield parts[1] if len(parts) == 2 else 0


def combining_classes():
    """The runs of one canonical combining class: first code point << 8 | class, ascending, the first starting at 0."""
    previous = None
    for c in range(LIMIT):
        k = combining(c)
        if k != previous:
            yield c << 8 | k
            previous = k


def han_boundaries():
    """Boundaries of \\p{Han}, a script that `unicodedata` does not know: asked of the same engine that `tokenizers` has."""
    characters = [c for c in range(LIMIT) if not 0xD800 <= c < 0xE000]
    split = pre_tokenizers.Split(Regex(r"\p{Han}"), "contiguous")
    for _, (start, end) in split.pre_tokenize_str("".join(map(chr, characters))):
        if split.pre_tokenize_str("a" + chr(characters[start]))[0][0] == "a":
            yield characters[start]
            yield characters[end - 1] + 1


def compatible_parts(c):
    """The full compatibility decomposition where it is not the canonical one."""
    if c in UNKNOWN or c in UNKNOWN_COMPATIBLE:
        return []
    full = ucd.normalize("NFKD", chr(c))
    return [ord(p) for p in full] if full != ucd.normalize("NFD", chr(c)) else []


def compatible_decompositions():
    """Full compatibility decompositions, ascending: code point << 8 | number of parts, then the parts."""
    for c in range(LIMIT):
        parts = [] if 0xD800 <= c < 0xE000 else compatible_parts(c)
        if parts:
            assert len(parts) < 256
            yield c << 8 | len(parts)
            yield from parts


def older_classes():
    """Boundaries of what the crates inside `tokenizers` take for punctuation and for marks: of older Unicode versions."""
    characters = [c for c in range(LIMIT) if not 0xD800 <= c < 0xE000]
    kept = set()
    for _, (start, end) in pre_tokenizers.Punctuation("removed").pre_tokenize_str("".join(map(chr, characters))):
        kept.update(characters[start:end])
    accents = normalizers.StripAccents()
    for in_class in (lambda c: c not in kept, lambda c: accents.normalize_str("a" + chr(c)) == "a"):
        boundaries, inside = [], False
        for c in characters:
            if in_class(c) != inside:
                boundaries.append(c)
                inside = not inside
        yield boundaries


def literal(values, width=124):
    lines, line = [], "       "
    for v in values:
        item = f" 0x{v:X},"
        if len(line) + len(item) > width:
            lines.append(line)
            line = "       "
        line += item
    lines.append(line)
    return "\n".join(lines)


def main():
    if ucd.unidata_version != VERSION:
        sys.exit(f"needs Unicode {VERSION} (pip install unicodedata2=={VERSION}), found {ucd.unidata_version}")
    categories = [c << 5 | k for c, k in category_ranges()]
    boundaries = list(normalisation_boundaries())
    classes = list(combining_classes())
    parts = list(decompositions())
    compatible = list(compatible_decompositions())
    han = list(han_boundaries())
    punctuation, marks = older_classes()
    names = ", ".join(f"{i} {n}" for i, n in enumerate(CATEGORIES))
    wrapped, line = [], "    ///"
    for word in names.split(" "):
        if len(line) + 1 + len(word) > 120:
            wrapped.append(line)
            line = "    ///"
        line += " " + word
    wrapped.append(line)
    OUTPUT.write_text(f"""// SPDX-License-Identifier: Apache-2.0
// Generated by Tools/golden/make_unicode_tables.py from Unicode {VERSION}: do not edit.
// swift-format-ignore-file

/// Facts of the Unicode Character Database, as ranges; `CharacterClasses` turns them into a table.
enum UnicodeTables {{
    /// The database's version.
    static let version = "{VERSION}"

    /// The runs of one general category: first code point << 5 | category, ascending, the first starting at 0. Categories:
{chr(10).join(wrapped)}.
    static let generalCategories: [UInt32] = [
{literal(categories)}
    ]

    /// Boundaries of the code points that form C (as `tokenizers` has it: of Unicode 9.0) may change or reorder: inside from an
    /// even index to the next, outside after.
    static let normalizationBoundaries: [UInt32] = [
{literal(boundaries)}
    ]

    /// The runs of one canonical combining class: first code point << 8 | class, ascending, the first starting at 0.
    static let combiningClasses: [UInt32] = [
{literal(classes)}
    ]

    /// Canonical decompositions (Hangul's excepted) as triples, ascending: code point, bit 31 set where its parts compose to it
    /// again; first part; second part, or 0 where there is one part only.
    static let decompositions: [UInt32] = [
{literal(parts)}
    ]

    /// Full compatibility decompositions where they are not the canonical ones, ascending: code point << 8 | number of parts, then
    /// the parts.
    static let compatibleDecompositions: [UInt32] = [
{literal(compatible)}
    ]

    /// Boundaries of the script Han: inside from an even index to the next, outside after.
    static let hanBoundaries: [UInt32] = [
{literal(han)}
    ]

    /// Boundaries, in the same way, of what the pre-tokenizer Punctuation of `tokenizers` takes for punctuation (ASCII's symbols
    /// with it), and of the marks that its normalizer StripAccents takes away.
    static let punctuationBoundaries: [UInt32] = [
{literal(punctuation)}
    ]
    static let strippedMarkBoundaries: [UInt32] = [
{literal(marks)}
    ]
}}
""")
    print(f"{OUTPUT}: {len(categories)} ranges of categories, {len(parts) // 3} decompositions")


if __name__ == "__main__":
    main()
