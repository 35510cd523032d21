# SPDX-License-Identifier: Apache-2.0
"""Bad input below JSON: slow, broken, huge and hasty clients."""

import json
import threading
import time

import serving
from hostile_case import case, fine_or_typed, typed
from sockets import Closed, Wire, head, one, post

MEGABYTE = 1 << 20


@case("slow clients are put up with (they are looked at again at the end)")
def slow_start(target):
    """Slow-loris: half of them send their head a byte at a time, half stall in the body. Nobody else may notice."""
    for number in range(60):
        wire = Wire(target.url)
        if number % 2:
            wire.send(head("POST", "/v1/completions", length=1000) + b'{"model":')
        target.slow.append(wire)
    data = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: " + b"a" * 100000
    target.slow_began = time.monotonic()

    def drip():
        position = 0
        while position < 2000 and target.slow:
            for wire in target.slow[::2]:
                try:
                    wire.send(data[position:position + 1])
                except OSError:
                    pass
            position += 1
            time.sleep(0.25)

    threading.Thread(target=drip, daemon=True).start()
    began = time.monotonic()
    assert target.post("/v1/completions", target.completion()).status == 200
    assert time.monotonic() - began < 5, "a good client waits for slow ones"


@case("a client that has sent its side's end still gets its answer")
def half_closed(target):
    for fields in ({}, {"max_tokens": 400, "ignore_eos": True}):
        with Wire(target.url) as wire:
            wire.send(post("/v1/completions", target.completion(**fields)))
            wire.half_close()
            answer = wire.answer()
        assert answer.status == 200 and answer.json()["usage"]["completion_tokens"] == fields.get("max_tokens", 2)
    with Wire(target.url) as wire:
        wire.send(post("/v1/completions", target.completion(max_tokens=200, stream=True, ignore_eos=True)))
        wire.half_close()
        answer = wire.answer()
    assert answer.status == 200 and answer.body.rstrip().endswith(b"data: [DONE]")
    with Wire(target.url) as wire:
        wire.send(head("GET", "/health"))
        wire.half_close()
        assert wire.answer().status == 200


@case("a half-closed client that then goes away is cancelled")
def half_closed_and_gone(target):
    for _ in range(4):
        wire = Wire(target.url)
        wire.send(post("/v1/completions", target.completion(max_tokens=6000, ignore_eos=True, stream=True)))
        wire.half_close()
        wire.until(b"data: ")
        wire.reset()
    target.well(within=5)


@case("clients that go away before, in and after the head of an answer")
def disconnects(target):
    for number in range(60):
        wire = Wire(target.url)
        data = post("/v1/completions", target.completion(max_tokens=6000, ignore_eos=True, stream=number % 2 == 0))
        wire.send(data[: len(data) // 2] if number % 3 == 0 else data)
        if number % 3 == 2 and number % 2 == 0:
            wire.until(b"data: ")
        (wire.reset if number % 4 < 2 else wire.close)()
    target.well(within=10)


@case("connections that say nothing")
def silent(target):
    wires = [Wire(target.url) for _ in range(300)]
    assert target.post("/v1/completions", target.completion()).status == 200
    for wire in wires:
        wire.close()


@case("a client that does not read its stream")
def no_reader(target):
    before = target.resident()
    wires = [Wire(target.url, receive_buffer=4096) for _ in range(4)]
    for wire in wires:
        wire.send(post("/v1/completions", target.completion(max_tokens=6000, ignore_eos=True, stream=True, logprobs=5)))
    began = time.monotonic()
    assert target.post("/v1/completions", target.completion(), timeout=60).status == 200
    assert time.monotonic() - began < 30, "one who does not read holds up others"
    time.sleep(2)
    grown = target.resident() - before
    for wire in wires:
        wire.reset()
    assert grown < 128 * MEGABYTE, f"{grown >> 20} MiB are held for clients that do not read"


@case("a body of 100 MB is refused early, in constant memory")
def large_body(target):
    size = 100 * 1000 * 1000
    before = target.resident()
    with Wire(target.url) as wire:
        wire.send(head("POST", "/v1/completions", length=size))
        sent = 0
        block = b'{"model":"' + b"a" * MEGABYTE
        while sent < size:
            gone = wire.send_while_silent(block)
            sent += gone
            if gone < len(block):
                break
        typed(wire.answer(), 413)
    assert sent < size // 2, f"{sent >> 20} MiB were taken in before the refusal"
    assert target.resident() - before < 64 * MEGABYTE


@case("an endless chunked body is refused, in constant memory")
def endless_body(target):
    before = target.resident()
    with Wire(target.url, timeout=60) as wire:
        wire.send(head("POST", "/v1/completions", {"Transfer-Encoding": "chunked", "Content-Type": "application/json"}))
        block = b"10000\r\n" + b"a" * 65536 + b"\r\n"
        sent = 0
        while sent < 100 * MEGABYTE:
            gone = wire.send_while_silent(block)
            sent += gone
            if gone < len(block):
                break
        typed(wire.answer(), 413)
    assert sent < 64 * MEGABYTE
    assert target.resident() - before < 64 * MEGABYTE


@case("Expect: 100-continue")
def expect_continue(target):
    data = json.dumps(target.completion()).encode()
    with Wire(target.url) as wire:
        wire.send(head("POST", "/v1/completions", {"Expect": "100-continue"}, len(data)))
        wire.send(data)
        assert wire.answer().status == 200
    with Wire(target.url, timeout=10) as wire:
        wire.send(head("POST", "/v1/completions", {"Expect": "100-continue"}, 10**9))
        answer = wire.answer()
        assert answer.status in (413, 417), answer.status


@case("chunked bodies, well made")
def chunked(target):
    data = json.dumps(target.completion(max_tokens=3)).encode()
    body = b"".join(b"%x;name=value\r\n%s\r\n" % (1, data[i:i + 1]) for i in range(len(data))) + b"0\r\nTrailer: x\r\n\r\n"
    with Wire(target.url) as wire:
        wire.send(head("POST", "/v1/completions", {"Transfer-Encoding": "chunked", "Content-Type": "application/json"}) + body)
        assert wire.answer().json()["usage"]["completion_tokens"] == 3


@case("chunked bodies, badly made")
def bad_chunks(target):
    start = head("POST", "/v1/completions", {"Transfer-Encoding": "chunked", "Content-Type": "application/json"})
    for body in (b"zz\r\nhello\r\n0\r\n\r\n", b"-5\r\nhello\r\n0\r\n\r\n", b"ffffffffffffffffff\r\nhello", b"5\r\nhelloworld\r\n0\r\n\r\n",
                 b"\r\n\r\n", b"5 5\r\nhello\r\n0\r\n\r\n", b"0x5\r\nhello\r\n0\r\n\r\n", b"5;" + b"e" * 200000 + b"\r\nhello\r\n0\r\n\r\n"):
        answer = target.ended(start + body, timeout=10)
        assert answer is None or 400 <= answer.status < 500, f"{body[:20]!r}: {answer.status}"
    with Wire(target.url) as wire:  # the end never comes, as the client goes
        wire.send(start + b"5\r\nhe")


@case("lengths that do not agree")
def lengths(target):
    data = json.dumps(target.completion()).encode()
    for fields in ("Content-Length: 5\r\nContent-Length: 6", f"Content-Length: {len(data)}\r\nTransfer-Encoding: chunked", "Content-Length: -1",
                   "Content-Length: 1e3", "Content-Length: 99999999999999999999", "Content-Length: ", "Content-Length: +5",
                   "Transfer-Encoding: gzip, chunked", "Transfer-Encoding: chunked, identity"):
        request = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{fields}\r\n\r\n".encode() + data
        try:
            with Wire(target.url, timeout=5) as wire:
                wire.send(request)
                wire.half_close()
                answer = wire.answer()
        except (Closed, BrokenPipeError, ConnectionResetError):
            continue
        assert 400 <= answer.status < 500 or answer.status == 501, f"{fields!r}: {answer.status} {answer.body[:100]!r}"
    with Wire(target.url, timeout=10) as wire:  # shorter than it says: the body ends in the middle
        wire.send(head("POST", "/v1/completions", length=len(data) + 100) + data)
        wire.half_close()
        try:
            assert 400 <= wire.answer().status < 500
        except Closed:
            pass


@case("pipelined requests are answered in order")
def pipelined(target):
    lengths = [3, 1, 5, 2, 4]
    with Wire(target.url) as wire:
        wire.send(b"".join(post("/v1/completions", target.completion(max_tokens=count), {"X-Request-Id": f"pipe-{count}"}) for count in lengths)
                  + head("GET", "/health"))
        for count in lengths:
            answer = wire.answer()
            assert answer.status == 200 and answer.json()["usage"]["completion_tokens"] == count
            assert answer.headers["x-request-id"] == f"pipe-{count}"
        assert wire.answer().status == 200


@case("a good request after a bad one on one connection")
def keep_alive(target):
    with Wire(target.url) as wire:
        for _ in range(5):
            wire.send(post("/v1/completions", b"{nonsense"))
            typed(wire.answer(), 400)
            wire.send(post("/v1/completions", target.completion()))
            assert wire.answer().status == 200


@case("floods of headers")
def header_flood(target):
    before = target.resident()
    for data in (
        b"GET /health HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: y\r\n" % number for number in range(50000)) + b"\r\n",
        b"GET /health HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * (8 * MEGABYTE) + b"\r\n\r\n",
        b"GET /health?" + b"a" * (4 * MEGABYTE) + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: x\r\n" + b"a" * (4 * MEGABYTE),
    ):
        answer = target.ended(data, timeout=15)
        assert answer is None or 400 <= answer.status < 500, f"{data[:40]!r}: {answer.status}"
    assert target.resident() - before < 64 * MEGABYTE


@case("what is no HTTP")
def no_http(target):
    hello = bytes.fromhex("16030100c8010000c40303") + bytes(200)  # a TLS client's first words
    for data in (b"\x00" * 1000, b"hello\r\n\r\n", hello, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
                 b"GET /health HTTP/1.1\nHost: x\n\n", b"\r\n\r\n\r\n", b"GET /health HTTP/1.1\r\nHost x\r\n\r\n",
                 b"GET /he\x00alth HTTP/1.1\r\nHost: x\r\n\r\n", b"G\xffT / HTTP/1.1\r\nHost: x\r\n\r\n",
                 b"GET /health HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n", b"GET /health HTTP/1.1\r\n X: folded\r\n\r\n"):
        with Wire(target.url, timeout=3) as wire:
            wire.send(data)
            wire.half_close()
            try:
                answer = wire.answer()
            except (Closed, TimeoutError, ValueError):
                continue
        assert answer.status < 500 or answer.status in (501, 505), f"{data[:30]!r}: {answer.status}"


@case("HTTP/1.0 and HEAD")
def old_http(target):
    with Wire(target.url) as wire:
        wire.send(b"GET /health HTTP/1.0\r\n\r\n")
        assert wire.answer().status == 200
        assert wire.is_closed(10), "an HTTP/1.0 connection stays open"
    with Wire(target.url) as wire:
        wire.send(head("HEAD", "/health"))
        answer = wire.answer(head=True)
        assert answer.status in (200, 404, 405)


@case("paths and methods that are not there")
def paths(target):
    for method, path in (("GET", "/nothing"), ("GET", "/v1/nothing"), ("POST", "/v1"), ("GET", "/v1/requests/"), ("GET", "/v1/requests/..%2f..")):
        typed(target.send(head(method, path, length=0)), 404, 405)
    for method, path in (("GET", "/v1/completions"), ("DELETE", "/v1/chat/completions"), ("PUT", "/tokenize"), ("POST", "/v1/models"),
                         ("PATCH", "/metrics"), ("POST", "/health")):
        typed(target.send(head(method, path, length=0)), 404, 405)
    for path in ("/web/../../etc/passwd", "/web/%2e%2e/%2e%2e/etc/passwd", "/web/..%2f..%2fetc%2fpasswd", "/../../../../etc/passwd", "/web/%00",
                 "/web//etc/passwd", "/%", "/%zz", "/v1/models/%ff"):
        answer = target.ended(head("GET", path))
        assert answer is None or answer.status in (400, 404), f"{path}: {answer.status}"
        assert answer is None or b"root:" not in answer.body
    typed(target.send(head("GET", "/v1/models/" + "x" * 3000)), 404, 414)


@case("request ids that are no ids")
def request_ids(target):
    for name in ("x" * 4000, "a b\tc", "<script>", "\xff\xfe", '"; drop', ""):
        answer = target.post("/v1/completions", target.completion(), **{"X-Request-Id": name})
        given = answer.headers["x-request-id"]
        assert answer.status == 200 and given and len(given) < 200 and given.isprintable() and "<" not in given


@case("wrong keys")
def wrong_keys(target):
    folder = target.logs.parent
    server = target.other("keys", "--api-keys", serving.key_file(folder, "the-right-key"))
    for fields in ({}, {"Authorization": "Bearer"}, {"Authorization": "Bearer "}, {"Authorization": "Bearer wrong"}, {"X-Api-Key": "wrong"},
                   {"Authorization": "Basic dGhlLXJpZ2h0LWtleQ=="}, {"Authorization": "the-right-key"}, {"Authorization": "Bearer the-right-key "*20},
                   {"Authorization": "Bearer " + "x" * 5000}, {"Authorization": "Bearer \xff\xfe"}, {"X-Api-Key": ""},
                   {"Authorization": "Bearer THE-RIGHT-KEY"}):
        for request in (post("/v1/completions", target.completion(), fields), head("GET", "/v1/models", fields), head("GET", "/metrics", fields),
                        head("GET", "/moe/status", fields), head("GET", "/v1/requests/x", fields), post("/tokenize", {"prompt": "x"}, fields)):
            answer = one(server.url, request)
            typed(answer, 401)
            assert b"the-right-key" not in answer.body
    for fields in ({"Authorization": "Bearer the-right-key"}, {"X-Api-Key": "the-right-key"}, {"authorization": "bearer the-right-key"}):
        assert one(server.url, head("GET", "/v1/models", fields)).status == 200
    for path in ("/health", "/ready", "/openapi.json", "/"):
        assert one(server.url, head("GET", path)).status == 200, f"{path} needs no key"
    # A body that is refused for its key is not read: no key, no memory.
    with Wire(server.url) as wire:
        wire.send(head("POST", "/v1/completions", length=50 * MEGABYTE))
        typed(wire.answer(), 401, 413)


@case("content types")
def content_types(target):
    data = json.dumps(target.completion()).encode()
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16", "", "multipart/form-data; boundary=x"):
        request = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data
        fine_or_typed(target.send(request), 400, 415)
    packed = target.post("/v1/completions", b"\x1f\x8b\x08" + bytes(50), **{"Content-Encoding": "gzip"})
    typed(packed, 400, 415)
