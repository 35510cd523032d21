# SPDX-License-Identifier: Apache-2.0
"""What the project wants to reach at OLMoE's shape, and whether it does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cases import DYNAMIC, HALF, OURS, STATIC, Case
from figures import FileFigures, Spread

SHAPE = "olmoe"


@dataclass(frozen=True)
class Target:
    name: str
    type: str
    fits: Callable[[Case], bool]
    ratio: float  # of our speed to the best peer's
    share: float  # of the limit
    limit: str


def decode(case: Case) -> bool:
    return case.generate > 0 and case.batch == 1 and case.depth == 0


def together(batch: int) -> Callable[[Case], bool]:
    return lambda case: case.generate > 0 and case.batch == batch and case.depth == 0


def prompt(case: Case) -> bool:
    return case.prompt == 512


TARGETS = [
    Target("decode Q8_0", "Q8_0", decode, 1.25, 0.90, "bandwidth"),
    Target("decode Q4_0", "Q4_0", decode, 1.4, 0.80, "bandwidth"),
    Target("decode Q4_K_M", "Q4_K_M", decode, 1.4, 0.80, "bandwidth"),
    Target("prompt of 512, Q8_0", "Q8_0", prompt, 2.4, 0.5, "int8 peak"),
    Target("prompt of 512, Q4_K_M", "Q4_K_M", prompt, 1.7, 0.5, "int8 peak"),
    Target("prompt of 512, F16", "F16", prompt, 1.7, 0.80, "sgemm"),
    Target("decode Q4_K_M, 4 sequences", "Q4_K_M", together(4), 1.7, 0.8, "bandwidth"),
    Target("decode Q4_K_M, 8 sequences", "Q4_K_M", together(8), 2.1, 0.8, "bandwidth"),
    Target("decode Q4_K_M, 16 sequences", "Q4_K_M", together(16), 2.0, 0.8, "bandwidth"),
]
DYNAMIC_OVER_STATIC, DYNAMIC_BEHIND_HALF = 1.5, 0.03
LOAD_SECONDS, MEMORY_OVER = 1.0, 0.05


def spread(found: Spread, digits: int = 2) -> str:
    return f"{found[0]:.{digits}f} ({found[1]:.{digits}f} to {found[2]:.{digits}f})"


def at_least(found: Spread | None, wanted: float, unit: str = "") -> str:
    if found is None:
        return "not measured"
    text = spread(found) + unit
    return f"**met**: {text}" if found[0] >= wanted else f"missed by {wanted - found[0]:.2f}: {text}"


def at_most(found: float | None, wanted: float, unit: str) -> str:
    if found is None:
        return "not measured"
    text = f"{found:.2f} {unit}"
    return f"**met**: {text}" if found <= wanted else f"missed by {found - wanted:.2f}: {text}"


def judged(files: list[FileFigures]) -> list[list[str]]:
    """Lines of a table: goal, against the peer, share of the limit."""
    by_type = {figures.type: figures for figures in files}
    lines = []
    for target in TARGETS:
        figures = by_type.get(target.type)
        case = next((case for case in figures.cases if target.fits(case)), None) if figures else None
        achieved = figures.achieved(case, OURS) if case else None
        lines.append([
            f"{target.name}: {target.ratio:g}x, {target.share:.2f} of {target.limit}",
            at_least(figures.against_peer(case) if case else None, target.ratio, "x"),
            at_least(achieved[1] if achieved else None, target.share)])
    for figures in files:
        case = next((case for case in figures.cases if decode(case)), None)
        if case is None or figures.median(case, OURS, DYNAMIC) is None:
            continue
        half = figures.ratio(case, (OURS, DYNAMIC), (OURS, HALF))
        lines.append([
            f"decode {figures.type}, dynamic at mean k = {figures.facts.k / 2:g}: {DYNAMIC_OVER_STATIC:g}x over our static "
            f"k = {figures.facts.k}; at most {DYNAMIC_BEHIND_HALF:.0%} behind our static k = {figures.facts.k / 2:g}",
            at_least(figures.ratio(case, (OURS, DYNAMIC), (OURS, STATIC)), DYNAMIC_OVER_STATIC, "x"),
            at_least(half, 1 - DYNAMIC_BEHIND_HALF, "x")])
    for figures in files:
        loads, peak = figures.starts("load", OURS), figures.single("peak memory", OURS)
        cached = sum(case.positions for case in figures.cases if prompt(case) or decode(case)) * figures.facts.cache_bytes
        allowed = figures.facts.file_bytes + cached
        lines.append([
            f"{figures.type}: loads in {LOAD_SECONDS:g} s when cached; memory at most {1 + MEMORY_OVER:.2f} of file and KV cache",
            at_most(loads[-1] if loads else None, LOAD_SECONDS, "s"),
            at_most(peak / allowed if peak else None, 1 + MEMORY_OVER, "of it")])
    return lines
