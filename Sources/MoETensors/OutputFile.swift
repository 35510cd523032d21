// SPDX-License-Identifier: Apache-2.0

import Glibc

/// A file that is written whole or not at all: beside its place, and moved there by ``commit()``. One that is dropped before
/// leaves nothing. A device or a pipe is written through. Used by one task at a time.
package final class OutputFile {
    /// As the caller named it, for messages.
    private let path: String
    /// With links resolved, so that their target is replaced and not the link.
    private let destination: String
    /// Where the content is until ``commit()``; nil: written through.
    package let temporary: String?
    private var descriptor: Int32

    /// - Throws: ``ModelFileError``: the folder is missing, cannot be written …
    package init(path: String) throws(ModelFileError) {
        self.path = path
        guard !path.utf8.contains(0) else {
            throw ModelFileError(file: path, problem: "cannot be written: the path has a zero byte")
        }
        destination = try Self.resolved(path)
        let kind = MappedFile.kind(path: destination)
        if let kind, kind != .file {
            temporary = nil
            descriptor = open(destination, O_WRONLY | O_CLOEXEC)
        } else {
            let name = "\(destination).\(getpid()).part"
            temporary = name
            descriptor = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
        }
        guard descriptor >= 0 else { throw Self.failure(path, errno) }
    }

    deinit {
        guard descriptor >= 0 else { return }
        close(descriptor)
        if let temporary { unlink(temporary) }
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
        if temporary != nil, fsync(descriptor) != 0 { throw Self.failure(path, errno) }
        guard close(descriptor) == 0 else {
            let problem = errno
            descriptor = -1
            if let temporary { unlink(temporary) }
            throw Self.failure(path, problem)
        }
        descriptor = -1
        guard let temporary, rename(temporary, destination) != 0 else { return }
        let problem = errno
        unlink(temporary)
        throw Self.failure(path, problem)
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
