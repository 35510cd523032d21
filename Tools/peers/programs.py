# SPDX-License-Identifier: Apache-2.0
"""The programs that are measured: each keeps its model loaded and answers a case per line."""

from __future__ import annotations

import json
import os
import select
import subprocess
import tempfile
import time
from pathlib import Path

from cases import OURS, PLAIN, REPACK
from engine import Failure

# A case takes seconds; a machine that swaps or hangs must not hold everything up.
TIMEOUT = 1800.0


class Program:
    """A loaded model. Standard error goes to a file, whose last line says why a program ended."""

    def __init__(self, name: str, command: list[str]):
        self.name, self.started = name, time.monotonic()
        self.errors = tempfile.TemporaryFile("w+")
        # A session of its own: Ctrl-C is for us, who then end it.
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True, bufsize=1,
            start_new_session=True)
        try:
            self.ready = self.answer("loading")
        except BaseException:
            self.close()
            raise
        self.load_seconds = time.monotonic() - self.started

    def answer(self, what: str) -> dict:
        readable, _, _ = select.select([self.process.stdout], [], [], TIMEOUT)
        line = self.process.stdout.readline() if readable else ""
        if not line:
            raise Failure(f"{self.name}: {what}: " + (self.last_words() if readable else f"no answer in {TIMEOUT:.0f} s"))
        found = json.loads(line)
        if "error" in found:
            raise Failure(f"{self.name}: {what}: {found['error']}")
        return found

    def last_words(self) -> str:
        code = self.process.wait(timeout=10)
        self.errors.seek(0)
        lines = self.errors.read().strip().splitlines()
        return f"ended with exit code {code}" + (f": {lines[-1]}" if lines else "")

    def ask(self, request: str) -> dict:
        try:
            self.process.stdin.write(request + "\n")
        except BrokenPipeError:
            pass  # the answer says why
        return self.answer(request)

    def status(self, field: str) -> int:
        """Bytes, of a field of /proc/PID/status."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
        raise Failure(f"{self.name}: no {field} in its status")

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        self.errors.close()


class Launcher:
    """How each program is started."""

    def __init__(self, binary: Path, peer: Path, threads: int, context: int):
        self.binary, self.peer, self.threads, self.context = binary, peer, threads, context

    def command(self, name: str, model: Path) -> list[str]:
        if name == OURS:
            return [str(self.binary), "bench", "--serve", "--model", str(model), "--threads", str(self.threads), "--context",
                    str(self.context)]
        return [str(self.peer), str(model), str(self.threads), {REPACK: "repack", PLAIN: "plain"}[name]]

    def start(self, name: str, model: Path) -> Program:
        return Program(name, self.command(name, model))


def available_memory() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
