# SPDX-License-Identifier: Apache-2.0
"""A client for load: asyncio and raw sockets, so that 64 of them cost little beside the server that they measure."""

import asyncio
import contextlib
import json
import random
import re
import socket
import struct
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass
class Result:
    """What became of one request. `ending`: complete | refused (a typed error) | left (we went away) | broken | late."""

    ending: str = "broken"
    why: str = ""
    status: int = 0
    error: dict | None = None
    headers: dict = field(default_factory=dict)
    body: dict | None = None
    texts: dict[int, str] = field(default_factory=dict)
    finish: dict[int, str] = field(default_factory=dict)
    usage: dict | None = None
    started: float = 0
    seconds: float = 0
    first_token: float | None = None
    gaps: list[float] = field(default_factory=list)
    events: int = 0


class Broken(Exception):
    """What came is not what HTTP or the stream's format promise."""


@dataclass
class Leave:
    """When to go away: so long after the request was sent, or after so many events. With a reset or in good order."""

    seconds: float | None = None
    events: int | None = None
    reset: bool = False


async def generate(url: str, path: str, body: dict, deadline: float = 120, leave: Leave | None = None, headers: dict | None = None) -> Result:
    """Sends one request and reads all that comes back. Never raises: a failure is a result."""
    result = Result(started=time.monotonic())
    writer = None
    try:
        async with asyncio.timeout(deadline):
            place = urlsplit(url)
            reader, writer = await asyncio.open_connection(place.hostname, place.port, limit=1 << 20)
            writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            data = json.dumps(body).encode()
            lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json", f"Content-Length: {len(data)}",
                     "Connection: close", *[f"{name}: {value}" for name, value in (headers or {}).items()]]
            writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + data)
            await writer.drain()
            if leave and leave.seconds is not None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(leave.seconds):
                        await read_answer(reader, result, body.get("stream", False), None)
                        return result
                result.ending = "left"
            else:
                await read_answer(reader, result, body.get("stream", False), leave.events if leave else None)
    except TimeoutError:
        result.ending, result.why = "late", f"nothing more within {deadline:g} s"
    except (OSError, asyncio.IncompleteReadError, Broken, ValueError, KeyError) as error:
        result.ending, result.why = "broken", f"{type(error).__name__}: {error}"[:200]
    finally:
        result.seconds = time.monotonic() - result.started
        if writer:
            if result.ending == "left" and leave and leave.reset:
                with contextlib.suppress(OSError):
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.close()
    return result


async def read_answer(reader, result: Result, stream: bool, events: int | None):
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    result.status = int(head[0].split(" ")[1])
    result.headers = {line.split(":", 1)[0].lower(): line.split(":", 1)[1].strip() for line in head[1:] if ":" in line}
    pieces = body_pieces(reader, result.headers)
    if result.status != 200 or not stream:
        data = b"".join([piece async for piece in pieces])
        document = json.loads(data)
        if result.status != 200:
            error = document.get("error")
            if not isinstance(error, dict) or not error.get("message") or not error.get("type"):
                raise Broken(f"status {result.status} without a typed error: {data[:100]!r}")
            result.ending, result.error = "refused", error
            return
        result.body, result.usage = document, document.get("usage")
        for choice in document["choices"]:
            result.texts[choice["index"]] = choice.get("text") or (choice.get("message") or {}).get("content") or ""
            result.finish[choice["index"]] = choice["finish_reason"]
        result.ending = "complete"
        return
    done, last, rest = False, None, b""
    async for piece in pieces:
        rest += piece
        while b"\n\n" in rest:
            event, rest = rest.split(b"\n\n", 1)
            if done:
                raise Broken(f"something after [DONE]: {event[:80]!r}")
            for line in event.split(b"\n"):
                if not line or line.startswith(b":"):
                    continue
                if not line.startswith(b"data: "):
                    raise Broken(f"no event: {line[:80]!r}")
                text = line[6:]
                if text == b"[DONE]":
                    done = True
                    continue
                now = time.monotonic()
                if take_event(json.loads(text), result):
                    if last is None:
                        result.first_token = now - result.started
                    else:
                        result.gaps.append(now - last)
                    last = now
                if result.error:
                    result.ending = "refused"
                    return
                if events is not None and result.events >= events:
                    result.ending = "left"
                    return
    if not done:
        raise Broken("the stream ended without [DONE]")
    result.ending = "complete"


def take_event(document: dict, result: Result) -> bool:
    """Notes what an event says; whether it brought text."""
    if "error" in document:
        error = document["error"]
        if not isinstance(error, dict) or not error.get("message"):
            raise Broken(f"an error without words: {error}")
        result.error = error
        return False
    result.events += 1
    result.usage = document.get("usage") or result.usage
    brought = False
    for choice in document.get("choices", []):
        index = choice["index"]
        text = choice["text"] if "text" in choice else (choice.get("delta") or {}).get("content")
        if text:
            brought = True
            result.texts[index] = result.texts.get(index, "") + text
        if choice.get("finish_reason"):
            result.finish[index] = choice["finish_reason"]
    return brought


async def body_pieces(reader, headers: dict):
    if headers.get("transfer-encoding", "").lower() == "chunked":
        while True:
            size = int((await reader.readuntil(b"\r\n"))[:-2].split(b";")[0], 16)
            if size == 0:
                await reader.readuntil(b"\r\n")
                return
            data = await reader.readexactly(size + 2)
            yield data[:-2]
    elif "content-length" in headers:
        yield await reader.readexactly(int(headers["content-length"]))
    else:
        while data := await reader.read(65536):
            yield data


class Prompts:
    """Texts of about so many tokens, cut from a file of prose; each begins differently, so that no cache knows it."""

    def __init__(self, path, tokens_of):
        self.words = re.sub(r"\s+", " ", path.read_text()).split(" ")
        sample = " ".join(self.words[:2000])
        self.per_word = tokens_of(sample) / 2000

    def of(self, tokens: int, seed) -> str:
        chance = random.Random(str(seed))
        count = max(1, round(tokens / self.per_word))
        start = chance.randrange(len(self.words))
        cut = [self.words[(start + step) % len(self.words)] for step in range(count)]
        return " ".join(cut)


def percentile(values, share: float) -> float | None:
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]
