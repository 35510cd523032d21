# SPDX-License-Identifier: Apache-2.0
"""HTTP by hand over raw sockets: requests that no client library would send, and what comes back, byte by byte."""

import contextlib
import json
import select
import socket
import struct
import time
from urllib.parse import urlsplit

from serving import Answer


class Closed(Exception):
    """The server closed the connection before a whole answer came."""


class Wire:
    """One connection. Reads are bounded by a deadline, so that a server that hangs is a failure and not a hang."""

    def __init__(self, url: str, timeout: float = 30, receive_buffer: int | None = None):
        place = urlsplit(url)
        self.timeout = timeout
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(timeout)
        self.socket.connect((place.hostname, place.port))
        self.rest = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def reset(self):
        """Ends with RST in place of FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def send(self, data: bytes):
        self.socket.sendall(data)

    def send_while_silent(self, data: bytes) -> int:
        """Sends until all is sent or the server has something to say; the number of bytes that went out."""
        sent, end = 0, time.monotonic() + self.timeout
        self.socket.setblocking(False)
        try:
            while sent < len(data) and time.monotonic() < end:
                readable, writable, _ = select.select([self.socket], [self.socket], [], 1)
                if readable:
                    break
                if writable:
                    try:
                        sent += self.socket.send(data[sent:sent + 65536])
                    except (ConnectionResetError, BrokenPipeError):
                        break
        finally:
            self.socket.settimeout(self.timeout)
        return sent

    def half_close(self):
        self.socket.shutdown(socket.SHUT_WR)

    def more(self) -> bytes:
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            data = b""
        if not data:
            raise Closed(f"closed after {self.rest[:200]!r}")
        return data

    def until(self, mark: bytes) -> bytes:
        while mark not in self.rest:
            self.rest += self.more()
        found, self.rest = self.rest.split(mark, 1)
        return found

    def exactly(self, count: int) -> bytes:
        while len(self.rest) < count:
            self.rest += self.more()
        found, self.rest = self.rest[:count], self.rest[count:]
        return found

    def answer(self, head: bool = False) -> Answer:
        """The next whole answer; interim ones (1xx) are skipped."""
        while True:
            lines = self.until(b"\r\n\r\n").split(b"\r\n")
            version, status = lines[0].split(b" ")[:2]
            assert version in (b"HTTP/1.1", b"HTTP/1.0"), f"not HTTP: {lines[0]!r}"
            fields = {}
            for line in lines[1:]:
                name, value = line.split(b":", 1)
                fields[name.decode().lower()] = value.strip().decode("latin-1")
            if int(status) >= 200:
                break
        if head or int(status) == 204:
            body = b""
        elif "content-length" in fields:
            body = self.exactly(int(fields["content-length"]))
        elif fields.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(self.until(b"\r\n"), 16):
                body += self.exactly(size)
                self.exactly(2)
            self.until(b"\r\n")
        else:
            body = self.rest
            with contextlib.suppress(Closed):
                while True:
                    body += self.more()
            self.rest = b""
        return Answer(int(status), fields, body)

    def is_closed(self, within: float) -> bool:
        """Whether the server ends the connection in that time; what it still says is thrown away."""
        end = time.monotonic() + within
        while True:
            readable, _, _ = select.select([self.socket], [], [], max(0, end - time.monotonic()))
            if not readable:
                return False
            try:
                if not self.socket.recv(65536):
                    return True
            except OSError:
                return True


def head(method: str, path: str, headers: dict | None = None, length: int | None = None) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if length is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {length}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def post(path: str, body, headers: dict | None = None) -> bytes:
    """The bytes of a request. A body that is bytes goes as it is."""
    data = body if isinstance(body, (bytes, bytearray)) else json.dumps(body).encode()
    return head("POST", path, headers, len(data)) + data


def one(url: str, data: bytes, timeout: float = 30) -> Answer:
    with Wire(url, timeout) as wire:
        wire.send_while_silent(data)
        return wire.answer()


def ended(url: str, data: bytes, timeout: float = 30) -> Answer | None:
    """The answer to what is hardly a request; None when the server closes in place of one."""
    try:
        return one(url, data, timeout)
    except (Closed, BrokenPipeError, ConnectionResetError):
        return None
