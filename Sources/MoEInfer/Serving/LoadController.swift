// SPDX-License-Identifier: Apache-2.0

/// Decides how far an engine under load goes down to cheaper operating points: a pure value, fed with measurements at any
/// interval.
///
/// The load is the worse of two ratios: seconds between tokens over ``tokenObjective``, and the age of the oldest request in the queue
/// over ``queueObjective``. Above 1 for ``riseSeconds`` without a break, the level goes up by one; below ``calm`` for the time of the
/// fall, down by one; in between it stays. So it goes up quickly and down slowly, a level at a time, and a single long prompt
/// changes nothing.
///
/// ```
/// load   0.5  1.3  1.4  1.2  0.9  0.9  0.6  0.6  …  0.6            objective 50 ms, rise 1 s, fall 10 s,
/// at s   0    1    2    3    4    5    6    7       16             a measurement a second
/// level  0    0    1    2    2    2    2    2       1
/// ```
///
/// Where a lower level turns out too dear again soon after it was tried (within one fall), the next fall waits twice as long, up to
/// 8 times: load that sits between two levels does not make every text change back and forth.
public struct LoadController: Sendable, Equatable {
    public struct Measurement: Sendable, Equatable {
        /// Between two tokens of a stream, as a typical listener has it; nil: nobody decoded.
        public var tokenSeconds: Double?
        public var running: Int
        public var waiting: Int
        /// Of the oldest request that has not begun.
        public var queueSeconds: Double

        public init(tokenSeconds: Double?, running: Int, waiting: Int, queueSeconds: Double = 0) {
            self.tokenSeconds = tokenSeconds
            self.running = running
            self.waiting = waiting
            self.queueSeconds = queueSeconds
        }

        /// What an engine's streams have now, and its queue. A caller with a queue of its own adds that one's.
        public init(_ snapshot: EngineSnapshot) {
            self.init(
                tokenSeconds: snapshot.running > 0 ? snapshot.tokenSeconds : nil, running: snapshot.running,
                waiting: snapshot.waiting, queueSeconds: snapshot.oldestWaitingSeconds)
        }
    }

    /// Seconds.
    public var tokenObjective: Double
    public var queueObjective: Double
    public var riseSeconds: Double
    public var fallSeconds: Double
    /// Share of the objectives below which there is room for a dearer level.
    public var calm: Double
    public var maximumLevel: Int

    public private(set) var level = 0
    /// Since when the load is without a break above 1, or below ``calm``.
    private var highSince: Double?
    private var calmSince: Double?
    private var fellAt: Double?
    /// Times of the fall to wait.
    private var patience = 1.0

    /// - Parameters:
    ///   - milliseconds: between two tokens of a stream, what is to be kept.
    ///   - maximumLevel: 0: never goes down.
    public init(
        milliseconds: Double, queueSeconds: Double = 2, maximumLevel: Int, riseSeconds: Double = 1,
        fallSeconds: Double = 10,
        calm: Double = 0.7
    ) {
        tokenObjective = max(milliseconds, 0.001) / 1000
        queueObjective = max(queueSeconds, 0.001)
        self.maximumLevel = max(0, maximumLevel)
        self.riseSeconds = max(0, riseSeconds)
        self.fallSeconds = max(0, fallSeconds)
        self.calm = min(max(calm, 0), 1)
    }

    /// The load that a measurement stands for: 1 is what may just be.
    public func load(of measurement: Measurement) -> Double {
        let tokens = measurement.running > 0 ? (measurement.tokenSeconds ?? 0) / tokenObjective : 0
        let queue = measurement.waiting > 0 ? measurement.queueSeconds / queueObjective : 0
        return max(tokens.isFinite ? tokens : 0, queue.isFinite ? queue : 0)
    }

    /// - Parameter now: seconds on a clock that never goes back.
    /// - Returns: the level from now on.
    @discardableResult
    public mutating func update(_ measurement: Measurement, at now: Double) -> Int {
        let load = load(of: measurement)
        if load > 1 {
            calmSince = nil
            let since = highSince ?? now
            highSince = since
            if now - since >= riseSeconds, level < maximumLevel {
                level += 1
                if let fell = fellAt, now - fell <= fallSeconds { patience = min(2 * patience, 8) }
                fellAt = nil
                highSince = now
            }
        } else if load < calm {
            highSince = nil
            let since = calmSince ?? now
            calmSince = since
            if now - since >= patience * fallSeconds, level > 0 {
                level -= 1
                fellAt = now
                calmSince = now
            }
        } else {
            (highSince, calmSince) = (nil, nil)
        }
        // A level that held through a fall was no mistake.
        if let fell = fellAt, now - fell > fallSeconds { (fellAt, patience) = (nil, 1) }
        return level
    }
}
