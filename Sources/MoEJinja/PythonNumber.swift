// SPDX-License-Identifier: Apache-2.0

import Glibc

/// Numbers as Python reads and writes them.
enum PythonNumber {
    static func power(_ a: Double, _ b: Double) -> Double { pow(a, b) }

    /// The shortest digits that give the number back, as `repr` writes them.
    static func repr(_ number: Double) -> String {
        if number.isNaN { return "nan" }
        if number.isInfinite { return number < 0 ? "-inf" : "inf" }
        let sign = number.sign == .minus ? "-" : ""
        if number == 0 { return sign + "0.0" }
        // Swift finds the same digits, and writes them in another way.
        let text = number.magnitude.description
        let parts = text.split(separator: "e")
        let mantissa = parts[0].split(separator: ".")
        var exponent = parts.count > 1 ? Int(parts[1]) ?? 0 : 0
        var digits = String(mantissa[0]) + (mantissa.count > 1 ? String(mantissa[1]) : "")
        exponent += mantissa[0].count
        while digits.hasPrefix("0") {
            digits.removeFirst()
            exponent -= 1
        }
        while digits.count > 1, digits.hasSuffix("0") { digits.removeLast() }
        // The number is 0.digits times 10 to the exponent.
        let power = exponent - 1
        if power < -4 || power >= 16 {
            let first = digits.removeFirst()
            let magnitude = PythonText.padded(String(power.magnitude), 2)
            return "\(sign)\(first)\(digits.isEmpty ? "" : "." + digits)e\(power < 0 ? "-" : "+")\(magnitude)"
        }
        if exponent <= 0 { return sign + "0." + String(repeating: "0", count: -exponent) + digits }
        if digits.count <= exponent {
            return sign + digits + String(repeating: "0", count: exponent - digits.count) + ".0"
        }
        let place = digits.index(digits.startIndex, offsetBy: exponent)
        return sign + digits[..<place] + "." + digits[place...]
    }

    /// By C's `printf`, which is exact. `conversion` is one of `e`, `E`, `f`, `F`, `g`, `G`.
    static func formatted(_ number: Double, _ conversion: Character, precision: Int, flags: String = "") -> String {
        if !number.isFinite {
            let text = number.isNaN ? "nan" : number < 0 ? "-inf" : "inf"
            return conversion.isUppercase ? text.uppercased() : text
        }
        return withVaList([Int32(clamping: precision), number]) { arguments in
            var buffer = [CChar](repeating: 0, count: 400 + max(precision, 0))
            vsnprintf(&buffer, buffer.count, "%\(flags).*\(conversion)", arguments)
            return String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        }
    }

    /// What `int(text, base)` gives; nil is its error.
    static func integer(_ text: String, base: Int = 10) -> Int? {
        var digits = PythonText.stripped(text) { $0.isPythonSpace }
        var isNegative = false
        if digits.hasPrefix("-") || digits.hasPrefix("+") {
            isNegative = digits.hasPrefix("-")
            digits.removeFirst()
        }
        var base = base
        let prefixes = [("0x", 16), ("0o", 8), ("0b", 2)]
        if let prefix = prefixes.first(where: { digits.lowercased().hasPrefix($0.0) && (base == $0.1 || base == 0) }) {
            base = prefix.1
            digits.removeFirst(2)
            if digits.hasPrefix("_") { digits.removeFirst() }
        } else if base == 0 {
            base = 10
            if digits.hasPrefix("0"), digits.contains(where: { $0 != "0" && $0 != "_" }) { return nil }
        }
        guard 2...36 ~= base, let plain = withoutUnderscores(digits) else { return nil }
        guard plain.first != "-", plain.first != "+" else { return nil }
        return Int((isNegative ? "-" : "") + plain, radix: base)
    }

    /// What `float(text)` gives; nil is its error.
    static func double(_ text: String) -> Double? {
        let trimmed = PythonText.stripped(text) { $0.isPythonSpace }
        guard let plain = withoutUnderscores(trimmed) else { return nil }
        let isPlain = plain.utf8.allSatisfy { "0123456789.eE+-".utf8.contains($0) }
        if isPlain { return Double(plain) ?? fallbackDouble(plain) }
        switch plain.lowercased() {
        case "inf", "+inf", "infinity", "+infinity": return .infinity
        case "-inf", "-infinity": return -.infinity
        case "nan", "+nan", "-nan": return .nan
        default: return nil
        }
    }

    /// `5.` and `.5`, which Swift does not read.
    private static func fallbackDouble(_ text: String) -> Double? {
        guard let dot = text.firstIndex(of: ".") else { return nil }
        let before = text[..<dot].last?.isNumber == true
        let after = text[text.index(after: dot)...].first?.isNumber == true
        guard before || after else { return nil }
        return Double(text[..<dot] + (before ? "." : "0.") + (after ? "" : "0") + text[text.index(after: dot)...])
    }

    /// Underscores stand between digits only, and digits of any script are digits.
    private static func withoutUnderscores(_ text: String) -> String? {
        var result = ""
        var previous: Unicode.Scalar = " "
        func isDigit(_ scalar: Unicode.Scalar) -> Bool { scalar.properties.isXIDContinue && scalar != "_" }
        let scalars = Array(text.unicodeScalars)
        for (index, scalar) in scalars.enumerated() {
            if scalar == "_" {
                guard isDigit(previous), index + 1 < scalars.count, isDigit(scalars[index + 1]) else { return nil }
            } else if !scalar.isASCII, scalar.properties.numericType == .decimal,
                let value = scalar.properties.numericValue
            {
                result += String(Int(value))
            } else {
                result.unicodeScalars.append(scalar)
            }
            previous = scalar
        }
        return result.isEmpty ? nil : result
    }
}
