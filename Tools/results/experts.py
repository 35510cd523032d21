# SPDX-License-Identifier: Apache-2.0
"""Which experts serve which domain, and whether that could be chance."""

from __future__ import annotations

import numpy as np

import intervals
from engine import Engine
from texts import DOMAINS, cut


def specialisation(engine: Engine, row: dict, found: dict[str, list[str]], pieces: int, size: int) -> dict:
    """Pieces of each domain, each the beginning of another document. By layer: mutual information of expert and domain in bits,
    against pieces dealt to domains at random; and each domain's use of each expert, 1 where it is that of equal use."""
    parts, domain = [], []
    for index, name in enumerate(DOMAINS):
        long_enough = [text for text in found[name] if len(text) >= size // 2]
        for piece in range(min(pieces, len(long_enough))):
            file = engine.folder / f"piece-{name}-{piece}.txt"
            file.write_text(cut(long_enough[piece * len(long_enough) // pieces], size))
            parts += ["--text", f"{name}-{piece}={file}"]
            domain.append(index)
    report = engine.json(
        "route", *parts, "--max-bytes", size, "--routing", row["routing"], "--threads", engine.threads, model=row["file"])
    load = np.array([part["load"] for part in report["domains"]], float)  # [pieces, layers, experts]
    tokens = sum(len(part["tokens"]) for part in report["domains"])
    layers = []
    for layer in range(load.shape[1]):
        use = intervals.by_domain(load[:, layer], domain, len(DOMAINS))
        share = use / use.sum(axis=1, keepdims=True)
        layers.append(intervals.permuted_information(load[:, layer], domain, len(DOMAINS)) | {
            "use": [[float(value) for value in line] for line in share * load.shape[2]]})
    return {"routing": row["routing"], "pieces": len(domain), "tokens": tokens, "domains": list(DOMAINS), "layers": layers}
