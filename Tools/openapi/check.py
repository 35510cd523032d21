#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Whether a real server answers as its description says: `make test-openapi`. Schemas are closed for this: a member that is written and
not described is a mistake as well as one that is described and not written.

    python Tools/openapi/check.py .build/release/moe-infer [--model FILE] [--model …]      (needs jsonschema)

Every endpoint is asked for each kind of answer: whole, streamed (every event is checked), refused."""

from __future__ import annotations

import argparse
import http.client
import json
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
import describe  # noqa: E402
import jsonschema  # noqa: E402
import request_schemas as requests  # noqa: E402
import response_schemas as responses  # noqa: E402
from schema import closed  # noqa: E402

HOPE = 120  # seconds
HELLO = describe.HELLO
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": describe.WEATHER}},
         {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}, "additionalProperties": False}}}]
FLAT_TOOLS = [{"type": "function", **tool["function"]} for tool in TOOLS]
PARTS = [{"role": "user", "content": [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]}]
CALLED = [*HELLO, {"role": "assistant", "content": None, "tool_calls": [
    {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{\"city\": \"Paris\"}"}}]},
    {"role": "tool", "tool_call_id": "call_1", "content": "rain"}]

# Beside the examples of the description. Each: the path, the body, the status.
BODIES: list[tuple[str, object, int]] = [
    ("/v1/chat/completions", {"messages": PARTS, "max_tokens": 4, "temperature": 0, "stop": ["\n", "x"], "logit_bias": {"5": -100}, "user": "me"}, 200),
    ("/v1/chat/completions", {"messages": HELLO, "max_tokens": 4, "n": 2, "seed": 7, "stream": True, "logprobs": True, "top_logprobs": 1,
                              "stream_options": {"include_usage": True, "continuous_usage_stats": True}}, 200),
    ("/v1/chat/completions", {"messages": HELLO, "max_tokens": 4, "moe": {"budget": 100000}, "reasoning_effort": "low"}, 200),
    ("/v1/chat/completions", {"messages": HELLO, "max_tokens": 64, "tools": TOOLS, "tool_choice": "required", "stream": True}, 200),
    ("/v1/chat/completions", {"messages": HELLO, "max_tokens": 0}, 200),
    ("/v1/chat/completions", {"messages": [*HELLO, {"role": "assistant", "content": "Well, "}], "continue_final_message": True, "max_tokens": 4}, 200),
    ("/v1/chat/completions", {name: None for name in requests.CHAT["properties"] if name != "messages"} | {"messages": HELLO, "max_tokens": 2}, 200),
    ("/v1/chat/completions", {}, 400), ("/v1/chat/completions", [], 400), ("/v1/chat/completions", {"messages": []}, 400),
    ("/v1/chat/completions", {"messages": HELLO, "model": "another"}, 404),
    ("/v1/chat/completions", {"messages": HELLO, "moe": {"routing": "nonsense"}}, 400),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "word " * 20000}]}, 400),
    ("/v1/completions", {"prompt": [5, 6, 7], "max_tokens": 4, "logprobs": 3}, 200),
    ("/v1/completions", {"prompt": [[5, 6], "text"], "max_tokens": 4, "echo": True, "stream": True, "logprobs": 1,
                         "stream_options": {"include_usage": True}}, 200),
    ("/v1/completions", {"prompt": "a", "max_tokens": 0, "echo": True, "logprobs": 0}, 200),
    ("/v1/completions", {"prompt": "a", "max_tokens": 12, "grammar": "root ::= [0-9]+"}, 200),
    ("/v1/completions", {name: None for name in requests.COMPLETION["properties"]} | {"prompt": "a", "max_tokens": 2}, 200),
    ("/v1/completions", {"prompt": "a", "max_tokens": "many"}, 400), ("/v1/completions", {"prompt": [-1]}, 400),
    ("/v1/responses", {"input": "Hello", "max_output_tokens": 64, "tools": FLAT_TOOLS, "tool_choice": "required", "stream": True}, 200),
    ("/v1/responses", {"input": "Hello", "max_output_tokens": 64, "tools": FLAT_TOOLS, "tool_choice": {"type": "function", "name": "now"}}, 200),
    ("/v1/responses", {"input": PARTS, "instructions": "Be brief.", "max_output_tokens": 4, "include": ["message.output_text.logprobs"],
                       "metadata": {"a": "b"}}, 200),
    ("/v1/responses", {"input": "Hello", "max_output_tokens": 4, "stream": True, "top_logprobs": 1}, 200),
    ("/v1/responses", {name: None for name in requests.RESPONSES["properties"]} | {"input": "Hello", "max_output_tokens": 2}, 200),
    ("/v1/responses", {"input": "Hello", "previous_response_id": "resp_1"}, 400), ("/v1/responses", {}, 400),
    ("/v1/messages", {"max_tokens": 64, "messages": HELLO, "tools": [{"name": "weather", "input_schema": describe.WEATHER}],
                      "tool_choice": {"type": "any"}}, 200),
    ("/v1/messages", {"max_tokens": 64, "messages": HELLO, "tools": [{"name": "weather", "input_schema": describe.WEATHER}],
                      "tool_choice": {"type": "tool", "name": "weather"}, "stream": True}, 200),
    ("/v1/messages", {"max_tokens": 4, "stop_sequences": ["e"], "system": [{"type": "text", "text": "Be brief."}], "messages": [
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]}, {"role": "assistant", "content": "Good "}]}, 200),
    ("/v1/messages", {"max_tokens": 64, "messages": HELLO, "output_config": {"format": {"type": "json_schema", "schema": describe.WEATHER}}}, 200),
    ("/v1/messages", {name: None for name in requests.MESSAGES["properties"]} | {"messages": HELLO, "max_tokens": 2}, 200),
    ("/v1/messages", {"messages": HELLO}, 400), ("/v1/messages", {"messages": HELLO, "max_tokens": 1, "model": "another"}, 404),
    ("/v1/messages/count_tokens", {}, 400),
    ("/v1/embeddings", {"input": [[5, 6], "text"], "pooling": "last", "normalize": False}, 200),
    ("/v1/embeddings", {"input": []}, 400), ("/v1/embeddings", {"input": "a", "dimensions": 1000000}, 400),
    ("/tokenize", {"content": "Hello", "add_special": False}, 200), ("/tokenize", {}, 400),
    ("/detokenize", {"tokens": []}, 200), ("/detokenize", {"tokens": ["a"]}, 400),
]
# For models with a template that knows tools. The embedded one has none.
TEMPLATED: list[tuple[str, object, int]] = [
    ("/v1/chat/completions", {"messages": CALLED, "max_tokens": 4, "tools": TOOLS, "tool_choice": "none", "top_p": 0.9, "temperature": 1}, 200),
    ("/v1/responses", {"input": [*HELLO, {"type": "function_call", "call_id": "c", "name": "now", "arguments": "{}"},
                                 {"type": "function_call_output", "call_id": "c", "output": "noon"}], "max_output_tokens": 4}, 200),
    ("/v1/messages", {"max_tokens": 4, "messages": [
        *HELLO, {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "weather", "input": {"city": "Paris"}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "rain"}]}]}, 200),
]
PATHS: list[tuple[str, str, int]] = [
    ("/v1/models/{model}", "/v1/models/another", 404), ("/models/{model}", "/models/another", 404),
    ("/v1/requests/{id}", "/v1/requests/nobody", 404), ("/web/{name}", "/web/nothing.js", 404), ("/web/{name}", "/web/app.js", 200),
    ("/web/{name}", "/web/style.css", 200), ("/web/{name}", "/web/icon.svg", 200),
]
for path in ("/v1/models", "/models", "/tokenizer_info", "/moe/status", "/moe/heatmap", "/health", "/ready", "/metrics", "/openapi.json", "/"):
    PATHS.append((path, path, 200))


class Mistakes(Exception):
    pass


class Server:
    def __init__(self, binary: str, model: str | None) -> None:
        words = [binary, "serve", "--port", "0", "--log-level", "warning", *(["--model", model] if model else [])]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if " on " not in line:
            sys.exit(f"the server does not listen: {line!r}")
        self.address = urlsplit(line.split()[-1])

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(self.address.hostname, self.address.port, timeout=HOPE)
        data = None if body is None else json.dumps(body).encode()
        connection.request(method, path, data, {"content-type": "application/json"} if data else {})
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(HOPE)


class Judge:
    """Compares answers with the description."""

    def __init__(self, document: dict) -> None:
        self.document = document
        self.validator = jsonschema.Draft202012Validator
        self.seen: set[str] = set()

    def errors(self, schema: dict, value: object) -> list[str]:
        whole = {**schema, "components": self.document["components"]}
        return [f"{error.json_path}: {error.message[:300]}" + self.detail(error) for error in self.validator(whole).iter_errors(value)]

    def detail(self, error: jsonschema.ValidationError) -> str:
        best = jsonschema.exceptions.best_match([error])
        return f" ({best.json_path}: {best.message[:300]})" if best is not error else ""

    def resolve(self, value: dict) -> dict:
        if "$ref" not in value:
            return value
        part = self.document
        for name in value["$ref"].removeprefix("#/").split("/"):
            part = part[name]
        return part

    def check(self, path: str, method: str, status: int, headers: dict[str, str], body: bytes) -> list[str]:
        operation = self.document["paths"][path][method]
        if str(status) not in operation["responses"]:
            return [f"status {status} is not described: {body[:300]!r}"]
        response = self.resolve(operation["responses"][str(status)])
        media = headers.get("content-type", "").split(";")[0]
        if media not in response["content"]:
            return [f"content type {media!r} is not described"]
        self.seen.add(f"{method} {path} {status} {media}")
        mistakes = []
        described = {name: self.resolve(header) for name, header in response["headers"].items()}
        for name, header in described.items():
            if name not in headers:
                mistakes += [f"header {name} is missing"] if header.get("required") else []
                continue
            value: object = headers[name]
            if header["schema"].get("type") in ("number", "integer"):
                value = float(value) if header["schema"]["type"] == "number" else int(value)
            mistakes += [f"header {name}: {error}" for error in self.errors(header["schema"], value)]
        for name in headers:
            if name.startswith("x-moe") and name not in described:
                mistakes.append(f"header {name} is not described")
        kind = response["content"][media]
        if media == "application/json":
            mistakes += self.errors(kind["schema"], json.loads(body))
        elif media == "text/event-stream":
            mistakes += self.events(kind["schema"]["properties"]["data"]["contentSchema"], body.decode())
        return mistakes

    def events(self, schema: dict, text: str) -> list[str]:
        mistakes = []
        blocks = [block for block in text.split("\n\n") if block and not block.startswith(":")]
        for block in blocks:
            found = re.fullmatch(r"(?:event: ([a-z._]+)\n)?data: (.*)", block)
            if not found:
                mistakes.append(f"no event: {block!r}")
                continue
            name, data = found.groups()
            if data == "[DONE]":
                continue
            value = json.loads(data)
            if name and value.get("type") != name:
                mistakes.append(f"event {name} with data of type {value.get('type')}")
            mistakes += self.errors(schema, value)
        if len(blocks) < 3:
            mistakes.append(f"a stream of {len(blocks)} events: {text[:300]!r}")
        return mistakes


def cases(document: dict, has_template: bool) -> list[tuple[str, str, str, object, int]]:
    """Method, described path, path, body, status."""
    found: list[tuple[str, str, str, object, int]] = []
    for path, item in document["paths"].items():
        if "post" in item:
            examples = item["post"]["requestBody"]["content"]["application/json"]["examples"]
            found += [("post", path, path, example["value"], 200) for example in examples.values()]
    found += [("post", path, path, body, status) for path, body, status in [*BODIES, *(TEMPLATED if has_template else [])]]
    found += [("get", described, path, None, status) for described, path, status in PATHS]
    return found


def run(binary: str, model: str | None, document: dict) -> int:
    server, judge, failures = Server(binary, model), Judge(document), 0
    try:
        name = json.loads(server.ask("GET", "/v1/models")[2])["data"][0]["id"]
        all_cases = cases(document, model is not None) + [("get", "/v1/models/{model}", f"/v1/models/{name}", None, 200)]
        for method, described, path, body, wanted in all_cases:
            if method == "post":
                # What is accepted must be described as acceptable, and the other way round where a schema can tell.
                kind = document["paths"][described][method]["requestBody"]["content"]["application/json"]["schema"]
                unfit = judge.errors(kind, body)
                if unfit and wanted == 200:
                    failures += complain(method, path, body, [f"the request is not as described: {unfit}"])
            status, headers, answer = server.ask(method.upper(), path, body)
            mistakes = judge.check(described, method, status, headers, answer)
            if status != wanted:
                mistakes.append(f"status {status}, expected {wanted}: {answer[:300]!r}")
            if mistakes:
                failures += complain(method, path, body, mistakes)
            elif described.startswith("/v1/") and status == 200 and method == "post" and "count" not in path and "embed" not in path:
                record = server.ask("GET", "/v1/requests/" + headers["x-request-id"])
                if wrong := judge.check("/v1/requests/{id}", "get", *record):
                    failures += complain("get", "/v1/requests", body, wrong)
        described = {f"{method} {path}" for path, item in document["paths"].items() for method in item if method in ("get", "post")}
        for missing in sorted(described - {" ".join(entry.split()[:2]) for entry in judge.seen}):
            failures += complain("", missing, None, ["was not asked"])
        print(f"{model or 'embedded model'}: {len(all_cases)} requests, {len(judge.seen)} kinds of answers, {failures} failures")
    finally:
        server.stop()
    return failures


def complain(method: str, path: str, body: object, mistakes: list[str]) -> int:
    print(f"{method} {path} {json.dumps(body)[:200]}", *mistakes[:5], sep="\n    ")
    return 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("--model", action="append", default=[])
    options = parser.parse_args()
    document = describe.description()
    document["components"]["schemas"] = {**requests.SCHEMAS, **closed(responses.SCHEMAS)}
    failures = sum(run(options.binary, model, document) for model in [None, *options.model])
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
