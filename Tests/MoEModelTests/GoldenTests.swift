// SPDX-License-Identifier: Apache-2.0

import Foundation
import MoECompute
import MoEModel
import MoETensors
import MoETestSupport
import Synchronization
import Testing

/// Tiny random models of every architecture against the logits of Hugging Face transformers; see `Tests/Fixtures/tiny`.
/// `MOE_GOLDEN_FIXTURES` names a folder with more of them, as `make_golden.py --random` makes it.
@Suite struct GoldenTests {
    /// Largest difference allowed, of logits of order 1.
    private static let tolerance: Float = 1e-4

    /// A fixture that cannot be read would otherwise be a test that is not run.
    @Test func everyArchitectureIsThereInBothFormats() {
        let names = GoldenModel.all.map(\.description)
        for architecture in ["llama", "qwen2-tied", "mixtral", "qwen2moe", "qwen3-tied", "qwen3moe", "olmoe"] {
            for format in ["safetensors", "gguf"] {
                #expect(names.contains("\(architecture) (\(format))"), "\(names)")
            }
        }
    }

    // MARK: Agreement with transformers

    @Test(arguments: GoldenModel.all, MatmulPlan.Mode.allCases)
    func logitsAgree(_ golden: GoldenModel, _ mode: MatmulPlan.Mode) throws {
        let model = try golden.open()
        let found = try GoldenRun(model, golden, plan: MatmulPlan(mode: mode)).logits()
        let error = golden.largestDifference(from: found)
        #expect(error <= Self.tolerance, "\(golden), \(mode): logits differ by \(error)")
    }

    /// The plan of real use takes BLAS from some dozen rows on; here from few, so that both paths share a run.
    @Test(arguments: GoldenModel.all)
    func logitsAgreeWhenPathsMix(_ golden: GoldenModel) throws {
        let model = try golden.open()
        let error = golden.largestDifference(from: try GoldenRun(model, golden, plan: mixed).logits())
        #expect(error <= Self.tolerance, "\(golden): logits differ by \(error)")
    }

    // MARK: The same bits

    /// Native rows are independent of each other, so where a prompt is cut changes nothing.
    @Test(arguments: GoldenModel.all)
    func chunkedPrefillIsTheSame(_ golden: GoldenModel) throws {
        let model = try golden.open()
        let whole = try GoldenRun(model, golden, plan: MatmulPlan(mode: .native)).logits()
        for chunk in [1, 7, 16] {
            var run = try GoldenRun(model, golden, plan: MatmulPlan(mode: .native))
            run.chunk = chunk
            #expect(sameBits(try run.logits(), whole), "\(golden), chunks of \(chunk)")
        }
        var run = try GoldenRun(model, golden, plan: mixed)
        run.chunk = 7
        let error = golden.largestDifference(from: try run.logits())
        #expect(error <= Self.tolerance, "\(golden), chunks of 7 with BLAS: logits differ by \(error)")
    }

    @Test(arguments: GoldenModel.all)
    func threadsChangeNothing(_ golden: GoldenModel) throws {
        let model = try golden.open()
        let one = try GoldenRun(model, golden, plan: MatmulPlan(mode: .native), threads: 1).logits()
        let two = try GoldenRun(model, golden, plan: MatmulPlan(mode: .native), threads: 2).logits()
        #expect(sameBits(one, two), "\(golden)")
    }

    /// Two sequences in one step, one of which is decoding while the other's prompt is read: each as if it were alone.
    @Test(arguments: GoldenModel.all, [MatmulPlan.Mode.native, .blas, .auto])
    func batchMatesChangeNothing(_ golden: GoldenModel, _ mode: MatmulPlan.Mode) throws {
        let model = try golden.open()
        let plan = mode == .auto ? mixed : MatmulPlan(mode: mode)
        let first = GoldenSequence(tokens: golden.prompt + golden.continuation, promptCount: golden.prompt.count, start: 0)
        let second = GoldenSequence(
            tokens: Array(golden.prompt.reversed().prefix(17)) + golden.continuation.reversed(), promptCount: 17, start: 3)
        let alone = try [first, second].map { try GoldenRun(model, golden, plan: plan).logits(of: [$0])[0] }
        let together = try GoldenRun(model, golden, plan: plan).logits(of: [first, second])
        #expect(sameBits(together[0], alone[0]), "\(golden), \(mode): the first sequence")
        #expect(sameBits(together[1], alone[1]), "\(golden), \(mode): the second sequence")
    }

    // MARK: Routing

    /// `static` with the model's own k is the path without a policy, bit by bit, even where it is asked for by number; and a
    /// policy may not be shown more than it needs: `top-p` with p = 1 and max = k comes to the same.
    @Test(arguments: GoldenModel.mixtures)
    func staticAtTheModelsOwnCountIsNative(_ golden: GoldenModel) throws {
        let model = try golden.open()
        let k = try #require(model.configuration.experts).perToken
        let native = try GoldenRun(model, golden, plan: mixed).logits()
        for text in ["static", "static:k=\(k)", "top-p:p=1,min=\(k),max=\(k)"] {
            var run = try GoldenRun(model, golden, plan: mixed)
            run.routing = try RoutingSpecification.parse(text)
            #expect(sameBits(try run.logits(), native), "\(golden), \(text)")
        }
    }

    /// The number of experts that the kernels counted is the policy's, exactly: what is skipped is not computed.
    @Test(arguments: GoldenModel.mixtures, [MatmulPlan.Mode.native, .blas, .reference])
    func fewerExpertsAreComputed(_ golden: GoldenModel, _ mode: MatmulPlan.Mode) throws {
        let model = try golden.open()
        let experts = try #require(model.configuration.experts)
        let rows = golden.tokens.count * experts.layers.count { $0 }
        func counted(_ text: String) throws -> EvaluationCounter {
            let counter = EvaluationCounter()
            var run = try GoldenRun(model, golden, plan: MatmulPlan(mode: mode))
            run.routing = try RoutingSpecification.parse(text)
            run.observer = counter
            let logits = try run.logits()
            #expect(logits.allSatisfy { $0.isFinite }, "\(golden), \(text)")
            return counter
        }
        for k in 0...experts.perToken {
            let counter = try counted("static:k=\(k)")
            #expect(counter.computed == rows * k, "\(golden), k = \(k)")
            #expect(counter.selected == rows * k, "\(golden), k = \(k)")
        }
        let dynamic = try counted("top-p:p=0.3,min=1,max=\(experts.perToken)")
        #expect(dynamic.computed == dynamic.selected)
        #expect(dynamic.computed >= rows)
        if experts.perToken > 1, rows > 0 { #expect(dynamic.computed < rows * experts.perToken) }
    }

    /// Said as one word: a failed expectation of arrays prints all of their values.
    private func sameBits(_ first: [Float], _ second: [Float]) -> Bool {
        first.count == second.count && zip(first, second).allSatisfy { $0.bitPattern == $1.bitPattern }
    }

    /// The plan of real use, with BLAS from few rows on.
    private var mixed: MatmulPlan {
        var plan = MatmulPlan(mode: .auto)
        plan.blasRows = 9
        plan.blasRowsPerExpert = 2
        return plan
    }
}

// MARK: - Fixtures

/// One file of a fixture, and what transformers says of it.
struct GoldenModel: Sendable, CustomTestStringConvertible, CustomStringConvertible {
    /// The folder's name and the format.
    let description: String
    let path: String
    let prompt: [Int32]
    let continuation: [Int32]
    /// [tokens, vocabulary]
    let expected: [Float]
    let vocabulary: Int
    /// A mixture whose tokens all run k experts: without pseudo-experts.
    let isMixture: Bool

    var testDescription: String { description }
    var tokens: [Int32] { prompt + continuation }

    func open() throws -> any LanguageModel { try ModelFile.open(path: path).model() }

    func largestDifference(from found: [Float]) -> Float {
        guard found.count == expected.count else { return .infinity }
        return zip(found, expected).reduce(0) { largest, pair in
            let difference = abs(pair.0 - pair.1)
            return difference.isNaN ? .infinity : max(largest, difference)
        }
    }

    static let all: [GoldenModel] = {
        var folders = ["tiny", "router"].map { Fixtures.directory.appendingPathComponent($0) }
        if let more = ProcessInfo.processInfo.environment["MOE_GOLDEN_FIXTURES"] {
            folders.append(URL(fileURLWithPath: more))
        }
        return folders.flatMap { folder in
            let names = (try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []
            return names.sorted().flatMap { load(folder.appendingPathComponent($0)) }
        }
    }()
    static let mixtures = all.filter(\.isMixture)

    private struct Expected: Decodable {
        var prompt: [Int32]
        var continuation: [Int32]
        var vocabulary: Int
    }

    /// Both formats of a fixture; nothing for what is no fixture.
    private static func load(_ folder: URL) -> [GoldenModel] {
        guard let json = try? Data(contentsOf: folder.appendingPathComponent("expected.json")) else { return [] }
        let expected = try! JSONDecoder().decode(Expected.self, from: json)
        let logits = npyFloats(try! Data(contentsOf: folder.appendingPathComponent("logits.npy")))
        let gguf = folder.appendingPathComponent("model.gguf")
        let files = [(folder, "safetensors")] + (Fixtures.exists(gguf) ? [(gguf, "gguf")] : [])
        let configuration = try! String(contentsOf: folder.appendingPathComponent("config.json"), encoding: .utf8)
        return files.map { file, format in
            GoldenModel(
                description: "\(folder.lastPathComponent) (\(format))", path: file.path, prompt: expected.prompt,
                continuation: expected.continuation, expected: logits, vocabulary: expected.vocabulary,
                isMixture: configuration.contains("num_experts_per_tok") && !configuration.contains("zce_nums"))
        }
    }

    /// The values of a version 1 .npy file of little-endian float32 in C order.
    private static func npyFloats(_ data: Data) -> [Float] {
        let headerSize = Int(data[8]) + Int(data[9]) << 8
        let header = String(decoding: data[10..<10 + headerSize], as: UTF8.self)
        precondition(data.starts(with: [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1]), "not a version 1 .npy file")
        precondition(header.contains("'<f4'") && header.contains("'fortran_order': False"), header)
        return data.dropFirst(10 + headerSize).withUnsafeBytes { bytes in
            (0..<bytes.count / 4).map { bytes.loadUnaligned(fromByteOffset: 4 * $0, as: Float.self) }
        }
    }
}

/// Tokens of one sequence: a prompt, read in chunks, then the rest, one at a time.
struct GoldenSequence {
    var tokens: [Int32]
    var promptCount: Int
    /// The step in which it begins.
    var start: Int
}

/// A model, memory for its sequences, and the loop that an engine would be.
struct GoldenRun {
    let model: any LanguageModel
    let golden: GoldenModel
    let context: ComputeContext
    let cache: KVCache
    var chunk = Int.max
    var routing: any RoutingPolicy = StaticRouting()
    var observer: (any RoutingObserver)?

    /// Small, so that every sequence has several, and odd, so that no chunk ends with one.
    private static let blockSize = 5
    private let blocksPerSequence: Int

    init(_ model: any LanguageModel, _ golden: GoldenModel, plan: MatmulPlan, threads: Int = 2) throws {
        self.model = model
        self.golden = golden
        context = try ComputeContext(threads: threads, plan: plan)
        let configuration = model.configuration
        blocksPerSequence = (golden.tokens.count + Self.blockSize - 1) / Self.blockSize
        cache = try KVCache(
            precision: .f32, blockSize: Self.blockSize, blockCount: 2 * blocksPerSequence,
            layerCount: configuration.layerCount, kvHeads: configuration.attention.kvHeads,
            headDim: configuration.attention.headDim)
    }

    /// Logits after each token of the fixture's prompt and continuation.
    func logits() throws -> [Float] {
        try logits(of: [GoldenSequence(tokens: golden.tokens, promptCount: golden.prompt.count, start: 0)])[0]
    }

    /// Logits after each token of each sequence.
    func logits(of sequences: [GoldenSequence]) throws -> [[Float]] {
        var done = [Int](repeating: 0, count: sequences.count)
        var result = [[Float]](repeating: [], count: sequences.count)
        var step = 0
        while zip(done, sequences).contains(where: { $0 < $1.tokens.count }) {
            var batch = ForwardBatch()
            var counts = [Int](repeating: 0, count: sequences.count)
            for (index, sequence) in sequences.enumerated() where step >= sequence.start {
                let position = done[index]
                if position == sequence.tokens.count { continue }
                let isPrefill = position < sequence.promptCount
                let count = isPrefill ? min(chunk, sequence.promptCount - position) : 1
                batch.append(
                    tokens: sequence.tokens.span.extracting(position..<position + count), firstPosition: position,
                    blockTable: blockTable(index), phase: isPrefill ? .prefill : .decode, routing: routing,
                    observer: observer, logits: 0..<count)
                counts[index] = count
            }
            step += 1
            if batch.count == 0 { continue }
            let vocabulary = golden.vocabulary
            var rows = [Float](repeating: .nan, count: batch.count * vocabulary)
            try rows.withUnsafeMutableBufferPointer { try model.forward(batch, cache: cache, context: context, logits: $0) }
            var row = 0
            for index in sequences.indices {
                result[index] += rows[row * vocabulary..<(row + counts[index]) * vocabulary]
                row += counts[index]
                done[index] += counts[index]
            }
        }
        return result
    }

    /// Every other block of the cache, backwards: nothing may depend on blocks being neighbours.
    private func blockTable(_ sequence: Int) -> [Int32] {
        (0..<blocksPerSequence).reversed().map { Int32(2 * $0 + sequence) }
    }
}

/// Adds up what the kernels counted and what the router chose.
private final class EvaluationCounter: RoutingObserver {
    private let counts = Mutex((computed: 0, selected: 0))

    var computed: Int { counts.withLock { $0.computed } }
    var selected: Int { counts.withLock { $0.selected } }

    func observe(_ event: borrowing RoutingEvent) {
        var (computed, selected) = (0, 0)
        for token in 0..<event.tokenCount {
            computed += event.computedExperts(token: token)
            selected += event.selectedExperts(token: token).count
        }
        counts.withLock {
            $0.computed += computed
            $0.selected += selected
        }
    }
}
