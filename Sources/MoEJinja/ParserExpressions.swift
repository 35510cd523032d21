// SPDX-License-Identifier: Apache-2.0

extension Parser {
    var isTupleEnd: Bool {
        switch current.kind {
        case .variableEnd, .blockEnd, .symbol(.closeParenthesis): true
        default: false
        }
    }

    /// An expression, or several with commas between them: a tuple.
    mutating func tuple(hasConditionals: Bool = true, isInParentheses: Bool = false) throws(JinjaError) -> Expression {
        let offset = current.offset
        var elements: [Expression] = []
        var isTuple = false
        while true {
            if !elements.isEmpty { try expect(.comma) }
            if isTupleEnd { break }
            elements.append(try expression(hasConditionals: hasConditionals))
            guard isSymbol(.comma) else { break }
            isTuple = true
        }
        if !isTuple {
            if let first = elements.first { return first }
            guard isInParentheses else { throw unexpected("an expression") }
        }
        return Expression(kind: .tuple(elements), offset: offset)
    }

    mutating func expression(hasConditionals: Bool = true) throws(JinjaError) -> Expression {
        try nested { parser throws(JinjaError) in
            hasConditionals ? try parser.conditionalExpression() : try parser.disjunction()
        }
    }

    private mutating func conditionalExpression() throws(JinjaError) -> Expression {
        let offset = current.offset
        var arms: [(value: Expression, test: Expression)] = []
        let wasSoft = isSoft
        defer { isSoft = wasSoft }
        let known = unknownNames.count
        var value = try disjunction()
        // What stands beside an `if` may be unknown until it is reached.
        if isName("if") { unknownNames.removeSubrange(known...) }
        var levels = 0
        while skip(name: "if") {
            isSoft = true
            let test = try disjunction()
            if skip(name: "else") {
                arms.append((value, test))
                value = try disjunction()
            } else {
                // Without `else` what stands here so far is the value of the next `if`.
                levels += 1
                guard levels < 100 else { throw fail("nested deeper than 100 levels") }
                value = Expression(kind: .conditional([(value, test)], otherwise: nil), offset: offset)
            }
        }
        return arms.isEmpty ? value : Expression(kind: .conditional(arms, otherwise: value), offset: offset)
    }

    private mutating func disjunction() throws(JinjaError) -> Expression {
        let offset = current.offset
        var operands = [try conjunction()]
        while skip(name: "or") { operands.append(try conjunction()) }
        return operands.count == 1 ? operands[0] : Expression(kind: .or(operands), offset: offset)
    }

    private mutating func conjunction() throws(JinjaError) -> Expression {
        let offset = current.offset
        var operands = [try negation()]
        while skip(name: "and") { operands.append(try negation()) }
        return operands.count == 1 ? operands[0] : Expression(kind: .and(operands), offset: offset)
    }

    private mutating func negation() throws(JinjaError) -> Expression {
        let offset = current.offset
        guard skip(name: "not") else { return try comparison() }
        let operand = try nested { parser throws(JinjaError) in try parser.negation() }
        return Expression(kind: .not(operand), offset: offset)
    }

    private mutating func comparison() throws(JinjaError) -> Expression {
        let first = try sum()
        let offset = current.offset
        var rest: [(Expression.Comparison, Expression)] = []
        while let comparison = comparisonOperator() {
            advance()
            if comparison == .isNotIn { advance() }
            rest.append((comparison, try sum()))
        }
        return rest.isEmpty ? first : Expression(kind: .comparison(first, rest), offset: offset)
    }

    private func comparisonOperator() -> Expression.Comparison? {
        switch current.kind {
        case .symbol(let symbol): Expression.Comparison(rawValue: symbol.rawValue)
        case .name("in"): .isIn
        case .name("not") where next.kind == .name("in"): .isNotIn
        default: nil
        }
    }

    private func arithmetic(_ symbols: [Token.Symbol]) -> Expression.Arithmetic? {
        guard case .symbol(let symbol) = current.kind, symbols.contains(symbol) else { return nil }
        return Expression.Arithmetic(rawValue: symbol.rawValue)
    }

    private mutating func sum() throws(JinjaError) -> Expression {
        let first = try concatenation()
        let offset = current.offset
        var rest: [(Expression.Arithmetic, Expression)] = []
        while let operation = arithmetic([.add, .subtract]) {
            advance()
            rest.append((operation, try concatenation()))
        }
        return rest.isEmpty ? first : Expression(kind: .arithmetic(first, rest), offset: offset)
    }

    private mutating func concatenation() throws(JinjaError) -> Expression {
        let offset = current.offset
        var operands = [try product()]
        while skip(.concatenate) { operands.append(try product()) }
        return operands.count == 1 ? operands[0] : Expression(kind: .concatenation(operands), offset: offset)
    }

    private mutating func product() throws(JinjaError) -> Expression {
        let first = try power()
        let offset = current.offset
        var rest: [(Expression.Arithmetic, Expression)] = []
        while let operation = arithmetic([.multiply, .divide, .floorDivide, .modulo]) {
            advance()
            rest.append((operation, try power()))
        }
        return rest.isEmpty ? first : Expression(kind: .arithmetic(first, rest), offset: offset)
    }

    /// From the left to the right, unlike Python's.
    private mutating func power() throws(JinjaError) -> Expression {
        let first = try unary()
        let offset = current.offset
        var rest: [(Expression.Arithmetic, Expression)] = []
        while skip(.power) { rest.append((.power, try unary())) }
        return rest.isEmpty ? first : Expression(kind: .arithmetic(first, rest), offset: offset)
    }

    private mutating func unary(hasFilters: Bool = true) throws(JinjaError) -> Expression {
        let offset = current.offset
        let base: Expression
        if skip(.subtract) {
            let operand = try nested { parser throws(JinjaError) in try parser.unary(hasFilters: false) }
            base = Expression(kind: .negative(operand), offset: offset)
        } else if skip(.add) {
            let operand = try nested { parser throws(JinjaError) in try parser.unary(hasFilters: false) }
            base = Expression(kind: .positive(operand), offset: offset)
        } else {
            base = try primary()
        }
        var parts = try postfixes()
        while hasFilters {
            if isSymbol(.pipe) {
                parts += try filters()
            } else if isName("is") {
                parts.append(try test())
            } else if isSymbol(.openParenthesis) {
                parts.append(try call())
            } else {
                break
            }
        }
        return parts.isEmpty ? base : Expression(kind: .postfix(base, parts), offset: offset)
    }

    private mutating func primary() throws(JinjaError) -> Expression {
        let token = current
        let kind: Expression.Kind
        switch token.kind {
        case .name(let name):
            advance()
            switch name {
            case "true", "True": kind = .bool(true)
            case "false", "False": kind = .bool(false)
            case "none", "None": kind = .none
            default:
                noteRead(name)
                kind = .name(name)
            }
        case .string(let first):
            var string = first
            advance()
            while case .string(let more) = current.kind {
                string += more
                advance()
            }
            kind = .string(string)
        case .integer(let number):
            advance()
            kind = .integer(number)
        case .double(let number):
            advance()
            kind = .double(number)
        case .symbol(.openParenthesis):
            advance()
            let inner = try tuple(isInParentheses: true)
            try expect(.closeParenthesis)
            return inner
        case .symbol(.openBracket):
            advance()
            kind = .list(try list(until: .closeBracket))
        case .symbol(.openBrace): kind = .dictionary(try dictionary())
        default: throw unexpected("an expression")
        }
        return Expression(kind: kind, offset: token.offset)
    }

    private mutating func list(until end: Token.Symbol) throws(JinjaError) -> [Expression] {
        var elements: [Expression] = []
        while !isSymbol(end) {
            if !elements.isEmpty { try expect(.comma) }
            if isSymbol(end) { break }
            elements.append(try expression())
        }
        advance()
        return elements
    }

    private mutating func dictionary() throws(JinjaError) -> [(key: Expression, value: Expression)] {
        advance()
        var members: [(key: Expression, value: Expression)] = []
        while !isSymbol(.closeBrace) {
            if !members.isEmpty { try expect(.comma) }
            if isSymbol(.closeBrace) { break }
            let key = try expression()
            try expect(.colon)
            members.append((key, try expression()))
        }
        advance()
        return members
    }

    // MARK: What follows an operand

    private mutating func postfixes() throws(JinjaError) -> [Postfix] {
        var parts: [Postfix] = []
        while true {
            let offset = current.offset
            if skip(.dot) {
                switch current.kind {
                case .name(let name): parts.append(Postfix(kind: .attribute(name), offset: offset))
                case .integer(let number):
                    let index = Expression(kind: .integer(number), offset: current.offset)
                    parts.append(Postfix(kind: .item(index), offset: offset))
                default: throw unexpected("a name or a number")
                }
                advance()
            } else if skip(.openBracket) {
                parts.append(Postfix(kind: try subscripted(), offset: offset))
            } else if isSymbol(.openParenthesis) {
                parts.append(try call())
            } else {
                return parts
            }
        }
    }

    private mutating func subscripted() throws(JinjaError) -> Postfix.Kind {
        let offset = current.offset
        // Nothing between the brackets is the empty tuple.
        if skip(.closeBracket) { return .item(Expression(kind: .tuple([]), offset: offset)) }
        let first = try oneSubscript()
        guard isSymbol(.comma) else {
            try expect(.closeBracket)
            return first
        }
        var elements: [Expression] = []
        guard case .item(let element) = first else { throw fail("a slice in a tuple", at: offset) }
        elements.append(element)
        while !isSymbol(.closeBracket) {
            try expect(.comma)
            elements.append(try expression())
        }
        advance()
        return .item(Expression(kind: .tuple(elements), offset: offset))
    }

    private mutating func oneSubscript() throws(JinjaError) -> Postfix.Kind {
        var start: Expression?
        if !isSymbol(.colon) {
            let index = try expression()
            guard isSymbol(.colon) else { return .item(index) }
            start = index
        }
        advance()
        func isEnd(_ parser: Parser) -> Bool {
            parser.isSymbol(.colon) || parser.isSymbol(.closeBracket) || parser.isSymbol(.comma)
        }
        let stop = isEnd(self) ? nil : try expression()
        var step: Expression?
        if skip(.colon), !isEnd(self) { step = try expression() }
        return .slice(start: start, stop: stop, step: step)
    }

    private mutating func call() throws(JinjaError) -> Postfix {
        let offset = current.offset
        return Postfix(kind: .call(try arguments()), offset: offset)
    }

    mutating func filters() throws(JinjaError) -> [Postfix] {
        var result: [Postfix] = []
        while skip(.pipe) { result.append(try filter()) }
        return result
    }

    /// A filter's name and arguments.
    mutating func filter() throws(JinjaError) -> Postfix {
        let offset = current.offset
        let name = try dottedName()
        let arguments = isSymbol(.openParenthesis) ? try arguments() : ArgumentList()
        if Filters.table[name] == nil, !isSoft { unknownNames.append(fail("no filter named '\(name)'", at: offset)) }
        return Postfix(kind: .filter(name, arguments), offset: offset)
    }

    private mutating func dottedName() throws(JinjaError) -> String {
        var name = try expectName()
        while skip(.dot) { name += "." + (try expectName()) }
        return name
    }

    private mutating func test() throws(JinjaError) -> Postfix {
        advance()
        let isNegated = skip(name: "not")
        let offset = current.offset
        let name = try dottedName()
        var arguments = ArgumentList()
        switch current.kind {
        case .symbol(.openParenthesis): arguments = try self.arguments()
        case .name("else"), .name("or"), .name("and"): break
        case .name("is"): throw fail("tests cannot be chained with 'is'")
        case .name, .string, .integer, .double, .symbol(.openBracket), .symbol(.openBrace):
            let base = try nested { parser throws(JinjaError) in try parser.primary() }
            let parts = try postfixes()
            arguments.positional = [parts.isEmpty ? base : Expression(kind: .postfix(base, parts), offset: base.offset)]
        default: break
        }
        if Tests.table[name] == nil, !isSoft { unknownNames.append(fail("no test named '\(name)'", at: offset)) }
        return Postfix(kind: .test(name, arguments, isNegated: isNegated), offset: offset)
    }

    private mutating func arguments() throws(JinjaError) -> ArgumentList {
        let offset = current.offset
        try expect(.openParenthesis)
        var result = ArgumentList()
        var isFirst = true
        while !isSymbol(.closeParenthesis) {
            if !isFirst {
                try expect(.comma)
                if isSymbol(.closeParenthesis) { break }
            }
            isFirst = false
            let isSpread = result.spread != nil
            let isKeywordSpread = result.keywordSpread != nil
            if isSymbol(.multiply), !isSpread, !isKeywordSpread {
                advance()
                result.spread = try expression()
            } else if isSymbol(.power), !isKeywordSpread {
                advance()
                result.keywordSpread = try expression()
            } else if case .name(let name) = current.kind, next.kind == .symbol(.assign), !isKeywordSpread {
                if result.keywords.contains(where: { $0.name == name }) {
                    throw fail("argument '\(name)' stands twice")
                }
                advance()
                advance()
                result.keywords.append((name, try expression()))
            } else if !isSpread, !isKeywordSpread, result.keywords.isEmpty {
                result.positional.append(try expression())
            } else {
                throw fail("arguments in the wrong order", at: offset)
            }
        }
        advance()
        return result
    }
}
