#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""make bench-server: moe-infer and llama.cpp's server on the same file, in turns in one run: 1, 4, 16, 64 clients that stream, greedy, of
fixed length; then short streams with and without long prompts arriving. Tokens a second, time to the first token, time between
tokens: a table, JSON and a picture.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "clients"))
import environments  # noqa: E402
import serving  # noqa: E402
from client import Prompts, generate, percentile  # noqa: E402


def start(options, started: dict):
    """Both servers: as many threads, places and tokens of context each. Into `started`, so that a failure leaves none behind."""
    slots = max(options.clients)
    # Prompts are cut by words: some come out longer than asked for.
    each = round(1.7 * (options.long if options.mixed else options.prompt)) + max(options.tokens, options.mixed_tokens) + 64
    logs = options.output
    threads = {"OMP_NUM_THREADS": str(options.threads), "OPENBLAS_NUM_THREADS": str(options.threads), "MOE_THREADS": str(options.threads)}
    ours = serving.MoEServer("--batch", slots, "--queue", 4 * slots, "--context", each, "--cache", slots * each, "--threads", options.threads, *options.option,
                             model=options.model, binary=options.binary, log=logs / "moe-infer.log", environment=threads)
    servers = [ours]
    if options.peer:  # each of its slots has its share of the context
        servers.append(serving.LlamaServer(
            "--threads", options.threads, "--threads-http", 8, "--parallel", slots, "--ctx-size", slots * each, "--cache-ram", 0,
            model=options.model, log=logs / "llama-server.log", environment=threads))
    for server in servers:
        server.log.unlink(missing_ok=True)
        server.start()
        started[server.name] = server


def body_of(model: str, prompt: str, tokens: int) -> dict:
    return {"model": model, "prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": True, "stream": True,
            "stream_options": {"include_usage": True}}


async def measure(server, model: str, prompts: list[str], clients: int, tokens: int, deadline: float) -> dict:
    """All the prompts, shared out among the clients, each asking for one after the other."""
    queue, done = list(enumerate(prompts)), []

    async def one_client():
        while queue:
            _, prompt = queue.pop(0)
            result = await generate(server.url, "/v1/completions", body_of(model, prompt, tokens), deadline)
            if result.ending != "complete":
                raise serving.ServerFailure(f"{server.name}, {clients} clients: {result.ending} {result.why} {result.error}")
            if result.usage["completion_tokens"] != tokens:
                raise serving.ServerFailure(f"{server.name}: {result.usage['completion_tokens']} tokens in place of {tokens}")
            done.append(result)

    began = time.monotonic()
    await asyncio.gather(*(one_client() for _ in range(clients)))
    seconds = time.monotonic() - began
    first, gaps = [one.first_token for one in done], [gap for one in done for gap in one.gaps]
    return {"server": server.name, "clients": clients, "requests": len(done), "seconds": seconds,
            "tokens_per_second": len(done) * tokens / seconds, "prompt_tokens": sum(one.usage["prompt_tokens"] for one in done),
            "ttft_p50": percentile(first, 0.5), "ttft_p99": percentile(first, 0.99),
            "itl_p50": percentile(gaps, 0.5), "itl_p99": percentile(gaps, 0.99)}


async def mixed(server, model: str, prompts: Prompts, options, seed) -> dict:
    """Gaps between the tokens of streams: alone, and while long prompts arrive."""
    async def streams(label):
        tasks = [generate(server.url, "/v1/completions", body_of(model, prompts.of(20, (seed, label, number)), options.mixed_tokens), options.deadline)
                 for number in range(options.mixed_clients)]
        results = await asyncio.gather(*tasks)
        if any(one.ending != "complete" for one in results):
            raise serving.ServerFailure(f"{server.name}: {[one.why or one.error for one in results]}")
        return [gap for one in results for gap in one.gaps]

    quiet = await streams("quiet")
    arrived, going = [], True

    async def long_prompts():
        number = 0
        while going:
            body = body_of(model, prompts.of(options.long, (seed, "long", number)), 2)
            result = await generate(server.url, "/v1/completions", body, options.deadline)
            if result.ending != "complete":
                raise serving.ServerFailure(f"{server.name}: a long prompt: {result.why or result.error}")
            arrived.append(result.first_token)
            number += 1

    others = asyncio.create_task(long_prompts())
    await asyncio.sleep(0.05)
    loaded = await streams("loaded")
    going = False
    await others
    return {"server": server.name, "long_prompts": len(arrived), "quiet_p50": percentile(quiet, 0.5), "quiet_p99": percentile(quiet, 0.99),
            "loaded_p50": percentile(loaded, 0.5), "loaded_p99": percentile(loaded, 0.99),
            "ratio_p99": percentile(loaded, 0.99) / percentile(quiet, 0.99), "long_ttft_p50": percentile(arrived, 0.5)}


def middle(rows: list[dict]) -> dict:
    """The median of each figure over the rounds."""
    return {name: value if isinstance(value, str) else statistics.median(row[name] for row in rows) for name, value in rows[0].items()}


async def run(servers: dict, options) -> dict:
    ours = servers["moe-infer"]
    models = {"moe-infer": ours.model, "llama-server": "any"}
    tokens_of = lambda text: len(ours.ask("POST", "/tokenize", {"prompt": text}).json()["tokens"])  # noqa: E731
    prompts = Prompts(options.text, tokens_of)
    for name, server in servers.items():  # all weights in memory, all threads there
        await measure(server, models[name], [prompts.of(options.prompt, ("warm", number)) for number in range(4)], 4, 16, options.deadline)
    rounds, mixes = [], []
    for number in range(options.rounds):
        order = list(servers) if number % 2 == 0 else list(servers)[::-1]
        for clients in options.clients:
            texts = [prompts.of(options.prompt, (number, clients, index)) for index in range(max(options.requests, clients))]
            for name in order:
                row = await measure(servers[name], models[name], texts, clients, options.tokens, options.deadline)
                rounds.append({"round": number, **row})
                print(f"round {number + 1}, {clients:2} clients, {name:12}: {row['tokens_per_second']:8.1f} tokens/s", file=sys.stderr, flush=True)
        if options.mixed:
            for name in order:
                mixes.append({"round": number, **await mixed(servers[name], models[name], prompts, options, number)})
    rows = [middle([row for row in rounds if row["server"] == name and row["clients"] == clients])
            for clients in options.clients for name in servers]
    return {"rounds": rounds, "rows": rows, "mixed_rounds": mixes,
            "mixed": [middle([row for row in mixes if row["server"] == name]) for name in servers] if mixes else []}


def table(report: dict) -> str:
    milli = lambda value: "       -" if value is None else f"{value * 1000:8.1f}"  # noqa: E731
    lines = ["clients  server        tokens/s  TTFT p50 ms  p99 ms  ITL p50 ms  p99 ms   ratio"]
    for row in report["rows"]:
        other = next((one for one in report["rows"] if one["clients"] == row["clients"] and one["server"] != row["server"]), None)
        ratio = f"{row['tokens_per_second'] / other['tokens_per_second']:7.2f}" if other and row["server"] == "moe-infer" else ""
        lines.append(f"{row['clients']:7.0f}  {row['server']:12} {row['tokens_per_second']:9.1f}     {milli(row['ttft_p50'])} {milli(row['ttft_p99'])} "
                     f"   {milli(row['itl_p50'])} {milli(row['itl_p99'])} {ratio}")
    for row in report["mixed"]:
        lines.append(f"mixed    {row['server']:12} between tokens p99 {row['quiet_p99'] * 1000:.1f} ms alone, {row['loaded_p99'] * 1000:.1f} ms while "
                     f"{row['long_prompts']:.0f} long prompts arrive: {row['ratio_p99']:.2f} times")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0] + ": throughput and latency beside llama.cpp's server")
    parser.add_argument("--model", type=Path, default=serving.SMOLLM2)
    parser.add_argument("--binary", type=Path, default=serving.BINARY)
    parser.add_argument("--peer", action=argparse.BooleanOptionalAction, default=True, help="--no-peer: moe-infer alone")
    parser.add_argument("--clients", type=lambda text: [int(word) for word in text.split(",")], default=[1, 4, 16, 64])
    parser.add_argument("--requests", type=int, default=16, help="requests per measurement; at least one for each client")
    parser.add_argument("--prompt", type=int, default=128, help="tokens of a prompt, about")
    parser.add_argument("--tokens", type=int, default=64, help="tokens of an answer")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mixed", action=argparse.BooleanOptionalAction, default=True, help="the test with long prompts as well")
    parser.add_argument("--long", type=int, default=1500, help="tokens of a long prompt, about")
    parser.add_argument("--mixed-clients", type=int, default=4)
    parser.add_argument("--mixed-tokens", type=int, default=128)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--option", action="append", default=[], help="one more option of `moe-infer serve`; may be repeated")
    parser.add_argument("--text", type=Path, default=serving.ROOT / "Tests/Fixtures/demo/heldout.txt", help="prose to cut prompts from")
    parser.add_argument("--deadline", type=float, default=600)
    parser.add_argument("--json", metavar="FILE", help="write the report there; - for standard output")
    parser.add_argument("--output", type=Path, default=serving.ROOT / ".cache/bench-server")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    if not options.model.exists():
        sys.exit(f"bench-server: {options.model} is not there (`make models`)")
    servers = {}
    try:
        start(options, servers)
        report = asyncio.run(run(servers, options))
    except serving.ServerFailure as failure:
        sys.exit(f"bench-server: {failure}")
    finally:
        for server in servers.values():
            server.kill()
    report = {"model": options.model.name, "threads": options.threads, "prompt": options.prompt, "tokens": options.tokens,
              "requests": options.requests, "load_average": os.getloadavg(), **report}
    path = options.output / "bench-server.json"
    path.write_text(json.dumps(report, indent=1) + "\n")
    print(table(report), file=sys.stderr if options.json == "-" else sys.stdout)
    if options.json == "-":
        print(path.read_text(), end="")
    elif options.json:
        Path(options.json).write_text(path.read_text())
    subprocess.run([str(environments.python_of("load")), str(HERE / "plot.py"), "bench", str(path)], check=True)
    print(f"bench-server: {path}, {path.with_suffix('.png')}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
