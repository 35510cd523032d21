# SPDX-License-Identifier: Apache-2.0
"""lm-evaluation-harness: local-completions on a multiple-choice and a generation task, local-chat-completions; all data local.

The multiple-choice figures are checked against log-likelihoods that `moe-infer logits` gives for the same tokens.
"""

import json
import os
import random
import re
import subprocess
from pathlib import Path

import lm_eval
import numpy
import pytest
from lm_eval.tasks import TaskManager

ROOT = Path(__file__).resolve().parents[3]
HELD_OUT = ROOT / "Tests/Fixtures/demo/heldout.txt"


def sentences() -> list[list[str]]:
    text = re.sub(r"\s+", " ", HELD_OUT.read_text())
    found = [match.split() for match in re.findall(r"(?<=[.!?] )[A-Z][^.!?\"]{70,160}[.!?]", text)]
    return [words for words in found if len(words) >= 12]


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    """A folder of tasks: which continuation belongs to the sentence; and going on with a sentence."""
    folder = tmp_path_factory.mktemp("tasks")
    chosen = sentences()
    random.Random(5).shuffle(chosen)
    chosen = chosen[:40]
    assert len(chosen) == 40
    endings = [" ".join(words[8:13]) for words in chosen]
    with open(folder / "choice.jsonl", "w") as out:
        for number, words in enumerate(chosen):
            others = [endings[(number + step) % len(endings)] for step in (7, 13, 22)]
            gold = number % 4
            options = others[:gold] + [endings[number]] + others[gold:]
            out.write(json.dumps({"context": " ".join(words[:8]), "options": options, "gold": gold}) + "\n")
    with open(folder / "go_on.jsonl", "w") as out:
        for words in chosen[:8]:
            out.write(json.dumps({"context": " ".join(words[:8]), "answer": " ".join(words[8:])}) + "\n")
    with open(folder / "sums.jsonl", "w") as out:
        for number in range(6):
            out.write(json.dumps({"question": f"What is {number} plus 2? Answer with a number.", "answer": str(number + 2)}) + "\n")

    def yaml(name, **fields):
        data = {"task": name, "dataset_path": "json", "test_split": "test", **fields}
        (folder / f"{name}.yaml").write_text(json.dumps(data))

    yaml("moe_choice", dataset_kwargs={"data_files": {"test": str(folder / "choice.jsonl")}}, output_type="multiple_choice",
         doc_to_text="{{context}}", doc_to_choice="{{options}}", doc_to_target="gold", target_delimiter=" ",
         metric_list=[{"metric": "acc"}, {"metric": "acc_norm"}])
    yaml("moe_go_on", dataset_kwargs={"data_files": {"test": str(folder / "go_on.jsonl")}}, output_type="generate_until",
         doc_to_text="{{context}}", doc_to_target="answer", generation_kwargs={"until": [".", "\n\n"], "max_gen_toks": 24, "temperature": 0},
         metric_list=[{"metric": "exact_match"}])
    yaml("moe_sums", dataset_kwargs={"data_files": {"test": str(folder / "sums.jsonl")}}, output_type="generate_until",
         doc_to_text="{{question}}", doc_to_target="answer", generation_kwargs={"until": ["\n\n"], "max_gen_toks": 24},
         metric_list=[{"metric": "exact_match"}])
    return folder


def evaluate(kind, server, path, folder, tasks, **options):
    result = lm_eval.simple_evaluate(
        model=kind, model_args={"model": server.model, "base_url": server.url + path, "max_retries": 1, "max_length": 2048, **options},
        tasks=tasks, task_manager=TaskManager(include_path=str(folder), include_defaults=False), log_samples=True, bootstrap_iters=0,
        apply_chat_template="chat" in kind)
    return result["results"], result["samples"]


def scores(samples):
    """Per document: the log-likelihood of each option, and whether it is the greedy continuation."""
    ordered = sorted(samples, key=lambda sample: sample["doc_id"])
    return [[(float(value), bool(greedy)) for value, greedy in sample["filtered_resps"]] for sample in ordered]


def true_scores(folder, server, samples, count, special=False):
    """The same from `moe-infer logits`: no HTTP, no engine, no sampling code. `special`: after what texts begin with."""
    result = []
    for sample in sorted(samples, key=lambda sample: sample["doc_id"])[:count]:
        row = []
        for option in sample["doc"]["options"]:
            context = sample["doc"]["context"]
            before, whole = server.tokens(context, special), server.tokens(context + " " + option, special)
            output = folder / "logits.npy"
            subprocess.run([os.environ["MOE_BINARY"], "logits", "--tokens", ",".join(map(str, whole)), "--output", str(output), "--kv", "f16"],
                           check=True, capture_output=True)
            logits = numpy.load(output).astype(numpy.float64)
            values = logits - logits.max(axis=1, keepdims=True)
            values -= numpy.log(numpy.exp(values).sum(axis=1, keepdims=True))
            places = range(len(before), len(whole))
            row.append((sum(values[place - 1, whole[place]] for place in places),
                        all(values[place - 1].argmax() == whole[place] for place in places)))
        result.append(row)
    return result


@pytest.fixture(scope="module")
def choice_by_tokens(tasks, embedded):
    return evaluate("local-completions", embedded, "/v1/completions", tasks, ["moe_choice"], tokenizer_backend="remote", tokenized_requests=True,
                    num_concurrent=4)


def test_multiple_choice_by_tokens(choice_by_tokens, tasks, embedded):
    results, samples = choice_by_tokens
    found = scores(samples["moe_choice"])
    assert len(found) == 40 and all(len(row) == 4 for row in found)
    assert results["moe_choice"]["acc,none"] >= 0.4, "of 40, a quarter is right by chance"
    expected = true_scores(tasks, embedded, samples["moe_choice"], 6)
    for row, true in zip(found, expected):
        assert [value for value, _ in row] == pytest.approx([value for value, _ in true], abs=1e-4)
        assert [greedy for _, greedy in row] == [greedy for _, greedy in true]


def test_multiple_choice_in_batches_and_one_by_one(choice_by_tokens, tasks, embedded):
    """Batches of lists of ids, and no concurrency: the same bits."""
    _, samples = choice_by_tokens
    _, batched = evaluate("local-completions", embedded, "/v1/completions", tasks, ["moe_choice"], tokenizer_backend="remote",
                          tokenized_requests=True, batch_size=8)
    assert scores(batched["moe_choice"]) == scores(samples["moe_choice"])


def test_multiple_choice_by_text(tasks, embedded):
    """The harness counts the tokens of its texts without what the server puts before them (BOS): places must agree all the same."""
    _, by_text = evaluate("local-completions", embedded, "/v1/completions", tasks, ["moe_choice"], tokenizer_backend="remote",
                          tokenized_requests=False)
    expected = true_scores(tasks, embedded, by_text["moe_choice"], 6, special=True)
    for row, true in zip(scores(by_text["moe_choice"]), expected):
        assert [value for value, _ in row] == pytest.approx([value for value, _ in true], abs=1e-4)


def test_the_remote_tokenizer_is_found(tasks, embedded):
    """tokenizer_backend=auto asks /tokenizer_info, and falls back to a hub where it does not like the answer."""
    from lm_eval.utils import RemoteTokenizer, check_remote_tokenizer_support

    assert check_remote_tokenizer_support(embedded.base + "/completions")
    tokenizer = RemoteTokenizer(embedded.base + "/completions")
    text = "The sea, the sea!"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.eos_token and isinstance(tokenizer.eos_token_id, int)
    assert tokenizer.encode(tokenizer.eos_token) == [tokenizer.eos_token_id]


def test_generation(tasks, embedded):
    _, samples = evaluate("local-completions", embedded, "/v1/completions", tasks, ["moe_go_on"], tokenizer_backend="remote", num_concurrent=3)
    assert len(samples["moe_go_on"]) == 8
    for sample in samples["moe_go_on"]:
        answer = embedded.ask("POST", "/v1/completions", {"model": embedded.model, "max_tokens": 24,
                                                         "prompt": embedded.tokens(sample["doc"]["context"], False), "temperature": 0, "stop": [".", "\n\n"]}).json()["choices"][0]["text"]
        text = sample["resps"][0][0]
        assert "." not in text and text == answer
    assert any(sample["resps"][0][0].strip() for sample in samples["moe_go_on"])


def test_chat(tasks, chat):
    results, samples = evaluate("local-chat-completions", chat, "/v1/chat/completions", tasks, ["moe_sums"], num_concurrent=2)
    assert len(samples["moe_sums"]) == 6
    for sample in samples["moe_sums"]:
        body = {"model": chat.model, "messages": [{"role": "user", "content": sample["doc"]["question"]}], "max_tokens": 24, "temperature": 0,
                "stop": ["\n\n"]}
        answer = chat.ask("POST", "/v1/chat/completions", body).json()["choices"][0]["message"]["content"]
        assert sample["resps"][0][0].strip() == answer.strip() != ""
