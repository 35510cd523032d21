# SPDX-License-Identifier: Apache-2.0
"""langchain-openai: ChatOpenAI, OpenAI, OpenAIEmbeddings."""

import asyncio
import math

import openai
import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings
from pydantic import BaseModel, Field

FRANCE = [SystemMessage("Answer in one short sentence."), HumanMessage("What is the capital of France?")]


def model_of(server, **options) -> ChatOpenAI:
    return ChatOpenAI(base_url=server.base, max_retries=0, timeout=300, **{
        "model": server.model, "api_key": server.key or "none", "temperature": 0, "max_tokens": 60, **options})


def test_invoke(chat):
    answer = model_of(chat).invoke(FRANCE)
    assert isinstance(answer, AIMessage) and "Paris" in answer.content
    usage = answer.usage_metadata
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] > 0
    facts = answer.response_metadata
    assert facts["finish_reason"] == "stop" and facts["model_name"] == chat.model and facts["id"].startswith("chatcmpl-")
    assert facts["token_usage"]["moe"]["cost_usd"] >= 0


@pytest.mark.parametrize("usage", [True, False])
def test_stream(chat, usage):
    model = model_of(chat, stream_usage=usage)
    whole = model.invoke(FRANCE)
    chunks = list(model.stream(FRANCE))
    total = chunks[0]
    for chunk in chunks[1:]:
        total += chunk
    assert total.content == whole.content and len(chunks) > 3
    assert total.response_metadata["finish_reason"] == "stop"
    if usage:
        assert total.usage_metadata["output_tokens"] == whole.usage_metadata["output_tokens"]
    else:
        assert total.usage_metadata is None


def test_batch_is_as_good_as_one_by_one(chat):
    questions = [f"What is {n} plus {n}?" for n in range(1, 5)]
    model = model_of(chat, max_tokens=24)
    assert [answer.content for answer in model.batch(questions)] == [model.invoke(question).content for question in questions]


def test_async_stream_and_abandoning_it(embedded):
    async def run():
        pieces = 0
        async for _ in model_of(embedded, max_tokens=6000, extra_body={"ignore_eos": True}).astream("Tell a story."):
            pieces += 1
            if pieces == 5:
                return pieces

    assert asyncio.run(run()) == 5
    embedded.settle(within=3)


def test_structured_output(chat, tools):
    class Person(BaseModel):
        """A person."""
        name: str = Field(description="The person's name", max_length=20)
        age: int = Field(ge=0, le=150)

    answer = model_of(chat, max_tokens=200).with_structured_output(Person, method="json_schema").invoke("Describe Ada, who is 36.")
    assert isinstance(answer, Person)
    bare = model_of(tools, max_tokens=200).with_structured_output(None, method="json_mode")
    answer = bare.invoke('Ada is 36. Write that as a JSON object with "name" and "age", nothing else.')
    assert isinstance(answer, dict) and answer


def test_structured_output_by_function_calling(tools):
    class Person(BaseModel):
        """A person."""
        name: str
        age: int

    answer = model_of(tools).with_structured_output(Person, method="function_calling").invoke("Describe Ada, who is 36.")
    assert isinstance(answer, Person) and answer.age == 36


@tool
def multiply(a: int, b: int) -> int:
    """Multiply two integers."""
    return a * b


def test_tools(tools):
    bound = model_of(tools).bind_tools([multiply], tool_choice="multiply")
    question = HumanMessage("How much is 6 times 7?")
    answer = bound.invoke([question])
    (call,) = answer.tool_calls
    assert call["name"] == "multiply" and sorted(call["args"].values()) == [6, 7] and not answer.invalid_tool_calls
    streamed = None
    for chunk in bound.stream([question]):
        streamed = chunk if streamed is None else streamed + chunk
    assert streamed.tool_calls[0]["args"] == call["args"]
    result = ToolMessage(f"The product is {multiply.invoke(call['args'])}.", tool_call_id=call["id"])
    final = model_of(tools).bind_tools([multiply], tool_choice="none").invoke([question, answer, result])
    assert final.content and not final.tool_calls


def test_logprobs_stop_seed_and_n(chat):
    answer = model_of(chat).bind(logprobs=True, top_logprobs=2).invoke(FRANCE)
    items = answer.response_metadata["logprobs"]["content"]
    assert len(items) > 2 and all(len(item["top_logprobs"]) == 2 for item in items)
    assert "Paris" not in model_of(chat).invoke(FRANCE, stop=["Paris"]).content
    warm = model_of(chat, temperature=1.0, seed=5)
    assert warm.invoke("Write a line about rain.").content == warm.invoke("Write a line about rain.").content
    several = model_of(chat, n=2, temperature=1.0).generate([[HumanMessage("Write a line about rain.")]])
    assert len(several.generations[0]) == 2


def test_legacy_completions(embedded):
    model = OpenAI(model=embedded.model, base_url=embedded.base, api_key="none", max_tokens=12, temperature=0, max_retries=0)
    whole = model.invoke("The sun rose over")
    assert whole and "".join(model.stream("The sun rose over")) == whole
    result = model.generate(["The sun rose over", "In the year 1905"])
    assert result.generations[0][0].text == whole and len(result.generations) == 2
    assert result.llm_output["token_usage"]["completion_tokens"] == 24


def test_embeddings(embedded):
    # check_embedding_ctx_length asks tiktoken, which downloads its vocabularies.
    model = OpenAIEmbeddings(model=embedded.model, base_url=embedded.base, api_key="none", check_embedding_ctx_length=False)
    documents = model.embed_documents(["The cat sat on the mat.", "The tax bill was passed."])
    query = model.embed_query("The cat sat on the mat.")
    assert len(documents) == 2 and max(abs(a - b) for a, b in zip(documents[0], query)) < 1e-6
    assert all(map(math.isfinite, query))


def test_responses_api(chat):
    answer = model_of(chat, use_responses_api=True).invoke(FRANCE)
    assert "Paris" in answer.text
    assert answer.usage_metadata["output_tokens"] > 0
    streamed = None
    for chunk in model_of(chat, use_responses_api=True).stream(FRANCE):
        streamed = chunk if streamed is None else streamed + chunk
    assert streamed.text == answer.text


def test_errors(chat, keys):
    with pytest.raises(openai.NotFoundError):
        model_of(chat, model="missing").invoke("x")
    with pytest.raises(openai.AuthenticationError):
        model_of(keys, api_key="wrong").invoke("x")
    with pytest.raises(openai.BadRequestError):
        model_of(chat, top_p=7).invoke("x")
