#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""HumanEval through the server, and through llama.cpp's server on the same file: greedy completions, pass@1.

Candidates are programs that a model made up. Each runs in a process of its own without network, as nobody where this is root, in an
empty folder, with limits on time, memory, files and processes.
"""

import argparse
import concurrent.futures
import ctypes
import functools
import gzip
import json
import os
import resource
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import serving

STOP = ["\nclass ", "\ndef ", "\n#", "\nif ", "\nprint(", "\n@", "\n```", "<|endoftext|>"]
DATA = serving.ROOT.parent / "shared/data/eval/HumanEval.jsonl.gz"
NOBODY = 65534
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)


def confine():
    """In the child, before the program: no way back from here."""
    is_root = os.geteuid() == 0
    if LIBC.unshare(CLONE_NEWNET if is_root else CLONE_NEWUSER | CLONE_NEWNET) != 0:
        os.write(2, b"no network namespace can be had: refusing to run a candidate\n")
        os._exit(99)
    for limit, value in ((resource.RLIMIT_AS, 1 << 30), (resource.RLIMIT_CPU, 10), (resource.RLIMIT_FSIZE, 1 << 20), (resource.RLIMIT_NOFILE, 64),
                         (resource.RLIMIT_CORE, 0), (resource.RLIMIT_NPROC, 64)):
        resource.setrlimit(limit, (value, value))
    os.setsid()
    if is_root:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)


@functools.cache
def interpreter() -> str:
    """A Python that nobody can run: this one, unless it lies in somebody's home; then the system's."""
    for path in (os.path.realpath(sys.executable), "/usr/bin/python3"):
        try:
            if subprocess.run([path, "-I", "-c", "import typing, math"], preexec_fn=confine, cwd="/", capture_output=True).returncode == 0:
                return path
        except OSError:
            continue
    raise serving.ServerFailure("no Python that a confined process can run: install Debian's python3")


def passes(task: dict, completion: str, seconds: float = 15) -> tuple[bool, str]:
    """Whether the candidate does what the tests ask; and in a word, why not."""
    # Only a program that came to its end knows this word: exit(0) in a candidate passes nothing.
    word = secrets.token_hex(16)
    program = f"{task['prompt']}{completion}\n{task['test']}\ncheck({task['entry_point']})\nprint({word!r})\n"
    with tempfile.TemporaryDirectory(prefix="moe-humaneval-") as folder:
        os.chmod(folder, 0o755)
        process = subprocess.Popen([interpreter(), "-I", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                   cwd=folder, env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}, preexec_fn=confine)
        try:
            out, err = process.communicate(program, timeout=seconds)
        except subprocess.TimeoutExpired:
            out, err = "", "out of time"
        finally:
            try:
                os.killpg(process.pid, 9)  # whatever it has started
            except ProcessLookupError:
                pass
            process.wait()
    if process.returncode == 99:
        raise serving.ServerFailure(err.strip())
    lines = err.strip().splitlines()
    return out.strip().endswith(word), lines[-1][:120] if lines else ""


def complete(server, model: str, task: dict, tokens: int, timeout: float) -> str:
    body = {"model": model, "prompt": task["prompt"], "max_tokens": tokens, "temperature": 0, "stop": STOP}
    answer = server.ask("POST", "/v1/completions", body, timeout=timeout)
    if answer.status != 200:
        raise serving.ServerFailure(f"{server.name} {task['task_id']}: {answer.status} {answer.body[:200]!r}")
    return answer.json()["choices"][0]["text"]


def run(server, model: str, tasks: list, options) -> dict:
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(options.concurrency) as pool:
        def one(task):
            text = complete(server, model, task, options.tokens, options.timeout)
            ok, why = passes(task, text)
            print("." if ok else "F", end="", file=sys.stderr, flush=True)
            return {"task": task["task_id"], "completion": text, "passed": ok, "why": why}

        results = list(pool.map(one, tasks))
    print(file=sys.stderr)
    passed = sum(one["passed"] for one in results)
    return {"server": server.name, "passed": passed, "of": len(results), "pass@1": passed / len(results),
            "seconds": round(time.monotonic() - began, 1), "results": results}


def check_sandbox(tasks: list):
    """The judge is judged first: the authors' solutions pass, nothing passes in their place, and mischief is stopped."""
    for task in tasks[:3]:
        assert passes(task, task["canonical_solution"])[0], f"the solution of {task['task_id']} fails"
        for bad in ("    pass\n", "    import os; os._exit(0)\n", "    raise SystemExit(0)\n"):
            assert not passes(task, bad)[0], f"{bad!r} passes {task['task_id']}"
    for bad in ("    while True: pass\n", "    x = bytearray(1 << 33)\n", "    import socket; socket.create_connection(('127.0.0.1', 22), 2)\n",
                "    open('/etc/moe-infer-was-here', 'w')\n"):
        assert not passes(tasks[0], bad, seconds=3)[0]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--model", type=Path, default=serving.QWEN_CODER)
    parser.add_argument("--binary", type=Path, default=serving.BINARY)
    parser.add_argument("--limit", type=int, help="only the first so many problems")
    parser.add_argument("--servers", default="moe-infer,llama-server")
    parser.add_argument("--concurrency", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=384, help="tokens of an answer at most")
    parser.add_argument("--timeout", type=float, default=900, help="seconds for an answer")
    parser.add_argument("--within", type=int, default=2, help="by how many problems the servers may differ")
    parser.add_argument("--json", metavar="FILE", help="write the results there; - for standard output")
    options = parser.parse_args()
    for path in (options.data, options.model):
        if not path.exists():
            sys.exit(f"humaneval: {path} is not there")
    with gzip.open(options.data, "rt") as file:
        tasks = [json.loads(line) for line in file][: options.limit]
    check_sandbox(tasks)
    logs = serving.ROOT / ".cache/clients/logs"
    context = options.concurrency * 2048
    makers = {
        "moe-infer": lambda: serving.MoEServer("--context", 2048, "--cache", context, "--batch", options.concurrency, model=options.model,
                                                 binary=options.binary, log=logs / "humaneval-moe-infer.log"),
        "llama-server": lambda: serving.LlamaServer("--parallel", options.concurrency, "--ctx-size", context,
                                                    model=options.model, log=logs / "humaneval-llama-server.log"),
    }
    reports = []
    for name in options.servers.split(","):
        try:
            with makers[name]() as server:
                print(f"humaneval: {name}, {len(tasks)} problems", file=sys.stderr)
                reports.append(run(server, server.model if name == "moe-infer" else "any", tasks, options))
        except serving.ServerFailure as failure:
            sys.exit(f"humaneval: {failure}")
    out = sys.stderr if options.json == "-" else sys.stdout
    for report in reports:
        print(f"{report['server']:12} pass@1 {report['pass@1']:.3f} ({report['passed']} of {report['of']}), {report['seconds']:.0f} s", file=out)
    ok = True
    if len(reports) == 2:
        first, second = reports
        same = sum(a["completion"] == b["completion"] for a, b in zip(first["results"], second["results"]))
        differ = [a["task"] for a, b in zip(first["results"], second["results"]) if a["passed"] != b["passed"]]
        ok = abs(first["passed"] - second["passed"]) <= options.within
        print(f"the same text for {same} of {len(tasks)} problems; other verdicts for {', '.join(differ) or 'none'}; "
              f"{'within' if ok else 'NOT within'} {options.within} problems", file=out)
    text = json.dumps({"model": options.model.name, "reports": reports}, indent=1) + "\n"
    if options.json == "-":
        print(text, end="")
    elif options.json:
        Path(options.json).write_text(text)
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
