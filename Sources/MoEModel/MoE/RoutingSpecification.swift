// SPDX-License-Identifier: Apache-2.0

/// A policy as text, as `--routing` takes it:
/// `native` | `static` | `static:k=4` | `static:k=4,4,2,2` | `top-p:p=0.7,min=1,max=8,temperature=1.2` | `ratio:min=2,t=0.3`
/// | `absolute:c=0.1,min=1` | `union:k0=2,k=4` | `profile:P.json` | `profile:P.json@parity` | `profile:P.json@mu=0.01` | `profile`
/// | `profile@fast` | `profile@mu=0.01`.
///
/// `native` is the model's own routing: by the profile that it carries, else static. `profile` without a file is a point of the
/// profile that the model carries, and needs one. Both are ``NativeRouting``, which a request resolves.
///
/// Values that may differ per layer are lists; layers past the end take the last value.
///
/// What follows a `+` changes the policy before it, any of the above:
/// - `+reroute:margin=0.15,entropy=0.7,z=1,add=1` gives tokens of which the gate is unsure more experts (``Rerouting``); at least
///   one of `margin`, `entropy` and `z`.
/// - `+union:k0=2` takes all but k0 of a token's experts from the batch's (``UnionRouting``); `union:k0=2,k=4` is
///   `static:k=4+union:k0=2`.
///
/// Example: `profile:P.json@fast+reroute:z=1`. A `+` elsewhere, as in a file's name, is left alone.
public enum RoutingSpecification {
    /// - Throws: ``RoutingSpecificationError``, one line that names the field, what was expected and what was found;
    ///   ``ModelFileError`` for a profile that cannot be used.
    public static func parse(_ text: String) throws -> any RoutingPolicy {
        var parts = text.split(separator: "+", omittingEmptySubsequences: false).map(String.init)
        var suffixes: [(name: String, fields: String?)] = []
        while parts.count > 1 {
            let pair = parts[parts.count - 1].split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
                .map(String.init)
            let name = pair[0].trimmingSpaces
            guard ["reroute", "union"].contains(name) else { break }
            guard !suffixes.contains(where: { $0.name == name }) else {
                throw RoutingSpecificationError(text, "'+\(name)' is given twice")
            }
            suffixes.append((name, pair.count > 1 ? pair[1] : nil))
            parts.removeLast()
        }
        var policy = try base(parts.joined(separator: "+"))
        for (name, list) in suffixes.reversed() {
            var fields = try SpecificationFields(list, of: text)
            if name == "reroute" {
                policy = try reroute(policy, &fields, of: text)
            } else if policy.batchPolicy == nil {
                policy = UnionRouting(own: try fields.integer("k0", 1...1024, required: true)!, policy)
            } else {
                throw RoutingSpecificationError(text, "'union' is given twice")
            }
            try fields.finish()
        }
        return policy
    }

    private static func reroute(
        _ base: any RoutingPolicy, _ fields: inout SpecificationFields, of text: String
    ) throws -> Rerouting {
        let policy = Rerouting(
            base, margin: try fields.numbers("margin", 0...1).map(PerLayer.init),
            entropy: try fields.numbers("entropy", 0...1).map(PerLayer.init), deviations: try fields.number("z", 0...100),
            added: try fields.integer("add", 1...1024) ?? 1)
        guard policy.margin != nil || policy.entropy != nil || policy.deviations != nil else {
            throw RoutingSpecificationError(text, "'+reroute' needs 'margin', 'entropy' or 'z'")
        }
        return policy
    }

    /// A policy without what may follow it.
    private static func base(_ text: String) throws -> any RoutingPolicy {
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        let name = parts[0].trimmingSpaces
        if name == "profile", parts.count > 1 { return try profile(parts[1].trimmingSpaces, of: text) }
        if name == "profile" { return NativeRouting(.standard) }
        if text.trimmingSpaces.hasPrefix("profile@") {
            return NativeRouting(try point(String(text.trimmingSpaces.dropFirst("profile@".count)), of: text))
        }
        var fields = try SpecificationFields(parts.count > 1 ? parts[1] : nil, of: text)
        let policy: any RoutingPolicy
        switch name {
        case "native": policy = NativeRouting()
        case "static": policy = StaticRouting(expertsPerToken: try fields.integers("k", 0...1024).map(PerLayer.init))
        case "top-p":
            let minimum = try fields.integer("min", 0...1024) ?? 1
            let maximum = try fields.integer("max", 1...1024) ?? max(8, minimum)
            guard minimum <= maximum else {
                throw RoutingSpecificationError(text, "'min' is \(minimum) but 'max' is \(maximum)")
            }
            policy = TopPRouting(
                p: PerLayer(try fields.numbers("p", 0...1, required: true)!), minimum: minimum, maximum: maximum,
                temperature: PerLayer(try fields.numbers("temperature", 0.01...100) ?? [1]))
        case "ratio":
            policy = RatioRouting(
                minimum: try fields.integer("min", 0...1024) ?? 1,
                threshold: PerLayer(try fields.numbers("t", 0...1, required: true)!))
        case "absolute":
            policy = AbsoluteRouting(
                minimum: try fields.integer("min", 0...1024) ?? 1,
                threshold: PerLayer(try fields.numbers("c", -1000...1000, required: true)!))
        case "union":
            let own = try fields.integer("k0", 1...1024, required: true)!
            let count = try fields.integers("k", 1...1024)
            if let count, let fewer = count.first(where: { $0 < own }) {
                throw RoutingSpecificationError(text, "'k' is \(fewer) but 'k0' is \(own)")
            }
            policy = UnionRouting(own: own, StaticRouting(expertsPerToken: count.map(PerLayer.init)))
        case "reroute":
            throw RoutingSpecificationError(text, "'reroute' follows another policy, as in static:k=4+reroute:margin=0.05")
        default:
            throw RoutingSpecificationError(
                text,
                "unknown policy '\(name)'; expected native, static, top-p, ratio, absolute or union, or profile:FILE")
        }
        try fields.finish()
        return policy
    }

    /// `P.json`, `P.json@point` or `P.json@mu=number`; the point is the profile's default unless named.
    private static func profile(_ argument: String, of text: String) throws -> LearnedRouting {
        let at = argument.lastIndex(of: "@")
        let path = String(argument[..<(at ?? argument.endIndex)])
        guard !path.isEmpty else {
            throw RoutingSpecificationError(
                text, "expected profile:FILE or profile:FILE@POINT (profile@POINT for the profile in the model)")
        }
        let chosen = try at.map { try point(String(argument[argument.index(after: $0)...]), of: text) }
        let profile = try RoutingProfile(path: path)
        guard let routing = profile.routing(chosen ?? .standard) else {
            throw RoutingSpecificationError(
                text, "the profile has no point '\(profile.name(of: chosen ?? .standard))'; it has: \(profile.pointList)")
        }
        return routing
    }

    /// `fast` or `mu=0.01`
    private static func point(_ name: String, of text: String) throws -> NativeRouting.Point {
        guard !name.isEmpty else { throw RoutingSpecificationError(text, "expected a point's name or mu=NUMBER after '@'") }
        guard name.hasPrefix("mu=") else { return .named(name) }
        guard let mu = Float(name.dropFirst(3)), mu.isFinite, mu >= 0 else {
            throw RoutingSpecificationError(text, "'mu' expects a number from 0 on, found '\(name.dropFirst(3))'")
        }
        return .price(mu)
    }
}

/// A policy string that does not parse. A usage error.
public struct RoutingSpecificationError: Error, Equatable, Sendable, CustomStringConvertible {
    public let description: String

    init(_ text: String, _ problem: String) { description = "routing '\(text)': \(problem)" }
}

extension SpecificationFields {
    fileprivate init(_ list: String?, of text: String) throws {
        try self.init(list) { RoutingSpecificationError(text, $0) }
    }
}
