// SPDX-License-Identifier: Apache-2.0

import Glibc

/// The bytes of a file, read-only, in the page cache: opening costs no read, and no byte is there twice.
///
/// Lifetime: ``bytes`` is valid as long as this object is; every ``TensorView`` keeps it. The file must not be shortened while
/// it is mapped: as for every mapped file, a later read past the new end would be a bus error.
package final class MappedFile: @unchecked Sendable {
    /// The path, or the name of memory that is no file; for error messages.
    package let name: String
    package let bytes: UnsafeRawBufferPointer
    private let isMapping: Bool

    /// Maps a regular file that is not empty.
    package init(path: String) throws(ModelFileError) {
        let descriptor = try FileDescriptor(regularFile: path)
        defer { close(descriptor.number) }
        guard descriptor.size > 0 else { throw ModelFileError(file: path, problem: "the file is empty") }
        guard let base = mmap(nil, descriptor.size, PROT_READ, MAP_PRIVATE, descriptor.number, 0), base != MAP_FAILED else {
            throw ModelFileError(file: path, problem: "cannot map the file into memory: \(lastSystemError())")
        }
        // What is not in memory yet is then read in huge pages, where the file system has them (ext4 since Linux 6.16): experts are
        // met in any order, and by the kernel's own guess they would come in small ones. Advice only.
        _ = madvise(base, descriptor.size, MADV_HUGEPAGE)
        name = path
        bytes = UnsafeRawBufferPointer(start: base, count: descriptor.size)
        isMapping = true
    }

    /// Memory that holds a file's content, for example one embedded in the program.
    /// - Parameter bytes: valid, unchanged, until the process ends (or this object and all views on it are gone).
    package init(memory bytes: UnsafeRawBufferPointer, name: String) throws(ModelFileError) {
        guard bytes.count > 0 else { throw ModelFileError(file: name, problem: "the file is empty") }
        self.name = name
        self.bytes = bytes
        isMapping = false
    }

    deinit {
        if isMapping { munmap(UnsafeMutableRawPointer(mutating: bytes.baseAddress), bytes.count) }
    }

    /// Asks the system to read the file ahead, in the background. Advice only: a failure changes nothing but the speed.
    package func prefetch() {
        if isMapping { _ = madvise(UnsafeMutableRawPointer(mutating: bytes.baseAddress), bytes.count, MADV_WILLNEED) }
    }

    /// Gives the memory of a range back to the system: it is read anew when it is looked at again. For a pass over a file that
    /// is larger than memory.
    func release(_ range: Range<Int>) {
        guard isMapping else { return }
        let page = Int(sysconf(Int32(_SC_PAGESIZE)))
        let (start, end) = (range.lowerBound / page * page, range.upperBound / page * page)
        guard start < end else { return }
        _ = madvise(UnsafeMutableRawPointer(mutating: bytes.baseAddress! + start), end - start, MADV_DONTNEED)
    }

    /// All bytes of a regular file, copied; empty files are allowed.
    /// - Parameter limit: the most bytes that are read; a larger file is an error.
    package static func contents(path: String, limit: Int) throws(ModelFileError) -> [UInt8] {
        let descriptor = try FileDescriptor(regularFile: path)
        defer { close(descriptor.number) }
        guard descriptor.size <= limit else {
            throw ModelFileError(
                file: path, problem: "the file is too large", expected: "at most \(limit) bytes",
                found: "\(descriptor.size)")
        }
        var failure: ModelFileError?
        let content = [UInt8](unsafeUninitializedCapacity: descriptor.size) { buffer, count in
            while count < descriptor.size {
                let got = read(descriptor.number, buffer.baseAddress! + count, descriptor.size - count)
                if got < 0, errno == EINTR { continue }
                if got < 0 {
                    failure = ModelFileError(file: path, problem: "cannot read the file: \(lastSystemError())")
                }
                if got <= 0 { break }
                count += got
            }
        }
        if let failure { throw failure }
        return content
    }

    /// What a path leads to, links followed; nil when nothing is there.
    package static func kind(path: String) -> Kind? {
        guard !path.utf8.contains(0) else { return nil }
        var status = stat()
        guard stat(path, &status) == 0 else { return nil }
        return Kind(mode: status.st_mode)
    }

    /// Whether there is nothing of this name, not even a link that leads nowhere.
    package static func isAbsent(_ path: String) -> Bool {
        guard !path.utf8.contains(0) else { return false }
        var status = stat()
        return lstat(path, &status) != 0 && errno == ENOENT
    }

    /// Whether two paths lead to one file, by whatever names.
    package static func isSame(_ first: String, _ second: String) -> Bool {
        var (one, other) = (stat(), stat())
        guard stat(first, &one) == 0, stat(second, &other) == 0 else { return false }
        return one.st_dev == other.st_dev && one.st_ino == other.st_ino
    }

    package enum Kind: String, Sendable {
        case file = "a regular file"
        case directory = "a directory"
        case pipe = "a pipe"
        case device = "a device"
        case socket = "a socket"

        init(mode: mode_t) {
            switch mode & S_IFMT {
            case S_IFDIR: self = .directory
            case S_IFIFO: self = .pipe
            case S_IFSOCK: self = .socket
            case S_IFREG: self = .file
            default: self = .device
            }
        }
    }
}

/// An open regular file and its size. Whoever makes it closes `number`.
private struct FileDescriptor {
    let number: Int32
    /// bytes
    let size: Int

    init(regularFile path: String) throws(ModelFileError) {
        // A C string would end there, and name another file.
        guard !path.utf8.contains(0) else {
            throw ModelFileError(file: path, problem: "cannot open: the path has a zero byte")
        }
        // O_NONBLOCK: opening a pipe that nobody writes to must not wait. It changes nothing for regular files.
        let number = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard number >= 0 else { throw ModelFileError(file: path, problem: "cannot open: \(lastSystemError())") }
        var status = stat()
        guard fstat(number, &status) == 0 else {
            let reason = lastSystemError()
            close(number)
            throw ModelFileError(file: path, problem: "cannot open: \(reason)")
        }
        let kind = MappedFile.Kind(mode: status.st_mode)
        guard kind == .file else {
            close(number)
            throw ModelFileError(
                file: path, problem: "cannot open", expected: MappedFile.Kind.file.rawValue, found: kind.rawValue)
        }
        self.number = number
        size = Int(status.st_size)
    }
}

/// What the last failed system call says, for a message: "No such file or directory".
func lastSystemError() -> String { String(cString: strerror(errno)) }
