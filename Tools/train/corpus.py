# SPDX-License-Identifier: Apache-2.0
"""Documents of the four domains out of the raw corpora: Wikipedia without its markup, plays, novels, speeches, scripture, source
code, worked mathematics.

A document of prose is a str of paragraphs separated by blank lines. What cannot be cleaned with certainty is dropped, paragraph by
paragraph: the model repeats whatever rubbish it sees.
"""

from __future__ import annotations

import gzip
import hashlib
import html
import json
import re
import unicodedata
import zipfile
from dataclasses import dataclass
from multiprocessing import Pool
from pathlib import Path
from random import Random

import arithmetic
import code_corpus
import rdata

DOMAINS = ("prose", "code", "maths", "creative")


@dataclass(frozen=True)
class Document:
    domain: str  # one of DOMAINS
    source: str  # wikipedia | shakespeare | austen | inaugural | state_union | genesis | gsm8k | arithmetic | a Python package
    title: str
    text: str

    def held_out(self, per_mille: int) -> bool:
        """A fixed draw by title: the same documents are held out whatever else is in the corpus."""
        digest = hashlib.sha256(f"{self.source}/{self.title}".encode()).digest()
        return int.from_bytes(digest[:4], "big") % 1000 < per_mille


# --- Wikipedia -----------------------------------------------------------------------------------------------------------

PAGE = re.compile(r"<title>([^<]*)</title>.*?<text xml:space=\"preserve\">(.*?)</text>", re.DOTALL)
NAMESPACES = re.compile(
    r"^(Wikipedia|Image|File|Template|Category|Talk|User|MediaWiki|Portal|Help|Special|Media)( talk)?:", re.I)
# Elements that go with everything in them. A formula would leave a hole in its sentence: its mark drops the paragraph.
ELEMENTS = re.compile(
    r"<(ref|gallery|table|pre|nowiki|timeline|code|tt|div|center|blockquote|small|sub|sup|imagemap|hiero)\b[^<>]*?"
    r"(/>|>.*?</\1\s*>)", re.DOTALL | re.I)
FORMULA = re.compile(r"<math\b.*?</math>", re.DOTALL | re.I)
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
TEMPLATE = re.compile(r"\{\{[^{}]*\}\}")
TABLE = re.compile(r"\{\|(?:(?!\{\||\|\}).)*\|\}", re.DOTALL)
LINK = re.compile(r"\[\[([^\[\]]*)\]\]")
EXTERNAL = re.compile(r"\[(?:https?|ftp|mailto|news|irc):[^\s\]]*\s*([^\]]*)\]")
TAG = re.compile(r"</?[a-zA-Z][^<>]{0,200}>")
PREFIXED = re.compile(r"^\s*:?\s*([A-Za-z][A-Za-z-]*)\s*:")
HOLE = "\x00"

REPLACEMENTS = str.maketrans({
    "‘": "'", "’": "'", "‚": "'", "‛": "'", "“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "′": "'", "″": '"',
    "–": "-", "‐": "-", "‑": "-", "−": "-", "…": "...", "\u00a0": " ", "\u2009": " ", "\u200a": " ", "\u202f": " ",
    "\u200b": "", "\u200e": "", "\u200f": "", "\ufeff": "", "\t": " ", "—": "--",
})


def _link(match: re.Match[str]) -> str:
    """`[[target|shown]]` is what is shown; images, categories and links to other languages are nothing."""
    parts = match.group(1).split("|")
    prefix = PREFIXED.match(parts[0])
    if prefix and not parts[0].lstrip().startswith(":"):
        name = prefix.group(1).lower()
        interwiki = len(parts) == 1 and re.fullmatch(r"[a-z]{2,3}(-[a-z]+)*|simple", name)
        if interwiki or name in ("image", "file", "category", "media"):
            return ""
    return parts[-1]


def _until_stable(pattern: re.Pattern[str], replacement, text: str, rounds: int = 8) -> str:
    """Innermost first, so that nesting unwinds."""
    for _ in range(rounds):
        text, count = pattern.subn(replacement, text)
        if count == 0:
            break
    return text


def _tidy(line: str) -> str:
    """What the removals leave behind: empty brackets, lonely commas, double spaces."""
    line = re.sub(r"'{2,}", "", line)
    for _ in range(2):
        line = re.sub(r"\(\s*(?:[,;:.\-/]|\bor\b|\band\b|\s)*\s*\)|\[\s*\]", "", line)
        line = re.sub(r"\(\s*[,;:]\s*", "(", line)
        line = re.sub(r"\s*[,;:]\s*\)", ")", line)
    line = re.sub(r'""', "", line)
    line = re.sub(r"\s+([,.;:!?)])", r"\1", line)
    line = re.sub(r"([,;:])(?:\s*[,;])+", r"\1", line)
    line = re.sub(r"\(\s+", "(", line)
    return re.sub(r"\s{2,}", " ", line).strip()


def _is_prose(line: str) -> bool:
    if len(line) < 80 or HOLE in line or line[0] in "*#:;|!={}&-.,)<>":
        return False
    if re.search(r"\[|\]|\{|\}|\||<|>|https?:|www\.|==|&[a-z]+;|\\|_|ISBN|\.(jpe?g|png|gif|svg)", line, re.I):
        return False
    if line.rstrip("\"')")[-1:] not in (".", "!", "?"):
        return False
    letters = sum(c.isascii() and c.isalpha() for c in line)
    foreign = sum(not c.isascii() for c in line)
    digits = sum(c.isdigit() for c in line)
    return letters > 0.74 * len(line) and foreign <= 0.02 * len(line) and digits <= 0.06 * len(line)


def clean_article(raw: str) -> str:
    """Wikitext to prose: only whole paragraphs of running text survive."""
    text = html.unescape(html.unescape(raw))
    text = COMMENT.sub("", text)
    text = FORMULA.sub(HOLE, text)
    text = _until_stable(ELEMENTS, "", text, 3)
    text = _until_stable(TEMPLATE, "", text)
    text = _until_stable(TABLE, "", text, 4)
    text = _until_stable(LINK, _link, text, 4)
    text = EXTERNAL.sub("", text)
    text = TAG.sub(" ", text)
    text = html.unescape(text)
    text = unicodedata.normalize("NFC", text.translate(REPLACEMENTS))
    paragraphs = [_tidy(line) for line in text.split("\n") if line and not line.startswith(" ")]
    return "\n\n".join(p for p in paragraphs if p and _is_prose(p))


def _article(page: tuple[str, str]) -> Document | None:
    title, raw = page
    title = html.unescape(title)
    if NAMESPACES.match(title) or title.startswith("List of") or raw.lstrip()[:9].upper() == "#REDIRECT":
        return None
    text = clean_article(raw)
    return Document("prose", "wikipedia", title, text) if len(text) >= 400 else None


def wikipedia(path: Path, processes: int = 2) -> list[Document]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        pages = [(m.group(1), m.group(2)) for m in PAGE.finditer(file.read())]
    with Pool(processes) as pool:
        return [d for d in pool.imap(_article, pages, chunksize=64) if d is not None]


# --- The smaller corpora -------------------------------------------------------------------------------------------------


def _plain(data: bytes) -> str:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace").replace("\ufffd", "")
    text = unicodedata.normalize("NFC", html.unescape(text.translate(REPLACEMENTS)))
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _members(path: Path, suffix: str):
    with zipfile.ZipFile(path) as archive:
        for name in sorted(archive.namelist()):
            if name.endswith(suffix) and not name.endswith("README"):
                yield Path(name).stem, _plain(archive.read(name))


def _chunks(source: str, title: str, paragraphs: list[str], size: int) -> list[Document]:
    """Long works become documents of about `size` characters, so that a held-out draw takes passages, not whole works."""
    documents, current, length = [], [], 0
    for paragraph in paragraphs:
        current.append(paragraph)
        length += len(paragraph)
        if length >= size:
            documents.append(Document("creative", source, f"{title}#{len(documents)}", "\n\n".join(current)))
            current, length = [], 0
    if current:
        documents.append(Document("creative", source, f"{title}#{len(documents)}", "\n\n".join(current)))
    return documents


def tiny_shakespeare(path: Path) -> list[Document]:
    text = _plain(path.read_bytes())
    return _chunks("shakespeare", "tiny", [p.strip() for p in text.split("\n\n") if p.strip()], 4000)


def nltk_shakespeare(path: Path) -> list[Document]:
    """The plays' XML, laid out as tinyshakespeare is: `SPEAKER:` and the lines below."""
    documents = []
    for title, xml in _members(path, ".xml"):
        speeches = []
        for body in re.findall(r"<SPEECH>(.*?)</SPEECH>", xml, re.DOTALL):
            speakers = re.findall(r"<SPEAKER>(.*?)</SPEAKER>", body, re.DOTALL)
            lines = [re.sub(r"<STAGEDIR>.*?</STAGEDIR>|<[^>]*>", "", line, flags=re.DOTALL).strip()
                     for line in re.findall(r"<LINE>(.*?)</LINE>", body, re.DOTALL)]
            lines = [line for line in lines if line]
            if speakers and lines:
                speeches.append(f"{speakers[0].strip()}:\n" + "\n".join(lines))
        documents += _chunks("shakespeare", title, speeches, 4000)
    return documents


def _is_speech(paragraph: str) -> bool:
    letters = sum(c.isascii() and c.isalpha() for c in paragraph)
    return len(paragraph) > 60 and letters > 0.7 * len(paragraph) and paragraph.upper() != paragraph


def speeches(path: Path, source: str) -> list[Document]:
    documents = []
    for title, text in _members(path, ".txt"):
        paragraphs = [re.sub(r"\s+", " ", p).strip() for p in re.split(r"\n\s*\n|\n(?=\s{2,})", text)]
        if len(paragraphs) < 4:  # one line per paragraph
            paragraphs = [re.sub(r"\s+", " ", p).strip() for p in text.split("\n")]
        documents += _chunks(source, title, [p for p in paragraphs if _is_speech(p)], 6000)
    return documents


def genesis(path: Path) -> list[Document]:
    documents = []
    for title, text in _members(path, ".txt"):
        if title not in ("english-kjv", "english-web"):
            continue
        verses = [re.sub(r"\s+", " ", re.sub(r"^\s*\d+:\d+\s*", "", v)).strip() for v in text.split("\n")]
        verses = [v for v in verses if v]
        paragraphs = [" ".join(verses[i:i + 5]) for i in range(0, len(verses), 5)]
        documents += _chunks("genesis", title, paragraphs, 4000)
    return documents


def austen(path: Path) -> list[Document]:
    documents = []
    for title, lines in rdata.novels(path).items():
        paragraphs = [re.sub(r"\s+", " ", p.translate(REPLACEMENTS)).strip() for p in re.split(r"\n\s*\n", "\n".join(lines))]
        documents += _chunks("austen", title, [p for p in paragraphs if p], 6000)
    return documents


# --- Code and mathematics ------------------------------------------------------------------------------------------------


def python_source() -> list[Document]:
    return [Document("code", package.distribution, name, text)
            for package in code_corpus.PACKAGES for name, text in code_corpus.files(package)]


def gsm8k(path: Path) -> list[Document]:
    """Laid out as the synthetic problems are; the calculator's marks `<<3*4=12>>` go."""
    documents = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
        item = json.loads(line)
        steps, answer = re.sub(r"<<[^>]*>>", "", item["answer"].translate(REPLACEMENTS)).rsplit("####", 1)
        question = re.sub(r"\s+", " ", item["question"].translate(REPLACEMENTS)).strip()
        steps = [step.strip() for step in steps.split("\n") if step.strip()]
        documents.append(Document("maths", "gsm8k", str(number), arithmetic.layout(question, steps, answer.strip())))
    return documents


def synthetic(count: int, seed: int) -> list[Document]:
    return [Document("maths", "arithmetic", problem, text) for problem, text in arithmetic.problems(count, seed)]


def sheets(problems: list[Document], seed: int) -> list[Document]:
    """Problems shuffled and put together, four to twelve a document."""
    random = Random(seed)
    problems = sorted(problems, key=lambda d: (d.source, d.title))
    random.shuffle(problems)
    result, at = [], 0
    while at < len(problems):
        part = problems[at:at + random.randint(4, 12)]
        result.append(Document("maths", "sheet", str(len(result)), "\n".join(d.text for d in part)))
        at += len(part)
    return result


def everything(folder: Path, evaluation: Path, downloads: Path, processes: int = 2) -> list[Document]:
    """All documents, in a fixed order. `evaluation`: GSM8K's training set; `downloads`: where the novels may be put."""
    return (
        wikipedia(folder / "enwik8.gz", processes)
        + python_source()
        + gsm8k(evaluation / "gsm8k_train.jsonl")
        + synthetic(90_000, 1)
        + tiny_shakespeare(folder / "tinyshakespeare.txt")
        + nltk_shakespeare(folder / "nltk_shakespeare.zip")
        + austen(rdata.fetch(downloads))
        + speeches(folder / "nltk_inaugural.zip", "inaugural")
        + speeches(folder / "nltk_state_union.zip", "state_union")
        + genesis(folder / "nltk_genesis.zip")
    )
