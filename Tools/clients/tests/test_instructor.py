# SPDX-License-Identifier: Apache-2.0
"""instructor: pydantic models by tools, JSON Schema, JSON mode, Markdown; partial and iterable streams."""

import asyncio
from enum import Enum
from typing import Literal

import instructor
import openai
import pytest
from pydantic import BaseModel, Field


class Person(BaseModel):
    name: str
    age: int


class Kind(str, Enum):
    bug = "bug"
    feature = "feature"
    question = "question"


class Step(BaseModel):
    text: str = Field(max_length=80)
    minutes: int


class Ticket(BaseModel):
    """A support ticket with nested parts, optional parts, and choices."""
    title: str = Field(max_length=60)
    kind: Kind
    urgency: Literal["low", "high"]
    steps: list[Step] = Field(min_length=1, max_length=2)
    contact: Person | None = None


def client_of(server, mode, asynchronous=False):
    kind = openai.AsyncOpenAI if asynchronous else openai.OpenAI
    return instructor.from_openai(kind(base_url=server.base, api_key="none", max_retries=0, timeout=300), mode=mode)


ADA = [{"role": "user", "content": "Extract the person: Ada is 36 years old."}]


@pytest.mark.parametrize("mode", [instructor.Mode.TOOLS, instructor.Mode.TOOLS_STRICT, instructor.Mode.JSON_SCHEMA, instructor.Mode.JSON,
                                  instructor.Mode.MD_JSON], ids=lambda mode: mode.value)
def test_modes(tools, mode):
    person, raw = client_of(tools, mode).chat.completions.create_with_completion(
        model=tools.model, messages=ADA, response_model=Person, max_retries=1, max_tokens=100, temperature=0)
    assert (person.name, person.age) == ("Ada", 36)
    assert raw.usage.completion_tokens > 0


def test_responses_mode(tools):
    person = client_of(tools, instructor.Mode.RESPONSES_TOOLS).chat.completions.create(
        model=tools.model, messages=ADA, response_model=Person, max_retries=1, max_output_tokens=100, temperature=0)
    assert (person.name, person.age) == ("Ada", 36)


@pytest.mark.parametrize("which", ["chat", "tools"])
def test_a_nested_model_by_schema(request, which):
    """A small model keeps to a schema because it has to: no retry is allowed."""
    server = request.getfixturevalue(which)
    ticket = client_of(server, instructor.Mode.JSON_SCHEMA).chat.completions.create(
        model=server.model, messages=[{"role": "user", "content": "The app crashes when I press save. It is urgent!"}],
        response_model=Ticket, max_retries=0, max_tokens=400, temperature=0)
    assert isinstance(ticket, Ticket) and 1 <= len(ticket.steps) <= 2


def test_partial(tools):
    stages = list(client_of(tools, instructor.Mode.JSON_SCHEMA).chat.completions.create_partial(
        model=tools.model, messages=ADA, response_model=Person, max_tokens=100, temperature=0))
    assert len(stages) > 2 and stages[0].age is None and (stages[-1].name, stages[-1].age) == ("Ada", 36)


def test_partial_by_tools(tools):
    stages = list(client_of(tools, instructor.Mode.TOOLS).chat.completions.create_partial(
        model=tools.model, messages=ADA, response_model=Person, max_tokens=100, temperature=0))
    assert (stages[-1].name, stages[-1].age) == ("Ada", 36)


def test_iterable(tools):
    people = list(client_of(tools, instructor.Mode.TOOLS).chat.completions.create_iterable(
        model=tools.model, messages=[{"role": "user", "content": "Extract the people: Ada is 36 and Bob is 41."}],
        response_model=Person, max_tokens=160, temperature=0))
    assert {person.name: person.age for person in people}.get("Ada") == 36


def test_asynchronous(tools):
    async def run():
        client = client_of(tools, instructor.Mode.JSON_SCHEMA, asynchronous=True)
        return await asyncio.gather(*(client.chat.completions.create(
            model=tools.model, messages=[{"role": "user", "content": f"Extract the person: Ada is {age} years old."}],
            response_model=Person, max_retries=0, max_tokens=60, temperature=0) for age in (31, 32)))

    assert [person.age for person in asyncio.run(run())] == [31, 32]
