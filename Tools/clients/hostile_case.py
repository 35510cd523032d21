# SPDX-License-Identifier: Apache-2.0
"""What the cases of hostile.py share: the target, and what counts as an answer."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import serving
import sockets

CASES = []


@dataclass
class Case:
    name: str
    function: Callable


def case(name: str):
    def register(function):
        CASES.append(Case(name, function))
        return function

    return register


class Target:
    """The server that is attacked, and a few more with other options where a case needs them."""

    def __init__(self, url: str, server):
        self.url, self.server = url, server
        self.model = serving.request(url, "GET", "/v1/models").json()["data"][0]["id"]
        self.others, self.slow = {}, []
        self.patience, self.binary, self.logs = 75.0, serving.BINARY, Path(".")

    def other(self, name: str, *options, model: Path | None = None):
        if name not in self.others:
            server = serving.MoEServer(*options, model=model, binary=self.binary, log=self.logs / f"server-hostile-{name}.log")
            server.start()
            self.others[name] = server
        return self.others[name]

    def resident(self) -> int:
        return serving.resident_bytes(self.server.pid) if self.server else 0

    def send(self, data: bytes, timeout: float = 30) -> serving.Answer:
        return sockets.one(self.url, data, timeout)

    def post(self, path: str, body, timeout: float = 30, **headers) -> serving.Answer:
        return self.send(sockets.post(path, body, headers), timeout)

    def ended(self, data: bytes, timeout: float = 30):
        return sockets.ended(self.url, data, timeout)

    def completion(self, **fields) -> dict:
        return {"model": self.model, "prompt": "The sea", "max_tokens": 2, "temperature": 0, **fields}

    def chat(self, **fields) -> dict:
        return {"model": self.model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2, "temperature": 0, **fields}

    def well(self, within: float = 10):
        """The server answers, still generates the right thing, and has nothing left of what was sent before."""
        assert serving.request(self.url, "GET", "/health", timeout=5).status == 200
        answer = self.post("/v1/completions", self.completion(max_tokens=4))
        assert answer.status == 200, f"a good request after the bad one: {answer.status} {answer.body[:200]!r}"
        assert answer.json()["usage"]["completion_tokens"] == 4
        end = time.monotonic() + within
        while True:
            status = serving.request(self.url, "GET", "/moe/status").json()
            if status["running"] == status["waiting"] == status["queued"] == 0:
                blocks = status["blocks"]
                assert blocks["free"] == blocks["total"], f"blocks are lost: {blocks}"  # cached ones are free as well
                return
            assert time.monotonic() < end, f"still at work after {within} s: {status}"
            time.sleep(0.05)


def typed(answer: serving.Answer, *statuses: int) -> dict:
    """Asserts that a refusal is one: the status, JSON, and an error that clients can read. The error."""
    assert answer.status in statuses, f"status {answer.status}, expected {' or '.join(map(str, statuses))}: {answer.body[:200]!r}"
    assert answer.headers.get("content-type", "").startswith("application/json"), f"content type {answer.headers.get('content-type')}"
    error = answer.json().get("error")
    assert isinstance(error, dict), f"no error object: {answer.body[:200]!r}"
    assert isinstance(error.get("message"), str) and error["message"], f"no message: {error}"
    assert isinstance(error.get("type"), str) and error["type"], f"no type: {error}"
    assert len(answer.body) < 4096, f"an error of {len(answer.body)} bytes repeats what it was sent"
    return error


def fine_or_typed(answer: serving.Answer, *statuses: int):
    """Either is an answer; what a value means may be left to the server, but a fault (5xx) never is."""
    if answer.status != 200:
        typed(answer, *(statuses or (400,)))
