// SPDX-License-Identifier: Apache-2.0

import Crypto
import Foundation
import Logging
import MoECompute
import MoEModel
import MoETensors

/// Work on a model's weights before its first use on this machine: shown as it goes on.
public struct WeightPreparation: Sendable, Equatable {
    /// The file that is written.
    public let path: String
    /// Bytes of weights.
    public let done: Int
    public let total: Int
}

/// A model's weights, some of them interleaved in a file of their own: written once, mapped from then on, so that memory holds one
/// copy and the next start waits for nothing. All else comes from the model's file.
///
/// The file: a header of 4 KiB (what it was made from), then the tensors, in the model's order, each at a multiple of 64 bytes. Its name
/// is the model's content hash and the layout. A file made from another state of the model's files, cut short, or of another version, is
/// made again.
final class RepackedWeights: WeightStore {
    private let model: any WeightStore
    private let file: MappedFile
    private let places: [String: Range<Int>]

    private init(model: any WeightStore, file: MappedFile, places: [String: Range<Int>]) {
        (self.model, self.file, self.places) = (model, file, places)
    }

    var source: String { model.source }
    var tensorNames: [String] { model.tensorNames }
    var tensorBytes: Int { model.tensorBytes }
    func problem(with name: String) -> ModelFileError? { model.problem(with: name) }

    func tensor(named name: String) -> TensorView? {
        guard let tensor = model.tensor(named: name) else { return nil }
        guard let place = places[name] else { return tensor }
        return TensorView(
            name: name, type: tensor.type, shape: tensor.shape, bytes: UnsafeRawBufferPointer(rebasing: file.bytes[place]),
            storage: file, isInterleaved: true)
    }

    // MARK: Opening

    private static let headerBytes = 4096

    /// The store to take a model's weights from.
    /// - Returns: nil for the model's own: not asked for, or (which is logged) there is nothing to interleave.
    static func open(
        _ file: ModelFile, identity: ModelIdentity, settings: Settings, isRowwise: Bool,
        progress: ((WeightPreparation) -> Void)?
    ) throws -> RepackedWeights? {
        guard settings.repack == .on else { return nil }
        guard settings.gemm == .auto || settings.gemm == .native else {
            throw SettingsError(
                "repack", expected: "off beside gemm '\(settings.gemm.rawValue)', which reads weights as they are",
                found: "on")
        }
        guard case .gguf(let gguf) = file, let stamp = Stamp(paths: gguf.paths) else {
            return nothing("the model is not in GGUF files of its own")
        }
        // Which path products take is chosen for several matrices at once.
        guard isRowwise else { return nothing("the model has float weights too, which BLAS multiplies here") }
        let tensors = gguf.tensorNames.compactMap { name in
            file.isEmbedding(name) ? nil : gguf.tensor(named: name).flatMap { isSuitable($0) ? $0 : nil }
        }
        guard !tensors.isEmpty else { return nothing("no weights of a type and size that this CPU has kernels for") }
        return try RepackedWeights(
            model: gguf, tensors: tensors, folder: try settings.repackFolder ?? defaultFolder(), identity: identity.hash,
            stamp: stamp, progress: progress)
    }

    /// A group of rows is converted at once. None of a model's comes near that size.
    private static func isSuitable(_ tensor: TensorView) -> Bool {
        Interleaving.group(tensor).map { $0 * tensor.rowBytes <= pieceBytes } ?? false
    }

    private static func nothing(_ reason: String) -> RepackedWeights? {
        Logger(label: "moe-infer").warning("repack is on and changes nothing: \(reason)")
        return nil
    }

    private static func defaultFolder() throws -> String {
        let environment = ProcessInfo.processInfo.environment
        if let folder = environment["XDG_CACHE_HOME"], folder.hasPrefix("/") { return folder + "/moe-infer/repacked" }
        guard let home = environment["HOME"], home.hasPrefix("/") else {
            throw RequestError("no folder for repacked weights: set MOE_REPACK_FOLDER")
        }
        return home + "/.cache/moe-infer/repacked"
    }

    private convenience init(
        model: GGUFFile, tensors: [TensorView], folder: String, identity: String, stamp: Stamp,
        progress: ((WeightPreparation) -> Void)?
    ) throws {
        var places: [String: Range<Int>] = [:]
        var end = Self.headerBytes
        for tensor in tensors {
            places[tensor.name] = end..<end + tensor.bytes.count
            end = (end + tensor.bytes.count + 63) / 64 * 64
        }
        // The layout is of this version; what the model is, and how its files were when it was read.
        let groups = Set(tensors.map { Interleaving.group($0)! }).sorted().map(String.init).joined(separator: "-")
        let facts = "moe-infer repacked weights, 1\n\(groups) rows\n\(identity)\n\(stamp.text)\n\(end) bytes\n"
        let header = Array(facts.utf8)
        let path = "\(folder)/\(identity.split(separator: ":").last!.prefix(32))-\(groups).weights"
        if let file = Self.file(path, header: header, size: end) {
            self.init(model: model, file: file, places: places)
            return
        }
        try Self.write(path, header: header, tensors: tensors, places: places, size: end, progress: progress)
        guard let file = Self.file(path, header: header, size: end) else {
            throw ModelFileError(file: path, problem: "not what was written to it")
        }
        self.init(model: model, file: file, places: places)
    }

    /// The file, if it is what the header says.
    private static func file(_ path: String, header: [UInt8], size: Int) -> MappedFile? {
        guard let file = try? MappedFile(path: path), file.bytes.count == size, file.bytes.starts(with: header),
            file.bytes[header.count] == 0
        else { return nil }
        return file
    }

    // MARK: Writing

    private static let pieceBytes = 8 << 20

    private static func write(
        _ path: String, header: [UInt8], tensors: [TensorView], places: [String: Range<Int>], size: Int,
        progress: ((WeightPreparation) -> Void)?
    ) throws {
        let folder = URL(filePath: path).deletingLastPathComponent()
        try FileManager.default.createDirectory(
            at: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        removeRemains(of: path, in: folder)
        let free = try folder.resourceValues(forKeys: [.volumeAvailableCapacityKey]).volumeAvailableCapacity
        guard free.map({ $0 - size >= 1 << 30 }) ?? true else {
            throw ModelFileError(
                file: path, problem: "no room for repacked weights", expected: "\(size + 1 << 30) bytes free",
                found: "\(free ?? 0)")
        }
        let output = try OutputFile(path: path)
        try output.write(header + [UInt8](repeating: 0, count: headerBytes - header.count))
        let total = tensors.reduce(0) { $0 + $1.bytes.count }
        var (done, end) = (0, headerBytes)
        let piece = UnsafeMutableRawBufferPointer.allocate(byteCount: pieceBytes, alignment: 64)
        defer { piece.deallocate() }
        for tensor in tensors {
            let place = places[tensor.name]!
            try output.write([UInt8](repeating: 0, count: place.lowerBound - end))
            end = place.upperBound
            let rows = tensor.bytes.count / tensor.rowBytes
            let group = Interleaving.group(tensor)!
            let step = pieceBytes / (tensor.rowBytes * group) * group
            for first in stride(from: 0, to: rows, by: step) {
                try Task.checkCancellation()
                let range = first..<min(first + step, rows)
                let part = UnsafeMutableRawBufferPointer(rebasing: piece[..<(range.count * tensor.rowBytes)])
                Interleaving.interleave(tensor, rows: range, into: part)
                try output.write(UnsafeRawBufferPointer(part))
                tensor.release(rows: range)  // read once
                done += part.count
                progress?(WeightPreparation(path: path, done: done, total: total))
            }
        }
        try output.write([UInt8](repeating: 0, count: size - end))
        try output.commit()
    }

    /// What processes that were killed while they wrote this file have left, where the file system knows no files without a name.
    private static func removeRemains(of path: String, in folder: URL) {
        let beginning = URL(filePath: path).lastPathComponent + "."
        for name in (try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []
        where name.hasPrefix(beginning) && name.hasSuffix(".part") {
            OutputFile.removeIfAbandoned(folder.appendingPathComponent(name).path)
        }
    }

    /// Size and time of the last change of a model's files: what tells, in a moment, that they are what they were.
    private struct Stamp {
        let text: String

        init?(paths: [String]) {
            var lines: [String] = []
            for path in paths {
                var status = stat()
                guard stat(path, &status) == 0 else { return nil }
                lines.append("\(status.st_size) bytes of \(status.st_mtim.tv_sec).\(status.st_mtim.tv_nsec)")
            }
            text = SHA256.hash(data: Data(lines.joined(separator: "\n").utf8)).map { String(format: "%02x", $0) }.joined()
        }
    }
}
