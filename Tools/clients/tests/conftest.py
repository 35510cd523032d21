# SPDX-License-Identifier: Apache-2.0
"""What the tests of all clients share: which servers there are, and what must hold after a test.

`run.py` starts the servers and describes them in MOE_SERVERS, a JSON object of
{"embedded" | "chat" | "tools" | "keys" | "tight": {"url", "model", "key", "pid"}}:
embedded: the model in the binary. chat: SmolLM2. tools: Qwen2.5-Coder, whose template knows tools.
keys: embedded, with API keys. tight: embedded, one request at a time and a queue of one.
"""

import json
import math
import os
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import serving  # noqa: E402


@dataclass
class Server:
    url: str
    model: str
    key: str
    pid: int | None

    @property
    def base(self) -> str:
        return self.url + "/v1"

    def ask(self, method: str, path: str, body=None, headers=None, timeout=60) -> serving.Answer:
        sent = {"authorization": f"Bearer {self.key}", **(headers or {})} if self.key else headers
        return serving.request(self.url, method, path, body, sent, timeout)

    def status(self) -> dict:
        return self.ask("GET", "/moe/status").json()

    def tokens(self, text: str, special: bool = True) -> list[int]:
        answer = self.ask("POST", "/tokenize", {"prompt": text, "add_special_tokens": special})
        assert answer.status == 200, answer.body
        return answer.json()["tokens"]

    def settle(self, within: float = 5) -> dict:
        """The status once nothing runs or waits. Work that goes on after its client has gone fails here."""
        end = time.monotonic() + within
        while True:
            status = self.status()
            if status["running"] == status["waiting"] == status["queued"] == 0:
                return status
            assert time.monotonic() < end, f"still at work after {within} s: {status}"
            time.sleep(0.05)


def fixture_for(name: str):
    @pytest.fixture(scope="session", name=name)
    def server() -> Server:
        described = json.loads(os.environ["MOE_SERVERS"]).get(name)
        if described is None:
            pytest.skip(f"no server '{name}': {os.environ.get('MOE_WHY_NOT', 'not started')}")
        return Server(**described)

    return server


embedded, chat, tools, keys, tight = map(fixture_for, ["embedded", "chat", "tools", "keys", "tight"])


@pytest.fixture(autouse=True)
def nothing_left_behind(request):
    """After each test its servers have no request left and every block is free."""
    yield
    for name in ("embedded", "chat", "tools", "keys", "tight"):
        if name in request.fixturenames:
            server = request.getfixturevalue(name)
            if server.pid is None:
                continue  # someone else's server
            blocks = server.settle()["blocks"]
            assert blocks["free"] == blocks["total"], blocks


class Busy:
    """Keeps a server's only place taken while a test looks at what others get."""

    def __init__(self, server: Server, requests: int = 1, tokens: int = 6000):
        self.server, self.requests, self.tokens = server, requests, tokens
        self.connections = []

    def __enter__(self):
        import http.client
        from urllib.parse import urlsplit

        place = urlsplit(self.server.url)
        for number in range(self.requests):
            connection = http.client.HTTPConnection(place.hostname, place.port, timeout=60)
            body = {"model": self.server.model, "prompt": f"Once upon a time, {number}", "max_tokens": self.tokens,
                    "ignore_eos": True, "stream": True}
            connection.request("POST", "/v1/completions", json.dumps(body), {"content-type": "application/json"})
            self.connections.append(connection)
            self.wait(number + 1)
        return self

    def wait(self, count: int):
        end = time.monotonic() + 10
        while True:
            status = self.server.status()
            if status["running"] + status["waiting"] + status["queued"] >= count:
                return
            assert time.monotonic() < end, f"{count} requests were sent, the server knows of {status}"
            time.sleep(0.01)

    def __exit__(self, *_):
        for connection in self.connections:
            connection.close()


@pytest.fixture
def busy():
    return Busy


def check_moe(moe: dict, completion_tokens: int, layers: int | None = None):
    """`usage.moe` of a mixture-of-experts model: the parts agree with each other."""
    histogram = moe["histogram"]
    token_layers = sum(histogram)
    assert token_layers > 0 and all(isinstance(count, int) and count >= 0 for count in histogram)
    evaluations = sum(k * count for k, count in enumerate(histogram))
    assert moe["expert_evaluations"] == evaluations
    assert math.isclose(moe["mean_experts"], evaluations / token_layers, rel_tol=1e-3)
    assert 0 <= moe["saved_fraction"] < 1
    assert moe["expert_bytes_read"] > 0
    assert moe["cost_usd"] >= 0
    assert moe["operating_point"]
    if layers:
        # The last layer computes only rows that somebody reads.
        assert token_layers >= (completion_tokens - 1) * layers


@pytest.fixture
def moe_checker():
    return check_moe


def in_parallel(functions):
    """Calls all at once, each in a thread; their results in order. The first failure is raised."""
    results, failures = [None] * len(functions), []

    def call(index):
        try:
            results[index] = functions[index]()
        except BaseException as error:  # noqa: BLE001: raised again below
            failures.append(error)

    running = [threading.Thread(target=call, args=(index,)) for index in range(len(functions))]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    if failures:
        raise failures[0]
    return results


@pytest.fixture
def parallel():
    return in_parallel
