// SPDX-License-Identifier: Apache-2.0

/// Where the readers put what they find: joins pieces of text, numbers the calls, flags tools that were not offered.
struct AnswerSink: Sendable {
    private(set) var events: [AnswerEvent] = []
    private let tools: Set<String>
    private var nextIndex = 0
    /// The call that has begun and not ended.
    private var current: Int?

    init(tools: Set<String>) { self.tools = tools }

    var isCalling: Bool { current != nil }

    func knows(_ name: String) -> Bool { tools.contains(name) }

    mutating func take() -> [AnswerEvent] {
        defer { events.removeAll(keepingCapacity: true) }
        return events
    }

    mutating func reasoning(_ text: String) {
        guard !text.isEmpty else { return }
        if case .reasoning(let before)? = events.last {
            events[events.count - 1] = .reasoning(before + text)
        } else {
            events.append(.reasoning(text))
        }
    }

    mutating func content(_ text: String) {
        guard !text.isEmpty else { return }
        if case .content(let before)? = events.last {
            events[events.count - 1] = .content(before + text)
        } else {
            events.append(.content(text))
        }
    }

    mutating func warn(_ warning: AnswerWarning) { events.append(.warning(warning)) }

    mutating func begin(name: String, id: String? = nil) {
        let index = nextIndex
        nextIndex += 1
        current = index
        events.append(.toolCallBegan(index: index, id: id ?? "call_\(index)", name: name))
        if !tools.contains(name) { warn(.unknownTool(name)) }
    }

    mutating func arguments(_ bytes: some Collection<UInt8>) {
        guard let current, !bytes.isEmpty else { return }
        let text = String(decoding: bytes, as: UTF8.self)
        if case .toolCallArguments(current, let before)? = events.last {
            events[events.count - 1] = .toolCallArguments(index: current, fragment: before + text)
        } else {
            events.append(.toolCallArguments(index: current, fragment: text))
        }
    }

    mutating func arguments(_ text: String) { arguments(text.utf8) }

    mutating func end() {
        guard let current else { return }
        events.append(.toolCallEnded(index: current))
        self.current = nil
    }

    /// The current call, if any, is none.
    mutating func abandon() {
        guard let current else { return }
        events.append(.toolCallAbandoned(index: current))
        self.current = nil
    }
}
