# SPDX-License-Identifier: Apache-2.0
"""Issue 4's goals, judged from the figures alone."""

from __future__ import annotations

from texts import DOMAINS

LATENCY, COST, QUALITY = -40.0, -30.0, 1.0
# "Markedly higher": what the hardest fifth gets, over what the easiest gets.
CONTRAST = 1.5
CHANCE = 0.01


def at_most(value: float, limit: float, unit: str = " %") -> dict:
    return {"met": value <= limit, "found": f"{value:+.1f}{unit}",
            "verdict": "met" if value <= limit else f"missed by {value - limit:.1f} points"}


def quality(row: dict, key: str, against: str) -> dict:
    uppers = {domain: row["quality"][domain][key]["interval"][1] for domain in DOMAINS}
    over = {domain: upper - QUALITY for domain, upper in uppers.items() if upper > QUALITY}
    return {
        "goal": f"bits per byte against {against}: upper 95 % end at most +{QUALITY:g} % in each domain",
        "met": not over, "found": ", ".join(f"{domain} {upper:+.2f} %" for domain, upper in uppers.items()),
        "verdict": "met" if not over else "missed by " + ", ".join(
            f"{by:.2f} points in {domain}" for domain, by in over.items()),
    }


def difficulty(row: dict) -> dict:
    easy, hard = row["fifths"]["all"][0], row["fifths"]["all"][4]
    faults = []
    if not 1 <= easy <= 2:
        faults.append(f"{easy - 2:.2f} experts too many on the easiest fifth")
    if hard < CONTRAST * easy:
        faults.append(f"the hardest fifth gets {hard / easy:.2f} times the easiest's, not {CONTRAST:g}")
    return {"goal": f"k from 1 to 2 on the easiest fifth of the tokens, at least {CONTRAST:g} times that on the hardest",
            "met": not faults, "found": f"{easy:.2f} and {hard:.2f}",
            "verdict": "missed: " + "; ".join(faults) if faults else "met"}


def experts(specialisation: dict) -> dict:
    layers = specialisation["layers"]
    by_chance = [str(index) for index, layer in enumerate(layers) if layer["p"] > CHANCE]
    found = "/".join(f"{layer['bits']:.3f}" for layer in layers) + " bits by layer, by chance " + "/".join(
        f"{layer['chance_bits']:.3f}" for layer in layers)
    return {"goal": f"experts differ by domain: mutual information above chance (p < {CHANCE:g}) in every layer",
            "met": not by_chance, "found": found,
            "verdict": "met" if not by_chance else f"missed in layer {', '.join(by_chance)}"}


def judge(results: dict, row: dict) -> list[dict]:
    """The goals of one operating point."""
    throughput, chat = (results["loads"][load]["rows"] for load in ("throughput", "chat"))
    chat, time = chat[row["name"]], throughput[row["name"]]["decode"]["time_ratio"][0]
    found = []
    found.append({"goal": f"decode latency against static k = {results['model']['experts_per_token']}: {LATENCY:+.0f} %"}
                 | at_most((time - 1) * 100, LATENCY))
    if twin := throughput.get("static-twin"):
        found.append({"goal": f"decode latency against the static twin: {LATENCY:+.0f} %"}
                     | at_most((time / twin["decode"]["time_ratio"][0] - 1) * 100, LATENCY))
    price = (results["costs"][row["name"]]["ratio"] - 1) * 100
    found.append({"goal": f"cost per output token, decoding: {COST:+.0f} %"} | at_most(price, COST))
    found.append({"goal": f"cost per output token, chat with its prompts: {COST:+.0f} %"}
                 | at_most((chat["whole_ratio"][0] - 1) * 100, COST))
    found.append(quality(row, "difference", "static of the same weights"))
    if "difference_to_twin" in row["quality"]["all"]:
        twin = next(other for other in results["rows"] if other["name"] == "static-twin")
        when = f", measured on {twin['carried']}" if twin.get("carried") else ""
        found.append(quality(row, "difference_to_twin", f"the static twin{when}"))
    else:
        found.append({"goal": "bits per byte against the static twin", "met": None, "found": "-",
                      "verdict": "not judged: the static twin was not measured"})
    found.append(difficulty(row))
    if row["name"] in results["specialisation"]:
        found.append(experts(results["specialisation"][row["name"]]))
    return found
