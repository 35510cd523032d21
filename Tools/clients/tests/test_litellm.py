# SPDX-License-Identifier: Apache-2.0
"""litellm, SDK: an OpenAI-compatible base, chat and text, tools, embeddings, its own error types."""

import asyncio
import json

import litellm
import pytest

litellm.suppress_debug_info = True
litellm.drop_params = False
FRANCE = [{"role": "system", "content": "Answer in one short sentence."}, {"role": "user", "content": "What is the capital of France?"}]


def place(server, kind="openai", **options):
    return {"model": f"{kind}/{server.model}", "api_base": server.base, "api_key": server.key or "none", "num_retries": 0,
            "max_retries": 0, "timeout": 300, **options}


def test_completion(chat):
    answer = litellm.completion(messages=FRANCE, max_tokens=40, temperature=0, **place(chat))
    assert "Paris" in answer.choices[0].message.content and answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.usage.prompt_tokens_details.cached_tokens >= 0


def test_hosted_vllm_route(chat):
    """Many name a server of their own this way."""
    answer = litellm.completion(messages=FRANCE, max_tokens=40, temperature=0, **place(chat, "hosted_vllm"))
    assert "Paris" in answer.choices[0].message.content


def test_stream(chat):
    whole = litellm.completion(messages=FRANCE, max_tokens=40, temperature=0, **place(chat))
    chunks = list(litellm.completion(messages=FRANCE, max_tokens=40, temperature=0, stream=True,
                                     stream_options={"include_usage": True}, **place(chat)))
    rebuilt = litellm.stream_chunk_builder(chunks, messages=FRANCE)
    assert rebuilt.choices[0].message.content == whole.choices[0].message.content
    assert rebuilt.choices[0].finish_reason == "stop"
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_what_streams_lose_is_at_requests(embedded, moe_checker):
    """litellm drops usage.moe of a stream: the record of the request has it."""
    chunks = list(litellm.completion(messages=FRANCE, max_tokens=12, stream=True, **place(embedded)))
    record = embedded.ask("GET", f"/v1/requests/{chunks[0].id}")
    assert record.status == 200, record.body
    moe_checker(record.json()["usage"]["moe"], record.json()["usage"]["completion_tokens"])


def test_asynchronous(chat):
    async def run():
        answers = await asyncio.gather(*(litellm.acompletion(messages=FRANCE, max_tokens=40, temperature=0, **place(chat)) for _ in range(4)))
        stream = await litellm.acompletion(messages=FRANCE, max_tokens=40, temperature=0, stream=True, **place(chat))
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
        return [answer.choices[0].message.content for answer in answers], text

    texts, streamed = asyncio.run(run())
    assert len(set(texts)) == 1 and streamed == texts[0]


def test_text_completion(embedded):
    arguments = dict(prompt="The sun rose over", max_tokens=12, temperature=0, **place(embedded, "text-completion-openai"))
    answer = litellm.text_completion(**arguments)
    assert answer.choices[0].text and answer.usage.completion_tokens == 12
    streamed = "".join(chunk.choices[0].text or "" for chunk in litellm.text_completion(**arguments, stream=True))
    assert streamed == answer.choices[0].text


def test_tools(tools):
    weather = {"type": "function", "function": {"name": "get_weather", "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}
    answer = litellm.completion(messages=[{"role": "user", "content": "Weather in Oslo?"}], tools=[weather], tool_choice="required",
                                max_tokens=60, temperature=0, **place(tools))
    (call,) = answer.choices[0].message.tool_calls
    assert call.function.name == "get_weather" and json.loads(call.function.arguments) == {"city": "Oslo"}
    assert answer.choices[0].finish_reason == "tool_calls"


def test_json_schema(chat):
    schema = {"type": "json_schema", "json_schema": {"name": "person", "strict": True, "schema": {
        "type": "object", "properties": {"name": {"type": "string", "maxLength": 30}, "age": {"type": "integer"}}, "required": ["name", "age"],
        "additionalProperties": False}}}
    answer = litellm.completion(messages=[{"role": "user", "content": "Describe Ada, who is 36."}], response_format=schema, max_tokens=100,
                                temperature=0, **place(chat))
    person = json.loads(answer.choices[0].message.content)
    assert set(person) == {"name", "age"} and isinstance(person["age"], int)


def test_embedding(embedded):
    answer = litellm.embedding(input=["one", "two"], encoding_format="float",
                               **{key: value for key, value in place(embedded).items() if key not in ("num_retries",)})
    assert [item["index"] for item in answer.data] == [0, 1] and len(answer.data[0]["embedding"]) > 8


def test_errors(chat, keys, embedded, tight, busy):
    with pytest.raises(litellm.AuthenticationError):
        litellm.completion(messages=FRANCE, **place(keys, api_key="wrong"))
    with pytest.raises(litellm.NotFoundError):
        litellm.completion(messages=FRANCE, **{**place(chat), "model": "openai/missing"})
    with pytest.raises(litellm.BadRequestError):
        litellm.completion(messages=FRANCE, temperature=-1, **place(chat))
    with pytest.raises(litellm.ContextWindowExceededError):
        litellm.completion(messages=[{"role": "user", "content": "word " * 20000}], max_tokens=4, **place(embedded))
    with busy(tight, requests=2), pytest.raises(litellm.RateLimitError):
        litellm.completion(messages=FRANCE, max_tokens=1, **place(tight))


def test_timeout(embedded):
    with pytest.raises(litellm.Timeout):
        litellm.completion(messages=FRANCE, max_tokens=6000, **{**place(embedded), "timeout": 0.2}, extra_body={"ignore_eos": True})
    embedded.settle(within=3)
