// SPDX-License-Identifier: Apache-2.0

import MoEGrammar
import MoETestSupport
import Testing

@Suite struct SchemaTests {
    static let cases: [(schema: String, yes: [String], no: [String])] = [
        (
            #"{"type": "integer", "minimum": -12, "exclusiveMaximum": 105}"#, ["-12", "-1", "0", "9", "104"],
            ["-13", "105", "-0", "1.0", "007"]
        ),
        (#"{"type": "integer", "multipleOf": 7, "minimum": 10}"#, ["14", "21", "7000"], ["7", "15", "0"]),
        (
            #"{"type": "number", "minimum": 0.25, "exclusiveMaximum": 1.5}"#, ["0.25", "0.2500", "1", "1.49", "0.3"],
            ["0.2", "0.249", "1.5", "1.50", "2", "1e0"]
        ),
        (#"{"type": "number", "maximum": -0.5}"#, ["-0.5", "-0.50", "-7", "-1.25"], ["-0.4", "0", "-0.0", "3"]),
        (
            #"{"type": "string", "minLength": 2, "maxLength": 3}"#, [#""ab""#, #""a😀b""#, #""\u00e9\n""#],
            [#""a""#, #""abcd""#, #""\ud83d""#]
        ),
        (#"{"type": "string", "pattern": "^a.c$"}"#, [#""abc""#, #""a\"c""#], [#""abcd""#, #""ac""#]),
        (#"{"pattern": "b+", "type": "string", "maxLength": 4}"#, [#""abb""#, #""bbbb""#], [#""acd""#, #""bbbbb""#]),
        (
            #"{"enum": ["a\"b", 1.50, null, {"k": [true]}]}"#,
            [#""a\"b""#, "1.50", "null", #"{"k":[true]}"#, #"{"k": [true]}"#], ["1.5", #""a""#]
        ),
        (#"{"enum": [1, "x", null], "type": ["string", "null"]}"#, [#""x""#, "null"], ["1"]),
        (
            #"{"properties": {"a": {"type": "integer"}, "b": {"type": "boolean"}}, "required": ["b"], "type": "object"}"#,
            [#"{"a":1,"b":true}"#, #"{"b": false}"#, #"{"a": 1, "b": true}"#],
            ["{}", #"{"a":1}"#, #"{"b":true,"a":1}"#, #"{"b":true,"c":1}"#, #"{,"b":true}"#]
        ),
        (
            #"{"type": "object", "properties": {"a": {}}, "additionalProperties": {"type": "null"}}"#,
            [#"{"a":[1],"b":null}"#, #"{"b":null}"#], [#"{"b":1}"#, #"{"b":null,"a":1}"#]
        ),
        (
            #"{"type": "object", "patternProperties": {"^x": {"type": "integer"}}, "additionalProperties": false}"#,
            [#"{"x1":1,"x":2}"#, "{}"], [#"{"y":1}"#, #"{"x":null}"#]
        ),
        (
            #"{"type": "object", "properties": {"a": {}, "b": {}, "c": {}}, "minProperties": 2, "maxProperties": 2}"#,
            [#"{"a":1,"c":2}"#], ["{}", #"{"a":1}"#, #"{"a":1,"b":1,"c":1}"#]
        ),
        (
            #"{"type": "array", "items": {"type": "null"}, "minItems": 1, "maxItems": 3}"#,
            ["[null]", "[null, null,null]"], ["[]", "[null,null,null,null]", "[1]"]
        ),
        (
            #"{"type": "array", "prefixItems": [{"type": "null"}, {"type": "integer"}]}"#, ["[]", "[null]", "[null,1]"],
            ["[1]", "[null,1,1]"]
        ),
        (
            #"{"type": "array", "prefixItems": [{"type": "null"}], "items": {"type": "integer"}, "minItems": 2}"#,
            ["[null,1]", "[null,1,2]"], ["[null]", "[1,1]"]
        ),
        (
            #"{"allOf": [{"type": "object", "properties": {"a": {"minimum": 3}}}, {"properties": {"a": {"type": "integer"}, "b": {"type": "null"}}, "required": ["a"]}]}"#,
            [#"{"a":3,"b":null}"#, #"{"a":44}"#], [#"{"a":2}"#, #"{"b":null}"#, #"{"a":3.5}"#]
        ),
        (
            #"{"anyOf": [{"type": "integer"}, {"type": "string", "const": "none"}]}"#, ["5", #""none""#],
            [#""some""#, "null"]
        ),
        (
            #"{"oneOf": [{"type": "object", "properties": {"kind": {"const": "a"}, "x": {"type": "integer"}}, "required": ["kind", "x"]}, {"type": "object", "properties": {"kind": {"const": "b"}}, "required": ["kind"]}]}"#,
            [#"{"kind":"a","x":1}"#, #"{"kind":"b"}"#], [#"{"kind":"a"}"#, #"{"kind":"b","x":1}"#]
        ),
        (
            ##"{"$defs": {"tree": {"type": "object", "properties": {"v": {"type": "integer"}, "l": {"$ref": "#/$defs/tree"}}, "required": ["v"]}}, "$ref": "#/$defs/tree"}"##,
            [#"{"v":1,"l":{"v":2,"l":{"v":3}}}"#], [#"{"l":{"v":1}}"#]
        ),
        (
            #"{"type": "string", "format": "date"}"#, [#""2024-02-29""#, #""2000-02-29""#],
            [#""2023-02-29""#, #""1900-02-29""#, #""0000-01-01""#, #""2024-13-01""#]
        ),
        (
            #"{"type": "string", "format": "ipv6"}"#, [#""::1""#, #""1:2:3:4:5:6:7:8""#, #""::ffff:1.2.3.4""#, #""1::""#],
            [#""1:2:3""#, #""1::2::3""#, #""1:2:3:4:5:6:7:8:9""#]
        ),
        (#"{"type": "integer", "nullable": true}"#, ["null", "1"], [#""a""#]),
        ("true", ["1", #"{"a":[{}]}"#], ["", "[1,]"]),
    ]

    @Test(arguments: cases)
    func matches(schema: String, yes: [String], no: [String]) throws {
        let grammar = try Grammar(jsonSchema: schema)
        for text in yes { #expect(try accepts(grammar, text), "should be accepted: \(text)") }
        for text in no { #expect(try !accepts(grammar, text), "should not be accepted: \(text)") }
    }

    static let mistakes: [(schema: String, message: String)] = [
        ("{", "line 1, column 2: the schema is no JSON: the text ends too early"),
        ("[1]", "#: a schema is an object or a boolean"),
        (#"{"properties": {"a": {"not": {"type": "null"}}}}"#, "#/properties/a/not: 'not' is not supported"),
        (#"{"items": {"uniqueItems": true}}"#, "#/items/uniqueItems: 'uniqueItems' is not supported"),
        (#"{"if": {}, "then": false}"#, "#/if: 'if' is not supported"),
        (#"{"type": "text"}"#, "#/type: there is no type 'text'"),
        (
            #"{"pattern": "(?=a)"}"#,
            "#/pattern: the pattern \"(?=a)\": lookahead, lookbehind and flags are not supported (character 2 of the pattern)"
        ),
        (
            #"{"pattern": "(a)\\1"}"#,
            "#/pattern: the pattern \"(a)\\1\": backreferences are not supported (character 5 of the pattern)"
        ),
        (##"{"$ref": "#/$defs/a"}"##, "#/$ref: '$ref' names \"#/$defs/a\", which is not there"),
        (#"{"$ref": "http://x/y"}"#, "#/$ref: '$ref' to another document (\"http://x/y\") is not supported"),
        (##"{"$ref": "#"}"##, "#: '$ref' goes round in a circle"),
        (
            #"{"oneOf": [{"type": "integer"}, {"minimum": 3}]}"#,
            "#/oneOf: 'oneOf': alternatives 0 and 1 could both hold; 'anyOf' would allow that"
        ),
        ("false", "#: the schema cannot be met: no value satisfies it"),
        (#"{"type": "integer", "minimum": 3, "maximum": 2}"#, "#: the schema cannot be met: no value satisfies it"),
        (
            #"{"type": "object", "properties": {"a": {"type": "string", "minLength": 3, "maxLength": 2}}, "required": ["a"]}"#,
            "#: the schema cannot be met: no value satisfies it, because none satisfies #/properties/a"
        ),
        (
            #"{"type": "object", "required": ["b"], "additionalProperties": false}"#,
            "#: the schema cannot be met: no value satisfies it, because none satisfies #/additionalProperties"
        ),
        (
            ##"{"type": "array", "items": {"$ref": "#"}, "minItems": 1}"##,
            "#: the schema cannot be met: no value satisfies it"
        ),
        (#"{"type": "string", "type": "null"}"#, "#: the schema has the key \"type\" twice in one object"),
        (#"{"minLength": -1}"#, "#/minLength: expected a number that counts: 0 or more"),
    ]

    @Test(arguments: mistakes)
    func errors(schema: String, message: String) {
        #expect(throws: GrammarError.self) { try Grammar(jsonSchema: schema) }
        do { _ = try Grammar(jsonSchema: schema) } catch { #expect(error.description == message) }
    }

    /// Masks of random states, token by token against the automaton: what silently goes wrong otherwise is a token that is never
    /// offered, or one that leaves the grammar.
    @Test(arguments: [
        #"{"type": "object", "properties": {"name": {"type": "string", "maxLength": 20}, "n": {"type": "integer"}, "t": {"enum": ["ab", "abc"]}}, "required": ["n"]}"#,
        ##"{"type": "array", "items": {"type": "object", "properties": {"x": {"$ref": "#"}, "y": {"type": "number"}}}}"##,
        "{}",
    ])
    func masksAreExact(schema: String) throws {
        let pieces: [String] = [
            "\"", "\":", "{\"", "\",\"", "\"}", "}}", "]]", "[{\"", "name", "n\":", "t\":", "ab", "abc\"", "1", "12", "0.5",
            "\", \"", ": ", "é", "true", "x\":[", "\\n", "\\u00", "  ", "null,\"", "a\",\"n\":4}", "]},{\"",
        ]
        let tokens: [[UInt8]] = (0..<256).map { [UInt8($0)] } + pieces.map { Array($0.utf8) } + [[0xc3], [0xa9, 0x22]]
        let trie = TokenTrie(count: tokens.count + 2, endOfGeneration: [Int32(tokens.count)]) {
            Int($0) < tokens.count ? tokens[Int($0)] : []
        }
        let automaton = try GrammarAutomaton(try Grammar(jsonSchema: schema), trie: trie)
        var random = SplitMix64(state: 3)
        for seed in 0..<20 as Range<UInt64> {
            var walker = GrammarWalker(automaton, seed: seed)
            _ = try walker.tokens(length: 40) { matcher, mask in
                let wrong = try MaskCheck.wrong(matcher, mask, trie, count: 0, using: &random)
                #expect(wrong == nil)
            }
        }
    }
}
