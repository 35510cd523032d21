// SPDX-License-Identifier: Apache-2.0

import Glibc

/// A file that is written whole or not at all: beside its place, and moved there by ``commit()``. One that is dropped before
/// leaves nothing. A device or a pipe is written through. Used by one task at a time.
package final class OutputFile {
    /// As the caller named it, for messages.
    private let path: String
    /// With links resolved, so that their target is replaced and not the link.
    private let destination: String
    /// Where the content is before ``commit()``, if only for the moment between a name and the right one; nil: written through.
    package private(set) var temporary: String?
    /// Whether there is a file of that name. Where the file system can, it has none while it is written: a process that is killed
    /// leaves nothing.
    private var isNamed = false
    private var descriptor: Int32 = -1

    /// - Throws: ``ModelFileError``: the folder is missing, cannot be written …
    package init(path: String) throws(ModelFileError) {
        self.path = path
        guard !path.utf8.contains(0) else {
            throw ModelFileError(file: path, problem: "cannot be written: the path has a zero byte")
        }
        destination = try Self.resolved(path)
        let kind = MappedFile.kind(path: destination)
        if let kind, kind != .file {
            descriptor = open(destination, O_WRONLY | O_CLOEXEC)
        } else {
            // Whoever looks for what killed processes left (``removeIfAbandoned(_:)``) tells by the lock that this one lives.
            descriptor = Self.openNameless(beside: destination)
            if descriptor < 0 {
                descriptor = try named { open($0, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666) }
                isNamed = true
            } else {
                temporary = Self.name(destination, 0)
            }
            _ = flock(descriptor, LOCK_EX | LOCK_NB)
        }
        guard descriptor >= 0 else { throw Self.failure(path, errno) }
    }

    deinit {
        guard descriptor >= 0 else { return }
        close(descriptor)
        removeTemporary()
    }

    private func removeTemporary() {
        if let temporary, isNamed { unlink(temporary) }
    }

    private static func name(_ destination: String, _ attempt: Int) -> String {
        "\(destination).\(getpid())\(attempt == 0 ? "" : "-\(attempt)").part"
    }

    /// Makes a temporary name; one that is taken, by a process of another container or one that was killed, is left alone.
    private func named(_ make: (String) -> Int32) throws(ModelFileError) -> Int32 {
        for attempt in 0..<1000 {
            let name = Self.name(destination, attempt)
            let result = make(name)
            guard result < 0 else {
                temporary = name
                return result
            }
            guard errno == EEXIST else { break }
        }
        throw Self.failure(path, errno)
    }

    /// Removes a temporary file that nobody writes any more.
    package static func removeIfAbandoned(_ temporary: String) {
        let descriptor = open(temporary, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        if flock(descriptor, LOCK_EX | LOCK_NB) == 0 { unlink(temporary) }
    }

    private static func openNameless(beside path: String) -> Int32 {
        // A name that cannot be had is an error now, not when all is written.
        let last = name(path, 0).split(separator: "/").last ?? ""
        guard access("/proc/self/fd", X_OK) == 0, last.utf8.count <= 255 else { return -1 }
        let folder = path.contains("/") ? path[..<path.lastIndex(of: "/")!] + "/" : "."
        let nameless: Int32 = 0o20_000_000 | O_DIRECTORY  // O_TMPFILE, a macro that Swift does not see
        return open(String(folder), nameless | O_WRONLY | O_CLOEXEC, 0o666)
    }

    package func write(_ bytes: UnsafeRawBufferPointer) throws(ModelFileError) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let written = Glibc.write(descriptor, UnsafeRawBufferPointer(rebasing: rest).baseAddress, rest.count)
            if written >= 0 {
                rest = rest.dropFirst(written)
            } else if errno != EINTR {
                throw Self.failure(path, errno)
            }
        }
    }

    package func write(_ bytes: [UInt8]) throws(ModelFileError) {
        var failure: ModelFileError?
        bytes.withUnsafeBytes { buffer in
            do throws(ModelFileError) { try write(buffer) } catch { failure = error }
        }
        if let failure { throw failure }
    }

    /// Moves the content to its place once it is on the disk: a full one may say so only now.
    package func commit() throws(ModelFileError) {
        if temporary != nil {
            guard fsync(descriptor) == 0 else { throw Self.failure(path, errno) }
            if !isNamed {
                let own = "/proc/self/fd/\(descriptor)"
                _ = try named { linkat(AT_FDCWD, own, AT_FDCWD, $0, AT_SYMLINK_FOLLOW) }
                isNamed = true
            }
        }
        let closed = close(descriptor)
        descriptor = -1
        guard closed == 0, temporary.map({ rename($0, destination) == 0 }) ?? true else {
            let problem = errno
            removeTemporary()
            throw Self.failure(path, problem)
        }
    }

    /// Removes a file, or a link.
    package static func remove(_ path: String) throws(ModelFileError) {
        guard !path.utf8.contains(0), unlink(path) == 0 else {
            throw ModelFileError(file: path, problem: "cannot be removed: \(lastSystemError())")
        }
    }

    private static func resolved(_ path: String) throws(ModelFileError) -> String {
        if let real = realpath(path, nil) {
            defer { free(real) }
            return String(cString: real)
        }
        guard MappedFile.isAbsent(path) else { throw failure(path, errno) }
        return path
    }

    private static func failure(_ path: String, _ number: Int32) -> ModelFileError {
        ModelFileError(file: path, problem: "cannot be written: \(String(cString: strerror(number)))")
    }
}
