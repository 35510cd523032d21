// SPDX-License-Identifier: Apache-2.0

import Foundation
import MoETensors
import Testing

@Suite struct JSONTests {
    private func parse(_ text: String) throws -> JSONObject { try JSONObject([UInt8](text.utf8), file: "config.json") }

    @Test func values() throws {
        let json = try parse(
            """
            \u{feff}{"i": 32, "e": 1e6, "d": 10000.0, "x": 0.5, "neg": -7, "big": 1000000000000000019884624838656, "t": true,
             "s": "a\\n\\u00e9\\ud83d\\ude00\\"/木", "n": null, "o": {"k": [1, 2.0]}, "l": ["a", "b"], "nan": NaN,
             "inf": -Infinity, "eos": 3, "empty": {}, "none": []}
            """)
        #expect(json.keys.count == 16 && json.keys.first == "i")
        #expect(try json.int("i") == 32)
        #expect(try json.int("e") == 1_000_000)
        #expect(try json.int("d") == 10_000)
        #expect(try json.int("neg") == -7)
        #expect(try json.double("x") == 0.5)
        #expect(try json.double("i") == 32)
        #expect(try json.double("big") == 1e30)
        #expect(try json.double("nan")?.isNaN == true)
        #expect(try json.double("inf") == -.infinity)
        #expect(try json.bool("t") == true)
        #expect(try json.string("s") == "a\né😀\"/木")
        #expect(try json.object("o")?.ints("k") == [1, 2])
        #expect(try json.object("o")?.doubles("k") == [1, 2])
        #expect(try json.strings("l") == ["a", "b"])
        #expect(try json.ints("eos") == [3])
        #expect(try json.array("none")?.count == 0)
        for key in ["n", "absent"] {
            #expect(try json.string(key) == nil && json.int(key) == nil && json.double(key) == nil && json.bool(key) == nil)
            #expect(try json.object(key)?.keys == nil && json.strings(key) == nil && json.ints(key) == nil)
        }
    }

    @Test func wrongTypes() throws {
        let json = try parse(
            "{\"s\": \"text\", \"x\": 1.5, \"big\": 1e30, \"o\": {\"l\": [1, \"a\"]}, \"b\": true, \"i\": 1}")
        expectModelFileError("config.json", "wrong type of 's'", "an integer", "the string 'text'") {
            _ = try json.int("s")
        }
        expectModelFileError("an integer", "1.5") { _ = try json.int("x") }
        expectModelFileError("an integer", "1e+30") { _ = try json.int("big") }
        expectModelFileError("a string", "true") { _ = try json.string("b") }
        expectModelFileError("a number", "true") { _ = try json.double("b") }
        expectModelFileError("true or false", "1") { _ = try json.bool("i") }
        expectModelFileError("an object", "1.5") { _ = try json.object("x") }
        expectModelFileError("an array of strings", "an object") { _ = try json.strings("o") }
        expectModelFileError("an array", "1") { _ = try json.array("i") }
        expectModelFileError("wrong type of 'o.l'", "integers", "the string 'a'") { _ = try json.object("o")?.ints("l") }
        expectModelFileError("wrong type of 'o.l'", "strings", "an array with 1") { _ = try json.object("o")?.strings("l") }
    }

    /// What the parser refuses, and what is no object. What else it refuses: `MoEJSONTests`.
    @Test func malformed() {
        expectModelFileError("config.json", "not valid JSON: expected a value at byte 5") { _ = try parse("{\"a\":}") }
        expectModelFileError("config.json", "not valid JSON: the text ends too early at byte 0") { _ = try parse("") }
        expectModelFileError("config.json", "not valid JSON: text after the end of the value at byte 3") {
            _ = try parse("{} {}")
        }
        for text in ["[]", "1", "null", "\"{}\""] {
            expectModelFileError("config.json", "not valid JSON: expected an object at byte") { _ = try parse(text) }
        }
        expectModelFileError("nested deeper") { _ = try parse(String(repeating: "{\"a\":", count: 1_000_000)) }
    }

    /// transformers reads configurations with Python's `json`, where the last one counts.
    @Test func duplicateKeys() throws {
        let json = try parse("{\"a\": 1, \"a\": 2}")
        #expect(try json.int("a") == 2)
        #expect(json.keys == ["a"])
    }

    /// The same values as Foundation's parser, for the configurations of this repository's tests.
    @Test func agreesWithFoundation() throws {
        let bytes = try Files.bytes("expected.json")
        let json = try JSONObject(bytes, file: "expected.json")
        let other = try #require(try JSONSerialization.jsonObject(with: Data(bytes)) as? [String: [[String: Any]]])
        #expect(Set(json.keys) == Set(other.keys))
        for key in json.keys {
            for (mine, theirs) in zip(try #require(try json.array(key)), try #require(other[key])) {
                guard case .object(let entry) = mine else { continue }
                #expect(try entry.string("name") == theirs["name"] as? String)
                #expect(try entry.ints("shape") == theirs["shape"] as? [Int])
                #expect(try entry.int("crc32") == theirs["crc32"] as? Int)
            }
        }
    }
}
