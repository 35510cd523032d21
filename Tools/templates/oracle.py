# SPDX-License-Identifier: Apache-2.0
"""What Python makes of templates: Jinja2 as transformers sets it up, with a clock that stands still."""

import copy
import warnings
from datetime import datetime

from transformers.utils import chat_template_utils

warnings.simplefilter("ignore")


class StandingClock(datetime):
    """The tests of Swift show the same time."""

    @classmethod
    def now(cls, tz=None):
        return datetime(2026, 2, 3, 4, 5, 6, 7)


chat_template_utils.datetime = StandingClock


def outcome(function):
    """{"output": text}, or {"error": what was raised}."""
    try:
        text = function()
        text.encode("utf-8")
        return {"output": text}
    except Exception as error:  # any: the template's, Jinja2's, Python's
        message = f"{type(error).__name__}: {error}"
        return {"error": message.encode("utf-8", "replace").decode("utf-8")[:300]}


def render(case):
    """A template with variables: {"template": source, "variables": {...}}."""
    # Templates can change lists: `indent` adds to them.
    variables = copy.deepcopy(case.get("variables", {}))
    return outcome(lambda: chat_template_utils._compile_jinja_template(case["template"]).render(**variables))


SPECIAL_TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}


def chat(source, conversation):
    """A conversation as `apply_chat_template` of a tokenizer renders it."""

    def run():
        add, go_on = conversation["add_generation_prompt"], conversation["continue_final_message"]
        if not conversation["messages"] or (add and go_on):
            raise ValueError("refused by apply_chat_template")
        rendered, _ = chat_template_utils.render_jinja_template(
            conversations=[chat_template_utils._normalize_chat_messages(conversation["messages"])],
            tools=conversation["tools"],
            chat_template=source,
            add_generation_prompt=add,
            continue_final_message=go_on,
            **{**SPECIAL_TOKENS, **conversation["variables"]},
        )
        return rendered[0]

    return outcome(run)
