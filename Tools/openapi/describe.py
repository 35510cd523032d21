#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the description of the server's endpoints, which it publishes as /openapi.json.

    Tools/openapi/describe.py                  writes Sources/MoEServer/OpenAPI/openapi.json
    Tools/openapi/describe.py --check          fails where that file is not what would be written
    Tools/openapi/describe.py --closed FILE    the same with responses closed against more members, to check a server with

Schemas are in request_schemas.py and response_schemas.py, after the readers and formats in Sources/MoEServer. The schema of a stream is that
of each of its events."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
import request_schemas as requests  # noqa: E402
import response_schemas as responses  # noqa: E402
from schema import NUMBER, TEXT, Schema, closed, one_of, ref, whole  # noqa: E402

SERVER = Path(__file__).resolve().parents[2] / "Sources/MoEServer"
FILE = SERVER / "OpenAPI/openapi.json"

TITLE = "moe-infer"
DESCRIPTION = """A mixture-of-experts inference server. It speaks OpenAI's chat, completions, responses, embeddings and models, Anthropic's \
messages, and says what each answer cost.

Members of requests that are not described are ignored. A member that may be absent may be null. Every response has `x-request-id`: the \
request's own where it is 1 to 128 letters, digits and `-_.:`."""

STATUSES = {
    400: "The request is not valid, or does not fit into the context.", 401: "A key is needed, or is not known.",
    404: "There is no such model, request or page.", 405: "The endpoint has other methods: see Allow.",
    408: "The body did not arrive in time.", 413: "The body is too large.",
    429: "The queue is full, or the key has had its share of this minute.", 500: "A mistake of the server, or of the model's template.",
    503: "The server is shutting down, or out of memory.", 504: "The server's time for a request is over.",
}
READING = (401, 404)
BODY = (400, 401, 404, 408, 413, 429, 500, 503)
RUNNING = (*BODY, 504)

HEADERS = {
    "RequestID": {
        "description": "Names the request, in logs and at /v1/requests/{id}.", "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9_.:-]{1,128}$"}},
    "AnthropicRequestID": {"description": "The same, as Anthropic's API names it.", "required": True, "schema": TEXT},
    "RetryAfter": {"description": "Seconds until another try makes sense.", "required": True, "schema": whole(1)},
    "RetryAfterMilliseconds": {"description": "The same in milliseconds.", "required": True, "schema": whole(1)},
    "Authenticate": {"required": True, "schema": one_of("Bearer")},
    "OperatingPoint": {"description": "How the request is routed.", "required": True, "schema": TEXT},
    "MeanExperts": {"description": "usage.moe.mean_experts. The following are in whole responses only, not in streams.", "schema": NUMBER},
    "ExpertEvaluations": {"schema": whole(0)},
    "SavedFraction": {"schema": NUMBER},
    "DegradedTokens": {"schema": whole(0)},
    "Cost": {"description": "US$.", "schema": {"type": "number", "minimum": 0}},
}
NAMES = {
    "x-request-id": "RequestID", "request-id": "AnthropicRequestID", "retry-after": "RetryAfter", "retry-after-ms": "RetryAfterMilliseconds",
    "www-authenticate": "Authenticate", "x-moe-operating-point": "OperatingPoint", "x-moe-mean-experts": "MeanExperts",
    "x-moe-expert-evaluations": "ExpertEvaluations", "x-moe-saved-fraction": "SavedFraction", "x-moe-degraded-tokens": "DegradedTokens",
    "x-moe-cost-usd": "Cost",
}


def headers(*names: str) -> dict:
    return {name: {"$ref": f"#/components/headers/{NAMES[name]}"} for name in ("x-request-id", *names)}


def errors(prefix: str, schema: str) -> dict[str, dict]:
    """By name: an error response of one of the two shapes."""
    result = {}
    for status, description in STATUSES.items():
        more = {429: ("retry-after", "retry-after-ms"), 503: ("retry-after", "retry-after-ms"), 401: ("www-authenticate",)}.get(status, ())
        if prefix == "MessagesError":
            more = ("request-id", *more)
        result[f"{prefix}{status}"] = {
            "description": description, "headers": headers(*more), "content": {"application/json": {"schema": ref(schema)}}}
    return result


def content(media: str, schema: Schema) -> dict:
    return {media: {"schema": schema}}


def operation(
    tag: str, name: str, summary: str, good: dict, statuses: tuple[int, ...] = (), *, body: dict | None = None, description: str = "",
    parameters: tuple[dict, ...] = (), is_open: bool = False, prefix: str = "Error",
) -> dict:
    result: dict = {"tags": [tag], "operationId": name, "summary": summary}
    if description:
        result["description"] = description
    if is_open:
        result["security"] = []
    if parameters:
        result["parameters"] = list(parameters)
    if body:
        result["requestBody"] = body
    result["responses"] = {"200": good, **{str(status): {"$ref": f"#/components/responses/{prefix}{status}"} for status in sorted(statuses)}}
    return result


def body(schema: str, examples: dict[str, dict]) -> dict:
    return {
        "required": True,
        "content": {"application/json": {"schema": ref(schema), "examples": {name: {"value": value} for name, value in examples.items()}}}}


def answer(
    schema: str | Schema, *, media: str = "application/json", description: str = "The answer.", more: tuple[str, ...] = (),
) -> dict:
    return {"description": description, "headers": headers(*more), "content": content(media, ref(schema) if isinstance(schema, str) else schema)}


def server_sent(event: str) -> Schema:
    data = {"type": "string", "contentMediaType": "application/json", "contentSchema": ref(event), "description": "OpenAI's streams end with [DONE]."}
    return {"type": "object", "properties": {"event": TEXT, "data": data}, "required": ["data"]}


def generated(schema: str, event: str, more: tuple[str, ...] = ()) -> dict:
    return {
        "description": "The answer, at once or as server-sent events (`stream`). A failure in a stream is an event with an error.",
        "headers": headers(*more, *(name for name in NAMES if name.startswith("x-moe-"))),
        "content": {**content("application/json", ref(schema)), **content("text/event-stream", server_sent(event))}}


def path_parameter(name: str, schema: Schema, description: str) -> dict:
    return {"name": name, "in": "path", "required": True, "schema": schema, "description": description}


HELLO = [{"role": "user", "content": "Hello"}]
WEATHER = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 12}}, "required": ["city"], "additionalProperties": False}


def generation() -> dict[str, dict]:
    def post(tag: str, name: str, summary: str, request: str, response: str, event: str, examples: dict, **more: object) -> dict:
        good = generated(response, event, ("request-id",) if tag == "anthropic" else ())
        return {"post": operation(tag, name, summary, good, RUNNING, body=body(request, examples), **more)}

    return {
        "/v1/chat/completions": post(
            "openai", "chat", "Answer a conversation", "ChatRequest", "ChatCompletion", "ChatCompletionChunk", {
                "short": {"messages": HELLO, "max_tokens": 8},
                "compute": {"messages": HELLO, "max_tokens": 8, "moe": {"routing": "fast", "max_experts": 2}, "logprobs": True, "top_logprobs": 2},
                "stream": {"messages": HELLO, "max_tokens": 8, "stream": True, "stream_options": {"include_usage": True}},
                "call": {
                    "messages": HELLO, "max_tokens": 64, "tool_choice": "required",
                    "tools": [{"type": "function", "function": {"name": "weather", "parameters": WEATHER}}]},
                "schema": {
                    "messages": HELLO, "max_tokens": 64,
                    "response_format": {"type": "json_schema", "json_schema": {"name": "place", "schema": WEATHER}}},
            }),
        "/v1/completions": post(
            "openai", "completions", "Go on with texts", "CompletionRequest", "Completion", "CompletionChunk", {
                "short": {"prompt": "Once upon a time", "max_tokens": 8, "seed": 1},
                "score": {"prompt": ["One", "Two"], "max_tokens": 1, "echo": True, "logprobs": 1, "temperature": 0},
                "stream": {"prompt": "Once", "max_tokens": 8, "n": 2, "stream": True},
            }),
        "/v1/responses": post(
            "openai", "responses", "Answer a conversation, in the shape of OpenAI's newer API", "ResponsesRequest", "Response", "ResponsesEvent", {
                "short": {"input": "Hello", "max_output_tokens": 8},
                "stream": {"input": HELLO, "max_output_tokens": 8, "stream": True, "reasoning": {"effort": "low"}},
            }, description="Nothing is stored: the whole conversation comes with each request."),
        "/v1/messages": post(
            "anthropic", "messages", "Answer a conversation, in the shape of Anthropic's API", "MessagesRequest", "MessagesResponse",
            "MessagesEvent", {
                "short": {"max_tokens": 8, "messages": HELLO},
                "stream": {"max_tokens": 8, "messages": HELLO, "system": "Be brief.", "stream": True},
            }, prefix="MessagesError"),
    }


def tokens() -> dict[str, dict]:
    def post(tag: str, name: str, summary: str, request: str, response: str, examples: dict, statuses: tuple[int, ...] = BODY, **more: object) -> dict:
        return {"post": operation(tag, name, summary, answer(response), statuses, body=body(request, examples), **more)}

    return {
        "/v1/messages/count_tokens": {
            "post": operation(
                "anthropic", "countTokens", "Count a conversation's tokens",
                answer({"type": "object", "properties": {"input_tokens": whole(0)}, "required": ["input_tokens"]}, more=("request-id",)),
                BODY,
                body=body("CountTokensRequest", {"short": {"messages": HELLO}}), prefix="MessagesError")},
        "/v1/embeddings": post(
            "openai", "embeddings", "Texts as vectors", "EmbeddingsRequest", "Embeddings",
            {"two": {"input": ["One", "Two"]}, "base64": {"input": "One", "encoding_format": "base64", "dimensions": 8}}, RUNNING),
        "/tokenize": post(
            "tokens", "tokenize", "A text's tokens", "TokenizeRequest", "Tokens",
            {"text": {"prompt": "Hello", "return_token_strs": True}, "conversation": {"messages": HELLO}}),
        "/detokenize": post("tokens", "detokenize", "Tokens' text", "DetokenizeRequest", "Detokenized", {"few": {"tokens": [1, 2, 3]}}),
        "/tokenizer_info": {"get": operation("tokens", "tokenizerInfo", "The tokenizer", answer("TokenizerInfo"), (401, 500))},
    }


def state() -> dict[str, dict]:
    result = {}
    for prefix, suffix in (("/v1", ""), ("", "Short")):
        result[f"{prefix}/models"] = {"get": operation("openai", f"models{suffix}", "The models: one", answer("Models"), (401,))}
        result[f"{prefix}/models/{{model}}"] = {
            "get": operation(
                "openai", f"model{suffix}", "One model", answer("Model"), READING,
                parameters=(path_parameter("model", {"type": "string", "minLength": 1}, "Its id, which may have slashes."),))}
    ready = operation("operations", "ready", "Whether requests are welcome", answer("Ready", description="They are."), is_open=True)
    ready["responses"]["503"] = answer("NotReady", description="The server shuts down, or its queue is full.")
    plain = {**TEXT, "description": "Prometheus' text format, version 0.0.4."}
    page = {"type": "string"}
    file = path_parameter("name", one_of(*sorted(file.name for file in (SERVER / "Web").iterdir())), "A part of the page.")
    files = {media: {"schema": page} for media in ("text/javascript", "text/css", "text/html", "image/svg+xml")}
    return {
        **result,
        "/v1/requests/{id}": {
            "get": operation(
                "operations", "request", "What became of one of the last 1,024 requests for text", answer("RequestRecord"), READING,
                description="Those of the asking key only.",
                parameters=(path_parameter("id", {"type": "string", "minLength": 1}, "The x-request-id, or the response's id."),))},
        "/moe/status": {"get": operation("operations", "status", "Load, speed and cost", answer("Status"), (401,))},
        "/moe/heatmap": {"get": operation("operations", "heatmap", "Which experts work", answer("Heatmap"), (401,))},
        "/health": {"get": operation("operations", "health", "Whether the process lives", answer("Health"), is_open=True)},
        "/ready": {"get": ready},
        "/metrics": {"get": operation("operations", "metrics", "Metrics for Prometheus", answer(plain, media="text/plain"), (401,))},
        "/openapi.json": {
            "get": operation(
                "operations", "description", "This description", answer({"type": "object", "required": ["openapi"]}), is_open=True)},
        "/": {"get": operation("page", "page", "A page to try the model", answer(page, media="text/html"), (404,), is_open=True)},
        "/web/{name}": {
            "get": operation(
                "page", "pageFile", "Its parts", {"description": "The file.", "headers": headers(), "content": files}, (404,),
                parameters=(file,), is_open=True)},
    }


def description() -> dict:
    return {
        "openapi": "3.1.0",
        "info": {
            "title": TITLE, "version": "1", "description": DESCRIPTION, "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}},
        "servers": [{"url": "/"}],
        # None is asked for where the server has no keys.
        "security": [{}, {"bearer": []}, {"apiKey": []}],
        "tags": [{"name": name} for name in ("openai", "anthropic", "tokens", "operations", "page")],
        "paths": {**generation(), **tokens(), **state()},
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"}, "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"}},
            "headers": HEADERS,
            "responses": {
                name: response for name, response in {**errors("Error", "Error"), **errors("MessagesError", "MessagesError")}.items()},
            "schemas": {**requests.SCHEMAS, **responses.SCHEMAS},
        },
    }


def text(document: dict) -> str:
    """A line for each path and component: short enough to be embedded, and changes can be read."""
    def compact(value: object) -> str:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

    def lines(members: dict, depth: int, indent: str) -> str:
        parts = [
            f"{indent}{compact(key)}: " + (lines(value, depth - 1, indent + " ") if depth and isinstance(value, dict) else compact(value))
            for key, value in members.items()]
        return "{\n" + ",\n".join(parts) + "\n" + indent[:-1] + "}"

    head = {key: value for key, value in document.items() if key not in ("paths", "components")}
    parts = [f" {compact(key)}: {compact(value)}" for key, value in head.items()]
    parts.append(f' "paths": {lines(document["paths"], 0, "  ")}')
    parts.append(f' "components": {lines(document["components"], 1, "  ")}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


def unused(document: dict) -> set[str]:
    """Components that nothing refers to."""
    whole_text = json.dumps(document)
    names = {f"#/components/{kind}/{name}" for kind, members in document["components"].items() if kind != "securitySchemes" for name in members}
    return {name for name in names if f'"{name}"' not in whole_text}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--closed", type=Path, metavar="FILE")
    options = parser.parse_args()
    document = description()
    for name in unused(document):
        kind, short = name.split("/")[2:]
        if kind == "responses":
            del document["components"][kind][short]
        else:
            sys.exit(f"nothing refers to {name}")
    if options.closed:
        document["components"]["schemas"] = {**requests.SCHEMAS, **closed(responses.SCHEMAS)}
        options.closed.write_text(text(document))
    elif options.check:
        if not FILE.exists() or FILE.read_text() != text(document):
            sys.exit(f"{FILE.name} is not what Tools/openapi/describe.py writes: run it")
    else:
        FILE.write_text(text(document))


if __name__ == "__main__":
    main()
