#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tries a binary as somebody who has just unpacked it: generate, serve, one completion, SIGTERM. Its environment is empty.

    Tools/dist_smoke.py path/to/moe-infer"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request

HOPE = 120  # seconds


def check(fine: bool, what: str) -> None:
    if not fine:
        sys.exit(f"smoke: {what}")


def generate(binary: str) -> str:
    words = [binary, "generate", "Once upon a time", "--max-tokens", "16", "--seed", "1", "--json"]
    result = subprocess.run(words, capture_output=True, text=True, env={}, cwd="/", timeout=HOPE)
    check(result.returncode == 0, f"generate: {result.stderr}")
    answer = json.loads(result.stdout)
    check(answer["usage"]["completion_tokens"] == 16 and len(answer["text"].split()) > 3, f"generate said {answer['text']!r}")
    return answer["text"]


def ask(url: str, body: dict | None = None) -> dict:
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=HOPE) as response:
        return json.load(response)


def serve(binary: str, expected: str) -> None:
    server = subprocess.Popen([binary, "serve", "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={}, cwd="/")
    try:
        line = server.stdout.readline()
        check(line.startswith("moe-infer is listening on http://127.0.0.1:"), f"serve said {line!r}: {server.poll()}")
        url = line.split()[-1]
        check(ask(url + "/health") == {"status": "ok"}, "no health")
        check(ask(url + "/ready") == {"status": "ready"}, "not ready")
        answer = ask(url + "/v1/completions", {"prompt": "Once upon a time", "max_tokens": 16, "temperature": 0, "seed": 1})
        text = answer["choices"][0]["text"]
        check(text == expected, f"served {text!r}, generated {expected!r}")
        server.send_signal(signal.SIGTERM)
        check(server.wait(HOPE) == 0, f"SIGTERM: exit {server.returncode}")
    finally:
        if server.poll() is None:
            server.kill()
        errors = server.stderr.read()
        if sys.exc_info()[0]:
            sys.stderr.write(errors)


def main() -> None:
    binary = sys.argv[1]
    shared = subprocess.run(["ldd", binary], capture_output=True, text=True).stdout
    check("not found" not in shared, f"libraries are missing:\n{shared}")
    check("swift" not in shared and "Foundation" not in shared, f"it needs Swift's libraries:\n{shared}")
    serve(binary, generate(binary))
    print("smoke: generate, serve, a completion and SIGTERM work in an empty environment")


if __name__ == "__main__":
    main()
