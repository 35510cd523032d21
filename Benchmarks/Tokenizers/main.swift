// SPDX-License-Identifier: Apache-2.0

// Cuts and encodes texts in bulk, for Tools/tokenizers: commands on standard input, answers on standard output, all numbers 32 bits
// little-endian, a string its length and its bytes.
//
//   'S' name, count, texts            -> for each the number of pieces and their lengths (count -1: not known)
//   'R' pattern, engine, count, texts -> the same by an expression
//   'L' path                          -> 0, or the length and the text of an error
//   'E' flags, count, texts           -> for each the number of ids and the ids; flags: 1 add special tokens, 2 parse them
//   'D' count, (count, ids)           -> for each its text
//   'T' repetitions, text             -> nanoseconds of this thread in the fastest encoding (64 bits), number of ids

import Foundation
import MoEInfer
import MoETokenizer

let input = FileHandle.standardInput
let output = FileHandle.standardOutput

func read(_ count: Int) -> [UInt8]? {
    var bytes: [UInt8] = []
    while bytes.count < count {
        guard let more = try? input.read(upToCount: count - bytes.count), !more.isEmpty else { return nil }
        bytes += more
    }
    return bytes
}

func number() -> Int {
    guard let b = read(4) else { exit(1) }
    return Int(Int32(bitPattern: UInt32(b[0]) | UInt32(b[1]) << 8 | UInt32(b[2]) << 16 | UInt32(b[3]) << 24))
}

func string() -> [UInt8] {
    let count = number()
    guard count >= 0, let bytes = read(count) else { exit(1) }
    return bytes
}

var answer = Data()

/// Nanoseconds that this thread has run: what else runs on the machine does not count.
func threadTime() -> Int {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return time.tv_sec * 1_000_000_000 + time.tv_nsec
}

@MainActor func write(_ value: Int) {
    withUnsafeBytes(of: Int32(truncatingIfNeeded: value).littleEndian) { answer.append(contentsOf: $0) }
}

@MainActor func flush() {
    output.write(answer)
    answer.removeAll(keepingCapacity: true)
}

@MainActor func write(list: [Int]?) {
    write(list?.count ?? -1)
    for value in list ?? [] { write(value) }
    if answer.count > 1 << 16 { flush() }
}

@MainActor func write(text: some Collection<UInt8>) {
    write(text.count)
    answer.append(contentsOf: text)
}

var tokenizer: Tokenizer?

while let command = read(1)?.first {
    switch Character(Unicode.Scalar(command)) {
    case "S":
        let name = String(decoding: string(), as: UTF8.self)
        let probe = SplitProbe(name: name)
        for _ in 0..<number() { write(list: probe?.pieces(of: string())) }
    case "R":
        let pattern = String(decoding: string(), as: UTF8.self)
        let engine = String(decoding: string(), as: UTF8.self).split(separator: "/")
        let kind = SplitProbe.Engine(rawValue: String(engine[0])) ?? .chosen
        let probe = SplitProbe(pattern: pattern, engine: kind, isRust: engine.last == "rust")
        for _ in 0..<number() { write(list: probe?.pieces(of: string())) }
    case "L":
        do {
            tokenizer = try Tokenizer.load(path: String(decoding: string(), as: UTF8.self))
            write(0)
        } catch {
            write(text: "\(error)".utf8)
        }
    case "E":
        let flags = number()
        for _ in 0..<number() {
            let ids = tokenizer?.encode(bytes: string(), addSpecial: flags & 1 != 0, parseSpecial: flags & 2 != 0)
            write(list: ids?.map(Int.init))
        }
    case "D":
        for _ in 0..<number() {
            let ids = (0..<number()).map { _ in Int32(number()) }
            write(text: (tokenizer?.decode(ids) ?? "").utf8)
        }
    case "T":
        let repetitions = number()
        let text = string()
        var nanoseconds = Int.max
        var count = 0
        for _ in 0..<max(repetitions, 1) {
            let started = threadTime()
            count = tokenizer?.encode(bytes: text, addSpecial: false).count ?? 0
            nanoseconds = min(nanoseconds, threadTime() - started)
        }
        write(nanoseconds & 0xFFFF_FFFF)
        write(nanoseconds >> 32)
        write(count)
    default: exit(2)
    }
    flush()
}
