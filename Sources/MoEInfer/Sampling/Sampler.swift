// SPDX-License-Identifier: Apache-2.0

import Glibc
import MoECompute
package import MoEGrammar

/// Chooses tokens for one sequence: penalties and bias, then temperature, top-k, min-p and top-p, then a draw.
///
/// The draw for the n-th token depends on the seed and n alone, so a sequence is the same alone, among others, and after a
/// preemption.
package struct Sampler {
    private let options: SamplingOptions
    /// How often each token stood in the prompt or the text (repetition), and in the text alone (presence, frequency).
    private var seen: Set<Int32> = []
    private var generated: [Int32: Int] = [:]
    private var drawn: UInt64 = 0
    /// What was drawn for the draft under way, and whether it was new to `seen`.
    private var drafted: [(token: Int32, isNew: Bool)] = []
    private var isDrafting = false

    package init(options: SamplingOptions, prompt: [Int32]) {
        self.options = options
        if options.repetitionPenalty != 1 { seen = Set(prompt) }
    }

    /// - Parameters:
    ///   - logits: `[vocabulary]`; changed by penalties and bias.
    ///   - mask: the tokens that are allowed, whatever penalties and bias say; nil: all. A token that is the only one is not drawn.
    ///   - scratch: kept between calls, so that nothing is allocated in a steady loop.
    package mutating func sample(
        _ logits: UnsafeMutableBufferPointer<Float>, mask: TokenMask? = nil, scratch: SamplingScratch
    ) -> Int32 {
        adjust(logits)
        var forced: Int32?
        if let mask {
            forced = mask.only
            if forced == nil { mask.apply(to: logits) }
        }
        let token =
            if let forced {
                forced
            } else if options.temperature == 0 {
                Self.argmax(UnsafeBufferPointer(logits))
            } else {
                draw(UnsafeBufferPointer(logits), scratch: scratch)
            }
        let isNew = options.repetitionPenalty != 1 && seen.insert(token).inserted
        if countsTokens { generated[token, default: 0] += 1 }
        drawn += 1
        if isDrafting { drafted.append((token, isNew)) }
        return token
    }

    private var countsTokens: Bool { options.presencePenalty != 0 || options.frequencyPenalty != 0 }

    /// What is drawn until ``endDraft()`` is a guess of the draws that will follow, and is taken back then.
    package mutating func beginDraft() { isDrafting = true }

    package mutating func endDraft() {
        for (token, isNew) in drafted {
            if isNew { seen.remove(token) }
            if countsTokens { generated[token] = generated[token] == 1 ? nil : generated[token]! - 1 }
            drawn -= 1
        }
        drafted.removeAll(keepingCapacity: true)
        isDrafting = false
    }

    /// The likeliest token; ties to the lower id. NaN never wins.
    package static func argmax(_ logits: UnsafeBufferPointer<Float>) -> Int32 {
        var best = 0
        var value = -Float.infinity
        for index in logits.indices where logits[index] > value {
            value = logits[index]
            best = index
        }
        return Int32(best)
    }

    private func adjust(_ logits: UnsafeMutableBufferPointer<Float>) {
        let penalty = options.repetitionPenalty
        for token in seen where Int(token) < logits.count {
            let logit = logits[Int(token)]
            logits[Int(token)] = logit > 0 ? logit / penalty : logit * penalty
        }
        for (token, count) in generated {
            logits[Int(token)] -= options.presencePenalty + options.frequencyPenalty * Float(count)
        }
        for (token, bias) in options.logitBias { logits[Int(token)] += bias }
    }

    private func draw(_ logits: UnsafeBufferPointer<Float>, scratch: SamplingScratch) -> Int32 {
        let best = Int(Self.argmax(logits))
        let largest = logits[best]
        guard largest.isFinite else { return Int32(best) }
        let inverse = 1 / options.temperature
        let candidates = scratch.candidates(logits.count)

        // What min-p or the reach of float32 leaves out costs nothing further on.
        let floor = options.minP > 0 ? log(options.minP) / inverse : -100 / inverse
        var count = 0
        for index in logits.indices {
            let distance = logits[index] - largest
            if distance >= floor {
                candidates[count] = .init(weight: exp(distance * inverse), token: Int32(index))
                count += 1
            }
        }
        var kept = UnsafeMutableBufferPointer(rebasing: candidates[..<count])
        if options.topK > 0, options.topK < kept.count {
            kept = kept.likeliest(options.topK)
            kept.sort()
        }

        var total = kept.reduce(0) { $0 + Double($1.weight) }
        if options.topP < 1, kept.count > 1 {
            // A token this unlikely, and all that are less likely, hold no more than 1 - p: the nucleus is full before it.
            let negligible = Float((1 - Double(options.topP)) * total / Double(kept.count - 1))
            kept = .init(rebasing: kept[..<kept.partition { $0.weight < negligible }])
            kept.sort()
            let target = total * Double(options.topP)
            var mass = 0.0
            var end = 0
            while end < kept.count, mass < target {
                mass += Double(kept[end].weight)
                end += 1
            }
            kept = .init(rebasing: kept[..<end])
            total = mass
        }

        var remaining = uniform() * total
        for candidate in kept {
            remaining -= Double(candidate.weight)
            if remaining < 0 { return candidate.token }
        }
        return kept.last?.token ?? Int32(best)
    }

    /// [0, 1), from the seed and the number of the draw: SplitMix64 (Steele, Lea and Flood 2014).
    private func uniform() -> Double {
        var z = options.seed &+ (drawn &+ 1) &* 0x9E37_79B9_7F4A_7C15
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return Double((z ^ (z >> 31)) >> 11) * 0x1p-53
    }
}

/// Room for one draw, kept by whoever samples.
package final class SamplingScratch {
    /// Sorts the likeliest first, ties to the lower id.
    package struct Candidate: BitwiseCopyable, Comparable {
        package var weight: Float
        package var token: Int32

        package static func < (left: Candidate, right: Candidate) -> Bool {
            left.weight != right.weight ? left.weight > right.weight : left.token < right.token
        }
    }

    private var memory = UnsafeMutableBufferPointer<Candidate>(start: nil, count: 0)

    package init() {}

    deinit { memory.deallocate() }

    fileprivate func candidates(_ count: Int) -> UnsafeMutableBufferPointer<Candidate> {
        if memory.count < count {
            memory.deallocate()
            memory = .allocate(capacity: count)
        }
        return memory
    }
}

extension TokenLogprobs {
    /// - Parameter logits: `[vocabulary]`, as the model gave them.
    init(
        of token: Int32, in logits: UnsafeBufferPointer<Float>, alternatives: Int, scratch: SamplingScratch,
        text: (Int32) -> String
    ) {
        let largest = logits.max() ?? 0
        var total = 0.0
        for logit in logits { total += Double(exp(logit - largest)) }
        let normalizer = largest + Float(log(total))
        func entry(_ token: Int32) -> Entry {
            Entry(token: token, text: text(token), logprob: logits[Int(token)] - normalizer)
        }
        chosen = entry(token)
        let count = min(alternatives, logits.count)
        if count == 0 {
            top = []
            return
        }
        let candidates = scratch.candidates(logits.count)
        for index in logits.indices { candidates[index] = .init(weight: logits[index], token: Int32(index)) }
        var likeliest = UnsafeMutableBufferPointer(rebasing: candidates[..<logits.count]).likeliest(count)
        likeliest.sort()
        top = likeliest.map { entry($0.token) }
    }
}

extension UnsafeMutableBufferPointer where Element == SamplingScratch.Candidate {
    /// The `count` likeliest, in any order, brought to the front: quickselect (Hoare 1961), linear in the vocabulary.
    fileprivate func likeliest(_ count: Int) -> Self {
        var (low, high) = (0, self.count)
        while high - low > 1 {
            // The middle of three, so that sorted input is not the worst case.
            let samples = [self[low], self[low + (high - low) / 2], self[high - 1]].sorted()
            let pivot = samples[1]
            var slice = self[low..<high]
            let notBefore = slice.partition { !($0 < pivot) }
            // Candidates differ in their ids, so the pivot is the only one that is neither before nor after itself.
            if count <= notBefore, notBefore > low {
                high = notBefore
            } else {
                slice = self[notBefore..<high]
                let after = slice.partition { pivot < $0 }
                if count <= after { break }
                low = after
            }
        }
        return Self(rebasing: self[..<count])
    }
}
