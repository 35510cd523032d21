# SPDX-License-Identifier: Apache-2.0
"""Bootstrap intervals, fifths, bins and mutual information. Plain numpy, no files."""

from __future__ import annotations

import math

import numpy as np

RESAMPLES = 2000
LEVEL = (2.5, 97.5)


def draws(groups: list[int], seed: int = 0) -> np.ndarray:
    """[RESAMPLES, sum(groups)] indices: drawn with replacement within each group of consecutive items."""
    random, start, parts = np.random.default_rng(seed), 0, []
    for size in groups:
        parts.append(random.integers(start, start + size, (RESAMPLES, size)))
        start += size
    return np.concatenate(parts, axis=1)


def ratio(top, bottom, groups: list[int] | None = None) -> dict:
    """sum(top) / sum(bottom) with its 95 % interval, windows resampled alike above and below: a paired bootstrap."""
    top, bottom = np.asarray(top, float), np.asarray(bottom, float)
    index = draws(groups or [len(top)])
    above, below = top[index].sum(axis=1), bottom[index].sum(axis=1)
    # Where nothing is below in a resample (no problem was solved) the ratio has no upper end.
    values = np.divide(above, below, out=np.full(len(above), np.inf), where=below > 0)
    low, high = (float(v) for v in np.percentile(values, LEVEL, method="nearest"))
    return {"value": float(top.sum() / bottom.sum()) if bottom.sum() > 0 else math.inf, "interval": [low, high]}


def bits_per_byte(nats, size, groups: list[int] | None = None) -> dict:
    found = ratio(nats, size, groups)
    return {"value": found["value"] / math.log(2), "interval": [end / math.log(2) for end in found["interval"]]}


def difference(nats, reference, groups: list[int] | None = None) -> dict:
    """Relative, in percent."""
    found = ratio(nats, reference, groups)
    return {"value": (found["value"] - 1) * 100, "interval": [(end - 1) * 100 for end in found["interval"]]}


def quartiles(values) -> list[float]:
    """Median, lower and upper quartile."""
    return [float(v) for v in np.percentile(np.asarray(values, float), (50, 25, 75))]


def wilson(passed: int, count: int) -> list[float]:
    """95 % interval of a share."""
    if count == 0:
        return [0.0, 1.0]
    z, share = 1.96, passed / count
    middle, spread = share + z * z / (2 * count), z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return [max(0.0, (middle - spread) / (1 + z * z / count)), min(1.0, (middle + spread) / (1 + z * z / count))]


def fifths(loss) -> np.ndarray:
    """0 for the easiest fifth of the tokens to 4 for the hardest; equal losses stay in their order."""
    loss = np.asarray(loss)
    rank = np.empty(len(loss), int)
    rank[np.argsort(loss, kind="stable")] = np.arange(len(loss))
    return rank * 5 // len(loss)


def mean_by(values, group, count: int) -> list[float | None]:
    """The mean of each group's values; None for a group without any."""
    sums, sizes = np.bincount(group, values, count), np.bincount(group, minlength=count)
    return [float(s / n) if n else None for s, n in zip(sums, sizes)]


def bins(length: int) -> list[tuple[int, int]]:
    """Positions [low, high): 0-256, then doubling up to `length`."""
    edges = [1, 256]
    while edges[-1] < length:
        edges.append(min(edges[-1] * 2, length))
    return list(zip(edges, edges[1:]))


def mutual_information(load) -> float:
    """Bits that an expert tells about the domain. load: [domains, experts], assignments; domains count alike."""
    share = np.asarray(load, float)
    share = share / share.sum(axis=1, keepdims=True) / len(share)
    expected = share.sum(axis=0, keepdims=True) * share.sum(axis=1, keepdims=True)
    kept = share > 0
    return float((share[kept] * np.log2(share[kept] / expected[kept])).sum())


def by_domain(load, domain, count: int) -> np.ndarray:
    """[domains, experts] out of the load of pieces, [pieces, experts]."""
    result = np.zeros((count, np.asarray(load).shape[1]))
    np.add.at(result, domain, load)
    return result


def permuted_information(load, domain, count: int, permutations: int = 1000, seed: int = 0) -> dict:
    """Against pieces dealt to the domains at random: what as many pieces show by chance. load: [pieces, experts]."""
    random, load, domain = np.random.default_rng(seed), np.asarray(load, float), np.asarray(domain)
    measured = mutual_information(by_domain(load, domain, count))
    chance = [mutual_information(by_domain(load, random.permutation(domain), count)) for _ in range(permutations)]
    return {"bits": measured, "chance_bits": float(np.mean(chance)),
            "p": (1 + sum(value >= measured for value in chance)) / (1 + permutations)}
