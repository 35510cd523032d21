// SPDX-License-Identifier: Apache-2.0

import Glibc

/// The time that `strftime_now` shows.
public typealias JinjaClock = @Sendable () -> JinjaDate

/// A date and time without a zone, as calendars and clocks show it.
public struct JinjaDate: Sendable, Equatable {
    public var year: Int
    /// From 1.
    public var month: Int
    /// From 1.
    public var day: Int
    public var hour: Int
    public var minute: Int
    public var second: Int
    public var microsecond: Int

    public init(year: Int, month: Int, day: Int, hour: Int = 0, minute: Int = 0, second: Int = 0, microsecond: Int = 0) {
        (self.year, self.month, self.day) = (year, month, day)
        (self.hour, self.minute, self.second, self.microsecond) = (hour, minute, second, microsecond)
    }

    /// Now, by the system's clock and zone.
    public static func now() -> JinjaDate {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        var seconds = time.tv_sec
        var parts = tm()
        localtime_r(&seconds, &parts)
        return JinjaDate(
            year: Int(parts.tm_year) + 1900, month: Int(parts.tm_mon) + 1, day: Int(parts.tm_mday),
            hour: Int(parts.tm_hour),
            minute: Int(parts.tm_min), second: Int(parts.tm_sec), microsecond: Int(time.tv_nsec) / 1000)
    }

    private static let months = [
        "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
        "December",
    ]
    private static let weekdays = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]

    private var isLeapYear: Bool { year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) }

    /// From 0.
    private var dayOfYear: Int {
        let before = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334][max(0, min(11, month - 1))]
        return before + (isLeapYear && month > 2 ? 1 : 0) + day - 1
    }

    /// From 0, Sunday.
    private var weekday: Int {
        let past = year - 1
        let days = past * 365 + past / 4 - past / 100 + past / 400 + dayOfYear
        // The first day of year 1 was a Monday.
        return (days + 1) % 7
    }

    /// ISO 8601's week and its year.
    private var isoWeek: (year: Int, week: Int) {
        let weekday = (self.weekday + 6) % 7
        let week = (dayOfYear - weekday + 10) / 7
        func weeks(in year: Int) -> Int {
            let last = JinjaDate(year: year, month: 12, day: 31)
            return last.weekday == 4 || (last.weekday == 5 && last.isLeapYear) ? 53 : 52
        }
        if week < 1 { return (year - 1, weeks(in: year - 1)) }
        return week > weeks(in: year) ? (year + 1, 1) : (year, week)
    }

    /// As C's `strftime` in the C locale, with its flags `-`, `_`, `0`, `^` and `#`, and Python's `%f`.
    public func formatted(_ format: String) -> String {
        let scalars = Array(format.unicodeScalars)
        var result = ""
        var position = 0
        while position < scalars.count {
            guard scalars[position] == "%" else {
                result.unicodeScalars.append(scalars[position])
                position += 1
                continue
            }
            let start = position
            position += 1
            var pad: Character?
            var isUpper = false
            flags: while position < scalars.count {
                switch scalars[position] {
                case "-", "_", "0": pad = Character(scalars[position])
                case "^", "#": isUpper = true
                default: break flags
                }
                position += 1
            }
            guard position < scalars.count, let text = field(Character(scalars[position]), pad: pad) else {
                // No directive stays as it is.
                result += String(scalars[start..<min(position + 1, scalars.count)])
                position += 1
                continue
            }
            position += 1
            result += isUpper ? text.uppercased() : text
        }
        return result
    }

    private func field(_ directive: Character, pad: Character?) -> String? {
        func number(_ value: Int, _ width: Int, _ fill: Character = "0") -> String {
            let fill: Character? = pad == "-" ? nil : pad == "_" ? " " : pad == "0" ? "0" : fill
            let digits = String(value)
            guard let fill else { return digits }
            return String(repeating: String(fill), count: max(0, width - digits.count)) + digits
        }
        let hour12 = hour % 12 == 0 ? 12 : hour % 12
        switch directive {
        case "Y": return number(year, 1)
        case "C": return number(year / 100, 2)
        case "y": return number(year % 100, 2)
        case "m": return number(month, 2)
        case "d": return number(day, 2)
        case "e": return number(day, 2, " ")
        case "H": return number(hour, 2)
        case "k": return number(hour, 2, " ")
        case "I": return number(hour12, 2)
        case "l": return number(hour12, 2, " ")
        case "M": return number(minute, 2)
        case "S": return number(second, 2)
        case "f": return PythonText.padded(String(microsecond), 6)
        case "j": return number(dayOfYear + 1, 3)
        case "B": return Self.months[max(0, min(11, month - 1))]
        case "b", "h": return String(Self.months[max(0, min(11, month - 1))].prefix(3))
        case "A": return Self.weekdays[weekday]
        case "a": return String(Self.weekdays[weekday].prefix(3))
        case "u": return number(weekday == 0 ? 7 : weekday, 1)
        case "w": return number(weekday, 1)
        case "U": return number((dayOfYear + 7 - weekday) / 7, 2)
        case "W": return number((dayOfYear + 7 - (weekday + 6) % 7) / 7, 2)
        case "V": return number(isoWeek.week, 2)
        case "G": return number(isoWeek.year, 1)
        case "g": return number(isoWeek.year % 100, 2)
        case "p": return hour < 12 ? "AM" : "PM"
        case "P": return hour < 12 ? "am" : "pm"
        case "D", "x": return formatted("%m/%d/%y")
        case "F": return formatted("%Y-%m-%d")
        case "T", "X": return formatted("%H:%M:%S")
        case "R": return formatted("%H:%M")
        case "r": return formatted("%I:%M:%S %p")
        case "c": return formatted("%a %b %e %H:%M:%S %Y")
        case "n": return "\n"
        case "t": return "\t"
        case "z", "Z": return ""
        case "%": return "%"
        default: return nil
        }
    }
}
