// SPDX-License-Identifier: Apache-2.0

import HTTPTypes
import Hummingbird
import MoEInfer
import MoEJSON
import NIOCore

/// What the server says of itself and its model.
struct StatusRoutes {
    let state: ServerState

    // MARK: Models

    private var model: JSONTree {
        var model: JSONMembers = [
            "id": .string(state.modelName), "object": "model", "created": .int(state.created), "owned_by": "moe-infer",
            "context_length": .int(state.llm.contextLength), "max_model_len": .int(state.llm.contextLength),
            "architecture": .string(state.llm.architecture),
        ]
        if state.llm.expertsPerToken > 0 {
            model["moe"] = [
                "layers": .int(state.llm.layerCount), "experts": .int(state.llm.expertCount),
                "experts_per_token": .int(state.llm.expertsPerToken),
                "operating_points": .array(
                    state.llm.operatingPoints.map { point in
                        [
                            "name": .string(point.name), "description": .string(point.summary),
                            "routing": .string(point.routing),
                            "mean_experts": point.meanExperts.map { .double($0) } ?? .null,
                        ]
                    }),
                "default": .string(state.configuration.routing),
            ]
        }
        return .object(model)
    }

    func models() -> JSONTree { ["object": "list", "data": [model]] }

    func model(named name: String) throws(APIError) -> JSONTree {
        guard name == state.modelName else {
            throw .notFound("the model '\(name)' does not exist", code: "model_not_found", param: "model")
        }
        return model
    }

    // MARK: Health

    func ready() -> Response {
        if state.isDraining { return Response(json: ["status": "draining"], status: .serviceUnavailable) }
        if state.admission.isFull { return Response(json: ["status": "full"], status: .serviceUnavailable) }
        return Response(json: ["status": "ready"])
    }

    // MARK: Load

    func status() async -> JSONTree {
        let engine = await state.llm.snapshot()
        let figures = state.metrics.figures
        return [
            "running": .int(engine.running), "waiting": .int(engine.waiting),
            "queued": .int(state.admission.counts.waiting),
            "active": .int(state.admission.counts.running),
            "blocks": [
                "free": .int(engine.blocks.free), "cached": .int(engine.blocks.cached), "total": .int(engine.blocks.total),
            ],
            "tokens_per_second": .double(state.rates.generated), "prompt_tokens_per_second": .double(state.rates.prompt),
            "pressure": .int(engine.pressure), "preemptions": .int(engine.preemptions),
            "requests": [
                "completed": .int(figures.completed), "cancelled": .int(figures.cancelled), "failed": .int(figures.failed),
                "refused": .int(figures.refused),
            ],
            "cost_usd": .double(figures.cost), "price_per_core_hour": .double(state.configuration.pricePerCoreHour),
            "step_seconds": [
                "p50": .double(engine.stepTimes.quantile(0.5) ?? 0), "p99": .double(engine.stepTimes.quantile(0.99) ?? 0),
            ],
            "resident_bytes": ServerMetrics.residentBytes.map { .int($0) } ?? .null,
            "uptime_seconds": .double((ContinuousClock.now - state.started) / .seconds(1)),
            "model": .string(state.modelName), "version": .string(LLM.engineVersion),
        ]
    }

    func heatmap() async -> JSONTree {
        let engine = await state.llm.snapshot()
        return [
            "layers": .array(
                engine.layers.map { layer in
                    [
                        "layer": .int(layer.layer), "experts": .array(layer.load.map { .int($0) }),
                        "recent": .array(layer.recent.map { .double($0) }),
                    ]
                }),
            "histogram": .array(engine.histogram.map { .int($0) }),
            "mean_experts": engine.meanExperts.map { .double($0) } ?? .null,
        ]
    }

    func metrics() async -> Response {
        let engine = await state.llm.snapshot()
        func block(_ name: String, _ value: Int) -> (name: String, labels: [(String, String)], value: Double) {
            ("moe_kv_blocks", [("state", name)], Double(value))
        }
        let text = state.metrics.text(
            preemptions: engine.preemptions,
            gauges: [
                ("moe_running", [], Double(engine.running)), ("moe_waiting", [], Double(engine.waiting)),
                ("moe_queued", [], Double(state.admission.counts.waiting)),
                ("moe_pressure_level", [], Double(engine.pressure)),
                block("free", engine.blocks.free), block("cached", engine.blocks.cached),
                block("used", engine.blocks.total - engine.blocks.free),
            ])
        return Response(
            status: .ok, headers: [.contentType: "text/plain; version=0.0.4; charset=utf-8"],
            body: ResponseBody(byteBuffer: ByteBuffer(string: text)))
    }

    func request(id: String, context: ServerContext) throws(APIError) -> JSONTree {
        guard let record = state.requests.find(id, key: context.rights.name) else {
            throw .notFound("there is no request '\(id.prefix(200))' among the last ones")
        }
        return record.json
    }
}
