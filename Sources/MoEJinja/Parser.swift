// SPDX-License-Identifier: Apache-2.0

/// Recursive descent over the tokens. Statements are in this file, expressions in an extension.
struct Parser {
    private let tokens: [Token]
    private let lines: LineTable
    private let limits: JinjaLimits
    private var index = 0
    private var depth = 0
    private var blocks: [String: [Statement]] = [:]
    private var openTags: [String] = []
    /// Loops around this place whose body it can leave.
    private var breakableLoops = 0
    /// Loops around this place, whatever lies between.
    private var loops = 0
    /// Whether an unknown filter or test is an error only when it is reached: directly in an `if`.
    var isSoft = false
    /// Unknown filters and tests elsewhere.
    var unknownNames: [JinjaError] = []
    /// For each macro around: which of its special names were read before they were set, and which were set.
    private var specialNames: [(read: Set<String>, stored: Set<String>)] = []

    init(_ tokens: [Token], lines: LineTable, limits: JinjaLimits) {
        self.tokens = tokens
        self.lines = lines
        self.limits = limits
    }

    mutating func program() throws(JinjaError) -> Program {
        let body = try statements(until: [])
        if let error = unknownNames.first { throw error }
        return Program(body: body, blocks: blocks, lines: lines)
    }

    // MARK: Tokens

    var current: Token { tokens[index] }
    var next: Token { tokens[min(index + 1, tokens.count - 1)] }

    mutating func advance() { if index < tokens.count - 1 { index += 1 } }

    func fail(_ problem: String, at offset: Int? = nil) -> JinjaError {
        lines.error(problem, at: offset ?? current.offset)
    }

    func isName(_ name: String) -> Bool { current.kind == .name(name) }
    func isSymbol(_ symbol: Token.Symbol) -> Bool { current.kind == .symbol(symbol) }

    mutating func skip(name: String) -> Bool {
        guard isName(name) else { return false }
        advance()
        return true
    }

    mutating func skip(_ symbol: Token.Symbol) -> Bool {
        guard isSymbol(symbol) else { return false }
        advance()
        return true
    }

    mutating func expect(_ symbol: Token.Symbol) throws(JinjaError) {
        guard skip(symbol) else { throw unexpected("'\(symbol.rawValue)'") }
    }

    mutating func expect(name: String) throws(JinjaError) {
        guard skip(name: name) else { throw unexpected("'\(name)'") }
    }

    mutating func expectName() throws(JinjaError) -> String {
        guard case .name(let name) = current.kind else { throw unexpected("a name") }
        advance()
        return name
    }

    private mutating func expect(_ kind: Token.Kind) throws(JinjaError) {
        guard current.kind == kind else { throw unexpected("'\(Token(kind: kind, offset: 0).text)'") }
        advance()
    }

    func unexpected(_ expected: String) -> JinjaError { fail("expected \(expected), found \(current.text)") }

    /// Runs `body` one level deeper.
    mutating func nested<Result>(
        _ body: (inout Parser) throws(JinjaError) -> Result
    ) throws(JinjaError) -> Result {
        guard depth < limits.sourceDepth else { throw fail("nested deeper than \(limits.sourceDepth) levels") }
        depth += 1
        defer { depth -= 1 }
        return try body(&self)
    }

    // MARK: Names with a meaning in macros

    private static let special: Set<String> = ["caller", "kwargs", "varargs"]

    mutating func noteRead(_ name: String) {
        guard Self.special.contains(name) else { return }
        for macro in specialNames.indices where !specialNames[macro].stored.contains(name) {
            specialNames[macro].read.insert(name)
        }
    }

    private mutating func noteStored(_ name: String) {
        guard Self.special.contains(name) else { return }
        for macro in specialNames.indices { specialNames[macro].stored.insert(name) }
    }

    // MARK: Statements

    /// Up to one of the tags that end the block, whose name is the current token then; of the whole template if there are none.
    private mutating func statements(until ends: [String]) throws(JinjaError) -> [Statement] {
        var result: [Statement] = []
        while true {
            let offset = current.offset
            switch current.kind {
            case .data(let text):
                result.append(Statement(kind: .text(text), offset: offset))
                advance()
            case .variableBegin:
                advance()
                let expression = try tuple()
                try expect(.variableEnd)
                result.append(Statement(kind: .output([expression]), offset: offset))
            case .blockBegin:
                advance()
                if case .name(let name) = current.kind, ends.contains(name) { return result }
                let kind = try nested { parser throws(JinjaError) in try parser.statement() }
                if let kind { result.append(Statement(kind: kind, offset: offset)) }
                try expect(.blockEnd)
            case .end:
                guard let tag = openTags.last else { return result }
                let wanted = ends.map { "'\($0)'" }.joined(separator: " or ")
                throw fail("the template ends inside '\(tag)', without \(wanted)")
            default: throw unexpected("text or a tag")
            }
        }
    }

    /// The body of a tag: from its `%}` to one of `ends`, whose name is the current token then.
    private mutating func body(until ends: String...) throws(JinjaError) -> [Statement] {
        _ = skip(.colon)
        try expect(.blockEnd)
        return try statements(until: ends)
    }

    /// The same for a tag with one end, which is passed over; a filter that is not known is an error at once.
    private mutating func hardBody(until end: String) throws(JinjaError) -> [Statement] {
        let wasSoft = isSoft
        isSoft = false
        let result = try body(until: end)
        isSoft = wasSoft
        advance()
        return result
    }

    private mutating func statement() throws(JinjaError) -> Statement.Kind? {
        guard case .name(let tag) = current.kind else { throw unexpected("a tag's name") }
        let offset = current.offset
        advance()
        openTags.append(tag)
        defer { openTags.removeLast() }
        switch tag {
        case "for": return try loop()
        case "if": return try conditional()
        case "set": return try set()
        case "macro": return try macro()
        case "call": return try callBlock(at: offset)
        case "filter": return try filterBlock()
        case "with": return try with()
        case "print": return try printed()
        case "block": return try block()
        case "autoescape":
            let expression = try expression()
            return .autoescape(expression, body: try hardBody(until: "endautoescape"))
        case "generation":
            let loops = breakableLoops
            breakableLoops = 0
            defer { breakableLoops = loops }
            return .generation(try hardBody(until: "endgeneration"))
        case "break", "continue":
            guard breakableLoops > 0 else { throw fail("'\(tag)' outside of a loop", at: offset) }
            return tag == "break" ? .breakLoop : .continueLoop
        case "include", "import", "from", "extends": return try foreign(tag)
        default:
            openTags.removeLast()
            let around = openTags.last
            openTags.append(tag)
            throw fail("unknown tag '\(tag)'" + (around.map { " inside '\($0)'" } ?? ""), at: offset)
        }
    }

    /// The template cannot have others; the rest of the tag is passed over.
    private mutating func foreign(_ tag: String) throws(JinjaError) -> Statement.Kind {
        let expression = try expression()
        _ = expression
        while current.kind != .blockEnd {
            switch current.kind {
            case .name, .symbol(.comma): advance()
            default: throw unexpected("'%}'")
            }
        }
        return .foreign(tag)
    }

    private mutating func loop() throws(JinjaError) -> Statement.Kind {
        loops += 1
        defer { loops -= 1 }
        let target = try target()
        try expect(name: "in")
        let iterable = try tuple(hasConditionals: false)
        let wasSoft = isSoft
        isSoft = false
        defer { isSoft = wasSoft }
        let test = skip(name: "if") ? try expression() : nil
        let isRecursive = skip(name: "recursive")
        breakableLoops += 1
        let body = try body(until: "endfor", "else")
        breakableLoops -= 1
        var otherwise: [Statement] = []
        if isName("else") {
            advance()
            otherwise = try self.body(until: "endfor")
        }
        advance()
        return .loop(
            Statement.Loop(
                target: target, iterable: iterable, test: test, isRecursive: isRecursive, body: body, otherwise: otherwise))
    }

    private mutating func conditional() throws(JinjaError) -> Statement.Kind {
        let wasSoft = isSoft
        isSoft = true
        defer { isSoft = wasSoft }
        var branches: [(test: Expression, body: [Statement])] = []
        while true {
            let test = try tuple(hasConditionals: false)
            branches.append((test, try body(until: "elif", "else", "endif")))
            if skip(name: "elif") { continue }
            var otherwise: [Statement] = []
            if isName("else") {
                advance()
                otherwise = try body(until: "endif")
            }
            advance()
            return .conditional(branches, otherwise: otherwise)
        }
    }

    private mutating func set() throws(JinjaError) -> Statement.Kind {
        let target = try target(hasNamespaces: true)
        if skip(.assign) { return .set(target, try tuple()) }
        let filters = try filters()
        return .setBlock(target, filters: filters, body: try hardBody(until: "endset"))
    }

    private mutating func filterBlock() throws(JinjaError) -> Statement.Kind {
        let wasSoft = isSoft
        isSoft = false
        var filters = [try filter()]
        filters += try self.filters()
        isSoft = wasSoft
        return .filterBlock(filters, body: try hardBody(until: "endfilter"))
    }

    private mutating func with() throws(JinjaError) -> Statement.Kind {
        var assignments: [(target: Target, value: Expression)] = []
        while current.kind != .blockEnd {
            if !assignments.isEmpty { try expect(.comma) }
            let target = try target()
            try expect(.assign)
            assignments.append((target, try expression()))
        }
        return .with(assignments, body: try hardBody(until: "endwith"))
    }

    private mutating func printed() throws(JinjaError) -> Statement.Kind {
        var expressions: [Expression] = []
        while current.kind != .blockEnd {
            if !expressions.isEmpty { try expect(.comma) }
            expressions.append(try expression())
        }
        return .output(expressions)
    }

    private mutating func block() throws(JinjaError) -> Statement.Kind {
        let offset = current.offset
        let name = try expectName()
        let isScoped = skip(name: "scoped")
        let isRequired = skip(name: "required")
        guard blocks[name] == nil else { throw fail("block '\(name)' is defined twice", at: offset) }
        // So that a block of this name inside is found.
        blocks[name] = []
        let (outerLoops, outerNames) = (breakableLoops, specialNames)
        (breakableLoops, specialNames) = (0, [])
        let body = try hardBody(until: "endblock")
        (breakableLoops, specialNames) = (outerLoops, outerNames)
        if isRequired {
            throw fail("a required block, which no other template can fill", at: offset)
        }
        blocks[name] = body
        _ = skip(name: name)
        return .block(name: name, isScoped: isScoped)
    }

    // MARK: Macros

    private mutating func macro() throws(JinjaError) -> Statement.Kind {
        let offset = current.offset
        guard case .name(let name, _) = try nameTarget() else { throw fail("expected a name", at: offset) }
        return .macro(try macroBody(name: name, hasSignature: true, end: "endmacro"))
    }

    private mutating func callBlock(at offset: Int) throws(JinjaError) -> Statement.Kind {
        var signature: [(name: String, fallback: Expression?)] = []
        specialNames.append(([], []))
        if isSymbol(.openParenthesis) { signature = try self.signature() }
        // The call itself is not of the body.
        let inner = specialNames.removeLast()
        let callee = try expression()
        guard case .postfix(let base, let parts) = callee.kind, let last = parts.last,
            case .call(let arguments) = last.kind
        else { throw fail("expected a call", at: offset) }
        let rest = Array(parts.dropLast())
        let function = rest.isEmpty ? base : Expression(kind: .postfix(base, rest), offset: callee.offset)
        specialNames.append(inner)
        let body = try macroBody(name: nil, signature: signature, end: "endcall")
        return .callBlock(
            callee: Expression(kind: function.kind, offset: last.offset), arguments: arguments, body: body)
    }

    private mutating func macroBody(
        name: String?, hasSignature: Bool, end: String
    ) throws(JinjaError) -> Statement.Macro {
        specialNames.append(([], []))
        return try macroBody(name: name, signature: try signature(), end: end)
    }

    /// `specialNames` has the macro's entry; it is removed.
    private mutating func macroBody(
        name: String?, signature: [(name: String, fallback: Expression?)], end: String
    ) throws(JinjaError) -> Statement.Macro {
        let offset = current.offset
        let outerLoops = breakableLoops
        breakableLoops = 0
        // Only what the body reads counts, not defaults.
        specialNames[specialNames.count - 1].read = []
        let body = try hardBody(until: end)
        breakableLoops = outerLoops
        var uses = specialNames.removeLast().read
        for parameter in signature where Self.special.contains(parameter.name) {
            if parameter.name == "caller", uses.contains("caller"), parameter.fallback == nil {
                throw fail("the parameter 'caller' needs a default", at: offset)
            }
            if parameter.name != "caller" { uses.remove(parameter.name) }
        }
        return Statement.Macro(name: name, parameters: signature, body: body, uses: uses)
    }

    private mutating func signature() throws(JinjaError) -> [(name: String, fallback: Expression?)] {
        let wasSoft = isSoft
        isSoft = false
        defer { isSoft = wasSoft }
        try expect(.openParenthesis)
        var result: [(name: String, fallback: Expression?)] = []
        while !isSymbol(.closeParenthesis) {
            if !result.isEmpty { try expect(.comma) }
            let offset = current.offset
            guard case .name(let name, _) = try nameTarget(isParameter: true) else {
                throw fail("expected a name", at: offset)
            }
            if result.contains(where: { $0.name == name }) { throw fail("parameter '\(name)' stands twice", at: offset) }
            if skip(.assign) {
                result.append((name, try expression()))
            } else if result.last?.fallback != nil {
                throw fail("a parameter without a default after one with a default", at: offset)
            } else {
                result.append((name, nil))
            }
        }
        advance()
        return result
    }

    // MARK: Targets

    private func check(target name: String, at offset: Int) throws(JinjaError) {
        if ["true", "false", "none", "True", "False", "None"].contains(name) {
            throw fail("cannot assign to '\(name)'", at: offset)
        }
    }

    private mutating func nameTarget(isParameter: Bool = false) throws(JinjaError) -> Target {
        let offset = current.offset
        let name = try expectName()
        try check(target: name, at: offset)
        if !isParameter { noteStored(name) }
        return .name(name, offset: offset)
    }

    /// A name, names with commas between them, or with `hasNamespaces` also `namespace.name`.
    private mutating func target(hasNamespaces: Bool = false) throws(JinjaError) -> Target {
        let offset = current.offset
        var targets: [Target] = []
        var isTuple = false
        while true {
            if !targets.isEmpty { try expect(.comma) }
            if isTupleEnd { break }
            targets.append(try singleTarget(hasNamespaces: hasNamespaces))
            guard isSymbol(.comma) else { break }
            isTuple = true
        }
        if isTuple { return .tuple(targets, offset: offset) }
        guard let target = targets.first else { throw unexpected("a name to assign to") }
        return target
    }

    private mutating func singleTarget(hasNamespaces: Bool) throws(JinjaError) -> Target {
        let offset = current.offset
        if case .name(let name) = current.kind {
            try check(target: name, at: offset)
            advance()
            if hasNamespaces, skip(.dot) { return .member(namespace: name, name: try expectName(), offset: offset) }
            try store(name, at: offset)
            return .name(name, offset: offset)
        }
        guard isSymbol(.openParenthesis) else { throw fail("cannot assign to \(current.text)") }
        return try nested { parser throws(JinjaError) in
            parser.advance()
            let expression = try parser.tuple(isInParentheses: true)
            try parser.expect(.closeParenthesis)
            return try parser.target(of: expression)
        }
    }

    private mutating func store(_ name: String, at offset: Int) throws(JinjaError) {
        if name == "loop", loops > 0 { throw fail("cannot assign to 'loop' in a loop", at: offset) }
        noteStored(name)
    }

    private mutating func target(of expression: Expression) throws(JinjaError) -> Target {
        switch expression.kind {
        case .name(let name):
            try store(name, at: expression.offset)
            return .name(name, offset: expression.offset)
        case .tuple(let elements):
            var targets: [Target] = []
            for element in elements { targets.append(try target(of: element)) }
            return .tuple(targets, offset: expression.offset)
        default: throw fail("cannot assign to an expression", at: expression.offset)
        }
    }
}
