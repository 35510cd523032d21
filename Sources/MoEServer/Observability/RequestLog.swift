// SPDX-License-Identifier: Apache-2.0

import Foundation
import MoEInfer
import MoEJSON
import Synchronization

/// One request's life, for `GET /v1/requests/{id}`.
final class RequestRecord: Sendable {
    enum Status: String, Sendable {
        case queued, running, completed, cancelled, failed

        var isOver: Bool { self != .queued && self != .running }
    }

    struct State {
        var status = Status.queued
        var operatingPoint: String?
        var queueSeconds: Double?
        var firstTokenSeconds: Double?
        var seconds: Double?
        var tokens = 0
        var usage: JSONTree?
        var error: APIError?
    }

    /// The `x-request-id`.
    let id: String
    /// Of the response: `chatcmpl-…`.
    let responseID: String
    let endpoint: String
    let model: String
    let key: String
    let created = Int(Date.now.timeIntervalSince1970)
    private let start = ContinuousClock.now
    private let state = Mutex(State())

    init(id: String, responseID: String, endpoint: String, model: String, key: String) {
        (self.id, self.responseID, self.endpoint, self.model, self.key) = (id, responseID, endpoint, model, key)
    }

    var snapshot: State { state.withLock { $0 } }
    var elapsed: Double { (ContinuousClock.now - start) / .seconds(1) }

    func describe(operatingPoint: String) { state.withLock { $0.operatingPoint = operatingPoint } }

    /// Its first answer has a place in the engine.
    func begin() {
        let elapsed = elapsed
        state.withLock { state in
            guard state.status == .queued else { return }
            state.status = .running
            state.queueSeconds = elapsed
        }
    }

    /// - Returns: seconds since the request came, for its very first token only.
    func countToken() -> Double? {
        let elapsed = elapsed
        return state.withLock { state in
            state.tokens += 1
            guard state.firstTokenSeconds == nil else { return nil }
            state.firstTokenSeconds = elapsed
            return elapsed
        }
    }

    /// - Returns: false when it had ended before.
    @discardableResult
    func end(_ status: Status, usage: JSONTree? = nil, error: APIError? = nil) -> Bool {
        let elapsed = elapsed
        return state.withLock { state in
            guard !state.status.isOver else { return false }
            (state.status, state.seconds, state.error) = (status, elapsed, error)
            if let usage { state.usage = usage }
            return true
        }
    }

    /// What an answer cost that did not come to its end is known a moment after its request has ended.
    func amend(usage: JSONTree) {
        state.withLock { if $0.status.isOver, $0.status != .completed { $0.usage = usage } }
    }

    var json: JSONTree {
        let state = snapshot
        func number(_ value: Double?) -> JSONTree { value.map { .double($0) } ?? .null }
        var json: JSONMembers = [
            "id": .string(id), "object": "moe.request", "response_id": .string(responseID), "endpoint": .string(endpoint),
            "model": .string(model), "status": .string(state.status.rawValue), "created": .int(created),
        ]
        json["operating_point"] = state.operatingPoint.map { .string($0) } ?? .null
        json["queue_seconds"] = number(state.queueSeconds)
        json["first_token_seconds"] = number(state.firstTokenSeconds)
        json["seconds"] = number(state.seconds ?? elapsed)
        json["tokens"] = .int(state.tokens)
        json["usage"] = state.usage ?? .null
        json["error"] = state.error?.content ?? .null
        return .object(json)
    }
}

/// The last requests, found by their own or their response's id.
final class RequestLog: Sendable {
    private struct State {
        var ring: [RequestRecord] = []
        var next = 0
        var byID: [String: RequestRecord] = [:]
    }

    private let capacity: Int
    private let state = Mutex(State())

    init(capacity: Int = 1024) { self.capacity = capacity }

    func add(_ record: RequestRecord) {
        state.withLock { state in
            if state.ring.count < capacity {
                state.ring.append(record)
            } else {
                let old = state.ring[state.next]
                for id in [old.id, old.responseID] where state.byID[id] === old { state.byID[id] = nil }
                state.ring[state.next] = record
            }
            state.next = (state.next + 1) % capacity
            state.byID[record.id] = record
            state.byID[record.responseID] = record
        }
    }

    /// - Parameter key: who asks: others' requests are not shown.
    func find(_ id: String, key: String) -> RequestRecord? {
        state.withLock { $0.byID[id] }.flatMap { $0.key == key ? $0 : nil }
    }
}
