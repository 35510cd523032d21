#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""make soak: mixed load on loopback for minutes, with clients that go away; then faults (faults.py). Says at the end whether every
answer was complete or a typed error, nothing is stuck, all blocks are back, and memory is flat.
"""

import argparse
import asyncio
import json
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "clients"))
import environments  # noqa: E402
import faults  # noqa: E402
import serving  # noqa: E402
from client import Leave, Prompts, Result, generate, percentile  # noqa: E402

PHASES = (1, 4, 16, 64)
# Memory may differ by so much between the first and the last fifth of the time after the warm-up.
FLAT = 0.02
SCHEMA = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer", "minimum": 0, "maximum": 150},
                                           "tags": {"type": "array", "items": {"enum": ["red", "green", "blue"]}, "maxItems": 3}},
          "required": ["name", "age", "tags"], "additionalProperties": False}


class Traffic:
    """Makes up requests and judges what comes back."""

    def __init__(self, model: str, prompts: Prompts, seed: int):
        self.model, self.prompts, self.chance = model, prompts, random.Random(seed)
        self.seen: dict[str, str] = {}

    def request(self):
        """(kind, path, body, when to leave)"""
        chance = self.chance
        size = chance.choices((12, 200, 1500), (6, 3, 1))[0]
        tokens = chance.choice((8, 24, 64, 128))
        stream = chance.random() < 0.6
        body = {"model": self.model, "max_tokens": tokens, "temperature": 0, "stream": stream}
        kind = chance.choices(("plain", "n", "schema", "logprobs", "budget", "sampled"), (50, 10, 12, 10, 8, 10))[0]
        number = chance.randrange(24)  # few enough that the same request comes again in other company
        text = self.prompts.of(size, (size, number))
        if kind == "schema":
            path = "/v1/chat/completions"
            body |= {"messages": [{"role": "user", "content": text}], "max_tokens": 160,
                     "response_format": {"type": "json_schema", "json_schema": {"name": "person", "strict": True, "schema": SCHEMA}}}
        else:
            path = "/v1/completions"
            body |= {"prompt": text, "ignore_eos": True}
        if kind == "n":
            body |= {"n": 2, "temperature": 0.9, "seed": number}
        elif kind == "logprobs":
            body |= {"logprobs": 3}
        elif kind == "budget":
            body |= {"moe": {"routing": "fast", "budget": 400000}}
        elif kind == "sampled":
            body |= {"temperature": 0.8, "top_p": 0.9, "seed": number}
        if stream and chance.random() < 0.7:
            body["stream_options"] = {"include_usage": True}
        leave = None
        if chance.random() < 0.1:
            if stream and chance.random() < 0.6:
                leave = Leave(events=chance.randrange(1, 6), reset=chance.random() < 0.5)
            else:
                leave = Leave(seconds=chance.choice((0, 0.002, 0.02, 0.1)), reset=chance.random() < 0.5)
        return kind, path, body, leave

    def judge(self, kind: str, body: dict, result: Result) -> str | None:
        """What is wrong with a result, if anything."""
        if result.ending in ("broken", "late"):
            return f"{result.ending}: {result.why}"
        if result.ending == "refused":
            if result.status in (429, 503):
                return None if int(result.headers.get("retry-after", 0)) >= 1 else "refused without Retry-After"
            return f"refused with {result.status}: {result.error}"
        if result.ending == "left":
            return None
        choices = body.get("n", 1)
        if sorted(result.finish) != list(range(choices)):
            return f"finish reasons {result.finish} of {choices} choices"
        if kind == "schema":
            try:
                if result.finish[0] == "stop" and set(json.loads(result.texts[0])) != {"name", "age", "tags"}:
                    return f"not by the schema: {result.texts[0][:80]}"
            except ValueError:
                return f"no JSON: {result.texts[0][:80]}"
        elif set(result.finish.values()) != {"length"}:
            return f"finish reasons {result.finish}, expected length"
        if result.usage:
            tokens = result.usage["completion_tokens"]
            if kind != "schema" and tokens != body["max_tokens"] * choices:
                return f"{tokens} tokens, expected {body['max_tokens'] * choices}"
            if kind == "budget" and "expert_evaluations" in result.usage.get("moe", {}):
                if result.usage["moe"]["expert_evaluations"] > body["moe"]["budget"]:
                    return "more experts than its budget"
        elif not body["stream"] or "stream_options" in body:
            return "no usage"
        # Greedy or seeded: the same request has the same text, whatever runs beside it.
        key = json.dumps({name: value for name, value in body.items() if name not in ("stream", "stream_options", "logprobs")}, sort_keys=True)
        text = json.dumps(result.texts, sort_keys=True)
        if self.seen.setdefault(key, text) != text:
            return f"another text than before for the same request ({kind}): {text[:60]} / {self.seen[key][:60]}"
        return None


class Watch:
    """Memory, files and threads of the server once a second, and what it says of itself."""

    def __init__(self, server: serving.MoEServer):
        self.server, self.samples, self.going, self.phase = server, [], True, 0

    async def run(self, began: float):
        while self.going:
            status = await asyncio.to_thread(self.server.status)
            self.samples.append({"seconds": time.monotonic() - began, "phase": self.phase, "rss": serving.resident_bytes(self.server.pid),
                                 "files": serving.open_files(self.server.pid), "threads": serving.threads(self.server.pid),
                                 **{name: status[name] for name in ("running", "waiting", "queued", "tokens_per_second")},
                                 "free": status["blocks"]["free"], "cached": status["blocks"]["cached"]})
            await asyncio.sleep(1)


async def phase(server, traffic: Traffic, clients: int, seconds: float, deadline: float, records: list, wrong: list):
    end = time.monotonic() + seconds

    async def one_client():
        while time.monotonic() < end:
            kind, path, body, leave = traffic.request()
            result = await generate(server.url, path, body, deadline, leave)
            problem = traffic.judge(kind, body, result)
            if problem:
                wrong.append(f"{clients} clients, {kind}: {problem}")
            records.append({"clients": clients, "kind": kind, "ending": result.ending, "status": result.status, "seconds": result.seconds,
                            "first_token": result.first_token, "gaps": result.gaps,
                            "tokens": (result.usage or {}).get("completion_tokens", 0)})
            if result.ending == "refused":
                await asyncio.sleep(min(1.0, float(result.headers.get("retry-after-ms", 200)) / 1000))
            if not server.running():
                wrong.append(f"the server ended with {server.process.returncode}")
                return

    await asyncio.gather(*(one_client() for _ in range(clients)))


async def fill(server, traffic: Traffic, seconds: float):
    """Long prompts, none like another, until every block of the KV cache has been used once: its memory is touched block by block, and
    a cache that is still filling looks like a leak.
    """
    end, number = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        blocks = (await asyncio.to_thread(server.status))["blocks"]
        if blocks["cached"] >= 0.98 * blocks["total"]:
            return
        bodies = [{"model": traffic.model, "prompt": traffic.prompts.of(1500, ("fill", number + index)), "max_tokens": 1} for index in range(8)]
        await asyncio.gather(*(generate(server.url, "/v1/completions", body, seconds + 60) for body in bodies))
        number += len(bodies)


async def soak(server, options) -> dict:
    tokens_of = lambda text: len(server.ask("POST", "/tokenize", {"prompt": text}).json()["tokens"])  # noqa: E731
    traffic = Traffic(server.model, Prompts(options.text, tokens_of), options.seed)
    total = options.minutes * 60
    warm, each = total * 0.2, total * 0.8 / (2 * len(PHASES))
    before = {"files": serving.open_files(server.pid), "threads": serving.threads(server.pid)}
    records, wrong, watch, began, warmed = [], [], Watch(server), time.monotonic(), 0.0
    watcher = asyncio.create_task(watch.run(began))
    # Warm: all memory that the largest phase needs has been touched once. Then every phase twice, so that drift shows between equals.
    print("soak: the cache is filled", file=sys.stderr, flush=True)
    await fill(server, traffic, max(60, warm / 2))
    for clients, seconds in [(max(PHASES), warm)] + [(count, each) for count in PHASES * 2]:
        watch.phase = clients
        if clients == max(PHASES) and not warmed:
            warmed = time.monotonic() - began + seconds
        print(f"soak: {clients:3} clients for {seconds:.0f} s", file=sys.stderr, flush=True)
        await phase(server, traffic, clients, seconds, options.deadline, records, wrong)
    watch.going = False
    await watcher
    return {"before": before, "warm_seconds": warmed, "records": records, "samples": watch.samples, "wrong": wrong}


def verdicts(server, run: dict, settle: float) -> list[dict]:
    found = []

    def check(name: str, ok: bool, fact: str):
        found.append({"name": name, "ok": bool(ok), "fact": fact})

    records, wrong = run["records"], run["wrong"]
    endings = {ending: sum(one["ending"] == ending for one in records) for ending in ("complete", "refused", "left", "broken", "late")}
    check("every answer is complete or a typed error", not wrong and endings["complete"] > 0,
          f"{endings}" + (f"; {len(wrong)} wrong, first: {wrong[0]}" if wrong else ""))
    check("no request is stuck", endings["late"] == 0, f"longest {max(one['seconds'] for one in records):.1f} s")
    end = time.monotonic() + settle
    while True:
        status = server.status()
        idle = status["running"] == status["waiting"] == status["queued"] == 0
        if idle or time.monotonic() > end:
            break
        time.sleep(0.1)
    check("nothing runs when all clients have gone", idle, f"running {status['running']}, waiting {status['waiting']}, queued {status['queued']}")
    blocks = status["blocks"]
    check("all blocks are back", blocks["free"] == blocks["total"], f"{blocks}")
    check("/health and a request", server.ask("GET", "/health").status == 200 and
          server.ask("POST", "/v1/completions", {"model": server.model, "prompt": "x", "max_tokens": 2}).status == 200, "")
    after = [sample for sample in run["samples"] if sample["seconds"] >= run["warm_seconds"]]
    fifth = max(1, len(after) // 5)
    first, last = (statistics.median(sample["rss"] for sample in part) for part in (after[:fifth], after[-fifth:]))
    minutes = (after[-1]["seconds"] - after[0]["seconds"]) / 60 or 1
    check("memory is flat", last <= first * (1 + FLAT),
          f"{first / 2**20:.1f} -> {last / 2**20:.1f} MiB ({(last / first - 1) * 100:+.2f} %, {(last - first) / 2**20 / minutes:+.2f} MiB a minute)")
    before, now = run["before"], {"files": serving.open_files(server.pid), "threads": serving.threads(server.pid)}
    check("no file is left open", now["files"] <= before["files"] + 4, f"files {before['files']} -> {now['files']}, "
          f"threads {before['threads']} -> {now['threads']}")
    return found


def latencies(records: list) -> list[dict]:
    rows = []
    for clients in PHASES:
        done = [one for one in records if one["clients"] == clients and one["ending"] == "complete"]
        first = [one["first_token"] for one in done if one["first_token"]]
        gaps = [gap for one in done for gap in one["gaps"]]
        rows.append({"clients": clients, "complete": len(done), "tokens": sum(one["tokens"] for one in done),
                     "ttft_p50": percentile(first, 0.5), "ttft_p99": percentile(first, 0.99),
                     "itl_p50": percentile(gaps, 0.5), "itl_p99": percentile(gaps, 0.99)})
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0] + ": load for minutes, then faults")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--model", type=Path, help="a model file; else the embedded model")
    parser.add_argument("--binary", type=Path, default=serving.BINARY)
    parser.add_argument("--text", type=Path, default=serving.ROOT / "Tests/Fixtures/demo/heldout.txt", help="prose to cut prompts from")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--deadline", type=float, default=180, help="seconds after which a request counts as stuck")
    parser.add_argument("--option", action="append", default=[], help="one more option of `moe-infer serve`; may be repeated")
    parser.add_argument("--no-faults", action="store_true")
    parser.add_argument("--json", metavar="FILE", help="write the report there; - for standard output")
    parser.add_argument("--output", type=Path, default=serving.ROOT / ".cache/soak", help="folder for the report, plot and logs")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    log = options.output / "server.log"
    log.unlink(missing_ok=True)
    server = serving.MoEServer(*options.option, model=options.model, binary=options.binary, log=log)
    server.start()
    try:
        run = asyncio.run(soak(server, options))
        if server.running():
            checks = verdicts(server, run, settle=10)
            try:
                code = server.stop()
                checks.append({"name": "SIGTERM when idle ends it", "ok": code == 0, "fact": f"exit code {code}"})
            except serving.ServerFailure as failure:
                checks.append({"name": "SIGTERM when idle ends it", "ok": False, "fact": str(failure)})
        else:
            checks = [{"name": "the server lives", "ok": False, "fact": f"ended with {server.process.returncode}\n{server.tail()}"}]
    finally:
        server.kill()
    if not options.no_faults:
        checks += faults.run(options)
    report = {"minutes": options.minutes, "model": options.model.name if options.model else "embedded", "checks": checks,
              "latencies": latencies(run["records"]), "wrong": run["wrong"][:50],
              "samples": run["samples"], "requests": [{name: value for name, value in one.items() if name != "gaps"} for one in run["records"]]}
    path = options.output / "soak.json"
    path.write_text(json.dumps(report) + "\n")
    out = sys.stderr if options.json == "-" else sys.stdout
    for one in checks:
        print(f"{'ok  ' if one['ok'] else 'FAIL'} {one['name']}: {one['fact']}", file=out)
    for row in report["latencies"]:
        show = lambda value: "-" if value is None else f"{value * 1000:.1f}"  # noqa: E731
        print(f"{row['clients']:3} clients: {row['complete']:6} answers, {row['tokens']:8} tokens; first token p50 {show(row['ttft_p50'])} p99 "
              f"{show(row['ttft_p99'])} ms, between tokens p50 {show(row['itl_p50'])} p99 {show(row['itl_p99'])} ms", file=out)
    if options.json == "-":
        print(json.dumps({name: value for name, value in report.items() if name not in ("samples", "requests")}, indent=1))
    elif options.json:
        Path(options.json).write_text(path.read_text())
    subprocess.run([str(environments.python_of("load")), str(HERE / "plot.py"), "soak", str(path)], check=True)
    print(f"soak: {path}, {path.with_suffix('.png')}", file=sys.stderr)
    return 0 if all(one["ok"] for one in checks) else 1


if __name__ == "__main__":
    sys.exit(main())
