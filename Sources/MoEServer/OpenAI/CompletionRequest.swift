// SPDX-License-Identifier: Apache-2.0

import MoEChat
import MoEInfer
import MoEJSON
import MoETokenizer

/// `POST /v1/completions`: texts to go on with.
struct CompletionRequest {
    let fields: JSONFields
    let state: ServerState
    let rights: KeyRights

    init(_ fields: JSONFields, _ state: ServerState, _ rights: KeyRights) {
        (self.fields, self.state, self.rights) = (fields, state, rights)
    }

    private struct Prompt {
        let tokens: [Int32]
        let text: String
        /// Tokens at the beginning that stand for nothing in the text: a BOS that the request did not write.
        var added = 0
    }

    /// Prompts of one request at most.
    private static let promptLimit = 256

    func read() throws -> GenerationRequest {
        let common = SamplingFields(fields, state, rights)
        try common.checkModel()
        let echo = try fields.bool("echo") ?? false
        let suffix = try fields.string("suffix").flatMap { $0.isEmpty ? nil : $0 }
        let prompts = try prompts(suffix: suffix)
        let count = try common.count()
        guard prompts.count * count <= Self.promptLimit else {
            throw APIError.invalid(
                "\(prompts.count) prompts of \(count) answers each: at most \(Self.promptLimit) in one request",
                param: "prompt")
        }
        var sampling = try common.sampling(maxTokens: 16, names: ["max_tokens", "max_completion_tokens"])
        sampling.logprobs = try logprobs()
        if echo { sampling.promptLogprobs = sampling.logprobs }
        // Evaluations ask for one token only to score the prompt, and count on it: also where it would end the text.
        if sampling.logprobs != nil, sampling.maxTokens == 1 { sampling.ignoreEOS = true }
        let compute = try common.compute(effort: try fields.string("reasoning_effort"))
        var generation = compute.options(sampling)
        generation.grammar = try common.grammar()
        let stream = try StreamFields(fields)
        let plans = prompts.enumerated().flatMap { number, prompt in
            (0..<count).map { index in
                var plan = AnswerPlan(
                    tokens: prompt.tokens, generation: generation, reading: .text, promptIndex: number)
                plan.generation.sampling.seed &+= UInt64(index)
                return plan
            }
        }
        return GenerationRequest(
            plans: plans, isStreamed: stream.isStreamed, includesUsage: stream.includesUsage,
            continuousUsage: stream.continuousUsage,
            priority: -(try fields.int("priority", -1_000_000...1_000_000) ?? 0), operatingPoint: compute.name,
            budget: compute.budget,
            format: CompletionFormat(
                echoes: echo ? prompts.flatMap { prompt in (0..<count).map { _ in prompt.text } } : nil,
                prompts: echo ? prompts.flatMap { prompt in (0..<count).map { _ in (prompt.tokens, prompt.added) } } : [],
                logprobs: sampling.logprobs, tokenizer: try? state.llm.tokenizer))
    }

    /// A number, or what newer clients send: true.
    private func logprobs() throws(APIError) -> Int? {
        guard let member = fields.member("logprobs") else { return nil }
        if let bool = fields.document.bool(member) { return bool ? try fields.int("top_logprobs", 0...20) ?? 0 : nil }
        return try fields.int("logprobs", 0...100)
    }

    private func prompts(suffix: String?) throws -> [Prompt] {
        guard let member = fields.member("prompt") else { throw APIError.invalid("'prompt' is missing", param: "prompt") }
        let document = fields.document
        if let text = document.string(member) { return [try prompt(text, suffix: suffix)] }
        guard let elements = document.array(member), let first = elements.first else {
            throw fields.wrong("prompt", expected: "a text, texts, token ids, or lists of token ids")
        }
        if document.int(first) != nil { return [try prompt(elements, suffix: suffix)] }
        guard elements.count <= Self.promptLimit else {
            throw fields.wrong("prompt", expected: "at most \(Self.promptLimit) prompts")
        }
        return try elements.map { element in
            if let text = document.string(element) { return try prompt(text, suffix: suffix) }
            guard let ids = document.array(element) else {
                throw APIError.invalid(
                    "'prompt': expected a text or token ids, found \(fields.found(element))", param: "prompt")
            }
            return try prompt(ids, suffix: suffix)
        }
    }

    private func prompt(_ text: String, suffix: String?) throws -> Prompt {
        if let suffix { return try fill(text, suffix) }
        let tokenizer = try state.llm.tokenizer
        let tokens = tokenizer.encode(text, addSpecial: try fields.bool("add_special_tokens") ?? true, parseSpecial: true)
        guard !tokens.isEmpty else { throw APIError.invalid("the prompt has no tokens", param: "prompt") }
        let hasBOS = tokenizer.bos == tokens[0] && !text.hasPrefix(tokenizer.decode([tokens[0]], skipSpecial: false))
        return Prompt(tokens: tokens, text: text, added: hasBOS ? 1 : 0)
    }

    private func fill(_ prefix: String, _ suffix: String) throws -> Prompt {
        do {
            return Prompt(tokens: try state.llm.fillInTheMiddle(prefix: prefix, suffix: suffix), text: prefix)
        } catch let error as RequestError {
            throw APIError.invalid(error.description, param: "suffix")
        }
    }

    private func prompt(_ ids: JSONDocument.Elements, suffix: String?) throws -> Prompt {
        guard let tokens = fields.ids(ids), !tokens.isEmpty,
            tokens.allSatisfy({ $0 >= 0 && Int($0) < state.llm.vocabularySize })
        else {
            throw APIError.invalid(
                "'prompt': expected ids of the vocabulary of \(state.llm.vocabularySize)", param: "prompt")
        }
        let text = (try? state.llm.tokenizer)?.decode(tokens, skipSpecial: false) ?? ""
        if let suffix { return try fill(text, suffix) }
        return Prompt(tokens: tokens, text: text)
    }
}

/// `text_completion`, also as a stream.
struct CompletionFormat: ResponseFormat {
    let idPrefix = "cmpl-"
    /// By choice: the prompts' texts, where they are part of the answer.
    let echoes: [String]?
    /// By choice: the same as ids, and how many of the first stand for nothing in the text.
    let prompts: [(tokens: [Int32], added: Int)]
    let logprobs: Int?
    let tokenizer: Tokenizer?

    private static func head(_ facts: ResponseFacts) -> JSONMembers {
        ChatCompletionFormat.head(facts, object: "text_completion")
    }

    func response(_ outputs: [Output], _ facts: ResponseFacts) -> JSONTree {
        var response = Self.head(facts)
        response["choices"] = .array(
            outputs.enumerated().map { index, output in
                var entries = LegacyLogprobs(tokenizer)
                if logprobs != nil {
                    if echoes != nil { entries.append(prompt: output.generation.promptLogprobs, prompts[index]) }
                    for token in output.generation.logprobs { entries.append(token) }
                }
                return [
                    "index": .int(index), "text": .string((echoes?[index] ?? "") + (output.message.content ?? "")),
                    "logprobs": logprobs == nil ? .null : entries.json,
                    "finish_reason": .string(output.finishReason.rawValue),
                ]
            })
        response["usage"] = facts.usageJSON(outputs)
        response["timings"] = facts.timings(outputs)
        return .object(response)
    }

    func stream(_ facts: ResponseFacts) -> any StreamEncoder { Stream(format: self, facts: facts) }

    private struct Stream: StreamEncoder {
        let format: CompletionFormat
        let facts: ResponseFacts
        private var entries: [Int: LegacyLogprobs] = [:]
        private var tokens = 0

        init(format: CompletionFormat, facts: ResponseFacts) { (self.format, self.facts) = (format, facts) }

        mutating func begin() -> [ServerSentEvent] {
            guard let echoes = format.echoes, format.logprobs == nil else { return [] }
            return echoes.enumerated().map { chunk($0.offset, $0.element, nil) }
        }

        mutating func encode(_ event: OutputEvent, choice: Int) -> [ServerSentEvent] {
            switch event {
            case .prompt(let logprobs):
                guard let echoes = format.echoes, format.logprobs != nil else { return [] }
                entries[choice, default: LegacyLogprobs(format.tokenizer)].append(
                    prompt: logprobs, format.prompts[choice])
                return [chunk(choice, echoes[choice], nil)]
            case .token(let token):
                tokens += 1
                if let logprobs = token.logprobs {
                    entries[choice, default: LegacyLogprobs(format.tokenizer)].append(logprobs)
                }
                return []
            case .content(let text, let experts): return text.isEmpty ? [] : [chunk(choice, text, nil, experts: experts)]
            default: return []
            }
        }

        mutating func end(_ output: Output, choice: Int) -> [ServerSentEvent] { [chunk(choice, "", output.finishReason)] }

        mutating func finish(_ outputs: [Output]) -> [ServerSentEvent] {
            facts.lastEvents(outputs, head: CompletionFormat.head(facts))
        }

        mutating func fail(_ error: APIError) -> [ServerSentEvent] { [ServerSentEvent(error.json), .done] }

        private mutating func chunk(
            _ choice: Int, _ text: String, _ finishReason: ChatFinishReason?, experts: Double? = nil
        ) -> ServerSentEvent {
            var json = CompletionFormat.head(facts)
            json["choices"] = [
                [
                    "index": .int(choice), "text": .string(text),
                    "logprobs": entries[choice]?.take() ?? .null,
                    "finish_reason": finishReason.map { .string($0.rawValue) } ?? .null,
                ]
            ]
            facts.addFigures(to: &json, tokens: tokens, experts: experts)
            return ServerSentEvent(.object(json))
        }
    }
}

/// Log probabilities as completions have had them from the beginning.
struct LegacyLogprobs {
    private let tokenizer: Tokenizer?
    private var tokens: [JSONTree] = []
    private var logprobs: [JSONTree] = []
    private var tops: [JSONTree] = []
    private var offsets: [JSONTree] = []
    /// In code points, as Python counts.
    private var offset = 0

    init(_ tokenizer: Tokenizer?) { self.tokenizer = tokenizer }

    private func text(_ token: Int32) -> String { TokenText.of(token, tokenizer) }

    private mutating func append(_ token: Int32, _ logprob: JSONTree, _ top: JSONTree) {
        let text = text(token)
        tokens.append(.string(text))
        logprobs.append(logprob)
        tops.append(top)
        offsets.append(.int(offset))
        offset += text.unicodeScalars.count
    }

    mutating func append(_ token: TokenLogprobs) {
        var top: JSONMembers = [:]
        // Likeliest first: of two tokens with the same text, the likelier one is told.
        for entry in token.top where top[text(entry.token)] == nil {
            top.append(text(entry.token), Self.number(entry.logprob))
        }
        let chosen = text(token.chosen.token)
        if top[chosen] == nil { top.append(chosen, Self.number(token.chosen.logprob)) }
        append(token.chosen.token, Self.number(token.chosen.logprob), .object(top))
    }

    private static func number(_ logprob: Float) -> JSONTree { .float(max(logprob, -9999)) }

    mutating func append(prompt: [TokenLogprobs?], _ ids: (tokens: [Int32], added: Int)) {
        for (token, logprobs) in zip(ids.tokens, prompt).dropFirst(ids.added) {
            if let logprobs { append(logprobs) } else { append(token, .null, .null) }
        }
    }

    var json: JSONTree {
        [
            "tokens": .array(tokens), "token_logprobs": .array(logprobs), "top_logprobs": .array(tops),
            "text_offset": .array(offsets),
        ]
    }

    /// What there is, to be told once.
    mutating func take() -> JSONTree {
        if tokens.isEmpty { return .null }
        defer { (tokens, logprobs, tops, offsets) = ([], [], [], []) }
        return json
    }
}
