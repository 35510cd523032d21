# SPDX-License-Identifier: Apache-2.0
"""Starts `moe-infer serve` (or llama-server) for a test, asks it things over plain HTTP, and looks at its process."""

import contextlib
import ctypes
import hashlib
import http.client
import json
import os
import re
import select
import signal
import socket
import subprocess
import time
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[2]
BINARY = ROOT / ".build" / "release" / "moe-infer"
MODELS = Path(os.environ.get("MOE_MODELS") or Path.home() / ".cache/moe-infer/models")
LLAMA_SERVER = Path(os.environ.get("MOE_LLAMA_CPP") or Path.home() / ".cache/moe-infer/llama.cpp") / "bin/llama-server"
SMOLLM2 = MODELS / "SmolLM2-135M-Instruct.Q4_1.gguf"
QWEN_CODER = MODELS / "Qwen2.5-Coder-1.5B-Instruct.Q4_K_M.gguf"


LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1


class ServerFailure(Exception):
    pass


def die_with_parent():
    """In the child: whatever ends the test, a server that it has started ends with it."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Answer:
    """A whole HTTP answer: status, headers (lower case), body."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)


def request(url: str, method: str, path: str, body=None, headers: dict[str, str] | None = None, timeout: float = 60) -> Answer:
    """One request on a connection of its own. `body`: a value that is sent as JSON, or bytes as they are."""
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=timeout)
    try:
        sent = dict(headers or {})
        if body is not None and not isinstance(body, (bytes, bytearray)):
            body = json.dumps(body).encode()
            sent.setdefault("content-type", "application/json")
        connection.request(method, path, body=body, headers=sent)
        response = connection.getresponse()
        fields = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, fields, response.read())
    finally:
        connection.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def key_file(folder: Path, *keys: str) -> Path:
    """A file for --api-keys: it holds only digests."""
    path = folder / "keys.json"
    entries = [{"name": f"test-{number}", "sha256": hashlib.sha256(key.encode()).hexdigest()} for number, key in enumerate(keys)]
    path.write_text(json.dumps({"keys": entries}))
    path.chmod(0o600)
    return path


def resident_bytes(pid: int) -> int:
    """Resident memory less the pages of mapped files: weights come and go with the page cache and are no leak."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    return sum(int(fields[name].split()[0]) for name in ("RssAnon", "RssShmem")) * 1024


def open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def threads(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/task"))


class Process:
    """A server process, with what it says in a log file."""

    name = "server"

    def __init__(self, arguments: list, log: Path, environment: dict[str, str] | None = None, nice: int = 0):
        self.arguments = [str(word) for word in arguments]
        self.log = Path(log)
        self.environment = {**os.environ, **(environment or {})}
        self.nice = nice
        self.process: subprocess.Popen | None = None
        self.url = ""

    def spawn(self, **options) -> subprocess.Popen:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        words = ["nice", "-n", str(self.nice), *self.arguments] if self.nice else self.arguments
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=log, env=self.environment,
                                            preexec_fn=die_with_parent, **options)
        return self.process

    @property
    def pid(self) -> int:
        # nice(1) becomes the program: the process stays the same.
        return self.process.pid

    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def ask(self, method: str, path: str, body=None, **options) -> Answer:
        return request(self.url, method, path, body, **options)

    def tail(self, lines: int = 8) -> str:
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def kill(self):
        if self.running():
            self.process.kill()
        if self.process:
            self.process.wait()

    def stop(self, deadline: float = 30) -> int:
        """SIGTERM, and the exit code; a server that does not go by the deadline is killed and is a failure."""
        if not self.running():
            return self.process.returncode
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(deadline)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ServerFailure(f"{self.name} was still there {deadline:g} s after SIGTERM") from None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        with contextlib.suppress(ServerFailure):
            self.stop(10)
        self.kill()


class MoEServer(Process):
    name = "moe-infer"

    def __init__(self, *options, model: Path | None = None, binary: Path = BINARY, log: Path, port: int = 0, **more):
        words = [binary, "serve", "--port", str(port)]
        if model:
            words += ["--model", model]
        super().__init__([*words, *options], log, **more)

    def start(self, deadline: float = 60):
        if not Path(self.arguments[0]).exists():
            raise ServerFailure(f"{self.arguments[0]} is not there: `make build`")
        process = self.spawn(stdout=subprocess.PIPE)
        line, end = b"", time.monotonic() + deadline
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([process.stdout], [], [], max(0, end - time.monotonic()))
            piece = os.read(process.stdout.fileno(), 1) if ready else b""
            if not piece:
                code = process.poll()
                self.kill()
                why = f"ended with {code}" if code is not None else "did not listen in time"
                raise ServerFailure(f"{self.name} {why}\n{self.tail()}")
            line += piece
        found = re.fullmatch(rb"moe-infer is listening on (http://\S+)\n", line)
        if not found:
            self.kill()
            raise ServerFailure(f"unexpected first line: {line!r}")
        self.url = found[1].decode()

    @property
    def model(self) -> str:
        return self.ask("GET", "/v1/models").json()["data"][0]["id"]

    def status(self) -> dict:
        return self.ask("GET", "/moe/status").json()


class LlamaServer(Process):
    name = "llama-server"

    def __init__(self, *options, model: Path, log: Path, binary: Path = LLAMA_SERVER, **more):
        self.port = free_port()
        words = [binary, "--model", model, "--host", "127.0.0.1", "--port", str(self.port), "--no-webui"]
        super().__init__([*words, *options], log, **more)

    def start(self, deadline: float = 120):
        if not Path(self.arguments[0]).exists():
            raise ServerFailure(f"{self.arguments[0]} is not there: `make peer`")
        self.spawn(stdout=subprocess.DEVNULL)
        self.url = f"http://127.0.0.1:{self.port}"
        end = time.monotonic() + deadline
        while time.monotonic() < end:
            if not self.running():
                raise ServerFailure(f"{self.name} ended with {self.process.returncode}\n{self.tail()}")
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.ask("GET", "/health", timeout=2).status == 200:
                    return
            time.sleep(0.2)
        self.kill()
        raise ServerFailure(f"{self.name} did not listen in time\n{self.tail()}")
