// SPDX-License-Identifier: Apache-2.0

/// Numbers within bounds, as patterns of their digits.
enum NumberText {
    private static let digit = Pattern.range("0", "9")
    private static let first = Pattern.range("1", "9")
    /// The most digits of an integer, and of each side of a point.
    static let digits = 32

    static let integer = Pattern.sequence([optionalMinus, natural])
    /// With an exponent of at most three digits.
    static let number = Pattern.sequence([
        optionalMinus, natural, .repeated(.sequence([.text("."), .repeated(digit, min: 1, max: digits)]), min: 0, max: 1),
        .repeated(
            .sequence([
                .set(ScalarSet("eE")), .repeated(.set(ScalarSet("+-")), min: 0, max: 1),
                .choice([.repeated(digit, min: 1, max: 2), .sequence([.set(ScalarSet("12")), digit, digit])]),
            ]), min: 0, max: 1),
    ])

    private static let optionalMinus = Pattern.repeated(.text("-"), min: 0, max: 1)
    private static let natural = Pattern.choice([
        .text("0"), .sequence([first, .repeated(digit, min: 0, max: digits - 1)]),
    ])

    /// Integers within bounds.
    static func integers(_ bounds: NumberBounds) -> Pattern {
        if bounds.isFree { return integer }
        return signed(bounds) { bounds, isPositive in
            // Rounded inwards.
            var low = bounds.low.map(\.whole) ?? []
            if let bound = bounds.low, !bound.isInteger || bounds.lowIsOut { low = successor(low) }
            if low.isEmpty, isPositive { low = [1] }
            guard let bound = bounds.high else { return naturals(from: low, to: nil) }
            var high = bound.whole
            if bound.isInteger, bounds.highIsOut {
                guard let less = predecessor(high) else { return .choice([]) }
                high = less
            }
            return naturals(from: low, to: high)
        }
    }

    /// Numbers within bounds, without exponents.
    static func numbers(_ bounds: NumberBounds) -> Pattern {
        if bounds.isFree { return number }
        return signed(bounds) { bounds, isPositive in
            var bounds = bounds
            if isPositive { bounds.raise(.zero, isOut: true) }
            return nonNegative(bounds)
        }
    }

    /// What is not negative, and, behind a minus, what is above zero.
    private static func signed(_ bounds: NumberBounds, _ part: (NumberBounds, _ isPositive: Bool) -> Pattern) -> Pattern {
        var forms: [Pattern] = []
        for isNegative in [false, true] {
            var side = isNegative ? bounds.negated : bounds
            side.raise(.zero, isOut: isNegative)
            if side.isEmpty { continue }
            let pattern = part(side, isNegative)
            forms.append(isNegative ? .sequence([.text("-"), pattern]) : pattern)
        }
        return .choice(forms)
    }

    // MARK: Naturals

    private static func successor(_ number: [UInt8]) -> [UInt8] {
        var result = number
        for index in result.indices.reversed() {
            if result[index] < 9 {
                result[index] += 1
                return result
            }
            result[index] = 0
        }
        return [1] + result
    }

    private static func predecessor(_ number: [UInt8]) -> [UInt8]? {
        if number.isEmpty { return nil }
        var result = number
        for index in result.indices.reversed() {
            if result[index] > 0 {
                result[index] -= 1
                break
            }
            result[index] = 9
        }
        return Array(result.drop { $0 == 0 })
    }

    /// - Parameter high: nil for no end (but that of ``digits``).
    private static func naturals(from low: [UInt8], to high: [UInt8]?) -> Pattern {
        var forms: [Pattern] = []
        if low.isEmpty { forms.append(.text("0")) }
        let limit = high?.count ?? max(digits, low.count)
        guard max(low.count, 1) <= limit else { return .choice(forms) }
        for count in max(low.count, 1)...limit {
            let from = count == low.count ? low : [1] + [UInt8](repeating: 0, count: count - 1)
            if high == nil, count > low.count {
                // All longer ones at once.
                forms.append(.sequence([first, .repeated(digit, min: count - 1, max: limit - 1)]))
                break
            }
            let to = count == high?.count ? high! : [UInt8](repeating: 9, count: count)
            if from.lexicographicallyPrecedes(to) || from == to { forms.append(between(from[...], to[...])) }
        }
        return .choice(forms)
    }

    /// Digits from `low` to `high`, both equally many.
    private static func between(_ low: ArraySlice<UInt8>, _ high: ArraySlice<UInt8>) -> Pattern {
        guard let a = low.first, let b = high.first else { return .empty }
        let (restLow, restHigh) = (low.dropFirst(), high.dropFirst())
        if a == b { return .sequence([one(a, a), between(restLow, restHigh)]) }
        let lowIsFull = restLow.allSatisfy { $0 == 0 }
        let highIsFull = restHigh.allSatisfy { $0 == 9 }
        let any = Pattern.repeated(digit, min: restLow.count, max: restLow.count)
        var forms: [Pattern] = []
        if !lowIsFull {
            forms.append(.sequence([one(a, a), between(restLow, ArraySlice(repeating: 9, count: restLow.count))]))
        }
        let (from, to) = (lowIsFull ? a : a + 1, highIsFull ? b : b - 1)
        if from <= to { forms.append(.sequence([one(from, to), any])) }
        if !highIsFull {
            forms.append(.sequence([one(b, b), between(ArraySlice(repeating: 0, count: restHigh.count), restHigh)]))
        }
        return .choice(forms)
    }

    private static func one(_ low: UInt8, _ high: UInt8) -> Pattern {
        .set(ScalarSet([UInt32(low) + 0x30...UInt32(high) + 0x30]))
    }

    // MARK: Fractions

    /// Bounds at 0 or above.
    private static func nonNegative(_ bounds: NumberBounds) -> Pattern {
        let low = bounds.low ?? .zero
        let anyFraction = Pattern.repeated(.sequence([.text("."), .repeated(digit, min: 1, max: digits)]), min: 0, max: 1)
        guard let high = bounds.high else {
            return .choice([
                .sequence([exactly(low.whole), fraction(low.fraction, bounds.lowIsOut, nil, false)]),
                .sequence([naturals(from: successor(low.whole), to: nil), anyFraction]),
            ])
        }
        if low.whole == high.whole {
            return .sequence([
                exactly(low.whole), fraction(low.fraction, bounds.lowIsOut, high.fraction, bounds.highIsOut),
            ])
        }
        var forms: [Pattern] = [
            .sequence([exactly(low.whole), fraction(low.fraction, bounds.lowIsOut, nil, false)]),
            .sequence([exactly(high.whole), fraction([], false, high.fraction, bounds.highIsOut)]),
        ]
        let from = successor(low.whole)
        if let to = predecessor(high.whole),
            from.count < to.count || from == to || (from.count == to.count && from.lexicographicallyPrecedes(to))
        {
            forms.append(.sequence([naturals(from: from, to: to), anyFraction]))
        }
        return .choice(forms)
    }

    private static func exactly(_ whole: [UInt8]) -> Pattern {
        whole.isEmpty ? .text("0") : .sequence(whole.map { one($0, $0) })
    }

    /// A point and digits, or nothing, whose value is within bounds.
    /// - Parameter high: nil for no end.
    private static func fraction(_ low: [UInt8], _ lowIsOut: Bool, _ high: [UInt8]?, _ highIsOut: Bool) -> Pattern {
        let empty: Pattern? =
            low.isEmpty && !lowIsOut && (high.map { !$0.isEmpty || !highIsOut } ?? true) ? .empty : nil
        let digits = tail(low[...], lowIsOut, isLow: true, high?[...], highIsOut, room: Self.digits, isFirst: true)
        return .choice([empty, digits.map { .sequence([.text("."), $0]) }].compactMap { $0 })
    }

    /// Further digits. While they are those of a bound so far, what is left of it counts.
    /// - Parameter isLow: whether they are those of the lower bound so far; the same of the upper one: `high` is not nil.
    private static func tail(
        _ low: ArraySlice<UInt8>, _ lowIsOut: Bool, isLow: Bool, _ high: ArraySlice<UInt8>?, _ highIsOut: Bool, room: Int,
        isFirst: Bool
    ) -> Pattern? {
        var forms: [Pattern] = []
        let mayEnd =
            !(isLow && (!low.isEmpty || lowIsOut)) && !(high.map { $0.isEmpty && highIsOut } ?? false)
        if mayEnd, !isFirst { forms.append(.empty) }
        if !isLow, high == nil {
            return .repeated(digit, min: isFirst ? 1 : 0, max: max(room, 1))
        }
        if room > 0 {
            let from = isLow ? low.first ?? 0 : 0
            let to = high.map { $0.first ?? 0 } ?? 9
            var next = from
            while next <= to {
                let staysLow = isLow && next == from
                let staysHigh = high != nil && next == to
                // All digits between the bounds are alike.
                var last = next
                if !staysLow, !staysHigh { last = high == nil ? to : to - 1 }
                if let rest = tail(
                    staysLow ? low.dropFirst() : [], lowIsOut, isLow: staysLow, staysHigh ? high!.dropFirst() : nil,
                    highIsOut,
                    room: room - 1, isFirst: false)
                {
                    forms.append(.sequence([one(next, last), rest]))
                }
                next = last + 1
            }
        }
        return forms.isEmpty ? nil : .choice(forms)
    }
}
