// SPDX-License-Identifier: Apache-2.0

/// One rendering: walks the tree, writes text.
final class Interpreter {
    let program: Program
    let limits: JinjaLimits
    let meter: Meter
    let clock: JinjaClock
    /// Where the template is, for errors.
    var offset = 0
    private(set) var scope: Scope
    private let globalScope: Scope
    let variables: JinjaObject
    private var output = ""
    /// Bytes written around what is captured at this moment.
    private var outerOutputSize = 0
    /// In `{% autoescape true %}`.
    private(set) var usesMarkup = false
    /// What may hold itself; taken apart at the end.
    private var namespaces: [Namespace] = []
    private var scopes: [Scope] = []
    private var loops: [LoopObject] = []
    /// Variables of the call that were read.
    private var converted: [String: Value] = [:]

    private enum Flow { case next, breakLoop, continueLoop }

    init(_ program: Program, variables: JinjaObject, limits: JinjaLimits, clock: @escaping JinjaClock) {
        self.program = program
        self.variables = variables
        self.limits = limits
        self.clock = clock
        meter = Meter(limits)
        globalScope = Scope(parent: nil)
        scope = globalScope
    }

    func run() throws(JinjaError) -> String {
        defer {
            for namespace in namespaces { namespace.members = [] }
            for scope in scopes { scope.clear() }
            for loop in loops { loop.clear() }
            globalScope.clear()
        }
        _ = try execute(program.body)
        return output
    }

    // MARK: Limits and errors

    func fail(_ problem: String) -> JinjaError { program.lines.error(problem, at: offset) }

    @inline(__always)
    func spend(_ steps: Int) throws(JinjaError) {
        if let problem = meter.spend(steps) { throw fail(problem) }
    }

    func reserve(_ bytes: Int) throws(JinjaError) {
        if let problem = meter.reserve(bytes) { throw fail(problem) }
    }

    /// Before a call that may nest.
    func checkStack() throws(JinjaError) {
        if meter.isStackUsedUp { throw fail("nested too deeply") }
    }

    /// Before text of that size is made: what makes it may take as many bytes.
    func willMake(_ bytes: Int) throws(JinjaError) {
        guard bytes <= limits.outputSize else { throw fail("a value of more than \(limits.outputSize) bytes") }
        try spend(bytes / 32 + 1)
    }

    func write(_ text: String) throws(JinjaError) {
        let count = text.utf8.count
        try spend(count / 32)
        guard count <= limits.outputSize - outerOutputSize - output.utf8.count else {
            throw fail("more than \(limits.outputSize) bytes of output")
        }
        output += text
    }

    func register(_ namespace: Namespace) throws(JinjaError) {
        try spend(4)
        try reserve(256)
        namespaces.append(namespace)
    }

    // MARK: Names

    func lookUp(_ name: String) throws(JinjaError) -> Value {
        var place: Scope? = scope
        while let here = place {
            if let value = here[name] { return value }
            place = here.parent
        }
        if let value = converted[name] { return value }
        if let data = variables[name] {
            let value = try value(data)
            converted[name] = value
            return value
        }
        if let global = Globals.value(name) {
            converted[name] = global
            return global
        }
        return .undefined(Undefined(.name(name)))
    }

    /// Runs `body` in a new scope inside `parent`.
    func inScope<Result>(
        _ parent: Scope? = nil, _ body: (Scope) throws(JinjaError) -> Result
    ) throws(JinjaError) -> Result {
        let outer = scope
        scope = Scope(parent: parent ?? outer)
        defer { scope = outer }
        return try body(scope)
    }

    /// What `body` writes.
    func capture(_ body: () throws(JinjaError) -> Void) throws(JinjaError) -> String {
        let outer = output
        let outerSize = outerOutputSize
        outerOutputSize += outer.utf8.count
        output = ""
        defer {
            output = outer
            outerOutputSize = outerSize
        }
        try body()
        return output
    }

    private func captured(_ body: () throws(JinjaError) -> Void) throws(JinjaError) -> Value {
        try text(try capture(body), isMarkup: usesMarkup)
    }

    // MARK: Statements

    private func execute(_ statements: [Statement]) throws(JinjaError) -> Flow {
        for statement in statements {
            let flow = try execute(statement)
            if flow != .next { return flow }
        }
        return .next
    }

    private func execute(_ statement: Statement) throws(JinjaError) -> Flow {
        offset = statement.offset
        try spend(1)
        switch statement.kind {
        case .text(let text): try write(text)
        case .output(let expressions):
            for expression in expressions { try print(try evaluate(expression), at: expression.offset) }
        case .set(let target, let expression):
            try checkNamespaces(in: target)
            try assign(try evaluate(expression), to: target)
        case .conditional(let branches, let otherwise):
            for branch in branches {
                if isTrue(try evaluate(branch.test)) { return try execute(branch.body) }
            }
            return try execute(otherwise)
        case .loop(let loop): return try execute(loop, at: statement.offset)
        case .breakLoop: return .breakLoop
        case .continueLoop: return .continueLoop
        default: return try executeBlock(statement)
        }
        return .next
    }

    private func print(_ value: Value, at place: Int) throws(JinjaError) {
        if case .string(let text) = value, !usesMarkup || text.isMarkup { return try write(text.string) }
        offset = place
        let string = try string(value)
        try write(usesMarkup ? try escapeHTML(string) : string)
    }

    /// What Jinja2 puts into the output as it is, which only a string survives.
    private func printText(_ value: Value, at place: Int) throws(JinjaError) {
        offset = place
        guard case .string(let text) = value else { throw fail("expected str instance, \(value.typeName) found") }
        try write(text.string)
    }

    /// The rarer statements, whose bodies are in scopes of their own.
    private func executeBlock(_ statement: Statement) throws(JinjaError) -> Flow {
        try checkStack()
        var flow = Flow.next
        switch statement.kind {
        case .setBlock(let target, let filters, let body):
            var value = try inScope { _ throws(JinjaError) in
                let value = try captured { () throws(JinjaError) in flow = try execute(body) }
                return flow == .next ? try apply(filters, to: value) : value
            }
            guard flow == .next else { return flow }
            if usesMarkup, case .string(let text) = value { value = try self.text(text.string, isMarkup: true) }
            try assign(value, to: target)
        case .filterBlock(let filters, let body):
            let value = try inScope { _ throws(JinjaError) in
                let value = try captured { () throws(JinjaError) in flow = try execute(body) }
                return flow == .next ? try apply(filters, to: value) : value
            }
            guard flow == .next else { return flow }
            try printText(value, at: statement.offset)
        case .with(let assignments, let body):
            return try inScope { inner throws(JinjaError) in
                for assignment in assignments {
                    // Values are of the scope around.
                    let value = try inScope(inner.parent) { _ throws(JinjaError) in try evaluate(assignment.value) }
                    try assign(value, to: assignment.target)
                }
                return try execute(body)
            }
        case .macro(let macro): scope[macro.name ?? ""] = try makeMacro(macro)
        case .callBlock(let callee, let arguments, let body):
            let caller = try makeMacro(body)
            let function = try evaluate(callee)
            var evaluated = try evaluate(arguments)
            evaluated.keywords.append(("caller", caller))
            offset = callee.offset
            try printText(try call(function, evaluated), at: callee.offset)
        case .block(let name, let isScoped):
            let body = program.blocks[name] ?? []
            _ = try inScope(isScoped ? scope : globalScope) { _ throws(JinjaError) in try execute(body) }
        case .autoescape(let expression, let body):
            let outer = usesMarkup
            usesMarkup = isTrue(try evaluate(expression))
            defer { usesMarkup = outer }
            return try inScope { _ throws(JinjaError) in try execute(body) }
        case .generation(let body):
            let text = try inScope { _ throws(JinjaError) in
                try capture { () throws(JinjaError) in _ = try execute(body) }
            }
            try write(text)
        case .foreign(let tag): throw fail("'\(tag)' needs another template, and there are none")
        default: break
        }
        return .next
    }

    // MARK: Assignments

    private func checkNamespaces(in target: Target) throws(JinjaError) {
        switch target {
        case .name: break
        case .member(let name, _, let place):
            offset = place
            guard case .object(let object) = try lookUp(name), object is Namespace else {
                throw fail("cannot assign attribute on non-namespace object '\(name)'")
            }
        case .tuple(let targets, _): for target in targets { try checkNamespaces(in: target) }
        }
    }

    func assign(_ value: Value, to target: Target) throws(JinjaError) {
        switch target {
        case .name(let name, _): scope[name] = value
        case .member(let namespace, let name, let place):
            offset = place
            guard case .object(let object) = try lookUp(namespace), let namespace = object as? Namespace else {
                throw fail("cannot assign attribute on non-namespace object '\(namespace)'")
            }
            try set(name, of: namespace, to: value)
        case .tuple(let targets, let place):
            offset = place
            let values = try collect(value, limit: targets.count)
            guard values.count == targets.count else {
                let problem = values.count < targets.count ? "not enough" : "too many"
                throw fail("\(problem) values to unpack (expected \(targets.count))")
            }
            for (target, value) in zip(targets, values) { try assign(value, to: target) }
        }
    }

    func set(_ name: String, of namespace: Namespace, to value: Value) throws(JinjaError) {
        guard !name.utf8.starts(with: "_".utf8) else {
            throw fail("a namespace's member '\(name)' cannot begin with an underscore")
        }
        try spend(namespace.members.count / 16)
        if namespace[name] == nil { try reserve(name.utf8.count + 96) }
        namespace[name] = value
    }

    // MARK: Loops

    private func execute(_ loop: Statement.Loop, at place: Int) throws(JinjaError) -> Flow {
        let iterable = try evaluate(loop.iterable)
        offset = loop.iterable.offset
        guard loop.isRecursive else { return try run(loop, over: iterable, level: 0) }
        let text = try capture { () throws(JinjaError) in _ = try run(loop, over: iterable, level: 0) }
        offset = place
        try write(text)
        return .next
    }

    /// A `break` or `continue` in the part for empty loops is of the loop around.
    private func run(_ loop: Statement.Loop, over iterable: Value, level: Int) throws(JinjaError) -> Flow {
        try checkStack()
        let around = scope
        var iterator = try iterator(iterable)
        let length = loop.test == nil ? count(iterable) : nil
        if let test = loop.test {
            let all = iterator
            iterator = Iterator { interpreter throws(JinjaError) in
                while let value = try all.next(interpreter) {
                    let isWanted = try interpreter.inScope(around) { _ throws(JinjaError) in
                        try interpreter.assign(value, to: loop.target)
                        return interpreter.isTrue(try interpreter.evaluate(test))
                    }
                    if isWanted { return value }
                }
                return nil
            }
        }
        var recursion: ((Interpreter, Value, Int) throws(JinjaError) -> Value)?
        if loop.isRecursive {
            recursion = { interpreter, children, level throws(JinjaError) in
                try interpreter.inScope(around) { _ throws(JinjaError) in
                    // The scope of each pass is inside the one around the loop.
                    try interpreter.captured { () throws(JinjaError) in
                        _ = try interpreter.run(loop, over: children, level: level)
                    }
                }
            }
        }
        let object = LoopObject(
            iterator, length: length, level: level, valueLevel: min(iterable.depth + 1, limits.valueDepth),
            recursion: recursion)
        var isCompleted = false
        while let value = try object.next(self) {
            let flow = try inScope(around) { inner throws(JinjaError) in
                inner["loop"] = .object(object)
                try assign(value, to: loop.target)
                return try execute(loop.body)
            }
            if flow == .breakLoop { break }
            if flow == .next { isCompleted = true }
        }
        // As in Jinja2, a loop all of whose passes were cut short by `break` or `continue` counts as empty.
        guard !isCompleted, !loop.otherwise.isEmpty else { return .next }
        return try inScope(around) { _ throws(JinjaError) in try execute(loop.otherwise) }
    }

    /// A loop that remembers values may hold itself.
    func register(_ loop: LoopObject) throws(JinjaError) {
        try reserve(128)
        loops.append(loop)
    }

    // MARK: Macros

    private func makeMacro(_ macro: Statement.Macro) throws(JinjaError) -> Value {
        try reserve(256)
        scopes.append(scope)
        return .object(MacroObject(macro, scope: scope))
    }

    func call(_ object: MacroObject, _ arguments: Arguments) throws(JinjaError) -> Value {
        try checkStack()
        let macro = object.macro
        let name = macro.name ?? "None"
        var keywords = arguments.keywords
        func take(_ name: String) -> Value? {
            guard let index = keywords.firstIndex(where: { $0.name == name }) else { return nil }
            return keywords.remove(at: index).value
        }
        let inner = Scope(parent: object.scope)
        var missing: [(name: String, fallback: Expression?)] = []
        var hasCaller = false
        for (index, parameter) in macro.parameters.enumerated() {
            if index < arguments.positional.count {
                inner[parameter.name] = arguments.positional[index]
                if arguments.positional.count >= macro.parameters.count, parameter.name == "caller" { hasCaller = true }
            } else if let value = take(parameter.name) {
                inner[parameter.name] = value
                if parameter.name == "caller" { hasCaller = true }
            } else {
                if parameter.name == "caller" { hasCaller = true }
                missing.append(parameter)
                inner[parameter.name] = .undefined(Undefined(.hint("parameter '\(parameter.name)' was not provided")))
            }
        }
        if macro.usesCaller, !hasCaller {
            inner["caller"] = take("caller") ?? .undefined(Undefined(.hint("No caller defined")))
        }
        if macro.usesKeywords {
            var builder = MembersBuilder()
            for (name, value) in keywords { builder.set(.string(ExactKey(name)), try text(name), value) }
            inner["kwargs"] = try dictionary(builder)
        } else if let extra = keywords.first {
            throw fail("macro '\(name)' takes no keyword argument '\(extra.name)'")
        }
        if macro.usesSpread {
            inner["varargs"] = try tuple(Array(arguments.positional.dropFirst(macro.parameters.count)))
        } else if arguments.positional.count > macro.parameters.count {
            throw fail("macro '\(name)' takes not more than \(macro.parameters.count) argument(s)")
        }
        let outer = scope
        scope = inner
        defer { scope = outer }
        for parameter in missing {
            guard let fallback = parameter.fallback else { continue }
            inner[parameter.name] = try evaluate(fallback)
        }
        return try captured { () throws(JinjaError) in _ = try execute(macro.body) }
    }
}
