// SPDX-License-Identifier: Apache-2.0

import Foundation
public import Logging
import MoEJSON
import Synchronization

/// A server's log on standard error: a line per event, as text for people or as JSON for collectors.
public struct ServerLog: LogHandler {
    public enum Format: String, Sendable, CaseIterable { case text, json }

    public var logLevel = Logger.Level.info
    public var metadata = Logger.Metadata()
    private let format: Format
    private static let lock = Mutex(())

    public init(format: Format, level: Logger.Level = .info) { (self.format, logLevel) = (format, level) }

    public subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    public func log(event: LogEvent) {
        var all = metadata
        if let more = event.metadata { all.merge(more) { $1 } }
        all["hb.request.id"] = nil
        let time = Date.now.ISO8601Format(.init(includingFractionalSeconds: true))
        let sorted = all.sorted { $0.key < $1.key }
        var line: [UInt8]
        switch format {
        case .json:
            var json: JSONMembers = [
                "time": .string(time), "level": .string(event.level.rawValue),
                "message": .string(event.message.description),
            ]
            for (key, value) in sorted { json.append(key, .string(value.description)) }
            line = JSONTree.object(json).bytes
        case .text:
            let pairs = sorted.map { " \($0.key)=\($0.value)" }.joined()
            line = Array("\(time) \(event.level) \(event.message)\(pairs)".utf8).map { $0 < 0x20 || $0 == 0x7F ? 0x20 : $0 }
        }
        line.append(UInt8(ascii: "\n"))
        Self.lock.withLock { _ in try? FileHandle.standardError.write(contentsOf: line) }
    }
}
