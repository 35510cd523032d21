// SPDX-License-Identifier: Apache-2.0

/// The families of formats that people run.
extension AnswerFormat {
    private static let think = [Reasoning(open: "<think>", close: "</think>")]

    /// Reasoning between `<think>` and `</think>`, no tools.
    static let thinking = AnswerFormat("think", TextShape(reasoning: think))

    /// Hermes, Qwen 2.5 and 3, Granite 4, MiMo, Reka, SmolLM3: a JSON object between `<tool_call>` and `</tool_call>`.
    static let hermes = AnswerFormat(
        "hermes",
        TextShape(
            reasoning: think, dropped: [],
            calls: [
                CallSyntax(
                    opens: ["<tool_call>"], notation: .json(JSONSyntax(closes: ["</tool_call>"])))
            ]))

    /// Qwen3-Coder, Qwen 3.5, Nemotron 3, Step 3.5: parameters in tags.
    static let qwenXML = AnswerFormat(
        "qwen-xml",
        TextShape(
            reasoning: think,
            calls: [
                CallSyntax(
                    // Models leave the outer tag out now and then.
                    opens: ["<tool_call>", "<function="],
                    notation: .xml(
                        XMLSyntax(
                            callOpens: ["<function="], nameEnds: [">"], keyOpen: "<parameter=", keyEnds: [">"],
                            valueClose: "</parameter>", callClose: "</function>", sectionCloses: ["</tool_call>"],
                            trimsLines: true)))
            ], callsEndReasoning: true))

    /// Seed-OSS: as Qwen's, with its own outer tags and values that begin and end at once.
    static let seed = AnswerFormat(
        "seed",
        TextShape(
            reasoning: [Reasoning(open: "<seed:think>", close: "</seed:think>")],
            calls: [
                CallSyntax(
                    opens: ["<seed:tool_call>"],
                    notation: .xml(
                        XMLSyntax(
                            callOpens: ["<function="], nameEnds: [">"], keyOpen: "<parameter=", keyEnds: [">"],
                            valueClose: "</parameter>", callClose: "</function>", sectionCloses: ["</seed:tool_call>"])))
            ], callsEndReasoning: true))

    /// MiniCPM 5: tags with attributes, without tags around them.
    static let miniCPM = AnswerFormat(
        "minicpm",
        TextShape(
            reasoning: think,
            calls: [
                CallSyntax(
                    opens: ["<function name=\""],
                    notation: .xml(
                        XMLSyntax(
                            callOpens: ["<function name=\""], nameEnds: ["\">"], keyOpen: "<param name=\"", keyEnds: ["\">"],
                            valueClose: "</param>", callClose: "</function>", mayBeCDATA: true)))
            ]))

    /// MiniMax M2.
    static let miniMaxM2 = AnswerFormat(
        "minimax-m2",
        TextShape(
            reasoning: think,
            calls: [
                CallSyntax(
                    opens: ["<minimax:tool_call>"],
                    notation: .xml(
                        XMLSyntax(
                            callOpens: ["<invoke name=\""], nameEnds: ["\">"], keyOpen: "<parameter name=\"", keyEnds: ["\">"],
                            valueClose: "</parameter>", callClose: "</invoke>", sectionCloses: ["</minimax:tool_call>"])))
            ], callsEndReasoning: true))

    /// MiniMax M1: JSON objects, a line each.
    static let miniMaxM1 = AnswerFormat(
        "minimax-m1",
        TextShape(
            reasoning: think,
            calls: [CallSyntax(opens: ["<tool_calls>"], notation: .json(JSONSyntax(closes: ["</tool_calls>"])))]))

    /// GLM 4.5 to 5, Ling 3, Laguna, Spark: keys and values in tags of their own. Hunyuan 3 adds a suffix to every tag, a tag
    /// between name and keys, and one around the calls.
    static func glm(_ name: String = "glm", suffix: String = "", hasSection: Bool = false) -> AnswerFormat {
        let tag = { (name: String) in "<\(name)\(suffix)>" }
        var syntax = XMLSyntax(
            callOpens: [tag("tool_call")], nameEnds: [tag("tool_sep"), "\n"], nameStops: [tag("arg_key"), tag("/tool_call")],
            keyOpen: tag("arg_key"), keyEnds: [tag("/arg_key")], valueOpen: tag("arg_value"), valueClose: tag("/arg_value"),
            callClose: tag("/tool_call"))
        if hasSection { syntax.sectionCloses = [tag("/tool_calls")] }
        return AnswerFormat(
            name,
            TextShape(
                reasoning: [Reasoning(open: tag("think"), close: tag("/think"))],
                calls: [
                    CallSyntax(
                        opens: hasSection ? [tag("tool_calls")] : [tag("tool_call")], notation: .xml(syntax))
                ], callsEndReasoning: true))
    }

    /// DeepSeek V3.2 and V4: tags whose names begin with a token of their own.
    static func dsml(section: String) -> AnswerFormat {
        let mark = "｜DSML｜"
        return AnswerFormat(
            section == "function_calls" ? "deepseek-v3.2" : "deepseek-v4",
            TextShape(
                reasoning: think,
                calls: [
                    CallSyntax(
                        opens: ["<\(mark)\(section)>"],
                        notation: .xml(
                            XMLSyntax(
                                callOpens: ["<\(mark)invoke name=\""], nameEnds: ["\">"],
                                keyOpen: "<\(mark)parameter name=\"", keyEnds: ["\" string=\"true\">", "\" string=\"false\">"],
                                valueClose: "</\(mark)parameter>", callClose: "</\(mark)invoke>",
                                sectionCloses: ["</\(mark)\(section)>"], keyEndTellsType: true)))
                ], callsEndReasoning: true))
    }

    /// DeepSeek V3 and R1, where the type comes first and the arguments are fenced, and V3.1, where neither is so.
    static func deepSeek(hasType: Bool) -> AnswerFormat {
        let separator = "<｜tool▁sep｜>"
        return AnswerFormat(
            hasType ? "deepseek-v3" : "deepseek-v3.1",
            TextShape(
                reasoning: think,
                calls: [
                    CallSyntax(
                        opens: ["<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>"],
                        notation: .tagged(
                            TaggedSyntax(
                                callOpens: ["<｜tool▁call▁begin｜>"],
                                header: hasType
                                    ? [.init(role: .ignored, ends: [separator]), .init(role: .name, ends: ["\n"])]
                                    : [.init(role: .name, ends: [separator])],
                                callCloses: ["<｜tool▁call▁end｜>"], sectionCloses: ["<｜tool▁calls▁end｜>"],
                                braceEndsHeader: hasType, isFenced: hasType)))
                ], callsEndReasoning: true))
    }

    /// Kimi K2.
    static let kimi = AnswerFormat(
        "kimi-k2",
        TextShape(
            reasoning: think,
            calls: [
                CallSyntax(
                    opens: ["<|tool_calls_section_begin|>", "<|tool_call_begin|>"],
                    notation: .tagged(
                        TaggedSyntax(
                            callOpens: ["<|tool_call_begin|>"],
                            header: [.init(role: .nameInID, ends: ["<|tool_call_argument_begin|>"])],
                            callCloses: ["<|tool_call_end|>"], sectionCloses: ["<|tool_calls_section_end|>"])))
            ], callsEndReasoning: true))

    /// Kimi K3: one pair of tokens for all tags.
    static let kimiK3: AnswerFormat = {
        let open = { (name: String) in "<|open|>\(name)<|sep|>" }
        let close = { (name: String) in "<|close|>\(name)<|sep|>" }
        return AnswerFormat(
            "kimi-k3",
            TextShape(
                reasoning: [Reasoning(open: open("think"), close: close("think"), place: .anywhere)],
                dropped: [open("response"), close("response"), close("message")].map { .init($0, .drop) },
                calls: [
                    CallSyntax(
                        opens: [open("tools")],
                        notation: .xml(
                            XMLSyntax(
                                callOpens: ["<|open|>call tool=\""], nameEnds: ["\""], nameTail: "<|sep|>",
                                keyOpen: "<|open|>argument key=\"",
                                keyEnds: ["string", "number", "integer", "boolean", "object", "array", "null"].map {
                                    "\" type=\"\($0)\"<|sep|>"
                                }, valueClose: close("argument"), callClose: close("call"), sectionCloses: [close("tools")],
                                keyEndTellsType: true)))
                ]))
    }()

    /// Solar Open: the id comes before the name.
    static let solar = AnswerFormat(
        "solar",
        TextShape(
            reasoning: [Reasoning(open: "<|think|>", close: "<|end|>", place: .anywhere)],
            dropped: ["<|begin|>assistant", "<|content|>"].map { .init($0, .drop) },
            calls: [
                CallSyntax(
                    opens: ["<|tool_calls|>", "<|tool_call:begin|>"],
                    notation: .tagged(
                        TaggedSyntax(
                            callOpens: ["<|tool_call:begin|>"],
                            header: [
                                .init(role: .id, ends: ["<|tool_call:name|>"]),
                                .init(role: .name, ends: ["<|tool_call:args|>"]),
                            ], callCloses: ["<|tool_call:end|>"], sectionCloses: ["<|calls|>"])))
            ], callsEndReasoning: true))

    /// Mistral: a list of JSON objects after `[TOOL_CALLS]`, or since 2025 name, id and arguments. Magistral and Ministral think
    /// between `[THINK]` and `[/THINK]`.
    static func mistral(hasReasoning: Bool) -> AnswerFormat {
        AnswerFormat(
            hasReasoning ? "mistral-thinking" : "mistral",
            TextShape(
                reasoning: hasReasoning ? [Reasoning(open: "[THINK]", close: "[/THINK]", place: .anywhere)] : [],
                calls: [
                    CallSyntax(
                        opens: ["[TOOL_CALLS]"],
                        notation: .choice(
                            [("[{".bytes, .json(JSONSyntax(idKeys: ["id"], idComesLast: true)))],
                            otherwise: [
                                .tagged(
                                    TaggedSyntax(
                                        callOpens: ["[TOOL_CALLS]"],
                                        header: [
                                            .init(role: .name, ends: ["[CALL_ID]", "[ARGS]"]),
                                            .init(role: .id, ends: ["[ARGS]"]),
                                        ], braceEndsHeader: true))
                            ]))
                ]))
    }

    /// Llama 3: a JSON object that is the whole answer, or follows `<|python_tag|>`, as calls of built-in tools and programs do.
    static let llama3 = AnswerFormat(
        "llama3",
        TextShape(calls: [
            CallSyntax(
                opens: ["<|python_tag|>"],
                notation: .choice(
                    [("{".bytes, .json(JSONSyntax()))],
                    otherwise: [.literal(LiteralSyntax(suffix: ".call")), .program(tool: "python")])),
            CallSyntax(
                opens: ["{"], place: .answerStart, markerIsText: true,
                notation: .json(JSONSyntax(isGuess: true, mustBeKnown: true))),
            CallSyntax(
                opens: ["["], place: .answerStart, markerIsText: true, notation: .literal(LiteralSyntax(mustBeKnown: true))),
        ]))

    /// functionary v3.1: `<function=NAME>{…}</function>`, programs after `<|python_tag|>`.
    static let functionary31 = AnswerFormat(
        "functionary-v3.1",
        TextShape(calls: [
            CallSyntax(
                opens: ["<function="],
                notation: .tagged(
                    TaggedSyntax(
                        callOpens: ["<function="], header: [.init(role: .name, ends: [">"])], callCloses: ["</function>"]))),
            CallSyntax(opens: ["<|python_tag|>"], notation: .program(tool: "python")),
        ]))

    /// functionary v3.2: `>>>` and a recipient on every message, the first `>>>` being the prompt's.
    static let functionary32 = AnswerFormat(
        "functionary-v3.2",
        TextShape(
            dropped: [.init("all\n", .drop, .answerStart), .init(">>>all\n", .drop)],
            calls: [
                CallSyntax(
                    opens: [">>>"], continuesPrompt: true,
                    notation: .tagged(
                        TaggedSyntax(
                            callOpens: [">>>"], header: [.init(role: .name, ends: ["\n"])], mustBeKnown: true,
                            mayBeProgram: true)))
            ]))

    /// A list of JSON objects between markers, of which the second may be missing.
    static func jsonList(
        _ name: String, _ open: String, _ close: String? = nil, reasoning: [Reasoning]? = nil,
        dropped: [MarkerTable.Marker] = [], nameIsKey: Bool = false, callsEndReasoning: Bool = false, isGuess: Bool = false
    ) -> AnswerFormat {
        AnswerFormat(
            name,
            TextShape(
                reasoning: reasoning ?? think, dropped: dropped,
                calls: [
                    CallSyntax(
                        opens: [open],
                        notation: .json(
                            JSONSyntax(closes: close.map { [$0] } ?? [], nameIsKey: nameIsKey, isGuess: isGuess)))
                ], callsEndReasoning: callsEndReasoning))
    }

    /// Apertus: `[{"NAME": {…}}]`.
    static let apertus = jsonList(
        "apertus", "<|tools_prefix|>", "<|tools_suffix|>",
        reasoning: [Reasoning(open: "<|inner_prefix|>", close: "<|inner_suffix|>", place: .anywhere)], nameIsKey: true,
        callsEndReasoning: true)

    /// Apriel 1.6: the prompt opens the reasoning with a sentence, and a line of its own ends it.
    static let apriel = jsonList(
        "apriel", "<tool_calls>", "</tool_calls>",
        reasoning: [Reasoning(open: "Here are my reasoning steps:", close: "[BEGIN FINAL RESPONSE]", place: .answerStart)],
        dropped: [.init("[END FINAL RESPONSE]", .drop)])

    /// Granite 3: a list after `<|tool_call|>`, the answer between tags when it thinks.
    static let granite3 = jsonList(
        "granite3", "<|tool_call|>",
        dropped: [.init("<response>", .drop, .blockStart), .init("</response>", .drop)])

    /// Command A, R7B: all parts between tokens.
    static let commandR7B = AnswerFormat(
        "command-r7b",
        TextShape(
            reasoning: [Reasoning(open: "<|START_THINKING|>", close: "<|END_THINKING|>", place: .anywhere)],
            dropped: ["<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|START_TEXT|>", "<|END_TEXT|>"].map { .init($0, .drop) },
            calls: [
                CallSyntax(
                    opens: ["<|START_ACTION|>"],
                    notation: .json(
                        JSONSyntax(
                            closes: ["<|END_ACTION|>"], nameKeys: ["tool_name", "name"],
                            argumentKeys: ["parameters", "arguments"], idKeys: ["tool_call_id"])))
            ], callsEndReasoning: true))

    /// Command R and R+: `Action:` and a fenced list.
    static let commandR = AnswerFormat(
        "command-r",
        TextShape(calls: [
            CallSyntax(
                opens: ["Action:"],
                notation: .json(
                    JSONSyntax(
                        closes: ["```"], nameKeys: ["tool_name", "name"], argumentKeys: ["parameters", "arguments"],
                        isFenced: true, isGuess: true)))
        ]))

    /// LFM2: a list of calls as in Python.
    static let lfm2 = AnswerFormat(
        "lfm2",
        TextShape(
            reasoning: think,
            calls: [
                CallSyntax(
                    opens: ["<|tool_call_start|>"],
                    notation: .choice(
                        [("{".bytes, .json(JSONSyntax(closes: ["<|tool_call_end|>"])))],
                        otherwise: [.literal(LiteralSyntax(closes: ["<|tool_call_end|>"]))]))
            ]))

    /// GigaChat 3: a message of its own for each call.
    static let gigaChat = AnswerFormat(
        "gigachat3",
        TextShape(
            dropped: [.init("<|message_sep|>", .drop)],
            calls: [
                CallSyntax(
                    opens: ["function call<|role_sep|>", "<|function_call|>"], notation: .json(JSONSyntax()))
            ]))

    /// Gemma 4.
    static let gemma4 = AnswerFormat(
        "gemma4",
        TextShape(
            reasoning: [Reasoning(open: "<|channel>thought", close: "<channel|>", place: .anywhere)],
            dropped: ["<|channel>", "<channel|>"].map { .init($0, .drop) },
            calls: [
                CallSyntax(
                    opens: ["<|tool_call>call:"],
                    notation: .literal(LiteralSyntax(isGemma: true, closes: ["<tool_call|>"])))
            ], callsEndReasoning: true))

    /// gpt-oss.
    static let harmony = AnswerFormat("harmony", .harmony)
}
