// SPDX-License-Identifier: Apache-2.0

/// A Jinja2 template: parsed once, rendered as often as wanted, from any thread.
///
/// The language is that of Jinja2 3.1 as transformers sets it up for chat templates: `trim_blocks` and `lstrip_blocks`, the
/// immutable sandbox, loop controls, `tojson` without HTML escapes, `raise_exception`, `strftime_now`, `{% generation %}`.
/// Integers have 64 bits. There are no other templates, so `include`, `import` and `extends` are errors when they are reached.
public struct JinjaTemplate: Sendable {
    public let source: String
    private let program: Program
    private let limits: JinjaLimits

    /// - Throws: ``JinjaError`` for what is no template, with the place of the first thing that is wrong.
    public init(_ source: String, limits: JinjaLimits = JinjaLimits()) throws(JinjaError) {
        self.source = source
        self.limits = limits
        guard source.utf8.count <= limits.sourceSize else {
            throw JinjaError("longer than \(limits.sourceSize) bytes", line: 1, column: 1)
        }
        var lexer = Lexer(source)
        let tokens = try lexer.run()
        var parser = Parser(tokens, lines: lexer.lines, limits: limits)
        program = try parser.program()
    }

    /// - Parameters:
    ///   - variables: what the template's names mean; they hide the environment's functions.
    ///   - clock: what `strftime_now` shows.
    /// - Throws: ``JinjaError`` for what the template refuses (`raise_exception`; its text is the problem), what goes wrong in
    ///   it, and what goes beyond the limits.
    public func render(
        _ variables: JinjaObject = [:], clock: @escaping JinjaClock = JinjaDate.now
    ) throws(JinjaError) -> String {
        try Interpreter(program, variables: variables, limits: limits, clock: clock).run()
    }
}
