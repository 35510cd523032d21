// SPDX-License-Identifier: Apache-2.0

import MoEJSON
import Testing

@Suite struct JSONDocumentTests {
    private func error(_ text: [UInt8]) -> JSONError? {
        do {
            _ = try JSONDocument(text)
            return nil
        } catch { return error }
    }

    private func error(_ text: String) -> JSONError? { error([UInt8](text.utf8)) }

    @Test func kinds() throws {
        let text = #" {"o": {"k": []}, "a": [1, "b"], "s": "t", "i": -12, "d": 1.5, "t": true, "f": false, "n": null} "#
        let json = try JSONDocument([UInt8](text.utf8))
        func member(_ name: String) -> JSONDocument.Value? { json.member(name, of: json.root) }
        #expect(json.object(json.root)?.map { json.string($0.key) } == ["o", "a", "s", "i", "d", "t", "f", "n"])
        #expect(json.object(json.root)?.count == 8)
        #expect(json.array(json.member("k", of: member("o")))?.isEmpty == true)
        #expect(json.array(member("a"))?.count == 2)
        #expect(json.int(json.array(member("a"))?.first) == 1)
        #expect(json.string(json.array(member("a"))?.dropFirst().first) == "b")
        #expect(json.string(member("s")) == "t" && json.bytes(member("s")) == [UInt8(ascii: "t")])
        #expect(json.withBytes(member("s")) { $0.count } == 1)
        #expect(json.int(member("i")) == -12 && json.double(member("i")) == -12)
        #expect(json.double(member("d")) == 1.5 && json.int(member("d")) == nil)
        #expect(json.bool(member("t")) == true && json.bool(member("f")) == false)
        #expect(json.isNull(member("n")) && json.isNull(nil) && !json.isNull(member("f")))
        #expect(try json.offset(#require(member("i"))) == text.prefix { $0 != "-" }.utf8.count)
        #expect(member("x") == nil)
        for name in ["o", "a", "s", "i", "d", "t", "f", "n", "absent"] {
            let value = member(name)
            #expect((json.object(value) != nil) == (name == "o"))
            #expect((json.array(value) != nil) == (name == "a"))
            #expect((json.string(value) != nil) == (name == "s") && (json.bytes(value) != nil) == (name == "s"))
            #expect((json.double(value) != nil) == (name == "i" || name == "d"))
            #expect((json.bool(value) != nil) == (name == "t" || name == "f"))
            #expect(json.member("k", of: value) == nil || name == "o")
        }
    }

    @Test func numbers() throws {
        for (text, integer, double) in [
            ("0", 0, 0), ("-0", 0, 0), ("7", 7, 7), ("1e6", 1_000_000, 1e6), ("10000.0", 10_000, 1e4), ("1E+2", 100, 100),
            ("0.5", nil, 0.5), ("-2.5e-3", nil, -0.0025), ("999999999999999999", 999_999_999_999_999_999, 1e18),
            ("9223372036854775807", .max, 0x1p63), ("-9223372036854775808", .min, -0x1p63),
            ("9223372036854775808", nil, 0x1p63), ("1000000000000000019884624838656", nil, 1e30), ("1e-400", 0, 0),
            ("Infinity", nil, .infinity), ("-Infinity", nil, -.infinity),
        ] as [(String, Int?, Double)] {
            let json = try JSONDocument([UInt8](text.utf8))
            #expect(json.int(json.root) == integer, "\(text)")
            #expect(json.double(json.root) == double, "\(text)")
        }
        let nan = try JSONDocument([UInt8]("NaN".utf8))
        #expect(nan.double(nan.root)?.isNaN == true && nan.int(nan.root) == nil)
        // What is written as an integer can be told from what is one.
        let json = try JSONDocument([UInt8]("[1, 1.0, 9223372036854775808]".utf8))
        let kinds = try #require(json.array(json.root)).map { value in
            switch json.content(value) {
            case .integer: "integer"
            case .double: "double"
            default: "neither"
            }
        }
        #expect(kinds == ["integer", "double", "double"])
    }

    @Test func strings() throws {
        for (text, expected) in [
            ("\"\"", ""), ("\"plain 木 é 😀\"", "plain 木 é 😀"), (#""a\n\u00e9\ud83d\uDE00\"\/木\\""#, "a\né😀\"/木\\"),
            (#""\b\f\n\r\t""#, "\u{8}\u{c}\n\r\t"), (#""\u0000\u007f\uFFFF\udbff\udfff""#, "\0\u{7f}\u{ffff}\u{10ffff}"),
            ("\u{feff}\"after a byte order mark\"", "after a byte order mark"),
            ("\"\u{7f}\u{80}\u{10ffff}\"", "\u{7f}\u{80}\u{10ffff}"),
        ] {
            let json = try JSONDocument([UInt8](text.utf8))
            #expect(json.string(json.root) == expected)
            #expect(json.bytes(json.root) == [UInt8](expected.utf8))
        }
        // Strings with escapes do not lie where the others lie.
        let json = try JSONDocument([UInt8](#"{"a\u0062": "\u0031", "plain": "2", "\n": "3\t", "": "4"}"#.utf8))
        #expect(json.object(json.root)?.map { json.string($0.value) } == ["1", "2", "3\t", "4"])
        for (name, value) in [("ab", "1"), ("plain", "2"), ("\n", "3\t"), ("", "4")] {
            #expect(json.string(json.member(name, of: json.root)) == value)
        }
    }

    /// Each with the byte that is wrong.
    @Test(arguments: [
        ("", 0), (" ", 1), ("{", 1), ("}", 0), ("[", 1), ("]", 0), ("{\"a\"", 4), ("{\"a\":", 5), ("{\"a\":}", 5),
        ("{\"a\":1", 6), ("{\"a\":1,", 7), ("{\"a\":1,}", 7), ("{a:1}", 1), ("{'a':1}", 1), ("{1:1}", 1), ("{\"a\" 1}", 5),
        ("01", 1), ("-01", 2), ("1.", 2), (".5", 0), ("+1", 0), ("-", 1), ("--1", 1), ("1e", 2), ("1e+", 3), ("1.e1", 2),
        ("1e400", 5), ("-1e400", 6), ("0x10", 1), ("1_000", 1), ("tru", 0), ("True", 0), ("falsey", 5), ("nul", 0),
        ("Nan", 0), ("inf", 0), ("-Inf", 1), ("[1,]", 3), ("[,1]", 1), ("[1 2]", 3), ("[1}", 2), ("{\"a\":1]", 6),
        ("[1,,2]", 3), ("// no\n1", 0), ("\"\\x\"", 3), ("\"\\u12g4\"", 5), ("\"\\u+123\"", 3), ("\"\\ud800\"", 7),
        ("\"\\ud800\\n\"", 7), ("\"\\ud800\\u0041\"", 13), ("\"\\udc00\"", 7), ("\"\n\"", 1), ("\"b\\\n\"", 4),
        ("\"\u{1f}\"", 1), ("\"b", 2), ("\"\\", 2), ("\"\\u12", 5), ("{} {}", 3), ("{}x", 2), ("{\"a\":1}}", 7), ("\0", 0),
        ("1\u{a0}", 1), ("\u{feff}\u{feff}1", 3),
    ])
    func malformed(text: String, offset: Int) {
        let error = error(text)
        #expect(error?.offset == offset, "\(error.map { "\($0)" } ?? "no error")")
    }

    /// All that the Unicode Standard excludes: lone and missing continuations, overlong forms, surrogates, beyond U+10FFFF.
    @Test(
        arguments: [
            [0x80], [0xbf], [0xc0, 0x80], [0xc1, 0xbf], [0xc3], [0xc3, 0x41], [0xe0, 0x80, 0x80], [0xe0, 0x9f, 0xbf],
            [0xe6, 0x9c],
            [0xe6, 0x9c, 0xc0], [0xed, 0xa0, 0x80], [0xed, 0xbf, 0xbf], [0xf0, 0x80, 0x80, 0x80], [0xf0, 0x8f, 0xbf, 0xbf],
            [0xf0, 0x9f, 0x98], [0xf0, 0x9f, 0x98, 0x41], [0xf4, 0x90, 0x80, 0x80], [0xf5, 0x80, 0x80, 0x80], [0xff],
            [0xfe],
        ] as [[UInt8]])
    func invalidUTF8(bytes: [UInt8]) {
        let expected = JSONError(what: "invalid UTF-8 in a string", offset: 2)
        #expect(error([0x22, 0x61] + bytes + [0x22]) == expected)
        #expect(error([0x22, 0x61] + bytes) == expected)
        #expect(error([0x22, 0x5c, 0x6e] + bytes + [0x22])?.what == expected.what)
    }

    @Test func depth() {
        func nested(_ levels: Int) -> String {
            String(repeating: "[", count: levels) + String(repeating: "]", count: levels)
        }
        let limit = JSONDocument.depthLimit
        #expect(error(nested(limit)) == nil)
        #expect(error("[\(nested(limit - 1)), \(nested(limit - 1))]") == nil)
        let expected = JSONError(what: "nested deeper than \(limit) levels", offset: limit)
        #expect(error(nested(limit + 1)) == expected)
        #expect(error(String(repeating: "[", count: 1_000_000)) == expected)
        #expect(error(String(repeating: "{\"a\":", count: 1_000_000))?.what == expected.what)
    }

    @Test func duplicateKeys() throws {
        func duplicate(_ text: String) throws -> Int? {
            let json = try JSONDocument([UInt8](text.utf8))
            return json.duplicateKey().map(json.offset)
        }
        #expect(try duplicate("{\"a\": {\"a\": 1}, \"b\": [{\"a\": 1}, {\"a\": 2}], \"\": 1}") == nil)
        #expect(try duplicate("{\"a\": 1, \"a\": 2}") == 10)
        #expect(try duplicate("[{\"b\": [], \"a\": {\"b\": 1, \"c\": 2, \"b\": 3}}]") == 34)
        #expect(try duplicate("{\"ab\": 1, \"\\u0061b\": 2}") == 11)
        // Many keys are looked up in another way than a few.
        let many = (0..<1000).map { "\"key \($0)\": [\($0)]" }.joined(separator: ",")
        #expect(try duplicate("{\(many)}") == nil)
        #expect(try duplicate("{\(many),\"k\\u0065y 7\":0}") == many.utf8.count + 3)
        let json = try JSONDocument([UInt8]("{\"a\": 1, \"b\": 2, \"a\": 3}".utf8))
        #expect(json.int(json.member("a", of: json.root)) == 3)
        #expect(json.object(json.root)?.count == 3)
    }
}
