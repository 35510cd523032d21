# SPDX-License-Identifier: Apache-2.0
"""Time and money: decoding and prompts, the loads, solved problems. All policies take turns, so that ratios are paired."""

from __future__ import annotations

import statistics
from pathlib import Path

import intervals
from engine import Engine
from texts import answer_of

# Name: the text's key, tokens of the prompt, tokens of the answer.
LOADS = {
    "throughput": ("interleaved", 512, 128),
    "chat": ("dialogue", 64, 48),
    "line": ("code", 1800, 12),
    "body": ("code", 1800, 256),
}


def latencies(row: dict, prompt: int, generate: int) -> dict:
    """First token: the prompt and one step. Whole: the prompt and all steps. Milliseconds."""
    first = prompt / row["prefill"]["tokens_per_second"]
    step = 1 / row["decode"]["tokens_per_second"]
    return {"first_token_ms": (first + step) * 1e3, "whole_ms": (first + generate * step) * 1e3}


def ratios(row: dict, static: dict, prompt: int, generate: int) -> dict:
    """Against static in the same rounds: the parts' ratios, weighted with static's times. Median and quartiles."""
    first = prompt / static["prefill"]["tokens_per_second"]
    step = 1 / static["decode"]["tokens_per_second"]

    def joined(steps: int) -> list[float]:
        return [(first * p + steps * step * d) / (first + steps * step)
                for p, d in zip(row["prefill"]["time_ratio"], row["decode"]["time_ratio"])]

    return {"first_token_ratio": joined(1), "whole_ratio": joined(generate)}


def loads(engine: Engine, rows: list[dict], files: dict[str, Path], context: int, rounds: int, twin_rounds: int) -> dict:
    """By load and row. Rows of one file take turns within a process; other files take turns with its first row."""
    result: dict[str, dict] = {}
    own = [row for row in rows if not row["twin"]]
    twins = [row for row in rows if row["twin"]]
    for load, (text, prompt, generate) in LOADS.items():
        prompt = min(prompt, context - generate - 8)
        measured = engine.bench(files[text], prompt, generate, rounds, [row["routing"] for row in own], own[0]["file"])
        by_row = {row["name"]: measured[row["routing"]] for row in own}
        if twins:
            by_row |= in_turns(engine, own[0], twins, files[text], prompt, generate, twin_rounds)
        static = by_row[own[0]["name"]]
        for part in by_row.values():
            part |= latencies(part, prompt, generate) | ratios(part, static, prompt, generate)
        result[load] = {"prompt": prompt, "generate": generate, "text": text, "rows": by_row}
    return result


def in_turns(engine: Engine, static: dict, twins: list[dict], text: Path, prompt: int, generate: int, rounds: int) -> dict:
    """Rows of other files: processes in turns, the order rotating; ratios of each round to static's in it."""
    order = [static, *twins]
    speeds: dict[str, list[dict]] = {row["name"]: [] for row in order}
    for number in range(rounds):
        turn = number % len(order)
        for row in order[turn:] + order[:turn]:
            found = engine.bench(text, prompt, generate, 3, [row["routing"]], row["file"])
            speeds[row["name"]].append(found[row["routing"]])
    result = {}
    for row in twins:
        result[row["name"]] = {}
        for phase in ("prefill", "decode"):
            mine = [part[phase]["tokens_per_second"] for part in speeds[row["name"]]]
            other = [part[phase]["tokens_per_second"] for part in speeds[static["name"]]]
            result[row["name"]][phase] = {
                "tokens_per_second": statistics.median(mine),
                "time_ratio": intervals.quartiles([o / m for m, o in zip(mine, other)]),
                "mean_k": speeds[row["name"]][-1][phase]["mean_k"],
            }
    return result


def cost(tokens_per_second: float, threads: int, price: float) -> float:
    """US$ of a million tokens at `price` US$ per core-hour."""
    return 1e6 / tokens_per_second * threads / 3600 * price


def tasks(engine: Engine, rows: list[dict], problems: list[tuple[str, str]]) -> dict:
    """Held-out problems, solved greedily. A problem passes when the final answer is exactly right; its price is the
    core-seconds of prompt and answer, whether it passes or not. Rows take turns within each problem."""
    seconds: dict[str, list[float]] = {row["name"]: [] for row in rows}
    passed: dict[str, list[int]] = {row["name"]: [] for row in rows}
    tokens: dict[str, int] = {row["name"]: 0 for row in rows}
    for number, (prompt, answer) in enumerate(problems):
        turn = number % len(rows)
        for row in rows[turn:] + rows[:turn]:
            made = engine.generate(prompt, 160, row["routing"], row["file"], "--stop", "\n\n")
            timings, usage = made["timings"], made["usage"]
            spent = usage["prompt_tokens"] / timings["prompt_tokens_per_second"]
            if usage["completion_tokens"] > 1:
                spent += usage["completion_tokens"] / timings["generation_tokens_per_second"]
            seconds[row["name"]].append(spent * engine.threads)
            passed[row["name"]].append(int(answer_of(made["text"]) == answer))
            tokens[row["name"]] += usage["completion_tokens"]
    static = rows[0]["name"]
    result: dict = {"problems": len(problems), "rows": {}}
    for row in rows:
        name, count = row["name"], sum(passed[row["name"]])
        result["rows"][name] = {
            "passed": count, "share": count / len(problems), "interval": intervals.wilson(count, len(problems)),
            "tokens": tokens[name], "core_seconds": sum(seconds[name]),
            "core_seconds_per_pass": intervals.ratio(seconds[name], passed[name]) if count else None,
            "agrees_with_static": sum(a == b for a, b in zip(passed[name], passed[static])),
        }
    return result
