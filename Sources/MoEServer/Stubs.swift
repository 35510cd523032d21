import MoEInfer
import MoEModel
enum EmbeddingPooling { case mean, last }
struct EmbeddingResult { var vectors: [[Float]] = []; var promptTokens: [Int] = []; var moe: MoEUsage? }
extension LLM {
  func fillInTheMiddle(prefix: String, suffix: String) throws -> [Int32] { throw RequestError("no") }
  func embed(_ i: [[Int32]], pooling: EmbeddingPooling?, normalize: Bool, routing: RoutingChoice) async throws -> EmbeddingResult { throw RequestError("no") }
  var chatTemplateSource: String? { nil }
}
extension SamplingOptions { var promptLogprobs: Int? { get { nil } set {} } }
extension GenerationResult { var promptLogprobs: [TokenLogprobs?] { [] } }
