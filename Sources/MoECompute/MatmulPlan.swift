// SPDX-License-Identifier: Apache-2.0

/// Who computes which product. The choice is made for a whole slice of a sequence from the slice's own length, never from
/// what else is in the step: so the same request gives the same bits alone and among others.
package struct MatmulPlan: Sendable, Equatable {
    /// `MOE_GEMM`.
    package enum Mode: String, Sendable, CaseIterable {
        /// Native kernels for few rows, BLAS for many.
        case auto
        case blas
        case native
        case reference
    }

    /// The path of one product.
    package enum Path: Sendable { case native, blas, reference }

    package var mode: Mode

    /// Rows from which on dequantise-then-sgemm beats the dot kernels, which read the weights once per few rows.
    package var blasRows = 32
    /// The same for one expert, in rows per expert that a slice brings on average.
    package var blasRowsPerExpert = 8

    package init(mode: Mode = .auto) { self.mode = mode }

    /// The path of products that all `rows` of a slice take part in.
    package func dense(rows: Int) -> Path { path(rows >= blasRows) }

    /// The path of expert products, for a slice of `rows` of which each goes to about `perToken` of `experts`.
    package func experts(rows: Int, perToken: Int, experts: Int) -> Path {
        path(rows * perToken >= blasRowsPerExpert * experts)
    }

    /// The path of the head. Native in `auto` whatever the number of rows, so that a token's logits do not depend on how many
    /// of its neighbours' logits were asked for.
    package var headPath: Path { mode == .auto ? .native : path(true) }

    private func path(_ many: Bool) -> Path {
        switch mode {
        case .auto: many ? .blas : .native
        case .blas: .blas
        case .native: .native
        case .reference: .reference
        }
    }
}
