// SPDX-License-Identifier: Apache-2.0

import MoEModel

/// How the time of a step is shared out among its sequences: by the weights that their rows are multiplied with, so that who asks for
/// fewer experts pays for fewer, also beside others. Weights are counted, not bytes: all of a layer's have about the same type.
///
/// Example: a row uses 20 weights outside of experts, an expert has 10. A row with 2 experts counts 40, one with 8 counts 100: of a step
/// of 14 ms they pay 4 and 10.
package struct StepShares {
    /// Weights of all layers that every row uses.
    let row: Double
    /// Of the output head, for a row whose logits are wanted.
    let head: Double
    /// Of one expert.
    let expert: Double

    package init(row: Double, head: Double, expert: Double) { (self.row, self.head, self.expert) = (row, head, expert) }

    package init(_ configuration: ModelConfiguration) {
        let d = Double(configuration.hiddenSize)
        let attention = configuration.attention
        let projections = 2 * d * Double((attention.heads + attention.kvHeads) * attention.headDim)
        var row = 0.0
        for layer in 0..<configuration.layerCount {
            row += projections
            if let experts = configuration.experts, experts.layers[layer] {
                row += d * Double(experts.count) + 3 * d * Double(experts.sharedIntermediateSize)
            } else {
                row += 3 * d * Double(configuration.intermediateSize)
            }
        }
        self.row = row
        head = d * Double(configuration.vocabularySize)
        expert = 3 * d * Double(configuration.experts?.intermediateSize ?? 0)
    }

    /// - Parameter evaluations: (row, layer, expert) triples.
    package func weight(rows: Int, logits: Int, evaluations: Int) -> Double {
        Double(rows) * row + Double(logits) * head + Double(evaluations) * expert
    }
}
