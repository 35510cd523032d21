# SPDX-License-Identifier: Apache-2.0
"""Own templates with what Jinja2 (as transformers sets it up) makes of them: Tests/Fixtures/templates.

`features.json`: one small template per feature. `chats.json`: three chat templates over some of the conversations of
Tools/templates/matrix.py. Both are read by MoEJinjaTests and MoEChatTests.
"""

import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Tools" / "templates"))

import features  # noqa: E402
import jinja2  # noqa: E402
import matrix  # noqa: E402
import oracle  # noqa: E402
import transformers  # noqa: E402

OUTPUT = ROOT / "Tests" / "Fixtures" / "templates"


def main():
    versions = {"jinja2": jinja2.__version__, "transformers": transformers.__version__}
    cases = []
    for template in features.TEMPLATES:
        cases.append({"template": template, **oracle.render({"template": template, "variables": features.VARIABLES})})
    write("features.json", {"made_with": versions, "variables": features.VARIABLES, "cases": cases})

    names = {
        "user", "system turns", "two users", "empty", "unicode", "thought", "call", "call as text", "results thought", "ends with spaces",
        "parts", "null content", "none",
    }
    conversations = [
        conversation for conversation in matrix.conversations()
        if conversation["name"].split(",")[0] in names and "more" not in conversation["name"]
        and (conversation["tools"] is None or "call" in conversation["name"] or "result" in conversation["name"])
    ]
    cases = [
        {"template": name, "conversation": index, **oracle.chat(source, conversation)}
        for name, source in features.CHAT_TEMPLATES.items()
        for index, conversation in enumerate(conversations)
    ]
    write("chats.json", {
        "made_with": versions, "templates": features.CHAT_TEMPLATES, "conversations": conversations,
        "special_tokens": oracle.SPECIAL_TOKENS, "cases": cases,
    })


def write(name, value):
    OUTPUT.mkdir(parents=True, exist_ok=True)
    text = json.dumps(value, ensure_ascii=False, indent=None, separators=(",", ":"))
    # A line per case, so that a diff shows what changed.
    text = text.replace('},{"template":', '},\n{"template":').replace('"cases":[', '"cases":[\n')
    (OUTPUT / name).write_text(text + "\n", encoding="utf-8")
    print(f"{name}: {len(value['cases'])} cases, {sum('error' in case for case in value['cases'])} refused")


if __name__ == "__main__":
    main()
