# SPDX-License-Identifier: Apache-2.0
"""Facts stated early: are they found again, and how much does their statement help?"""

from __future__ import annotations

import numpy as np

import intervals
from engine import Engine, Failure
from texts import facts

DISTANCES = (200, 500, 1000, 2000, 3500, 6000)


def answer_nats(engine: Engine, row: dict, text: str, answer: str) -> float:
    """Nats of the answer, which ends the text."""
    file = engine.folder / "fact.txt"
    file.write_text(text)
    count = engine.token_count(text, row["file"])
    scored = engine.per_token(file, count, row["routing"], row["file"], chunks=1, first=max(1, count - 32))
    nats, size = 0.0, 0
    for line in reversed(scored):
        if size >= len(answer.encode()):
            break
        nats, size = nats + line["nats"], size + line["bytes"]
    if size != len(answer.encode()):
        raise Failure(f"the tokens of '{answer.strip()}' do not end where its text does")
    return nats


def retrieval(engine: Engine, rows: list[dict], prose: list[str], context: int, trials: int) -> dict:
    """A statement, held-out prose, the question's beginning; compared with the same text without the statement."""
    everything = "\n\n".join(prose) * 2
    distances = [tokens for tokens in DISTANCES if tokens <= 0.9 * context]
    result: dict = {"trials": trials, "distances": distances, "rows": {row["name"]: [] for row in rows}}
    stated = facts(trials)
    for distance in distances:
        found = {row["name"]: {"right": [], "gain": [], "nats": []} for row in rows}
        for trial, (statement, question, answer) in enumerate(stated):
            # Another stretch of prose for each, from the beginning of a document where there are enough.
            start = everything.find(prose[(trial * len(prose)) // trials])
            guess = everything[start:start + 3 * distance]
            length = len(guess) * distance // engine.token_count(guess, rows[0]["file"])
            filler = everything[start:start + length].strip()
            for row in rows:
                made = engine.generate(
                    statement + filler + question, 8, row["routing"], row["file"], "--context", context, "--stop", "\n")
                mine = found[row["name"]]
                mine["right"].append(int(made["text"].startswith(answer)))
                with_it = answer_nats(engine, row, statement + filler + question + answer, answer)
                without = answer_nats(engine, row, filler + question + answer, answer)
                mine["gain"].append(without - with_it)
                mine["nats"].append(with_it)
        for name, mine in found.items():
            gain = intervals.ratio(mine["gain"], np.ones(trials))
            result["rows"][name].append({
                "distance": distance, "right": sum(mine["right"]), "interval": intervals.wilson(sum(mine["right"]), trials),
                "nats_saved": gain["value"], "nats_saved_interval": gain["interval"], "nats": float(np.mean(mine["nats"]))})
    return result
