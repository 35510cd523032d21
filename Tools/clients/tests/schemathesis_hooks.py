# SPDX-License-Identifier: Apache-2.0
"""Loaded by schemathesis: keeps what it makes up short. A request without a limit may generate up to the context's end, which tests nothing."""

import schemathesis

LIMITS = {"max_tokens": 8, "max_completion_tokens": 8, "max_output_tokens": 8, "min_tokens": 4, "n": 3, "best_of": 3}
NAME = {"/v1/responses": "max_output_tokens"}


@schemathesis.hook
def before_call(context, case, **kwargs):
    body = case.body
    if not isinstance(body, dict):
        return
    for name, most in LIMITS.items():
        value = body.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > most:
            body[name] = most
    path = case.operation.path
    if path in ("/v1/completions", "/v1/chat/completions", "/v1/responses", "/v1/messages") and not any(name in body for name in list(LIMITS)[:3]):
        body[NAME.get(path, "max_tokens")] = 8
