# SPDX-License-Identifier: Apache-2.0
"""anthropic: /v1/messages and count_tokens, streamed and not, tools, errors."""

import json

import anthropic
import pytest
from anthropic import Anthropic
from pydantic import BaseModel, Field


def client_of(server, **options) -> Anthropic:
    return Anthropic(base_url=server.url, api_key=options.pop("api_key", server.key or "none"), max_retries=0, timeout=300, **options)


GREEDY = {"temperature": 0}
FRANCE = dict(system="Answer in one short sentence.", messages=[{"role": "user", "content": "What is the capital of France?"}])
WEATHER = {"name": "get_weather", "description": "Get the current weather in a city",
           "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}


def test_message(chat):
    answer = client_of(chat).messages.create(model=chat.model, max_tokens=40, extra_body=GREEDY, **FRANCE)
    assert answer.type == "message" and answer.role == "assistant" and answer.model == chat.model and answer.id.startswith("msg_")
    (block,) = answer.content
    assert block.type == "text" and "Paris" in block.text
    assert answer.stop_reason == "end_turn" and answer.stop_sequence is None
    assert answer.usage.input_tokens > 0 and answer.usage.output_tokens > 0
    counted = client_of(chat).messages.count_tokens(model=chat.model, **FRANCE)
    assert counted.input_tokens == answer.usage.input_tokens + (answer.usage.cache_read_input_tokens or 0)
    assert answer._request_id


def test_stream(chat):
    client = client_of(chat)
    whole = client.messages.create(model=chat.model, max_tokens=40, extra_body=GREEDY, **FRANCE)
    events = list(client.messages.create(model=chat.model, max_tokens=40, stream=True, extra_body=GREEDY, **FRANCE))
    kinds = [event.type for event in events]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(kinds[2:-3]) == {"content_block_delta"}
    assert "".join(event.delta.text for event in events if event.type == "content_block_delta") == whole.content[0].text
    assert events[-2].delta.stop_reason == whole.stop_reason
    assert events[-2].usage.output_tokens == whole.usage.output_tokens
    with client.messages.stream(model=chat.model, max_tokens=40, extra_body=GREEDY, **FRANCE) as stream:
        assert "".join(stream.text_stream) == whole.content[0].text
        assert stream.get_final_message().usage.output_tokens == whole.usage.output_tokens


def test_blocks_stop_sequences_and_limits(chat):
    client = client_of(chat)
    blocks = [{"role": "user", "content": [{"type": "text", "text": "What is the capital"}, {"type": "text", "text": " of France?"}]}]
    answer = client.messages.create(model=chat.model, max_tokens=40, messages=blocks, system=[{"type": "text", "text": "Be brief."}],
                                    stop_sequences=["Paris"], extra_body=GREEDY)
    assert answer.stop_reason == "stop_sequence" and answer.stop_sequence == "Paris"
    assert all("Paris" not in block.text for block in answer.content)
    short = client.messages.create(model=chat.model, max_tokens=3, extra_body=GREEDY, **FRANCE)
    assert short.stop_reason == "max_tokens" and short.usage.output_tokens == 3


def test_a_conversation(tools):
    messages = [{"role": "user", "content": "My name is Ada."}, {"role": "assistant", "content": "Hello Ada!"},
                {"role": "user", "content": "What is my name?"}]
    answer = client_of(tools).messages.create(model=tools.model, max_tokens=30, messages=messages, extra_body=GREEDY)
    assert "Ada" in answer.content[0].text


def test_tool_use(tools):
    client = client_of(tools)
    ask = [{"role": "user", "content": "What is the weather in Oslo?"}]
    arguments = dict(model=tools.model, max_tokens=80, tools=[WEATHER], extra_body=GREEDY)
    answer = client.messages.create(messages=ask, tool_choice={"type": "tool", "name": "get_weather"}, **arguments)
    assert answer.stop_reason == "tool_use"
    (use,) = [block for block in answer.content if block.type == "tool_use"]
    assert use.name == "get_weather" and use.input == {"city": "Oslo"} and use.id
    with client.messages.stream(messages=ask, tool_choice={"type": "any"}, **arguments) as stream:
        partial = "".join(event.partial_json for event in stream if event.type == "input_json")
        final = stream.get_final_message()
    assert json.loads(partial) == {"city": "Oslo"}
    assert [block.input for block in final.content if block.type == "tool_use"] == [{"city": "Oslo"}]
    conversation = [*ask, {"role": "assistant", "content": [use.model_dump(exclude_none=True)]},
                    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": use.id, "content": "-7 degrees, snow"}]}]
    second = client.messages.create(messages=conversation, tool_choice={"type": "none"}, **arguments)
    assert "7" in "".join(block.text for block in second.content if block.type == "text")


def test_parse(chat):
    class Person(BaseModel):
        name: str = Field(max_length=20)
        age: int = Field(ge=0, le=150)

    answer = client_of(chat).messages.parse(model=chat.model, max_tokens=200, output_format=Person, extra_body=GREEDY,
                                            messages=[{"role": "user", "content": "Describe Ada, who is 36."}])
    assert isinstance(answer.parsed_output, Person)


def test_errors(chat, embedded, keys):
    client = client_of(chat)
    with pytest.raises(anthropic.BadRequestError) as raised:
        client.messages.create(model=chat.model, max_tokens=0, **FRANCE)
    assert raised.value.body["type"] == "error" and raised.value.body["error"]["type"] == "invalid_request_error"
    with pytest.raises(anthropic.BadRequestError):
        client.messages.create(model=chat.model, max_tokens=5, messages=[])
    with pytest.raises(anthropic.NotFoundError) as raised:
        client.messages.create(model="claude-imaginary", max_tokens=5, **FRANCE)
    assert raised.value.body["error"]["type"] == "not_found_error"
    with pytest.raises(anthropic.AuthenticationError) as raised:
        client_of(keys, api_key="wrong").messages.create(model=keys.model, max_tokens=5, **FRANCE)
    assert raised.value.body["error"]["type"] == "authentication_error"
    assert client_of(keys).messages.create(model=keys.model, max_tokens=2, **FRANCE).usage.output_tokens <= 2


def test_too_many_requests(tight, busy):
    with busy(tight, requests=2):
        with pytest.raises(anthropic.RateLimitError) as raised:
            client_of(tight).messages.create(model=tight.model, max_tokens=1, **FRANCE)
        assert raised.value.body["error"]["type"] == "rate_limit_error"


def test_cancel_mid_stream(embedded):
    with client_of(embedded).messages.stream(model=embedded.model, max_tokens=6000, extra_body={"ignore_eos": True}, **FRANCE) as stream:
        for count, _ in enumerate(stream.text_stream):
            if count == 3:
                break
    embedded.settle(within=3)
