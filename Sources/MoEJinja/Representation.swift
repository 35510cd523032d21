// SPDX-License-Identifier: Apache-2.0

extension Interpreter {
    /// `str(value)`, as output shows it.
    func string(_ value: Value) throws(JinjaError) -> String {
        switch value {
        case .string(let text): return text.string
        case .undefined: return ""
        default: return try repr(value)
        }
    }

    /// `repr(value)`
    func repr(_ value: Value) throws(JinjaError) -> String {
        var result = ""
        var open: Set<ObjectIdentifier> = []
        try represent(value, into: &result, inside: &open)
        return result
    }

    private func represent(
        _ value: Value, into result: inout String, inside open: inout Set<ObjectIdentifier>
    ) throws(JinjaError) {
        try spend(1)
        let size = result.utf8.count
        switch value {
        case .undefined: result += "Undefined"
        case .none: result += "None"
        case .bool(let flag): result += flag ? "True" : "False"
        case .integer(let number): result += String(number)
        case .double(let number): result += PythonNumber.repr(number)
        case .string(let text):
            let quoted = PythonText.quoted(text.string)
            result += text.isMarkup ? "Markup(\(quoted))" : quoted
        case .list(let elements): try represent(elements.items, "[", "]", into: &result, inside: &open)
        case .tuple(let elements):
            let isSingle = elements.items.count == 1
            try represent(elements.items, "(", isSingle ? ",)" : ")", into: &result, inside: &open)
        case .dictionary(let members):
            try checkStack()
            result += "{"
            for index in 0..<members.count {
                if index > 0 { result += ", " }
                try represent(members.keys[index], into: &result, inside: &open)
                result += ": "
                try represent(members.values[index], into: &result, inside: &open)
            }
            result += "}"
        case .object(let object): try represent(object, into: &result, inside: &open)
        }
        try willMake(result.utf8.count - size)
        guard result.utf8.count <= limits.outputSize else { throw fail("a value of more than \(limits.outputSize) bytes") }
    }

    private func represent(
        _ items: [Value], _ begin: String, _ end: String, into result: inout String,
        inside open: inout Set<ObjectIdentifier>
    ) throws(JinjaError) {
        try checkStack()
        result += begin
        for (index, item) in items.enumerated() {
            if index > 0 { result += ", " }
            try represent(item, into: &result, inside: &open)
        }
        result += end
    }

    private func represent(
        _ object: Object, into result: inout String, inside open: inout Set<ObjectIdentifier>
    ) throws(JinjaError) {
        switch object {
        case let range as RangeObject:
            result += "range(\(range.start), \(range.stop)" + (range.step == 1 ? ")" : ", \(range.step))")
        case let view as DictionaryView:
            var items = view.kind == .values ? view.members.values : view.members.keys
            if view.kind == .items {
                for index in items.indices { items[index] = try tuple([items[index], view.members.values[index]]) }
            }
            try represent(items, view.kind.rawValue + "([", "])", into: &result, inside: &open)
        case let namespace as Namespace:
            result += "<Namespace {"
            // One that holds itself is shown without its members.
            if open.insert(ObjectIdentifier(namespace)).inserted {
                try checkStack()
                for (index, member) in namespace.members.enumerated() {
                    result += (index > 0 ? ", " : "") + PythonText.quoted(member.name) + ": "
                    try represent(member.value, into: &result, inside: &open)
                }
                open.remove(ObjectIdentifier(namespace))
            } else {
                result += "..."
            }
            result += "}>"
        case let macro as MacroObject:
            result += "<Macro \(macro.macro.name.map { PythonText.quoted($0) } ?? "anonymous")>"
        case let loop as LoopObject: result += "<LoopContext \(loop.index + 1)/\(try loop.count(self))>"
        case let function as FunctionObject: result += "<function \(function.name)>"
        default: result += "<\(object.typeName) object>"
        }
    }
}
