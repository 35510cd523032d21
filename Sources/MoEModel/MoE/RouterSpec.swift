// SPDX-License-Identifier: Apache-2.0

/// One layer's router as plain data: what the model does between logits and combine weights, apart from the count, which is
/// the ``RoutingPolicy``'s.
///
/// ```
/// logits [R] -> score -> + selection bias -> best groups only -> ranking of R slots -> (policy: how many)
///            -> weights of the kept slots -> real experts: dispatch · identity: w·x · constant: w·(…) · zero: nothing
/// ```
///
/// R slots: E real experts, then the pseudo-experts in the order of ``pseudo``. A policy counts slots, so a token may come to
/// fewer real experts than its count, even none; `evaluations` and statistics count real experts only, because only these are
/// computed.
package struct RouterSpec: Sendable, Equatable {
    /// E
    package var realExperts: Int
    /// k: slots per token that the model was trained with.
    package var slotsPerToken: Int
    package var gating: GatingFunction
    /// Whether the file has a bias `[R]` that is added to the scores to select, and never to weigh
    /// (`e_score_correction_bias`). Scores `[0.5, 0.3]` with bias `[0, 0.4]` rank the second slot first, with weight 0.3.
    package var hasSelectionBias: Bool
    package var groups: ExpertGroups?
    package var pseudo: [PseudoExperts]
    /// Bounds of what a policy may ask for: a policy's count is clamped to `kMin...kMax`. Defaults 0 and R.
    package var kMin: Int
    package var kMax: Int

    package init(
        realExperts: Int, slotsPerToken: Int, gating: GatingFunction, hasSelectionBias: Bool = false,
        groups: ExpertGroups? = nil, pseudo: [PseudoExperts] = [], kMin: Int = 0, kMax: Int? = nil
    ) {
        self.realExperts = realExperts
        self.slotsPerToken = slotsPerToken
        self.gating = gating
        self.hasSelectionBias = hasSelectionBias
        self.groups = groups
        self.pseudo = pseudo
        self.kMin = kMin
        self.kMax = kMax ?? realExperts + pseudo.reduce(0) { $0 + $1.count }
    }

    /// R
    package var slotCount: Int { realExperts + pseudo.reduce(0) { $0 + $1.count } }
    /// Slots that can be selected for one token: those of its best groups.
    package var selectableSlots: Int { groups.map { $0.kept * (slotCount / $0.count) } ?? slotCount }

    /// What a slot is; nil: a real expert.
    package func pseudoKind(of slot: Int) -> PseudoExperts.Kind? {
        var first = realExperts
        if slot < first { return nil }
        for experts in pseudo {
            first += experts.count
            if slot < first { return experts.kind }
        }
        preconditionFailure("slot \(slot) of \(slotCount)")
    }

    /// Which of the constant experts a slot is, from 0.
    func constantIndex(of slot: Int) -> Int {
        var (first, constants) = (realExperts, 0)
        for experts in pseudo {
            if slot < first + experts.count { return constants + slot - first }
            first += experts.count
            if experts.kind == .constant { constants += experts.count }
        }
        preconditionFailure("slot \(slot) of \(slotCount)")
    }

    /// What contradicts itself, in one line; nil: nothing. Numbers come from files.
    package var problem: (expected: String, found: String)? {
        let sizes = [realExperts, slotsPerToken] + pseudo.map(\.count) + [groups?.count ?? 1, groups?.kept ?? 1]
        guard sizes.allSatisfy({ (1...65_536).contains($0) }), pseudo.count <= 16 else {
            return ("counts from 1 to 65536", "\(sizes)")
        }
        if slotsPerToken > slotCount { return ("at most \(slotCount) slots per token", "\(slotsPerToken)") }
        if kMin < 0 || kMin > kMax || kMax > slotCount {
            return ("0 ≤ kMin ≤ kMax ≤ \(slotCount)", "kMin \(kMin), kMax \(kMax)")
        }
        guard gating.scale.isFinite, gating.scale > 0, gating.minimumSum.isFinite, gating.minimumSum >= 0 else {
            return ("a positive scale and a minimum sum from 0", "scale \(gating.scale), minimum \(gating.minimumSum)")
        }
        if let groups {
            guard slotCount % groups.count == 0, groups.kept <= groups.count else {
                return (
                    "a number of expert groups that divides \(slotCount), some of them kept",
                    "\(groups.kept) of \(groups.count)"
                )
            }
            if groups.rank == .topTwoSum, slotCount / groups.count < 2 { return ("groups of two or more", "groups of one") }
            if max(slotsPerToken, kMin) > selectableSlots {
                return ("kept groups that hold k = \(max(slotsPerToken, kMin)) experts", "\(selectableSlots) experts")
            }
        }
        return nil
    }

    /// Turns the scores of a token's ranking into the weights of the kept slots, in place; see ``WeightRule``.
    ///
    /// - Parameters:
    ///   - ranked: scores, best first; for ``WeightRule/keepFullMass`` at least k of them
    ///   - slots: their slots
    ///   - kept: how many the policy kept
    ///   - fullMass: for ``WeightRule/keepFullMass`` where `ranked` is not the model's own ranking: see ``fullMass(of:)``
    func weigh(
        _ ranked: UnsafeMutableBufferPointer<Float>, slots: UnsafePointer<Int32>, kept: Int, fullMass: Float? = nil
    ) {
        switch gating.weights {
        case .none: break
        case .renormAllSlots: divide(ranked, kept: kept) { _ in true }
        case .renormKept where pseudo.isEmpty, .renormReal where pseudo.isEmpty: divide(ranked, kept: kept) { _ in true }
        case .renormKept:
            divide(ranked, kept: kept) { pseudoKind(of: Int(slots[$0])) != .zero }
        case .renormReal:
            divide(ranked, kept: kept) { slots[$0] < realExperts }
        case .keepFullMass:
            if kept == slotsPerToken, fullMass == nil { break }
            let full = fullMass ?? self.fullMass(of: ranked.baseAddress!)
            var mass: Float = 0
            for rank in 0..<kept { mass += ranked[rank] }
            if mass > 0 { for rank in 0..<kept { ranked[rank] *= full / mass } }
        }
        if gating.scale != 1 { for rank in 0..<kept { ranked[rank] *= gating.scale } }
    }

    /// Score mass of the model's own k best. ranked: at least k scores, best first.
    func fullMass(of ranked: UnsafePointer<Float>) -> Float {
        var mass: Float = 0
        for rank in 0..<slotsPerToken { mass += ranked[rank] }
        return mass
    }

    /// The weights of the first `kept` of a ranking; see ``WeightRule``.
    package func weights(ranked: [Float], slots: [Int32], kept: Int) -> [Float] {
        precondition(ranked.count == slots.count && kept <= ranked.count)
        var weights = ranked
        weights.withUnsafeMutableBufferPointer { weigh($0, slots: slots, kept: kept) }
        return Array(weights.prefix(kept))
    }

    /// Divides the ranks that `belongs` names by their sum, in the order of the ranking.
    private func divide(_ ranked: UnsafeMutableBufferPointer<Float>, kept: Int, where belongs: (Int) -> Bool) {
        var sum: Float = 0
        for rank in 0..<kept where belongs(rank) { sum += ranked[rank] }
        sum = max(sum, gating.minimumSum)
        if sum > 0 { for rank in 0..<kept where belongs(rank) { ranked[rank] /= sum } }
    }
}

/// Group-limited selection: slots are split into `count` equal groups of neighbours, and only those of the `kept` best groups
/// can be selected.
///
/// Example: scores `[0.5, 0.0 | 0.3, 0.3]` in two groups of which one is kept: by ``Rank/max`` the first (0.5 over 0.3), by
/// ``Rank/topTwoSum`` the second (0.6 over 0.5).
package struct ExpertGroups: Sendable, Equatable {
    package enum Rank: String, Sendable {
        /// A group counts as much as its best slot. DeepSeek-V2.
        case max
        /// As its two best together. DeepSeek-V3.
        case topTwoSum
    }

    package var count: Int
    package var kept: Int
    package var rank: Rank

    package init(count: Int, kept: Int, rank: Rank) {
        self.count = count
        self.kept = kept
        self.rank = rank
    }

    /// Sets the scores of a row outside its best groups to -∞. Ties go to the lower group.
    func mask(_ row: UnsafeMutablePointer<Float>, slots: Int) {
        let size = slots / count
        withUnsafeTemporaryAllocation(of: Float.self, capacity: count) { values in
            for group in 0..<count {
                var (first, second) = (-Float.infinity, -Float.infinity)
                for score in UnsafeBufferPointer(start: row + group * size, count: size) {
                    if score > first { (first, second) = (score, first) } else if score > second { second = score }
                }
                values.initializeElement(at: group, to: rank == .max ? first : first + second)
            }
            for group in 0..<count {
                let better = (0..<count).count {
                    values[$0] > values[group] || (values[$0] == values[group] && $0 < group)
                }
                if better >= kept { (row + group * size).update(repeating: -.infinity, count: size) }
            }
        }
    }
}

/// Experts without matrices, which compete in the ranking like real ones: a token that selects one does less work.
package struct PseudoExperts: Sendable, Equatable {
    package enum Kind: String, Sendable, CaseIterable {
        /// Output 0: takes a slot, is neither computed nor stored. ZEDA, arXiv 2605.18643; AdaMoE, arXiv 2406.13233.
        case zero
        /// Output x, so w·x is added. LongCat-Flash, arXiv 2509.01322; "copy" in MoE++.
        case identity
        /// Output a·x + b·v with a learned vector v and [a, b] = softmax(W x), W `[2, d]`. MoE++, arXiv 2410.07348.
        case constant
    }

    package var kind: Kind
    package var count: Int

    package init(_ kind: Kind, count: Int) {
        self.kind = kind
        self.count = count
    }
}
