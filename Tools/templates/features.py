# SPDX-License-Identifier: Apache-2.0
"""Templates of our own, one for each feature of Jinja2 that chat templates use or may use."""

VARIABLES = {
    "s": "Hello, World", "empty": "", "spaced": "  a b\tc \n", "unicode": "Grüße 世界 e\u0301 ß ΟΔΟΣ", "n": 7, "zero": 0, "f": 2.5, "yes": True,
    "no": False, "nil": None, "l": [3, 1, 2], "words": ["b", "A", "a", "C"], "nothing": [], "mixed": [1, "a", None, 2.0, [1]],
    "d": {"b": 1, "a": {"c": [1, 2]}, "items": "I", "C": None}, "de": {}, "long": "The quick brown fox jumps over the lazy dog. " * 3,
    "messages": [
        {"role": "system", "content": "S"}, {"role": "user", "content": " hi ", "n": 2},
        {"role": "assistant", "content": "<think>\nhm\n</think>\n\nyo", "n": 1, "tool": {"name": "x"}},
        {"role": "user", "content": None, "n": 2},
    ],
    "tree": [{"v": 1, "kids": [{"v": 2, "kids": []}, {"v": 3, "kids": [{"v": 4, "kids": []}]}]}, {"v": 5, "kids": []}],
    "schema": {
        "type": "object", "properties": {"a": {"type": ["string", "null"], "description": "Ä"}, "b": {"type": "array", "items": {"type": "integer"}}},
        "required": ["a"],
    },
}

TEMPLATES = [
    # Literals and how Python writes values
    "{{ 1 }} {{ -1 }} {{ 1_000 }} {{ 0x1f }} {{ 0o17 }} {{ 0b11 }} {{ 1.5 }} {{ 1e3 }} {{ 1.0e-7 }} {{ 1e16 }} {{ 123456789012345680.0 }}",
    "{{ 0.1 + 0.2 }} {{ 1e15 + 0.5 }} {{ 100.0 }} {{ 1e22 }} {{ 5e-324 }} {{ 1.7976931348623157e308 }} {{ -0.0 }}",
    "{{ 1e308 * 10 }} {{ 1e308 * 10 - 1e308 * 10 }}",
    "{{ true }} {{ True }} {{ false }} {{ none }} {{ None }} {{ [true, none, 'a', \"it's\", 'q\"', 'b\\'\"', 1.0] }}",
    "{{ {'a': 1, 2: 'b', none: [], true: {}} }} {{ (1,) }} {{ () }} {{ (1, 'a') }} {{ 1, 2 }}",
    "{{ 'a' 'b' \"c\" }} {{ 'tab\\there\\n\\u00e9\\x41\\101\\q' }} {{ ['tab\\t\\n\\r\\\\ \\u200b\\u00a0\\U0001f600\\x7f'] }}",
    "{{ {'a': {'b': [1, (2, 3)]}} }} {{ [] }} {{ {} }} {{ {1: 1, 1.0: 2, true: 3} }}",
    "{{ unicode }} {{ [unicode] }} {{ unicode|length }} {{ unicode[0] }} {{ unicode[-1] }} {{ unicode[6:8] }} {{ unicode[::-1] }}",
    # Operators
    "{{ 7 + 2 }} {{ 7 - 2 }} {{ 7 * 2 }} {{ 7 / 2 }} {{ 6 / 2 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 2 ** 10 }} {{ 2 ** -1 }}",
    "{{ 7.5 // 2 }} {{ -7.5 % 2 }} {{ 7.5 % -2 }} {{ 2 ** 0.5 }} {{ 2 ** 3 ** 2 }} {{ -2 ** 2 }} {{ 1 + true }} {{ -true }} {{ +false }}",
    "{{ 'a' + 'b' }} {{ 'ab' * 3 }} {{ 3 * [1] }} {{ [1] + [2] }} {{ (1,) + (2,) }} {{ 1 ~ 'a' ~ none ~ 2.0 ~ [1] }} {{ 'a' ~ missing ~ 'b' }}",
    "{{ 1 / 0 }}", "{{ 1 % 0 }}", "{{ 1.0 // 0 }}", "{{ 'a' + 1 }}", "{{ none + 'a' }}", "{{ missing + 1 }}", "{{ [1] + (2,) }}", "{{ 'a' - 'b' }}",
    "{{ 1 < 2 <= 2 < 3 }} {{ 1 < 2 > 3 }} {{ 1 == 1.0 == true }} {{ 'a' < 'b' }} {{ [1, 2] < [1, 3] }} {{ 'a' != 'b' }} {{ 1 == '1' }} {{ none == none }}",
    "{{ 'a' < 1 }}", "{{ none < 1 }}", "{{ {} < {} }}", "{{ missing < 1 }}",
    "{{ 'ell' in s }} {{ 'x' not in s }} {{ 1 in l }} {{ 'b' in d }} {{ '' in '' }} {{ 2 in range(3) }} {{ 'é' in unicode }} {{ not 1 in l }} {{ 1 in missing }}",
    "{{ 1 in 'a' }}", "{{ 1 in none }}", "{{ 1 in 5 }}",
    "{{ 0 or 'x' }} {{ '' and 1 }} {{ 1 and 'y' }} {{ not '' }} {{ not not l }} {{ nothing or none }} {{ missing or 'd' }} {{ 1 and 2 or 3 }}",
    "{{ 'a' if yes }} {{ 'a' if no }} {{ 'a' if no else 'b' }} {{ 1 if no else 2 if no else 3 }} {{ ('a' if no) is undefined }}",
    "{{ 'a' if no else missing.x }}", "{{ 2 * 3 + 4 % 3 - 1 }} {{ (1 + 2) * 3 }} {{ 1 ~ 2 * 3 }} {{ 2 * '3' ~ 4 }}", "{{ -n|abs }} {{ (-n)|abs }} {{ -3.7|int }}",
    # Attributes, elements, slices
    "{{ d.b }} {{ d['b'] }} {{ d.a.c[0] }} {{ d.a['c'].1 }} {{ d.missing }} {{ d['missing'] }} {{ d.missing is defined }} {{ l.0 }} {{ l[-1] }} {{ l[9] }}",
    "{{ d['items'] }} {% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %} {{ d.keys() }} {{ d.values() }} {{ d.items() }} {{ d.get('b') }} {{ d.get('x') }} {{ d.get('x', 5) }}",
    "{{ missing.x }}", "{{ d.missing.x }}", "{{ missing['x'] }}", "{{ missing() }}", "{{ nil.x }} {{ nil['x'] }} {{ n.x }} {{ n['x'] }} {{ n.real }}", "{{ s() }}", "{{ nil() }}",
    "{{ l.append(4) }}", "{{ l.append is defined }} {{ d.update }}", "{{ d.pop('b') }}", "{{ s.__class__ }}", "{{ d.__class__ is defined }} {{ s['__len__'] }}",
    "{{ s[:5] }} {{ s[7:] }} {{ s[-5:] }} {{ s[::2] }} {{ s[::-1] }} {{ s[1:-1:3] }} {{ s[10:2:-2] }} {{ s[100:] }} {{ l[1:] }} {{ l[::-1] }} {{ (1, 2, 3)[:2] }} {{ range(10)[2:8:3]|list }}",
    "{{ l[::0] }}", "{{ d[1:] }}", "{{ nil[1:] }}", "{{ l['a':] }}", "{{ l[true] }} {{ l[1.0] }} {{ l['a'] }} {{ d[[]] }} {{ s['upper']() }}",
    # Strings' methods
    "{{ s.upper() }} {{ s.lower() }} {{ s.title() }} {{ s.capitalize() }} {{ s.swapcase() }} {{ 'ΟΔΟΣ'.lower() }} {{ 'ß'.upper() }} {{ 'ŉx'.title() }} {{ 'STRASSE ß'.casefold() }}",
    "[{{ spaced.strip() }}] [{{ spaced.lstrip() }}] [{{ spaced.rstrip() }}] [{{ 'xxaxx'.strip('x') }}] [{{ 'abcba'.lstrip('ab') }}] [{{ '</s>x</s>'.rstrip('</s>') }}]",
    "{{ 'a,b,,c'.split(',') }} {{ 'a,b,,c'.split(',', 1) }} {{ ' a  b '.split() }} {{ ' a  b  c '.split(none, 1) }} {{ 'a,b,c'.rsplit(',', 1) }} {{ ' a b  c '.rsplit(maxsplit=1) }} {{ ''.split() }} {{ ''.split(',') }}",
    "{{ 'a\\nb\\r\\nc\\u2028d\\n'.splitlines() }} {{ 'a\\nb'.splitlines(true) }} {{ 'a-b-c'.partition('-') }} {{ 'a-b-c'.rpartition('-') }} {{ 'abc'.partition('x') }} {{ 'abc'.rpartition('x') }}",
    "{{ s.startswith('He') }} {{ s.endswith('ld') }} {{ s.startswith(('x', 'H')) }} {{ s.startswith('l', 2) }} {{ s.endswith('', 1, 3) }} {{ s.find('o') }} {{ s.find('o', 5) }} {{ s.rfind('o') }} {{ s.find('x') }} {{ s.index('W') }} {{ s.count('l') }} {{ s.count('') }}",
    "{{ s.index('x') }}", "{{ s.split('') }}", "{{ s.nothing() }}", "{{ s.startswith(1) }}", "{{ s.upper(1) }}",
    "{{ s.replace('l', 'L') }} {{ s.replace('l', '', 2) }} {{ 'ab'.replace('', '-') }} {{ 'ab'.replace('', '-', 2) }} {{ 'prefix'.removeprefix('pre') }} {{ 'file.txt'.removesuffix('.txt') }} {{ 'ab'.join(['1', '2']) }} {{ ', '.join(d) }}",
    "{{ ','.join([1]) }}", "[{{ 'a'.center(6) }}] [{{ 'ab'.center(5, '*') }}] [{{ 'a'.ljust(4, '.') }}] [{{ 'a'.rjust(4) }}] [{{ '-5'.zfill(5) }}] [{{ 'a\\tb'.expandtabs(4) }}]",
    "{{ '12'.isdigit() }} {{ '²'.isdigit() }} {{ '½'.isnumeric() }} {{ '1'.isdecimal() }} {{ 'aé'.isalpha() }} {{ 'a1'.isalnum() }} {{ ' \\t'.isspace() }} {{ 'aB'.islower() }} {{ 'AB1'.isupper() }} {{ 'Ab Cd'.istitle() }} {{ ''.isalpha() }} {{ 'a_1'.isidentifier() }} {{ 'é'.isascii() }} {{ 'a\\n'.isprintable() }}",
    "{{ '{} {}'.format(1, 'a') }} {{ '{1} {0}'.format(1, 2) }} {{ '{a} {b[0]} {c.x}'.format(a=1, b=[2], c={'x': 3}) }} {{ '{{}}'.format() }} {{ '{!r} {!s}'.format('a', 'b') }} {{ '{a}'.format_map({'a': 5}) }}",
    "{{ '{:>5}|{:<5}|{:^5}|{:*^5}|{:05d}|{:+d}|{:,}|{:_}|{:x}|{:#X}|{:b}|{:o}|{:c}'.format('a', 'b', 'c', 'd', 42, 5, 1234567, 1234567, 255, 255, 5, 8, 65) }}",
    "{{ '{:.2f}|{:8.3f}|{:e}|{:g}|{:%}|{:.3}|{:,.2f}|{:08.2f}|{:+.1f}|{:}|{:.0f}|{:5}'.format(3.14159, 2.5, 12345.678, 1e-10, 0.25, 1234.5, 1234567.891, -3.14159, 2.25, 1.5, 2.5, true) }}",
    "{{ '{:{w}.{p}f}'.format(3.14159, w=8, p=2) }} {{ '{:.3}'.format('abcdef') }}", "{{ '{} {0}'.format(1) }}", "{{ '{}'.format() }}", "{{ '{:d}'.format('a') }}", "{{ '{:.2d}'.format(1) }}", "{{ '{'.format(1) }}", "{{ '{x}'.format() }}",
    "{{ '%s %d %5.2f %r %x %o %e %g %c %% %i' % ('a', 42.9, 3.14159, 'q', 255, 8, 1234.5, 0.0001, 'z', 7) }} {{ '%(a)s-%(b)05d' % {'a': 1, 'b': 2} }} {{ '%-5s|%5s|%+d|% d|%#x|%.2s|%*d' % ('a', 'b', 1, 2, 255, 'abc', 4, 9) }}",
    "{{ '%s' % 1 }} {{ '%s' % [1] }} {{ 'a' % [] }} {{ '%s' % missing }}", "{{ '%d' % 'a' }}", "{{ '%s %s' % 'a' }}", "{{ 'a' % 1 }}", "{{ '%q' % 1 }}",
    # Filters
    "{{ -3|abs }} {{ 2.5|abs }} {{ 'abc'|attr('upper') is callable }} {{ d|attr('b') is defined }} {{ l|batch(2)|list }} {{ l|batch(2, 'x')|list }} {{ 'aBC'|capitalize }} [{{ 'a'|center(5) }}] {{ l|count }} {{ d|length }} {{ s|length }} {{ range(4)|length }}",
    "{{ missing|default }}|{{ missing|default('d') }}|{{ ''|default('d') }}|{{ ''|default('d', true) }}|{{ none|d('d') }}|{{ missing|d(boolean=true, default_value=1) }}",
    "{{ d|dictsort }} {{ d|dictsort(true) }} {{ {'a': 2, 'b': 1}|dictsort(by='value') }} {{ {'a': 2, 'b': 1}|dictsort(reverse=true) }}", "{{ {'a': 1, 2: 3}|dictsort }}",
    "{{ '<a href=\"x\">&\\'</a>'|escape }} {{ '<'|e }} {{ '<'|e|e }} {{ '<'|escape|forceescape }} {{ ('<'|safe) + '>' }} {{ ('<'|safe) ~ '>' }} {{ '<'|safe is escaped }} {{ ['<'|safe] }} {{ '<b>x</b> <!-- c --> &amp; y'|striptags }}",
    "{{ 1|filesizeformat }} {{ 999|filesizeformat }} {{ 1000|filesizeformat }} {{ 1234567|filesizeformat }} {{ 1024|filesizeformat(true) }} {{ 1e30|filesizeformat }}",
    "{{ l|first }} {{ l|last }} {{ nothing|first is undefined }} {{ nothing|last is undefined }} {{ s|first }} {{ s|last }} {{ d|first }} {{ d|last }}",
    "{{ '4.5'|float }} {{ 'x'|float }} {{ 'x'|float(1.5) }} {{ 3|float }} {{ ' 1e3 '|float }} {{ none|float }} {{ '12'|int }} {{ '12.7'|int }} {{ 'x'|int }} {{ 'x'|int(5) }} {{ '0x1f'|int(base=16) }} {{ '1f'|int(0, 16) }} {{ -3.9|int }} {{ true|int }} {{ none|int(7) }} {{ ' 1_0 '|int }}",
    "{{ missing|int }}", "{{ '%s-%s'|format(1, 'a') }} {{ '%(x)s'|format(x=1) }}", "{{ messages[1:]|groupby('n', default=0)|map('first')|list }}{% for g in messages[1:]|groupby('role') %}{{ g.grouper }}:{{ g.list|length }};{% endfor %} {{ words|groupby(0) }}",
    "{{ 'a\\nb\\n\\nc'|indent }}|{{ 'a\\nb'|indent(2, true) }}|{{ 'a\\n\\nb'|indent('> ', blank=true) }}|{{ 'a\\n'|indent(width=1) }}", "{{ 1|indent }}",
    "{{ l|join }} {{ l|join(', ') }} {{ messages|join('|', attribute='role') }} {{ d|join(',') }} {{ s|join('.') }} {{ nothing|join(',') }} {{ missing|join }}",
    "{{ s|list }} {{ d|list }} {{ range(3)|list }} {{ d.items()|list }} {{ d|items|list }} {{ missing|items|list }} {{ missing|list }}", "{{ 5|list }}",
    "{{ s|lower }} {{ 5|lower }} {{ s|upper }} {{ 'hello wORLD-foo (bar)'|title }} {{ messages|map(attribute='role')|list }} {{ messages|map(attribute='tool.name', default='-')|list }} {{ words|map('lower')|join }} {{ l|map('string')|list }} {{ [' a ']|map('trim')|first }} {{ ['a,b']|map('replace', ',', ';')|list }}",
    "{{ l|map('unknown')|list }}", "{{ l|map|list }}", "{{ l|min }} {{ l|max }} {{ words|min }} {{ words|max(case_sensitive=true) }} {{ messages[1:]|max(attribute='n') }} {{ nothing|min is undefined }}", "{{ [1, 'a']|max }}",
    "{{ l|reject('odd')|list }} {{ l|select('odd')|list }} {{ mixed|select|list }} {{ mixed|reject|list }} {{ l|select('gt', 1)|list }} {{ messages|selectattr('role', 'equalto', 'user')|list|length }} {{ messages|selectattr('tool')|map(attribute='role')|list }} {{ messages|rejectattr('n', 'defined')|list }} {{ messages|selectattr('n', 'in', [2])|list|length }} {{ words|select('in', ['a', 'b'])|list }}",
    "{{ s|replace('l', 'L') }} {{ s|replace('l', '', 1) }} {{ 515|replace(5, 6) }} {{ l|reverse|list }} {{ s|reverse }} {{ d|reverse|list }}",
    "{{ 2.5|round }} {{ 3.5|round }} {{ 2.675|round(2) }} {{ 2.5|round(0, 'ceil') }} {{ 2.55|round(1, 'floor') }} {{ 25|round(-1) }} {{ 35|round(-1) }} {{ 7|round }} {{ 1234.5|round(-2) }} {{ 2.5|round|int }} {{ -2.5|round(method='floor') }}",
    "{{ 'a'|round }}", "{{ 5|round(1, 'x') }}", "{{ [1, 2, 3, 4, 5]|slice(2)|list }} {{ [1, 2, 3, 4, 5]|slice(3, 'x')|list }}",
    "{{ l|sort }} {{ words|sort }} {{ words|sort(case_sensitive=true) }} {{ words|sort(reverse=true) }} {{ messages[1:]|sort(attribute='n')|map(attribute='role')|list }} {{ messages[1:]|sort(attribute='n,role', reverse=true)|map(attribute='role')|list }} {{ d|sort }}", "{{ mixed|sort }}",
    "{{ 5|string }} {{ l|string }} {{ none|string|length }} {{ l|sum }} {{ [0.5, 1]|sum }} {{ messages[1:]|sum(attribute='n') }} {{ l|sum(start=10) }} {{ nothing|sum }}", "{{ words|sum }}",
    "{{ spaced|trim }} {{ 'xxaxx'|trim('x') }} {{ 5|trim }} {{ long|truncate(20) }} {{ long|truncate(20, true) }} {{ 'abc def'|truncate(5, false, '', 0) }} {{ 'foo bar baz'|truncate(9) }}", "{{ s|truncate(1) }}",
    "{{ ['a', 'A', 'b', 'a']|unique|list }} {{ ['a', 'A']|unique(true)|list }} {{ messages|unique(attribute='role')|map(attribute='role')|list }} {{ [1, 1.0, true]|unique|list }}", "{{ [[1]]|unique|list }}",
    "{{ 'a b/c?d=é&f'|urlencode }} {{ {'a b': 1, 'c': '/'}|urlencode }} {{ [['a', 1]]|urlencode }} {{ 'one two_three 4, five-six'|wordcount }} {{ long|wordwrap(20) }} {{ 'abcdefghij'|wordwrap(4) }} {{ {'class': 'a<b', 'x': none, 'y': 1}|xmlattr }}",
    "{{ d[] is undefined }} {{ ['\\é\\世'] }}", "{{ l|pprint }} {{ schema|pprint }}\n{{ long|pprint }}\n{{ messages|pprint }}", "{{ x|unknown }}", "{% if no %}{{ x|unknown }}{% endif %}ok", "{{ x|unknown if no else 'ok' }}", "{% if no %}{% for a in l %}{{ a|unknown }}{% endfor %}{% endif %}", "{{ x is unknown }}", "{{ l|join('a', 'b', 'c') }}", "{{ l|join(x='a') }}",
    # tojson as transformers has it
    "{{ mixed|tojson }} {{ d|tojson }} {{ unicode|tojson }} {{ unicode|tojson(ensure_ascii=true) }} {{ '<&>\\'\"\\\\/\\n\\t\\r\\b\\f\\u0001\\x7f\\u2028'|tojson }} {{ 1.0|tojson }} {{ 1e20|tojson }} {{ none|tojson }} {{ true|tojson }} {{ (1, 2)|tojson }}",
    "{{ schema|tojson(indent=2) }}\n{{ schema|tojson(indent='\\t') }}\n{{ [[], {}, [1, {}]]|tojson(indent=0) }}\n{{ schema|tojson(separators=(',', ':')) }}\n{{ schema|tojson(separators=(', ', ': '), indent=1, sort_keys=true) }}",
    "{{ {1: 'a', none: 'b', true: 'c', 1.5: 'd'}|tojson }} {{ {'b': 1, 'a': 2}|tojson(sort_keys=true) }} {{ (1e308 * 10)|tojson }}", "{{ missing|tojson }}", "{{ {(1, 2): 3}|tojson }}", "{{ range(3)|tojson }}", "{{ namespace()|tojson }}", "{{ l|map('string')|tojson }}", "{{ {'a': 1, 2: 3}|tojson(sort_keys=true) }}",
    # Tests
    "{{ 3 is odd }} {{ 4 is even }} {{ 6 is divisibleby 3 }} {{ 6 is divisibleby(4) }} {{ s is defined }} {{ missing is undefined }} {{ missing is not defined }} {{ nil is none }} {{ yes is boolean }} {{ no is false }} {{ yes is true }} {{ 1 is true }}",
    "{{ 1 is integer }} {{ true is integer }} {{ 1.0 is float }} {{ 1 is number }} {{ true is number }} {{ 'a' is string }} {{ d is mapping }} {{ l is sequence }} {{ d is sequence }} {{ s is sequence }} {{ 1 is sequence }} {{ l is iterable }} {{ 5 is iterable }} {{ range is callable }} {{ missing is sequence }} {{ missing is iterable }} {{ d.keys() is sequence }}",
    "{{ 'a' is lower }} {{ 'A' is upper }} {{ 1 is sameas 1 }} {{ none is sameas none }} {{ l is sameas l }} {{ 'upper' is filter }} {{ 'odd' is test }} {{ 1 is in [1] }} {{ 'b' is in(d) }} {{ 1 is eq 1 }} {{ 1 is ne 2 }} {{ 2 is gt 1 }} {{ 2 is ge 2 }} {{ 1 is lt(2) }} {{ 1 is le 0 }} {{ 'a' is equalto 'a' }} {{ 3 is greaterthan 2 }} {{ 1 is lessthan 2 }}",
    "{{ 1 is odd and 2 is even }} {{ not 1 is even }} {{ (1 is odd) is true }} {{ s is string and s is defined or no }} {{ n is defined and n is not none }}", "{{ 1 is odd is true }}", "{{ 'a' is odd }}", "{{ missing is odd }}",
    # Statements
    "{% if n > 5 %}a{% elif n > 3 %}b{% else %}c{% endif %} {% if no %}a{% elif yes %}b{% endif %} {% if missing %}a{% else %}c{% endif %} {% if l: %}d{% endif %}",
    "{% for x in l %}{{ loop.index }}/{{ loop.length }} {{ loop.index0 }} {{ loop.revindex }} {{ loop.revindex0 }} {{ loop.first }} {{ loop.last }} {{ loop.previtem }} {{ loop.nextitem }} {{ loop.cycle('a', 'b') }} {{ loop.changed(x > 1) }} {{ loop.depth }} {{ loop.depth0 }}\n{% endfor %}",
    "{% for x in nothing %}a{% else %}empty{% endfor %} {% for x in l %}{{ x }}{% else %}empty{% endfor %} {% for x in missing %}a{% else %}empty{% endfor %}", "{% for x in 5 %}{% endfor %}", "{% for x in none %}{% endfor %}",
    "{% for x in l if x > 1 %}{{ x }}{{ loop.index }}{{ loop.last }}{{ loop.length }}{% else %}none{% endfor %} {% for x in l if x > 9 %}{{ x }}{% else %}none{% endfor %} {% for m in messages if m.role == 'user' %}{{ loop.revindex }}{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}{% endfor %} {% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %} {% for a, b in ['xy', 'zw'] %}{{ a }}{{ b }}{% endfor %} {% for c in 'aé' %}{{ c }}.{% endfor %} {% for k in d %}{{ k }}{% endfor %}",
    "{% for a, b in [(1,)] %}{% endfor %}", "{% for a, b in [(1, 2, 3)] %}{% endfor %}", "{% for a, b in [1] %}{% endfor %}",
    "{% for x in range(9) %}{% if x == 1 %}{% continue %}{% elif x == 4 %}{% break %}{% endif %}{{ x }}{% else %}never{% endfor %} {% for x in [1] %}{% continue %}{% else %}cut short{% endfor %} {% for x in l %}{% for y in l %}{% if y == x %}{% break %}{% endif %}{{ x }}{{ y }} {% endfor %}{% endfor %}",
    "{% break %}", "{% for x in l %}{% macro m() %}{% break %}{% endmacro %}{% endfor %}", "{% for x in tree recursive %}{{ x.v }}({{ loop(x.kids) }}){{ loop.depth }}{% if not loop.last %},{% endif %}{% endfor %}", "{% for x in l %}{{ loop([1]) }}{% endfor %}",
    "{% set x = 0 %}{% for i in l %}{% set x = x + i %}{{ x }};{% endfor %}{{ x }}", "{% if yes %}{% set x = 1 %}{% endif %}{{ x }}", "{% for i in l %}{% set inner = i %}{% endfor %}{{ inner }}|{{ i }}", "{% for loop in l %}{% endfor %}", "{% for x in l %}{% set loop = 1 %}{% endfor %}",
    "{% for x in l %}{% for y in 'ab' %}{{ loop.index }}{% endfor %}{{ loop.index }};{% endfor %}", "{% for x in l %}{% set outer = loop %}{% for y in 'ab' %}{{ outer.index }}{{ loop.index }} {% endfor %}{% endfor %}",
    "{% set ns = namespace(found=false, n=0) %}{% for x in l %}{% set ns.n = ns.n + x %}{% if x == 1 %}{% set ns.found = true %}{% endif %}{% endfor %}{{ ns.found }} {{ ns.n }} {{ ns.missing }} {{ ns }} {{ ns['n'] }}", "{% set d.x = 1 %}", "{% set ns = namespace({'a': 1}, b=2) %}{{ ns.a }}{{ ns.b }}", "{% set ns = namespace(_x=1) %}",
    "{% for x in l if not ns.stop %}{{ x }}{% endfor %}", "{% set ns = namespace(stop=false) %}{% for x in l if not ns.stop %}{{ x }}{% if x == 1 %}{% set ns.stop = true %}{% endif %}{% endfor %}", "{% set ns = namespace() %}{% set ns.a, b = 1, 2 %}{{ ns.a }}{{ b }}",
    "{% set a = 1 %}{% set b, c = 2, [3] %}{% set (e, g) = 'xy' %}{{ a }}{{ b }}{{ c }}{{ e }}{{ g }} {% set t = 1, %}{{ t }}", "{% set a, b = 1 %}", "{% set true = 1 %}", "{% set 'a' = 1 %}", "{% set x %}a{{ n }}b{% endset %}{{ x }} {% set x|upper|replace('A', '-') %}a{{ n }}b{% endset %}{{ x }} {% set x %}{% set y = 1 %}{% endset %}{{ y }}",
    "{% macro m(a, b=2, c=a) %}[{{ a }},{{ b }},{{ c }}]{% endmacro %}{{ m(1) }}{{ m(1, 3) }}{{ m(b=1, a=2) }}{{ m() }}{{ m(1, 2, 3)|upper }}{{ m }}{{ m.name }}{{ m.arguments }}", "{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}", "{% macro m(a) %}{% endmacro %}{{ m(x=1) }}", "{% macro m(a=1, b) %}{% endmacro %}",
    "{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, x=3) }}{{ m() }}{{ m(*l, **{'k': 1}) }}", "{% macro m() %}<{{ caller() }}>{% endmacro %}{% call m() %}in {{ n }}{% endcall %}", "{% macro m(items) %}{% for i in items %}{{ caller(i, loop.index) }}{% endfor %}{% endmacro %}{% call(x, k) m(l) %}{{ k }}={{ x }};{% endcall %}", "{% macro m() %}{{ caller is defined }}{% endmacro %}{{ m() }}{% call m() %}{% endcall %}", "{% macro m() %}x{% endmacro %}{% call m() %}{% endcall %}", "{% macro m() %}{{ caller() }}{% endmacro %}{{ m() }}",
    "{% macro fact(x) %}{% if x <= 1 %}1{% else %}{{ x * fact(x - 1)|int }}{% endif %}{% endmacro %}{{ fact(10) }}", "{% macro outer() %}{% macro inner() %}{{ x }}{% endmacro %}{% set x = 5 %}{{ inner() }}{% endmacro %}{{ outer() }}", "{% macro m() %}{{ x }}{% endmacro %}{% set x = 1 %}{{ m() }}{% set x = 2 %}{{ m() }}", "{% macro m(messages) %}{% for x in messages %}{{ x }}{% endfor %}{% endmacro %}{{ m('ab') }}",
    "{% macro render(spec, depth=0) %}{% if spec.type == 'object' %}{\n{% for k, v in spec.properties.items() %}{{ '  ' * (depth + 1) }}{{ k }}: {{ render(v, depth + 1) }}{{ ',' if not loop.last }}\n{% endfor %}{{ '  ' * depth }}}{% elif spec.type == 'array' %}{{ render(spec['items'], depth) }}[]{% elif spec.type is iterable and spec.type is not string %}{{ spec.type|join(' | ') }}{% else %}{{ spec.type }}{% endif %}{% endmacro %}{{ render(schema) }}",
    "{% with a = 1, b = a %}{{ a }}{{ b }}{% endwith %}{{ a }} {% with %}{% set z = 1 %}{{ z }}{% endwith %}{{ z }} {% set a = 5 %}{% with a = a + 1 %}{{ a }}{% endwith %}{{ a }}", "{% filter upper %}a{{ s }}{% endfilter %} {% filter trim|replace('a', 'b') %}  aa  {% endfilter %}", "{% filter length %}abc{% endfilter %}",
    "{% raw %}{{ x }} {% if %} {# c #}{% endraw %} {%- raw -%}  a  {%- endraw -%} b", "{# a {{ x }} #}b{#- c -#} d", "{% print n, s %}", "{% block a %}x{{ n }}{% endblock %} {% block b scoped %}{% endblock b %}", "{% generation %}a{{ n }}{% set q = 1 %}{% endgeneration %}{{ q }}", "{% autoescape true %}{{ '<' }}{{ '<'|safe }}{% endautoescape %}{{ '<' }}",
    "{% include 'x' %}", "{% extends 'x' %}", "{% if no %}{% include 'x' %}{% endif %}ok", "{% do l %}", "{% unknown %}", "{% endif %}", "{% if x %}", "{% for x in l %}{% endif %}{% endfor %}", "{{ x", "{% if x", "{{ 'abc }}", "{# x", "{% raw %}", "{{ }}", "{{ 1 + }}", "{{ (1 }}", "{{ [1) }}", "{{ ! }}", "{{ a b }}", "{{ f(1, a=2, 3) }}", "{{ f(a=1, a=2) }}", "{{ {1} }}", "{{ 01 }}", "{% set x 1 %}", "{% for in l %}{% endfor %}", "{% macro %}{% endmacro %}", "{{ a.1b }}", "{{ a..b }}",
    # Functions
    "{{ range(3)|list }} {{ range(1, 4)|list }} {{ range(9, 0, -3)|list }} {{ range(0) }} {{ range(1, 5, 2) }} {{ dict(a=1, b=2) }} {{ dict({'x': 1}, y=2) }} {{ dict([('a', 1)]) }} {{ dict.fromkeys('ab', 0) }}", "{{ range(1.5) }}", "{{ range(0, 5, 0) }}", "{{ range(1000000) }}", "{{ range() }}",
    "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ c.reset() }}{{ c.current }} {% set j = joiner('|') %}{{ j() }}x{{ j() }}y{{ j() }}z", "{{ cycler() }}",
    "{{ raise_exception('No ' ~ n) }}", "{{ raise_exception() }}", "{{ strftime_now('%Y-%m-%d %H:%M:%S.%f') }} {{ strftime_now('%d %b %Y') }} {{ strftime_now('%A, %B %e, %-d %y %j %p %I %U %W %V %u %w %% %D %F %T %c %x %X %h %R %G') }}",
    # White space
    "a\n{% if yes %}\nb\n{% endif %}\nc", "  {% if yes %}\n  b\n  {% endif %}  \n  c", "a  {%- if yes -%}  b  {%- endif -%}  c", "a\n  {%+ if yes %} b{% endif +%}\nc", "{{ n -}}  \n  x {{- n }}", "a\n\n{# c #}\n\nb", "  {# c #}  x", "{% if yes %}\r\nb\r{% endif %}\n", "a\n", "a\n\n", "\n", "", "  {{ n }}\n  {% set x = 1 %}\n  y", "x {% set y = 1 %} \n z", "{%- for x in l -%}\n  {{ x }}\n{%- endfor -%}\n", "\t{%- if yes %}\n\t\ta\n\t{%- endif %}", "a {% raw -%} b {%- endraw %} c", "\u00a0{% if yes %}x{% endif %}",
    # As chat templates do
    "{%- for m in messages %}{{ '<|' + m.role + '|>\\n' + (m.content or '')|trim + '<|end|>\\n' }}{%- endfor %}", "{{ messages[2].content.split('</think>')[-1].lstrip('\\n') }}|{{ messages[2]['content'].split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') }}",
    "{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}{%- for message in messages[::-1] %}{%- set index = (messages|length - 1) - loop.index0 %}{%- if ns.multi_step_tool and message.role == 'user' and message.content is string and not (message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}{%- set ns.multi_step_tool = false %}{%- set ns.last_query_index = index %}{%- endif %}{%- endfor %}{{ ns.last_query_index }}",
    "{% if messages[0]['role'] == 'system' %}{% set system_message = messages[0]['content'] %}{% set loop_messages = messages[1:] %}{% else %}{% set loop_messages = messages %}{% endif %}{{ system_message }}{{ loop_messages|length }}", "{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}{{ date_string }}", "{{ enable_thinking is defined and enable_thinking is false }} {{ (enable_thinking|default(true)) }}",
    "{%- macro param(name, p) -%}<{{ name }}>{% for k in p if k not in ['type'] %}{{ k }}={{ p[k] if p[k] is string else p[k]|tojson }}{% endfor %}{%- endmacro -%}{% for name, p in schema.properties|items %}{{ param(name, p) }}{% endfor %}", "{{ {'a': true, 'b': none, 'c': 1.5}|string }} {{ [true]|first|string|lower }} {{ true|tojson|safe }}",
    "{{ messages|map(attribute='content')|select('string')|map('trim')|join(' / ') }}", "{%- set tool_names = ['a', 'b'] -%}{{ '\"' ~ tool_names|join('\", \"') ~ '\"' }}", "{%- for part in [{'type': 'text', 'text': 'x'}, {'type': 'image'}] -%}{%- if part.type == 'text' -%}{{ part['text'] | trim }}{%- else -%}<image>{%- endif -%}{%- endfor -%}", "{{ 'x' if messages[-1].content is none else messages[-1]['content'] }} {{ (messages|last).role }} {{ messages[-1]['role'] != 'assistant' }}",
]

CHAT_TEMPLATES = {
    "plain": """{{- bos_token }}{% for message in messages %}
{{ '<|' ~ message['role'] ~ '|>' }}
{{ message['content'] | trim }}{{ eos_token }}
{% endfor %}
{% if add_generation_prompt %}<|assistant|>
{% endif %}""",
    "strict": """{%- if messages[0].role == 'system' %}{% set system = messages[0].content %}{% set turns = messages[1:] %}{% else %}{% set turns = messages %}{% endif %}
{%- for message in turns %}
    {%- if (message.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate, found ' ~ message.role ~ ' at ' ~ loop.index) }}{% endif %}
    {%- if message.role == 'user' %}{{ '[INST] ' + (system + '\\n' if loop.first and system is defined else '') + message.content + ' [/INST]' }}
    {%- else %}{% generation %}{{ message.content + eos_token }}{% endgeneration %}{% endif %}
{%- endfor %}""",
    "tools": """{%- macro show(content) %}{% if content is string %}{{ content }}{% elif content is iterable %}{% for part in content %}{{ part.text if part.type == 'text' else '<' ~ part.type ~ '>' }}{% endfor %}{% endif %}{% endmacro %}
{%- set ns = namespace(last=-1) %}
{%- for message in messages %}{% if message.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}
{%- if tools %}<tools>{% for tool in tools %}

{{ tool.function | default(tool) | tojson(indent=2) }}{% endfor %}

</tools>{% endif %}
{%- for message in messages %}
<|{{ message.role }}|>
{%- if message.reasoning_content and (loop.index0 > ns.last or thinking) %}<think>{{ message.reasoning_content | trim }}</think>{% endif %}
{{- show(message.content) }}
{%- for call in message.tool_calls or [] %}<call name={{ call.function.name }}>{% for key, value in call.function.arguments.items() %}<{{ key }}>{{ value if value is string else value | tojson }}</{{ key }}>{% endfor %}</call>{% endfor %}
{%- endfor %}
{%- if add_generation_prompt %}<|assistant|>{{ '<think></think>' if enable_thinking is false }}{% endif %}""",
}
