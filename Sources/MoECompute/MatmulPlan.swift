// SPDX-License-Identifier: Apache-2.0

import CMoEKernels
import MoETensors

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
    package enum Path: Sendable, BitwiseCopyable { case native, blas, reference }

    package var mode: Mode

    /// Rows from which on sgemm beats our kernels for float weights. Never with AVX-512, which reads F16 at 380 to 410 GFLOP/s
    /// from 64 rows on, where OpenBLAS's own AVX-512 kernels reach 280 to 390 (2 threads of AMD Zen 5, 8 matrices of [1024, 2048]
    /// that are not in cache).
    package var blasRows = MatmulPlan.floatISA.hasPrefix("avx512") ? Int.max : 64
    /// The same for one expert, in rows per expert that a slice brings on average.
    package var blasRowsPerExpert = MatmulPlan.floatISA.hasPrefix("avx512") ? Int.max : 16
    /// Whether quantised weights take BLAS from that many rows on too (dequantise-then-sgemm). Only where the portable
    /// kernels run: the int8 panels of AVX2 and AVX-512 VNNI beat sgemm at every number of rows.
    package var quantizedUsesBLAS = !MatmulPlan.hasPanelKernels

    package init(mode: Mode = .auto) { self.mode = mode }

    /// The path of products that all `rows` of a slice take part in.
    package func dense(rows: Int, quantized: Bool) -> Path {
        path(rows >= blasRows && (!quantized || quantizedUsesBLAS))
    }

    /// The path of expert products, for a slice of `rows` of which each goes to about `perToken` of `experts`.
    package func experts(rows: Int, perToken: Int, experts: Int, quantized: Bool) -> Path {
        path(rows * perToken / max(experts, 1) >= blasRowsPerExpert && (!quantized || quantizedUsesBLAS))
    }

    /// Whether a row's bits are the same whatever the length of the slice that it is computed in.
    /// - Parameter quantized: whether all weights are, but for those of routers.
    package func isRowwise(quantized: Bool) -> Bool {
        switch mode {
        case .native, .reference: true
        case .blas: false
        case .auto: quantized ? !quantizedUsesBLAS : blasRows == .max && blasRowsPerExpert == .max
        }
    }

    private static let floatISA = String(cString: moe_kernel_name(Int32(ElementType.f16.rawValue)))
    private static let hasPanelKernels = String(cString: moe_kernel_name(Int32(ElementType.q8_0.rawValue))) != "ref"

    /// The path of the head and of routers. Native in `auto` whatever the number of rows, so that a token's logits do not depend on
    /// how many of its neighbours' were asked for; and a router has so few columns that sgemm's packing costs more than it saves
    /// (prompt of 256, OLMoE's shape: 0.6 % of the time instead of 1.4 % with AVX-512, 0.35 % instead of 0.63 % with AVX2).
    package var rowwisePath: Path { mode == .auto ? .native : path(true) }

    private func path(_ many: Bool) -> Path {
        switch mode {
        case .auto: many ? .blas : .native
        case .blas: .blas
        case .native: .native
        case .reference: .reference
        }
    }
}
