// SPDX-License-Identifier: Apache-2.0

import MoEModel

/// Sizes and rules that all steps of a calibration share.
struct GateShape: Sendable {
    /// kMin
    let minimum: Int
    /// K: the model's own k.
    let maximum: Int
    /// E
    let expertCount: Int
    /// Layers of the model, dense ones among them.
    let layerCount: Int
    /// Whether the model divides the kept weights by their sum.
    let renormalizes: Bool

    /// H: one head each.
    var steps: Int { maximum - minimum }
    /// F
    var featureCount: Int { LearnedRouting.featureCount(expertCount: expertCount, maximum: maximum) }

    /// Mean numbers of experts at which policies are tuned and compared: a quarter, three eighths and half of K.
    var comparedMeans: [Int] {
        Set([maximum / 4, 3 * maximum / 8, maximum / 2]).filter { $0 > minimum && $0 < maximum }.sorted()
    }

    /// Where per-layer static allocations are searched: these, three sixteenths and three quarters of K.
    var allocatedMeans: [Double] {
        guard maximum >= 4 else { return comparedMeans.map(Double.init) }
        let shares: [Double] = [0.1875, 0.25, 0.375, 0.5, 0.75]
        return shares.map { $0 * Double(maximum) }.filter { $0 > Double(minimum) && $0 < Double(maximum) }
    }

    /// - Throws: ``RequestError`` for routers that the error formula of ``GramError`` does not describe.
    init(minimum: Int, model: ModelConfiguration) throws {
        guard let experts = model.experts, experts.perToken > 0, experts.layers.contains(true) else {
            throw RequestError("the model has no experts: there is nothing to calibrate")
        }
        self.minimum = minimum
        maximum = experts.perToken
        expertCount = experts.count
        layerCount = model.layerCount
        guard maximum > 1 || minimum < 1 else {
            throw RequestError("the model runs one expert per token: there is nothing to save")
        }
        guard (0..<maximum).contains(minimum) else {
            throw RequestError("the least number of experts is \(minimum); expected 0 to \(maximum - 1)")
        }
        let routers = experts.routers
        let first = routers[0]
        guard
            routers.values.allSatisfy({
                $0.pseudo.isEmpty && $0.gating.weights != .keepFullMass && $0.gating.minimumSum == 0
                    && $0.gating.renormalizes == first.gating.renormalizes && $0.realExperts == first.realExperts
                    && $0.slotsPerToken == first.slotsPerToken
            })
        else {
            throw RequestError(
                "calibration covers models with the same router in all layers, without pseudo-experts, whose weights are kept "
                    + "or renormalised; this model's are others")
        }
        renormalizes = first.gating.renormalizes
    }
}
