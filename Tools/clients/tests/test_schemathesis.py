# SPDX-License-Identifier: Apache-2.0
"""schemathesis against the description that the server publishes: examples, every boundary value, and fuzzing with a fixed seed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,response_headers_conformance," \
         "unsupported_method"
PATHS = ["/v1/models", "/v1/models/{id}", "/v1/completions", "/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/v1/messages",
         "/v1/messages/count_tokens", "/tokenize", "/detokenize", "/tokenizer_info", "/health", "/ready", "/metrics", "/v1/requests/{id}",
         "/moe/heatmap", "/moe/status"]


def test_every_endpoint_is_described(embedded):
    answer = embedded.ask("GET", "/openapi.json")
    assert answer.status == 200 and answer.headers["content-type"].startswith("application/json")
    document = answer.json()
    assert document["openapi"].startswith("3.") and document["info"]["version"]

    def shape(path):  # {id} may have any name
        return "/".join("{}" if part.startswith("{") else part for part in path.split("/"))

    described = {shape(path) for path in document["paths"]}
    assert not {shape(path) for path in PATHS} - described
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if method in ("get", "post", "put", "delete"):
                assert operation.get("responses"), f"{method} {path} has no responses"


@pytest.mark.timeout(420)
@pytest.mark.parametrize("phase, examples", [("examples", 5), ("coverage", 5), ("fuzzing", 15)])
def test_phase(embedded, tmp_path, phase, examples):
    words = [sys.executable, "-m", "schemathesis.cli", "run", embedded.url + "/openapi.json", "--checks", CHECKS, "--phases", phase,
             "--max-examples", str(examples), "--seed", "20261129", "--workers", "2", "--request-timeout", "60", "--no-color",
             "--suppress-health-check", "all", "--no-shrink", "--continue-on-failure", "--report", "junit", "--report-dir", str(tmp_path)]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "schemathesis_hooks", "PYTHONPATH": str(Path(__file__).parent)}
    result = subprocess.run(words, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=400)
    shown = result.stdout + result.stderr
    print(shown)
    where = shown.find("FAILURES")
    assert result.returncode == 0, shown[where if where >= 0 else -1500:][:4000]
    assert "Test cases" in shown or "passed" in shown, "schemathesis made no request"
