# SPDX-License-Identifier: Apache-2.0
"""What the model is measured on: held-out documents of the four domains (Tools/train/prepare.py), cut for each measurement."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from random import Random

from engine import Failure

DOMAINS = ("prose", "code", "maths", "creative")


def documents(data: Path, domain: str) -> list[str]:
    file = data / f"heldout-{domain}.jsonl"
    if not file.exists():
        raise Failure(f"{file} is missing: run Tools/train/prepare.py")
    found = [json.loads(line)["text"] for line in file.read_text().splitlines()]
    if not found:
        raise Failure(f"{file} has no documents")
    return found


def cut(text: str, size: int) -> str:
    """The first `size` characters, less what is left of the last line."""
    if len(text) <= size:
        return text
    end = text.rfind("\n", 0, size)
    return text[: end if end > size // 2 else size]


def sample(found: list[str], size: int) -> str:
    """About `size` characters of as many documents as there are, or of every n-th where each would have less than 1,500: all
    are cut at the same length, which is chosen to fit."""
    step = max(1, len(found))
    while step > 1 and (len(found) / step < size / 1500 or sum(map(len, found[::step])) < 1.2 * size):
        step //= 2
    found = found[::step]
    left, rest, limit = size, len(found), 0
    for length in sorted(len(text) for text in found):
        limit = left // rest
        if length > limit:
            break
        left, rest = left - length, rest - 1
    else:
        limit = size
    return "\n\n".join(cut(text, limit) for text in found) + "\n"


def width(found: list[str], count_tokens: Callable[[str], int]) -> float:
    """Characters of a token, from the beginnings of all documents."""
    text = sample(found, 60000)
    return len(text) / count_tokens(text)


def long_texts(found: list[str], tokens: int, count: int, count_tokens: Callable[[str], int]) -> list[str]:
    """Texts of at least `tokens` tokens, each of as few documents as it takes, longest first; no document twice."""
    left, result = sorted(found, key=len, reverse=True), []
    while left and len(result) < count:
        text = ""
        while left and (len(text) < tokens or count_tokens(text) < tokens):
            text += left.pop(0) + "\n\n"
        if len(text) >= tokens and count_tokens(text) >= tokens:
            result.append(text)
    return result


SPEAKER = re.compile(r"^[A-Z][A-Za-z .]+:$", re.MULTILINE)


def dialogue(found: list[str]) -> str:
    """The documents in which people take turns."""
    scenes = [text for text in found if len(SPEAKER.findall(text)) >= 3]
    if not scenes:
        raise Failure("the creative held-out text has no dialogue")
    return "\n\n".join(scenes) + "\n"


# The openings of arithmetic.py's problems; what else is in the maths text comes from GSM8K, which such a model cannot do.
SYNTHETIC = re.compile(
    r"(What is [\d(]|What is \d+% of|Divide \d|Compute |Solve |What comes next|Find the greatest common divisor"
    r"|A rectangle is \d|What is the average of|A (train|car|bus|boat|cyclist|walker) (travels|covers)"
    r"|How long does a \w+ need|A \w+ costs \$\d+\. It is sold at)")
PROBLEM = re.compile(r"Problem: (.*?)\nSolution:\n.*?^Answer: (.*?)$", re.DOTALL | re.MULTILINE)


def problems(found: list[str]) -> list[tuple[str, str]]:
    """(prompt, answer) of the synthetic problems."""
    pairs = (match.groups() for text in found for match in PROBLEM.finditer(text))
    return [(f"Problem: {problem}\nSolution:\n", answer) for problem, answer in pairs if SYNTHETIC.match(problem)]


def answer_of(text: str) -> str | None:
    """What follows the first `Answer:` of a solution."""
    match = re.search(r"^Answer: (.*?)$", text, re.MULTILINE)
    return match[1].strip() if match else None


def pieces(text: str, size: int) -> list[str]:
    """Whole lines, at least `size` characters each."""
    result, piece = [], ""
    for line in text.splitlines(keepends=True):
        piece += line
        if len(piece) >= size:
            result.append(piece)
            piece = ""
    return result


def mixtures(found: dict[str, list[str]], count: int, turns: int, size: int = 240) -> list[list[tuple[str, str]]]:
    """(domain, piece): pieces of a few lines from all domains in turns. Each mixture has documents of its own."""
    queues: dict[str, list[list[str]]] = {}
    for domain, documents in found.items():
        queues[domain], joined = [], ""
        for text in documents:
            joined += text + "\n\n"
            if len(cut_pieces := pieces(joined, size)) >= turns:
                queues[domain].append(cut_pieces)
                joined = ""
    count = min(count, min(len(queue) for queue in queues.values()))
    if count == 0:
        raise Failure("a domain's held-out text is too short for a mixture")
    result = []
    for index in range(count):
        chosen = {domain: queue[index * len(queue) // count] for domain, queue in queues.items()}
        result.append([(domain, chosen[domain][turn]) for turn in range(turns) for domain in found])
    return result


def interleaved(found: dict[str, list[str]], size: int, piece: int = 2500) -> str:
    """About `size` characters, of all domains in turns, from all over their documents: text to time on."""
    count = max(1, size // piece // len(found))
    queues = []
    for texts in found.values():
        queue = pieces("\n\n".join(texts), piece)
        queues.append([queue[index * len(queue) // count] for index in range(count)] if queue else texts[:1])
    return "\n".join(part for turn in zip(*queues) for part in turn)


NAMES = ("Zorvane", "Melkitar", "Ostrafel", "Quindora", "Bravenko", "Tilmashar", "Ugredon", "Falwicke", "Xanderby", "Pelloram")


def facts(count: int, seed: int = 3) -> list[tuple[str, str, str]]:
    """(statement, beginning of the question, answer): invented names and numbers by turns, no answer twice."""
    random = Random(seed)
    names, numbers = random.sample(NAMES, len(NAMES)), random.sample(range(1000, 9999), count)
    result = []
    for index in range(count):
        if index % 2 == 0:
            number = index // 2
            name = names[number % len(names)] + ("" if number < len(names) else f"-{number}")
            result.append((f"The code word is {name}.\n\n", "\n\nThe code word is", f" {name}"))
        else:
            result.append((f"The number of the room is {numbers[index]}.\n\n", "\n\nThe number of the room is",
                           f" {numbers[index]}"))
    return result
