// SPDX-License-Identifier: Apache-2.0

import CLAPACKE
import CMoEKernels

/// What calibration needs beyond products: inner products, normal equations, and their solution by LAPACK. All in double.
package enum LinearAlgebra {
    /// `gram[i, j] = <rows[i], rows[j]>`, `[K, K]`, for K = rows.count.
    package static func gram(
        _ rows: UnsafeBufferPointer<UnsafePointer<Float>?>, width: Int, into gram: UnsafeMutablePointer<Double>
    ) {
        moe_gram(rows.baseAddress, Int32(rows.count), Int32(width), gram)
    }

    /// `sum[i, j] += x[i] · y[j]`, row-major `[x.count, y.count]`.
    package static func addOuterProduct(
        _ x: UnsafeBufferPointer<Double>, _ y: UnsafeBufferPointer<Double>, to sum: UnsafeMutablePointer<Double>
    ) {
        guard let xs = x.baseAddress, let ys = y.baseAddress else { return }
        moe_add_outer(sum, xs, ys, Int32(x.count), Int32(y.count))
    }

    /// Solves A X = B by Cholesky (`dpotrf`, `dpotrs`).
    ///
    /// - Parameters:
    ///   - a: `[n, n]`, symmetric
    ///   - b: `[n, columns]`, row-major
    /// - Returns: X `[n, columns]`; nil when A is not positive definite.
    package static func solvePositiveDefinite(_ a: [Double], _ b: [Double], count n: Int, columns: Int) -> [Double]? {
        precondition(a.count == n * n && b.count == n * columns)
        if b.isEmpty { return b }
        let lower = CChar(UInt8(ascii: "L"))
        var (factor, x) = (a, b)
        guard LAPACKE_dpotrf(LAPACK_ROW_MAJOR, lower, Int32(n), &factor, Int32(n)) == 0,
            LAPACKE_dpotrs(
                LAPACK_ROW_MAJOR, lower, Int32(n), Int32(columns), &factor, Int32(n), &x, Int32(columns)) == 0
        else { return nil }
        return x
    }
}
