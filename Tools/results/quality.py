# SPDX-License-Identifier: Apache-2.0
"""What tokens cost in bits and in experts: bits per byte by domain, k by difficulty, loss by position, mixed text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

import intervals
from engine import Engine, Failure
from texts import DOMAINS


SHORT = "short-context"


@dataclass
class Scored:
    """The scored tokens of a text, in order."""

    nats: np.ndarray  # [tokens]
    size: np.ndarray  # [tokens], bytes
    experts: np.ndarray  # [tokens, layers]; [tokens, 0] for a dense model
    window: np.ndarray  # [tokens]
    position: np.ndarray  # [tokens], in the window

    @classmethod
    def of(cls, lines: list[dict]) -> Scored:
        experts = np.array([line["experts"] for line in lines], np.int16).reshape(len(lines), -1)
        return cls(np.array([line["nats"] for line in lines]), np.array([line["bytes"] for line in lines]), experts,
                   np.array([line["chunk"] for line in lines]), np.array([line["position"] for line in lines]))

    @property
    def k(self) -> np.ndarray:
        return self.experts.mean(axis=1)

    def by_window(self) -> tuple[np.ndarray, np.ndarray]:
        """Nats and bytes of each window."""
        return np.bincount(self.window, self.nats), np.bincount(self.window, self.size)


def measure(
    engine: Engine, row: dict, files: dict[str, Path], window: int, windows: int, like: dict[str, Scored] | None
) -> dict[str, Scored]:
    """`like`: what another row scored, which must have been the same tokens."""
    scored = {domain: Scored.of(engine.per_token(file, window, row["routing"], row["file"], windows))
              for domain, file in files.items()}
    if like and any(not np.array_equal(part.size, like[domain].size) for domain, part in scored.items()):
        raise Failure(f"{row['file']} cuts text into other tokens than the measured model, so it cannot be compared with it")
    return scored


def figures(scored: dict[str, Scored], static: dict[str, Scored], few: dict[str, Scored] | None, kmax: int) -> dict:
    """Of a row: bits per byte, with its relative difference to `static`, and experts: by domain, by layer, by how hard a token
    is to predict, and by how much its loss changes when it has few experts (`few`)."""
    quality, experts = {}, {}
    tops, bottoms, references = [], [], []
    for domain, part in scored.items():
        (nats, size), (reference, _) = part.by_window(), static[domain].by_window()
        tops, bottoms, references = tops + [nats], bottoms + [size], references + [reference]
        quality[domain] = intervals.bits_per_byte(nats, size) | {
            "tokens": len(part.nats), "bytes": int(size.sum()), "window_nats": [round(float(n), 3) for n in nats],
            "difference": intervals.difference(nats, reference)}
    groups = [len(part) for part in tops]
    top, bottom, reference = (np.concatenate(parts) for parts in (tops, bottoms, references))
    quality["all"] = intervals.bits_per_byte(top, bottom, groups) | {
        "tokens": sum(len(part.nats) for part in scored.values()), "bytes": int(bottom.sum()),
        "difference": intervals.difference(top, reference, groups)}
    result = {"quality": quality}
    if all(part.experts.shape[1] for part in scored.values()):
        everything = np.concatenate([part.experts for part in scored.values()])
        parts = {"all": everything} | {domain: part.experts for domain, part in scored.items()}
        for name, part in parts.items():
            experts[name] = {"mean": float(part.mean()), "layers": [float(k) for k in part.mean(axis=0)],
                             "shares": [float(n) / part.size for n in np.bincount(part.ravel(), minlength=kmax + 1)[1:]]}
        result["experts"] = experts
        orders = {"fifths": {domain: static[domain].nats for domain in scored}}
        if few:
            orders["fifths_by_effect"] = {d: np.abs(few[d].nats - static[d].nats) for d in scored}
        for order, values in orders.items():
            values["all"] = np.concatenate(list(values.values()))
            result[order] = {name: intervals.mean_by(parts[name].mean(axis=1), intervals.fifths(value), 5)
                             for name, value in values.items()}
            result[order + "_nats"] = intervals.mean_by(values["all"], intervals.fifths(values["all"]), 5)
    return result


def against(row: dict, reference: dict) -> None:
    """Adds the difference to another row's figures on the same windows: the static twin's."""
    groups, tops, bottoms = [], [], []
    for domain in DOMAINS:
        nats, other = (r["quality"][domain]["window_nats"] for r in (row, reference))
        row["quality"][domain]["difference_to_twin"] = intervals.difference(nats, other)
        groups, tops, bottoms = groups + [len(nats)], tops + nats, bottoms + other
    row["quality"]["all"]["difference_to_twin"] = intervals.difference(tops, bottoms, groups)


def long_form(engine: Engine, rows: list[dict], texts: dict[str, list[str]], context: int) -> dict:
    """Loss by position in texts that fill the context; the first row is what the others are compared with."""
    edges = intervals.bins(context)
    file = engine.folder / "long.txt"
    sums: dict[str, list] = {row["name"]: [] for row in rows} | {SHORT: []}
    sizes = []
    for domain, found in texts.items():
        for text in found:
            file.write_text(text)
            for row in rows:
                scored = Scored.of(engine.per_token(file, context, row["routing"], row["file"], chunks=1))
                place = np.searchsorted([high for _, high in edges], scored.position, side="right")
                part = {"nats": np.bincount(place, scored.nats, len(edges)),
                        "bytes": np.bincount(place, scored.size, len(edges))}
                if scored.experts.shape[1]:
                    part["k"] = intervals.mean_by(scored.k, place, len(edges))
                sums[row["name"]].append(part)
            sizes.append(part["bytes"])
            # The same tokens as the first row sees them with 512 to 1,023 tokens before them: what more context is worth.
            scored = Scored.of(engine.per_token(file, 1024, rows[0]["routing"], rows[0]["file"], first=512, stride=512))
            position = scored.window * 512 + scored.position
            kept = position < context
            place = np.searchsorted([high for _, high in edges], position[kept], side="right")
            nats = np.bincount(place, scored.nats[kept], len(edges))
            sums[SHORT].append({"nats": np.where(nats > 0, nats, sums[rows[0]["name"]][-1]["nats"])})
    result = {"context": context, "bins": [list(edge) for edge in edges], "texts": {d: len(t) for d, t in texts.items()},
              "rows": {}}
    size = np.array(sizes)
    reference = np.array([part["nats"] for part in sums[rows[0]["name"]]])
    for name, parts in sums.items():
        nats = np.array([part["nats"] for part in parts])
        result["rows"][name] = {
            "bits_per_byte": [intervals.bits_per_byte(nats[:, b], size[:, b]) for b in range(len(edges))],
            "difference": [intervals.difference(nats[:, b], reference[:, b]) for b in range(len(edges))],
            "mean_k": [float(v) for v in np.mean([part["k"] for part in parts], axis=0)] if "k" in parts[0] else None,
        }
    return result


def by_piece(scored: Scored, parts: list[str]) -> np.ndarray:
    """For each token the piece that its first byte lies in. The text is `parts` joined, and all of it was scored."""
    starts = np.cumsum(scored.size) - scored.size
    ends = np.cumsum([len(part.encode()) for part in parts])
    if int(scored.size.sum()) != int(ends[-1]):
        raise Failure(f"{int(scored.size.sum())} bytes were scored of a text of {int(ends[-1])}")
    return np.searchsorted(ends, starts, side="right")


def mixed(engine: Engine, rows: list[dict], mixtures: list[list[tuple[str, str]]], context: int) -> dict:
    """Text whose domain changes every few lines, and the same pieces with each domain on its own."""
    file = engine.folder / "mixed.txt"
    whole = ["".join(piece for _, piece in mixture) for mixture in mixtures]
    mixtures = [m for m, text in zip(mixtures, whole) if engine.token_count(text, rows[0]["file"]) <= context]
    if not mixtures:
        raise Failure(f"no mixture fits {context} tokens")
    # By row and arrangement: nats and k · tokens, [mixtures, domains]; tokens and bytes are counted along.
    sums = {(row["name"], kind): np.zeros((4, len(mixtures), len(DOMAINS))) for row in rows for kind in ("mixed", "apart")}
    for index, mixture in enumerate(mixtures):
        arrangements = [("mixed", mixture)] + [("apart", [p for p in mixture if p[0] == domain]) for domain in DOMAINS]
        for kind, parts in arrangements:
            text = "".join(piece for _, piece in parts)
            file.write_text(text)
            count = engine.token_count(text, rows[0]["file"])
            domain_of = np.array([DOMAINS.index(domain) for domain, _ in parts])
            for row in rows:
                scored = Scored.of(engine.per_token(file, count, row["routing"], row["file"], chunks=1))
                domain = domain_of[by_piece(scored, [piece for _, piece in parts])]
                for line, values in enumerate((scored.nats, scored.k, np.ones(len(domain)), scored.size)):
                    sums[row["name"], kind][line, index] += np.bincount(domain, values, len(DOMAINS))
    result: dict = {"mixtures": len(mixtures), "pieces": len(mixtures[0]), "rows": {}}
    for row in rows:
        result["rows"][row["name"]] = {}
        reference = sums[rows[0]["name"], "mixed"]
        for kind in ("mixed", "apart"):
            nats, k, tokens, size = sums[row["name"], kind]
            result["rows"][row["name"]][kind] = {
                domain: intervals.bits_per_byte(nats[:, d], size[:, d]) | {"mean_k": float(k[:, d].sum() / tokens[:, d].sum())}
                for d, domain in enumerate(DOMAINS)
            } | {"all": intervals.bits_per_byte(nats.sum(1), size.sum(1)) | {"mean_k": float(k.sum() / tokens.sum())}}
        result["rows"][row["name"]]["difference"] = {
            domain: intervals.difference(sums[row["name"], "mixed"][0][:, d], reference[0][:, d])
            for d, domain in enumerate(DOMAINS)
        } | {"all": intervals.difference(sums[row["name"], "mixed"][0].sum(1), reference[0].sum(1))}
    return result
