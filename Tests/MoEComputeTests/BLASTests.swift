// SPDX-License-Identifier: Apache-2.0

import MoECompute
import MoETensors
import Testing

@Suite struct BLASTests {
    @Test func theLinkedLibraryIsKnown() {
        let blas = BLAS.information
        #expect(!blas.path.isEmpty)
        #expect(blas.symbol.contains("cblas_sgemm"))
        #expect(["OpenBLAS", "BLIS", "MKL", "ATLAS", "netlib"].contains(blas.vendor))
        #expect(blas.threads <= 1)  // it leaves the threads to us
    }

    /// A file that is no library, a library that is no BLAS, and nothing at all: one line that names it.
    @Test(arguments: ["libm.so.6", "/dev/null", "libthere-is-no-such-library.so"]) func refusesWhatIsNoBLAS(name: String) {
        let error = #expect(throws: BLASLibraryError.self) { try BLAS.load(name) }
        let text = error?.description ?? ""
        #expect(text.contains(name))
        #expect(!text.contains("\n"))
        #expect(BLAS.information.named == nil)
    }

    /// A group of products of uneven sizes, as experts give them: gathered rows, bias, strides, one row (sgemv), shared counters.
    private struct Group {
        let numbers: TestNumbers
        var tasks: [MatmulTask] = []
        let evaluations: UnsafeMutablePointer<Int32>
        var expectedEvaluations: [Int32]

        init(type: ElementType, k: Int, seed: UInt64) {
            numbers = TestNumbers(seed: seed)
            let (inputRows, inputStride) = (40, k + 3)
            let input = numbers.floats(inputRows * inputStride)
            evaluations = numbers.filled(inputRows, Int32(0))
            expectedEvaluations = Array(repeating: 0, count: inputRows)
            for index in 0..<7 {
                let n = index == 6 ? 1300 : numbers.integer(1..<300)
                let m = index == 3 ? 1 : numbers.integer(1..<20)
                let rows = index == 2 ? nil : (0..<m).map { index == 5 ? $0 + 2 : ($0 * 11 + index) % inputRows }
                for row in rows ?? Array(0..<m) { expectedEvaluations[row] += 1 }
                let bytes = k / type.blockElements * type.blockBytes
                tasks.append(
                    MatmulTask(
                        weights: Matrix(
                            type: type, n: n, k: k, rowBytes: bytes,
                            pointer: Self.weights(type, count: n * k, numbers: numbers)),
                        input: input, inputStride: inputStride, inputRows: rows.map { UnsafePointer(numbers.integers($0)) },
                        output: numbers.filled(m * (n + 5), Float.nan), outputStride: n + 5, m: m,
                        bias: index % 2 == 1 ? UnsafePointer(numbers.floats(n)) : nil,
                        up: index < 4
                            ? nil
                            : Matrix(
                                type: type, n: n, k: k, rowBytes: bytes,
                                pointer: Self.weights(type, count: n * k, numbers: numbers)),
                        evaluations: evaluations))
            }
        }

        private static func weights(_ type: ElementType, count: Int, numbers: TestNumbers) -> UnsafeRawPointer {
            switch type {
            case .f32: return UnsafeRawPointer(numbers.floats(count))
            case .f16:
                let halves = numbers.filled(count, Float16(0))
                for index in 0..<count { halves[index] = Float16(numbers.float()) }
                return UnsafeRawPointer(halves)
            default:
                precondition(type == .q8_0)
                let bytes = numbers.filled(count / 32 * 34, Int8(0))
                for index in 0..<count / 32 * 34 { bytes[index] = Int8(truncatingIfNeeded: numbers.bits()) }
                for block in 0..<count / 32 {
                    UnsafeMutableRawPointer(bytes + 34 * block).storeBytes(of: Float16(0.01), as: Float16.self)
                }
                return UnsafeRawPointer(bytes)
            }
        }

        func run(_ backend: any GEMMBackend, pool: ThreadPool) throws -> (values: [Float], statistics: MatmulStatistics) {
            var statistics = MatmulStatistics()
            try tasks.withUnsafeBufferPointer { try backend.matmul($0, pool: pool, statistics: &statistics) }
            let values = tasks.flatMap { task in
                (0..<task.m).flatMap { row in (0..<task.weights.n).map { task.output[row * task.outputStride + $0] } }
            }
            for task in tasks {
                for row in 0..<task.m { #expect(task.output[row * task.outputStride + task.weights.n].isNaN) }
            }
            return (values, statistics)
        }
    }

    @Test(arguments: [ElementType.f32, .f16, .q8_0], [32, 256, 1024])
    func productsAgreeWithTheReference(type: ElementType, k: Int) throws {
        let group = Group(type: type, k: k, seed: UInt64(k))
        let blas = try group.run(OpenBLASBackend(), pool: ThreadPool(threads: 2))
        #expect((0..<40).map { group.evaluations[$0] } == group.expectedEvaluations)
        let reference = try group.run(ReferenceBackend(), pool: ThreadPool(threads: 1))
        // A SwiGLU task multiplies two sums: its error grows with both, so it is taken relative to values above 1.
        let worst = zip(blas.values, reference.values).reduce(Float(0)) { max($0, abs($1.0 - $1.1) / max(1, abs($1.1))) }
        #expect(worst < 1e-5 * Float(k).squareRoot() && !blas.values.contains { $0.isNaN })
        #expect(blas.statistics == reference.statistics)
    }

    /// Panels are cut by the task alone, so the number of threads cannot change a bit.
    @Test(arguments: [2, 3, 5]) func threadsDoNotChangeBits(threads: Int) throws {
        let group = Group(type: .q8_0, k: 512, seed: 8)
        let one = try group.run(OpenBLASBackend(), pool: ThreadPool(threads: 1)).values
        let many = try group.run(OpenBLASBackend(), pool: ThreadPool(threads: threads)).values
        #expect(one.map(\.bitPattern) == many.map(\.bitPattern))
    }
}
