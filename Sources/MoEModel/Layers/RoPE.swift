// SPDX-License-Identifier: Apache-2.0

import Glibc
import MoECompute
import Synchronization

/// Rotary position embedding (Su et al. 2021, arXiv 2104.09864): which pairs rotate, and how fast.
package struct RoPEConfiguration: Sendable, Equatable {
    /// How frequencies are stretched for contexts longer than the model was first trained on.
    package enum Scaling: Sendable, Equatable {
        case none
        /// All frequencies divided by `factor`. Chen et al. 2023, arXiv 2306.15595.
        case linear(factor: Double)
        /// Peng et al. 2023, arXiv 2309.00071.
        case yarn(YaRN)
        /// Llama 3.1: long wavelengths divided by `factor`, short ones kept, a ramp between.
        case llama3(factor: Double, lowFrequencyFactor: Double, highFrequencyFactor: Double, originalContext: Double)
        /// Divisors per frequency as the file gives them (`rope_freqs.weight`). [rotaryDim / 2]
        case divisors([Float])
    }

    package struct YaRN: Sendable, Equatable {
        package var factor: Double
        package var originalContext: Double
        package var betaFast: Double = 32
        package var betaSlow: Double = 1
        /// What cosines and sines are multiplied by; nil: ``temperature(factor:scale:)``.
        package var attentionFactor: Double?
        /// Whether the ends of the ramp are rounded to whole dimensions.
        package var truncate: Bool = true

        package init(factor: Double, originalContext: Double) {
            self.factor = factor
            self.originalContext = originalContext
        }

        /// What the paper multiplies cosines and sines by for a factor above 1: 0.1 · scale · ln(factor) + 1.
        static func temperature(factor: Double, scale: Double = 1) -> Double {
            factor > 1 ? 0.1 * scale * log(factor) + 1 : 1
        }
    }

    package var base: Double
    /// Dimensions of a head that rotate; even.
    package var rotaryDim: Int
    /// true: pairs (i, i + rotaryDim/2), as Hugging Face; false: (2i, 2i+1), as GGUF files of arch `llama`.
    package var neox: Bool
    package var scaling: Scaling

    package init(base: Double, rotaryDim: Int, neox: Bool, scaling: Scaling = .none) {
        self.base = base
        self.rotaryDim = rotaryDim
        self.neox = neox
        self.scaling = scaling
    }

    /// Radians per position of each pair, [rotaryDim / 2].
    package var inverseFrequencies: [Float] {
        let half = rotaryDim / 2
        // In float32, as the models were trained: at position 1000 the last bit of a frequency shows in the logits.
        let plain = (0..<half).map { 1 / pow(Float(base), Float(2 * $0) / Float(rotaryDim)) }
        switch scaling {
        case .none: return plain
        case .linear(let factor): return plain.map { $0 / Float(factor) }
        case .divisors(let divisors): return zip(plain, divisors).map { $0 / $1 }
        case .llama3(let factor, let low, let high, let originalContext):
            return plain.map { frequency in
                let wavelength = 2 * Double.pi / Double(frequency)
                if wavelength < originalContext / high { return frequency }
                if wavelength > originalContext / low { return frequency / Float(factor) }
                let smooth = Float((originalContext / wavelength - low) / (high - low))
                return (1 - smooth) * frequency / Float(factor) + smooth * frequency
            }
        case .yarn(let yarn):
            return zip(plain, ramp(yarn)).map { frequency, ramp in
                frequency / Float(yarn.factor) * ramp + frequency * (1 - ramp)
            }
        }
    }

    /// Multiplies cosines and sines: YaRN's temperature, else 1.
    package var magnitude: Float {
        guard case .yarn(let yarn) = scaling else { return 1 }
        return Float(yarn.attentionFactor ?? YaRN.temperature(factor: yarn.factor))
    }

    /// 0: the pair keeps its frequency; 1: it is divided by the factor.
    private func ramp(_ yarn: YaRN) -> [Float] {
        func dimension(rotations: Double) -> Double {
            Double(rotaryDim) * log(yarn.originalContext / (rotations * 2 * .pi)) / (2 * log(base))
        }
        var low = dimension(rotations: yarn.betaFast)
        var high = dimension(rotations: yarn.betaSlow)
        if yarn.truncate { (low, high) = (low.rounded(.down), high.rounded(.up)) }
        low = max(low, 0)
        high = min(high, Double(rotaryDim - 1))
        if low == high { high += 0.001 }
        return (0..<rotaryDim / 2).map { Float(min(max((Double($0) - low) / (high - low), 0), 1)) }
    }
}

/// Cosines and sines of every position met so far, shared by all layers.
///
/// Address space for the whole context is reserved once and filled as positions come up, so nothing moves or is copied.
final class RotaryTable: @unchecked Sendable {
    private let configuration: RoPEConfiguration
    private let maximumPositions: Int
    private let frequencies: [Float]
    private let memory: MemoryReservation
    /// Positions filled. Only the thread that runs the model touches the tables; the lock orders different such threads.
    private let filled = Mutex(0)

    init(_ configuration: RoPEConfiguration, maximumPositions: Int) throws {
        self.configuration = configuration
        self.maximumPositions = maximumPositions
        frequencies = configuration.inverseFrequencies
        memory = try MemoryReservation(
            bytes: maximumPositions * configuration.rotaryDim * MemoryLayout<Float>.stride, purpose: "rotary tables")
    }

    private var half: Int { configuration.rotaryDim / 2 }
    /// [maximumPositions, rotaryDim / 2]
    private var cosines: UnsafeMutablePointer<Float> {
        memory.base.assumingMemoryBound(to: Float.self)
    }
    private var sines: UnsafeMutablePointer<Float> { cosines + maximumPositions * half }

    /// Rotates x `[rows, heads, headDim]` in place.
    func rotate(
        _ x: UnsafeMutablePointer<Float>, rows: Int, heads: Int, headDim: Int, positions: UnsafeBufferPointer<Int32>,
        pool: ThreadPool
    ) {
        fill(upTo: Int(positions.max() ?? 0) + 1)
        Ops.rope(
            x, positions: positions.baseAddress!, cos: cosines, sin: sines, rows: rows, heads: heads, headDim: headDim,
            rotaryDim: configuration.rotaryDim, neox: configuration.neox, pool: pool)
    }

    private func fill(upTo needed: Int) {
        precondition(needed <= maximumPositions, "position \(needed - 1) is past the context of \(maximumPositions)")
        filled.withLock { filled in
            guard needed > filled else { return }
            let end = min(maximumPositions, max(needed, filled + 256))
            let magnitude = configuration.magnitude
            for position in filled..<end {
                for pair in 0..<half {
                    let angle = Float(position) * frequencies[pair]
                    cosines[position * half + pair] = cos(angle) * magnitude
                    sines[position * half + pair] = sin(angle) * magnitude
                }
            }
            filled = end
        }
    }
}
