#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes Tests/Fixtures/answers/templates.json: answers as the models' own chat templates write them.

    Tools/golden/make_answer_fixtures.py

Python's Jinja2, set up as transformers does, renders conversations whose last message is an assistant's, through every template
in ../shared/data/templates. What that message adds to the prompt is the answer's text, and the message is what must come back
when it is taken apart. Only texts that show the message's parts are kept: many templates drop reasoning, or do not know tools.
"""

import datetime
import functools
import json
import re
import sys
from pathlib import Path

import jinja2
import jinja2.ext
import jinja2.sandbox

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = ROOT.parent / "shared/data/templates"
OUTPUT = ROOT / "Tests/Fixtures/answers/templates.json"

# What ends a turn in one template or another: it never reaches the parser.
TURN_ENDS = [
    "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "</s>", "<|end_of_text|>", "<|END_OF_TURN_TOKEN|>", "<seed:eos>", "[e~[",
    "<end_of_sentence>", "<｜end▁of▁sentence｜>", "<|call|>", "<|return|>", "<|end|>", "<turn|>", "<|tool_response>", "<SPECIAL_12>",
    "<sep>", "<|message_sep|>", "<|assistant_end|>", "<end_of_turn>", "<|role_end|>", "</assistant>", "<|calls|>",
]
# Of these, the ones that a format has within an answer as well.
INNER_ENDS = {"openai-gpt-oss-120b": ["<|end|>", "<|call|>"], "GigaChat3-10B-A1.8B": ["<|message_sep|>"]}

# What a prompt opens, or opens and closes at once.
OPENERS = re.compile(
    r"(<think>\s*(</think>\s*)?|</think>|<seed:think>|<\|START_THINKING\|>(<\|END_THINKING\|>)?|<\|channel>thought\n(<channel\|>)?"
    r"|\[THINK\]|Here are my reasoning steps:\n)$"
)

CLOSED = re.compile(r"(</think>|<\|END_THINKING\|>|<channel\|>)\s*$")
CLOSED_WITHIN = re.compile(r"</think>|<\|END_THINKING\|>|<channel\|>|</seed:think>|\[BEGIN FINAL RESPONSE\]")

PARAMETERS = {
    "type": "object",
    "additionalProperties": {"type": "string"},
    "properties": {
        "city": {"type": "string", "description": "Where"},
        "days": {"type": "integer", "description": "How many"},
        "ratio": {"type": "number", "description": "How much"},
        "metric": {"type": "boolean", "description": "Units"},
        "options": {"type": "object", "description": "More", "additionalProperties": {"type": "string"}},
        "tags": {"type": "array", "items": {"type": "string"}, "description": "Words"},
    },
    "required": ["city"],
}
TOOLS = [
    {"type": "function", "function": {"name": "get_weather", "description": "The weather", "parameters": PARAMETERS}},
    {
        "type": "function",
        "function": {
            "name": "run-code_2",
            "description": "Runs code",
            "parameters": {
                "type": "object",
                "properties": {"source": {"type": "string", "description": "Code"}},
                "required": ["source"],
            },
        },
    },
]

REASONING = "They want the weather.\n\nSo I look it up: 1 < 2 & \"so on\"."
CONTENT = "Here is *what* I found:\n\n```c\nif (a < b) { return [1]; }\n```\nDone — ünïcode 🌍."
CALLS = {
    "weather": ("get_weather", {"city": "Köln", "days": 3}),
    "types": (
        "get_weather",
        {
            "city": "New York", "days": 0, "ratio": -2.5, "metric": True, "options": {"a": "b", "c": "[1]"},
            "tags": ["x", "y z"],
        },
    ),
    "odd": ("get_weather", {"city": "a \"quoted\" \\ back\\slash, {brace} [list] 🌍 'single'"}),
    "code": ("run-code_2", {"source": "def f(x):\n    return x < 1 and \"}\" or '<b>'\n\nprint(f(2))"}),
    "none": ("get_weather", {}),
}
MESSAGES = {
    "content": (None, CONTENT, []),
    "thought": (REASONING, CONTENT, []),
    "call": (None, "", ["weather"]),
    "types": (None, "", ["types"]),
    "odd": (None, "", ["odd"]),
    "code": (None, "", ["code"]),
    "no arguments": (None, "", ["none"]),
    "thought call": (REASONING, "", ["weather"]),
    "parallel": (None, "", ["weather", "code"]),
    "everything": (REASONING, CONTENT, ["types", "code"]),
}


class Generation(jinja2.ext.Extension):
    """`{% generation %}` of transformers, which changes nothing in the text."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        return jinja2.nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True)).set_lineno(line)


def environment(sandboxed):
    kind = jinja2.sandbox.ImmutableSandboxedEnvironment if sandboxed else jinja2.Environment
    made = kind(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])

    def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def raise_exception(message):
        raise jinja2.TemplateError(message)

    made.filters["tojson"] = tojson
    made.globals["raise_exception"] = raise_exception
    made.globals["strftime_now"] = lambda format: datetime.datetime(2026, 1, 2).strftime(format)
    return made


@functools.cache
def template(source, sandboxed):
    return environment(sandboxed).from_string(source)


def render(source, messages, **variables):
    variables = dict(messages=messages, bos_token="<s>", eos_token="</s>", **variables)
    try:
        return template(source, True).render(**variables)
    except jinja2.sandbox.SecurityError:
        # Templates that change lists were never run in transformers' sandbox.
        return template(source, False).render(**variables)


def assistant(reasoning, content, calls, as_text, name):
    message = {"role": "assistant", "content": content}
    if reasoning:
        message["reasoning_content"] = reasoning
        if name.startswith("openai"):
            message["thinking"] = reasoning
    if calls:
        message["tool_calls"] = []
        for index, call in enumerate(calls):
            tool, arguments = CALLS[call]
            if as_text:
                arguments = json.dumps(arguments, ensure_ascii=False)
            message["tool_calls"].append(
                {"type": "function", "id": f"callcall{index}", "function": {"name": tool, "arguments": arguments}}
            )
    return message


def cut(name, base, prompt, full):
    """The answer's text, and the prompt that it follows."""
    if not full.startswith(base):
        return None
    head = prompt
    if not full.startswith(prompt):
        head = OPENERS.sub("", prompt)
        if len(head) < len(base) or not full.startswith(head):
            # A role without the white space that the prompt has after it.
            head = head.rstrip()
            if not full.startswith(head):
                return None
    text = full[len(head) :]
    inner = INNER_ENDS.get(name, [])
    first = min((text.find(end) for end in TURN_ENDS if end in text and end not in inner), default=-1)
    if first >= 0:
        text = text[:first]
    for end in inner:
        text = text.rstrip().removesuffix(end) if text.rstrip().endswith(end) else text
    return head, text


def cases(name, source, seen):
    user = [{"role": "user", "content": "How is it?"}]
    for label, (reasoning, content, calls) in MESSAGES.items():
        for thinking in (None, True, False):
            variables = {} if thinking is None else {"enable_thinking": thinking, "thinking": thinking}
            variables["tools"] = TOOLS
            # What single templates want besides.
            variables |= {"documents": None, "functions": json.dumps(TOOLS), "datetime": "2026-01-02"}
            for as_text in (False, True):
                try:
                    base = render(source, user, add_generation_prompt=False, **variables)
                    prompt = render(source, user, add_generation_prompt=True, **variables)
                    answer = assistant(reasoning, content, calls, as_text, name)
                    full = render(source, user + [answer], add_generation_prompt=False, **variables)
                except (jinja2.TemplateError, TypeError, AttributeError):
                    continue
                # Some templates end a conversation that is over.
                made = cut(name, base.removesuffix("</s>"), prompt, full)
                if made is None:
                    continue
                head, text = made
                opened = OPENERS.search(prompt) and not CLOSED.search(prompt)
                if opened and head == prompt and not reasoning and not CLOSED_WITHIN.search(text):
                    continue
                if opened and head != prompt and reasoning and text.startswith(reasoning):
                    # History without the sentence that opens the block, which the prompt has.
                    head = prompt
                shows = (
                    (not reasoning or REASONING in text)
                    and (not content or CONTENT in text)
                    and all(CALLS[call][0] in text for call in calls)
                    and text.count(CALLS["code"][0]) == len([c for c in calls if c == "code"])
                )
                if not shows:
                    continue
                if (head[-40:], text) in seen:
                    break
                seen.add((head[-40:], text))
                yield {
                    "template": name,
                    "name": label,
                    "prompt": head[-40:],
                    "text": text,
                    "reasoning": reasoning or "",
                    "content": content,
                    "calls": [{"name": CALLS[call][0], "arguments": CALLS[call][1]} for call in calls],
                }
                break


def main():
    if not TEMPLATES.is_dir():
        print(f"{TEMPLATES} is not there: templates.json stays as it is", file=sys.stderr)
        return
    made = []
    for path in sorted(TEMPLATES.glob("*.jinja")):
        seen = set()
        made += cases(path.stem, path.read_text(), seen)
    fixture = {
        "source": f"the templates' own text, by jinja2 {jinja2.__version__}",
        "tools": TOOLS,
        "cases": made,
    }
    OUTPUT.parent.mkdir(exist_ok=True)
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in fixture.pop("cases"))
    head = json.dumps(fixture, ensure_ascii=False)[:-1]
    OUTPUT.write_text(f'{head}, "cases": [\n{lines}\n]}}\n')
    print(f"{len(made)} answers of {len({case['template'] for case in made})} templates")


main()
