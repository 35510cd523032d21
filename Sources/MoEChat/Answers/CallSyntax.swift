// SPDX-License-Identifier: Apache-2.0

/// How calls are written: what begins them, and the notation in between.
struct CallSyntax: Sendable {
    enum Notation: Sendable {
        case json(JSONSyntax)
        case tagged(TaggedSyntax)
        case xml(XMLSyntax)
        case literal(LiteralSyntax)
        /// The rest of the answer is a program for the tool of that name.
        case program(tool: String)
        /// What comes after the marker decides: the first notation whose beginning fits.
        case choice([(begins: [UInt8], notation: Notation)], otherwise: [Notation])
    }

    /// What begins a call, or a section of calls.
    var opens: [String]
    var place = MarkerTable.Place.anywhere
    /// At the answer's beginning, a tool's name is a marker as well: the prompt has ended in what comes before it.
    var continuesPrompt = false
    /// The marker is a part of the call's own text.
    var markerIsText = false
    var notation: Notation
}

/// `{"name": …, "arguments": {…}}`, one, several, or a list of them.
struct JSONSyntax: Sendable {
    var closes: [String] = []
    var nameKeys = ["name"]
    var argumentKeys = ["arguments", "parameters"]
    var idKeys: [String] = []
    /// The id comes after the arguments, which have to wait for it.
    var idComesLast = false
    /// `{"the name": {the arguments}}`
    var nameIsKey = false
    /// The list stands in a block of Markdown.
    var isFenced = false
    /// Other text may look like this: it is a call only if it is complete in form and, where so, of a known tool.
    var isGuess = false
    var mustBeKnown = false
}

/// A header with a name, then the arguments as JSON.
struct TaggedSyntax: Sendable {
    enum Role: Sendable {
        case name, id, ignored
        /// `functions.NAME:INDEX`, all of which is the id.
        case nameInID
    }

    struct Field: Sendable {
        var role: Role
        /// What ends it. Anything but the first of them ends the header too.
        var ends: [String]
    }

    var callOpens: [String]
    var header: [Field]
    var callCloses: [String] = []
    var sectionCloses: [String] = []
    /// An opening brace ends the name: what should have stood between was left out.
    var braceEndsHeader = false
    var isFenced = false
    var mustBeKnown = false
    /// Arguments that are no JSON are a program.
    var mayBeProgram = false
}

/// Parameters each in a tag of its own, values as plain text: the tool's schema says of which type.
struct XMLSyntax: Sendable {
    var callOpens: [String]
    var nameEnds: [String]
    /// What ends a name and is more than that.
    var nameStops: [String] = []
    /// Between the name's end and this stands what is of no interest.
    var nameTail: String?
    var keyOpen: String
    var keyEnds: [String]
    var valueOpen: String?
    var valueClose: String
    var callClose: String
    var sectionCloses: [String] = []
    /// A line's end after the opening tag and one before the closing tag belong to the tags.
    var trimsLines = false
    /// The key's end says whether the value is a string: the first of `keyEnds` says yes, the others no.
    var keyEndTellsType = false
    /// A value may stand in `<![CDATA[…]]>`.
    var mayBeCDATA = false
}

/// A call as in a program: `name(key=value, …)`, or Gemma's `call:name{key:value,…}`.
struct LiteralSyntax: Sendable {
    var isGemma = false
    var closes: [String] = []
    var mustBeKnown = false
    /// What is cut off a name's end.
    var suffix: String?
}

extension CallSyntax {
    func markers(types: ToolTypes) -> [(text: String, place: MarkerTable.Place)] {
        var markers = opens.map { ($0, place) }
        if continuesPrompt { markers += types.names.map { ($0 + "\n", .answerStart) } }
        return markers
    }

    func reader(types: ToolTypes, marker: [UInt8]) -> any CallReader {
        let isName = continuesPrompt && !opens.contains { Array($0.utf8) == marker }
        return notation.reader(types: types, skipping: markerIsText || isName ? 0 : marker.count)
    }
}

extension CallSyntax.Notation {
    /// - Parameter skipping: The bytes of the marker that have done their work.
    func reader(types: ToolTypes, skipping count: Int) -> any CallReader {
        switch self {
        case .json(let syntax): JSONCallReader(syntax, skipping: count)
        case .tagged(let syntax): TaggedCallReader(syntax, types: types, skipping: count)
        case .xml(let syntax): XMLCallReader(syntax, types: types, skipping: count)
        case .literal(let syntax): LiteralCallReader(syntax, skipping: count)
        case .program(let tool): ProgramReader(tool: tool, types: types, skipping: count)
        case .choice(let choices, let otherwise):
            ChoiceReader(choices, otherwise: otherwise, types: types, skipping: count)
        }
    }
}
