// SPDX-License-Identifier: Apache-2.0

public import MoETensors

/// What calibration found for one model: the learned gate's heads, and named operating points on its quality/compute curve. A small
/// JSON file, bound to its model by content hash; docs/routing.md has the format.
public struct RoutingProfile: Sendable, Equatable {
    /// An operating point, as measured on held-out text.
    public struct Point: Sendable, Equatable {
        public let name: String
        public let mu: Float
        /// Experts per token and layer.
        public let meanExperts: Double
        public let perplexity: Double
        /// Mean KL(static ‖ this) per token, nats.
        public let kl: Double

        public init(name: String, mu: Float, meanExperts: Double, perplexity: Double, kl: Double) {
            self.name = name
            self.mu = mu
            self.meanExperts = meanExperts
            self.perplexity = perplexity
            self.kl = kl
        }
    }

    public static let schema = "moe-infer.routing-profile"
    public static let version = 1
    package static let sizeLimit = 64 << 20

    /// Content hash of the model, `sha256:…`.
    public let model: String
    /// kMin
    public let minimum: Int
    /// K: the model's own k.
    public let maximum: Int
    /// E
    public let expertCount: Int
    /// By layer of the model; nil for a dense one.
    public let layers: [LearnedRouting.Layer?]
    /// `exact`, `parity`, `balanced`, `fast`.
    public let points: [Point]
    /// The point that is meant where none is named; nil: `parity`. A model that carries this profile is routed by it.
    public var defaultPoint: String?

    public init(
        model: String, minimum: Int, maximum: Int, expertCount: Int, layers: [LearnedRouting.Layer?], points: [Point]
    ) {
        self.model = model
        self.minimum = minimum
        self.maximum = maximum
        self.expertCount = expertCount
        self.layers = layers
        self.points = points
    }

    /// The policy at any price.
    public func routing(mu: Float) -> LearnedRouting {
        LearnedRouting(
            model: model, minimum: minimum, maximum: maximum, expertCount: expertCount, layers: layers, mu: mu)
    }

    /// ``defaultPoint``, else `parity`; there may be no point of this name.
    public var defaultPointName: String { defaultPoint ?? "parity" }

    /// What may be asked for, for messages.
    package var pointList: String { (points.map(\.name) + ["mu=NUMBER"]).joined(separator: ", ") }

    /// The policy at a named point; nil when there is none of this name.
    public func routing(point: String) -> LearnedRouting? {
        points.first { $0.name == point }.map { routing(mu: $0.mu) }
    }
}

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
        model = try reader.required(json.string("model"), "model")
        expertCount = try reader.integer(json, "expert_count", 1...65536)
        maximum = try reader.integer(json, "k_max", 1...expertCount)
        minimum = try reader.integer(json, "k_min", 0...maximum)
        let layerCount = try reader.integer(json, "layer_count", 1...65536)

        let width = (maximum - minimum) * LearnedRouting.featureCount(expertCount: expertCount, maximum: maximum)
        var layers = [LearnedRouting.Layer?](repeating: nil, count: layerCount)
        for (index, object) in try reader.objects(json, "layers").enumerated() {
            let name = "layers[\(index)]"
            let layer = try reader.integer(object, "layer", 0...layerCount - 1, in: name)
            guard layers[layer] == nil else { throw reader.error("\(name): layer \(layer) stands twice") }
            layers[layer] = LearnedRouting.Layer(
                temperature: try reader.number(object, "temperature", 0.01...100, in: name),
                logPrice: try reader.number(object, "log_price", -1e6...1e6, in: name),
                expertLogNorms: try reader.numbers(object, "expert_log_norms", count: expertCount, in: name),
                weights: try reader.numbers(object, "weights", count: width, in: name))
        }
        guard layers.contains(where: { $0 != nil }) else { throw reader.error("'layers' is empty") }
        self.layers = layers

        var points: [Point] = []
        for (index, object) in try reader.objects(json, "points").enumerated() {
            let name = "points[\(index)]"
            let point = try reader.required(object.string("name"), "\(name).name")
            guard !points.contains(where: { $0.name == point }) else {
                throw reader.error("point '\(point)' stands twice")
            }
            points.append(
                Point(
                    name: point, mu: try reader.number(object, "mu", 0...1e30, in: name),
                    meanExperts: try reader.double(object, "mean_k", 0...Double(maximum), in: name),
                    perplexity: try reader.double(object, "perplexity", 0...1e300, in: name),
                    kl: try reader.double(object, "kl", -1...1e300, in: name)))
        }
        self.points = points
        defaultPoint = try json.string("default_point")
        if let defaultPoint, !points.contains(where: { $0.name == defaultPoint }) {
            throw reader.error(
                "'default_point' is no point", expected: points.map(\.name).joined(separator: ", "),
                found: "'\(defaultPoint)'")
        }
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

        func numbers(_ json: JSONObject, _ key: String, count: Int, in place: String) throws(ModelFileError) -> [Float] {
            let values = try required(json.doubles(key), "\(place).\(key)")
            guard values.count == count else {
                throw error("wrong size of '\(place).\(key)'", expected: "\(count) numbers", found: "\(values.count)")
            }
            let numbers = values.map { Float($0) }
            guard numbers.allSatisfy({ $0.isFinite && abs($0) <= 1e9 }) else {
                throw error("'\(place).\(key)' has a number that is not finite, or above 1e9")
            }
            return numbers
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
                      "weights": [\(Self.list(layer.weights))]
                    }
                """
            }
        }
        let points = self.points.map {
            """
                {"name": \(Self.quoted($0.name)), "mu": \($0.mu), "mean_k": \($0.meanExperts), "perplexity": \($0.perplexity), "kl": \($0.kl)}
            """
        }
        return """
            {
              "schema": "\(Self.schema)",
              "version": \(Self.version),
              "model": "\(model)",
              "k_min": \(minimum),
              "k_max": \(maximum),
              "expert_count": \(expertCount),
              "layer_count": \(self.layers.count),
            \(defaultPoint.map { "  \"default_point\": \(Self.quoted($0)),\n" } ?? "")  "points": [
            \(points.joined(separator: ",\n"))
              ],
              "layers": [
            \(layers.joined(separator: ",\n"))
              ]
            }

            """
    }

    private static func quoted(_ text: String) -> String {
        let escaped = text.unicodeScalars.map { scalar -> String in
            switch scalar {
            case "\"", "\\": "\\\(scalar)"
            case "\u{0}"..."\u{1f}": "\\u00" + (scalar.value < 16 ? "0" : "") + String(scalar.value, radix: 16)
            default: String(scalar)
            }
        }
        return "\"" + escaped.joined() + "\""
    }

    private static func list(_ values: [Float]) -> String {
        values.map { "\($0)" }.joined(separator: ", ")
    }
}
