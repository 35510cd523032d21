# SPDX-License-Identifier: Apache-2.0
"""What the readers of requests accept: ChatRequest, CompletionRequest, ResponsesRequest, MessagesRequest, TokenRoutes, SamplingFields."""

from __future__ import annotations

from schema import ANYTHING, FLAG, INT32, INT64, OBJECT, TEXT, Schema, any_of, array, asked, constant, nullable, number, one_of, ref, said, whole

TOKEN = whole(0, INT32)
STOP_TEXT: Schema = {"type": "string", "minLength": 1, "maxLength": 4096}
STOP = any_of(STOP_TEXT, array(STOP_TEXT, high=64))
PENALTY = number(-2, 2)
EFFORTS = one_of("none", "", "minimal", "low", "medium", "high", "xhigh", "max")
EFFORT = said(
    EFFORTS,
    "Compute by a word that clients know: minimal and low are `fast`, medium is `balanced`, high is `parity`, xhigh and max are `exact`. "
    "`none`: no wish for compute, and templates that know thinking leave it out. `moe.routing` goes first.")
LIMIT = whole(0)

COMPUTE = asked(optional={
    "routing": said(TEXT, "`exact`, `parity`, `balanced`, `fast`, `native`, or a policy as `top-p:p=0.7,min=1,max=8`. Default: the server's."),
    "max_experts": said(whole(1, 65_536), "Experts that a token may have in a layer, whatever the routing says."),
    "budget": said(whole(1), "Expert evaluations that the whole answer may cost, its prompt included. Never exceeded."),
})

# Which model, and how its compute is chosen: all endpoints that run it.
MODEL = {"model": said(TEXT, "The server's model. Absent, empty and `default` are that; another name is a 404.")}
RUN = {**MODEL, "moe": ref("Compute")}

SAMPLING = {
    "temperature": said(number(0, 100), "0: always the likeliest token. Default: what the model's publisher suggests, else 0."),
    "top_p": number(0, 1),
    "top_k": said(whole(-1), "0 and -1: all."),
    "min_p": number(0, 1),
    "repetition_penalty": said(number(0.01, 100), "1: off. `repeat_penalty` is the same."),
    "repeat_penalty": number(0.01, 100),
    "presence_penalty": PENALTY,
    "frequency_penalty": PENALTY,
    "seed": said(
        whole(-(2**63)), "The same request with the same seed gives the same tokens. Absent and -1: a random one."),
    "stop": said(STOP, "Texts before which the answer ends: 1 to 4096 bytes each, at most 64."),
    "stop_token_ids": array(whole(-INT32 - 1, INT32), high=4096),
    "ignore_eos": said(FLAG, "Go on past the model's end of text."),
    "logit_bias": {
        "type": "object", "maxProperties": 4096, "propertyNames": {"pattern": "^[0-9]+$"}, "additionalProperties": number(-100, 100),
        "description": "By token id; -100 forbids a token."},
}

NAMED_SCHEMA = asked({"schema": said({"not": {"type": "null"}}, "A JSON Schema of at most 64 KiB. What cannot be had here is refused by name.")})


def response_format(schema: Schema) -> Schema:
    return any_of(
        asked({"type": constant("text")}),
        asked({"type": constant("json_object")}),
        {**schema, "properties": {"type": constant("json_schema"), **schema["properties"]}, "required": ["type", *schema["required"]]})


STRUCTURE = {
    "response_format": said(ref("ResponseFormat"), "What the text must be. The model cannot write anything else."),
    "grammar": said(TEXT, "A grammar in GBNF, where there is no `response_format`."),
    "json_schema": said(ANYTHING, "A JSON Schema, or its text, where there is neither of the above."),
    "guided_json": said(ANYTHING, "The same."),
}

STREAM = {
    "stream": said(FLAG, "Answer as server-sent events.", default=False),
    "stream_options": asked(optional={
        "include_usage": said(FLAG, "End with a chunk of usage."),
        "continuous_usage_stats": said(FLAG, "The usage so far in every chunk."),
    }),
}
COUNT_OF_CHOICES = said(whole(1, 1024), "Answers; the server may allow fewer (`--config` server.choices, 16).", default=1)
PRIORITY = said(whole(-1_000_000, 1_000_000), "Lower goes first among the waiting requests of the same key.", default=0)

# MARK: Chat

PART = any_of(
    asked({"type": one_of("text", "input_text", "output_text"), "text": TEXT}),
    asked({"type": constant("refusal"), "refusal": TEXT}))
CONTENT = any_of(TEXT, array(ref("ContentPart")))

MESSAGE = asked(
    {"role": said(TEXT, "system, developer, user, assistant or tool, as the model's template knows them.")},
    {
        "content": CONTENT, "reasoning_content": TEXT, "reasoning": TEXT, "name": TEXT, "tool_call_id": TEXT,
        "tool_calls": array(asked(
            {"function": asked({"name": TEXT}, {"arguments": said(TEXT, "JSON, as text.")})}, {"id": TEXT})),
    })

FUNCTION = asked({"name": TEXT}, {"description": TEXT, "parameters": said(OBJECT, "A JSON Schema.")})
TOOL = any_of(
    asked({"function": ref("Function")}, {"type": one_of("function")}),
    {**FUNCTION, "properties": {**FUNCTION["properties"], "type": nullable(one_of("function")), "function": {"type": "null"}}})
TOOL_CHOICE = any_of(
    one_of("auto", "none", "required", "any"),
    asked({"function": asked({"name": TEXT})}),
    asked({"name": TEXT}, {"function": asked({"name": TEXT})}))

TOOLS = {
    "tools": array(ref("Tool")),
    "tool_choice": said(TOOL_CHOICE, "`required`, or a tool's name: the answer is a call, by any model."),
    "parallel_tool_calls": said(FLAG, "False: calls after an answer's first are left out of it."),
}

CHAT = asked({"messages": array(ref("Message"), low=1)}, {
    **RUN, **SAMPLING,
    "max_completion_tokens": said(LIMIT, "Default: as far as the context goes."),
    "max_tokens": said(LIMIT, "The same, by its older name."),
    "n": COUNT_OF_CHOICES,
    "logprobs": FLAG,
    "top_logprobs": said(whole(0, 20), "More than 0 needs `logprobs`."),
    **STRUCTURE, **TOOLS,
    "functions": said(array(ref("Function")), "Older name of tools."),
    "function_call": said(TOOL_CHOICE, "Older name of tool_choice."),
    "reasoning_effort": EFFORT,
    "chat_template_kwargs": said(OBJECT, "Variables for the model's template, as `enable_thinking`."),
    "continue_final_message": said(FLAG, "Go on with the last message, which the assistant has begun."),
    "add_generation_prompt": said(FLAG, "False only with `continue_final_message`."),
    **STREAM,
    "priority": PRIORITY,
})

# MARK: Completions

IDS = array(TOKEN, low=1)
PROMPT = any_of(TEXT, IDS, array(any_of(TEXT, IDS), low=1, high=256))

COMPLETION = asked({"prompt": said(PROMPT, "A text, token ids, or at most 256 of either; times `n`, at most 256 answers.")}, {
    **RUN, **SAMPLING,
    "max_tokens": said(LIMIT, "0, with `echo` and `logprobs`: score the prompt.", default=16),
    "max_completion_tokens": said(LIMIT, "The same."),
    "n": COUNT_OF_CHOICES,
    "suffix": said(TEXT, "What comes after the answer, where the model can fill in."),
    "echo": said(FLAG, "The prompt is part of the answer.", default=False),
    "logprobs": said(any_of(whole(0, 100), FLAG), "Alternatives per token; true: `top_logprobs` of them."),
    "top_logprobs": whole(0, 20),
    "add_special_tokens": said(FLAG, "Whether the prompt begins as the model wants it.", default=True),
    **STRUCTURE,
    "reasoning_effort": EFFORT,
    **STREAM,
    "priority": PRIORITY,
})

# MARK: Responses

ITEM = any_of(
    {**MESSAGE, "properties": {**MESSAGE["properties"], "type": nullable(one_of("message"))}},
    asked({"type": constant("function_call"), "name": TEXT}, {"call_id": TEXT, "id": TEXT, "arguments": TEXT}),
    asked(
        {"type": constant("function_call_output"), "call_id": TEXT},
        {"output": any_of(TEXT, array(asked(optional={"text": TEXT})))}),
    asked(
        {"type": constant("reasoning")},
        {"content": array(asked(optional={"text": TEXT})), "summary": array(asked(optional={"text": TEXT}))}))

RESPONSES = asked({"input": any_of(TEXT, array(ref("InputItem"), low=1))}, {
    **RUN, **SAMPLING,
    "instructions": TEXT,
    "max_output_tokens": said(LIMIT, "Default: as far as the context goes."),
    "max_tokens": LIMIT,
    "top_logprobs": whole(0, 20),
    "include": any_of(TEXT, array(TEXT, high=64)),
    "text": asked(optional={"format": response_format(NAMED_SCHEMA)}),
    **TOOLS,
    "reasoning": asked(optional={"effort": EFFORTS}),
    "reasoning_effort": EFFORT,
    "stream": STREAM["stream"],
    "background": said({"type": "boolean", "enum": [False]}, "Responses are not stored here."),
    "previous_response_id": {"type": "null"},
    "conversation": {"type": "null"},
    "prompt": {"type": "null"},
})

# MARK: Anthropic's messages

TEXT_BLOCK = asked({"type": constant("text"), "text": TEXT})
BLOCK = any_of(
    TEXT_BLOCK,
    asked({"type": constant("thinking")}, {"thinking": TEXT}),
    asked({"type": constant("redacted_thinking")}),
    asked({"type": constant("tool_use"), "name": TEXT}, {"id": TEXT, "input": OBJECT}),
    asked({"type": constant("tool_result"), "tool_use_id": TEXT}, {"content": any_of(TEXT, array(TEXT_BLOCK))}))

CONVERSATION_OF_BLOCKS = {
    "required": {
        "messages": array(asked({"role": one_of("user", "assistant", "system"), "content": any_of(TEXT, array(ref("Block")))}), low=1)},
    "optional": {
        **MODEL,
        "system": any_of(TEXT, array(TEXT_BLOCK)),
        "tools": array(asked({"name": TEXT}, {"type": one_of("custom"), "description": TEXT, "input_schema": OBJECT})),
        "tool_choice": any_of(
            asked({"type": one_of("auto", "none", "any")}, optional={"disable_parallel_tool_use": FLAG}),
            asked({"type": constant("tool"), "name": TEXT}, optional={"disable_parallel_tool_use": FLAG})),
    },
}

# Other types than json_schema are ignored.
OUTPUT_FORMAT = any_of(
    {**NAMED_SCHEMA, "properties": {"type": constant("json_schema"), **NAMED_SCHEMA["properties"]}, "required": ["type", "schema"]},
    asked({"type": {"type": "string", "not": {"const": "json_schema"}}}))

MESSAGES = asked(
    {"max_tokens": whole(1), **CONVERSATION_OF_BLOCKS["required"]},
    {
        **CONVERSATION_OF_BLOCKS["optional"], **RUN, **SAMPLING,
        "stop_sequences": STOP,
        "thinking": said(asked(optional={"type": TEXT}), "`disabled`: templates that know thinking leave it out; else they have it."),
        "output_config": asked(optional={"effort": EFFORTS, "format": OUTPUT_FORMAT}),
        "output_format": said(OUTPUT_FORMAT, "The same as output_config.format, by its older name."),
        "stream": STREAM["stream"],
    })

COUNT_TOKENS = asked(CONVERSATION_OF_BLOCKS["required"], CONVERSATION_OF_BLOCKS["optional"])

# MARK: Tokens and embeddings

TEXT_TO_SPLIT = {
    "add_special_tokens": said(FLAG, "`add_special` is the same.", default=True), "add_special": FLAG, "return_token_strs": FLAG}
TOKENIZE = any_of(
    asked({"messages": array(ref("Message"), low=1)}, {"tools": TOOLS["tools"], "return_token_strs": FLAG}),
    *(asked({name: TEXT}, {"messages": {"type": "null"}, **TEXT_TO_SPLIT}) for name in ("prompt", "content", "text")))
DETOKENIZE = asked({"tokens": array(TOKEN)})

EMBEDDINGS = asked(
    {"input": said(any_of(TEXT, array(TOKEN, 1, 2048), array(any_of(TEXT, IDS), 1, 2048)), "A text, token ids, or at most 2048 of either.")},
    {
        **RUN,
        "encoding_format": said(one_of("float", "base64"), "base64: little-endian floats."),
        "dimensions": said(whole(1, 1_000_000), "The first of them only; at most the model's."),
        "pooling": said(one_of("mean", "last"), "Default: the model's."),
        "normalize": said(FLAG, "To length 1.", default=True),
    })

SCHEMAS = {
    "Compute": COMPUTE, "ContentPart": PART, "Message": MESSAGE, "Function": FUNCTION, "Tool": TOOL,
    "ResponseFormat": response_format(asked({"json_schema": NAMED_SCHEMA})), "ChatRequest": CHAT, "CompletionRequest": COMPLETION,
    "InputItem": ITEM, "ResponsesRequest": RESPONSES, "Block": BLOCK, "MessagesRequest": MESSAGES, "CountTokensRequest": COUNT_TOKENS,
    "TokenizeRequest": TOKENIZE, "DetokenizeRequest": DETOKENIZE, "EmbeddingsRequest": EMBEDDINGS,
}
