# SPDX-License-Identifier: Apache-2.0
"""Bad input in JSON: broken documents, wrong types in every field of every endpoint, absurd numbers."""

import json
import time

from hostile_case import case, fine_or_typed, typed
from sockets import Wire, head, post

GENERATING = ("/v1/completions", "/v1/chat/completions", "/v1/responses", "/v1/messages")
OTHERS = ("/v1/embeddings", "/v1/messages/count_tokens", "/tokenize", "/detokenize")


@case("documents that are no JSON, or no object")
def documents(target):
    broken = [b"", b" ", b"{", b"}", b"[]", b"null", b"true", b"5", b'"text"', b'{"a":}', b"{'model': 'm'}", b'{"model": "m",}', b'{"a" 1}',
              b'{"a": 01}', b'{"a": .5}', b'{"a": NaN}', b'{"a": Infinity}', b'{"a": -Infinity}', b'{"a": +1}', b'{"a": 0x10}', b'{"a": 1} {"b": 2}',
              b'{"a": "\n"}', b'{"a": "\\x"}', b'{"a": "\\u12"}', b'{"a": tru}', b"// c\n{}", b'{"a": "b', b"\x00" * 64, b"\x80\x81",
              "{\"a\": 1}".encode("utf-16"), b"<xml/>", b"model=m&prompt=x"]
    for path in GENERATING + OTHERS:
        with Wire(target.url) as wire:
            for body in broken:
                wire.send(post(path, body))
                answer = wire.answer()
                try:
                    typed(answer, 400)
                except AssertionError as error:
                    raise AssertionError(f"{path} {body[:40]!r}: {error}") from None


@case("invalid UTF-8 and lone surrogates")
def utf8(target):
    for bad in (b"\xff", b"\xc3", b"\xc0\x80", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"ok\x80ok"):
        body = b'{"model": "%s", "max_tokens": 1, "prompt": "%s"}' % (target.model.encode(), bad)
        typed(target.post("/v1/completions", body), 400)
        body = b'{"model": "%s", "max_tokens": 1, "messages": [{"role": "user", "content": "%s"}]}' % (target.model.encode(), bad)
        typed(target.post("/v1/chat/completions", body), 400)
    for escaped in (rb"\ud800", rb"\udc00", rb"\ud800x", rb"\ud83d\ud83d"):
        body = b'{"model": "%s", "max_tokens": 1, "prompt": "%s"}' % (target.model.encode(), escaped)
        fine_or_typed(target.post("/v1/completions", body))
    for good in (rb"\ud83d\ude00", "\U0001f600\u0000\ufeff\u202e".encode()[:4], rb"\u0000"):
        body = b'{"model": "%s", "max_tokens": 1, "prompt": "a%s"}' % (target.model.encode(), good)
        assert target.post("/v1/completions", body).status == 200


@case("deep nesting")
def deep(target):
    for depth in (2000, 100000, 1000000):
        for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
            value = opening * depth + b"1" + closing * depth
            for body in (value, b'{"model": "%s", "prompt": %s}' % (target.model.encode(), value), opening * depth):
                typed(target.post("/v1/completions", body), 400, 413)
            unknown = b'{"model": "%s", "prompt": "x", "max_tokens": 1, "unknown": %s}' % (target.model.encode(), value)
            fine_or_typed(target.post("/v1/completions", unknown), 400, 413)


@case("duplicate keys")
def duplicates(target):
    body = b'{"model": "%s", "prompt": "x", "max_tokens": 1, "max_tokens": 2, "prompt": "y"}' % target.model.encode()
    fine_or_typed(target.post("/v1/completions", body))
    many = b"{" + b'"a": 1, ' * 100000 + b'"model": "%s", "prompt": "x", "max_tokens": 1}' % target.model.encode()
    fine_or_typed(target.post("/v1/completions", many), 400, 413)
    names = json.dumps({**{f"field{number}": number for number in range(100000)}, **target.completion()}).encode()
    fine_or_typed(target.post("/v1/completions", names), 400, 413)


# Fields by the JSON types that they may have. A value of any other type is a mistake that must be told (null never is).
STRING, NUMBER, INTEGER, BOOLEAN, ARRAY, OBJECT = "string", "number", "integer", "boolean", "array", "object"
SAMPLING = {"temperature": (NUMBER,), "top_p": (NUMBER,), "seed": (INTEGER,), "stop": (STRING, ARRAY), "presence_penalty": (NUMBER,),
            "frequency_penalty": (NUMBER,), "repetition_penalty": (NUMBER,), "top_k": (INTEGER,), "min_p": (NUMBER,), "n": (INTEGER,),
            "logit_bias": (OBJECT,), "ignore_eos": (BOOLEAN,), "min_tokens": (INTEGER,), "stop_token_ids": (ARRAY,), "stream": (BOOLEAN,),
            "stream_options": (OBJECT,), "moe": (OBJECT,), "reasoning_effort": (STRING,)}
FIELDS = {
    "/v1/completions": {"model": (STRING,), "prompt": (STRING, ARRAY), "max_tokens": (INTEGER,), "echo": (BOOLEAN,), "logprobs": (INTEGER, BOOLEAN),
                        "suffix": (STRING,), **SAMPLING},
    "/v1/chat/completions": {"model": (STRING,), "messages": (ARRAY,), "max_tokens": (INTEGER,), "max_completion_tokens": (INTEGER,),
                             "logprobs": (BOOLEAN,), "top_logprobs": (INTEGER,), "response_format": (OBJECT,), "tools": (ARRAY,),
                             "tool_choice": (STRING, OBJECT), "parallel_tool_calls": (BOOLEAN,), "chat_template_kwargs": (OBJECT,),
                             "add_generation_prompt": (BOOLEAN,), "continue_final_message": (BOOLEAN,), **SAMPLING},
    "/v1/responses": {"model": (STRING,), "input": (STRING, ARRAY), "instructions": (STRING,), "max_output_tokens": (INTEGER,), "tools": (ARRAY,),
                      "text": (OBJECT,), "reasoning": (OBJECT,), "temperature": (NUMBER,), "top_p": (NUMBER,), "stream": (BOOLEAN,)},
    "/v1/messages": {"model": (STRING,), "messages": (ARRAY,), "max_tokens": (INTEGER,), "system": (STRING, ARRAY), "stop_sequences": (ARRAY,),
                     "temperature": (NUMBER,), "top_p": (NUMBER,), "top_k": (INTEGER,), "tools": (ARRAY,), "tool_choice": (OBJECT,),
                     "stream": (BOOLEAN,)},
    "/v1/messages/count_tokens": {"model": (STRING,), "messages": (ARRAY,), "system": (STRING, ARRAY), "tools": (ARRAY,)},
    "/v1/embeddings": {"model": (STRING,), "input": (STRING, ARRAY), "encoding_format": (STRING,), "dimensions": (INTEGER,)},
    "/tokenize": {"prompt": (STRING,), "add_special_tokens": (BOOLEAN,)},
    "/detokenize": {"tokens": (ARRAY,)},
}
VALUES = {STRING: [b'"text"', b'""', b'"' + b"x" * 5000 + b'"', rb'"\u0000"'], BOOLEAN: [b"true"],
          INTEGER: [b"0", b"-1", b"9223372036854775807", b"-9223372036854775808"],
          NUMBER: [b"0.5", b"-0.0", b"1e-400", b"1.5e308", b"-1e300"],
          ARRAY: [b"[]", b"[[]]", b"[null]", b"[{}]", b"[-1]", b"[1e30]", b'["a", 1]', b"[true]", b"[" + b"[]," * 2000 + b"[]]"],
          OBJECT: [b"{}", b'{"a": 1}', b'{"": {"": {}}}', b'{"type": 5}', b'{"type": "function", "function": 7}']}
# No value of a JSON number at all, or none that a double or an Int64 holds.
BEYOND = [b"1e400", b"-1e400", b"9223372036854775808", b"123456789012345678901234567890123456789", b"1" * 5000]


def body_of(target, path: str) -> dict:
    message = [{"role": "user", "content": "Hello"}]
    return {
        "/v1/completions": target.completion(), "/v1/chat/completions": target.chat(),
        "/v1/responses": {"model": target.model, "input": "Hello", "max_output_tokens": 2},
        "/v1/messages": {"model": target.model, "messages": message, "max_tokens": 2},
        "/v1/messages/count_tokens": {"model": target.model, "messages": message},
        "/v1/embeddings": {"model": target.model, "input": "Hello"}, "/tokenize": {"prompt": "Hello"}, "/detokenize": {"tokens": [20, 21]},
    }[path]


# Limits on the length of an answer: large ones are fair, and take long.
LENGTHS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "min_tokens", "n")


def check_field(target, path: str, field: str, allowed: tuple, value: bytes, kind: str | None):
    body = {name: content for name, content in body_of(target, path).items() if name != field}
    data = json.dumps(body).encode()[:-1] + (b", " if body else b"") + b'"%s": %s}' % (field.encode(), value)
    whole = value in (b"-0.0", b"1e-400")  # JSON does not tell 0.0 from 0
    fits = kind in allowed or (kind == INTEGER and NUMBER in allowed) or (whole and INTEGER in allowed)
    if fits and field in LENGTHS and value.startswith(b"9"):
        with Wire(target.url) as wire:  # taken at its word, it would take for ever: gone before that
            wire.send(post(path, data))
            time.sleep(0.05)
        return
    answer = target.post(path, data)
    if field == "stream" and answer.status == 200:
        assert b"data: " in answer.body
    elif fits or field == "model":
        fine_or_typed(answer, 400, 404)
    else:
        typed(answer, 400)


@case("wrong types and absurd numbers in every field of every endpoint")
def every_field(target):
    wrong, count = [], 0
    for path, fields in FIELDS.items():
        for field, allowed in fields.items():
            for kind, values in [*VALUES.items(), (None, BEYOND)]:
                for value in values:
                    count += 1
                    # A number too large for its field may be told or clamped, or be a fault of the document: no 5xx is all.
                    try:
                        if kind is None and (NUMBER in allowed or INTEGER in allowed):
                            check_field(target, path, field, allowed, value, INTEGER if value.isdigit() else NUMBER)
                        else:
                            check_field(target, path, field, allowed, value, kind)
                    except (AssertionError, OSError, Exception) as error:  # noqa: BLE001: all of them are told at the end
                        wrong.append(f"{path} {field}={value[:24].decode()}: {type(error).__name__} {str(error)[:90]}")
    assert not wrong, f"{len(wrong)} of {count}: " + "; ".join(wrong[:400 if target.patience > 1000 else 12])


@case("nulls in every field are as if it were not there")
def nulls(target):
    for path, fields in FIELDS.items():
        body = body_of(target, path)
        given = {field: None for field in fields if field not in body or field == "temperature"}
        answer = target.post(path, {**body, **given})
        assert answer.status == 200, f"{path}: {answer.status} {answer.body[:200]!r}"


@case("numbers that ask for too much")
def too_much(target):
    for fields in ({"n": 10**9}, {"n": 2**40}, {"best_of": 10**9, "n": 10**9}, {"logprobs": 10**9}, {"prompt": ["x"] * 100000, "max_tokens": 1}):
        typed(target.post("/v1/completions", target.completion(**fields)), 400, 413)
    typed(target.post("/v1/chat/completions", target.chat(logprobs=True, top_logprobs=10**9)), 400)
    with Wire(target.url) as wire:  # clamped to the context, or refused
        wire.send(post("/v1/completions", target.completion(max_tokens=10**18, stream=True)))
        time.sleep(0.5)
    typed(target.post("/v1/completions", target.completion(moe={"budget": -1})), 400)
    typed(target.post("/v1/completions", target.completion(moe={"max_experts": 0})), 400)
    fine_or_typed(target.post("/v1/completions", target.completion(moe={"budget": 10**18})))
    fine_or_typed(target.post("/v1/completions", target.completion(moe={"max_experts": 10**9})))
    for policy in ("static:k=" + "9" * 400, "static:k=1,2,3,4,5,6,7,8,9", "profile:/etc/passwd", "profile:/dev/zero", "top-p:p=nan", "ratio:min=-1",
                   "x" * 100000, "", "static:k=-1"):
        answer = target.post("/v1/completions", target.completion(moe={"routing": policy}))
        typed(answer, 400, 403)
        assert b"root:" not in answer.body


@case("stop texts by the hundred thousand")
def stops(target):
    for stop in ([f"stop{number}" for number in range(100000)], ["x" * 1000000], [""], ["", "a"], [None], [[]]):
        began = time.monotonic()
        fine_or_typed(target.post("/v1/completions", target.completion(stop=stop, max_tokens=8)), 400, 413)
        assert time.monotonic() - began < 10


@case("logit_bias for absurd ids")
def logit_bias(target):
    for bias in ({"999999999": 5}, {"-1": 5}, {"1e3": 5}, {" 5": 1}, {"": 1}, {"5": "much"}, {"5": None}, {"99999999999999999999": 1}):
        fine_or_typed(target.post("/v1/completions", target.completion(logit_bias=bias)))
    fine_or_typed(target.post("/v1/completions", b'{"model": "%s", "prompt": "x", "max_tokens": 2, "logit_bias": {"5": 1e400}}' % target.model.encode()))
    fine_or_typed(target.post("/v1/completions", target.completion(logit_bias={str(number): 1 for number in range(100000)})))
    every = {str(number): -100 for number in range(4096)}  # every token of the vocabulary is banned
    fine_or_typed(target.post("/v1/completions", target.completion(logit_bias=every)))


@case("prompts beyond the context")
def long_prompts(target):
    for body, path in ((target.completion(prompt="word " * 200000), "/v1/completions"), (target.completion(prompt=[20] * 500000), "/v1/completions"),
                       (target.chat(messages=[{"role": "user", "content": "word " * 200000}]), "/v1/chat/completions"),
                       (target.chat(messages=[{"role": "user", "content": "word"}] * 50000), "/v1/chat/completions"),
                       ({"model": target.model, "input": "word " * 200000}, "/v1/responses"),
                       ({"model": target.model, "input": "word " * 200000}, "/v1/embeddings"),
                       ({"model": target.model, "max_tokens": 2, "messages": [{"role": "user", "content": "word " * 200000}]}, "/v1/messages")):
        began = time.monotonic()
        error = typed(target.post(path, body, timeout=60), 400, 413)
        if path in ("/v1/completions", "/v1/chat/completions") and error.get("code") is not None and "prompt" in body:
            assert error["code"] == "context_length_exceeded", error
        assert time.monotonic() - began < 20
    typed(target.post("/v1/completions", target.completion(prompt=[])), 400)
    fine_or_typed(target.post("/v1/completions", target.completion(prompt="")))
    fine_or_typed(target.post("/v1/completions", target.completion(prompt=[[]])))


@case("token ids that are none")
def token_ids(target):
    for tokens in ([-1], [4096], [2**31], [2**63], [2**64], [1.5], [True], [None], [[[1]]], [1, "a"]):
        typed(target.post("/v1/completions", target.completion(prompt=tokens)), 400)
        typed(target.post("/detokenize", {"tokens": tokens}), 400)
    fine_or_typed(target.post("/tokenize", {"prompt": "x" * 1000000}), 400, 413)
    fine_or_typed(target.post("/tokenize", {"prompt": "\u0000\ufffd\U0010ffff" * 1000}))


@case("models that are not there")
def models(target):
    for model in ("missing", "../../etc/passwd", "", "x" * 10000, "\u0000"):
        for path in GENERATING:
            answer = target.post(path, {**body_of(target, path), "model": model})
            if model or answer.status != 200:  # an empty name may mean the only model
                typed(answer, 400, 404)


@case("messages that are none")
def messages(target):
    for value in ([{}], [{"role": 5, "content": "x"}], [{"role": "user", "content": 5}], [{"role": "user", "content": [5]}],
                  [{"role": "user", "content": [{"type": "text"}]}], [{"role": "user", "content": [{"type": "video", "video": "x"}]}],
                  [{"role": "user", "content": {"text": "x"}}], ["hello"], [[{"role": "user", "content": "x"}]],
                  [{"role": "assistant", "tool_calls": "x"}], [{"role": "assistant", "tool_calls": [{"function": {"arguments": "{"}}]}]):
        typed(target.post("/v1/chat/completions", target.chat(messages=value)), 400)
    for value in ([{"role": "tool", "content": "x"}], [{"role": "assistant", "content": None}], [{"role": "user", "content": []}],
                  [{"role": "system", "content": "x"}], [{"role": "assistant", "content": "x"}] * 3):
        fine_or_typed(target.post("/v1/chat/completions", target.chat(messages=value)))


@case("tools that are none")
def tools(target):
    for value in ([5], [{}], [{"type": "function"}], [{"type": "function", "function": {}}], [{"type": "function", "function": {"name": 5}}],
                  [{"type": "function", "function": {"name": "x", "parameters": "y"}}]):
        typed(target.post("/v1/chat/completions", target.chat(tools=value)), 400)
    many = [{"type": "function", "function": {"name": f"f{number}", "parameters": {"type": "object"}}} for number in range(20000)]
    fine_or_typed(target.post("/v1/chat/completions", target.chat(tools=many, tool_choice="required")), 400, 413)
    odd = [{"type": "function", "function": {"name": "x\"}\n<tool_call>" * 10, "description": "d" * 100000, "parameters": {}}}]
    fine_or_typed(target.post("/v1/chat/completions", target.chat(tools=odd)), 400, 413)


@case("bodies and requests that stop in the middle")
def cut_off(target):
    data = post("/v1/chat/completions", target.chat(max_tokens=500))
    for length in range(1, len(data), 7):
        with Wire(target.url) as wire:
            wire.send(data[:length])
    with Wire(target.url) as wire:
        wire.send(head("GET", "/metrics")[:-2])
