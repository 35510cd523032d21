// SPDX-License-Identifier: Apache-2.0

import CMoEKernels
import MoECompute
import MoETensors
import Testing

/// Whole products: tiles, panels, gathers, groups of tasks, threads, counters.
@Suite struct NativeMatmulTests {
    /// Prevents: a result that depends on how many rows share the weights, or on threads. The same request would then give
    /// other tokens alone than in a batch. Odd sizes, so that every remainder of every tile is met.
    @Test(arguments: weightTypes) func eachRowIsTheSameInAnyCompany(type: ElementType) throws {
        let (n, m) = (37, 21)
        let k = type.blockElements == 1 ? 203 : 3 * max(type.blockElements, 96)
        let weights = RandomWeights(type, n: n, k: k, seed: 21)
        let x = randomActivations(rows: m, k: k, seed: 22)
        let rows = (0..<m).map { Int32(($0 * 8) % m) }
        let bias = (0..<n).map { Float($0) / 7 }
        let pools = try [1, 2, 5].map(ThreadPool.init(threads:))
        for isa in availableISAs {
            var alone: [UInt32] = []
            for row in rows {
                alone += try product(weights, x, rows: [row], m: 1, bias: bias, isa: isa, pool: pools[0]).output.bits
            }
            for pool in pools {
                for count in 1...m {
                    let first = m - count
                    let some = Array(rows[first...])
                    let output = try product(weights, x, rows: some, m: count, bias: bias, isa: isa, pool: pool).output
                    #expect(output.bits == Array(alone[(first * n)...]), "\(isa), m = \(count), \(pool.threads) threads")
                }
            }
        }
    }

    /// The same with more rows than one call of a panel takes, and more activations than stay in cache.
    @Test(arguments: [ElementType.q4K, .q8_0, .q4_0, .q6K]) func manyRowsOfGreatLength(type: ElementType) throws {
        let (n, m, k) = (70, 139, 4096)
        let weights = RandomWeights(type, n: n, k: k, seed: 23)
        let x = randomActivations(rows: m, k: k, seed: 24)
        let rows = (0..<m).map { Int32(($0 * 8) % m) }
        let pool = try ThreadPool(threads: 2)
        var alone: [UInt32] = []
        for row in rows { alone += try product(weights, x, rows: [row], m: 1, isa: "ref", pool: pool).output.bits }
        for isa in availableISAs where isa != "ref" {
            for count in [m, 64, 66] {
                let output = try product(weights, x, rows: Array(rows.prefix(count)), m: count, isa: isa, pool: pool).output
                #expect(output.bits == Array(alone.prefix(count * n)), "\(isa), m = \(count)")
            }
        }
    }

    /// Against the plain loops over dequantised weights.
    @Test(arguments: weightTypes) func agreesWithTheOracle(type: ElementType) throws {
        let (n, m, k) = (19, 7, 512)
        let weights = RandomWeights(type, n: n, k: k, seed: 31)
        var x = randomActivations(rows: m, k: k, seed: 32)
        let pool = try ThreadPool(threads: 2)
        var outputs = [[Float](repeating: 0, count: m * n), [Float](repeating: 0, count: m * n)]
        for (index, backend) in ([ReferenceBackend(), NativeBackend()] as [any GEMMBackend]).enumerated() {
            var statistics = MatmulStatistics()
            try outputs[index].withUnsafeMutableBufferPointer { output in
                try x.withUnsafeMutableBufferPointer { x in
                    let task = MatmulTask(weights: weights.matrix, input: x.baseAddress!, output: output.baseAddress!, m: m)
                    try withUnsafePointer(to: task) {
                        try backend.matmul(UnsafeBufferPointer(start: $0, count: 1), pool: pool, statistics: &statistics)
                    }
                }
            }
            #expect(statistics.products == m)
            #expect(statistics.weightBytes == n * weights.matrix.rowBytes)
        }
        let scale = outputs[0].reduce(0) { $0 + $1 * $1 }
        let error = zip(outputs[0], outputs[1]).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
        // Relative error of the whole: float rounding, or 8-bit activations with outliers.
        #expect((error / scale).squareRoot() <= (type.blockElements == 1 ? 1e-6 : 0.02))
    }

    /// SwiGLU in one task: the bits of two products and their SwiGLU, for one row and many, odd sizes, and two types.
    @Test(arguments: availableISAs) func gatedProducts(isa: String) throws {
        let types: [(ElementType, ElementType)] = [
            (.q4K, .q4K), (.q8_0, .q6K), (.f16, .f16), (.q4_0, .f32), (.bf16, .q8_0), (.iq4NL, .mxfp4),
        ]
        for (index, (first, second)) in types.enumerated() {
            let (n, k, tokens) = (101, index % 2 == 0 ? 512 : 768, 40)
            let gate = RandomWeights(first, n: n, k: k, seed: UInt64(60 + index))
            let up = RandomWeights(second, n: n, k: k, seed: UInt64(70 + index))
            let x = randomActivations(rows: tokens, k: k, seed: 80)
            let bias = (0..<n).map { Float($0 % 7) / 8 }
            for (m, threads) in [(1, 1), (2, 2), (5, 2), (23, 1), (40, 3)] {
                let pool = try ThreadPool(threads: threads)
                let rows = (0..<m).map { Int32(($0 * 7 + 3) % tokens) }
                var gates = try product(gate, x, rows: rows, m: m, bias: bias, isa: isa, pool: pool).output
                let ups = try product(up, x, rows: rows, m: m, bias: bias, isa: isa, pool: pool).output
                gates.withUnsafeMutableBufferPointer { gates in
                    ups.withUnsafeBufferPointer {
                        Ops.swiglu(
                            gate: gates.baseAddress!, up: $0.baseAddress!, into: gates.baseAddress!, count: gates.count,
                            pool: pool)
                    }
                }
                let fused = try product(gate, x, rows: rows, m: m, bias: bias, up: up, isa: isa, pool: pool)
                #expect(fused.output.bits == gates.bits, "\(first.name) and \(second.name), m = \(m)")
                for token in 0..<tokens {
                    #expect(Int(fused.evaluations[token]) == rows.count { Int($0) == token })
                }
            }
        }
    }

    /// Experts: many tasks that share activation rows, some empty, some with none of the rows.
    @Test(arguments: availableISAs) func groupsOfTasks(isa: String) throws {
        let types: [ElementType] = [.q4K, .q8_0, .f16, .q6K, .mxfp4]
        let (k, tokens) = (512, 12)
        let x = randomActivations(rows: tokens, k: k, seed: 41)
        let pool = try ThreadPool(threads: 2)
        let sizes: [(n: Int, rows: [Int32])] = [
            (48, [3, 0, 7]), (17, []), (33, [11]), (64, Array(0..<12)), (1, [5, 5]), (0, [1]),
        ]
        let experts = sizes.enumerated().map { RandomWeights(types[$0 % types.count], n: $1.n, k: k, seed: UInt64($0)) }

        var expectedCounts = [Int32](repeating: 0, count: tokens)
        var expected: [[UInt32]] = []
        for (expert, size) in zip(experts, sizes) {
            guard size.n > 0, !size.rows.isEmpty else {
                expected.append([])
                continue
            }
            let alone = try product(expert, x, rows: size.rows, m: size.rows.count, isa: isa, pool: pool)
            expected.append(alone.output.bits)
            for (token, count) in alone.evaluations.enumerated() { expectedCounts[token] += count }
        }
        #expect(expectedCounts == [2, 1, 1, 2, 1, 3, 1, 2, 1, 1, 1, 2])

        var outputs = sizes.map { [Float](repeating: .nan, count: max($0.n * $0.rows.count, 1)) }
        var counts = [Int32](repeating: 0, count: tokens)
        let result = x.withUnsafeBufferPointer { x in
            counts.withUnsafeMutableBufferPointer { counts in
                // Pointers into arrays that live until the end of the call.
                let rowPointers = sizes.map { size in
                    let copy = UnsafeMutablePointer<Int32>.allocate(capacity: size.rows.count + 1)
                    copy.initialize(from: size.rows, count: size.rows.count)
                    return copy
                }
                let outputPointers = outputs.map { UnsafeMutablePointer<Float>.allocate(capacity: $0.count) }
                defer {
                    for pointer in rowPointers { pointer.deallocate() }
                    for pointer in outputPointers { pointer.deallocate() }
                }
                let tasks = experts.indices.map { index in
                    let matrix = experts[index].matrix
                    return moe_matmul_task(
                        weights: matrix.pointer, input: x.baseAddress, input_rows: rowPointers[index],
                        output: outputPointers[index], bias: nil, evaluations: counts.baseAddress,
                        row_bytes: matrix.rowBytes, input_stride: Int64(k), output_stride: Int64(matrix.n),
                        weight_type: matrix.type.id, m: Int32(sizes[index].rows.count), n: Int32(matrix.n), k: Int32(k),
                        up: nil, up_bias: nil, up_row_bytes: 0, up_type: 0)
                }
                let result = moe_matmul_isa(pool.handle, isa, tasks, Int32(tasks.count))
                for index in outputs.indices where !expected[index].isEmpty {
                    for i in outputs[index].indices { outputs[index][i] = outputPointers[index][i] }
                }
                return result
            }
        }
        #expect(result == 0)
        #expect(counts == expectedCounts)
        for index in expected.indices where !expected[index].isEmpty { #expect(outputs[index].bits == expected[index]) }
    }

    /// Queries, keys and values: tasks of many rows that read the same activations, beside others that do not. Kernels that lay
    /// activations side by side do it once for all of the first.
    @Test(arguments: availableISAs) func tasksOfTheSameRows(isa: String) throws {
        let (k, m) = (512, 70)
        let inputs = [UInt64(51), 52].map { randomActivations(rows: m, k: k, seed: $0) }
        let pool = try ThreadPool(threads: 2)
        let sizes: [(type: ElementType, n: Int, input: Int, rows: Int)] = [
            (.q4K, 130, 0, m), (.q4_0, 40, 0, m), (.q6K, 33, 0, m), (.q8_0, 90, 1, m), (.q4K, 64, 1, m), (.q4K, 65, 1, 33),
        ]
        let weights = sizes.enumerated().map { RandomWeights($1.type, n: $1.n, k: k, seed: UInt64(53 + $0)) }
        let expected = try zip(weights, sizes).map { weights, size in
            try product(
                weights, inputs[size.input], rows: (0..<Int32(size.rows)).map { $0 }, m: size.rows, isa: isa, pool: pool
            ).output.bits
        }
        var output = [Float](repeating: .nan, count: sizes.reduce(0) { $0 + $1.n * $1.rows })
        let result = inputs[0].withUnsafeBufferPointer { first in
            inputs[1].withUnsafeBufferPointer { second in
                output.withUnsafeMutableBufferPointer { output in
                    var next = output.baseAddress!
                    let tasks = zip(weights, sizes).map { weights, size in
                        defer { next += size.n * size.rows }
                        let matrix = weights.matrix
                        return moe_matmul_task(
                            weights: matrix.pointer, input: [first, second][size.input].baseAddress, input_rows: nil,
                            output: next, bias: nil, evaluations: nil, row_bytes: matrix.rowBytes, input_stride: Int64(k),
                            output_stride: Int64(size.n), weight_type: matrix.type.id, m: Int32(size.rows),
                            n: Int32(size.n), k: Int32(k), up: nil, up_bias: nil, up_row_bytes: 0, up_type: 0)
                    }
                    return moe_matmul_isa(pool.handle, isa, tasks, Int32(tasks.count))
                }
            }
        }
        #expect(result == 0)
        #expect(output.bits == expected.flatMap { $0 })
    }

    /// Each computed row is counted once, whatever the number of columns, units and threads.
    @Test func evaluationsCountComputedRows() throws {
        let pool = try ThreadPool(threads: 3)
        for (type, n) in [(ElementType.q4_0, 700), (.f32, 513), (.q6K, 16)] {
            let weights = RandomWeights(type, n: n, k: 256, seed: 51)
            let x = randomActivations(rows: 10, k: 256, seed: 52)
            for m in [1, 2, 9] {
                let rows = (0..<m).map { Int32(9 - $0) }
                let counted = try product(weights, x, rows: rows, m: m, isa: nil, pool: pool).evaluations
                #expect(counted == (0..<10).map { $0 > 9 - m ? 1 : 0 }, "\(type), m = \(m)")
            }
        }
    }

    @Test func impossibleTasksAreRefused() throws {
        let pool = try ThreadPool(threads: 1)
        var task = moe_matmul_task()
        (task.weight_type, task.m, task.n, task.k, task.row_bytes) = (ElementType.q4K.id, 1, 1, 128, 144)
        #expect(moe_matmul(pool.handle, MOE_PATH_NATIVE, &task, 1, nil) == -1)  // k is not a multiple of the block
        (task.k, task.row_bytes) = (256, 100)
        #expect(moe_matmul(pool.handle, MOE_PATH_NATIVE, &task, 1, nil) == -1)  // a row does not fit in row_bytes
        task.weight_type = 24
        #expect(moe_matmul(pool.handle, MOE_PATH_NATIVE, &task, 1, nil) == -1)
        (task.weight_type, task.row_bytes, task.m) = (ElementType.q4K.id, 144, 0)
        #expect(moe_matmul(pool.handle, MOE_PATH_NATIVE, &task, 1, nil) == 0)
        #expect(moe_matmul_isa(pool.handle, "no such ISA", &task, 1) == -1)
    }
}
