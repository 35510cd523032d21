#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""make test-clients: real clients against the server. Each has an environment of its own (environments.py) and a file of tests
(tests/test_*.py); this starts the servers that they need, runs them one after the other, and prints a table.

Exits with 1 when a test fails, when none ran, or when a server does not end cleanly.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path

import environments
import serving

HERE = Path(__file__).resolve().parent
LOGS = environments.CACHE / "logs"
KEY = "moe-test-0123456789abcdef"


@dataclass
class Client:
    """Which tests, against which servers, and how long they may take."""

    tests: list[str]
    servers: list[str]
    seconds: int = 600
    environment: str | None = None


CLIENTS = {
    "openai2": Client(["test_openai.py", "test_openai_chat.py"], ["embedded", "chat", "tools", "keys", "tight"], 900),
    "openai3": Client(["test_openai.py", "test_openai_chat.py"], ["embedded", "chat", "tools", "keys", "tight"], 900),
    "anthropic": Client(["test_anthropic.py"], ["embedded", "chat", "tools", "keys", "tight"]),
    "langchain": Client(["test_langchain.py"], ["embedded", "chat", "tools", "keys"]),
    "litellm": Client(["test_litellm.py"], ["embedded", "chat", "tools", "keys", "tight"]),
    "llm": Client(["test_llm.py"], ["embedded", "chat", "tools", "keys"]),
    "instructor": Client(["test_instructor.py"], ["chat", "tools"]),
    "pydantic-ai": Client(["test_pydantic_ai.py"], ["chat", "tools", "keys"]),
    "lm-eval": Client(["test_lm_eval.py"], ["embedded", "chat"], 900),
    "schemathesis": Client(["test_schemathesis.py"], ["embedded"], 900),
    # Raw sockets and bad input: a script of its own (hostile.py), with servers of its own.
    "hostile": Client([], [], 900),
}


@dataclass
class Outcome:
    client: str
    version: str = ""
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0
    failures: list[dict] = field(default_factory=list)
    skips: list[str] = field(default_factory=list)

    def fail(self, test: str, why: str):
        self.failed += 1
        self.failures.append({"test": test, "why": why})


class Servers:
    """The servers of this run, each started when a client first needs it."""

    def __init__(self, binary: Path):
        self.binary, self.started, self.why_not = binary, {}, {}
        self.folder = tempfile.TemporaryDirectory(prefix="moe-clients-")

    def options(self, name: str) -> tuple[list, Path | None]:
        if name == "chat":
            return [], serving.SMOLLM2
        if name == "tools":
            return [], serving.QWEN_CODER
        if name == "keys":
            return ["--api-keys", serving.key_file(Path(self.folder.name), KEY)], None
        if name == "tight":
            return ["--queue", "1", "--batch", "1"], None
        return [], None

    def get(self, name: str) -> dict | None:
        """What MOE_SERVERS says of the server; nil, with the reason in why_not, where its model is not there."""
        if name not in self.started:
            options, model = self.options(name)
            if model and not model.exists():
                self.why_not[name] = f"{model.name} is not in {model.parent} (`make models`)"
                return None
            key = KEY if name == "keys" else ""
            log = LOGS / f"server-{name}.log"
            log.unlink(missing_ok=True)
            server = serving.MoEServer(*options, model=model, binary=self.binary, log=log)
            server.start()
            headers = {"authorization": f"Bearer {key}"} if key else {}
            identifier = serving.request(server.url, "GET", "/v1/models", headers=headers).json()["data"][0]["id"]
            self.started[name] = (server, {"url": server.url, "model": identifier, "key": key, "pid": server.pid})
        server, description = self.started[name]
        if not server.running():
            raise serving.ServerFailure(f"server '{name}' has ended with {server.process.returncode}\n{server.tail()}")
        return description

    def stop(self) -> list[str]:
        """Ends all by SIGTERM; one line per server that did not go as it should."""
        wrong = []
        for name, (server, _) in self.started.items():
            try:
                code = server.stop()
                if code != 0:
                    wrong.append(f"server '{name}' ended with {code} (log: {server.log})")
            except serving.ServerFailure as failure:
                wrong.append(str(failure))
        self.folder.cleanup()
        return wrong


def version_of(python: Path, name: str) -> str:
    package = environments.client_package(name)
    script = f"import importlib.metadata as m; print(m.version({package!r}))"
    return subprocess.run([str(python), "-c", script], capture_output=True, text=True).stdout.strip()


def read_junit(path: Path, outcome: Outcome):
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        name = f"{case.get('classname', '').split('.')[-1]}::{case.get('name')}"
        # A test can pass and its teardown fail: one case, one verdict.
        bad = case.find("failure") if case.find("failure") is not None else case.find("error")
        skip = case.find("skipped")
        if bad is not None:
            lines = [line for line in (bad.get("message") or bad.text or "").splitlines() if line.strip()]
            outcome.fail(name, " ".join(lines)[:300])
        elif skip is not None:
            outcome.skipped += 1
            outcome.skips.append(f"{name}: {skip.get('message')}")
        else:
            outcome.passed += 1


def run_hostile(outcome: Outcome, client: Client, options):
    with tempfile.NamedTemporaryFile(suffix=".json") as report:
        words = [sys.executable, str(HERE / "hostile.py"), "--binary", str(options.binary), "--json", report.name]
        if options.filter:
            words += ["--filter", options.filter]
        result = subprocess.run(words, timeout=client.seconds, stdout=None if options.verbose else subprocess.DEVNULL)
        text = Path(report.name).read_text()
    if not text:
        outcome.fail("hostile.py", f"ended with {result.returncode} and no report")
        return
    for case in json.loads(text)["cases"]:
        if case["ok"]:
            outcome.passed += 1
        else:
            outcome.fail(case["name"], case["why"][:300])
    outcome.version = "sockets"


def run_client(name: str, client: Client, servers: Servers, options) -> Outcome:
    outcome = Outcome(name)
    began = time.monotonic()
    try:
        if name == "hostile":
            run_hostile(outcome, client, options)
            return outcome
        python = environments.python_of(client.environment or name)
        outcome.version = version_of(python, client.environment or name)
        described = {server: servers.get(server) for server in client.servers}
        described = {server: facts for server, facts in described.items() if facts}
        environment = {**os.environ, "MOE_SERVERS": json.dumps(described), "MOE_BINARY": str(options.binary),
                       "MOE_WHY_NOT": "; ".join(servers.why_not.values()), "PYTHONDONTWRITEBYTECODE": "1",
                       # No client may go elsewhere: no hub, no telemetry, no key of the person who runs this.
                       "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "DO_NOT_TRACK": "1", "OPENAI_API_KEY": "none",
                       "LITELLM_LOCAL_MODEL_COST_MAP": "True", "ANTHROPIC_API_KEY": "none"}
        for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "OPENAI_BASE_URL", "ANTHROPIC_BASE_URL"):
            environment.pop(variable, None)
            environment.pop(variable.lower(), None)
        with tempfile.TemporaryDirectory(prefix="moe-client-") as folder:
            junit = Path(folder) / "results.xml"
            words = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout", "180", "--timeout-method", "signal",
                     "--junitxml", str(junit), "-o", "junit_family=xunit1", "-W", "ignore::DeprecationWarning", "--rootdir", str(HERE / "tests"),
                     *[str(HERE / "tests" / test) for test in client.tests]]
            if options.filter:
                words += ["-k", options.filter]
            log = LOGS / f"client-{name}.log"
            log.parent.mkdir(parents=True, exist_ok=True)
            with open(log, "w") as out:
                process = subprocess.Popen(words, cwd=folder, env={**environment, "HOME": folder}, stdin=subprocess.DEVNULL,
                                           stdout=None if options.verbose else out, stderr=subprocess.STDOUT if not options.verbose else None)
                try:
                    code = process.wait(client.seconds)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                    outcome.fail(name, f"not done after {client.seconds} s (log: {log})")
                    code = None
            if junit.exists():
                read_junit(junit, outcome)
            elif code is not None:
                outcome.fail(name, f"pytest ended with {code} and no results (log: {log})")
            if code not in (0, 1, None) and not outcome.failed:
                outcome.fail(name, f"pytest ended with {code} (log: {log})")
    except (environments.EnvironmentFailure, serving.ServerFailure, subprocess.TimeoutExpired, OSError) as failure:
        outcome.fail(name, str(failure))
    finally:
        outcome.seconds = time.monotonic() - began
    return outcome


def table(outcomes: list[Outcome]) -> str:
    lines = [f"{'client':14} {'version':10} {'passed':>6} {'failed':>6} {'skipped':>7} {'seconds':>7}"]
    for one in outcomes:
        lines.append(f"{one.client:14} {one.version:10} {one.passed:6} {one.failed:6} {one.skipped:7} {one.seconds:7.1f}")
    for one in outcomes:
        lines += [f"FAILED {one.client} {failure['test']}: {failure['why']}" for failure in one.failures]
    reasons = sorted({skip.split(": ", 1)[1] for one in outcomes for skip in one.skips})
    lines += [f"skipped: {reason}" for reason in reasons]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", help="clients, separated by commas: " + ", ".join(CLIENTS) + "; 'openai' names both")
    parser.add_argument("--filter", help="pytest's -k: only tests whose name matches")
    parser.add_argument("--binary", type=Path, default=serving.BINARY)
    parser.add_argument("--json", metavar="FILE", help="write the results there; - for standard output")
    parser.add_argument("--verbose", action="store_true", help="show what the clients print")
    options = parser.parse_args()
    names = list(CLIENTS)
    if options.only:
        wanted = options.only.split(",")
        unknown = [word for word in wanted if not any(name.startswith(word) for name in CLIENTS)]
        if unknown:
            parser.error(f"unknown client {unknown[0]}: one of {', '.join(CLIENTS)}")
        names = [name for name in CLIENTS if any(name == word or name.startswith(word) for word in wanted)]
    servers = Servers(options.binary)
    outcomes = []
    try:
        for name in names:
            print(f"clients: {name}", file=sys.stderr, flush=True)
            outcomes.append(run_client(name, CLIENTS[name], servers, options))
    finally:
        wrong = servers.stop()
    if wrong:
        ending = Outcome("servers' end")
        for line in wrong:
            ending.fail("SIGTERM", line)
        outcomes.append(ending)
    print(table(outcomes), file=sys.stderr if options.json == "-" else sys.stdout)
    passed, failed = sum(one.passed for one in outcomes), sum(one.failed for one in outcomes)
    if options.json:
        text = json.dumps({"passed": passed, "failed": failed, "clients": [vars(one) for one in outcomes]}, indent=1)
        if options.json == "-":
            print(text)
        else:
            Path(options.json).write_text(text + "\n")
    if passed == 0:
        print("clients: no test ran", file=sys.stderr)
    return 0 if failed == 0 and passed > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
