# SPDX-License-Identifier: Apache-2.0
"""A bar with the time that is left, where a person watches; else a line per step."""

from __future__ import annotations

import sys
import time


def clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


class Progress:
    """Work is counted in bytes of model files: a large one takes longer in every way."""

    def __init__(self, total: float):
        self.total, self.done, self.started, self.title = max(total, 1.0), 0.0, time.monotonic(), ""
        self.is_terminal, self.shown = sys.stderr.isatty(), 0.0

    def begin(self, title: str) -> None:
        self.title = title
        if not self.is_terminal:
            print(f"bench-peers: {title}", file=sys.stderr, flush=True)

    def show(self, within: float, text: str) -> None:
        """within: bytes' worth of the current file that are done."""
        now = time.monotonic()
        if not self.is_terminal or now - self.shown < 0.1:
            return
        self.shown = now
        share = min(1.0, (self.done + within) / self.total)
        left = (now - self.started) * (1 - share) / share if share > 0.005 else None
        bar = "█" * int(24 * share) + "░" * (24 - int(24 * share))
        print(f"\r{bar} {100 * share:3.0f} % {'' if left is None else clock(left) + ' left '}{self.title}: {text}\033[K", end="",
              file=sys.stderr, flush=True)

    def finish(self, weight: float) -> None:
        self.done += weight
        self.clear()

    def clear(self) -> None:
        if self.is_terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
