# SPDX-License-Identifier: Apache-2.0
"""llm, Simon Willison's command line, with extra-openai-models.yaml: the program itself, as its users call it."""

import json
import os
import sqlite3
import subprocess
import sys

import pytest


@pytest.fixture
def llm(tmp_path, chat, embedded, tools, keys):
    entries = []
    for name, server, more in [
        ("chat", chat, {"supports_schema": True}), ("tools", tools, {"supports_tools": True, "supports_schema": True}),
        ("story", embedded, {"completion": True}), ("locked", keys, {}), ("answers", chat, {"responses": True}),
    ]:
        entries.append({"model_id": name, "model_name": server.model, "api_base": server.base, **more})
    # YAML reads JSON.
    (tmp_path / "extra-openai-models.yaml").write_text(json.dumps(entries))

    def run(*words, text=None, fails=False):
        environment = {**os.environ, "LLM_USER_PATH": str(tmp_path), "OPENAI_API_KEY": "none"}
        result = subprocess.run([sys.executable, "-m", "llm", *words], input=text, capture_output=True, text=True, env=environment,
                                stdin=subprocess.DEVNULL if text is None else None, timeout=120)
        assert (result.returncode != 0) == fails, f"{result.returncode}: {result.stdout} {result.stderr}"
        return result.stderr if fails else result.stdout

    run.folder = tmp_path
    return run


def test_it_lists_the_models(llm):
    listed = llm("models")
    assert all(f": {name}" in listed for name in ("chat", "tools", "story"))


def test_prompt_streamed_or_not(llm):
    words = ["-m", "chat", "-s", "Answer in one short sentence.", "-o", "temperature", "0", "-o", "max_tokens", "40",
             "What is the capital of France?"]
    streamed = llm(*words)
    assert "Paris" in streamed and llm("--no-stream", *words) == streamed


def test_usage_is_logged(llm):
    shown = llm("-m", "chat", "-o", "max_tokens", "12", "-o", "temperature", "0", "What is the capital of France?")
    assert shown.strip()
    with sqlite3.connect(llm.folder / "logs.db") as database:
        ((input_tokens, output_tokens),) = database.execute("select input_tokens, output_tokens from turns").fetchall()
    assert input_tokens > 0 and 0 < output_tokens <= 12
    assert shown.strip() in llm("logs", "-n", "1")


def test_a_conversation_goes_on(llm):
    llm("-m", "tools", "-o", "temperature", "0", "-o", "max_tokens", "30", "My name is Ada.")
    assert "Ada" in llm("-c", "-o", "temperature", "0", "-o", "max_tokens", "30", "What is my name?")


def test_piped_text(llm):
    assert llm("-m", "chat", "-o", "max_tokens", "20", "-s", "Summarise", text="The cat sat on the mat.").strip()


def test_schema(llm):
    answer = json.loads(llm("-m", "chat", "--schema", "name, age int", "-o", "temperature", "0", "-o", "max_tokens", "100",
                            "Describe Ada, who is 36."))
    assert set(answer) == {"name", "age"} and isinstance(answer["age"], int)


def test_completion_model(llm):
    text = llm("-m", "story", "-o", "max_tokens", "10", "-o", "temperature", "0", "The sun rose over")
    assert text.strip() and llm("-m", "story", "--no-stream", "-o", "max_tokens", "10", "-o", "temperature", "0", "The sun rose over") == text


def test_responses_model(llm):
    assert "Paris" in llm("-m", "answers", "What is the capital of France? Answer in one short sentence.")


def test_tools(llm):
    source = "def multiply(a: int, b: int) -> int:\n    'Multiply two integers.'\n    return a * b\n"
    shown = llm("-m", "tools", "--functions", source, "--td", "-o", "temperature", "0", "-o", "max_tokens", "120",
                "Use the tool to multiply 12 by 12.")
    # A model that writes its call as plain text, as this one may, gets it shown as that: nothing is lost or made up.
    assert "144" in shown or '"multiply"' in shown


def test_errors_are_one_line(llm):
    shown = llm("-m", "locked", "hello", fails=True)
    assert "Traceback" not in shown and "401" in shown
    shown = llm("-m", "chat", "-o", "top_p", "0.9", "-o", "presence_penalty", "1.5", "-o", "max_tokens", "4", "hello")
    assert shown.strip()
