// SPDX-License-Identifier: Apache-2.0

/// A routing profile's text for the embedded model's sizes, without calibration: at `mu` 1 every token gets two experts, at 0
/// all of them.
package enum RoutingProfiles {
    /// - Parameters:
    ///   - layers: which layers have a head.
    ///   - weight: the first head's first weight, as text, to write what no number is.
    ///   - extra: a member of the object, with its comma.
    package static func text(
        model: String, layers: [Int] = [0, 1, 2, 3], layerCount: Int = 4, experts: Int = 16, maximum: Int = 8,
        weight: String = "5.0", extra: String = ""
    ) -> String {
        let features = 3 * maximum + experts + 4
        let heads = (1..<maximum).map { step -> String in
            let constant = step == 1 ? weight : "-5.0"
            return ([constant] + [String](repeating: "0.0", count: features - 1)).joined(separator: ", ")
        }.joined(separator: ", ")
        let norms = [String](repeating: "0.0", count: experts).joined(separator: ", ")
        let list = layers.map {
            #"{"layer": \#($0), "temperature": 1.0, "log_price": 0.0, "expert_log_norms": [\#(norms)], "weights": [\#(heads)]}"#
        }.joined(separator: ",\n")
        func point(_ name: String, _ mu: Double, _ mean: Int) -> String {
            #"{"name": "\#(name)", "mu": \#(mu), "mean_k": \#(mean).0, "perplexity": 40.0, "kl": 0.0}"#
        }
        return """
            {"schema": "moe-infer.routing-profile", "version": 1, "model": "\(model)", "k_min": 1, "k_max": \(maximum),
            "expert_count": \(experts), "layer_count": \(layerCount), \(extra)
            "points": [\(point("exact", 0, maximum)), \(point("parity", 1, 2)), \(point("fast", 1000, 1))],
            "layers": [
            \(list)
            ]}
            """
    }
}
