# SPDX-License-Identifier: Apache-2.0
"""Judges grammars by others' truth: `make test-grammar`.

For every schema of the JSON-Schema-Test-Suite (as the sdist of `jsonschema` on PyPI carries it) that is not refused, documents are
made at random, byte by byte and token by token, and must be valid by Python's `jsonschema`; invalid instances of the suite must be
refused. Valid ones that are refused are counted and listed: a grammar writes a part of what a schema allows.
"""
import argparse
import collections
import json
import pathlib
import random
import re
import sys

DRAFTS = {"draft7": "http://json-schema.org/draft-07/schema#", "draft2020-12": "https://json-schema.org/draft/2020-12/schema"}


def suite(folder):
    for draft in DRAFTS:
        files = sorted((folder / "tests" / draft).glob("*.json")) + sorted((folder / "tests" / draft / "optional").glob("*.json"))
        files += sorted((folder / "tests" / draft / "optional" / "format").glob("*.json"))
        for file in files:
            for group in json.loads(file.read_text()):
                yield draft, file.name, group


def ordered(schema, instance):
    """Members in the order of the schema's own `properties`, as far as that is plain."""
    if isinstance(instance, dict) and isinstance(schema, dict):
        names = list(schema.get("properties", {}) or {})
        keys = sorted(instance, key=lambda key: names.index(key) if key in names else len(names))
        return {key: ordered((schema.get("properties") or {}).get(key), instance[key]) for key in keys}
    return instance


def make(arguments):
    folder = pathlib.Path(arguments.suite)
    with open(arguments.cases, "w") as out, open(arguments.cases + ".about", "w") as about:
        for draft, file, group in suite(folder):
            schema = group["schema"]
            if isinstance(schema, dict) and "$schema" not in schema and draft == "draft7":
                schema = {"$schema": DRAFTS[draft], **schema}
            texts = [json.dumps(ordered(group["schema"], test["data"]), ensure_ascii=False, separators=(",", ":")) for test in group["tests"]]
            out.write(json.dumps({"schema": json.dumps(schema), "texts": texts, "walks": arguments.walks,
                                  "tokenWalks": arguments.token_walks, "seed": random.Random(file).getrandbits(32)}) + "\n")
            about.write(json.dumps({"draft": draft, "file": file, "description": group["description"], "schema": schema,
                                    "tests": [[test["description"], test["valid"]] for test in group["tests"]]}) + "\n")


def judge(arguments):
    import jsonschema
    counts = collections.Counter()
    failures, refused, missed = [], collections.Counter(), []
    with open(arguments.cases) as cases, open(arguments.cases + ".about") as about, open(arguments.answers) as answers:
        for case, info, answer in zip(cases, about, answers):
            case, info, answer = json.loads(case), json.loads(info), json.loads(answer)
            where = f"{info['draft']} {info['file']} '{info['description']}'"
            counts["schemas"] += 1
            if "error" in answer:
                counts["schemas refused"] += 1
                refused[re.sub(r"^[^:]*: ", "", answer["error"])[:60]] += 1
                if "cannot be met" in answer["error"] and any(valid for _, valid in info["tests"]):
                    missed.append(f"{where}: said to be impossible")
                continue
            if "problem" in answer:
                failures.append(f"{where}: {answer['problem']}")
            kind = jsonschema.Draft7Validator if info["draft"] == "draft7" else jsonschema.Draft202012Validator
            validator = kind(info["schema"], format_checker=kind.FORMAT_CHECKER)
            # Python's expressions have another \\s and \\W than ECMA's, and `content…` only describes.
            foreign = info["file"] in ("ecmascript-regex.json", "content.json")
            for text in answer["walks"]:
                counts["documents"] += 1
                try:
                    problem = next(iter(validator.iter_errors(json.loads(text))), None)
                except re.error:
                    counts["documents that Python cannot judge (its own expressions)"] += 1
                    continue
                except Exception as error:
                    problem = error
                if problem is not None and foreign:
                    counts["documents that Python cannot judge (its own expressions)"] += 1
                elif problem is not None:
                    failures.append(f"{where}: {text!r}: {getattr(problem, 'message', problem)}")
            for (description, valid), accepted, text in zip(info["tests"], answer["accepts"], case["texts"]):
                if valid:
                    counts["valid instances"] += 1
                    counts["valid instances accepted"] += accepted
                    if not accepted:
                        missed.append(f"{where}: {description}: {text}")
                else:
                    counts["invalid instances"] += 1
                    if accepted and not foreign:
                        try:
                            by_python = validator.is_valid(json.loads(text))
                        except Exception:
                            by_python = None
                        failures.append(f"{where}: accepted though invalid ({description}; Python says {by_python}): {text}")
    for name, count in counts.items():
        print(f"{count:7} {name}")
    print("refused schemas:")
    for name, count in refused.most_common(40):
        print(f"{count:7} {name}")
    if arguments.verbose:
        print("valid, but not written:")
        for line in missed:
            print("  " + line[:220])
    print(f"{len(failures)} failures")
    for line in failures[:arguments.show]:
        print("  " + line[:400])
    return 1 if failures else 0


def vocabulary(arguments):
    """The tokens of a GGUF file with a byte-level vocabulary, a line each in hexadecimal."""
    import gguf
    reader = gguf.GGUFReader(arguments.gguf)
    tokens = reader.fields["tokenizer.ggml.tokens"]
    types = reader.fields["tokenizer.ggml.token_type"]
    kept = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    codes = {chr(byte): byte for byte in kept}
    codes.update({chr(256 + index): byte for index, byte in enumerate(b for b in range(256) if b not in kept)})
    with open(arguments.cases, "w") as out:
        for index, part in enumerate(tokens.data):
            text = bytes(tokens.parts[part]).decode()
            normal = int(types.parts[types.data[index]][0]) == 1
            out.write((bytes(codes[c] for c in text).hex() if normal else "") + "\n")


class RandomGrammar:
    """A grammar in GBNF and as an expression of Python's `regex`, which knows recursion."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.count = self.random.randint(1, 4)
        bodies = [self.body(rule, 3) for rule in range(self.count)]
        self.gbnf = "\n".join(f"{self.name(rule)} ::= {body[0]}" for rule, body in enumerate(bodies))
        defined = "".join(f"(?P<r{rule}>{body[1]})" for rule, body in enumerate(bodies))
        self.expression = f"(?(DEFINE){defined})(?&r0)"

    def name(self, rule):
        return "root" if rule == 0 else f"rule-{rule}"

    def body(self, rule, depth):
        parts = [self.sequence(rule, depth) for _ in range(self.random.choice([1, 1, 2, 3]))]
        return " | ".join(part[0] for part in parts), "|".join(part[1] for part in parts)

    def sequence(self, rule, depth):
        parts = []
        for index in range(self.random.choice([1, 2, 2, 3])):
            parts.append(self.item(rule, depth, index == 0))
        return " ".join(part[0] for part in parts), "".join(part[1] for part in parts)

    def item(self, rule, depth, first):
        kind = self.random.random()
        if kind < 0.4 or depth == 0:
            text = "".join(self.random.choice("abé") for _ in range(self.random.randint(1, 2)))
            return f'"{text}"', f"(?:{text})"
        if kind < 0.6:
            text = self.random.choice(["[ab]", "[^a]", "[a-b]", "[é-ÿ]", "."])
            return text, f"(?s:{text})"
        if kind < 0.75 and not first:
            # Behind something that is never empty, so that no rule begins with itself.
            target = self.random.randrange(self.count)
            return f'"a" {self.name(target)}', f"(?:a(?&r{target}))"
        inner = self.body(rule, depth - 1)
        gbnf, expression = self.random.choice(
            [("*", "*"), ("+", "+"), ("?", "?"), ("{2}", "{2}"), ("{1,3}", "{1,3}"), ("{0,2}", "{0,2}"), ("{1,}", "{1,}"), ("", "")])
        return f"({inner[0]}){gbnf}", f"(?:{inner[1]}){expression}"


def make_gbnf(arguments):
    with open(arguments.cases, "w") as out:
        for seed in range(arguments.walks * 100):
            grammar = RandomGrammar(seed)
            texts = ["".join(grammar.random.choice("abbéaÿ") for _ in range(grammar.random.randint(0, 8))) for _ in range(30)]
            out.write(json.dumps({"gbnf": grammar.gbnf, "texts": texts, "walks": 10, "tokenWalks": 0, "seed": seed}) + "\n")


def judge_gbnf(arguments):
    import regex
    counts, failures = collections.Counter(), []
    with open(arguments.cases) as cases, open(arguments.answers) as answers:
        for case, answer in zip(cases, answers):
            case, answer = json.loads(case), json.loads(answer)
            if "error" in answer:
                counts["grammars refused: " + re.sub(r"'[^']*'", "…", answer["error"].split(": ", 1)[1])] += 1
                continue
            counts["grammars"] += 1
            if "problem" in answer:
                failures.append(f"{case['gbnf']!r}: {answer['problem']}")
            expression = regex.compile(RandomGrammar(case["seed"]).expression)
            for text, accepted in list(zip(case["texts"], answer["accepts"])) + [(text, True) for text in answer["walks"]]:
                if len(text) > 60:
                    continue
                try:
                    expected = expression.fullmatch(text, timeout=2) is not None
                except TimeoutError:
                    counts["texts that Python takes too long for"] += 1
                    continue
                counts["texts that match" if expected else "texts that do not"] += 1
                if expected != accepted:
                    failures.append(f"{case['gbnf']!r}: {text!r}: expected {expected}")
    for name, count in counts.items():
        print(f"{count:7} {name}")
    print(f"{len(failures)} failures")
    for line in failures[:arguments.show]:
        print("  " + line[:400])
    return 1 if failures else 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("action", choices=["make", "judge", "vocabulary", "make-gbnf", "judge-gbnf"])
    parser.add_argument("cases")
    parser.add_argument("answers", nargs="?")
    parser.add_argument("--suite")
    parser.add_argument("--gguf")
    parser.add_argument("--walks", type=int, default=20)
    parser.add_argument("--token-walks", type=int, default=4)
    parser.add_argument("--show", type=int, default=40)
    parser.add_argument("--verbose", action="store_true")
    arguments = parser.parse_args()
    sys.exit({"make": make, "judge": judge, "vocabulary": vocabulary,
              "make-gbnf": make_gbnf, "judge-gbnf": judge_gbnf}[arguments.action](arguments))


if __name__ == "__main__":
    main()
