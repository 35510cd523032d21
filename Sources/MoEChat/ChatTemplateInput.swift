// SPDX-License-Identifier: Apache-2.0

internal import MoEJSON
internal import MoEJinja

extension ChatMessage {
    /// As templates read it.
    func object(_ conventions: ChatTemplate.Conventions) -> JinjaObject {
        var object: JinjaObject = ["role": .string(role)]
        if let content {
            object["content"] =
                conventions.hasContentParts ? [["type": "text", "text": .string(content)]] : .string(content)
        }
        if let reasoning { object["reasoning_content"] = .string(reasoning) }
        if !toolCalls.isEmpty { object["tool_calls"] = .array(toolCalls.map { .object($0.object(conventions)) }) }
        if let toolCallID { object["tool_call_id"] = .string(toolCallID) }
        if let name { object["name"] = .string(name) }
        return object
    }
}

extension ToolCall {
    fileprivate func object(_ conventions: ChatTemplate.Conventions) -> JinjaObject {
        var values: JinjaValue = .string(arguments)
        // What is no object stays the text that the model wrote.
        if !conventions.hasTextArguments, let document = try? JSONDocument([UInt8](arguments.utf8)),
            document.object(document.root) != nil
        {
            values = JinjaValue(document)
        }
        var object: JinjaObject = [:]
        if let id { object["id"] = .string(id) }
        object["type"] = "function"
        object["function"] = ["name": .string(name), "arguments": values]
        return object
    }
}

extension ToolDefinition {
    /// Without parameters it gets a schema without properties, because templates read one.
    func object() throws(ChatTemplateError) -> JinjaObject {
        var function: JinjaObject = ["name": .string(name)]
        if let description { function["description"] = .string(description) }
        function["parameters"] = ["type": "object", "properties": [:]]
        if let parameters {
            do throws(JSONError) {
                let document = try JSONDocument([UInt8](parameters.utf8))
                guard document.object(document.root) != nil else {
                    throw JSONError(what: "it is another value", offset: 0)
                }
                function["parameters"] = JinjaValue(document)
            } catch { throw .parameters(tool: name, problem: error.what) }
        }
        return ["type": "function", "function": .object(function)]
    }
}

// MARK: Text by code points

extension String {
    /// Without Python's white space at its ends.
    func trimmed(start: Bool = true, end: Bool = true) -> String {
        let view = unicodeScalars
        var (low, high) = (view.startIndex, view.endIndex)
        if start { while low < high, view[low].isPythonSpace { low = view.index(after: low) } }
        if end { while low < high, view[view.index(before: high)].isPythonSpace { high = view.index(before: high) } }
        return String(self[low..<high])
    }
}

extension String.UTF8View {
    func contains(_ part: String) -> Bool { PythonText.find(part, in: String(self)) != nil }

    /// Where the last one begins.
    func last(_ part: String) -> Index? {
        let text = String(self)
        return PythonText.findLast(part, in: text, end: text.utf8.count).map { index(startIndex, offsetBy: $0) }
    }
}
