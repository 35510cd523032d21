// SPDX-License-Identifier: Apache-2.0

import Logging
import MoEInfer
import Synchronization

/// Tokens per second, lately.
struct TokenRates: Sendable {
    var prompt = 0.0
    var generated = 0.0
}

/// Looks at the engine a few times a second: measures rates, and sets the pressure where there is an objective.
struct LoadWatch {
    private let state: ServerState
    private var controller: LoadController?
    private var last: (time: ContinuousClock.Instant, prompt: Int, generated: Int)?

    init(_ state: ServerState) {
        self.state = state
        controller = state.configuration.objectiveMilliseconds.map {
            LoadController(milliseconds: $0, maximumLevel: state.pressureLevels)
        }
    }

    mutating func tick() async {
        let engine = await state.llm.snapshot()
        let now = ContinuousClock.now
        if let last {
            let seconds = max(1e-3, (now - last.time) / .seconds(1))
            // An average over some two seconds.
            let weight = min(1, seconds / 2)
            state.updateRates { rates in
                rates.prompt += weight * (Double(engine.promptTokens - last.prompt) / seconds - rates.prompt)
                rates.generated += weight * (Double(engine.generatedTokens - last.generated) / seconds - rates.generated)
            }
        }
        last = (now, engine.promptTokens, engine.generatedTokens)
        guard controller != nil else { return }
        let before = engine.pressure
        var measurement = LoadController.Measurement(engine)
        measurement.waiting += state.admission.counts.waiting
        measurement.queueSeconds = max(measurement.queueSeconds, state.admission.oldestSeconds)
        let level = controller!.update(measurement, at: (now - state.started) / .seconds(1))
        if level != before {
            await state.llm.setPressure(level)
            state.logger.notice("load: pressure \(before) -> \(level)")
        }
    }
}
