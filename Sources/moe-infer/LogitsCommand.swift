// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import CDispatch
import Foundation
import Glibc
import MoEInfer

struct LogitsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "logits",
        abstract: "Write the logits after each of the given tokens, to compare with other programs.",
        discussion: """
            --output F.npy writes a float32 array [T, vocabulary], C order; without it one JSON document goes to standard
            output. Token ids are used as they are: nothing is added. The KV cache is f32 unless --kv says otherwise.

            EXAMPLES
              moe-infer logits --model tiny.gguf --tokens 1,2,3 --output logits.npy
              moe-infer logits --model tiny.gguf --tokens 1,2,3 --decode-from 2 --output logits.npy
            """)

    @Option(help: "Token ids, separated by commas.")
    var tokens: String

    @Option(help: "A .npy file.")
    var output: String?

    @Option(help: "Feed the tokens from this index on one at a time, through the cache, as generation does.")
    var decodeFrom: Int?

    @OptionGroup var model: ModelOptions
    @OptionGroup var routing: RoutingOptions

    func validate() throws {
        _ = try ids()
        if let decodeFrom, !(1...max(1, try ids().count)).contains(decodeFrom) {
            throw ValidationError("--decode-from must be from 1 to the number of tokens")
        }
    }

    private func ids() throws -> [Int32] {
        let items = tokens.split(separator: ",", omittingEmptySubsequences: false)
        return try items.map { item in
            guard let id = Int32(item.trimmingCharacters(in: .whitespaces)), id >= 0 else {
                throw ValidationError("--tokens expects ids separated by commas, found '\(item)'")
            }
            return id
        }
    }

    func run() async throws {
        let ids = try ids()
        let policies = try routing.policies()
        var settings = try await model.settings(context: ids.count)
        settings.batch = 1
        settings.kvPrecision = settings.kvPrecision ?? .f32
        let llm = try await model.load(settings)
        let path = output
        let from = decodeFrom
        try await Interrupts.cancelling {
            if let path {
                let writer = try NPYWriter(path: path, rows: ids.count, columns: llm.vocabularySize)
                do {
                    try await llm.logits(ids, decodeFrom: from, routing: policies) { try writer.append($0) }
                    try writer.close()
                } catch {
                    writer.abandon()
                    throw error
                }
                Terminal.error("\(path): float32 [\(ids.count), \(llm.vocabularySize)]")
            } else {
                let rows = Rows()
                try await llm.logits(ids, decodeFrom: from, routing: policies) { rows.append($0) }
                try Terminal.write(json: rows.values)
            }
        }
    }
}

/// Rows as they come. Used by one task at a time.
private final class Rows: @unchecked Sendable {
    private(set) var values: [[Float]] = []
    func append(_ row: UnsafeBufferPointer<Float>) { values.append(Array(row)) }
}

/// A two-dimensional float32 array in NumPy's format, version 1.0, written row by row. A regular file is written beside its
/// destination and moved there at the end, so that nothing incomplete is left behind; anything else (a device, a pipe) is
/// written through. Used by one task at a time.
final class NPYWriter: @unchecked Sendable {
    private let path: String
    /// nil: written through.
    private let temporary: String?
    private let file: FileHandle

    init(path: String, rows: Int, columns: Int) throws {
        // Through links, so that their target is written and not the link replaced.
        self.path = URL(fileURLWithPath: path).resolvingSymlinksInPath().path
        var status = stat()
        let exists = stat(self.path, &status) == 0
        let descriptor: Int32
        if exists, status.st_mode & S_IFMT != S_IFREG {
            temporary = nil
            descriptor = open(self.path, O_WRONLY | O_CLOEXEC)
        } else {
            let name = "\(self.path).\(getpid()).part"
            temporary = name
            descriptor = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
        }
        guard descriptor >= 0 else {
            throw InputError(description: "\(path): cannot be written: \(String(cString: strerror(errno)))")
        }
        file = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
        if let temporary { Interrupts.remove(temporary) }
        var header = "{'descr': '<f4', 'fortran_order': False, 'shape': (\(rows), \(columns)), }"
        // The data begins at a multiple of 64; the header ends with a newline.
        let padding = 64 - (10 + header.utf8.count + 1) % 64
        header += String(repeating: " ", count: padding % 64) + "\n"
        let length = header.utf8.count
        do {
            try file.write(contentsOf: [0x93] + Array("NUMPY".utf8) + [1, 0, UInt8(length & 255), UInt8(length >> 8)])
            try file.write(contentsOf: Data(header.utf8))
        } catch {
            abandon()
            throw error
        }
    }

    func append(_ row: UnsafeBufferPointer<Float>) throws {
        try file.write(contentsOf: Data(buffer: row))
    }

    func close() throws {
        try file.close()
        guard let temporary else { return }
        guard rename(temporary, path) == 0 else {
            throw InputError(description: "\(path): cannot be written: \(String(cString: strerror(errno)))")
        }
        Interrupts.keepFiles()
    }

    func abandon() {
        try? file.close()
        if let temporary { unlink(temporary) }
    }
}
