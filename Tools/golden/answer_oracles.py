#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes Tests/Fixtures/answers/oracles.json: what SGLang's parsers find in answers of many formats, well formed and not.

    Tools/golden/answer_oracles.py FOLDER

FOLDER is SGLang's wheel, unpacked (`pip download --no-deps sglang==0.5.23`, `unzip`). Its parsers are imported alone, without the
engine; they need the packages orjson, msgspec, pydantic, jinja2, partial-json-parser and regex. Run by hand when a format is
added: `make golden` leaves this file as it is.
"""

import importlib
import importlib.metadata
import json
import re
import sys
import types
from pathlib import Path
from typing import Any, Optional

from pydantic import BaseModel

OUTPUT = Path(__file__).resolve().parents[2] / "Tests/Fixtures/answers/oracles.json"


class Function(BaseModel):
    name: str
    description: Optional[str] = None
    parameters: Optional[dict] = None
    strict: bool = False


class Tool(BaseModel):
    type: str = "function"
    function: Function


def load(folder):
    """SGLang's packages as empty shells, so that only the parsers' own files are run."""
    for name in ["sglang", "sglang.srt", "sglang.srt.entrypoints", "sglang.srt.entrypoints.openai"]:
        shell = types.ModuleType(name)
        shell.__path__ = [str(folder / name.replace(".", "/"))]
        sys.modules[name] = shell
    protocol = types.ModuleType("sglang.srt.entrypoints.openai.protocol")
    protocol.Function, protocol.Tool = Function, Tool
    protocol.__getattr__ = lambda name: Any
    sys.modules[protocol.__name__] = protocol


PARAMETERS = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer"},
        "ratio": {"type": "number"},
        "metric": {"type": "boolean"},
        "options": {"type": "object"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "either": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "unit": {"enum": ["C", "F"]},
    },
}
TOOLS = [
    {"name": "get_weather", "description": "The weather", "parameters": PARAMETERS},
    {"name": "run", "description": "Runs", "parameters": {"type": "object", "properties": {"source": {"type": "string"}}}},
    {"name": "now", "description": "The time", "parameters": {"type": "object", "properties": {}}},
]

CALLS = {
    "simple": [("get_weather", {"city": "Paris", "days": 2})],
    "types": [("get_weather", {"ratio": 1.5, "metric": False, "options": {"k": [1, {"x": None}]}, "tags": ["a", "b"]})],
    "none": [("now", {})],
    "two": [("get_weather", {"city": "Oslo"}), ("run", {"source": "x = [1]\nprint(x)\n"})],
    "text": [("run", {"source": "say(\"hi\") # {not} [json] \\n é 🌍"})],
    "lines": [("run", {"source": "\n  indented\n\n"})],
    "looks like numbers": [("get_weather", {"city": "007", "tags": []}), ("run", {"source": "3"})],
    "words": [("get_weather", {"city": "true", "unit": "C"})],
}


def dumps(value):
    return json.dumps(value, ensure_ascii=False)


def plain(value):
    return value if isinstance(value, str) else dumps(value)


def hermes(calls):
    return "\n".join(f'<tool_call>\n{{"name": "{n}", "arguments": {dumps(a)}}}\n</tool_call>' for n, a in calls)


def qwen_xml(calls):
    def one(name, arguments):
        parameters = "".join(f"<parameter={k}>\n{plain(v)}\n</parameter>\n" for k, v in arguments.items())
        return f"<tool_call>\n<function={name}>\n{parameters}</function>\n</tool_call>"

    return "\n".join(one(*call) for call in calls)


def glm(calls):
    def one(name, arguments):
        pairs = "".join(f"<arg_key>{k}</arg_key>\n<arg_value>{plain(v)}</arg_value>\n" for k, v in arguments.items())
        return f"<tool_call>{name}\n{pairs}</tool_call>"

    return "\n".join(one(*call) for call in calls)


def glm47(calls):
    return re.sub(r"\n(?=<arg_|</tool_call>)", "", glm(calls)) if all("\n" not in plain(v) for _, a in calls for v in a.values()) else None


def minimax(calls):
    def one(name, arguments):
        parameters = "".join(f'<parameter name="{k}">{plain(v)}</parameter>\n' for k, v in arguments.items())
        return f'<invoke name="{name}">\n{parameters}</invoke>\n'

    return "<minimax:tool_call>\n" + "".join(one(*call) for call in calls) + "</minimax:tool_call>"


def dsml(section):
    def text(calls):
        mark = "｜DSML｜"

        def one(name, arguments):
            parameters = "".join(
                f'<{mark}parameter name="{k}" string="{"true" if isinstance(v, str) else "false"}">{plain(v)}</{mark}parameter>\n'
                for k, v in arguments.items()
            )
            return f'<{mark}invoke name="{name}">\n{parameters}</{mark}invoke>\n'

        return f"<{mark}{section}>\n" + "".join(one(*call) for call in calls) + f"</{mark}{section}>"

    return text


def deepseek_v3(calls):
    body = "\n".join(
        f"<｜tool▁call▁begin｜>function<｜tool▁sep｜>{n}\n```json\n{dumps(a)}\n```<｜tool▁call▁end｜>" for n, a in calls
    )
    return f"<｜tool▁calls▁begin｜>{body}<｜tool▁calls▁end｜>"


def deepseek_v31(calls):
    body = "".join(f"<｜tool▁call▁begin｜>{n}<｜tool▁sep｜>{dumps(a)}<｜tool▁call▁end｜>" for n, a in calls)
    return f"<｜tool▁calls▁begin｜>{body}<｜tool▁calls▁end｜>"


def kimi(calls):
    body = "".join(
        f"<|tool_call_begin|>functions.{n}:{i}<|tool_call_argument_begin|>{dumps(a)}<|tool_call_end|>"
        for i, (n, a) in enumerate(calls)
    )
    return f"<|tool_calls_section_begin|>{body}<|tool_calls_section_end|>"


def mistral_list(calls):
    return "[TOOL_CALLS] " + dumps([{"name": n, "arguments": a} for n, a in calls])


def mistral(calls):
    return "".join(f"[TOOL_CALLS]{n}[ARGS]{dumps(a)}" for n, a in calls)


def llama(calls):
    return ";".join(dumps({"name": n, "parameters": a}) for n, a in calls)


def llama_tag(calls):
    return "<|python_tag|>" + llama(calls)


def lfm2(calls):
    body = ", ".join(f"{n}({', '.join(f'{k}={v!r}' for k, v in a.items())})" for n, a in calls)
    return f"<|tool_call_start|>[{body}]<|tool_call_end|>"


def pythonic(calls):
    return "[" + ", ".join(f"{n}({', '.join(f'{k}={v!r}' for k, v in a.items())})" for n, a in calls) + "]"


def gemma(calls):
    def value(v):
        if isinstance(v, str):
            return f'<|"|>{v}<|"|>'
        if isinstance(v, dict):
            return "{" + ",".join(f"{k}:{value(x)}" for k, x in v.items()) + "}"
        if isinstance(v, list):
            return "[" + ",".join(map(value, v)) + "]"
        return dumps(v)

    return "".join(f"<|tool_call>call:{n}{{{','.join(f'{k}:{value(v)}' for k, v in a.items())}}}<tool_call|>" for n, a in calls)


def harmony(calls):
    name, arguments = calls[0]
    if len(calls) > 1:
        return None
    return f"<|start|>assistant<|channel|>commentary to=functions.{name} <|constrain|>json<|message|>{dumps(arguments)}<|call|>"


def apertus(calls):
    return "<|tools_prefix|>" + dumps([{n: a} for n, a in calls]) + "<|tools_suffix|>"


def cohere(calls):
    body = ",\n".join(f'    {dumps({"tool_call_id": str(i), "tool_name": n, "parameters": a})}' for i, (n, a) in enumerate(calls))
    return f"<|START_ACTION|>[\n{body}\n]<|END_ACTION|>"


def hunyuan(calls):
    def one(name, arguments):
        pairs = "".join(f"<arg_key>{k}</arg_key>\n<arg_value>{plain(v)}</arg_value>\n" for k, v in arguments.items())
        return f"<tool_call>{name}<tool_sep>\n{pairs}</tool_call>\n"

    return "<tool_calls>\n" + "".join(one(*call) for call in calls) + "</tool_calls>"


def minicpm(calls):
    def one(name, arguments):
        return f'<function name="{name}">' + "".join(f'<param name="{k}">{plain(v)}</param>' for k, v in arguments.items()) + "</function>"

    return "\n".join(one(*call) for call in calls)


def gigachat(calls):
    if len(calls) > 1:
        return None
    return f"function call<|role_sep|>\n{dumps({'name': calls[0][0], 'arguments': calls[0][1]})}"


# Format, SGLang's file and class, how it writes calls, whether text may stand before them.
FORMATS = [
    ("hermes", "qwen25_detector.Qwen25Detector", hermes, True),
    ("hermes", "hermes_detector.HermesDetector", hermes, True),
    ("qwen-xml", "qwen3_coder_detector.Qwen3CoderDetector", qwen_xml, True),
    ("glm", "glm4_moe_detector.Glm4MoeDetector", glm, True),
    ("glm", "glm47_moe_detector.Glm47MoeDetector", glm47, True),
    ("minimax-m2", "minimax_m2.MinimaxM2Detector", minimax, True),
    ("deepseek-v3.2", "deepseekv32_detector.DeepSeekV32Detector", dsml("function_calls"), True),
    ("deepseek-v4", "deepseekv4_detector.DeepSeekV4Detector", dsml("tool_calls"), True),
    ("deepseek-v3", "deepseekv3_detector.DeepSeekV3Detector", deepseek_v3, True),
    ("deepseek-v3.1", "deepseekv31_detector.DeepSeekV31Detector", deepseek_v31, True),
    ("kimi-k2", "kimik2_detector.KimiK2Detector", kimi, True),
    ("mistral", "mistral_detector.MistralDetector", mistral_list, True),
    ("mistral", "mistral_detector.MistralDetector", mistral, True),
    ("llama3", "llama32_detector.Llama32Detector", llama, False),
    ("llama3", "llama32_detector.Llama32Detector", llama_tag, True),
    ("llama3", "pythonic_detector.PythonicDetector", pythonic, False),
    ("lfm2", "lfm2_detector.Lfm2Detector", lfm2, True),
    ("gemma4", "gemma4_detector.Gemma4Detector", gemma, True),
    ("harmony", "gpt_oss_detector.GptOssDetector", harmony, False),
    ("apertus", "apertus2509_detector.Apertus2509Detector", apertus, True),
    ("command-r7b", "cohere_command4_detector.CohereCommand4Detector", cohere, True),
    ("hunyuan3", "hunyuan_detector.HunyuanDetector", hunyuan, True),
    ("minicpm", "minicpm5_detector.MiniCPM5Detector", minicpm, True),
    ("gigachat3", "gigachat3_detector.GigaChat3Detector", gigachat, True),
]


def texts(write, takes_content):
    for label, calls in CALLS.items():
        text = write(calls)
        if text is None:
            continue
        yield label, text
        if takes_content and label in ("simple", "two"):
            yield label + ", after content", "Let me look.\n\n" + text
    yield "content", "Just words, 1 < 2 and [3]."
    simple = write(CALLS["simple"])
    unknown = write([("unknown_tool", {"a": 1})])
    yield "unknown", unknown
    yield "Unicode name", write([("get_weather", {"city": "Ä", "größe": "x"})])
    # No call at all, or half of one.
    yield "cut in the middle", simple[: len(simple) * 2 // 3]


def main():
    folder = Path(sys.argv[1])
    load(folder)
    tools = [Tool(function=Function(**tool)) for tool in TOOLS]
    made, seen = [], set()
    for format, where, write, takes_content in FORMATS:
        file, name = where.split(".")
        module = importlib.import_module(f"sglang.srt.function_call.{file}")
        if not hasattr(module, name):
            name = next(n for n in dir(module) if n.lower() == name.lower() or (n.endswith("Detector") and n != "BaseFormatDetector"))
        for label, text in texts(write, takes_content):
            try:
                found = getattr(module, name)().detect_and_parse(text, tools)
            except Exception as error:  # noqa: BLE001: an oracle that fails has no say
                print(f"{format} {name} {label}: {type(error).__name__} {error}", file=sys.stderr)
                continue
            case = {
                "format": format,
                "name": label,
                "oracle": name,
                "text": text,
                "content": (found.normal_text or "").strip(),
                "calls": [{"name": c.name, "arguments": json.loads(c.parameters or "{}")} for c in found.calls],
            }
            key = json.dumps([format, text, case["content"], case["calls"]])
            if key not in seen:
                seen.add(key)
                made.append(case)
    head = {
        "source": "SGLang 0.5.23, detect_and_parse of the class that each case names",
        "tools": [{"type": "function", "function": tool} for tool in TOOLS],
    }
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in made)
    OUTPUT.write_text(f'{json.dumps(head, ensure_ascii=False)[:-1]}, "cases": [\n{lines}\n]}}\n')
    print(f"{len(made)} cases")


main()
