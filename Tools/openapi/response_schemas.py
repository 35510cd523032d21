# SPDX-License-Identifier: Apache-2.0
"""What the formats of responses write: ChatCompletionFormat, CompletionFormat, ResponsesFormat, MessagesFormat, UsageJSON, StatusRoutes,
TokenRoutes, RequestLog, APIError."""

from __future__ import annotations

from schema import ANYTHING, COUNT, FLAG, NULL, NUMBER, OBJECT, TEXT, Schema, any_of, array, constant, nullable, one_of, ref, said, told, whole

MAYBE_TEXT = nullable(TEXT)
MAYBE_NUMBER = nullable(NUMBER)
AMOUNT: Schema = {"type": "number", "minimum": 0}

# MARK: Errors

ERROR_BODY = told({
    "message": TEXT,
    "type": one_of(
        "invalid_request_error", "authentication_error", "permission_error", "not_found_error", "rate_limit_error", "unavailable_error",
        "server_error"),
    "param": said(MAYBE_TEXT, "The member that is to blame."), "code": MAYBE_TEXT,
})
ERROR = told({"error": ref("ErrorBody")})
MESSAGES_ERROR = told({
    "type": constant("error"),
    "error": told({
        "type": one_of(
            "invalid_request_error", "authentication_error", "permission_error", "not_found_error", "request_too_large", "rate_limit_error",
            "overloaded_error", "api_error"),
        "message": TEXT,
    }),
})

# MARK: Usage

MOE_USAGE = told(
    {
        "operating_point": said(TEXT, "How it was routed."),
        "degraded_tokens": said(COUNT, "Tokens that ran at a cheaper operating point because of load."),
        "cost_usd": said(AMOUNT, "The model's time, on all threads, at the server's price of a core-hour."),
    },
    {
        "mean_experts": said(MAYBE_NUMBER, "Experts per token and layer. This and the following for mixture-of-experts models only."),
        "histogram": said(array(COUNT), "How many (token, layer) pairs had 0, 1, 2 … experts."),
        "expert_evaluations": said(COUNT, "(token, layer, expert) triples that were computed."),
        "expert_bytes_read": COUNT,
        "saved_fraction": said(NUMBER, "Of what the model as it was trained would have evaluated."),
        "gate_time_fraction": said(NUMBER, "What deciding took of the model's time."),
        "reroutes": said(COUNT, "Tokens and layers that got one more expert because the gate was unsure."),
        "budget": said(whole(1), "The request's own."),
    })
TOKEN_COUNTS = {"prompt_tokens": COUNT, "completion_tokens": COUNT, "total_tokens": COUNT}
USAGE = told({
    **TOKEN_COUNTS, "prompt_tokens_details": told({"cached_tokens": COUNT}), "completion_tokens_details": told({"reasoning_tokens": COUNT}),
    "moe": ref("MoEUsage"),
})
USAGE_SO_FAR = told(TOKEN_COUNTS)
TIMINGS = told({
    "prompt_seconds": NUMBER, "generation_seconds": NUMBER, "prompt_tokens_per_second": MAYBE_NUMBER,
    "generation_tokens_per_second": MAYBE_NUMBER, "queue_seconds": MAYBE_NUMBER,
})

# MARK: Chat and completions

FINISH = one_of("stop", "length", "tool_calls")


def head(kind: str) -> dict[str, Schema]:
    return {"id": TEXT, "object": constant(kind), "created": COUNT, "model": TEXT, "system_fingerprint": TEXT}


TOKEN_LOGPROB = {"token": TEXT, "logprob": MAYBE_NUMBER, "bytes": array(whole(0, 255))}
LOGPROB = told({**TOKEN_LOGPROB, "top_logprobs": array(told(TOKEN_LOGPROB))})
LOGPROBS = told({"content": array(ref("TokenLogprob")), "refusal": NULL})
LEGACY_LOGPROBS = told({
    "tokens": array(TEXT), "token_logprobs": array(MAYBE_NUMBER),
    "top_logprobs": array(nullable({"type": "object", "additionalProperties": MAYBE_NUMBER})),
    "text_offset": said(array(COUNT), "In characters (Unicode code points)."),
})
TOOL_CALL = told({"id": TEXT, "type": constant("function"), "function": told({"name": TEXT, "arguments": TEXT})})
ANSWER = told(
    {"role": constant("assistant"), "content": MAYBE_TEXT, "refusal": NULL},
    {"reasoning_content": TEXT, "tool_calls": array(ref("ToolCall"), low=1)})
CHAT = told({
    **head("chat.completion"),
    "choices": array(
        told({"index": COUNT, "message": ref("AssistantMessage"), "logprobs": nullable(ref("Logprobs")), "finish_reason": FINISH}), low=1),
    "usage": ref("Usage"), "timings": nullable(ref("Timings")),
})
CHUNK_EXTRAS = {
    "usage": said(any_of(ref("Usage"), ref("UsageSoFar"), NULL), "As `stream_options` asks for it."), "timings": nullable(ref("Timings")),
    "moe": said(told({"mean_experts": NUMBER}), "Of the token that completed this text."),
}
DELTA = {
    "type": "object", "properties": {
        "role": constant("assistant"), "content": TEXT, "reasoning_content": TEXT,
        "tool_calls": array(told(
            {"index": COUNT, "function": told({"arguments": TEXT}, {"name": TEXT})}, {"id": TEXT, "type": constant("function")})),
    }, "required": []}
CHAT_CHUNK = told({
    **head("chat.completion.chunk"),
    "choices": array(
        told({"index": COUNT, "delta": DELTA, "logprobs": nullable(ref("Logprobs")), "finish_reason": nullable(FINISH)}), high=1),
}, CHUNK_EXTRAS)
COMPLETION_CHOICE = {"index": COUNT, "text": TEXT, "logprobs": nullable(ref("LegacyLogprobs"))}
COMPLETION = told({
    **head("text_completion"), "choices": array(told({**COMPLETION_CHOICE, "finish_reason": FINISH}), low=1),
    "usage": ref("Usage"), "timings": nullable(ref("Timings")),
})
COMPLETION_CHUNK = told({
    **head("text_completion"), "choices": array(told({**COMPLETION_CHOICE, "finish_reason": nullable(FINISH)}), high=1),
}, CHUNK_EXTRAS)

# MARK: Responses

ITEM_STATUS = one_of("in_progress", "completed", "incomplete")
OUTPUT_TEXT = told({
    "type": constant("output_text"), "text": TEXT, "annotations": array(ANYTHING, high=0), "logprobs": array(ref("TokenLogprob"))})
OUTPUT_ITEM = any_of(
    told({
        "id": TEXT, "type": constant("message"), "role": constant("assistant"), "status": ITEM_STATUS, "content": array(ref("OutputText"))}),
    told({
        "id": TEXT, "type": constant("reasoning"), "summary": array(ANYTHING, high=0), "status": ITEM_STATUS,
        "content": array(told({"type": constant("reasoning_text"), "text": TEXT}))}),
    told({
        "id": TEXT, "type": constant("function_call"), "call_id": TEXT, "name": TEXT, "arguments": TEXT, "status": ITEM_STATUS}))
RESPONSES_USAGE = told({
    "input_tokens": COUNT, "input_tokens_details": told({"cached_tokens": COUNT}), "output_tokens": COUNT,
    "output_tokens_details": told({"reasoning_tokens": COUNT}), "total_tokens": COUNT, "moe": ref("MoEUsage"),
})
RESPONSE = told({
    "id": TEXT, "object": constant("response"), "created_at": COUNT, "status": one_of("in_progress", "completed", "incomplete", "failed"),
    "error": nullable(told({"code": TEXT, "message": TEXT})),
    "incomplete_details": nullable(told({"reason": constant("max_output_tokens")})), "model": TEXT, "output": array(ref("OutputItem")),
    # As the request said it.
    "instructions": MAYBE_TEXT, "max_output_tokens": nullable(COUNT), "metadata": ANYTHING, "parallel_tool_calls": FLAG,
    "temperature": NUMBER, "top_p": NUMBER, "tool_choice": ANYTHING, "tools": array(OBJECT), "text": OBJECT,
    "reasoning": nullable(OBJECT), "truncation": constant("disabled"), "store": {"const": False}, "previous_response_id": NULL,
    "usage": nullable(ref("ResponsesUsage")),
})


def event(names: list[str], members: dict[str, Schema]) -> Schema:
    return told({"type": one_of(*(f"response.{name}" for name in names)), "sequence_number": COUNT, **members})


PLACE = {"item_id": TEXT, "output_index": COUNT}
PART_PLACE = {**PLACE, "content_index": COUNT}
RESPONSES_EVENT = any_of(
    event(["created", "in_progress", "completed", "incomplete", "failed"], {"response": ref("Response")}),
    event(["output_item.added", "output_item.done"], {"output_index": COUNT, "item": ref("OutputItem")}),
    event(["content_part.added", "content_part.done"], {**PART_PLACE, "part": ref("OutputText")}),
    event(["reasoning_text.delta"], {**PART_PLACE, "delta": TEXT}),
    event(["reasoning_text.done"], {**PART_PLACE, "text": TEXT}),
    event(["output_text.delta"], {**PART_PLACE, "delta": TEXT, "logprobs": array(ref("TokenLogprob"))}),
    event(["output_text.done"], {**PART_PLACE, "text": TEXT, "logprobs": array(ref("TokenLogprob"))}),
    event(["function_call_arguments.delta"], {**PLACE, "delta": TEXT}),
    event(["function_call_arguments.done"], {**PLACE, "name": TEXT, "arguments": TEXT}))

# MARK: Anthropic's messages

THINKING = told({"type": constant("thinking"), "thinking": TEXT, "signature": TEXT})
SAID = told({"type": constant("text"), "text": TEXT})
TOOL_USE = told({"type": constant("tool_use"), "id": TEXT, "name": TEXT, "input": said(ANYTHING, "A text where it is not valid JSON.")})
MESSAGES_BLOCK = any_of(THINKING, SAID, TOOL_USE)
STOP_REASON = one_of("end_turn", "stop_sequence", "max_tokens", "tool_use")
MESSAGES_USAGE = told({
    "input_tokens": COUNT, "cache_read_input_tokens": COUNT, "cache_creation_input_tokens": COUNT, "output_tokens": COUNT,
    "moe": ref("MoEUsage"),
})
MESSAGES_HEAD = {"id": TEXT, "type": constant("message"), "role": constant("assistant"), "model": TEXT}
MESSAGES = told({
    **MESSAGES_HEAD, "content": array(ref("MessagesBlock")), "stop_reason": STOP_REASON, "stop_sequence": MAYBE_TEXT,
    "usage": ref("MessagesUsage"),
})
MESSAGES_EVENT = any_of(
    told({
        "type": constant("message_start"),
        "message": told({
            **MESSAGES_HEAD, "content": array(ANYTHING, high=0), "stop_reason": NULL, "stop_sequence": NULL,
            "usage": told({"input_tokens": COUNT, "output_tokens": COUNT}),
        }),
    }),
    told({"type": constant("content_block_start"), "index": COUNT, "content_block": ref("MessagesBlock")}),
    told({
        "type": constant("content_block_delta"), "index": COUNT,
        "delta": any_of(
            told({"type": constant("thinking_delta"), "thinking": TEXT}), told({"type": constant("text_delta"), "text": TEXT}),
            told({"type": constant("input_json_delta"), "partial_json": TEXT})),
    }),
    told({"type": constant("content_block_stop"), "index": COUNT}),
    told({
        "type": constant("message_delta"), "delta": told({"stop_reason": STOP_REASON, "stop_sequence": MAYBE_TEXT}),
        "usage": ref("MessagesUsage"),
    }),
    told({"type": constant("message_stop")}),
    ref("MessagesError"))

# MARK: Tokens and embeddings

TOKENS = told({"tokens": array(COUNT), "count": COUNT, "max_model_len": COUNT}, {"token_strs": array(TEXT)})
DETOKENIZED = told({"prompt": TEXT, "content": said(TEXT, "The same.")})
TOKENIZER_INFO = told({
    "tokenizer_class": TEXT, "vocab_size": COUNT, "model_max_length": COUNT, "add_bos_token": FLAG, "bos_token": MAYBE_TEXT,
    "eos_token": MAYBE_TEXT, "bos_token_id": nullable(COUNT), "eos_token_id": nullable(COUNT), "pad_token": MAYBE_TEXT,
    "chat_template": MAYBE_TEXT,
})
EMBEDDINGS = told({
    "object": constant("list"), "model": TEXT,
    "data": array(told({
        "object": constant("embedding"), "index": COUNT,
        "embedding": any_of(array(NUMBER), said(TEXT, "Base64 of little-endian floats.")),
    })),
    "usage": told(
        {"prompt_tokens": COUNT, "total_tokens": COUNT},
        {"moe": told({"mean_experts": NUMBER, "expert_evaluations": COUNT, "saved_fraction": NUMBER, "operating_point": TEXT})}),
})

# MARK: Models and state

MODEL = told(
    {
        "id": TEXT, "object": constant("model"), "created": COUNT, "owned_by": TEXT, "context_length": COUNT,
        "max_model_len": said(COUNT, "The same."), "architecture": TEXT,
    },
    {
        "moe": said(told({
            "layers": COUNT, "experts": COUNT, "experts_per_token": COUNT,
            "operating_points": array(told(
                {"name": TEXT, "description": TEXT, "routing": TEXT, "mean_experts": said(MAYBE_NUMBER, "Where they were measured.")})),
            "default": TEXT,
        }), "For mixture-of-experts models."),
    })
MODELS = told({"object": constant("list"), "data": array(ref("Model"), low=1)})
QUANTILES = told({"p50": NUMBER, "p99": NUMBER})
STATUS = told({
    "running": said(COUNT, "Answers that the engine runs."), "waiting": said(COUNT, "That it holds back."),
    "queued": said(COUNT, "That wait for a place in it."), "active": COUNT,
    "blocks": said(told({"free": COUNT, "cached": COUNT, "total": COUNT}), "Of the KV cache."), "tokens_per_second": NUMBER,
    "prompt_tokens_per_second": NUMBER, "pressure": said(COUNT, "0: no load makes routing cheaper."), "preemptions": COUNT,
    "requests": told({"completed": COUNT, "cancelled": COUNT, "failed": COUNT, "refused": COUNT}), "cost_usd": AMOUNT,
    "price_per_core_hour": AMOUNT, "step_seconds": QUANTILES, "resident_bytes": nullable(COUNT), "uptime_seconds": AMOUNT, "model": TEXT,
    "version": TEXT,
})
HEATMAP = told({
    "layers": array(told({
        "layer": COUNT, "experts": said(array(COUNT), "Tokens since the start."), "recent": said(array(NUMBER), "The same, fading."),
    })),
    "histogram": array(COUNT), "mean_experts": MAYBE_NUMBER,
})
REQUEST = told({
    "id": TEXT, "object": constant("moe.request"), "response_id": TEXT, "endpoint": TEXT, "model": TEXT,
    "status": one_of("queued", "running", "completed", "cancelled", "failed"), "created": COUNT, "operating_point": MAYBE_TEXT,
    "queue_seconds": MAYBE_NUMBER, "first_token_seconds": MAYBE_NUMBER, "seconds": AMOUNT, "tokens": COUNT,
    "usage": said(any_of(ref("Usage"), ref("UsageSoFar"), NULL), "Of the answer; so far, where it did not come to its end."), "error": nullable(ref("ErrorBody")),
})
HEALTH = told({"status": constant("ok")})
READY = told({"status": constant("ready")})
NOT_READY = told({"status": one_of("draining", "full")})

SCHEMAS = {
    "ErrorBody": ERROR_BODY, "Error": ERROR, "MessagesError": MESSAGES_ERROR, "MoEUsage": MOE_USAGE, "Usage": USAGE,
    "UsageSoFar": USAGE_SO_FAR, "Timings": TIMINGS, "TokenLogprob": LOGPROB, "Logprobs": LOGPROBS, "LegacyLogprobs": LEGACY_LOGPROBS,
    "ToolCall": TOOL_CALL, "AssistantMessage": ANSWER, "ChatCompletion": CHAT, "ChatCompletionChunk": CHAT_CHUNK,
    "Completion": COMPLETION, "CompletionChunk": COMPLETION_CHUNK, "OutputText": OUTPUT_TEXT, "OutputItem": OUTPUT_ITEM,
    "ResponsesUsage": RESPONSES_USAGE, "Response": RESPONSE, "ResponsesEvent": RESPONSES_EVENT, "MessagesBlock": MESSAGES_BLOCK,
    "MessagesUsage": MESSAGES_USAGE, "MessagesResponse": MESSAGES, "MessagesEvent": MESSAGES_EVENT, "Tokens": TOKENS,
    "Detokenized": DETOKENIZED, "TokenizerInfo": TOKENIZER_INFO, "Embeddings": EMBEDDINGS, "Model": MODEL, "Models": MODELS,
    "Status": STATUS, "Heatmap": HEATMAP, "RequestRecord": REQUEST, "Health": HEALTH, "Ready": READY, "NotReady": NOT_READY,
}
