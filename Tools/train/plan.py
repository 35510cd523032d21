# SPDX-License-Identifier: Apache-2.0
"""What the sequences of a step are: which text, how many experts, who teaches whom; and the controller that holds mean k."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model import Routing

# Mean experts per token and layer at which the gate is trained; the controller finds the price of each.
ANCHORS = (1.5, 2.0, 3.0, 5.0)
FIRST_LOG_MU = (-3.0, -3.5, -4.5, -6.0)
SPREAD = 0.35  # the price of a sequence is drawn around its anchor's, in log units: the dial works between them too


@dataclass
class Shape:
    """Of one worker's batch: `full` windows, all at k = K, and `students` rows that read the first of them again with fewer experts
    and learn from what k = K said (the sandwich rule and in-place distillation of Yu & Huang 2019, with experts for channels)."""

    window: int
    full: int  # rows at k = K
    elastic: int = 0  # students at a random k, or a random top-p
    own: int = 0  # students under the gate as it will run
    relaxed: int = 0  # students under the relaxed gate: it learns from them

    @property
    def students(self) -> int:
        return self.elastic + self.own + self.relaxed

    @property
    def rows(self) -> int:
        return self.full + self.students


@dataclass
class Draw:
    routing: Routing
    anchors: Tensor  # [own + relaxed]: whose price each gated row has


def draw(shape: Shape, maximum: int, log_mu: list[float], seed: tuple[int, ...]) -> Draw:
    random = np.random.default_rng(seed)
    count = np.full(shape.rows, maximum)
    mass = np.full(shape.rows, 2.0)
    for row in range(shape.full, shape.full + shape.elastic):
        if random.random() < 0.5:
            count[row] = random.integers(1, maximum)
        else:
            mass[row] = random.uniform(0.3, 0.95)
    gated = shape.own + shape.relaxed
    anchors = random.permutation(len(ANCHORS))[np.arange(gated) % len(ANCHORS)]
    prices = np.array(log_mu)[anchors] + random.uniform(-SPREAD, SPREAD, gated)
    relaxed = np.arange(gated) >= shape.own
    return Draw(Routing(torch.from_numpy(count), torch.from_numpy(mass).float(), torch.from_numpy(prices).float(),
                        torch.from_numpy(relaxed)), torch.from_numpy(anchors))


def control(log_mu: list[float], sums: Tensor, rate: float = 0.04) -> list[float]:
    """sums [anchors, 2]: the sum of mean k over the rows of each anchor, and their number. Dearer when k is above its target."""
    result = []
    for old, target, (total, rows) in zip(log_mu, ANCHORS, sums.tolist()):
        error = math.log(total / rows / target) if rows else 0.0
        result.append(old + rate * max(-1.0, min(1.0, 2 * error)) * rows)
    return result
