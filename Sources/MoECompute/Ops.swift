// SPDX-License-Identifier: Apache-2.0

import CMoEKernels
package import MoETensors

/// Everything that is not a matrix product, as thin calls into C. Pointers are borrowed for the length of a call.
///
/// All values are float32, all matrices row-major. Each row's result is independent of the other rows and of the number of
/// threads. What the threads are not worth waking for is computed on the calling one.
package enum Ops {
    /// All elements of a tensor as float32; exact.
    /// - Parameter view: of a type that ``ElementType/isWeight``.
    package static func dequantize(_ view: TensorView, into output: UnsafeMutablePointer<Float>) {
        precondition(
            view.type.isWeight && !view.isInterleaved, "\(view.name): \(view.type.name) has no float values by rows")
        guard let bytes = view.bytes.baseAddress else { return }
        moe_dequantize_row(Int32(view.type.rawValue), bytes, output, Int64(view.elementCount))
    }

    /// One row of a matrix as float32, `[k]`; exact. The embedding of a token.
    package static func dequantizeRow(of matrix: Matrix, row: Int, into output: UnsafeMutablePointer<Float>) {
        precondition(row >= 0 && row < matrix.n && !matrix.isInterleaved, "row \(row) of \(matrix.n)")
        moe_dequantize_row(
            Int32(matrix.type.rawValue), matrix.pointer + row * matrix.rowBytes, output, Int64(matrix.k))
    }

    /// y = x / sqrt(mean(x²) + epsilon) · weight, per row of `count`. In place when `output == x`.
    package static func rmsNorm(
        _ x: UnsafePointer<Float>, stride: Int, weight: UnsafePointer<Float>, epsilon: Float,
        into output: UnsafeMutablePointer<Float>, outputStride: Int, rows: Int, count: Int, pool: ThreadPool
    ) {
        moe_rms_norm(
            pool.handle, x, Int64(stride), weight, epsilon, output, Int64(outputStride), Int32(rows), Int32(count))
    }

    /// output = silu(gate) · up, element by element. In place when `output` is `gate` or `up`.
    package static func swiglu(
        gate: UnsafePointer<Float>, up: UnsafePointer<Float>, into output: UnsafeMutablePointer<Float>, count: Int,
        pool: ThreadPool
    ) {
        moe_swiglu(pool.handle, gate, up, output, Int64(count))
    }

    /// Whether every value is a finite number.
    package static func isFinite(_ x: UnsafePointer<Float>, count: Int) -> Bool { moe_all_finite(x, Int64(count)) }

    /// y += x, element by element.
    package static func add(
        _ x: UnsafePointer<Float>, to y: UnsafeMutablePointer<Float>, count: Int, pool: ThreadPool
    ) {
        moe_add(pool.handle, y, x, Int64(count))
    }

    /// Rotates x `[rows, heads, headDim]` in place: the first `rotaryDim` of each head, by the angles of its row's position.
    /// - Parameters:
    ///   - cos: `[positions, rotaryDim / 2]`, as `sin`
    ///   - neox: pairs (i, i + rotaryDim / 2), else (2i, 2i + 1)
    package static func rope(
        _ x: UnsafeMutablePointer<Float>, positions: UnsafePointer<Int32>, cos: UnsafePointer<Float>,
        sin: UnsafePointer<Float>, rows: Int, heads: Int, headDim: Int, rotaryDim: Int, neox: Bool, pool: ThreadPool
    ) {
        moe_rope(
            pool.handle, x, Int64(heads * headDim), positions, cos, sin, Int32(rows), Int32(heads), Int32(headDim),
            Int32(rotaryDim), neox)
    }

    /// Softmax of each row of `count`, in place.
    package static func softmax(_ x: UnsafeMutablePointer<Float>, rows: Int, count: Int) {
        moe_softmax(x, Int64(count), Int32(rows), Int32(count))
    }

    /// The weighted sum of each row's expert outputs: `output[t] (+)= Σ weights[s] · expertOutput[slots[s]]` over s in
    /// `offsets[t]..<offsets[t + 1]`, in that order. A row without slots becomes 0, or stays when `accumulate`.
    ///
    /// - Parameters:
    ///   - expertOutput: `[S, width]`
    ///   - offsets: `[rows + 1]`
    ///   - output: `[rows, width]`, rows `outputStride` apart
    package static func combine(
        _ expertOutput: UnsafePointer<Float>, offsets: UnsafePointer<Int32>, slots: UnsafePointer<Int32>,
        weights: UnsafePointer<Float>, into output: UnsafeMutablePointer<Float>, outputStride: Int, rows: Int, width: Int,
        accumulate: Bool, pool: ThreadPool
    ) {
        moe_combine(
            pool.handle, expertOutput, offsets, slots, weights, output, Int64(outputStride), Int32(rows), Int32(width),
            accumulate)
    }

    /// output += sigmoid(gate) · x per row of `width`; `gate` `[rows]`, nil means 1.
    package static func addGated(
        _ x: UnsafePointer<Float>, gate: UnsafePointer<Float>?, into output: UnsafeMutablePointer<Float>, rows: Int,
        width: Int, pool: ThreadPool
    ) {
        moe_add_gated(pool.handle, gate, x, output, Int32(rows), Int32(width))
    }
}

/// The keys and values of one layer: two arrays of pages, `[blocks, kvHeads]`. A page holds `blockSize` positions of one head:
/// `[blockSize, headDim]` of F16 or F32, or of int8 followed by a float16 scale per 32 of them (Q8_0). `CMoEKernels.h` says more.
package struct KVLayerView: BitwiseCopyable {
    package let keys: UnsafeMutableRawPointer
    package let values: UnsafeMutableRawPointer
    package let type: ElementType
    /// Positions per block.
    package let blockSize: Int
    package let kvHeads: Int
    package let headDim: Int

    package init(
        keys: UnsafeMutableRawPointer, values: UnsafeMutableRawPointer, type: ElementType, blockSize: Int, kvHeads: Int,
        headDim: Int
    ) {
        precondition(type == .f16 || type == .f32 || type == .q8_0, "keys and values are F16, F32 or Q8_0")
        self.keys = keys
        self.values = values
        self.type = type
        self.blockSize = blockSize
        self.kvHeads = kvHeads
        self.headDim = headDim
    }

    /// Bytes of a page.
    package static func pageBytes(type: ElementType, blockSize: Int, headDim: Int) -> Int {
        Int(moe_kv_layout_of(Int32(type.rawValue), Int32(blockSize), Int32(headDim)).page_bytes)
    }
}

/// The rows of one sequence that attend in this step.
package struct AttentionTask: BitwiseCopyable {
    /// `[rows, heads · headDim]`
    package var q: UnsafePointer<Float>
    /// `[rows, heads · headDim]`, overwritten
    package var output: UnsafeMutablePointer<Float>
    /// Position p lives in block `blockTable[p / blockSize]`.
    package var blockTable: UnsafePointer<Int32>
    package var rows: Int
    /// Of row 0. Row i sees positions `0...firstPosition + i`.
    package var firstPosition: Int

    package init(
        q: UnsafePointer<Float>, output: UnsafeMutablePointer<Float>, blockTable: UnsafePointer<Int32>, rows: Int,
        firstPosition: Int
    ) {
        self.q = q
        self.output = output
        self.blockTable = blockTable
        self.rows = rows
        self.firstPosition = firstPosition
    }
}

extension Ops {
    /// Writes new keys and values, `[rows, kvHeads · headDim]` each, at their positions of a sequence.
    package static func storeKV(
        _ view: KVLayerView, k: UnsafePointer<Float>, v: UnsafePointer<Float>, positions: UnsafePointer<Int32>,
        blockTable: UnsafePointer<Int32>, rows: Int, pool: ThreadPool
    ) {
        let width = Int64(view.kvHeads * view.headDim)
        moe_kv_store(
            pool.handle, Int32(view.type.rawValue), view.keys, view.values, k, width, v, width, positions, blockTable,
            Int32(rows),
            Int32(view.blockSize), Int32(view.kvHeads), Int32(view.headDim))
    }

    /// Causal grouped-query attention of all sequences of a step over their cached keys and values.
    /// - Parameters:
    ///   - scale: usually 1 / sqrt(headDim)
    ///   - window: 0, or how many positions a row sees, itself included
    ///   - isa: nil: the kernels in use; those of another instruction set are for tests
    /// - Throws: ``ResourceError`` when scratch memory cannot be had, or the instruction set.
    package static func attention(
        _ view: KVLayerView, tasks: UnsafeBufferPointer<AttentionTask>, heads: Int, scale: Float, window: Int,
        isa: String? = nil, pool: ThreadPool
    ) throws {
        var shape = moe_attention_shape(
            k_cache: view.keys, v_cache: view.values, scale: scale, kv_type: Int32(view.type.rawValue),
            block_size: Int32(view.blockSize), heads: Int32(heads), kv_heads: Int32(view.kvHeads),
            head_dim: Int32(view.headDim), window: Int32(window))
        let width = Int64(heads * view.headDim)
        let cTasks = pool.taskMemory(of: moe_attention_task.self, count: tasks.count)
        for index in tasks.indices {
            let task = tasks[index]
            (cTasks + index).initialize(
                to: moe_attention_task(
                    q: task.q, out: task.output, block_table: task.blockTable, q_stride: width, out_stride: width,
                    rows: Int32(task.rows), first_position: Int32(task.firstPosition)))
        }
        let result = moe_attention_isa(pool.handle, isa, &shape, cTasks, Int32(tasks.count))
        if result != 0 { throw ResourceError(what: "scratch of attention", bytes: nil) }
    }
}
