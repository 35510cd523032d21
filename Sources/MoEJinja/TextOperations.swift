// SPDX-License-Identifier: Apache-2.0

// What methods of strings and filters share.
extension Interpreter {
    /// An argument that must be a string.
    func string(_ value: Value?, _ function: String) throws(JinjaError) -> String {
        switch value {
        case .string(let text)?: return text.string
        case .undefined(let undefined)?: throw fail(undefined.message)
        default: throw fail("\(function)() argument must be str, not \((value ?? .none).typeName)")
        }
    }

    /// An argument that must be an integer.
    func integer(_ value: Value?, _ function: String) throws(JinjaError) -> Int {
        if let number = value?.asInteger { return number }
        if case .undefined(let undefined)? = value { throw fail(undefined.message) }
        throw fail("\(function)() argument must be an integer, not \((value ?? .none).typeName)")
    }

    func texts(_ strings: [String]) throws(JinjaError) -> [Value] {
        var values: [Value] = []
        values.reserveCapacity(strings.count)
        try spend(strings.count)
        for string in strings { values.append(try text(string)) }
        return values
    }

    func strip(_ text: Text, _ characters: Value?, start: Bool, end: Bool) throws(JinjaError) -> Value {
        try spend(text.byteCount / 32)
        guard let characters, !characters.isNone else {
            let result = PythonText.stripped(text.string, { $0.isPythonSpace }, start: start, end: end)
            return try self.text(result, isMarkup: text.isMarkup)
        }
        let set = Set(try string(characters, "strip").unicodeScalars)
        try spend(set.count)
        let result = PythonText.stripped(text.string, { set.contains($0) }, start: start, end: end)
        return try self.text(result, isMarkup: text.isMarkup)
    }

    func pad(
        _ text: Text, _ width: Int, _ fill: String, _ sides: (Int) -> (Int, Int)
    ) throws(JinjaError) -> Value {
        let missing = max(0, width.subtractingReportingOverflow(text.count).partialValue)
        try willMake(text.byteCount + min(missing, .max / 8) * fill.utf8.count)
        let (before, after) = sides(missing)
        let result = String(repeating: fill, count: before) + text.string + String(repeating: fill, count: after)
        return try self.text(result, isMarkup: text.isMarkup)
    }

    func replace(_ text: Text, _ old: String, _ new: String, _ limit: Int) throws(JinjaError) -> Value {
        try spend((text.byteCount + old.utf8.count) / 16)
        let limit = limit < 0 ? Int.max : limit
        if new.utf8.count > old.utf8.count {
            // So that it is not made before it is known to be too long.
            let count =
                old.isEmpty ? min(limit, text.count + 1) : PythonText.findAll(old, in: text.string, limit: limit).count
            let (growth, isOverflow) = count.multipliedReportingOverflow(by: new.utf8.count)
            try willMake(isOverflow ? .max : text.byteCount.addingReportingOverflow(growth).partialValue)
        }
        return try self.text(PythonText.replacing(old, with: new, in: text.string, limit: limit), isMarkup: text.isMarkup)
    }

    func split(_ text: Text, _ separator: String?, limit: Int, last: Bool) throws(JinjaError) -> Value {
        try spend(text.byteCount / 16)
        guard let separator else {
            return try list(
                try texts(
                    last ? PythonText.lastWords(text.string, limit: limit) : PythonText.words(text.string, limit: limit)))
        }
        guard !separator.isEmpty else { throw fail("empty separator") }
        var places: [Int] = []
        if last {
            // From the end, without overlaps.
            let reversedText = Array(text.string.utf8.reversed())
            let reversedPart = Array(separator.utf8.reversed())
            reversedText.withUnsafeBufferPointer { whole in
                reversedPart.withUnsafeBufferPointer { part in
                    var start = 0
                    while places.count < limit, let place = PythonText.find(part, in: whole, from: start) {
                        places.append(whole.count - place - part.count)
                        start = place + part.count
                    }
                }
            }
            places.reverse()
        } else {
            places = PythonText.findAll(separator, in: text.string, limit: limit)
        }
        try spend(places.count)
        var pieces: [Value] = []
        var start = 0
        for place in places + [text.byteCount] {
            pieces.append(try self.text(PythonText.part(text.string, start..<place)))
            start = place + separator.utf8.count
        }
        return try list(pieces)
    }

    func joined(_ pieces: [String], _ separator: String) throws(JinjaError) -> String {
        var size = separator.utf8.count.multipliedReportingOverflow(by: max(0, pieces.count - 1)).partialValue
        for piece in pieces { size += piece.utf8.count }
        try willMake(size)
        return pieces.joined(separator: separator)
    }

    func escapeHTML(_ text: String) throws(JinjaError) -> String {
        try willMake(text.utf8.count)
        var result = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "&": result += "&amp;"
            case "<": result += "&lt;"
            case ">": result += "&gt;"
            case "'": result += "&#39;"
            case "\"": result += "&#34;"
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result
    }

    /// Stable, by merging; the comparison may fail.
    func sorted<Element>(
        _ items: [Element], _ isBefore: (Element, Element) throws(JinjaError) -> Bool
    ) throws(JinjaError) -> [Element] {
        var (from, into) = (items, items)
        var width = 1
        while width < items.count {
            try spend(items.count)
            var start = 0
            while start < items.count {
                let middle = min(start + width, items.count)
                let end = min(start + 2 * width, items.count)
                var (left, right) = (start, middle)
                for place in start..<end {
                    let takesLeft = left < middle && right >= end
                    let isRightFirst = left < middle && right < end ? try isBefore(from[right], from[left]) : !takesLeft
                    if !isRightFirst {
                        into[place] = from[left]
                        left += 1
                    } else {
                        into[place] = from[right]
                        right += 1
                    }
                }
                start = end
            }
            swap(&from, &into)
            width *= 2
        }
        return from
    }
}
