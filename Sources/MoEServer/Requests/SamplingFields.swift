// SPDX-License-Identifier: Apache-2.0

import MoEGrammar
import MoEInfer
import MoEJSON
import MoEModel

/// Reads what OpenAI's endpoints have in common: how tokens are chosen, how many, and at what price.
struct SamplingFields {
    let fields: JSONFields
    let state: ServerState
    let rights: KeyRights

    init(_ fields: JSONFields, _ state: ServerState, _ rights: KeyRights) {
        (self.fields, self.state, self.rights) = (fields, state, rights)
    }

    /// - Throws: ``APIError`` 404 for another model than this server's. Absent, empty and `default` are this server's.
    func checkModel() throws(APIError) {
        guard let model = try fields.string("model"), !model.isEmpty, model != "default", model != state.modelName else {
            return
        }
        throw .notFound(
            "the model '\(model)' does not exist; this server has '\(state.modelName)'", code: "model_not_found",
            param: "model")
    }

    // MARK: Sampling

    /// - Parameter maxTokens: where the request says nothing.
    func sampling(maxTokens: Int, names: [String] = ["max_completion_tokens", "max_tokens"]) throws(APIError)
        -> SamplingOptions
    {
        var sampling = SamplingOptions()
        (try? state.llm.suggestedSampling)?.apply(to: &sampling)
        sampling.maxTokens = maxTokens
        for name in names {
            if let limit = try fields.int(name, 0...Int.max) {
                sampling.maxTokens = limit
                break
            }
        }
        // Greedy is greedy, whatever the model's publisher cuts off.
        if let temperature = try fields.float("temperature", 0...100) { sampling.temperature = temperature }
        if let topP = try fields.float("top_p", 0...1) { sampling.topP = max(topP, .leastNormalMagnitude) }
        if let topK = try fields.int("top_k", -1...Int.max) { sampling.topK = max(0, topK) }
        if let minP = try fields.float("min_p", 0...1) { sampling.minP = minP }
        for name in ["repetition_penalty", "repeat_penalty"] {
            if let penalty = try fields.float(name, 0.01...100) { sampling.repetitionPenalty = penalty }
        }
        if let penalty = try fields.float("presence_penalty", -2...2) { sampling.presencePenalty = penalty }
        if let penalty = try fields.float("frequency_penalty", -2...2) { sampling.frequencyPenalty = penalty }
        sampling.seed = try seed() ?? UInt64.random(in: 0...(1 << 53))
        sampling.stop = try stops("stop")
        if let elements = try fields.array("stop_token_ids") {
            guard elements.count <= 4096, let ids = fields.ids(elements) else {
                throw fields.wrong("stop_token_ids", expected: "at most 4096 token ids")
            }
            sampling.stopTokens = Set(ids)
        }
        sampling.minTokens = try fields.int("min_tokens", 0...Int.max) ?? 0
        sampling.ignoreEOS = try fields.bool("ignore_eos") ?? false
        sampling.logitBias = try logitBias()
        return sampling
    }

    /// Texts that end an answer.
    func stops(_ name: String) throws(APIError) -> [String] {
        let stops = try fields.strings(name, limit: 64) ?? []
        guard stops.allSatisfy({ !$0.isEmpty && $0.utf8.count <= 4096 }) else {
            throw fields.wrong(name, expected: "texts of 1 to 4096 bytes")
        }
        return stops
    }

    /// Any whole number; negative ones as their two's complement. -1 is what some clients send for none.
    private func seed() throws(APIError) -> UInt64? {
        guard let seed = try fields.int("seed", Int.min...Int.max), seed != -1 else { return nil }
        return UInt64(bitPattern: Int64(seed))
    }

    private func logitBias() throws(APIError) -> [Int32: Float] {
        guard let member = fields.member("logit_bias") else { return [:] }
        guard let members = fields.document.object(member), members.count <= 4096 else {
            throw fields.wrong("logit_bias", expected: "an object of at most 4096 token ids and numbers")
        }
        var bias: [Int32: Float] = [:]
        for (key, value) in members {
            let name = fields.document.string(key) ?? ""
            guard let token = Int32(name), token >= 0, token < state.llm.vocabularySize else {
                throw .invalid(
                    "'logit_bias': '\(name)' is no token of the vocabulary of \(state.llm.vocabularySize)",
                    param: "logit_bias")
            }
            guard let number = fields.document.double(value), number.isFinite, abs(number) <= 100 else {
                throw .invalid(
                    "'logit_bias': expected a number from -100 to 100 for \(name), found \(fields.found(value))",
                    param: "logit_bias")
            }
            // The API's ends are bans and musts.
            bias[token] = number <= -100 ? -.infinity : Float(number)
        }
        return bias
    }

    func count() throws(APIError) -> Int { try fields.int("n", 1...state.configuration.choiceLimit) ?? 1 }

    // MARK: What the text must be

    /// `response_format`, or vLLM's and llama.cpp's `grammar` and `json_schema`.
    func grammar() throws(APIError) -> Grammar? {
        if let format = try fields.object("response_format") {
            switch try format.required("type") {
            case "text": return nil
            case "json_object": return try state.grammar(schema: #"{"type":"object"}"#, param: "response_format")
            case "json_schema":
                guard let named = try format.object("json_schema"), let schema = named.member("schema") else {
                    throw .invalid("'response_format.json_schema.schema' is missing", param: "response_format")
                }
                return try state.grammar(schema: named.text(schema), param: "response_format.json_schema.schema")
            case let type:
                throw .invalid(
                    "'response_format.type': expected text, json_object or json_schema, found '\(type)'",
                    param: "response_format.type")
            }
        }
        if let text = try fields.string("grammar"), !text.isEmpty {
            guard text.utf8.count <= Self.schemaLimit else {
                throw .invalid("'grammar': more than \(Self.schemaLimit) bytes", param: "grammar")
            }
            do throws(GrammarError) {
                return try state.grammar("gbnf " + text) { () throws(GrammarError) in try Grammar(gbnf: text) }
            } catch {
                throw .invalid("'grammar': \(error)", param: "grammar")
            }
        }
        for name in ["json_schema", "guided_json"] {
            if let schema = fields.member(name) {
                let text = fields.document.string(schema) ?? fields.text(schema)
                return try state.grammar(schema: text, param: name)
            }
        }
        return nil
    }

    /// Bytes of a schema: what takes longer to prepare than an answer to write is refused.
    static let schemaLimit = 64 << 10

    // MARK: Compute

    struct Compute {
        var choice = RoutingChoice()
        var name: String
        var budget: Int?
        var fallbacks: [any RoutingPolicy] = []

        func options(_ sampling: SamplingOptions) -> GenerationOptions {
            var options = GenerationOptions(sampling: sampling, routing: choice)
            (options.budget, options.fallbacks) = (budget, fallbacks)
            return options
        }
    }

    /// `moe`, else `reasoning_effort`, else the server's default.
    func compute(effort: String?) throws(APIError) -> Compute {
        let moe = try fields.object("moe")
        var name = state.configuration.routing
        if let effort, let point = try Self.operatingPoint(effort: effort) { name = point }
        if let routing = try moe?.string("routing") { name = routing }
        var compute = Compute(name: name)
        compute.budget = try moe?.int("budget", 1...Int.max)
        do {
            var policy =
                name == state.configuration.routing ? state.defaultPolicy : try state.llm.routing(named: name)
            if policy.batchPolicy != nil {
                throw APIError.invalid("'moe.routing': '\(name)' makes answers depend on one another", param: "moe.routing")
            }
            compute.fallbacks = state.fallbacks(after: name, floor: rights.floor ?? state.configuration.floor)
            if let limit = try moe?.int("max_experts", 1...65_536) {
                policy = CappedRouting(policy, maximum: limit)
                compute.fallbacks = compute.fallbacks.map { CappedRouting($0, maximum: limit) }
                compute.name += ",max=\(limit)"
            }
            compute.choice = RoutingChoice(policy)
        } catch let error as APIError {
            throw error
        } catch {
            throw .invalid("'moe.routing': \(error)", param: "moe.routing")
        }
        return compute
    }

    /// nil: no wish.
    static func operatingPoint(effort: String) throws(APIError) -> String? {
        switch effort {
        case "none", "": nil
        case "minimal", "low": "fast"
        case "medium": "balanced"
        case "high": "parity"
        case "xhigh", "max": "exact"
        default:
            throw .invalid(
                "'reasoning_effort': expected none, minimal, low, medium, high or xhigh, found '\(effort)'",
                param: "reasoning_effort")
        }
    }
}

extension ServerState {
    func grammar(schema: String, param: String) throws(APIError) -> Grammar {
        let limit = SamplingFields.schemaLimit
        guard schema.utf8.count <= limit else {
            throw .invalid("'\(param)': a schema of \(schema.utf8.count) bytes; expected at most \(limit)", param: param)
        }
        do throws(GrammarError) {
            return try grammar(jsonSchema: schema)
        } catch {
            throw .invalid("'\(param)': \(error)", param: param)
        }
    }
}
