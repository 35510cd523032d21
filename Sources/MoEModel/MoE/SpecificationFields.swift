// SPDX-License-Identifier: Apache-2.0

/// `name=value[,value…],name=…`: a comma before something without `=` continues the list of the field before it.
package struct SpecificationFields {
    /// The error that a problem is thrown as.
    private let error: (_ problem: String) -> any Error
    private var values: [String: [String]] = [:]

    package init(_ list: String?, error: @escaping (_ problem: String) -> any Error) throws {
        self.error = error
        guard let list else { return }
        var current: String?
        for item in list.split(separator: ",", omittingEmptySubsequences: false) {
            let pair = item.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
                .map { String($0).trimmingSpaces }
            if pair.count == 2 {
                guard values[pair[0]] == nil else { throw error("'\(pair[0])' is given twice") }
                current = pair[0]
                values[pair[0]] = [pair[1]]
            } else if let current {
                values[current]!.append(pair[0])
            } else {
                throw error("expected name=value, found '\(pair[0])'")
            }
        }
    }

    package mutating func integers(_ name: String, _ range: ClosedRange<Int>) throws -> [Int]? {
        try list(name) { item in
            guard let value = Int(item), range.contains(value) else { return nil }
            return value
        } expected: {
            "whole numbers from \(range.lowerBound) to \(range.upperBound)"
        }
    }

    package mutating func integer(_ name: String, _ range: ClosedRange<Int>, required: Bool = false) throws -> Int? {
        guard let list = try integers(name, range) else {
            if required { throw error("'\(name)' is missing") }
            return nil
        }
        guard list.count == 1 else {
            throw error("'\(name)' takes one number, found \(list.count)")
        }
        return list[0]
    }

    package mutating func numbers(_ name: String, _ range: ClosedRange<Float>, required: Bool = false) throws -> [Float]? {
        let found = try list(name) { item -> Float? in
            guard let value = Float(item), value.isFinite, range.contains(value) else { return nil }
            return value
        } expected: {
            "numbers from \(range.lowerBound) to \(range.upperBound)"
        }
        if required, found == nil { throw error("'\(name)' is missing") }
        return found
    }

    package mutating func number(_ name: String, _ range: ClosedRange<Float>) throws -> Float? {
        guard let list = try numbers(name, range) else { return nil }
        guard list.count == 1 else {
            throw error("'\(name)' takes one number, found \(list.count)")
        }
        return list[0]
    }

    private mutating func list<Value>(
        _ name: String, _ convert: (String) -> Value?, expected: () -> String
    ) throws -> [Value]? {
        guard let items = values.removeValue(forKey: name) else { return nil }
        return try items.map { item in
            guard let value = convert(item) else {
                throw error("'\(name)' expects \(expected()), found '\(item)'")
            }
            return value
        }
    }

    /// All fields must have been taken.
    package func finish() throws {
        if let name = values.keys.min() { throw error("unknown field '\(name)'") }
    }
}

extension String {
    package var trimmingSpaces: String {
        String(drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
    }
}
