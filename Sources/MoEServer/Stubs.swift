import MoEInfer
import MoEModel
struct EngineSnapshot { struct Layer { var layer = 0; var load: [Int] = []; var recent: [Double] = [] }
  var running = 0, waiting = 0, freeBlocks = 0, cachedBlocks = 0, totalBlocks = 0, pressure = 0, preemptions = 0, promptTokens = 0, generatedTokens = 0
  var stepSeconds = (p50: 0.0, p99: 0.0); var layers: [Layer] = []; var histogram: [Int] = []; var meanExperts: Double? }
struct LoadController { init(objectiveMilliseconds: Double, levels: Int) {}; mutating func update(_ s: EngineSnapshot, queued: Int) -> Int { 0 } }
struct OperatingPoint { var name = "", summary = "" }
func CappedRouting(_ p: any RoutingPolicy, maximum: Int) -> any RoutingPolicy { p }
enum EmbeddingPooling { case mean, last }
struct EmbeddingResult { var vectors: [[Float]] = []; var promptTokens: [Int] = []; var moe: MoEUsage? }
extension LLM {
  func snapshot() -> EngineSnapshot { EngineSnapshot() }
  func setPressure(_ n: Int) async {}
  var operatingPoints: [OperatingPoint] { [] }
  func operatingPoint(_ s: String) throws -> any RoutingPolicy { try routing(named: s) }
  func routing(named s: String) throws -> any RoutingPolicy { try RoutingSpecification.parse("native") }
  func fillInTheMiddle(prefix: String, suffix: String) throws -> [Int32] { throw RequestError("no") }
  func embed(_ i: [[Int32]], pooling: EmbeddingPooling?, normalize: Bool, routing: RoutingChoice) async throws -> EmbeddingResult { throw RequestError("no") }
  var chatTemplateSource: String? { nil }
}
extension GenerationOptions { var budget: Int? { get { nil } set {} }; var fallbacks: [any RoutingPolicy] { get { [] } set {} } }
extension SamplingOptions { var promptLogprobs: Int? { get { nil } set {} } }
extension GenerationResult { var promptLogprobs: [TokenLogprobs?] { [] } }
extension GenerationResult.Usage { var degradedTokens: Int { 0 } }
