// SPDX-License-Identifier: Apache-2.0

/// Rotary position embedding: which pairs rotate, and how far.
package struct RoPEConfiguration: Sendable, Equatable {
    /// How frequencies are stretched for long contexts.
    package enum Scaling: Sendable, Equatable {
        case none
        case linear(factor: Float)
        /// Peng et al. 2023, arXiv 2309.00071.
        case yarn(
            factor: Float, originalContext: Int, betaFast: Float, betaSlow: Float, attentionFactor: Float?, truncate: Bool)
        /// Llama 3.1's piecewise scaling of wavelengths.
        case llama3(factor: Float, lowFrequencyFactor: Float, highFrequencyFactor: Float, originalContext: Int)
        /// Divisors per frequency, as the file gives them (`rope_freqs.weight`). [rotaryDim / 2]
        case divisors([Float])
    }

    package var base: Float
    /// Dimensions of a head that rotate.
    package var rotaryDim: Int
    /// true: pairs (i, i + rotaryDim/2), as Hugging Face; false: (2i, 2i+1), as GGUF files of arch `llama`.
    package var neox: Bool
    package var scaling: Scaling
}
