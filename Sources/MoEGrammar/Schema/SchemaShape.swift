// SPDX-License-Identifier: Apache-2.0

internal import MoEJSON

/// One alternative of a schema, with all that `allOf`, `anyOf` and `$ref` say put together: what each type of value must be.
struct SchemaShape {
    struct Types: OptionSet {
        let rawValue: Int
        static let null = Types(rawValue: 1)
        static let boolean = Types(rawValue: 2)
        static let integer = Types(rawValue: 4)
        /// Numbers that are no integers.
        static let fraction = Types(rawValue: 8)
        static let string = Types(rawValue: 16)
        static let array = Types(rawValue: 32)
        static let object = Types(rawValue: 64)
        static let number: Types = [.integer, .fraction]
        static let all = Types(rawValue: 127)

        init(rawValue: Int) { self.rawValue = rawValue }

        init?(name: String) {
            switch name {
            case "null": self = .null
            case "boolean": self = .boolean
            case "integer": self = .integer
            case "number": self = .number
            case "string": self = .string
            case "array": self = .array
            case "object": self = .object
            default: return nil
            }
        }
    }

    /// Schemas that hold together.
    typealias All = [SchemaDocument.Node]

    struct Strings {
        var min = 0
        var max: Int?
        /// What the text must match: patterns and formats.
        var automaton: CharacterAutomaton?
    }

    struct Arrays {
        /// What one schema says of the elements: `additionalItems` and `items` look at the `prefixItems` beside them only.
        struct Group {
            var prefix: [SchemaDocument.Node] = []
            /// nil: not said.
            var rest: SchemaDocument.Node?
        }

        var min = 0
        var max: Int?
        var groups: [Group] = []
    }

    struct Objects {
        /// What one schema says of the members: `additionalProperties` looks at what stands beside it only.
        struct Group {
            var properties: [(name: String, node: SchemaDocument.Node)] = []
            var patterns: [(pattern: CharacterAutomaton, node: SchemaDocument.Node)] = []
            /// nil: not said.
            var rest: SchemaDocument.Node?

            func property(_ name: String) -> SchemaDocument.Node? { properties.first { $0.name == name }?.node }
        }

        var min = 0
        var max: Int?
        var required: [String] = []
        var groups: [Group] = []
    }

    var types = Types.all
    var numbers = NumberBounds()
    /// Integers must be multiples of all of these.
    var divisors: [Int] = []
    var strings = Strings()
    var arrays = Arrays()
    var objects = Objects()
    /// Of `enum` and `const`; nil: any.
    var values: [JSONDocument.Value]?
    /// Where it stands in the schema.
    var path = "#"
}
