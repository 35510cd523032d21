// SPDX-License-Identifier: Apache-2.0

public import CoreMetrics
import Synchronization

/// A backend of swift-metrics that keeps everything in memory and writes it as Prometheus' text format (version 0.0.4).
///
/// Counters, floating-point counters, gauges (recorders that do not aggregate, meters), and histograms (recorders that aggregate,
/// timers, in seconds). The buckets of a histogram follow from its name's unit.
public final class Prometheus: MetricsFactory, Sendable {
    fileprivate enum Kind: String { case counter, gauge, histogram }

    fileprivate struct Histogram {
        let bounds: [Double]
        var counts: [Int]
        var sum = 0.0

        init(bounds: [Double]) {
            self.bounds = bounds
            counts = Array(repeating: 0, count: bounds.count + 1)
        }

        mutating func add(_ value: Double) {
            counts[bounds.firstIndex { value <= $0 } ?? bounds.count] += 1
            sum += value
        }
    }

    fileprivate enum Value {
        case number(Double)
        case histogram(Histogram)
    }

    fileprivate struct Family {
        let kind: Kind
        var series: [String: Value] = [:]
    }

    fileprivate let families = Mutex<[String: Family]>([:])
    private let help: [String: String]

    /// - Parameter help: what a metric means, by its name.
    public init(help: [String: String] = [:]) { self.help = help }

    /// Sets a counter that somebody else counts.
    func setCounter(_ name: String, to value: Double) {
        families.withLock { $0[name, default: Family(kind: .counter)].series[""] = .number(value) }
    }

    /// Seconds from a millisecond to ten minutes, in steps of about 2.
    static let secondBounds = [
        0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600,
    ]
    static let countBounds = [1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 10, 12, 16.0]

    private static func bounds(_ name: String) -> [Double] { name.hasSuffix("_seconds") ? secondBounds : countBounds }

    // MARK: Text

    /// Everything, sorted by name.
    public var text: String {
        families.withLock { families in
            var lines: [String] = []
            for (name, family) in families.sorted(by: { $0.key < $1.key }) {
                if let help = help[name] { lines.append("# HELP \(name) \(help)") }
                lines.append("# TYPE \(name) \(family.kind.rawValue)")
                for (labels, value) in family.series.sorted(by: { $0.key < $1.key }) {
                    lines += Self.lines(name, labels, value)
                }
            }
            return lines.joined(separator: "\n") + "\n"
        }
    }

    private static func lines(_ name: String, _ labels: String, _ value: Value) -> [String] {
        func braced(_ labels: String) -> String { labels.isEmpty ? "" : "{\(labels)}" }
        switch value {
        case .number(let number): return ["\(name)\(braced(labels)) \(format(number))"]
        case .histogram(let histogram):
            var (lines, total) = ([String](), 0)
            for (index, count) in histogram.counts.enumerated() {
                total += count
                let bound = index < histogram.bounds.count ? format(histogram.bounds[index]) : "+Inf"
                lines.append("\(name)_bucket\(braced((labels.isEmpty ? "" : labels + ",") + "le=\"\(bound)\"")) \(total)")
            }
            lines.append("\(name)_sum\(braced(labels)) \(format(histogram.sum))")
            lines.append("\(name)_count\(braced(labels)) \(total)")
            return lines
        }
    }

    private static func format(_ number: Double) -> String {
        Int(exactly: number).map(String.init) ?? (number.isNaN ? "NaN" : number.isFinite ? "\(number)" : "+Inf")
    }

    private static func labels(_ dimensions: [(String, String)]) -> String {
        dimensions.map { name, value in
            let value = value.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"").replacing("\n", with: "\\n")
            return "\(name)=\"\(value)\""
        }.joined(separator: ",")
    }

    // MARK: swift-metrics

    fileprivate final class Series: CounterHandler, FloatingPointCounterHandler, MeterHandler, RecorderHandler, TimerHandler
    {
        private let owner: Prometheus
        private let name: String
        private let labels: String
        private let kind: Kind

        init(_ owner: Prometheus, _ name: String, _ dimensions: [(String, String)], _ kind: Kind) {
            (self.owner, self.name, self.labels, self.kind) = (owner, name, Prometheus.labels(dimensions), kind)
            update { _ in }
        }

        private func update(_ change: (inout Value) -> Void) {
            owner.families.withLock { families in
                let empty: Value = kind == .histogram ? .histogram(Histogram(bounds: Prometheus.bounds(name))) : .number(0)
                change(&families[name, default: Family(kind: kind)].series[labels, default: empty])
            }
        }

        private func add(_ amount: Double) { update { if case .number(let value) = $0 { $0 = .number(value + amount) } } }

        func increment(by amount: Int64) { add(Double(amount)) }
        func increment(by amount: Double) { add(amount) }
        func decrement(by amount: Double) { add(-amount) }
        func reset() { update { if case .number = $0 { $0 = .number(0) } } }
        func set(_ value: Int64) { set(Double(value)) }
        func set(_ value: Double) { update { $0 = .number(value) } }
        func record(_ value: Int64) { record(Double(value)) }
        func recordNanoseconds(_ duration: Int64) { record(Double(duration) / 1e9) }

        func record(_ value: Double) {
            update { current in
                switch current {
                case .number: current = .number(value)
                case .histogram(var histogram):
                    // So that there is one owner, and nothing is copied.
                    current = .number(0)
                    histogram.add(value)
                    current = .histogram(histogram)
                }
            }
        }
    }

    public func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
        Series(self, label, dimensions, .counter)
    }

    public func makeFloatingPointCounter(label: String, dimensions: [(String, String)]) -> any FloatingPointCounterHandler {
        Series(self, label, dimensions, .counter)
    }

    public func makeMeter(label: String, dimensions: [(String, String)]) -> any MeterHandler {
        Series(self, label, dimensions, .gauge)
    }

    public func makeRecorder(label: String, dimensions: [(String, String)], aggregate: Bool) -> any RecorderHandler {
        Series(self, label, dimensions, aggregate ? .histogram : .gauge)
    }

    public func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler {
        Series(self, label, dimensions, .histogram)
    }

    // Series outlive their handles: what was counted stays counted.
    public func destroyCounter(_ handler: any CounterHandler) {}
    public func destroyFloatingPointCounter(_ handler: any FloatingPointCounterHandler) {}
    public func destroyMeter(_ handler: any MeterHandler) {}
    public func destroyRecorder(_ handler: any RecorderHandler) {}
    public func destroyTimer(_ handler: any TimerHandler) {}
}
