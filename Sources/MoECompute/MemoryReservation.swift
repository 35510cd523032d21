// SPDX-License-Identifier: Apache-2.0

import Glibc

/// Memory that the machine would not give.
public struct ResourceError: Error, Equatable, Sendable, CustomStringConvertible {
    public let what: String
    public let bytes: Int?

    public init(what: String, bytes: Int?) {
        self.what = what
        self.bytes = bytes
    }

    public var description: String {
        guard let bytes else { return "not enough memory for \(what)" }
        return "not enough memory for \(what): \(bytes / 1_048_576) MiB needed"
    }
}

/// Anonymous address space, resident only where it was touched. Freed with the object.
package final class MemoryReservation: @unchecked Sendable {
    package let base: UnsafeMutableRawPointer
    package let byteCount: Int

    /// - Parameter hugePages: whether Linux may give whole huge pages (2 MiB on x86) as soon as a part of one is touched: reading
    ///   much of the memory, again and again, then misses in the TLB less.
    /// - Throws: ``ResourceError`` when the kernel refuses.
    package init(bytes: Int, purpose: String, hugePages: Bool = false) throws {
        let pointer = mmap(nil, max(bytes, 1), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        guard let pointer, pointer != MAP_FAILED else { throw ResourceError(what: purpose, bytes: bytes) }
        // Advice only: a failure changes nothing but the speed.
        if hugePages { _ = madvise(pointer, bytes, MADV_HUGEPAGE) }
        base = pointer
        byteCount = bytes
    }

    /// Memory that the machine could give now; nil where /proc does not say.
    package static func availableBytes() -> Int? {
        guard
            let line = TextFile.read("/proc/meminfo")?.split(separator: "\n").first(where: { $0.hasPrefix("MemAvailable:") }
            ),
            let kibibytes = line.split(separator: " ").dropFirst().first.flatMap({ Int($0) })
        else { return nil }
        return kibibytes * 1024
    }

    deinit { munmap(base, max(byteCount, 1)) }
}
