// SPDX-License-Identifier: Apache-2.0

import MoEJinja
import MoETestSupport
import Testing

/// Prevents: a template from a stranger's file that hangs, exhausts memory, or overruns the stack.
@Suite struct JinjaLimitsTests {
    /// Small, so that the tests are quick.
    private static let limits: JinjaLimits = {
        var limits = JinjaLimits()
        limits.steps = 400_000
        limits.outputSize = 1 << 20
        limits.liveSize = 8 << 20
        return limits
    }()

    @Test(arguments: [
        "{{ 'x' * 10**9 }}", "{{ 10**9 * [1] }}", "{{ 'x'.center(10**12) }}", "{{ 'x'.zfill(10**12) }}",
        "{{ '%*d' % (10**9, 1) }}",
        "{{ '%.1000000000f' % 1 }}", "{{ '{:1000000000}'.format(1) }}", "{{ '{:.1000000000f}'.format(1.5) }}",
        "{{ '{:{w}}'.format('a', w=10**10) }}", "{{ range(10**9)|list }}", "{{ 'a\\tb'.expandtabs(10**10) }}",
        "{{ 'x'|indent(10**10, true) }}",
        "{{ [1]|tojson(indent=10**10) }}", "{{ [1]|batch(10**10, 'x')|list }}", "{{ [1]|slice(10**8)|list }}",
        "{{ ('a' * 100000).replace('a', 'b' * 100000) }}",
        "{{ ('a' * 1000).replace('', 'b' * 100000) }}", "{{ 2 ** 10 ** 10 }}", "{{ 10 ** 400 }}",
        "{{ 9999999999 * 9999999999 }}",
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% for a in range(99999) %}{{ 'x' * 1000 }}{% endfor %}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "{% macro m(x) %}{{ m([x]) }}{% endmacro %}{{ m(1) }}",
        "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
        "{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s }}",
        "{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
        "{% set ns = namespace(l=[1]) %}{% for i in range(99) %}{% set ns.l = ns.l + ns.l %}{% endfor %}",
        "{% set ns = namespace(l=[]) %}{% for i in range(99999) %}{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l }}",
        "{% set ns = namespace(l=[]) %}{% for i in range(99999) %}{% set ns.l = {'a': ns.l} %}{% endfor %}{{ ns.l|tojson }}",
        "{% set ns = namespace(l=[1]) %}{% for i in range(99) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l }}",
        "{% set ns = namespace(l=[1]) %}{% for i in range(99) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l|tojson }}",
        "{% set a = namespace(l=[1]) %}{% set b = namespace(l=[1]) %}{% for i in range(99) %}{% set a.l = [a.l, a.l] %}{% set b.l = [b.l, b.l] %}{% endfor %}{{ a.l == b.l }}",
        "{% set ns = namespace(l=(1,)) %}{% for i in range(99) %}{% set ns.l = (ns.l, ns.l) %}{% endfor %}{{ {ns.l: 1} }}",
        "{% set ns = namespace(l=[1]) %}{% for i in range(99999) %}{% set ns.l = ns.l|map('string') %}{% endfor %}{{ ns.l|list }}",
        "{% set ns = namespace(l=[1]) %}{% for i in range(99999) %}{% set ns.l = cycler(ns.l) %}{% endfor %}",
        "{% set ns = namespace(l='') %}{% for i in range(99999) %}{% set ns.l = [ns.l, 'x' * 1000] %}{% endfor %}",
        "{% set ns = namespace(l=[]) %}{% for i in range(99999) %}{% set ns.l = ns.l + ['x' * 1000] %}{% endfor %}",
        "{% set ns = namespace() %}{% set ns.a = ns %}{% for i in range(99999) %}{% set x = namespace(a=ns.a) %}{% set ns.a = x %}{% endfor %}{{ ns }}",
        "{% set x = 'ab' * 100000 %}{% for i in range(99999) %}{{ x|length ~ x[i:] is none }}{% endfor %}",
        "{% set x = 'ab' * 100000 %}{% for i in range(99999) %}{% if x.find('ba' * 50000 ~ 'c') %}{% endif %}{% endfor %}",
        "{% set x = range(50000)|list %}{% for i in x %}{% if -1 in x %}{% endif %}{% endfor %}",
        "{% filter upper %}{% for i in range(99999) %}{{ 'x' * 1000 }}{% endfor %}{% endfilter %}",
        "{% set x %}{% for i in range(99999) %}{{ 'x' * 1000 }}{% endfor %}{% endset %}",
        "{{ range(99999)|map('string')|join('x' * 10000) }}", "{{ (range(99999)|list|string * 10)|length }}",
    ])
    func refuses(source: String) throws {
        let template = try JinjaTemplate(source, limits: Self.limits)
        let error = #expect(throws: JinjaError.self) { try template.render() }
        #expect(error?.problem.contains("\n") == false)
    }

    @Test(arguments: [
        ("(", ")"), ("[", "]"), ("{1:", "}"), ("not ", ""), ("-", ""), ("f(", ")"), ("x[", "]"), ("x if ", ""),
        ("1 if x else (", ")"), ("x|f(", ")"),
        ("x is eq(", ")"), ("1 in (", ")"), ("2 ** (", ")"),
    ])
    func refusesDeepExpressions(begin: String, end: String) {
        let source =
            "{{ " + String(repeating: begin, count: 10_000) + "1" + String(repeating: end, count: 10_000) + " }}"
        #expect(throws: JinjaError.self) { try JinjaTemplate(source) }
    }

    @Test(arguments: [
        "{% if 1 %}", "{% for x in y %}", "{% set x %}", "{% macro m() %}", "{% call m() %}", "{% filter f %}",
        "{% with %}", "{% generation %}",
    ])
    func refusesDeepStatements(begin: String) {
        #expect(throws: JinjaError.self) { try JinjaTemplate(String(repeating: begin, count: 10_000)) }
    }

    /// Long is not deep: chains of any length are read and run.
    @Test func longChains() throws {
        func chain(_ item: String, _ separator: String) -> String {
            "{{ " + [String](repeating: item, count: 5000).joined(separator: separator) + " }}"
        }
        #expect(try JinjaTemplate(chain("1", " + ")).render() == "5000")
        #expect(try JinjaTemplate(chain("'a'", " ~ ")).render().count == 5000)
        #expect(try JinjaTemplate(chain("1", " and ")).render() == "1")
        #expect(try JinjaTemplate(chain("1", " == ")).render() == "True")
        #expect(try JinjaTemplate("{{ 'a'" + String(repeating: "|upper", count: 5000) + " }}").render() == "A")
        let branches = String(repeating: "{% elif false %}", count: 5000)
        #expect(try JinjaTemplate("{% if false %}" + branches + "{% else %}x{% endif %}").render() == "x")
        #expect(try JinjaTemplate("{{ " + String(repeating: "0 if false else ", count: 5000) + "1 }}").render() == "1")
    }

    /// As deep as Python goes.
    @Test func deepEnough() throws {
        let nested = "{{ " + String(repeating: "(", count: 60) + "1" + String(repeating: ")", count: 60) + " }}"
        #expect(try JinjaTemplate(nested).render() == "1")
        let recursive = "{% macro m(n) %}{% if n > 0 %}{{ m(n - 1) }}{% else %}end{% endif %}{% endmacro %}{{ m(20) }}"
        #expect(try JinjaTemplate(recursive).render() == "end")
    }

    /// A namespace that holds itself is shown, and does not stay in memory.
    @Test func cycles() throws {
        #expect(
            try JinjaTemplate("{% set a = namespace(x=1) %}{% set a.me = [a] %}{{ a }}").render()
                == "<Namespace {'x': 1, 'me': [<Namespace {...}>]}>")
    }

    /// Whatever damage is done to a template, the answer is text or an error.
    @Test func mutations() throws {
        let original =
            #"{%- set ns = namespace(a=1) -%}{% for m in messages if m.role != 'x' %}{{ loop.index ~ m['content'][1:-1]|upper }}{% else %}"#
            + #"{% raw %}{{ }}{% endraw %}{% endfor %}{% macro f(a, b='c') %}{{ caller(a) }}{% endmacro %}{% call(x) f(1) %}{{ x ** 2 // 3 }}"#
            + #"{% endcall %}{# c #}{{ '%s-%05d' % ('a', 5) }}{{ '{:>5}|{}'.format(1, 2) }}{{ {'a': [1, (2, 3)]}|tojson(indent=2) }}{% if not x is defined and 1 < 2 %}é{% endif %}"#
        let pieces: [[Unicode.Scalar]] = [
            "{%", "%}", "{{", "}}", "{#", "#}", "(", ")", "[", "]", "{", "}", "'", "\"", "\\", "|", ".", ",", ":", "-", "*",
            "**", "~", "9", "é", "\n",
            " in ", " is ", " if ", " not ", "loop", "range(9)", "messages", "%", "|list", "|map('upper')", "_", "\u{0}",
            "=", "end",
        ].map { Array($0.unicodeScalars) }
        var random = SplitMix64(state: 3)
        func below(_ limit: Int) -> Int { Int(random.next() % UInt64(limit)) }
        let messages: JinjaValue = [["role": "user", "content": "Hello"], ["role": "x", "content": "é"]]
        var rendered = 0
        for _ in 0..<2000 {
            var text = Array(original.unicodeScalars)
            for _ in 0...below(2) {
                let position = below(text.count)
                switch below(3) {
                case 0:
                    text.replaceSubrange(position..<min(position + below(9), text.count), with: pieces[below(pieces.count)])
                case 1: text.insert(contentsOf: pieces[below(pieces.count)], at: position)
                default:
                    let start = below(text.count)
                    text.insert(
                        contentsOf: text[min(start, position)..<min(max(start, position), min(start, position) + 40)],
                        at: position)
                }
            }
            var source = String.UnicodeScalarView()
            source.append(contentsOf: text)
            if (try? JinjaTemplate(String(source), limits: Self.limits).render(["messages": messages])) != nil {
                rendered += 1
            }
        }
        // Otherwise the mutants are too weak or too strong.
        #expect(rendered > 50 && rendered < 1500, "\(rendered) rendered")
    }
}
