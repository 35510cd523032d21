// SPDX-License-Identifier: Apache-2.0

/// A text that is no JSON: what is wrong, and at which byte of the text.
package struct JSONError: Error, Equatable, Sendable {
    package let what: String
    package let offset: Int

    package init(what: String, offset: Int) {
        self.what = what
        self.offset = offset
    }
}
