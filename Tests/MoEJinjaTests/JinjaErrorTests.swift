// SPDX-License-Identifier: Apache-2.0

import MoEJinja
import Testing

/// Prevents: an error that points elsewhere.
@Suite struct JinjaErrorTests {
    private static func problem(_ source: String, _ variables: JinjaObject = [:]) -> JinjaError? {
        do throws(JinjaError) {
            _ = try JinjaTemplate(source).render(variables)
            return nil
        } catch { return error }
    }

    @Test(arguments: [
        ("{{ a b }}", 1, 6), ("x\ny {{ 1 + }}", 2, 10), ("{% if x %}\n\n", 2, 1), ("{% for x in y %}{% endif %}", 1, 20),
        ("é😀{{ ! }}", 1, 6), ("a\r\nb\rc {{ 'x }}", 3, 6), ("{# c", 1, 1), ("{% foo %}", 1, 4), ("{{ x|nofilter }}", 1, 6),
        ("{{ (1 }}", 1, 7), ("{% set loop %}", 1, 15), ("\n\n  {%- raw %}x", 3, 3), ("{{ '\\ud800' }}", 1, 5),
        ("{{ 99999999999999999999 }}", 1, 4),
    ])
    func syntax(source: String, line: Int, column: Int) throws {
        let error = try #require(Self.problem(source))
        #expect((error.line, error.column) == (line, column), "\(error)")
        #expect(!error.description.contains("\n"))
        #expect(throws: JinjaError.self) { try JinjaTemplate(source) }
    }

    @Test(arguments: [
        ("{{ x.y.z }}", 1, 7, "'dict object' has no attribute 'y'"),
        ("a\n{{ 1 + 'a' }}", 2, 6, "unsupported operand types"),
        ("{% for m in 5 %}{% endfor %}", 1, 13, "'int' object is not iterable"),
        ("{% if true %}\n  {{ raise_exception('No way') }}{% endif %}", 2, 21, "No way"),
        ("{% macro m() %}\n{{ 1/0 }}{% endmacro %}{{ m() }}", 2, 5, "division by zero"),
        ("{{ none|length }}", 1, 9, "object of type 'NoneType' has no len()"),
        ("{% set a, b = [1] %}", 1, 8, "not enough values"),
        ("{{ missing }}{{ missing.x }}", 1, 24, "'missing' is undefined"), ("{% include 'a' %}", 1, 1, "there are none"),
    ])
    func running(source: String, line: Int, column: Int, text: String) throws {
        let template = try JinjaTemplate(source)
        let error = #expect(throws: JinjaError.self) { try template.render(["x": ["a": 1]]) }
        #expect(error?.line == line && error?.column == column, "\(String(describing: error))")
        #expect(error?.problem.contains(text) == true, "\(String(describing: error))")
    }

    /// What clients and the command line show is one line.
    @Test func variablesHideFunctions() throws {
        #expect(try JinjaTemplate("{{ range }}").render(["range": 5]) == "5")
        #expect(try JinjaTemplate("{{ a }}{{ b }}").render(["a": "1"]) == "1")
    }
}
