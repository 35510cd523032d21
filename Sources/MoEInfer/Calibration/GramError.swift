// SPDX-License-Identifier: Apache-2.0

/// The squared error of a layer's output when only some of its K experts run, from the Gram matrix of their outputs: exact, without
/// another run.
package enum GramError {
    /// e_m = aᵀ G a. With weights w of all K, the best m kept get w_j · s_m, where s_m = Σ w / Σ_{i<m} w_i when the model
    /// renormalises and 1 when it does not; so a_j = w_j (1 - s_m) for j < m, and w_j for the rest.
    ///
    /// With two orthogonal outputs of norm 1 and w = [0.75, 0.25]: e_1 = 0.0625, or 0.125 when renormalised.
    ///
    /// - Parameters:
    ///   - gram: `[K, K]`
    ///   - weights: `[K]`, best first
    ///   - errors: `[K + 1]`: e_0 … e_K = 0
    package static func errors(_ gram: [Double], weights: [Double], renormalizes: Bool, into errors: inout [Double]) {
        let count = weights.count
        let total = weights.reduce(0, +)
        var kept = 0.0
        for m in 0...count {
            if m > 0 { kept += weights[m - 1] }
            let factor = renormalizes && m > 0 && kept > 0 ? 1 - total / kept : 0
            var sum = 0.0
            for i in 0..<count where m < count {
                let left = i < m ? weights[i] * factor : weights[i]
                for j in 0..<count {
                    sum += left * gram[i * count + j] * (j < m ? weights[j] * factor : weights[j])
                }
            }
            errors[m] = max(0, sum)
        }
    }

    /// The least error of any m of the K experts, under the same weight rule: what a router could reach that knew the outputs.
    /// All 2^K sets, so for K ≤ ``setLimit`` only.
    ///
    /// With s_S = Σ w / Σ_{i∈S} w_i, v = G w, and Q_S, L_S the sums of w_i w_j G_ij and w_i v_i over S:
    /// e_S = wᵀ G w - 2 s_S L_S + s_S² Q_S.
    package static func bestSets(_ gram: [Double], weights: [Double], renormalizes: Bool, into errors: inout [Double]) {
        let count = weights.count
        let total = weights.reduce(0, +)
        let linear = (0..<count).map { i in
            weights[i] * (0..<count).reduce(0) { $0 + gram[i * count + $1] * weights[$1] }
        }
        let whole = linear.reduce(0, +)
        for m in 0...count { errors[m] = .infinity }
        // Each set follows from the set without its lowest expert.
        var (kept, sums, squares) = (
            [Double](repeating: 0, count: 1 << count), [Double](repeating: 0, count: 1 << count),
            [Double](repeating: 0, count: 1 << count)
        )
        errors[0] = max(0, whole)
        for set in 1..<(1 << count) {
            let (lowest, rest) = (set.trailingZeroBitCount, set & (set - 1))
            var cross = 0.0
            for j in 0..<count where rest >> j & 1 == 1 { cross += weights[j] * gram[lowest * count + j] }
            let weight = weights[lowest]
            kept[set] = kept[rest] + weight
            sums[set] = sums[rest] + linear[lowest]
            squares[set] = squares[rest] + 2 * weight * cross + weight * weight * gram[lowest * count + lowest]
            let scale = renormalizes && kept[set] > 0 ? total / kept[set] : 1
            let m = set.nonzeroBitCount
            errors[m] = min(errors[m], max(0, whole - 2 * scale * sums[set] + scale * scale * squares[set]))
        }
        errors[count] = 0
    }

    /// Above this many experts per token the best sets are not searched.
    package static let setLimit = 8

    /// `<y_K, y_m>` and `<y_m, y_m>` of the sum y_m of the best m under the model's weight rule: sums of the two over tokens give
    /// γ_m, the scale of y_m that is nearest to y_K on average.
    package static func products(
        _ gram: [Double], weights: [Double], renormalizes: Bool, add: (_ m: Int, _ cross: Double, _ square: Double) -> Void
    ) {
        let count = weights.count
        let total = weights.reduce(0, +)
        var (kept, cross, square) = (0.0, 0.0, 0.0)
        for m in 1...count {
            let weight = weights[m - 1]
            let row = (m - 1) * count
            for j in 0..<count { cross += weight * gram[row + j] * weights[j] }
            for j in 0..<m - 1 { square += 2 * weight * gram[row + j] * weights[j] }
            square += weight * weight * gram[row + m - 1]
            kept += weight
            let scale = renormalizes && kept > 0 ? total / kept : 1
            add(m, scale * cross, scale * scale * square)
        }
    }
}
