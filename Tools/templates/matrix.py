# SPDX-License-Identifier: Apache-2.0
"""Writes what transformers makes of a matrix of conversations with every template of a folder.

    matrix.py --templates FOLDER --output FILE.json

The file is for the Swift test `TemplateMatrixTests`: {"templates": {name: source}, "conversations": [...],
"cases": [{"template": name, "conversation": index, "output": text or "error": why}]}.
"""

import argparse
import json
import pathlib

import oracle

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather of a place.\nIn <b>degrees</b> & \"quotes\".",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Città, 都市"},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
                "days": {"type": "integer", "minimum": 1, "maximum": 14},
            },
            "required": ["city"],
        },
    },
}
SEARCH = {
    "type": "function",
    "function": {
        "name": "search",
        "description": "Searches.",
        "parameters": {
            "type": "object",
            "properties": {
                "queries": {"type": "array", "items": {"type": "string"}, "description": "What to look for"},
                "filter": {
                    "type": "object",
                    "description": "A filter",
                    "properties": {
                        "after": {"type": ["string", "null"], "description": "A date"},
                        "score": {"type": "number", "minimum": 0.5, "exclusiveMaximum": 1e3},
                        "nested": {"type": "object", "properties": {"deep": {"type": "boolean"}}, "required": ["deep"]},
                    },
                    "additionalProperties": False,
                },
                "mode": {"anyOf": [{"type": "string"}, {"type": "integer"}], "nullable": True},
                "items": {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "number"}}}},
            },
            "required": ["queries", "filter"],
        },
        "return": {"type": "array", "items": {"type": "string"}},
    },
}
NOW = {"type": "function", "function": {"name": "now", "description": "", "parameters": {"type": "object", "properties": {}}}}
BARE = {"name": "bare", "description": "No wrapping", "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}}
EMPTY = {"type": "function", "function": {"name": "empty"}}


def system(text="You are helpful."):
    return {"role": "system", "content": text}


def user(text="Hello!"):
    return {"role": "user", "content": text}


def assistant(text="Hi.", **more):
    return {"role": "assistant", "content": text, **more}


def call(name="get_weather", arguments=None, identifier="abcdef012"):
    arguments = {"city": "Roma", "days": 3} if arguments is None else arguments
    return {"id": identifier, "type": "function", "function": {"name": name, "arguments": arguments}}


def result(text='{"temperature": 21.5}', **more):
    return {"role": "tool", "content": text, **more}


def part(text):
    return {"type": "text", "text": text}


def conversations_of_messages():
    """name -> messages."""
    unicode = "Grüße, 世界 👩‍👩‍👧 e\u0301 \u200b\u00a0 مرحبا \U0001f1ee\U0001f1f9 \x07\x1b"
    markers = "<|im_end|>\n<think>no</think> [INST] {{ messages }} {% raw %} </s> ``` \\n \"'<tool_call>"
    calls = [call(), call("search", {"queries": ["a", "ü\n"], "filter": {"after": None, "score": 0.75}, "mode": True}, "ghijkl345")]
    return {
        "user": [user()],
        "system": [system(), user()],
        "developer": [{"role": "developer", "content": "Be brief."}, user()],
        "system only": [system()],
        "turns": [user("1+1?"), assistant("2"), user("2+2?"), assistant("4"), user("3+3?")],
        "system turns": [system(), user("1+1?"), assistant("2"), user("2+2?")],
        "ends with assistant": [system(), user("Count."), assistant("1, 2, ")],
        "ends with spaces": [user("Count."), assistant("  1, 2,  \n")],
        "assistant first": [assistant("Hi."), user()],
        "two users": [user("a"), user("b")],
        "two assistants": [user("a"), assistant("b"), assistant("c")],
        "two systems": [system("a"), system("b"), user("c")],
        "late system": [user("a"), assistant("b"), system("c"), user("d")],
        "unknown role": [user("a"), {"role": "critic", "content": "b"}],
        "no role": [{"content": "a"}],
        "no content": [user("a"), {"role": "assistant"}],
        "null content": [user("a"), assistant(None), user("b")],
        "empty": [system(""), user(""), assistant(""), user("")],
        "spaces": [system("  \n"), user(" \t a \n\n"), assistant("\n\nb\n"), user("\u00a0")],
        "unicode": [system(unicode), user(unicode), assistant(unicode), user(unicode)],
        "markers": [system(markers), user(markers), assistant(markers), user(markers)],
        "thought": [user("a"), assistant("b", reasoning_content="Let me think.\n"), user("c")],
        "thought at the end": [user("a"), assistant("b", reasoning_content="\nLet me think.")],
        "thought in content": [user("a"), assistant("<think>\nhm\n</think>\n\nb"), user("c"), assistant("<think></think>d")],
        "thought by another name": [user("a"), assistant("b", reasoning="hm"), user("c"), assistant("d", thinking="ah")],
        "thought alone": [user("a"), {"role": "assistant", "reasoning_content": "hm"}],
        "call": [user("Weather?"), assistant("", tool_calls=[call()])],
        "call without content": [user("Weather?"), {"role": "assistant", "tool_calls": [call()]}],
        "call with words": [system(), user("Weather?"), assistant("I look.", tool_calls=[call()])],
        "call as text": [user("Weather?"), assistant("", tool_calls=[call(arguments='{"city": "Roma"}')])],
        "call without arguments": [user("Time?"), assistant("", tool_calls=[call("now", {})])],
        "calls": [user("Weather?"), assistant("", tool_calls=calls)],
        "result": [user("Weather?"), assistant("", tool_calls=[call()]), result(tool_call_id="abcdef012", name="get_weather")],
        "result bare": [user("Weather?"), assistant("", tool_calls=[call()]), result()],
        "results": [
            system(), user("Weather?"), assistant("I look.", tool_calls=calls),
            result(tool_call_id="abcdef012", name="get_weather"), result("ü ✓", tool_call_id="ghijkl345", name="search"),
            assistant("21.5 degrees."), user("Thanks"),
        ],
        "results thought": [
            user("Weather?"), assistant("", reasoning_content="I must look.", tool_calls=[call()]),
            result(tool_call_id="abcdef012", name="get_weather"),
            assistant("", reasoning_content="Again.", tool_calls=[call("now", {}, "mnopqr678")]),
            result("12:00", tool_call_id="mnopqr678", name="now"),
        ],
        "results then answer": [
            user("Weather?"), assistant("", tool_calls=[call()]), result(tool_call_id="abcdef012", name="get_weather"),
            assistant("21.5 degrees.", reasoning_content="Easy."), user("And tomorrow?"),
            assistant("", tool_calls=[call(identifier="stuvwx901")]), result("22", tool_call_id="stuvwx901", name="get_weather"),
        ],
        "tool first": [result(), user("a")],
        "ipython": [user("a"), {"role": "ipython", "content": "b"}, user("c")],
        "object result": [user("a"), assistant("", tool_calls=[call()]), {"role": "tool", "content": {"t": 1.0, "l": [1, None]}}],
        "parts": [{"role": "system", "content": [part("S")]}, {"role": "user", "content": [part("a"), part("b")]}],
        "parts turns": [
            {"role": "user", "content": [part("a")]}, {"role": "assistant", "content": [part("b ")]},
            {"role": "user", "content": [part("c"), {"type": "image"}]}, {"role": "assistant", "content": [part("d")]},
        ],
        "strange content": [user(5), user(["a", 1.5]), user({"a": None}), user(True)],
        "long": [system()] + [turn for index in range(20) for turn in (user(f"q{index}"), assistant(f"a{index}"))] + [user("?")],
        "none": [],
    }


def conversations():
    tools = {"no tools": None, "tools": [WEATHER, SEARCH, NOW], "odd tools": [BARE, EMPTY], "empty tools": []}
    variables = {
        "": {},
        "thinking": {"enable_thinking": True, "thinking": True, "reasoning_effort": "high", "thinking_budget": 512},
        "no thinking": {"enable_thinking": False, "thinking": False, "reasoning_effort": "low", "thinking_budget": 0},
        "more": {
            "date_string": "03 Feb 2026", "model_identity": "You are a test.", "builtin_tools": ["browser", "python"],
            "tools_in_user_message": False, "keep_past_thinking": True, "documents": [{"title": "T", "text": "Ü", "doc_id": 1}],
            "clear_thinking": False, "preserve_thinking": True, "developer_instructions": "D", "xml_tools": ["x"],
            "bos_token": "<BOS>", "current_date": "2026-02-03", "skip_think": True, "add_default_system_message": True,
        },
    }
    result = []
    for name, messages in conversations_of_messages().items():
        has_calls = "call" in name or "result" in name
        for tool_name, tool_list in tools.items():
            for variable_name, values in variables.items():
                # The full product would say little more than these.
                if tool_name in ("odd tools", "empty tools") and (variable_name or name not in ("user", "system", "results")):
                    continue
                if tool_name == "tools" and not has_calls and variable_name == "more" and name not in ("user", "system turns"):
                    continue
                for add, go_on in ((False, False), (True, False), (False, True)):
                    result.append({
                        "name": ", ".join(filter(None, [
                            name, tool_name, variable_name, "prompt" if add else "continued" if go_on else ""])),
                        "messages": messages, "tools": tool_list, "variables": values,
                        "add_generation_prompt": add, "continue_final_message": go_on,
                    })
    return result


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--templates", type=pathlib.Path, required=True, help="a folder of .jinja files")
    parser.add_argument("--output", type=pathlib.Path, required=True)
    options = parser.parse_args()
    templates = {path.stem: path.read_text(encoding="utf-8") for path in sorted(options.templates.glob("*.jinja"))}
    matrix = conversations()
    cases = []
    for name, source in templates.items():
        for index, conversation in enumerate(matrix):
            cases.append({"template": name, "conversation": index, **oracle.chat(source, conversation)})
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(
        json.dumps({"templates": templates, "conversations": matrix, "special_tokens": oracle.SPECIAL_TOKENS, "cases": cases}))
    refused = sum("error" in case for case in cases)
    print(f"{len(cases)} cases of {len(templates)} templates and {len(matrix)} conversations, {refused} refused: {options.output}")


if __name__ == "__main__":
    main()
