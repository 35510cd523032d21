// SPDX-License-Identifier: Apache-2.0

import Foundation
import MoEJinja
import Testing

@Suite struct JinjaDateTests {
    /// Weeks at the turns of years; expected: Python's `strftime`.
    @Test(arguments: [
        (2026, 1, 1, "Thu 001 00 00 01 2026 4 4"), (2021, 1, 3, "Sun 003 01 00 53 2020 7 0"),
        (2020, 12, 31, "Thu 366 52 52 53 2020 4 4"),
        (2024, 12, 30, "Mon 365 52 53 01 2025 1 1"), (2000, 2, 29, "Tue 060 09 09 09 2000 2 2"),
        (1999, 12, 31, "Fri 365 52 52 52 1999 5 5"),
    ])
    func weeks(year: Int, month: Int, day: Int, expected: String) {
        #expect(JinjaDate(year: year, month: month, day: day).formatted("%a %j %U %W %V %G %u %w") == expected)
    }

    /// Prevents: a date of today that is another day's.
    @Test func now() {
        let parts = Calendar.current.dateComponents([.year], from: Date())
        #expect(abs(JinjaDate.now().year - (parts.year ?? 0)) <= 1)
        #expect(1...12 ~= JinjaDate.now().month && 1...31 ~= JinjaDate.now().day)
    }
}
