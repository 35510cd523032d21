// SPDX-License-Identifier: Apache-2.0

public import MoETensors

// MARK: Reading

extension RoutingProfile {
    /// - Throws: ``ModelFileError``: the file cannot be read, or is no profile of this version.
    public init(path: String) throws(ModelFileError) {
        try self.init(json: try MappedFile.contents(path: path, limit: Self.sizeLimit), file: path)
    }

    /// - Parameter file: for error messages.
    public init(json bytes: [UInt8], file: String) throws(ModelFileError) {
        let reader = Reader(file: file)
        let json = try JSONObject(bytes, file: file)
        let schema = try reader.required(json.string("schema"), "schema")
        guard schema == Self.schema else {
            throw reader.error("not a routing profile", expected: "schema '\(Self.schema)'", found: "'\(schema)'")
        }
        let version = try reader.required(json.int("version"), "version")
        guard version == Self.version else {
            throw reader.error("unknown version", expected: "\(Self.version)", found: "\(version)")
        }
        model = try reader.label(json, "model")
        expertCount = try reader.integer(json, "expert_count", 1...65536)
        maximum = try reader.integer(json, "k_max", 1...expertCount)
        minimum = try reader.integer(json, "k_min", 0...maximum)
        let layerCount = try reader.integer(json, "layer_count", 1...65536)
        let hiddenSize = json.value("hidden_size") != nil ? try reader.integer(json, "hidden_size", 1...1 << 20) : 0

        let steps = maximum - minimum
        let width = steps * LearnedRouting.featureCount(expertCount: expertCount, maximum: maximum)
        var layers = [LearnedRouting.Layer?](repeating: nil, count: layerCount)
        for (index, object) in try reader.objects(json, "layers").enumerated() {
            let name = "layers[\(index)]"
            let layer = try reader.integer(object, "layer", 0...layerCount - 1, in: name)
            guard layers[layer] == nil else { throw reader.error("\(name): layer \(layer) stands twice") }
            layers[layer] = LearnedRouting.Layer(
                temperature: try reader.number(object, "temperature", 0.01...100, in: name),
                logPrice: try reader.number(object, "log_price", -1e6...1e6, in: name),
                expertLogNorms: try reader.numbers(object, "expert_log_norms", count: expertCount, in: name),
                weights: try reader.numbers(object, "weights", count: width, in: name),
                scales: try reader.optionalNumbers(object, "scales", count: maximum, in: name),
                deviations: try reader.optionalNumbers(object, "head_deviations", count: steps, in: name),
                hiddenWeights: try reader.optionalNumbers(object, "hidden_weights", count: hiddenSize, in: name))
            guard layers[layer]!.scales.allSatisfy({ (0.01...100).contains($0) }) else {
                throw reader.error("'\(name).scales' is out of range", expected: "0.01 to 100")
            }
            guard layers[layer]!.deviations.allSatisfy({ $0 >= 0 }) else {
                throw reader.error("'\(name).head_deviations' is out of range", expected: "0 or more")
            }
        }
        guard layers.contains(where: { $0 != nil }) else { throw reader.error("'layers' is empty") }
        self.layers = layers

        points = try reader.points(json, "points", maximum: maximum)
        if let name = Dictionary(grouping: points, by: \.name).first(where: { $0.value.count > 1 })?.key {
            throw reader.error("point '\(name)' stands twice")
        }
        defaultPoint = try json.string("default_point")
        if let defaultPoint, !points.contains(where: { $0.name == defaultPoint }) {
            throw reader.error(
                "'default_point' is no point", expected: points.prefix(16).map(\.name).joined(separator: ", "),
                found: "'\(defaultPoint.prefix(64))'")
        }
        curve = json.value("curve") == nil ? [] : try reader.points(json, "curve", maximum: maximum)

        var allocations: [Allocation] = []
        for (index, object) in (try reader.optionalObjects(json, "per_layer_static")).enumerated() {
            let name = "per_layer_static[\(index)]"
            let counts = try reader.numbers(object, "k", count: layerCount, in: name)
            guard counts.allSatisfy({ [range = 0...Float(maximum)] in range.contains($0) && $0.rounded() == $0 }) else {
                throw reader.error("'\(name).k' is out of range", expected: "whole numbers from 0 to \(maximum)")
            }
            allocations.append(
                Allocation(
                    meanExperts: try reader.double(object, "mean_k", 0...Double(maximum), in: name),
                    counts: counts.map { Int($0) }))
        }
        self.allocations = allocations
        let temperatures = try reader.optionalNumbers(json, "top_p_temperatures", count: layerCount, in: nil)
        guard temperatures.allSatisfy({ (0.01...100).contains($0) }) else {
            throw reader.error("'top_p_temperatures' is out of range", expected: "0.01 to 100")
        }
        topPTemperatures = temperatures.isEmpty ? nil : temperatures
    }

    private struct Reader {
        let file: String

        func error(_ problem: String, expected: String? = nil, found: String? = nil) -> ModelFileError {
            ModelFileError(file: file, problem: problem, expected: expected, found: found)
        }

        func required<Value>(_ value: Value?, _ name: String) throws(ModelFileError) -> Value {
            guard let value else { throw error("'\(name)' is missing") }
            return value
        }

        /// A name that is shown to people: printable, and not a book.
        func label(_ json: JSONObject, _ key: String, in place: String? = nil) throws(ModelFileError) -> String {
            let name = place.map { "\($0).\(key)" } ?? key
            let text = try required(json.string(key), name)
            guard (1...128).contains(text.utf8.count),
                !text.unicodeScalars.contains(where: { $0.properties.generalCategory == .control })
            else {
                throw error("'\(name)' is no name", expected: "1 to 128 printable bytes", found: "\(text.utf8.count) bytes")
            }
            return text
        }

        func integer(
            _ json: JSONObject, _ key: String, _ range: ClosedRange<Int>, in place: String? = nil
        ) throws(ModelFileError) -> Int {
            let name = place.map { "\($0).\(key)" } ?? key
            let value = try required(json.int(key), name)
            guard range.contains(value) else {
                throw error(
                    "'\(name)' is out of range", expected: "\(range.lowerBound) to \(range.upperBound)", found: "\(value)")
            }
            return value
        }

        func double(
            _ json: JSONObject, _ key: String, _ range: ClosedRange<Double>, in place: String
        ) throws(ModelFileError) -> Double {
            let value = try required(json.double(key), "\(place).\(key)")
            guard range.contains(value) else {
                throw error(
                    "'\(place).\(key)' is out of range", expected: "\(range.lowerBound) to \(range.upperBound)",
                    found: "\(value)")
            }
            return value
        }

        func number(
            _ json: JSONObject, _ key: String, _ range: ClosedRange<Double>, in place: String
        ) throws(ModelFileError) -> Float {
            Float(try double(json, key, range, in: place))
        }

        func numbers(_ json: JSONObject, _ key: String, count: Int, in place: String?) throws(ModelFileError) -> [Float] {
            let name = place.map { "\($0).\(key)" } ?? key
            let values = try required(json.doubles(key), name)
            guard values.count == count else {
                throw error("wrong size of '\(name)'", expected: "\(count) numbers", found: "\(values.count)")
            }
            let numbers = values.map { Float($0) }
            guard numbers.allSatisfy({ $0.isFinite && abs($0) <= 1e9 }) else {
                throw error("'\(name)' has a number that is not finite, or above 1e9")
            }
            return numbers
        }

        /// A list that older files do not have: empty then.
        func optionalNumbers(
            _ json: JSONObject, _ key: String, count: Int, in place: String?
        ) throws(ModelFileError) -> [Float] {
            json.value(key) != nil ? try numbers(json, key, count: count, in: place) : []
        }

        func optionalObjects(_ json: JSONObject, _ key: String) throws(ModelFileError) -> [JSONObject] {
            json.value(key) != nil ? try objects(json, key) : []
        }

        func points(_ json: JSONObject, _ key: String, maximum: Int) throws(ModelFileError) -> [Point] {
            var points: [Point] = []
            for (index, object) in try objects(json, key).enumerated() {
                let name = "\(key)[\(index)]"
                points.append(
                    Point(
                        name: key == "curve" ? "" : try label(object, "name", in: name),
                        mu: try number(object, "mu", 0...1e30, in: name),
                        meanExperts: try double(object, "mean_k", 0...Double(maximum), in: name),
                        perplexity: try double(object, "perplexity", 0...1e300, in: name),
                        kl: try double(object, "kl", -1...1e300, in: name),
                        topOne: object.value("top_1") != nil ? try double(object, "top_1", 0...1, in: name) : nil))
            }
            return points
        }

        func objects(_ json: JSONObject, _ key: String) throws(ModelFileError) -> [JSONObject] {
            var objects: [JSONObject] = []
            for value in try required(json.array(key), key) {
                guard case .object(let object) = value else { throw error("'\(key)' has something that is no object") }
                objects.append(object)
            }
            return objects
        }
    }
}

// MARK: Writing

extension RoutingProfile {
    /// The file's text: the same profile gives the same bytes; every number reads back as it is.
    public var json: String {
        let layers = self.layers.enumerated().compactMap { index, layer -> String? in
            layer.map { layer in
                """
                    {
                      "layer": \(index), "temperature": \(layer.temperature), "log_price": \(layer.logPrice),
                      "expert_log_norms": [\(Self.list(layer.expertLogNorms))],
                      "weights": [\(Self.list(layer.weights))]\(Self.field("scales", layer.scales))\
                \(Self.field("head_deviations", layer.deviations))\(Self.field("hidden_weights", layer.hiddenWeights))
                    }
                """
            }
        }
        let points = self.points.map { Self.text($0, name: $0.name) }
        let curve = self.curve.map { Self.text($0, name: nil) }
        let allocations = self.allocations.map {
            "    {\"mean_k\": \($0.meanExperts), \"k\": [\($0.counts.map { "\($0)" }.joined(separator: ", "))]}"
        }
        var optional = ""
        if let hiddenSize { optional += "  \"hidden_size\": \(hiddenSize),\n" }
        if let defaultPoint { optional += "  \"default_point\": \(Self.quoted(defaultPoint)),\n" }
        if !curve.isEmpty { optional += "  \"curve\": [\n\(curve.joined(separator: ",\n"))\n  ],\n" }
        if !allocations.isEmpty {
            optional += "  \"per_layer_static\": [\n\(allocations.joined(separator: ",\n"))\n  ],\n"
        }
        if let topPTemperatures { optional += "  \"top_p_temperatures\": [\(Self.list(topPTemperatures))],\n" }
        return """
            {
              "schema": "\(Self.schema)",
              "version": \(Self.version),
              "model": "\(model)",
              "k_min": \(minimum),
              "k_max": \(maximum),
              "expert_count": \(expertCount),
              "layer_count": \(self.layers.count),
              "points": [
            \(points.joined(separator: ",\n"))
              ],
            \(optional)  "layers": [
            \(layers.joined(separator: ",\n"))
              ]
            }

            """
    }

    private static func text(_ point: Point, name: String?) -> String {
        let name = name.map { "\"name\": \(quoted($0)), " } ?? ""
        let topOne = point.topOne.map { ", \"top_1\": \($0)" } ?? ""
        return "    {\(name)\"mu\": \(point.mu), \"mean_k\": \(point.meanExperts), \"perplexity\": \(point.perplexity), "
            + "\"kl\": \(point.kl)\(topOne)}"
    }

    /// Names have no control characters.
    private static func quoted(_ name: String) -> String {
        "\"" + name.map { $0 == "\"" || $0 == "\\" ? "\\\($0)" : String($0) }.joined() + "\""
    }

    private static func field(_ name: String, _ values: [Float]) -> String {
        values.isEmpty ? "" : ",\n      \"\(name)\": [\(list(values))]"
    }

    private static func list(_ values: [Float]) -> String {
        values.map { "\($0)" }.joined(separator: ", ")
    }
}
