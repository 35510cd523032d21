// SPDX-License-Identifier: Apache-2.0

import Glibc
import Synchronization

/// How the terminal treats keys. Whatever was set is undone when the program ends, also by `exit`.
package enum TerminalMode {
    /// Every key as it comes: nothing is echoed, no key is a signal.
    case raw
    /// Lines and signals as usual, but nothing is echoed: keys typed while somebody else writes.
    case quiet
    case original

    private static let saved = Mutex<(descriptor: Int32, mode: termios)?>(nil)

    /// - Returns: whether `descriptor` is a terminal that took it.
    @discardableResult
    package func set(_ descriptor: Int32) -> Bool {
        let original = Self.saved.withLock { saved -> termios? in
            if saved == nil {
                var mode = termios()
                guard tcgetattr(descriptor, &mode) == 0 else { return nil }
                saved = (descriptor, mode)
                atexit { TerminalMode.restore() }
            }
            return saved?.mode
        }
        guard var mode = original else { return false }
        switch self {
        case .raw:
            mode.c_lflag &= ~tcflag_t(ICANON | ECHO | ISIG | IEXTEN)
            mode.c_iflag &= ~tcflag_t(ICRNL | INLCR | IGNCR | IXON)
            withUnsafeMutableBytes(of: &mode.c_cc) { codes in
                codes[Int(VMIN)] = 1
                codes[Int(VTIME)] = 0
            }
        case .quiet: mode.c_lflag &= ~tcflag_t(ECHO)
        case .original: break
        }
        // What was typed ahead stays.
        return tcsetattr(descriptor, TCSADRAIN, &mode) == 0
    }

    /// Puts everything back.
    package static func restore() {
        saved.withLock { saved in
            guard let (descriptor, original) = saved else { return }
            var mode = original
            // A program that was put into the background must not touch the terminal: it would be stopped.
            if tcgetpgrp(descriptor) == getpgrp() { tcsetattr(descriptor, TCSADRAIN, &mode) }
        }
    }

    /// Columns and rows; nil where nobody knows.
    package static func size(_ descriptor: Int32) -> (columns: Int, rows: Int)? {
        var size = winsize()
        guard ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0, size.ws_row > 0 else { return nil }
        return (Int(size.ws_col), Int(size.ws_row))
    }
}
