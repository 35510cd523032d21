# SPDX-License-Identifier: Apache-2.0
"""openai-python, 2.x and 3.x: chat, structured output, tools, the responses API."""

import json
from typing import Literal

import openai
import pytest
from openai import OpenAI
from pydantic import BaseModel, Field


def client_of(server, **options) -> OpenAI:
    return OpenAI(base_url=server.base, api_key=server.key or "none", max_retries=0, timeout=300, **options)


FRANCE = [{"role": "system", "content": "Answer in one short sentence."},
          {"role": "user", "content": "What is the capital of France?"}]

WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "Get the current weather in a city",
    "parameters": {"type": "object", "properties": {
        "city": {"type": "string"}, "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]}},
        "required": ["city", "unit"], "additionalProperties": False}}}

CLOCK = {"type": "function", "function": {
    "name": "get_time", "description": "Get the time of day in a time zone",
    "parameters": {"type": "object", "properties": {"zone": {"type": "string"}}, "required": ["zone"]}}}


def test_chat(chat):
    answer = client_of(chat).chat.completions.create(model=chat.model, messages=FRANCE, max_tokens=40, temperature=0)
    assert answer.object == "chat.completion" and answer.id.startswith("chatcmpl-") and answer.model == chat.model
    (choice,) = answer.choices
    assert choice.index == 0 and choice.message.role == "assistant" and choice.finish_reason == "stop"
    assert "Paris" in choice.message.content and "<|im_end|>" not in choice.message.content
    assert not choice.message.tool_calls and choice.message.refusal is None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    moe = answer.usage.model_extra["moe"]
    assert moe["cost_usd"] >= 0, "a dense model has a price as well"
    timings = answer.model_extra["timings"]
    assert timings["generation_tokens_per_second"] > 0 and timings["queue_seconds"] >= 0


def test_chat_stream(chat):
    client = client_of(chat)
    arguments = dict(model=chat.model, messages=FRANCE, max_tokens=40, temperature=0)
    whole = client.chat.completions.create(**arguments)
    chunks = list(client.chat.completions.create(**arguments, stream=True, stream_options={"include_usage": True}))
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"} and len({chunk.id for chunk in chunks}) == 1
    *body, last = chunks
    assert body[0].choices[0].delta.role == "assistant"
    assert all(chunk.choices[0].delta.role is None for chunk in body[1:])
    assert "".join(chunk.choices[0].delta.content or "" for chunk in body) == whole.choices[0].message.content
    assert [chunk.choices[0].finish_reason for chunk in body[:-1]] == [None] * (len(body) - 1)
    assert body[-1].choices[0].finish_reason == "stop" and not body[-1].choices[0].delta.content
    assert last.choices == [] and last.usage.completion_tokens == whole.usage.completion_tokens
    assert last.usage.model_extra["moe"]["cost_usd"] >= 0


def test_the_stream_helper(chat):
    with client_of(chat).chat.completions.stream(model=chat.model, messages=FRANCE, max_tokens=40, temperature=0) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_completion()
    assert "content.delta" in kinds and kinds[-1] in ("chunk", "content.done")
    assert "Paris" in final.choices[0].message.content and final.choices[0].finish_reason == "stop"


def test_chat_of_the_embedded_model(embedded, moe_checker):
    """It has no template: the plain format, and usage.moe in both kinds of answers."""
    client = client_of(embedded)
    arguments = dict(model=embedded.model, messages=[{"role": "user", "content": "Tell me about the sea."}], max_completion_tokens=16,
                     temperature=0)
    whole = client.chat.completions.create(**arguments)
    moe_checker(whole.usage.model_extra["moe"], whole.usage.completion_tokens)
    chunks = list(client.chat.completions.create(**arguments, stream=True, stream_options={"include_usage": True}))
    moe_checker(chunks[-1].usage.model_extra["moe"], whole.usage.completion_tokens)
    content = [chunk for chunk in chunks[:-1] if chunk.choices[0].delta.content]
    assert content and any(chunk.model_extra.get("moe", {}).get("mean_experts", 0) > 0 for chunk in content)
    assert whole.usage.completion_tokens <= 16


def test_content_parts_and_names(chat):
    parts = [{"role": "user", "name": "ada", "content": [{"type": "text", "text": "Answer in one short sentence."},
                                                         {"type": "text", "text": "What is the capital of France?"}]}]
    answer = client_of(chat).chat.completions.create(model=chat.model, messages=parts, max_tokens=40, temperature=0)
    assert "Paris" in answer.choices[0].message.content
    picture = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}]
    with pytest.raises(openai.BadRequestError) as raised:
        client_of(chat).chat.completions.create(model=chat.model, messages=picture)
    assert "messages" in raised.value.param


def test_chat_logprobs(chat):
    client = client_of(chat)
    arguments = dict(model=chat.model, messages=FRANCE, max_tokens=8, temperature=0, logprobs=True, top_logprobs=4)
    whole = client.chat.completions.create(**arguments).choices[0]
    items = whole.logprobs.content
    assert len(items) == 8 or whole.finish_reason == "stop"
    assert b"".join(bytes(item.bytes) for item in items).decode().strip() == whole.message.content.strip()
    for item in items:
        assert len(item.top_logprobs) == 4
        assert [other.logprob for other in item.top_logprobs] == sorted((other.logprob for other in item.top_logprobs), reverse=True)
        assert item.token == item.top_logprobs[0].token and item.logprob == item.top_logprobs[0].logprob <= 0
    streamed = []
    for chunk in client.chat.completions.create(**arguments, stream=True):
        if chunk.choices and chunk.choices[0].logprobs:
            streamed += chunk.choices[0].logprobs.content
    assert [(item.token, item.logprob) for item in streamed] == [(item.token, item.logprob) for item in items]
    bare = client.chat.completions.create(**{**arguments, "top_logprobs": None}).choices[0].logprobs.content
    assert [item.logprob for item in bare] == [item.logprob for item in items] and all(item.top_logprobs == [] for item in bare)


def test_chat_n_stop_and_seed(chat):
    client = client_of(chat)
    arguments = dict(model=chat.model, messages=[{"role": "user", "content": "Write a line about rain."}], max_tokens=24,
                     temperature=1.0, n=2, seed=11)
    first = client.chat.completions.create(**arguments)
    texts = [choice.message.content for choice in first.choices]
    assert len(texts) == 2 and texts[0] != texts[1] and [choice.index for choice in first.choices] == [0, 1]
    assert [choice.message.content for choice in client.chat.completions.create(**arguments).choices] == texts
    streamed = ["", ""]
    for chunk in client.chat.completions.create(**arguments, stream=True):
        for choice in chunk.choices:
            streamed[choice.index] += choice.delta.content or ""
    assert streamed == texts
    cut = client.chat.completions.create(model=chat.model, messages=FRANCE, max_tokens=40, temperature=0, stop=["Paris"]).choices[0]
    assert cut.finish_reason == "stop" and "Paris" not in cut.message.content
    short = client.chat.completions.create(model=chat.model, messages=FRANCE, max_tokens=2, temperature=0)
    assert short.choices[0].finish_reason == "length" and short.usage.completion_tokens == 2


class Person(BaseModel):
    """With bounds: a small model may not find an end by itself."""
    name: str = Field(max_length=20)
    age: int = Field(ge=0, le=150)
    hobbies: list[Literal["chess", "hiking", "music"]] = Field(max_length=3)


def test_structured_output(chat):
    completion = client_of(chat).chat.completions.parse(
        model=chat.model, messages=[{"role": "user", "content": "Describe Ada, 36, who likes chess and hiking."}],
        response_format=Person, max_tokens=200, temperature=0)
    person = completion.choices[0].message.parsed
    assert isinstance(person, Person) and person.name


def test_structured_output_streamed(chat):
    with client_of(chat).chat.completions.stream(
            model=chat.model, messages=[{"role": "user", "content": "Describe Ada, 36, who likes chess and hiking."}],
            response_format=Person, max_tokens=200, temperature=0) as stream:
        for _ in stream:
            pass
        person = stream.get_final_completion().choices[0].message.parsed
    assert isinstance(person, Person)


def test_json_object(chat):
    answer = client_of(chat).chat.completions.create(
        model=chat.model, messages=[{"role": "user", "content": "Give a JSON object that describes a dog."}],
        response_format={"type": "json_object"}, max_tokens=300, temperature=0)
    if answer.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(answer.choices[0].message.content), dict)
    else:
        assert answer.choices[0].message.content.lstrip().startswith("{")


def test_a_length_limit_is_told_to_parse(chat):
    with pytest.raises(openai.LengthFinishReasonError):
        client_of(chat).chat.completions.parse(model=chat.model, messages=FRANCE, response_format=Person, max_tokens=3, temperature=0)


def test_bad_schema(chat):
    for schema in ({"type": "no-such-type"}, {"$ref": "#/missing"}, {"type": "string", "pattern": "("}):
        with pytest.raises(openai.BadRequestError) as raised:
            client_of(chat).chat.completions.create(
                model=chat.model, messages=FRANCE, max_tokens=4,
                response_format={"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": schema}})
        assert raised.value.param.startswith("response_format")


@pytest.mark.parametrize("fields, param", [
    ({"messages": []}, "messages"), ({"messages": "hello"}, "messages"), ({"messages": [{"role": "user"}]}, "messages"),
    ({"messages": [{"content": "x"}]}, "messages"),
    ({"top_logprobs": 3}, "top_logprobs"), ({"logprobs": True, "top_logprobs": 1000}, "top_logprobs"),
    ({"tool_choice": {"type": "function", "function": {"name": "missing"}}, "tools": [CLOCK]}, "tool_choice"),
    ({"tool_choice": "required"}, "tool_choice"), ({"tools": [{"type": "function"}]}, "tools"),
    ({"response_format": {"type": "yaml"}}, "response_format"), ({"response_format": {"type": "json_schema"}}, "response_format"),
    ({"max_tokens": -1}, "max_tokens"), ({"reasoning_effort": "heroic"}, "reasoning_effort"),
])
def test_bad_chats(chat, fields, param):
    with pytest.raises(openai.BadRequestError) as raised:
        client_of(chat).chat.completions.create(model=chat.model, messages=FRANCE, extra_body={"max_tokens": 4, **fields})
    assert raised.value.type == "invalid_request_error"
    assert raised.value.param and raised.value.param.split("[")[0].split(".")[0] == param


def check_weather(call):
    assert call.type == "function" and call.id and call.function.name == "get_weather"
    arguments = json.loads(call.function.arguments)
    assert set(arguments) == {"city", "unit"} and arguments["unit"] in ("celsius", "fahrenheit")
    return arguments


def test_forced_tool(tools):
    answer = client_of(tools).chat.completions.create(
        model=tools.model, messages=[{"role": "user", "content": "Weather in Oslo, please, in celsius."}], tools=[WEATHER, CLOCK],
        tool_choice={"type": "function", "function": {"name": "get_weather"}}, max_tokens=80, temperature=0)
    (choice,) = answer.choices
    (call,) = choice.message.tool_calls
    assert check_weather(call) == {"city": "Oslo", "unit": "celsius"}
    assert choice.finish_reason in ("tool_calls", "stop")


def test_required_tool_streamed(tools):
    client = client_of(tools)
    arguments = dict(model=tools.model, messages=[{"role": "user", "content": "What is the weather in Oslo in celsius?"}],
                     tools=[CLOCK, WEATHER], tool_choice="required", max_tokens=80, temperature=0)
    whole = client.chat.completions.create(**arguments).choices[0]
    assert whole.finish_reason == "tool_calls"
    check_weather(whole.message.tool_calls[0])
    assembled, finish = {}, None
    for chunk in client.chat.completions.create(**arguments, stream=True):
        if not chunk.choices:
            continue
        finish = chunk.choices[0].finish_reason or finish
        for part in chunk.choices[0].delta.tool_calls or []:
            call = assembled.setdefault(part.index, {"id": part.id, "name": part.function.name, "arguments": "", "type": part.type})
            call["arguments"] += part.function.arguments or ""
    assert finish == "tool_calls"
    assert [(call["name"], json.loads(call["arguments"])) for call in assembled.values()] == \
        [(call.function.name, json.loads(call.function.arguments)) for call in whole.message.tool_calls]
    assert all(call["id"] and call["type"] == "function" for call in assembled.values())


def test_tool_round_trip(tools):
    client = client_of(tools)
    messages = [{"role": "user", "content": "What is the weather in Oslo in celsius?"}]
    first = client.chat.completions.create(model=tools.model, messages=messages, tools=[WEATHER], tool_choice="required",
                                           max_tokens=80, temperature=0).choices[0].message
    messages += [first.model_dump(exclude_none=True),
                 {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": '{"temperature": -7, "sky": "snow"}'}]
    second = client.chat.completions.create(model=tools.model, messages=messages, tools=[WEATHER], tool_choice="none", max_tokens=60,
                                            temperature=0)
    text = second.choices[0].message.content
    assert "7" in text and not second.choices[0].message.tool_calls


def test_tool_choice_none(tools):
    answer = client_of(tools).chat.completions.create(
        model=tools.model, messages=[{"role": "user", "content": "What is 2 + 2? Answer with the number."}], tools=[WEATHER],
        tool_choice="none", max_tokens=20, temperature=0)
    assert not answer.choices[0].message.tool_calls and "4" in answer.choices[0].message.content


def test_tools_without_need(tools):
    answer = client_of(tools).chat.completions.create(
        model=tools.model, messages=[{"role": "user", "content": "Say hello."}], tools=[WEATHER], max_tokens=30, temperature=0)
    assert answer.choices[0].message.content and answer.choices[0].finish_reason == "stop"


def test_parsed_tool_calls(tools):
    class GetWeather(BaseModel):
        city: str

    answer = client_of(tools).chat.completions.parse(
        model=tools.model, messages=[{"role": "user", "content": "Weather in Oslo?"}], max_tokens=60, temperature=0,
        tools=[openai.pydantic_function_tool(GetWeather)], tool_choice="required")
    assert answer.choices[0].message.tool_calls[0].function.parsed_arguments.city == "Oslo"


def test_responses(chat):
    answer = client_of(chat).responses.create(model=chat.model, instructions="Answer in one short sentence.",
                                              input="What is the capital of France?", max_output_tokens=40, temperature=0)
    assert answer.object == "response" and answer.status == "completed" and answer.error is None
    assert answer.id.startswith("resp_") and answer.model == chat.model
    assert "Paris" in answer.output_text
    message = answer.output[-1]
    assert message.type == "message" and message.role == "assistant" and message.content[0].type == "output_text"
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens
    assert answer.usage.input_tokens_details.cached_tokens >= 0 and answer.usage.output_tokens_details.reasoning_tokens == 0
    cut = client_of(chat).responses.create(model=chat.model, input="Tell me a long story.", max_output_tokens=16, temperature=0)
    assert cut.status == "incomplete" and cut.incomplete_details.reason == "max_output_tokens"


def test_responses_stream(chat):
    arguments = dict(model=chat.model, input=[{"role": "user", "content": [{"type": "input_text", "text": "What is the capital of France?"}]}],
                     max_output_tokens=40, temperature=0)
    whole = client_of(chat).responses.create(**arguments)
    events = list(client_of(chat).responses.create(**arguments, stream=True))
    kinds = [event.type for event in events]
    assert kinds[0] == "response.created" and kinds[-1] in ("response.completed", "response.incomplete")
    order = ["response.created", "response.output_item.added", "response.content_part.added", "response.output_text.delta",
             "response.output_text.done", "response.content_part.done", "response.output_item.done"]
    assert [kinds.index(kind) for kind in order] == sorted(kinds.index(kind) for kind in order)
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == whole.output_text
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-1].response.output_text == whole.output_text
    assert events[-1].response.usage.output_tokens == whole.usage.output_tokens


def test_responses_parse(chat):
    answer = client_of(chat).responses.parse(model=chat.model, input="Describe Ada, 36, who likes chess.", text_format=Person,
                                             max_output_tokens=200, temperature=0)
    assert isinstance(answer.output_parsed, Person)


def test_responses_tool(tools):
    function = {"type": "function", "strict": True, **WEATHER["function"]}
    first = client_of(tools).responses.create(model=tools.model, input="Weather in Oslo in celsius?", tools=[function],
                                              tool_choice="required", max_output_tokens=80, temperature=0)
    (call,) = [item for item in first.output if item.type == "function_call"]
    assert call.name == "get_weather" and json.loads(call.arguments)["city"] == "Oslo" and call.call_id
    conversation = [{"role": "user", "content": "Weather in Oslo in celsius?"}, call.model_dump(exclude_none=True),
                    {"type": "function_call_output", "call_id": call.call_id, "output": '{"temperature": -7}'}]
    second = client_of(tools).responses.create(model=tools.model, input=conversation, max_output_tokens=60, temperature=0)
    assert "7" in second.output_text


def test_responses_errors(chat):
    with pytest.raises(openai.BadRequestError):
        client_of(chat).responses.create(model=chat.model, input="x", temperature=-3)
    with pytest.raises(openai.NotFoundError):
        client_of(chat).responses.create(model="missing", input="x")
    with pytest.raises((openai.NotFoundError, openai.BadRequestError)):
        client_of(chat).responses.create(model=chat.model, input="x", previous_response_id="resp_never_seen")
