# SPDX-License-Identifier: Apache-2.0
"""Writes random small templates and what Jinja2 makes of them, for the Swift test `TemplateCasesTests`.

    fuzz.py --seed 1 --count 20000 --output FILE.json
    fuzz.py --mutate FOLDER --seed 1 --count 5000 --output FILE.json    damaged templates of a folder instead
"""

import argparse
import json
import pathlib
import random
import re

import matrix
import oracle

VARIABLES = {
    "s": "Hello, World", "e": "", "w": "  a b\tc \n", "u8": "Grüße 世界 e\u0301 ß", "n": 7, "z": 0, "neg": -3, "f": 2.5,
    "b": True, "no": False, "nil": None, "l": [3, 1, 2], "ls": ["b", "A", "a", "C"], "le": [], "mixed": [1, "a", None, 2.0, [1]],
    "d": {"a": 1, "b": {"c": [1, 2]}, "items": "I", "key with space": 2}, "de": {},
    "msgs": [
        {"role": "user", "content": "hi", "n": 2}, {"role": "assistant", "content": "yo <b>", "n": 1, "tool": {"name": "x"}},
        {"role": "user", "content": None, "n": 2},
    ],
    "tree": [{"v": 1, "kids": [{"v": 2, "kids": []}, {"v": 3, "kids": [{"v": 4, "kids": []}]}]}, {"v": 5, "kids": []}],
}
NAMES = list(VARIABLES) + ["missing"]
STRINGS = [
    "''", "'a'", "'b'", "'abc'", "' '", "','", "'l'", "'Hello'", "'<b>'", "'%s'", "'%d-%s'", "'{}'", "'{0} {1}'", "'{a}'", "'ß'", "'\\n'",
    "\"it's\"", "'a\"b'", "'12'", "' 4.5 '", "'role'", "'content'", "'a.b'", "'\\u00e9x'", "'0x1f'", "'a-b c'", "'lower'", "'upper'", "'-'",
]
NUMBERS = ["0", "1", "2", "3", "-1", "-2", "10", "0.5", "1.0", "2.5", "-1.5", "1e20", "3.14159", "1e-7", "100000", "0x1F", "1_000"]
METHODS = {
    "upper": 0, "lower": 0, "strip": "?s", "lstrip": "?s", "rstrip": "?s", "split": "?s?i", "rsplit": "?s?i", "splitlines": "?b",
    "startswith": "s", "endswith": "s", "replace": "ss?i", "find": "s?i?i", "rfind": "s?i", "index": "s", "count": "s?i", "title": 0,
    "capitalize": 0, "swapcase": 0, "isdigit": 0, "isalpha": 0, "isalnum": 0, "isspace": 0, "islower": 0, "isupper": 0, "istitle": 0,
    "join": "x", "format": "?x?x", "zfill": "i", "center": "i?s", "ljust": "i?s", "rjust": "i?s", "partition": "s",
    "rpartition": "s", "removeprefix": "s", "removesuffix": "s", "expandtabs": "?i", "casefold": 0, "isnumeric": 0, "isdecimal": 0,
    "isidentifier": 0, "isprintable": 0, "isascii": 0, "get": "s?x", "keys": 0, "values": 0, "items": 0, "copy": 0, "append": "x", "pop": 0,
    "is_integer": 0, "bit_length": 0, "update": "x", "rindex": "s",
}
FILTERS = {
    "abs": 0, "attr": "s", "batch": "i?x", "capitalize": 0, "center": "?i", "count": 0, "d": "?x?b", "default": "?x?b", "dictsort": "?b",
    "e": 0, "escape": 0, "filesizeformat": "?b", "first": 0, "float": "?x", "forceescape": 0, "format": "?x?x", "groupby": "a", "indent": "?i?b?b",
    "int": "?x?i", "join": "?s?a", "last": 0, "length": 0, "list": 0, "lower": 0, "items": 0, "map": "F", "min": 0, "max": "?b", "reject": "?T",
    "rejectattr": "a?T", "replace": "ss?i", "reverse": 0, "round": "?i", "safe": 0, "select": "?T", "selectattr": "a?T", "slice": "i?x", "sort": "?b?b",
    "string": 0, "striptags": 0, "sum": "?a", "title": 0, "trim": "?s", "truncate": "i?b?s?i", "unique": "?b", "upper": 0, "urlencode": 0,
    "wordcount": 0, "wordwrap": "i", "tojson": "?b?i", "xmlattr": 0, "pprint": 0,
}
KEYWORDS = {
    "tojson": ["indent=2", "indent=0", "sort_keys=true", "ensure_ascii=true", "separators=(',', ':')", "indent='  '"],
    "map": ["attribute='n'", "attribute='role'", "attribute='tool.name'", "attribute='tool.name', default='D'", "attribute=0"],
    "sort": ["attribute='n'", "attribute='role,n'", "reverse=true", "case_sensitive=true", "reverse=true, attribute='n'"],
    "groupby": ["'n'", "'role'", "'tool', default='D'", "attribute='role', case_sensitive=true"],
    "unique": ["attribute='n'", "case_sensitive=true"], "join": ["attribute='role'", "d='-'"], "sum": ["attribute='n'", "start=10", "attribute='n', start=0.5"],
    "dictsort": ["by='value'", "reverse=true", "false, 'value'"], "default": ["boolean=true", "'x', true", "default_value=1"],
    "round": ["2", "1, 'floor'", "method='ceil'", "-1"], "indent": ["width=2", "first=true", "blank=true", "'> '", "2, true"],
    "min": ["attribute='n'"], "max": ["attribute='n'"], "int": ["default=5", "0, 16", "base=2"], "truncate": ["5, true", "5, end=''", "9, leeway=0"],
    "trim": ["chars='a'"], "batch": ["2, 'x'"], "slice": ["2, 'x'"], "wordwrap": ["5", "5, false", "width=6, wrapstring='|'"],
}
TESTS = {
    "odd": 0, "even": 0, "divisibleby": "i", "defined": 0, "undefined": 0, "none": 0, "boolean": 0, "false": 0, "true": 0, "integer": 0, "float": 0,
    "lower": 0, "upper": 0, "string": 0, "mapping": 0, "number": 0, "sequence": 0, "iterable": 0, "callable": 0, "sameas": "x", "escaped": 0,
    "in": "x", "eq": "x", "equalto": "x", "ne": "x", "gt": "x", "ge": "x", "lt": "x", "le": "x", "greaterthan": "x", "lessthan": "x", "filter": 0, "test": 0,
}
BINARY = ["+", "-", "*", "/", "//", "%", "**", "~"]
COMPARISONS = ["==", "!=", "<", "<=", ">", ">=", "in", "not in"]


class Generator:
    def __init__(self, rng):
        self.rng = rng
        self.names = list(NAMES)

    def pick(self, items):
        return self.rng.choice(items)

    def chance(self, probability):
        return self.rng.random() < probability

    # Expressions

    def atom(self):
        kind = self.rng.randrange(12)
        if kind < 5:
            return self.pick(self.names)
        if kind < 7:
            return self.pick(NUMBERS)
        if kind < 9:
            return self.pick(STRINGS)
        if kind == 9:
            return self.pick(["true", "false", "none", "True", "None", "[]", "{}", "()"])
        if kind == 10:
            return self.pick([
                "range(3)", "range(1, 10, 3)", "range(5, 0, -2)", "dict(a=1, b='x')", "namespace(a=1)", "loop.index", "loop.first", "loop.last",
                "msgs[0]", "msgs[1].tool", "d.b.c", "d['key with space']", "d.items", "d.items()", "tree", "loop.length", "loop.previtem",
                "loop.nextitem", "loop.cycle('a', 'b')", "loop.changed(n)", "loop.revindex", "loop.depth", "caller()", "m(1)", "m(1, 2, 3)", "m(q=4)",
            ])
        return self.pick(["[1, 2, 3]", "['x', 'y']", "{'a': 1, 'b': 2}", "(1, 2)", "(1,)", "{1: 'a', none: 2}", "{'é': [1.5, none]}", "['b', 'B', 'a']"])

    def argument(self, kind, depth):
        if kind == "s":
            return self.pick(STRINGS) if self.chance(0.8) else self.expression(depth - 1)
        if kind == "i":
            return self.pick(["0", "1", "2", "3", "-1", "5", "10", "80"]) if self.chance(0.85) else self.expression(depth - 1)
        if kind == "b":
            return self.pick(["true", "false", "0", "1", "none"])
        if kind == "a":
            return self.pick(["'n'", "'role'", "'content'", "'tool.name'", "0", "'a'", "'missing'", "none"])
        return self.expression(depth - 1)

    def arguments(self, signature, depth):
        if not signature:
            return "" if self.chance(0.97) else self.expression(depth - 1)
        result, optional = [], False
        for kind in signature:
            if kind == "?":
                optional = True
                continue
            if optional and self.chance(0.5):
                break
            if kind == "F":
                name = self.pick(list(FILTERS))
                result.append(f"'{name}'")
                result += [self.argument(more, depth) for more in str(FILTERS[name] or "") if more not in "?FT"][:2]
            elif kind == "T":
                name = self.pick(list(TESTS))
                result.append(f"'{name}'")
                result += [self.argument(more, depth) for more in str(TESTS[name] or "")]
            else:
                result.append(self.argument(kind, depth))
            optional = False
        return ", ".join(result)

    def filter(self, depth):
        name = self.pick(list(FILTERS)) if self.chance(0.99) else "unknown"
        if name in KEYWORDS and self.chance(0.6):
            return f"{name}({self.pick(KEYWORDS[name])})"
        arguments = self.arguments(FILTERS.get(name, 0), depth)
        return f"{name}({arguments})" if arguments or self.chance(0.1) else name

    def test(self, depth):
        name = self.pick(list(TESTS))
        signature = TESTS[name]
        if not signature:
            return name
        argument = self.argument(signature, depth)
        simple = re.fullmatch(r"\w+|'[^'\\]*'", argument)
        return f"{name} {argument}" if simple and self.chance(0.4) else f"{name}({argument})"

    def expression(self, depth):
        if depth <= 0 or self.chance(0.15):
            return self.atom()
        kind = self.rng.randrange(20)
        inner = lambda: self.expression(depth - 1)
        if kind < 3:
            return f"{inner()} {self.pick(BINARY)} {inner()}"
        if kind == 3:
            return f"({inner()}) {self.pick(BINARY)} ({inner()})"
        if kind < 6:
            result = f"{inner()} {self.pick(COMPARISONS)} {inner()}"
            return result + (f" {self.pick(COMPARISONS)} {inner()}" if self.chance(0.15) else "")
        if kind == 6:
            return f"{inner()} {self.pick(['and', 'or'])} {inner()}"
        if kind == 7:
            return self.pick(["not ", "-", "+", "not not ", "- -"]) + inner()
        if kind == 8:
            return f"{inner()} if {inner()}" + (f" else {inner()}" if self.chance(0.7) else "")
        if kind < 12:
            return f"({inner()})|{self.filter(depth)}" if self.chance(0.5) else f"{self.atom()}|{self.filter(depth)}"
        if kind == 12:
            return f"{self.atom()}|{self.filter(depth)}|{self.pick(['list', 'string', 'length', 'join', 'tojson', 'first'])}"
        if kind == 13:
            return f"{inner() if self.chance(0.3) else self.atom()} is {self.pick(['', 'not '])}{self.test(depth)}"
        if kind < 16:
            name = self.pick(list(METHODS))
            base = self.pick(["s", "w", "u8", "e", "'a,b,,c'", "d", "l", "n", "f", self.atom()])
            return f"{base}.{name}({self.arguments(METHODS[name], depth)})"
        if kind == 16:
            # Of variables: what Jinja2 makes of a slice of a number known beforehand is another thing than at run time.
            base = self.pick(["s", "u8", "l", "ls", "mixed", "range(5)", "(1, 2, 3)", self.pick(self.names)])
            part = lambda: self.pick(["", "", "0", "1", "-1", "2", "-2", "10", "-10", "none", "n"])
            step = self.pick(["", "", ":", ":2", ":-1", ":-2", ":0"])
            return f"{base}[{part()}:{part()}{step}]"
        if kind == 17:
            base = self.pick(["s", "l", "d", "mixed", "msgs", "u8", self.atom()])
            index = self.pick(["0", "-1", "1", "9", "'a'", "'b'", "none", "true", "0.0", "'upper'", "(1, 2)", self.atom()])
            return f"{base}[{index}]"
        if kind == 18:
            items = ", ".join(inner() for _ in range(self.rng.randrange(4)))
            return self.pick([f"[{items}]", f"({items},)" if items else "()"])
        pairs = ", ".join(f"{self.pick(STRINGS + ['1', 'n', 'none', 'true'])}: {inner()}" for _ in range(self.rng.randrange(3)))
        return "{" + pairs + "}"

    # Statements

    def tag(self, text):
        left = self.pick(["", "", "", "-", "+"])
        right = self.pick(["", "", "", "-", "+"])
        return f"{{%{left} {text} {right}%}}"

    def text(self):
        return self.pick(["", " ", "\n", "  \n  ", "a", "a\n", "\n  b ", " x\n\n", "\t", "é\r\n", "{", "}}", "%}", "#"])

    def output(self, depth):
        left, right = self.pick(["", "", "-", "+"]), self.pick(["", "", "-"])
        expression = self.expression(depth)
        if self.chance(0.4):
            expression = f"[{expression}]"
        return f"{{{{{left} {expression} {right}}}}}"

    def body(self, depth):
        return "".join(self.text() + self.statement(depth - 1) for _ in range(self.rng.randrange(1, 3))) + self.text()

    def statement(self, depth):
        if depth <= 0:
            return self.output(2)
        kind = self.rng.randrange(16)
        expression = lambda: self.expression(2)
        if kind < 4:
            return self.output(2)
        if kind == 4:
            name = self.pick(["x", "y", "n", "l", "a, c", "ns.v", "ns.v, x"])
            return self.tag(f"set {name} = {expression()}") + "{{ x }}{{ n }}{{ ns.v }}"
        if kind < 7:
            middle = (self.tag(f"elif {expression()}") + self.body(depth)) if self.chance(0.3) else ""
            other = (self.tag("else") + self.body(depth)) if self.chance(0.5) else ""
            return self.tag(f"if {expression()}") + self.body(depth) + middle + other + self.tag("endif")
        if kind < 10:
            target = self.pick(["x", "x", "x", "k, v", "x, y", "(x, y)"])
            source = self.pick(["l", "msgs", "ls", "d", "d.items()", "range(4)", "s", "le", "missing", "d|dictsort", "[[1, 2], [3, 4]]", expression()])
            test = f" if {expression()}" if self.chance(0.25) else ""
            leave = self.pick(["", "", "", "{% break %}", "{% continue %}", "{% if loop.index > 1 %}{% break %}{% endif %}", "{% if x == 1 %}{% continue %}{% endif %}"])
            other = (self.tag("else") + self.body(depth)) if self.chance(0.25) else ""
            self.names += ["x", "k", "v"]
            body = self.body(depth)
            del self.names[-3:]
            return self.tag(f"for {target} in {source}{test}") + body + leave + other + self.tag("endfor")
        if kind == 10:
            parameters = self.pick(["p", "p, q=2", "p=l, q=p", "", "p, caller=none", "varargs=1"])
            self.names += ["p", "q", "varargs", "kwargs"]
            body = self.body(depth)
            del self.names[-4:]
            call = self.pick(["{{ m(1) }}", "{{ m() }}", "{{ m(1, 2, 3) }}", "{{ m(1, r=2) }}", "{{ m(q=1, p=2) }}", "{{ m(*l) }}", "{{ m(**{'p': 1}) }}", "{% call m(1) %}C{{ n }}{% endcall %}", "{% call(a) m() %}{{ a }}{% endcall %}", "{{ m }}", "{{ m.name }}{{ m.arguments }}"])
            return self.tag(f"macro m({parameters})") + body + self.pick(["", "{{ caller() }}", "{{ caller(3) }}", "{{ caller }}"]) + self.tag("endmacro") + call
        if kind == 11:
            filters = self.pick(["", "|upper", "|trim", "|replace('a', 'b')"])
            return self.tag(f"set x{filters}") + self.body(depth) + self.tag("endset") + "[{{ x }}]"
        if kind == 12:
            filters = self.pick(["upper", "trim", "indent", "indent(2, true)", "replace('a', 'b')|upper", "length", "tojson"])
            return self.tag(f"filter {filters}") + self.body(depth) + self.tag("endfilter")
        if kind == 13:
            return self.tag(f"with x = {expression()}, y = x") + self.body(depth) + "{{ x }}{{ y }}" + self.tag("endwith")
        if kind == 14:
            return self.pick([
                "{% raw %}{{ x }} {% if %}{% endraw %}", "{#- c -#}", "{# {{ c }} #}\n", " {%- raw -%}\n a {%- endraw -%} ", "{% generation %}" + self.body(depth) + "{% endgeneration %}",
                "{% for x in tree recursive %}{{ x.v }}{{ loop.depth }}{{ loop(x.kids) }}{% endfor %}", "{% set ns = namespace(v=0, l=[]) %}{% for i in l %}{% set ns.v = ns.v + i %}{% endfor %}{{ ns.v }}{{ ns }}",
                "{% set c = cycler(1, 'b') %}{{ c.next() }}{{ c.next() }}{{ c.current }}", "{% set j = joiner() %}{{ j() }}a{{ j() }}b", "{{ strftime_now('%d %b %Y %j %H:%M:%S') }}", "{% print 1, 'a' %}",
                "{% block t %}" + self.body(depth) + "{% endblock %}", "{% autoescape true %}{{ '<' }}{{ s ~ '<' }}{{ '<'|safe }}{% endautoescape %}",
            ])
        return self.output(3)

    def template(self):
        if self.chance(0.6):
            return self.text() + self.output(self.rng.randrange(1, 4))
        prefix = "{% set ns = namespace(v=1) %}" if self.chance(0.5) else ""
        return prefix + self.body(self.rng.randrange(1, 4))


def is_comparable(outcome):
    """Addresses and the like differ from run to run."""
    text = outcome.get("output", "")
    return not re.search(r"0x[0-9a-f]{6,}|<built-in|<generator|<function|_iterator|\dj\)", text, re.IGNORECASE)


def mutants(rng, folder):
    """Templates with a few pieces taken out, doubled, exchanged or put in."""
    pieces = re.compile(r"{%[-+]?|[-+]?%}|{{[-+]?|-?}}|{#|#}|\w+|\s+|[^\w\s]")
    sources = [path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.jinja"))]
    while True:
        parts = pieces.findall(rng.choice(sources))
        for _ in range(rng.randrange(1, 4)):
            place, other = rng.randrange(len(parts)), rng.randrange(len(parts))
            kind = rng.randrange(5)
            if kind == 0:
                del parts[place : place + rng.randrange(1, 4)]
            elif kind == 1:
                parts.insert(place, parts[other])
            elif kind == 2:
                parts[place], parts[other] = parts[other], parts[place]
            elif kind == 3:
                parts[place:place] = parts[other : other + rng.randrange(1, 12)]
            else:
                parts[place] = rng.choice(["not", "-", "'", "[0]", "|list", "loop", "none", "{%", "%}", "1", "|tojson", ".items()", "é", "\n", "*"])
        yield "".join(parts)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=20000)
    parser.add_argument("--mutate", type=pathlib.Path, help="a folder of .jinja files")
    parser.add_argument("--output", type=pathlib.Path, required=True)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    generator = Generator(rng)
    variables, templates = VARIABLES, iter(generator.template, None)
    if options.mutate:
        variables = {
            "messages": matrix.conversations_of_messages()["results"], "tools": [matrix.WEATHER, matrix.SEARCH, matrix.NOW], "documents": None,
            "add_generation_prompt": True, **oracle.SPECIAL_TOKENS,
        }
        templates = mutants(rng, options.mutate)
    cases = []
    while len(cases) < options.count:
        case = {"template": next(templates), "variables": variables}
        result = oracle.render(case)
        if is_comparable(result):
            cases.append({"template": case["template"], **result})
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps({"variables": variables, "cases": cases}))
    print(f"{len(cases)} templates, {sum('error' in case for case in cases)} refused: {options.output}")


if __name__ == "__main__":
    main()
