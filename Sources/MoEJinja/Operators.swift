// SPDX-License-Identifier: Apache-2.0

extension Interpreter {
    func isTrue(_ value: Value) -> Bool {
        switch value {
        case .undefined, .none: false
        case .bool(let flag): flag
        case .integer(let number): number != 0
        case .double(let number): number != 0
        case .string(let text): !text.string.isEmpty
        case .list(let elements), .tuple(let elements): !elements.items.isEmpty
        case .dictionary(let members): members.count > 0
        case .object(let range as RangeObject): range.count > 0
        case .object(let view as DictionaryView): view.members.count > 0
        case .object: true
        }
    }

    private func unsupported(_ operation: String, _ left: Value, _ right: Value) -> JinjaError {
        for case .undefined(let undefined) in [left, right] { return fail(undefined.message) }
        return fail("unsupported operand types for \(operation): '\(left.typeName)' and '\(right.typeName)'")
    }

    private var overflow: JinjaError { fail("an integer beyond 64 bits") }

    func negative(_ value: Value) throws(JinjaError) -> Value {
        switch value {
        case .double(let number): return .double(-number)
        case .undefined(let undefined): throw fail(undefined.message)
        default:
            guard let number = value.asInteger else { throw fail("bad operand type for unary -: '\(value.typeName)'") }
            guard number != .min else { throw overflow }
            return .integer(-number)
        }
    }

    func positive(_ value: Value) throws(JinjaError) -> Value {
        switch value {
        case .double: return value
        case .undefined(let undefined): throw fail(undefined.message)
        default:
            guard let number = value.asInteger else { throw fail("bad operand type for unary +: '\(value.typeName)'") }
            return .integer(number)
        }
    }

    // MARK: Arithmetic

    func arithmetic(_ operation: Expression.Arithmetic, _ left: Value, _ right: Value) throws(JinjaError) -> Value {
        if case .string(let text) = left, operation == .modulo { return try printf(text, right) }
        if let a = left.asInteger, let b = right.asInteger { return try integers(operation, a, b) }
        if let a = left.asNumber, let b = right.asNumber { return .double(try doubles(operation, a, b)) }
        switch operation {
        case .add: return try sum(left, right)
        case .multiply:
            if let count = right.asInteger, let product = try repeated(left, count) { return product }
            if let count = left.asInteger, let product = try repeated(right, count) { return product }
        default: break
        }
        throw unsupported(operation.rawValue, left, right)
    }

    private func integers(_ operation: Expression.Arithmetic, _ a: Int, _ b: Int) throws(JinjaError) -> Value {
        func checked(_ result: (partialValue: Int, overflow: Bool)) throws(JinjaError) -> Value {
            if result.overflow { throw overflow }
            return .integer(result.partialValue)
        }
        switch operation {
        case .add: return try checked(a.addingReportingOverflow(b))
        case .subtract: return try checked(a.subtractingReportingOverflow(b))
        case .multiply: return try checked(a.multipliedReportingOverflow(by: b))
        case .divide:
            guard b != 0 else { throw fail("division by zero") }
            return .double(Double(a) / Double(b))
        case .floorDivide, .modulo:
            guard b != 0 else { throw fail("integer division or modulo by zero") }
            guard a != .min || b != -1 else { throw overflow }
            var (quotient, remainder) = a.quotientAndRemainder(dividingBy: b)
            if remainder != 0, (remainder < 0) != (b < 0) { (quotient, remainder) = (quotient - 1, remainder + b) }
            return .integer(operation == .modulo ? remainder : quotient)
        case .power:
            if b < 0 { return .double(try doubles(.power, Double(a), Double(b))) }
            var (result, base, exponent) = (1, a, b)
            while exponent > 0 {
                if exponent & 1 == 1 {
                    let (product, isOverflow) = result.multipliedReportingOverflow(by: base)
                    if isOverflow { throw overflow }
                    result = product
                }
                exponent >>= 1
                if exponent > 0 {
                    let (square, isOverflow) = base.multipliedReportingOverflow(by: base)
                    if isOverflow { throw overflow }
                    base = square
                }
            }
            return .integer(result)
        }
    }

    private func doubles(_ operation: Expression.Arithmetic, _ a: Double, _ b: Double) throws(JinjaError) -> Double {
        switch operation {
        case .add: return a + b
        case .subtract: return a - b
        case .multiply: return a * b
        case .divide:
            guard b != 0 else { throw fail("float division by zero") }
            return a / b
        case .modulo, .floorDivide:
            guard b != 0 else { throw fail("float modulo by zero") }
            var remainder = a.truncatingRemainder(dividingBy: b)
            var quotient = (a - remainder) / b
            if remainder != 0 {
                if (b < 0) != (remainder < 0) { (remainder, quotient) = (remainder + b, quotient - 1) }
            } else {
                remainder = Double(signOf: b, magnitudeOf: 0)
            }
            if operation == .modulo { return remainder }
            guard quotient != 0 else { return Double(signOf: a / b, magnitudeOf: 0) }
            let floor = quotient.rounded(.down)
            return quotient - floor > 0.5 ? floor + 1 : floor
        case .power:
            if a == 0, b < 0 { throw fail("0.0 cannot be raised to a negative power") }
            if a < 0, a.isFinite, b.isFinite, b != b.rounded(.towardZero) { throw fail("a complex number") }
            let result = PythonNumber.power(a, b)
            if result.isInfinite, a.isFinite, b.isFinite { throw fail("numerical result out of range") }
            return result
        }
    }

    private func sum(_ left: Value, _ right: Value) throws(JinjaError) -> Value {
        switch (left, right) {
        case (.string(let a), .string(let b)):
            try willMake(a.byteCount + b.byteCount)
            guard a.isMarkup || b.isMarkup else { return try text(a.string + b.string) }
            return try text(try escaped(a) + (try escaped(b)), isMarkup: true)
        case (.list(let a), .list(let b)):
            try spend(a.items.count + b.items.count)
            return try list(a.items + b.items)
        case (.tuple(let a), .tuple(let b)):
            try spend(a.items.count + b.items.count)
            return try tuple(a.items + b.items)
        default: throw unsupported("+", left, right)
        }
    }

    private func escaped(_ text: Text) throws(JinjaError) -> String {
        text.isMarkup ? text.string : try escapeHTML(text.string)
    }

    private func repeated(_ value: Value, _ count: Int) throws(JinjaError) -> Value? {
        let count = max(count, 0)
        func checkedSize(_ size: Int) throws(JinjaError) {
            let (product, isOverflow) = size.multipliedReportingOverflow(by: count)
            try willMake(isOverflow ? .max : product)
        }
        switch value {
        case .string(let text):
            try checkedSize(text.byteCount)
            return try self.text(String(repeating: text.string, count: count), isMarkup: text.isMarkup)
        case .list(let elements), .tuple(let elements):
            try checkedSize(elements.items.count * 32)
            let items = Array(repeatElement(elements.items, count: elements.items.isEmpty ? 0 : count).joined())
            if case .list = value { return try list(items) }
            return try tuple(items)
        default: return nil
        }
    }

    func concatenation(_ values: [Value]) throws(JinjaError) -> Value {
        var hasMarkup = false
        if usesMarkup {
            for case .string(let text) in values where text.isMarkup { hasMarkup = true }
        }
        var result = ""
        for value in values {
            let piece = try string(value)
            try willMake(result.utf8.count + piece.utf8.count)
            if hasMarkup, value.asText?.isMarkup != true { result += try escapeHTML(piece) } else { result += piece }
        }
        return try text(result, isMarkup: hasMarkup)
    }

    // MARK: Comparison

    func compare(_ comparison: Expression.Comparison, _ left: Value, _ right: Value) throws(JinjaError) -> Bool {
        switch comparison {
        case .equal: try areEqual(left, right)
        case .notEqual: try !areEqual(left, right)
        case .less: try isLess(left, right, "<")
        case .greater: try isLess(right, left, ">")
        case .lessOrEqual: try isLessOrEqual(left, right, "<=")
        case .greaterOrEqual: try isLessOrEqual(right, left, ">=")
        case .isIn: try contains(left, in: right)
        case .isNotIn: try !contains(left, in: right)
        }
    }

    func areEqual(_ left: Value, _ right: Value) throws(JinjaError) -> Bool {
        try spend(1)
        switch (left, right) {
        case (.undefined, .undefined), (.none, .none): return true
        case (.string(let a), .string(let b)):
            guard a.byteCount == b.byteCount else { return false }
            try spend(a.byteCount / 32)
            return isSameText(a.string, b.string)
        case (.list(let a), .list(let b)), (.tuple(let a), .tuple(let b)):
            guard a !== b else { return true }
            guard a.items.count == b.items.count else { return false }
            try checkStack()
            for (x, y) in zip(a.items, b.items) where try !areEqual(x, y) { return false }
            return true
        case (.dictionary(let a), .dictionary(let b)):
            guard a !== b else { return true }
            guard a.count == b.count else { return false }
            try checkStack()
            for (name, value) in zip(a.keys, a.values) {
                guard let other = b[try key(name)], try areEqual(value, other) else { return false }
            }
            return true
        case (.object(let a as RangeObject), .object(let b as RangeObject)):
            return a.count == b.count && (a.count == 0 || (a.start == b.start && (a.count == 1 || a.step == b.step)))
        case (.object(let a as DictionaryView), .object(let b as DictionaryView)):
            guard a !== b else { return true }
            guard a.kind == b.kind, a.kind != .values, a.members.count == b.members.count else { return false }
            try checkStack()
            for (name, value) in zip(a.members.keys, a.members.values) {
                guard let other = b.members[try key(name)] else { return false }
                if a.kind == .items, try !areEqual(value, other) { return false }
            }
            return true
        case (.object(let a), .object(let b)): return a === b
        default:
            if let a = left.asInteger, let b = right.asInteger { return a == b }
            if let a = left.asNumber, let b = right.asNumber {
                // An integer and a double: exactly.
                if case .double = left, let b = right.asInteger { return Int(exactly: a) == b }
                if case .double = right, let a = left.asInteger { return Int(exactly: b) == a }
                return a == b
            }
            return false
        }
    }

    func isLess(_ left: Value, _ right: Value, _ sign: String = "<") throws(JinjaError) -> Bool {
        try spend(1)
        switch (left, right) {
        case (.string(let a), .string(let b)):
            try spend(min(a.byteCount, b.byteCount) / 32)
            // The order of code points is that of UTF-8 bytes.
            return a.string.utf8.lexicographicallyPrecedes(b.string.utf8)
        case (.list(let a), .list(let b)), (.tuple(let a), .tuple(let b)):
            try checkStack()
            for (x, y) in zip(a.items, b.items) where try !areEqual(x, y) { return try isLess(x, y, sign) }
            return a.items.count < b.items.count
        default:
            if let a = left.asInteger, let b = right.asInteger { return a < b }
            if let a = left.asNumber, let b = right.asNumber { return a < b }
            throw unsupported("comparison \(sign)", left, right)
        }
    }

    private func isLessOrEqual(_ left: Value, _ right: Value, _ sign: String) throws(JinjaError) -> Bool {
        switch (left, right) {
        case (.list(let a), .list(let b)), (.tuple(let a), .tuple(let b)):
            for (x, y) in zip(a.items, b.items) where try !areEqual(x, y) { return try isLessOrEqual(x, y, sign) }
            return a.items.count <= b.items.count
        default:
            // Not a number is neither less nor equal.
            if try isLess(left, right, sign) { return true }
            return try areEqual(left, right)
        }
    }

    func contains(_ value: Value, in container: Value) throws(JinjaError) -> Bool {
        switch container {
        case .string(let text):
            if case .undefined(let undefined) = value { throw fail(undefined.message) }
            guard case .string(let part) = value else {
                throw fail("'in <string>' requires string as left operand, not \(value.typeName)")
            }
            try spend((text.byteCount + part.byteCount) / 16)
            return PythonText.find(part.string, in: text.string) != nil
        case .dictionary(let members): return members[try key(value)] != nil
        case .object(let view as DictionaryView) where view.kind == .keys: return view.members[try key(value)] != nil
        case .object(let range as RangeObject):
            if let number = value.asInteger {
                let (difference, isOverflow) = number.subtractingReportingOverflow(range.start)
                guard !isOverflow, difference.isMultiple(of: range.step) else { return false }
                return 0..<range.count ~= difference / range.step
            }
        default: break
        }
        let iterator = try iterator(container, problem: "argument of type '\(container.typeName)' is not iterable")
        while let item = try iterator.next(self) {
            if try areEqual(item, value) { return true }
        }
        return false
    }

    // MARK: Elements

    /// How many elements it has, where it knows.
    func count(_ value: Value) -> Int? {
        switch value {
        case .undefined: 0
        case .string(let text): text.count
        case .list(let elements), .tuple(let elements): elements.items.count
        case .dictionary(let members): members.count
        case .object(let range as RangeObject): range.count
        case .object(let view as DictionaryView): view.members.count
        default: nil
        }
    }

    func iterator(_ value: Value, problem: String? = nil) throws(JinjaError) -> Iterator {
        var index = 0
        func over(_ items: [Value], _ name: String) -> Iterator {
            Iterator(name, depth: value.depth) { _ in
                guard index < items.count else { return nil }
                index += 1
                return items[index - 1]
            }
        }
        switch value {
        case .undefined: return Iterator { _ in nil }
        case .list(let elements): return over(elements.items, "list_iterator")
        case .tuple(let elements): return over(elements.items, "tuple_iterator")
        case .dictionary(let members): return over(members.keys, "dict_keyiterator")
        case .string(let text):
            var scalars = text.string.unicodeScalars.makeIterator()
            return Iterator("str_iterator") { interpreter throws(JinjaError) in
                guard let scalar = scalars.next() else { return nil }
                return try interpreter.text(String(scalar))
            }
        case .object(let iterator as Iterator): return iterator
        case .object(let range as RangeObject):
            return Iterator("range_iterator") { _ in
                guard index < range.count else { return nil }
                index += 1
                return .integer(range[index - 1])
            }
        case .object(let view as DictionaryView):
            switch view.kind {
            case .keys: return over(view.members.keys, "dict_keyiterator")
            case .values: return over(view.members.values, "dict_valueiterator")
            case .items:
                return Iterator("dict_itemiterator", depth: value.depth) { interpreter throws(JinjaError) in
                    guard index < view.members.count else { return nil }
                    index += 1
                    return try interpreter.tuple([view.members.keys[index - 1], view.members.values[index - 1]])
                }
            }
        case .object(let loop as LoopObject):
            return Iterator { interpreter throws(JinjaError) in
                guard let value = try loop.next(interpreter) else { return nil }
                return try interpreter.tuple([value, .object(loop)])
            }
        default: throw fail(problem ?? "'\(value.typeName)' object is not iterable")
        }
    }

    /// All its elements, or one more than `limit` at most.
    func collect(_ value: Value, limit: Int = .max) throws(JinjaError) -> [Value] {
        switch value {
        case .list(let elements), .tuple(let elements):
            try spend(elements.items.count / 16)
            return elements.items
        default:
            let iterator = try iterator(value)
            var items: [Value] = []
            while items.count <= limit, let item = try iterator.next(self) { items.append(item) }
            return items
        }
    }
}
