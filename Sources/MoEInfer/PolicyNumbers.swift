// SPDX-License-Identifier: Apache-2.0

import MoEModel

/// Numbers for routing policies: two have the same one only if they route every token alike. Under one number, sequences share
/// what is computed.
struct PolicyNumbers {
    /// Servers see a handful of policies. Above this, numbers start anew, and what was computed under the old ones is not found.
    private static let limit = 64

    private var known: [any RoutingPolicy] = []
    private var first = 0

    /// nil: a policy that depends on its batch, or does not say what it equals.
    mutating func number(of policy: any RoutingPolicy) -> Int? {
        guard policy.batchPolicy == nil, policy.isSame(as: policy) else { return nil }
        if let index = known.firstIndex(where: { $0.isSame(as: policy) }) { return first + index }
        if known.count == Self.limit {
            first += known.count
            known = []
        }
        known.append(policy)
        return first + known.count - 1
    }
}
