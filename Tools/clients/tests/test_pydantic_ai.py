# SPDX-License-Identifier: Apache-2.0
"""pydantic-ai: agents over chat completions and responses; output by tools, natively; tools that are called; streams."""

import asyncio

import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, ModelHTTPError, NativeOutput, ToolOutput
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

GREEDY = {"temperature": 0.0, "max_tokens": 120}


class Person(BaseModel):
    """A person."""
    name: str
    age: int


def model_of(server, kind=OpenAIChatModel, key=None, model=None):
    return kind(model or server.model, provider=OpenAIProvider(base_url=server.base, api_key=key or server.key or "none"))


def run(coroutine):
    """One loop for one run: the agents' HTTP client belongs to it."""
    return asyncio.run(coroutine)


def test_text(chat):
    agent = Agent(model_of(chat), instructions="Answer in one short sentence.", model_settings=GREEDY)
    result = run(agent.run("What is the capital of France?"))
    assert "Paris" in result.output
    usage = result.usage
    usage = usage() if callable(usage) else usage
    assert usage.input_tokens > 0 and usage.output_tokens > 0


def test_history(tools):
    agent = Agent(model_of(tools), model_settings={**GREEDY, "max_tokens": 30})

    async def talk():
        first = await agent.run("My name is Ada.")
        return await agent.run("What is my name?", message_history=first.all_messages())

    assert "Ada" in run(talk()).output


def test_stream(chat):
    agent = Agent(model_of(chat), instructions="Answer in one short sentence.", model_settings=GREEDY)

    async def talk():
        whole = (await agent.run("What is the capital of France?")).output
        async with agent.run_stream("What is the capital of France?") as stream:
            pieces = [piece async for piece in stream.stream_text(delta=True, debounce_by=None)]
        return whole, pieces

    whole, pieces = run(talk())
    assert "".join(pieces) == whole and len(pieces) > 3


@pytest.mark.parametrize("output", [NativeOutput(Person), ToolOutput(Person)], ids=["native", "tool"])
def test_structured(tools, output):
    agent = Agent(model_of(tools), output_type=output, model_settings=GREEDY, retries=1)
    assert run(agent.run("Extract the person: Ada is 36 years old.")).output == Person(name="Ada", age=36)


def test_structured_streamed(tools):
    agent = Agent(model_of(tools), output_type=NativeOutput(Person), model_settings=GREEDY)

    async def talk():
        async with agent.run_stream("Extract the person: Ada is 36 years old.") as stream:
            return await stream.get_output()

    assert run(talk()) == Person(name="Ada", age=36)


def test_tools_are_called(tools):
    class Stock(BaseModel):
        """The final answer: what is in stock."""
        lamps: int

    # Output by a tool as well: each turn is a call, the last one the answer.
    agent = Agent(model_of(tools), output_type=ToolOutput(Stock, name="answer"), model_settings=GREEDY,
                  instructions="First call the tool stock. When you know its result, call answer.")
    called = []

    @agent.tool_plain
    def stock(item: str) -> int:
        """How many of an item are in stock."""
        called.append(item)
        return 17

    result = run(agent.run("How many lamps are in stock?"))
    assert called and result.output.lamps == 17


def test_responses_model(chat, tools):
    agent = Agent(model_of(chat, OpenAIResponsesModel), instructions="Answer in one short sentence.", model_settings=GREEDY)
    assert "Paris" in run(agent.run("What is the capital of France?")).output
    agent = Agent(model_of(tools, OpenAIResponsesModel), output_type=NativeOutput(Person), model_settings=GREEDY)
    assert run(agent.run("Extract the person: Ada is 36 years old.")).output == Person(name="Ada", age=36)


def test_errors(chat, keys):
    for server, key, model, status in ((keys, "wrong", None, 401), (chat, None, "missing", 404)):
        with pytest.raises(ModelHTTPError) as raised:
            run(Agent(model_of(server, key=key, model=model)).run("x"))
        assert raised.value.status_code == status
