// SPDX-License-Identifier: Apache-2.0

/// A number as it is written, exactly.
struct Decimal: Equatable {
    let isNegative: Bool
    /// Without leading zeros: nothing for 0.
    let whole: [UInt8]
    /// Without zeros at the end.
    let fraction: [UInt8]

    /// Digits that a number may have before and after the point.
    static let digitLimit = 400

    static let zero = Decimal(isNegative: false, whole: [], fraction: [])

    init(isNegative: Bool, whole: [UInt8], fraction: [UInt8]) {
        self.whole = Array(whole.drop { $0 == 0 })
        var fraction = fraction
        while fraction.last == 0 { fraction.removeLast() }
        self.fraction = fraction
        self.isNegative = isNegative && !(self.whole.isEmpty && fraction.isEmpty)
    }

    /// nil: no JSON number, or one with too many digits.
    init?(_ text: String) {
        var rest = Array(text.utf8)[...]
        let isNegative = rest.first == 0x2d
        if isNegative { rest = rest.dropFirst() }
        let mantissa = rest.prefix { $0 != 0x65 && $0 != 0x45 }
        let exponentText = String(decoding: rest[mantissa.endIndex...].dropFirst(), as: UTF8.self)
        let parts = mantissa.split(separator: 0x2e, omittingEmptySubsequences: false)
        guard let exponent = exponentText.isEmpty ? 0 : Int(exponentText), (1...2).contains(parts.count), !mantissa.isEmpty,
            abs(exponent) <= Self.digitLimit, mantissa.count <= Self.digitLimit,
            parts.allSatisfy({ $0.allSatisfy { $0 &- 0x30 < 10 } })
        else { return nil }
        var whole = parts[0].map { $0 - 0x30 }
        var fraction = parts.count > 1 ? parts[1].map { $0 - 0x30 } : []
        for _ in 0..<max(exponent, 0) { whole.append(fraction.isEmpty ? 0 : fraction.removeFirst()) }
        for _ in 0..<max(-exponent, 0) { fraction.insert(whole.popLast() ?? 0, at: 0) }
        self.init(isNegative: isNegative, whole: whole, fraction: fraction)
    }

    var isInteger: Bool { fraction.isEmpty }
    var negated: Decimal { Decimal(isNegative: !isNegative, whole: whole, fraction: fraction) }

    /// The integer, if it is one of 18 digits at most.
    var integer: Int? {
        guard isInteger, whole.count <= 18 else { return nil }
        let magnitude = whole.reduce(0) { $0 * 10 + Int($1) }
        return isNegative ? -magnitude : magnitude
    }

    private func magnitudeIsLess(than other: Decimal) -> Bool {
        if whole.count != other.whole.count { return whole.count < other.whole.count }
        if whole != other.whole { return whole.lexicographicallyPrecedes(other.whole) }
        return fraction.lexicographicallyPrecedes(other.fraction)
    }

    static func < (a: Decimal, b: Decimal) -> Bool {
        if a.isNegative != b.isNegative { return a.isNegative }
        return a.isNegative ? b.magnitudeIsLess(than: a) : a.magnitudeIsLess(than: b)
    }
}

/// From where to where a number may be.
struct NumberBounds: Equatable {
    var low: Decimal?
    var lowIsOut = false
    var high: Decimal?
    var highIsOut = false

    mutating func raise(_ value: Decimal, isOut: Bool) {
        if let low, !(low < value) {
            if low == value { lowIsOut = lowIsOut || isOut }
        } else {
            (low, lowIsOut) = (value, isOut)
        }
    }

    mutating func lower(_ value: Decimal, isOut: Bool) {
        if let high, !(value < high) {
            if high == value { highIsOut = highIsOut || isOut }
        } else {
            (high, highIsOut) = (value, isOut)
        }
    }

    var isFree: Bool { low == nil && high == nil }

    var isEmpty: Bool {
        guard let low, let high else { return false }
        return high < low || (high == low && (lowIsOut || highIsOut))
    }

    func contains(_ value: Decimal) -> Bool {
        if let low, value < low || (lowIsOut && value == low) { return false }
        if let high, high < value || (highIsOut && value == high) { return false }
        return true
    }

    func intersection(_ other: NumberBounds) -> NumberBounds {
        var result = self
        if let low = other.low { result.raise(low, isOut: other.lowIsOut) }
        if let high = other.high { result.lower(high, isOut: other.highIsOut) }
        return result
    }

    /// Of the negated numbers.
    var negated: NumberBounds {
        NumberBounds(low: high?.negated, lowIsOut: highIsOut, high: low?.negated, highIsOut: lowIsOut)
    }
}
