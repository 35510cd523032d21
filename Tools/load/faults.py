# SPDX-License-Identifier: Apache-2.0
"""What happens when the server is killed, asked to end, or stopped for a while, with clients in the middle of their streams."""

import asyncio
import hashlib
import signal
import time
from pathlib import Path

import serving
from client import generate


def story(model: str, tokens: int, number: int = 0) -> dict:
    return {"model": model, "prompt": f"Once upon a time, {number}", "max_tokens": tokens, "temperature": 0, "ignore_eos": True, "stream": True}


async def streams(server, tokens: int, count: int, then, deadline: float = 90):
    """Opens `count` streams; when all of them have begun to run, calls `then`; the results."""
    model = server.model
    tasks = [asyncio.create_task(generate(server.url, "/v1/completions", story(model, tokens, number), deadline)) for number in range(count)]
    end = time.monotonic() + 20
    while (await asyncio.to_thread(server.status))["running"] < count:
        if time.monotonic() > end:
            raise serving.ServerFailure(f"not all of {count} streams run after 20 s")
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.1)
    began = time.monotonic()
    extra = await then()
    results = await asyncio.gather(*tasks)
    return results, time.monotonic() - began, extra


def digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def killed(server, file: Path) -> str:
    """SIGKILL in the middle: every client sees the end of its connection at once; the server starts again; no file has changed."""
    before = digest(file)

    async def kill():
        server.process.kill()

    results, waited, _ = asyncio.run(streams(server, 6000, 8, kill))
    server.process.wait()
    if any(one.ending != "broken" for one in results):
        return f"endings {[one.ending for one in results]}, expected a broken stream each"
    if waited > 5:
        return f"clients waited {waited:.1f} s to see it"
    if any(one.events == 0 for one in results):
        return "a stream had not begun"
    server.start()
    answer = server.ask("POST", "/v1/completions", {"model": server.model, "prompt": "x", "max_tokens": 3})
    if answer.status != 200 or answer.json()["usage"]["completion_tokens"] != 3:
        return f"after the restart: {answer.status} {answer.body[:100]!r}"
    return "" if digest(file) == before else f"{file.name} has changed"


def drained(server) -> str:
    """SIGTERM under load: what runs is finished, what is new is refused, and the exit code is 0."""
    async def end():
        server.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.2)
        return await generate(server.url, "/v1/completions", {**story("x", 4), "stream": False}, 10)

    results, waited, late = asyncio.run(streams(server, 1500, 8, end))
    incomplete = [one for one in results if one.ending != "complete" and one.ending != "refused"]
    if incomplete:
        return f"{len(incomplete)} of 8 streams were cut off: {incomplete[0].why}"
    if not any(one.ending == "complete" for one in results):
        return "no stream was finished"
    if late.ending == "complete":
        return "a request that came after SIGTERM was taken"
    if late.ending == "refused" and late.status != 503:
        return f"a late request got {late.status}"
    try:
        code = server.process.wait(30)
    except Exception:  # noqa: BLE001
        server.kill()
        return "still there 30 s after its last answer"
    return "" if code == 0 else f"exit code {code}"


def ended_with_idle_connections(server) -> str:
    """SIGTERM while clients hold open connections that say nothing: they do not hold up the end."""
    import sockets

    wires = [sockets.Wire(server.url) for _ in range(20)]
    for wire in wires[:10]:
        wire.send(sockets.head("GET", "/health"))
        wire.answer()
    began = time.monotonic()
    code = server.stop(30)
    for wire in wires:
        wire.close()
    waited = time.monotonic() - began
    return "" if code == 0 and waited < 15 else f"exit code {code} after {waited:.1f} s"


def paused(server) -> str:
    """The process is stopped for two seconds, as by a machine that sleeps: streams go on and none is lost."""
    async def pause():
        server.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(2)
        server.process.send_signal(signal.SIGCONT)

    results, _, _ = asyncio.run(streams(server, 400, 4, pause))
    wrong = [one for one in results if one.ending != "complete"]
    return f"{wrong[0].ending}: {wrong[0].why}" if wrong else ""


def run(options) -> list[dict]:
    """Each fault on a server of its own."""
    found = []
    log = options.output / "server-faults.log"
    log.unlink(missing_ok=True)
    model = options.model or (serving.SMOLLM2 if serving.SMOLLM2.exists() else None)
    faults = [
        ("killed in mid-stream, and started again", model, lambda server: killed(server, model or options.binary)),
        ("SIGTERM under load drains", options.model, drained),
        ("SIGTERM with idle connections", options.model, ended_with_idle_connections),
        ("stopped for two seconds", options.model, paused),
    ]
    for name, file, fault in faults:
        server = serving.MoEServer(model=file, binary=options.binary, log=log, port=serving.free_port())
        try:
            server.start()
            why = fault(server)
        except (serving.ServerFailure, OSError, ValueError, KeyError) as failure:
            why = f"{type(failure).__name__}: {failure}"
        finally:
            if server.process:
                server.kill()
        found.append({"name": name, "ok": not why, "fact": why})
    return found
