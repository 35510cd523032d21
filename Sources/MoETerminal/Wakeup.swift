// SPDX-License-Identifier: Apache-2.0

import Glibc

/// Tells a reader that waits for keys what else happened. Used from any thread.
package final class Wakeup: Sendable {
    package enum Event: UInt8, Sendable {
        /// Ctrl-C where it is a signal.
        case interrupt = 1
        /// The terminal's size changed.
        case resize
    }

    let descriptor: Int32
    private let writeEnd: Int32

    /// - Returns: nil when the system has no descriptors left.
    package init?() {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { return nil }
        for end in ends {
            _ = fcntl(end, F_SETFL, O_NONBLOCK)
            _ = fcntl(end, F_SETFD, FD_CLOEXEC)
        }
        (descriptor, writeEnd) = (ends[0], ends[1])
    }

    deinit {
        close(descriptor)
        close(writeEnd)
    }

    package func send(_ event: Event) {
        var byte = event.rawValue
        _ = write(writeEnd, &byte, 1)
    }

    /// Forgets what was sent.
    package func clear() { while next() != nil {} }

    func next() -> Event? {
        var byte: UInt8 = 0
        return read(descriptor, &byte, 1) == 1 ? Event(rawValue: byte) : nil
    }

    enum Ready {
        case input
        case event(Event)
        case timeout, failed
    }

    /// Waits until `input` can be read, an event is there, or `milliseconds` (-1: for ever) are over.
    func wait(for input: Int32, milliseconds: Int32) -> Ready {
        while true {
            if let event = next() { return .event(event) }
            var waits = [
                pollfd(fd: input, events: Int16(POLLIN), revents: 0),
                pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0),
            ]
            let count = poll(&waits, 2, milliseconds)
            if count < 0 {
                if errno == EINTR { continue }
                return .failed
            }
            if count == 0 { return .timeout }
            if waits[1].revents == 0 { return .input }
        }
    }
}
