// SPDX-License-Identifier: Apache-2.0

import Foundation
import MoEInfer
import MoETerminal

extension ChatSession {
    /// What `/set` knows beside ``ChatSetting``.
    private enum Switch: String, CaseIterable {
        case thinking, experts, reasoning, stats
    }

    static var settingNames: [String] { ChatSetting.allCases.map(\.rawValue) + Switch.allCases.map(\.rawValue) }

    /// - Throws: what is wrong with the command, in one line.
    func run(_ verb: ChatVerb, _ argument: String) async throws {
        switch verb {
        case .help: say(ChatVerb.list)
        case .exit: break
        case .system: setSystem(argument)
        case .reset:
            messages = []
            say(system == nil ? "forgotten" : "forgotten, but what /system says")
        case .undo: try undo()
        case .regenerate: try await regenerate()
        case .continue:
            guard messages.last?.role == "assistant" else {
                throw InputError(description: "there is no answer to go on with")
            }
            try await answerLast(goesOn: true)
        case .show: show()
        case .save: try save(argument)
        case .load: try load(argument)
        case .routing: try setRouting(argument)
        case .set: try set(argument)
        case .stats: showStatistics()
        }
    }

    private func setSystem(_ argument: String) {
        guard !argument.isEmpty else {
            say(system ?? "nothing is said before the conversation; /system TEXT changes that")
            return
        }
        system = ["\"\"", "''"].contains(argument) ? nil : argument
        say(system == nil ? "nothing is said before the conversation" : "set; it holds from the next answer on")
    }

    private func undo() throws {
        guard let last = messages.lastIndex(where: { $0.role == "user" }) else {
            throw InputError(description: "there is nothing to take back")
        }
        let text = messages[last].content ?? ""
        messages.removeSubrange(last...)
        say("taken back: \(Self.short(text))")
    }

    private func regenerate() async throws {
        guard let last = messages.lastIndex(where: { $0.role == "user" }) else {
            throw InputError(description: "there is nothing to answer")
        }
        let former = messages[(last + 1)...]
        messages.removeSubrange((last + 1)...)
        if options.generation.sampling.temperature == 0 { say("temperature is 0: the answer will be the same") }
        do {
            try await answerLast()
        } catch {
            messages += former
            throw error
        }
    }

    private func show() {
        if let system { say("system: \(system.withoutControls)") }
        for message in messages { say("\(message.role): \((message.content ?? "").withoutControls)") }
        if messages.isEmpty { say("nothing has been said yet") }
    }

    // MARK: Files

    private func save(_ argument: String) throws {
        guard let path = argument.isEmpty ? path : Self.expand(argument) else {
            throw InputError(description: "/save FILE")
        }
        try ChatFile.write(ChatTranscript(messages: conversation), to: path)
        self.path = path
        say("\(conversation.count) messages in \(path)")
    }

    private func load(_ argument: String) throws {
        guard !argument.isEmpty else { throw InputError(description: "/load FILE") }
        let path = Self.expand(argument)
        let loaded = try ChatFile.read(path).messages
        let isSystem = loaded.first?.role == "system"
        if isSystem { system = loaded[0].content }
        messages = Array(loaded.dropFirst(isSystem ? 1 : 0))
        self.path = path
        say("\(messages.count) messages" + (system == nil ? "" : ", and what /system says"))
        if let last = messages.last { say("\(last.role): \(Self.short(last.content ?? ""))") }
    }

    private static func expand(_ path: String) -> String {
        path.hasPrefix("~/") ? (ProcessInfo.processInfo.environment["HOME"].map { $0 + path.dropFirst() } ?? path) : path
    }

    private static func short(_ text: String) -> String {
        let line = Terminal.oneLine(text)
        return line.count > 60 ? line.prefix(59) + "…" : line
    }

    // MARK: Settings

    private func setRouting(_ argument: String) throws {
        guard !argument.isEmpty else {
            let prompt = routingPrefill.map { ", \($0) for the prompt" } ?? ""
            say((routing ?? "native: as the model was made") + prompt)
            return
        }
        let policy = try RoutingSpecification.parse(argument)
        var choice = options.generation.routing
        choice.decode = policy
        if routingPrefill == nil { choice.prefill = policy }
        _ = try llm.check(choice)
        options.generation.routing = choice
        routing = argument
        say("from the next answer on")
    }

    private func set(_ argument: String) throws {
        let words = argument.split(whereSeparator: { $0.isWhitespace || $0 == "=" }).map(String.init)
        guard let name = words.first else {
            let sampling = options.generation.sampling
            var lines = ChatSetting.allCases.map { "\($0.rawValue) \($0.value(of: sampling))" }
            lines += Switch.allCases.map { "\($0.rawValue) \(value(of: $0))" }
            say(lines.joined(separator: ", "))
            return
        }
        if let setting = ChatSetting(rawValue: name) {
            guard words.count == 2 else { throw InputError(description: "/set \(name) VALUE") }
            try setting.set(words[1], in: &options.generation.sampling)
            say("\(name) is \(setting.value(of: options.generation.sampling))")
        } else if let setting = Switch(rawValue: name) {
            guard words.count == 2, ["on", "off"].contains(words[1]) else {
                throw InputError(description: "/set \(name) on, or off")
            }
            turn(setting, on: words[1] == "on")
            say("\(name) is \(value(of: setting))")
        } else {
            throw InputError(description: "no setting '\(name)'; /set alone lists them")
        }
    }

    private func turn(_ setting: Switch, on: Bool) {
        switch setting {
        case .thinking: options.variables["enable_thinking"] = on ? "true" : "false"
        case .experts: printer.showsExperts = on
        case .reasoning: printer.showsReasoning = on
        case .stats: showsFigures = on
        }
    }

    private func value(of setting: Switch) -> String {
        switch setting {
        case .thinking:
            switch options.variables["enable_thinking"] {
            case nil: "as the model's template has it"
            case "false"?: "off"
            default: "on"
            }
        case .experts: printer.showsExperts ? "on" : "off"
        case .reasoning: printer.showsReasoning ? "on" : "off"
        case .stats: showsFigures ? "on" : "off"
        }
    }

    private func showStatistics() {
        guard let last = totals.last else {
            say("nothing has been answered yet")
            return
        }
        if !last.layers.isEmpty { say(Figures.table(layers: last.layers)) }
        say("last answer: " + Figures.line(last))
        let used = last.usage.promptTokens + last.usage.completionTokens
        say(
            "all \(totals.answers): \(totals.promptTokens) tokens read (\(totals.cachedTokens) were known),"
                + " \(totals.completionTokens) written, \(Figures.number(totals.seconds)) s; \(used) of \(llm.contextLength) tokens of context used"
        )
    }
}
