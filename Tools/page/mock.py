#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A stand-in for `moe-infer serve`, to work on the page and to show it what a real model will not say on demand.

    python3 Tools/page/mock.py [--port 8080] [--key KEY] [--dense] [--pressure N]

It answers by what the prompt asks for: `scenario:hostile`, `long`, `error`, `cut`, `busy`, `tools`, `reasoning`, `slow`, `markdown`.
What it was asked is at /mock/requests. The page's files are read anew for every request.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

WEB = Path(__file__).resolve().parents[2] / "Sources/MoEServer/Web"
TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
         ".svg": "image/svg+xml"}
POLICY = ("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; "
          "form-action 'none'; frame-ancestors 'none'")
POINTS = {"exact": 8.0, "parity": 4.5, "balanced": 2.4, "fast": 1.3}
LAYERS, EXPERTS = 4, 16

MARKDOWN = """Reversing a list is **one line**, and there are *two* ways that differ in what they do to the original.

```python
def reversed_copy(values):
    \"\"\"A new list; the old one stays as it is.\"\"\"
    return values[::-1]
```

1. Slicing (`values[::-1]`) makes a copy.
2. `values.reverse()` works in place:
   - it returns `None`;
   - it needs no second list.

| way | copies | time |
|---|:---:|---:|
| `values[::-1]` | yes | O(n) |
| `values.reverse()` | no | O(n) |

> Prefer the copy unless the list is large.

See [the documentation](https://docs.python.org/3/tutorial/datastructures.html) for more.
"""

HOSTILE = """<img src=x onerror="window.hacked = 1"> <script>window.hacked = 2</script>

[run](javascript:window.hacked=3) [data](data:text/html,<script>window.hacked=4</script>) [here](/moe/status) [ok](https://example.org/a_(b))

![pixel](https://example.org/pixel.png) <https://example.org/?q=<b>> [a](java
script:alert(1)) [b](  JAVASCRIPT:alert(1)) [c](vbscript:x) [d](&#106;avascript:alert(1)) [e](//example.org/x)

```html"onmouseover="window.hacked=5
<iframe src="javascript:window.hacked=6"></iframe>
```

| <b>a</b> | `<i>` |
|---|---|
| <svg onload=window.hacked=7> | \u202egnirts\u202c |

""" + ">" * 400 + " deep\n\n" + "".join("  " * i + "- x\n" for i in range(60)) + "\n" + "*a " * 400 + "**" * 300 + "[" * 500 + "`" * 77 + "\n"


def long_text() -> str:
    draw = random.Random(7)
    words = "the router gives each token as many experts as it is worth and no more".split()
    parts = []
    size = 0
    while size < 1_050_000:
        text = " ".join(draw.choice(words) for _ in range(draw.randint(20, 90)))
        kind = draw.random()
        part = f"## {text[:40]}\n\n" if kind < 0.08 else f"- {text}\n" if kind < 0.3 else f"**{text[:20]}** {text}\n\n"
        if kind > 0.95:
            part = "```\n" + "\n".join(text[i:i + 40] for i in range(0, len(text), 40)) + "\n```\n\n"
        parts.append(part)
        size += len(part)
    return "".join(parts)


class State:
    lock = threading.Lock()
    requests: list[dict] = []
    records: dict[str, dict] = {}
    total = [[1 + (i * 7 + layer * 5) % 11 for i in range(EXPERTS)] for layer in range(LAYERS)]
    recent = [[1.0] * EXPERTS for _ in range(LAYERS)]
    histogram = [0] * 9
    running = 0
    completed = 0
    tokens = 0
    cost = 0.0
    began = time.time()
    rate = 0.0


def pieces(text: str, size: int = 0) -> list[str]:
    if size:
        return [text[i:i + size] for i in range(0, len(text), size)]
    return re.findall(r"\s?\w{1,6}|\s?[^\w\s]{1,2}|\s", text)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    options: argparse.Namespace

    def log_message(self, *_):
        pass

    def answer(self, status: int, body: bytes, kind: str = "application/json", headers: dict | None = None):
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.send_header("x-request-id", self.request_id)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def json(self, value, status: int = 200, headers: dict | None = None):
        self.answer(status, json.dumps(value).encode(), headers=headers)

    def fail(self, status: int, message: str, kind: str, code: str | None = None, headers: dict | None = None):
        self.json({"error": {"message": message, "type": kind, "param": None, "code": code}}, status, headers)

    def allowed(self) -> bool:
        if not self.options.key or self.headers.get("authorization") == f"Bearer {self.options.key}":
            return True
        self.fail(401, "A valid API key is needed.", "authentication_error", "invalid_api_key")
        return False

    def do_GET(self):  # noqa: N802
        self.request_id = f"req-{uuid.uuid4().hex[:12]}"
        path = self.path.split("?")[0]
        if path == "/" or path.startswith("/web/"):
            file = WEB / ("index.html" if path == "/" else path[5:])
            if "/" in path[5:] or not file.is_file():
                return self.fail(404, "Not found.", "not_found_error")
            headers = {"content-security-policy": POLICY, "x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}
            return self.answer(200, file.read_bytes(), TYPES[file.suffix], headers)
        if path == "/mock/requests":
            return self.json(State.requests)
        if not self.allowed():
            return None
        if path == "/v1/models":
            return self.json({"object": "list", "data": [self.model()]})
        if path == "/moe/heatmap":
            return self.json(self.heat_map())
        if path == "/moe/status":
            return self.json(self.status())
        if path.startswith("/v1/requests/") and path[13:] in State.records:
            return self.json(State.records[path[13:]])
        return self.fail(404, "Not found.", "not_found_error")

    def model(self) -> dict:
        model = {"id": "qwen3moe-demo", "object": "model", "created": 1, "owned_by": "moe-infer", "context_length": 8192}
        if not self.options.dense:
            points = [{"name": name, "description": f"{k} experts per token on average"} for name, k in POINTS.items()]
            model["moe"] = {"layers": LAYERS, "experts": EXPERTS, "experts_per_token": 8, "operating_points": points, "default": "balanced"}
        return model

    def heat_map(self) -> dict:
        layers = [{"layer": i, "experts": State.total[i], "recent": State.recent[i]} for i in range(LAYERS)]
        count = sum(State.histogram)
        mean = sum(k * n for k, n in enumerate(State.histogram)) / count if count else None
        return {"layers": layers, "histogram": State.histogram, "mean_experts": mean}

    def status(self) -> dict:
        rate = State.rate if State.running else 0.0
        return {"running": State.running, "waiting": 0, "queued": 0, "blocks": {"free": 390 - 40 * State.running, "cached": 90, "total": 512},
                "tokens_per_second": rate * (0.9 + 0.2 * random.random()), "prompt_tokens_per_second": rate * 3, "pressure": self.options.pressure,
                "requests": {"completed": State.completed, "cancelled": 0, "failed": 0, "refused": 0}, "cost_usd": State.cost,
                "price_per_core_hour": 0.04, "step_seconds": {"p50": 0.0061, "p99": 0.0174}, "uptime_seconds": time.time() - State.began,
                "model": "qwen3moe-demo", "version": "mock"}

    def do_POST(self):  # noqa: N802
        self.request_id = f"req-{uuid.uuid4().hex[:12]}"
        body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))))
        if not self.allowed():
            return
        if self.path != "/v1/chat/completions":
            return self.fail(404, "Not found.", "not_found_error")
        State.requests.append(body)
        prompt = body["messages"][-1]["content"]
        scenario = (re.search(r"scenario:(\w+)", prompt) or [None, "markdown"])[1]
        if scenario == "busy":
            return self.fail(429, "The queue is full.", "rate_limit_error", "queue_full", {"retry-after": "3", "retry-after-ms": "2500"})
        if scenario == "context":
            return self.fail(400, "The prompt has 9,000 tokens, the context 8,192.", "invalid_request_error", "context_length_exceeded")
        with State.lock:
            State.running += 1
        try:
            self.stream(body, scenario)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            with State.lock:
                State.running -= 1
                State.completed += 1

    def send(self, text: str):
        data = text.encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def event(self, value: dict):
        self.send(f"data: {json.dumps(value, ensure_ascii=False)}\n\n")

    def stream(self, body: dict, scenario: str):
        point = (body.get("moe") or {}).get("routing") or "balanced"
        mean = POINTS.get(point, 3.0)
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.send_header("x-request-id", self.request_id)
        self.send_header("x-moe-operating-point", point)
        self.end_headers()
        base = {"id": f"chatcmpl-{self.request_id}", "object": "chat.completion.chunk", "created": 1, "model": "qwen3moe-demo"}
        chunk = lambda delta, finish=None: {**base, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}  # noqa: E731
        self.event(chunk({"role": "assistant", "content": ""}))
        self.send(": keep-alive\n\n")
        draw = random.Random(body.get("seed") or 3)
        text = {"hostile": HOSTILE, "long": None, "slow": MARKDOWN * 40}.get(scenario, MARKDOWN)
        if scenario == "long":
            text = long_text()
        size = 1200 if scenario == "long" else 0
        limit = body.get("max_tokens") or 10**9
        delay = 0.0 if scenario in ("long", "hostile") else 0.03 if scenario == "slow" else 0.006 * (0.5 + mean / 4)
        start = time.time()
        histogram = [0] * 9
        done = 0
        if scenario == "reasoning":
            for part in pieces("The user wants a reversed list. Slicing is shortest; in place is another matter. Say both."):
                time.sleep(delay)
                self.event({**chunk({"reasoning_content": part}), "moe": {"mean_experts": self.experts(draw, mean, histogram)}})
                done += 1
        finish = "stop"
        for part in pieces(text, size) if scenario != "tools" else []:
            if done >= limit:
                finish = "length"
                break
            if delay:
                time.sleep(delay)
            done += 1
            self.event({**chunk({"content": part}), **({} if self.options.dense else {"moe": {"mean_experts": self.experts(draw, mean, histogram)}})})
            State.rate = done / max(time.time() - start, 0.001)
            self.record(body, point, done, histogram, "running", start)
            if scenario == "error" and done == 40:
                self.event({"error": {"message": "The engine failed in layer 3.", "type": "server_error", "param": None, "code": "internal_error"}})
                self.send("")
                return
            if scenario == "cut" and done == 40:
                self.close_connection = True
                return
        if scenario == "tools":
            finish = "tool_calls"
            call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ""}}
            self.event(chunk({"tool_calls": [call]}))
            for part in ['{"place": "Z', 'ürich", "days"', ': 3, "html": "<b>x</b>"}']:
                time.sleep(0.02)
                self.event(chunk({"tool_calls": [{"index": 0, "function": {"arguments": part}}]}))
                done += 1
        self.event(chunk({}, finish))
        record = self.record(body, point, done, histogram, "completed", start)
        spent = time.time() - start
        State.cost += record["usage"]["moe"]["cost_usd"]
        self.event({**base, "choices": [], "usage": record["usage"], "timings": {
            "prompt_seconds": 0.02, "generation_seconds": spent, "prompt_tokens_per_second": 900.0,
            "generation_tokens_per_second": done / max(spent, 1e-3), "queue_seconds": 0.0}})
        self.send("data: [DONE]\n\n")
        self.send("")

    def experts(self, draw: random.Random, mean: float, histogram: list[int]) -> float:
        total = 0
        for layer in range(LAYERS):
            k = min(8, max(1, round(draw.gammavariate(2.2, mean / 2.2))))
            k = 8 if mean >= 8 else k
            histogram[k] += 1
            State.histogram[k] += 1
            total += k
            for _ in range(k):
                expert = int(abs(draw.gauss(4 + layer * 2.5, 3.5))) % EXPERTS
                State.total[layer][expert] += 1
                State.recent[layer] = [value * 0.9995 for value in State.recent[layer]]
                State.recent[layer][expert] += 1
        return total / LAYERS

    def record(self, body: dict, point: str, done: int, histogram: list[int], status: str, start: float) -> dict:
        evaluations = sum(k * n for k, n in enumerate(histogram))
        places = sum(histogram)
        moe = {"cost_usd": (time.time() - start) * 2 * 0.04 / 3600}
        if not self.options.dense:
            moe |= {"mean_experts": evaluations / places if places else None, "histogram": histogram, "expert_evaluations": evaluations,
                    "expert_bytes_read": evaluations * 262144, "saved_fraction": 1 - evaluations / (8 * places) if places else 0.0,
                    "gate_time_fraction": 0.02, "reroutes": 0, "operating_point": point,
                    "degraded_tokens": done // 3 if self.options.pressure else 0}
            if (body.get("moe") or {}).get("budget"):
                moe["budget"] = body["moe"]["budget"]
        usage = {"prompt_tokens": 21, "completion_tokens": done, "total_tokens": 21 + done, "prompt_tokens_details": {"cached_tokens": 16},
                 "completion_tokens_details": {"reasoning_tokens": 0}, "moe": moe}
        State.records[self.request_id] = {"id": self.request_id, "object": "moe.request", "endpoint": "/v1/chat/completions",
                                          "model": "qwen3moe-demo", "status": status, "usage": usage, "error": None}
        return State.records[self.request_id]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--key", default="")
    parser.add_argument("--dense", action="store_true")
    parser.add_argument("--pressure", type=int, default=0)
    Handler.options = parser.parse_args()
    server = ThreadingHTTPServer(("127.0.0.1", Handler.options.port), Handler)
    server.daemon_threads = True
    print(f"moe-infer is listening on http://127.0.0.1:{server.server_address[1]}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
