# SPDX-License-Identifier: Apache-2.0
"""openai-python, 2.x and 3.x: completions, embeddings, models, errors, cancellation."""

import asyncio
import base64
import math
import struct
import time

import openai
import pytest
from openai import AsyncOpenAI, OpenAI


def client_of(server, **options) -> OpenAI:
    return OpenAI(base_url=server.base, api_key=server.key or "none", max_retries=0, timeout=120, **options)


@pytest.fixture(scope="module")
def client(embedded):
    return client_of(embedded)


PROMPT = "The old man walked along the shore and"


def test_models(client, embedded):
    listed = client.models.list().data
    assert embedded.model in [model.id for model in listed]
    one = client.models.retrieve(embedded.model)
    assert one.id == embedded.model and one.object == "model" and one.owned_by == "moe-infer"
    extra = one.model_extra
    assert extra["context_length"] > 0
    assert extra["moe"]["experts"] >= extra["moe"]["experts_per_token"] > 0
    assert {point["name"] for point in extra["moe"]["operating_points"]} >= {"exact", "parity", "balanced", "fast"}
    with pytest.raises(openai.NotFoundError) as raised:
        client.models.retrieve("no-such-model")
    assert raised.value.code and raised.value.type


def test_completion(client, embedded, moe_checker):
    before = time.time()
    answer = client.completions.create(model=embedded.model, prompt=PROMPT, max_tokens=12, temperature=0)
    assert answer.object == "text_completion" and answer.model == embedded.model
    assert before - 2 <= answer.created <= time.time() + 2
    (choice,) = answer.choices
    assert choice.index == 0 and choice.finish_reason == "length" and choice.text and choice.logprobs is None
    usage = answer.usage
    assert usage.prompt_tokens == len(embedded.tokens(PROMPT))
    assert usage.completion_tokens == 12 and usage.total_tokens == usage.prompt_tokens + 12
    assert usage.prompt_tokens_details.cached_tokens >= 0
    assert usage.completion_tokens_details.reasoning_tokens == 0
    layers = client.models.retrieve(embedded.model).model_extra["moe"]["layers"]
    moe_checker(usage.model_extra["moe"], 12, layers)
    assert answer.id and answer._request_id


def test_completion_stream_is_the_same_text(client, embedded, moe_checker):
    arguments = dict(model=embedded.model, prompt=PROMPT, max_tokens=24, temperature=0)
    whole = client.completions.create(**arguments)
    chunks = list(client.completions.create(**arguments, stream=True, stream_options={"include_usage": True}))
    assert len({chunk.id for chunk in chunks}) == 1
    assert all(chunk.object == "text_completion" and chunk.model == embedded.model for chunk in chunks)
    *content, last = chunks
    assert "".join(chunk.choices[0].text for chunk in content) == whole.choices[0].text
    assert [chunk.choices[0].finish_reason for chunk in content if chunk.choices[0].finish_reason] == ["length"]
    assert content[-1].choices[0].finish_reason == "length"
    assert len(content) > 3, "a stream of 24 tokens that comes in one piece is no stream"
    assert last.choices == []
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert getattr(last.usage, name) == getattr(whole.usage, name)
    moe_checker(last.usage.model_extra["moe"], 24)
    without = list(client.completions.create(**arguments, stream=True))
    assert all(chunk.choices and chunk.usage is None for chunk in without)


def test_prompts_as_lists_and_as_tokens(client, embedded):
    prompts = ["The sun rose over", "In the year 1905", "She opened the door"]
    arguments = dict(model=embedded.model, max_tokens=8, temperature=0)
    alone = [client.completions.create(prompt=prompt, **arguments).choices[0].text for prompt in prompts]
    together = client.completions.create(prompt=prompts, **arguments)
    assert [choice.index for choice in together.choices] == [0, 1, 2]
    assert [choice.text for choice in together.choices] == alone
    ids = [embedded.tokens(prompt) for prompt in prompts]
    assert together.usage.prompt_tokens == sum(map(len, ids)) and together.usage.completion_tokens == 24
    assert client.completions.create(prompt=ids[1], **arguments).choices[0].text == alone[1]
    listed = client.completions.create(prompt=ids, **arguments)
    assert [choice.text for choice in sorted(listed.choices, key=lambda choice: choice.index)] == alone


def test_streamed_choices_of_several_prompts(client, embedded):
    prompts = ["The sun rose over", "In the year 1905"]
    arguments = dict(model=embedded.model, prompt=prompts, max_tokens=8, temperature=0)
    whole = client.completions.create(**arguments)
    texts = ["", ""]
    for chunk in client.completions.create(**arguments, stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.text
    assert texts == [choice.text for choice in whole.choices]


def test_n_and_seed(client, embedded):
    arguments = dict(model=embedded.model, prompt=PROMPT, max_tokens=16, temperature=1.0, n=3, seed=7)
    first = client.completions.create(**arguments)
    assert sorted(choice.index for choice in first.choices) == [0, 1, 2]
    texts = [choice.text for choice in first.choices]
    assert len(set(texts)) == 3, "samples of one request should differ at temperature 1"
    assert [choice.text for choice in client.completions.create(**arguments).choices] == texts
    other = client.completions.create(**{**arguments, "seed": 8})
    assert [choice.text for choice in other.choices] != texts
    assert first.usage.completion_tokens == 48
    assert first.usage.prompt_tokens == len(embedded.tokens(PROMPT)), "the prompt counts once"


def test_unseeded_requests_differ(client, embedded):
    texts = {client.completions.create(model=embedded.model, prompt=PROMPT, max_tokens=16, temperature=1.2).choices[0].text
             for _ in range(4)}
    assert len(texts) > 1


def test_stop(client, embedded):
    arguments = dict(model=embedded.model, prompt=PROMPT, max_tokens=40, temperature=0)
    text = client.completions.create(**arguments).choices[0].text
    words = text.split()
    stop = words[len(words) // 2]
    cut = client.completions.create(**arguments, stop=stop).choices[0]
    assert cut.finish_reason == "stop" and cut.text == text[: text.index(stop)]
    listed = client.completions.create(**arguments, stop=["\u2603", stop, "\u2604"]).choices[0]
    assert listed.text == cut.text
    streamed = "".join(chunk.choices[0].text for chunk in client.completions.create(**arguments, stop=[stop], stream=True))
    assert streamed == cut.text, "no part of a stop text may leak into a stream"
    assert client.completions.create(**arguments, stop=None).choices[0].text == text


def test_echo_and_legacy_logprobs(client, embedded):
    answer = client.completions.create(model=embedded.model, prompt=PROMPT, max_tokens=4, temperature=0, echo=True, logprobs=3)
    (choice,) = answer.choices
    assert choice.text.startswith(PROMPT)
    record = choice.logprobs
    # Of a text, its own tokens: what the server puts before them (BOS) is no part of the echo, but gives the first one its figure.
    prompt = len(embedded.tokens(PROMPT, False))
    length = prompt + 4
    assert len(record.tokens) == len(record.token_logprobs) == len(record.top_logprobs) == len(record.text_offset) == length
    assert "".join(record.tokens) == choice.text
    by_ids = client.completions.create(model=embedded.model, prompt=embedded.tokens(PROMPT), max_tokens=4, temperature=0, echo=True,
                                       logprobs=3).choices[0].logprobs
    assert by_ids.token_logprobs[0] is None and by_ids.top_logprobs[0] is None, "nothing comes before the first of given ids"
    assert by_ids.token_logprobs[1:] == record.token_logprobs
    for position in range(length):
        top = record.top_logprobs[position]
        assert 1 <= len(top) <= 4 and all(value <= 0 for value in top.values())
        assert record.token_logprobs[position] <= max(top.values()), "exactly: clients compare floats"
    for position in range(prompt, length):
        # Greedy: the chosen token is the best one, to the last bit.
        assert record.token_logprobs[position] == max(record.top_logprobs[position].values())
    assert record.text_offset == sorted(record.text_offset)
    for offset, token in zip(record.text_offset, record.tokens):
        assert choice.text[offset:].startswith(token)


def test_echo_alone_scores_the_prompt(client, embedded):
    answer = client.completions.create(model=embedded.model, prompt=PROMPT, max_tokens=0, echo=True, logprobs=1)
    (choice,) = answer.choices
    assert choice.text == PROMPT and answer.usage.completion_tokens == 0
    values = choice.logprobs.token_logprobs
    assert len(values) == len(embedded.tokens(PROMPT, False)) and all(value < 0 for value in values)
    # The same prompt in other company, and from the prefix cache, has the same bits.
    again = client.completions.create(model=embedded.model, prompt=[PROMPT, "Another prompt"], max_tokens=0, echo=True, logprobs=1)
    assert again.choices[0].logprobs.token_logprobs == values


def test_logit_bias(client, embedded):
    arguments = dict(model=embedded.model, prompt=PROMPT, max_tokens=6, temperature=0)
    free = client.completions.create(**arguments, logprobs=1)
    first = embedded.tokens(PROMPT + free.choices[0].text, False)[len(embedded.tokens(PROMPT, False))]
    banned = client.completions.create(**arguments, logprobs=1, logit_bias={str(first): -100})
    assert banned.choices[0].logprobs.tokens[0] != free.choices[0].logprobs.tokens[0]
    forced = embedded.tokens(" sea", False)[-1]
    piece = embedded.ask("POST", "/detokenize", {"tokens": [forced]}).json()["prompt"]
    answer = client.completions.create(**arguments, logit_bias={str(forced): 100})
    assert answer.choices[0].text == piece * 6


def test_penalties_and_sampling_fields(client, embedded):
    arguments = dict(model=embedded.model, prompt="one two one two one two one two", max_tokens=24, temperature=0)
    plain = client.completions.create(**arguments).choices[0].text
    assert client.completions.create(**arguments, frequency_penalty=2.0, presence_penalty=2.0).choices[0].text != plain
    assert client.completions.create(**arguments, extra_body={"repetition_penalty": 1.0}).choices[0].text == plain
    greedy = client.completions.create(**{**arguments, "temperature": 1.5}, seed=3, extra_body={"top_k": 1}).choices[0].text
    assert greedy == plain, "top_k 1 is greedy at any temperature"
    nucleus = client.completions.create(**{**arguments, "temperature": 1.5}, seed=3, top_p=1e-6).choices[0].text
    assert nucleus == plain
    assert client.completions.create(**{**arguments, "temperature": 1.5}, seed=3, extra_body={"min_p": 1.0}).choices[0].text == plain


def test_unknown_fields_and_nulls(client, embedded):
    arguments = dict(model=embedded.model, prompt=PROMPT, max_tokens=6, temperature=0)
    plain = client.completions.create(**arguments).choices[0].text
    nulls = {name: None for name in ("stop", "seed", "n", "top_p", "logprobs", "logit_bias", "presence_penalty", "stream_options",
                                     "frequency_penalty", "user", "suffix", "echo", "best_of", "top_k", "min_p", "moe",
                                     "repetition_penalty", "ignore_eos", "min_tokens", "stop_token_ids", "priority")}
    assert client.completions.create(**arguments, extra_body={**nulls, "no_such_field": {"a": [1]}}).choices[0].text == plain


def test_embeddings(client, embedded):
    texts = ["The cat sat on the mat.", "A cat was sitting on a mat.", "Parliament passed the tax bill in 1909."]
    answer = client.embeddings.create(model=embedded.model, input=texts)  # the client asks for base64
    assert answer.object == "list" and [item.index for item in answer.data] == [0, 1, 2]
    vectors = [item.embedding for item in answer.data]
    assert len({len(vector) for vector in vectors}) == 1 and len(vectors[0]) > 8
    assert all(isinstance(value, float) and math.isfinite(value) for vector in vectors for value in vector)

    def cosine(a, b):
        return sum(x * y for x, y in zip(a, b)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))

    assert cosine(vectors[0], vectors[1]) > cosine(vectors[0], vectors[2])
    floats = client.embeddings.create(model=embedded.model, input=texts[0], encoding_format="float").data[0].embedding
    assert max(abs(a - b) for a, b in zip(floats, vectors[0])) < 1e-6, "alone or with others, base64 or numbers: the same vector"
    raw = embedded.ask("POST", "/v1/embeddings", {"model": embedded.model, "input": texts[0], "encoding_format": "base64"}).json()
    unpacked = struct.unpack(f"<{len(floats)}f", base64.b64decode(raw["data"][0]["embedding"]))
    assert max(abs(a - b) for a, b in zip(unpacked, floats)) < 1e-6
    by_ids = client.embeddings.create(model=embedded.model, input=embedded.tokens(texts[0])).data[0].embedding
    assert max(abs(a - b) for a, b in zip(by_ids, vectors[0])) < 1e-6
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == sum(len(embedded.tokens(text)) for text in texts)


@pytest.mark.parametrize("fields, param", [
    ({"temperature": -1}, "temperature"), ({"top_p": 2}, "top_p"), ({"max_tokens": -5}, "max_tokens"), ({"n": 0}, "n"),
    ({"presence_penalty": 99}, "presence_penalty"), ({"logprobs": -1}, "logprobs"), ({"stop": [1, 2]}, "stop"),
    ({"logit_bias": {"word": 1}}, "logit_bias"), ({"temperature": "hot"}, "temperature"), ({"stream": "yes"}, "stream"),
    ({"prompt": 5}, "prompt"), ({"prompt": [1, "two"]}, "prompt"), ({"prompt": [10**9]}, "prompt"), ({"seed": 1.5}, "seed"),
])
def test_bad_requests(client, embedded, fields, param):
    arguments = {"model": embedded.model, "prompt": PROMPT, "max_tokens": 4}
    with pytest.raises(openai.BadRequestError) as raised:
        client.completions.create(**{**arguments, **{k: v for k, v in fields.items() if k in ("prompt",)}},
                                  extra_body={k: v for k, v in fields.items() if k != "prompt"})
    error = raised.value
    assert error.status_code == 400 and error.type == "invalid_request_error" and error.message
    assert error.param and error.param.split("[")[0].split(".")[0] == param
    assert error.request_id


def test_prompt_beyond_the_context(client, embedded):
    context = client.models.retrieve(embedded.model).model_extra["context_length"]
    with pytest.raises(openai.BadRequestError) as raised:
        client.completions.create(model=embedded.model, prompt=[20] * (context + 1), max_tokens=4)
    assert raised.value.code == "context_length_exceeded"
    assert str(context) in raised.value.message


def test_unknown_model(client):
    with pytest.raises(openai.NotFoundError) as raised:
        client.completions.create(model="gpt-5-imaginary", prompt="x")
    assert raised.value.code == "model_not_found" and "gpt-5-imaginary" in raised.value.message


def test_wrong_key(keys):
    assert client_of(keys).completions.create(model=keys.model, prompt="a", max_tokens=1).choices
    for wrong in ("wrong", keys.key + "x", keys.key[:-1]):
        with pytest.raises(openai.AuthenticationError) as raised:
            OpenAI(base_url=keys.base, api_key=wrong, max_retries=0).models.list()
        assert raised.value.status_code == 401 and raised.value.code
        assert wrong not in raised.value.message


def test_too_many_requests(tight, busy):
    client = client_of(tight)
    with busy(tight, requests=2):
        with pytest.raises(openai.RateLimitError) as raised:
            client.completions.create(model=tight.model, prompt="x", max_tokens=1)
        error = raised.value
        assert error.status_code == 429 and error.type and error.code
        assert int(error.response.headers["retry-after"]) >= 1
        assert float(error.response.headers["retry-after-ms"]) > 0
        assert tight.ask("GET", "/ready").status == 503 and tight.ask("GET", "/health").status == 200
    tight.settle()
    assert tight.ask("GET", "/ready").status == 200


def test_the_clients_own_retries_get_through(tight, busy):
    """openai-python waits as long as Retry-After says and comes again."""
    client = client_of(tight).with_options(max_retries=8)
    with busy(tight, requests=2, tokens=600):
        answer = client.completions.create(model=tight.model, prompt="x", max_tokens=1)
    assert answer.usage.completion_tokens == 1


def test_timeout_of_the_client(client, embedded):
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.2).completions.create(model=embedded.model, prompt=PROMPT, max_tokens=6000,
                                                            extra_body={"ignore_eos": True})
    embedded.settle(within=2)
    assert client.completions.create(model=embedded.model, prompt=PROMPT, max_tokens=2).usage.completion_tokens == 2


def test_cancel_mid_stream(client, embedded):
    before = embedded.settle()
    arguments = dict(model=embedded.model, max_tokens=6000, extra_body={"ignore_eos": True}, stream=True)
    other = client.completions.create(**arguments, prompt="Another story")
    with client.completions.create(**arguments, prompt=PROMPT) as stream:
        for count, _ in enumerate(stream):
            if count == 5:
                break
    # The one that stays goes on: a cancel touches no other request.
    received = sum(1 for _, _ in zip(range(200), other))
    assert received == 200
    other.close()
    after = embedded.settle(within=3)
    assert after["requests"]["cancelled"] >= before["requests"]["cancelled"] + 2


def test_request_id_and_its_record(client, embedded, moe_checker):
    raw = client.completions.with_raw_response.create(model=embedded.model, prompt=PROMPT, max_tokens=5, temperature=0,
                                                      extra_headers={"x-request-id": "mine-0123"})
    assert raw.headers["x-request-id"] == "mine-0123"
    answer = raw.parse()
    moe = answer.usage.model_extra["moe"]
    assert float(raw.headers["x-moe-mean-experts"]) == pytest.approx(moe["mean_experts"], rel=1e-3)
    assert int(raw.headers["x-moe-expert-evaluations"]) == moe["expert_evaluations"]
    assert float(raw.headers["x-moe-saved-fraction"]) == pytest.approx(moe["saved_fraction"], abs=1e-3)
    assert float(raw.headers["x-moe-cost-usd"]) == pytest.approx(moe["cost_usd"], rel=1e-2, abs=1e-9)
    assert raw.headers["x-moe-operating-point"] == moe["operating_point"]
    assert raw.headers["x-moe-degraded-tokens"] == "0"
    for name in ("mine-0123", answer.id):
        record = embedded.ask("GET", f"/v1/requests/{name}").json()
        assert record["status"] == "completed" and record["endpoint"] == "/v1/completions" and record["error"] is None
        assert record["usage"]["completion_tokens"] == 5
        moe_checker(record["usage"]["moe"], 5)
        assert 0 <= record["first_token_seconds"] <= record["seconds"]
    missing = embedded.ask("GET", "/v1/requests/never-seen")
    assert missing.status == 404 and missing.json()["error"]["type"]
    hostile = embedded.ask("GET", "/health", headers={"x-request-id": "a" * 5000})
    assert len(hostile.headers["x-request-id"]) < 200


def test_compute_is_the_requests_choice(client, embedded):
    experts = client.models.retrieve(embedded.model).model_extra["moe"]["experts_per_token"]

    def moe(**fields):
        answer = client.completions.create(model=embedded.model, prompt=PROMPT, max_tokens=32, temperature=0, extra_body=fields)
        return answer.usage.model_extra["moe"]

    exact = moe(moe={"routing": "exact"})
    assert exact["mean_experts"] == experts and exact["saved_fraction"] == 0 and exact["operating_point"] == "exact"
    means = [exact["mean_experts"]] + [moe(moe={"routing": name})["mean_experts"] for name in ("parity", "balanced", "fast")]
    assert means == sorted(means, reverse=True) and means[-1] < means[0] / 2
    assert moe(moe={"routing": "static:k=3"})["mean_experts"] == 3
    capped = moe(moe={"routing": "exact", "max_experts": 2})
    assert capped["mean_experts"] <= 2 and all(count == 0 for count in capped["histogram"][3:])
    for effort, point in {"minimal": "fast", "low": "fast", "medium": "balanced", "high": "parity", "xhigh": "exact"}.items():
        assert moe(reasoning_effort=effort)["operating_point"] == point
    assert moe(reasoning_effort="minimal", moe={"routing": "exact"})["operating_point"] == "exact"
    with pytest.raises(openai.BadRequestError) as raised:
        moe(moe={"routing": "no-such-policy"})
    assert "moe" in raised.value.param


@pytest.mark.parametrize("budget", [600, 1500, 4000])
def test_a_budget_is_never_exceeded(client, embedded, budget):
    answer = client.completions.create(model=embedded.model, prompt=PROMPT, max_tokens=400, temperature=0,
                                       extra_body={"moe": {"routing": "exact", "budget": budget}, "ignore_eos": True})
    moe = answer.usage.model_extra["moe"]
    assert moe["expert_evaluations"] <= budget and moe["budget"] == budget
    assert answer.choices[0].finish_reason == "length" and answer.usage.completion_tokens > 0
    # What the budget cannot pay at full price is computed with fewer experts; it ends when one for each layer is too much.
    if answer.usage.completion_tokens < 400:
        assert moe["expert_evaluations"] > budget * 0.9
    else:
        assert moe["mean_experts"] < 8


def test_the_same_alone_and_among_others(embedded):
    """Batch invariance as a client sees it: text and logprobs of 16 requests at once, to the last bit."""
    prompts = [f"Chapter {number}. {PROMPT}" for number in range(16)]

    async def one(client, prompt):
        answer = await client.completions.create(model=embedded.model, prompt=prompt, max_tokens=24, temperature=0, logprobs=2)
        return answer.choices[0].text, answer.choices[0].logprobs.token_logprobs

    async def run():
        async with AsyncOpenAI(base_url=embedded.base, api_key="none", max_retries=0) as client:
            alone = [await one(client, prompt) for prompt in prompts]
            together = await asyncio.gather(*(one(client, prompt) for prompt in prompts))
        return alone, list(together)

    alone, together = asyncio.run(run())
    assert together == alone


def test_async_cancellation(embedded):
    async def run():
        async with AsyncOpenAI(base_url=embedded.base, api_key="none", max_retries=0) as client:
            async def long():
                await client.completions.create(model=embedded.model, prompt=PROMPT, max_tokens=6000, extra_body={"ignore_eos": True})

            tasks = [asyncio.create_task(long()) for _ in range(6)]
            await asyncio.sleep(0.3)
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            return [type(result) for result in results]

    assert asyncio.run(run()) == [asyncio.CancelledError] * 6
    embedded.settle(within=3)


def test_suffix(client, embedded, tools):
    with pytest.raises(openai.BadRequestError) as raised:  # no fill-in-the-middle tokens in this model
        client.completions.create(model=embedded.model, prompt="a", suffix="b", max_tokens=2)
    assert raised.value.param == "suffix"
    answer = client_of(tools).completions.create(model=tools.model, prompt="def add(a, b):\n    return ", suffix="\n\nprint(add(1, 2))\n",
                                                 max_tokens=12, temperature=0, stop=["\n"])
    assert answer.choices[0].text.strip() == "a + b"
