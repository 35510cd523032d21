// SPDX-License-Identifier: Apache-2.0

import Logging

/// The library's log as lines for people: warnings and errors only, on standard error, without time and place.
struct TerminalLog: LogHandler {
    var logLevel = Logger.Level.warning
    var metadata = Logger.Metadata()

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        Terminal.error("\(event.level): \(Terminal.oneLine(event.message.description))")
    }
}
