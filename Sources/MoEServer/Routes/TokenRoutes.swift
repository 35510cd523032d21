// SPDX-License-Identifier: Apache-2.0

import Foundation
import Hummingbird
import MoEInfer
import MoEJSON

/// `/tokenize`, `/detokenize`, `/tokenizer_info`, `/v1/embeddings`: what does not generate.
struct TokenRoutes {
    let state: ServerState

    /// `{"prompt": text}` or `{"messages": […]}` -> `{"tokens", "count", "max_model_len"}`.
    func tokenize(_ fields: JSONFields) throws -> JSONTree {
        var tokens: [Int32]
        if fields.has("messages") {
            var conversation = Conversation(state)
            conversation.messages = try (fields.objects("messages") ?? []).map { try ChatMessageFields($0).message() }
            conversation.tools = try ToolFields(fields).tools()
            tokens = try conversation.plans(count: 1)[0].tokens
        } else {
            let text = try fields.string("prompt") ?? fields.string("content") ?? fields.required("text")
            tokens = try state.llm.tokenizer.encode(
                text, addSpecial: try fields.bool("add_special_tokens") ?? fields.bool("add_special") ?? true,
                parseSpecial: true)
        }
        var json: JSONMembers = [
            "tokens": .array(tokens.map { .int(Int($0)) }), "count": .int(tokens.count),
            "max_model_len": .int(state.llm.contextLength),
        ]
        if try fields.bool("return_token_strs") ?? false {
            let tokenizer = try state.llm.tokenizer
            json["token_strs"] = .array(tokens.map { .string(TokenText.of($0, tokenizer)) })
        }
        return .object(json)
    }

    /// `{"tokens": [ids]}` -> `{"prompt": text}`.
    func detokenize(_ fields: JSONFields) throws -> JSONTree {
        guard let elements = try fields.array("tokens"), let tokens = fields.ids(elements),
            tokens.allSatisfy({ $0 >= 0 && Int($0) < state.llm.vocabularySize })
        else { throw fields.wrong("tokens", expected: "ids of the vocabulary of \(state.llm.vocabularySize)") }
        let text = try state.llm.tokenizer.decode(tokens, skipSpecial: false)
        return ["prompt": .string(text), "content": .string(text)]
    }

    /// What lm-evaluation-harness asks of a remote tokenizer.
    func tokenizerInfo() throws -> JSONTree {
        let tokenizer = try state.llm.tokenizer
        func text(_ id: Int32?) -> JSONTree {
            id.map { .string(tokenizer.decode([$0], skipSpecial: false)) } ?? .null
        }
        func number(_ id: Int32?) -> JSONTree { id.map { .int(Int($0)) } ?? .null }
        return [
            "tokenizer_class": "MoETokenizer", "vocab_size": .int(tokenizer.vocabularySize),
            "model_max_length": .int(state.llm.contextLength), "add_bos_token": .bool(tokenizer.addsBOS),
            "bos_token": text(tokenizer.bos), "eos_token": text(tokenizer.eos), "bos_token_id": number(tokenizer.bos),
            "eos_token_id": number(tokenizer.eos), "pad_token": text(tokenizer.eos),
            "chat_template": state.llm.chatTemplateSource.map { .string($0) } ?? .null,
        ]
    }

    // MARK: Embeddings

    /// Inputs of one request at most.
    private static let inputLimit = 2048

    /// What a request for embeddings asks for.
    struct Embedding: Sendable {
        let inputs: [[Int32]]
        let pooling: EmbeddingPooling?
        let isBase64: Bool
        let dimensions: Int?
        let isNormalized: Bool
        let compute: SamplingFields.Compute
    }

    func embedding(_ fields: JSONFields, _ rights: KeyRights) throws -> Embedding {
        let common = SamplingFields(fields, state, rights)
        try common.checkModel()
        let inputs = try inputs(fields)
        for input in inputs where input.count > state.llm.contextLength {
            throw APIError.contextLength(
                GenerationResponder.tooLong(input.count, state))
        }
        let pooling: EmbeddingPooling? =
            switch try fields.string("pooling") {
            case nil: nil
            case "mean": .mean
            case "last": .last
            case let other?: throw APIError.invalid("'pooling': expected mean or last, found '\(other)'", param: "pooling")
            }
        let format = try fields.string("encoding_format") ?? "float"
        guard ["float", "base64"].contains(format) else {
            throw fields.wrong("encoding_format", expected: "float or base64")
        }
        let compute = try common.compute(effort: nil)
        guard compute.budget == nil else {
            throw APIError.invalid("'moe.budget': embeddings have none; use 'moe.max_experts'", param: "moe.budget")
        }
        let width = state.llm.hiddenSize
        return Embedding(
            inputs: inputs, pooling: pooling, isBase64: format == "base64",
            dimensions: try fields.int("dimensions", 1...width),
            isNormalized: try fields.bool("normalize") ?? true, compute: compute)
    }

    func embed(_ request: Embedding, context: ServerContext) async throws -> JSONTree {
        let place = try state.admission.enter(
            key: context.rights.name, priority: context.rights.priority,
            costs: [Double(request.inputs.reduce(0) { $0 + $1.count })], retryAfter: state.retryAfter)[0]
        let watch = try await ConnectionWatch.of(context.channel)
        let result = try await watch.cancelling {
            defer { place.finish(tokens: 0) }
            return try await withDeadline(seconds: state.configuration.timeout) {
                try await place.wait()
                return try await state.llm.embed(
                    request.inputs, pooling: request.pooling, normalize: request.isNormalized,
                    routing: request.compute.choice)
            }
        }
        let count = result.promptTokens.reduce(0, +)
        state.keys.charge(context.rights, tokens: count)
        var usage: JSONMembers = ["prompt_tokens": .int(count), "total_tokens": .int(count)]
        if let moe = result.moe {
            usage["moe"] = [
                "mean_experts": .double(moe.meanExperts), "expert_evaluations": .int(moe.expertEvaluations),
                "saved_fraction": .double(moe.savedFraction), "operating_point": .string(request.compute.name),
            ]
        }
        let data = result.vectors.enumerated().map { index, vector -> JSONTree in
            let vector = Self.shorten(vector, to: request.dimensions, normalize: request.isNormalized)
            return [
                "object": "embedding", "index": .int(index),
                "embedding": request.isBase64 ? .string(Self.base64(vector)) : .array(vector.map { .float($0) }),
            ]
        }
        return ["object": "list", "model": .string(state.modelName), "usage": .object(usage), "data": .array(data)]
    }

    private static func shorten(_ vector: [Float], to count: Int?, normalize: Bool) -> [Float] {
        guard let count, count < vector.count else { return vector }
        let head = vector[..<count]
        let norm = head.reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot()
        return normalize && norm > 0 ? head.map { Float(Double($0) / norm) } : Array(head)
    }

    /// Little-endian floats, as openai-python asks for them.
    private static func base64(_ vector: [Float]) -> String {
        Data(vector.flatMap { value in withUnsafeBytes(of: value.bitPattern.littleEndian) { Array($0) } })
            .base64EncodedString()
    }

    private func inputs(_ fields: JSONFields) throws -> [[Int32]] {
        guard let member = fields.member("input") else { throw APIError.invalid("'input' is missing", param: "input") }
        let document = fields.document
        func tokens(_ text: String) throws -> [Int32] {
            let tokens = try state.llm.tokenizer.encode(text, addSpecial: true, parseSpecial: false)
            guard !tokens.isEmpty else { throw APIError.invalid("'input' must not be empty", param: "input") }
            return tokens
        }
        func tokens(_ elements: JSONDocument.Elements) throws -> [Int32] {
            guard let ids = fields.ids(elements), !ids.isEmpty,
                ids.allSatisfy({ $0 >= 0 && Int($0) < state.llm.vocabularySize })
            else { throw fields.wrong("input", expected: "ids of the vocabulary of \(state.llm.vocabularySize)") }
            return ids
        }
        if let text = document.string(member) { return [try tokens(text)] }
        guard let elements = document.array(member), let first = elements.first, elements.count <= Self.inputLimit else {
            throw fields.wrong("input", expected: "a text, 1 to \(Self.inputLimit) texts, or token ids")
        }
        if document.int(first) != nil { return [try tokens(elements)] }
        return try elements.map { element in
            if let text = document.string(element) { return try tokens(text) }
            guard let ids = document.array(element) else {
                throw APIError.invalid(
                    "'input': expected a text or token ids, found \(fields.found(element))", param: "input")
            }
            return try tokens(ids)
        }
    }
}
