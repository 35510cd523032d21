// SPDX-License-Identifier: Apache-2.0

/// One product of a grouped call: `output[m, n] = input[rows, k] · weights[n, k]ᵀ (+ bias)`.
///
/// All pointers are borrowed for the duration of the call that gets the task.
package struct MatmulTask: BitwiseCopyable {
    /// [n, k]
    package var weights: Matrix
    /// Rows of k floats, `inputStride` floats apart.
    package var input: UnsafePointer<Float>
    package var inputStride: Int
    /// nil: rows 0..<m of `input`; else m row indices into it, a gather without a copy.
    package var inputRows: UnsafePointer<Int32>?
    /// [m, n], rows `outputStride` floats apart; overwritten.
    package var output: UnsafeMutablePointer<Float>
    package var outputStride: Int
    package var m: Int
    /// nil or [n], added to every row.
    package var bias: UnsafePointer<Float>?
    /// Set: a second matrix [n, k] for the same input, and output = silu(input · weightsᵀ) · (input · upᵀ): SwiGLU, Shazeer 2020,
    /// arXiv 2002.05202.
    package var up: Matrix?
    /// nil or [n]
    package var upBias: UnsafePointer<Float>?
    /// Set for expert products: a counter per row of `input`, incremented by the kernel that computes the row.
    package var evaluations: UnsafeMutablePointer<Int32>?

    package init(
        weights: Matrix, input: UnsafePointer<Float>, inputStride: Int? = nil, inputRows: UnsafePointer<Int32>? = nil,
        output: UnsafeMutablePointer<Float>, outputStride: Int? = nil, m: Int, bias: UnsafePointer<Float>? = nil,
        up: Matrix? = nil, upBias: UnsafePointer<Float>? = nil, evaluations: UnsafeMutablePointer<Int32>? = nil
    ) {
        self.weights = weights
        self.input = input
        self.inputStride = inputStride ?? weights.k
        self.inputRows = inputRows
        self.output = output
        self.outputStride = outputStride ?? weights.n
        self.m = m
        self.bias = bias
        self.up = up
        self.upBias = upBias
        self.evaluations = evaluations
    }
}

/// What a backend did, counted where it was done.
package struct MatmulStatistics: Equatable, Sendable {
    /// Bytes of weights read, each task's weights once.
    package var weightBytes = 0
    /// Rows times tasks.
    package var products = 0

    package init() {}
}

/// Who multiplies. Three answers: ``NativeBackend`` (our kernels), ``OpenBLASBackend`` (float32 BLAS over dequantised
/// panels) and ``ReferenceBackend`` (plain Swift loops: the oracle of the tests).
package protocol GEMMBackend: Sendable {
    var name: String { get }
    /// Computes all tasks; returns when they are done. Each row's result is independent of all other rows and tasks.
    func matmul(_ tasks: UnsafeBufferPointer<MatmulTask>, pool: ThreadPool, statistics: inout MatmulStatistics) throws
}
