// SPDX-License-Identifier: Apache-2.0

public import MoEModel

/// A named place on a model's quality and compute curve: what a request asks for without knowing policies.
public struct OperatingPoint: Sendable, Equatable {
    /// `exact`, `parity`, `balanced`, `fast`; or another name that the model's profile has.
    public let name: String
    /// One line.
    public let summary: String
    /// Experts per token and layer, where they are known: static routing's, and those of a profile as measured on its held-out
    /// text. nil for policies that nobody measured on this model, and for a dense one.
    public let meanExperts: Double?
    /// As text: what the point stands for, `static` or `profile@fast`.
    public let routing: String
}

extension OperatingPoint {
    /// From the dearest to the cheapest.
    package static let names = ["exact", "parity", "balanced", "fast"]

    fileprivate static func summary(of name: String) -> String {
        switch name {
        case "exact": "the model as it was trained: its own number of experts for every token"
        case "parity": "no measured loss: perplexity within 1 %, the same next word 97 times of 100"
        case "balanced": "a small loss for much less compute: perplexity within 3 %"
        case "fast": "the least compute that is still of use: perplexity within 10 %"
        default: "a point of the model's routing profile"
        }
    }
}

extension LLM {
    /// The operating points of this model, the cheapest last. Never empty: `exact` always works.
    ///
    /// A model whose file carries a routing profile has the profile's points. A profile that lacks one of the four has the next
    /// dearer one in its place: who asks for `balanced` of a profile that knows only `parity` and `fast` gets `parity`, never
    /// less quality than the name says.
    ///
    /// Without a profile nothing was measured on this model, so:
    /// - `parity` is `exact`: there is no evidence that fewer experts are as good.
    /// - `balanced` is `ratio:t=0.3,min=⌈k/2⌉`, `fast` is `ratio:t=0.5,min=⌈k/4⌉`: batch-invariant, and bounded from both sides
    ///   by the model's own k. The ratio to the best score means the same whether the model has 8 experts or 256 and whether
    ///   its scores are a softmax or sigmoids, which the mass of top-p does not: of 128 experts the best 8 may hold half of the mass
    ///   at most, and p = 0.7 then saves nothing. The floors are there because untuned policies fail at the low end
    ///   (published static cuts: a quarter of the experts costs 1 % of perplexity, half of them 9 %). On the embedded model
    ///   without its profile (k = 8; 3,072 tokens of its held-out text): `balanced` 4.15 experts and +0.1 % perplexity, `fast` 2.17
    ///   and +1.7 %. Of another model that says nothing: calibrate it.
    ///
    /// In a dense model all of them are static. A model whose profile is broken has `exact` alone; asking for another says why.
    public var operatingPoints: [OperatingPoint] {
        let loaded = Result { try profile }
        guard case .success(let profile) = loaded else { return [exact] }
        guard let profile, expertsPerToken > 0 else {
            return OperatingPoint.names.map { name in
                let isStatic = expertsPerToken == 0 || ["exact", "parity"].contains(name)
                return OperatingPoint(
                    name: name,
                    summary: expertsPerToken == 0
                        ? "a dense model: all points are the same"
                        : isStatic
                            ? exact.summary + (name == "exact" ? "" : " (no profile says that fewer are as good)")
                            : "by the ratio to the best expert's score; not measured on this model",
                    meanExperts: isStatic && expertsPerToken > 0 ? Double(expertsPerToken) : nil,
                    routing: isStatic ? "static" : uncalibrated(name).text)
            }
        }
        let own = profile.points.filter { !OperatingPoint.names.contains($0.name) }
            .map { ($0.name, Optional($0), $0.meanExperts) }
        let known = OperatingPoint.names.dropFirst().map { name in
            let point = profile.point(for: name)
            return (name, point, point?.meanExperts ?? Double(expertsPerToken))
        }
        // Stable: points of the same cost stay in the order of their names.
        let points = (known + own).enumerated().sorted { ($1.element.2, $0.offset) < ($0.element.2, $1.offset) }
        return [exact]
            + points.map { _, entry in
                OperatingPoint(
                    name: entry.0, summary: OperatingPoint.summary(of: entry.0), meanExperts: entry.2,
                    routing: entry.1.map { "profile@\($0.name)" } ?? "static")
            }
    }

    /// The policy of an operating point, ready for this model.
    /// - Throws: ``RequestError`` that lists the names; or that says what is wrong with the model's profile.
    public func operatingPoint(_ name: String) throws -> any RoutingPolicy {
        if name == "exact" { return StaticRouting() }
        if expertsPerToken == 0, OperatingPoint.names.contains(name) { return StaticRouting() }
        let profile = try profile
        if let profile, let point = profile.point(for: name) { return try check(policy: profile.routing(mu: point.mu)) }
        guard OperatingPoint.names.contains(name) else {
            throw RequestError("unknown operating point '\(Self.excerpt(name))'; expected one of \(pointNames)")
        }
        if profile != nil || name == "parity" { return StaticRouting() }
        return try check(policy: uncalibrated(name).policy)
    }

    /// The policies of the operating points that are cheaper than one, in order down to a floor: a request's
    /// ``GenerationOptions/fallbacks``. Those that route as the one before them are left out.
    ///
    /// Example: `fallbacks(below: "parity", downTo: "fast")` is those of `balanced` and `fast`; where the floor is not below the
    /// point, there are none.
    /// - Throws: as ``operatingPoint(_:)``
    public func fallbacks(below point: String, downTo floor: String) throws -> [any RoutingPolicy] {
        var last = try operatingPoint(point)
        _ = try operatingPoint(floor)
        let names = operatingPoints.map(\.name)
        guard let first = names.firstIndex(of: point), let end = names.firstIndex(of: floor), first < end else { return [] }
        var policies: [any RoutingPolicy] = []
        for name in names[(first + 1)...end] {
            let policy = try operatingPoint(name)
            if !policy.isSame(as: last) { policies.append(policy) }
            last = policy
        }
        return policies
    }

    /// The policy that a request names: an operating point, or a policy as text (``RoutingSpecification``).
    ///
    /// - Parameter allowingFiles: whether `profile:FILE` may read a file of this machine. Not for text that comes from strangers.
    /// - Throws: ``RequestError``, one line that lists the names.
    public func routing(named text: String, allowingFiles: Bool = false) throws -> any RoutingPolicy {
        let name = text.trimmingSpaces
        guard name.utf8.count <= 1024 else {
            throw RequestError("routing: \(name.utf8.count) bytes of text; expected at most 1024")
        }
        if operatingPoints.contains(where: { $0.name == name }) || OperatingPoint.names.contains(name) {
            return try operatingPoint(name)
        }
        if !allowingFiles, let colon = name.firstIndex(of: ":"), String(name[..<colon]).trimmingSpaces == "profile" {
            throw RequestError(
                "routing '\(Self.excerpt(name))': files cannot be named here; expected profile@POINT or one of \(pointNames)"
            )
        }
        do {
            return try check(policy: try RoutingSpecification.parse(name))
        } catch let error as RoutingSpecificationError {
            throw RequestError("\(Self.excerpt(error.description, 300)); or one of \(pointNames)")
        }
    }

    private var exact: OperatingPoint {
        OperatingPoint(
            name: "exact", summary: OperatingPoint.summary(of: "exact"),
            meanExperts: expertsPerToken > 0 ? Double(expertsPerToken) : nil, routing: "static")
    }

    private var pointNames: String { operatingPoints.prefix(16).map(\.name).joined(separator: ", ") }

    /// Of a model that nobody calibrated.
    private func uncalibrated(_ name: String) -> (policy: any RoutingPolicy, text: String) {
        let (threshold, share): (Float, Int) = name == "balanced" ? (0.3, 2) : (0.5, 4)
        let minimum = max(1, (expertsPerToken + share - 1) / share)
        return (
            RatioRouting(minimum: minimum, threshold: PerLayer(threshold)), "ratio:min=\(minimum),t=\(threshold)"
        )
    }

    /// What a stranger sent, for a message of one line.
    private static func excerpt(_ text: String, _ count: Int = 80) -> String {
        let line = String(text.map { $0.isNewline ? " " : $0 }.prefix(count))
        return text.count > count ? line + "…" : line
    }
}

extension RoutingProfile {
    /// The point of this name, or in its place the next dearer one of the four; nil: static routing.
    fileprivate func point(for name: String) -> Point? {
        if let point = points.first(where: { $0.name == name }) { return point }
        guard let index = OperatingPoint.names.firstIndex(of: name), index > 0 else { return nil }
        return OperatingPoint.names[1..<index].reversed().lazy.compactMap { dearer in
            self.points.first { $0.name == dearer }
        }.first
    }
}
