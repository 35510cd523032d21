// SPDX-License-Identifier: Apache-2.0

import Glibc

/// The cores that this process may use: what the scheduler allows it, and what its control groups pay for.
package struct UsableCores: Sendable, Equatable, Codable {
    /// Cores of the affinity mask.
    package var affinity: Int
    /// Cores' worth of time per period, over all control groups that the process is in; nil: no limit.
    package var quota: Double?

    /// The number of threads that makes sense. One thread more than the quota's whole cores is stopped, and the others with it,
    /// for a part of every period (a tenth of a second as a rule): of 1.5 cores two threads use all, and stand still for a
    /// quarter of the time; of 1.1 cores they would for almost half of it, to gain a tenth. So half a core counts as one, and
    /// less as none.
    package var count: Int {
        guard let quota else { return affinity }
        return max(1, min(affinity, Int(min(quota, 1e6).rounded())))
    }

    package init(affinity: Int, quota: Double?) {
        self.affinity = affinity
        self.quota = quota
    }

    /// Of this process.
    package static func current() -> UsableCores {
        UsableCores(
            affinity: affinityCount(),
            quota: quota(memberships: TextFile.read("/proc/self/cgroup") ?? "", root: "/sys/fs/cgroup"))
    }

    private static func affinityCount() -> Int { allowed()?.count ?? max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN))) }

    /// The CPUs of this process's affinity mask; nil where the kernel does not say.
    package static func allowed() -> CPUList? { affinity(status: TextFile.read("/proc/self/status") ?? "") }

    /// The CPUs of the line `Cpus_allowed_list: 0-3,8` of `/proc/self/status`. (sched_getaffinity is not in Swift's Glibc.)
    package static func affinity(status: String) -> CPUList? {
        let name = "Cpus_allowed_list:"
        guard let line = status.split(separator: "\n").first(where: { $0.hasPrefix(name) }) else { return nil }
        return CPUList(line.dropFirst(name.count))
    }

    /// The tightest limit of a process's control groups and their ancestors.
    ///
    /// - Parameters:
    ///   - memberships: the text of `/proc/self/cgroup`: `0::/path` for version 2, `4:cpu,cpuacct:/path` for version 1
    ///   - root: where the control groups are mounted
    package static func quota(memberships: String, root: String) -> Double? {
        var tightest: Double?
        func limit(_ cores: Double?) {
            if let cores, cores > 0 { tightest = min(tightest ?? cores, cores) }
        }
        for line in memberships.split(separator: "\n") {
            let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
            guard fields.count == 3 else { continue }
            let controllers = fields[1].split(separator: ",")
            // In a container the path may be the host's, and the mount the container's own root: both are tried.
            for path in ancestors(of: String(fields[2])) {
                if fields[1].isEmpty {
                    limit(version2(TextFile.read("\(root)\(path)/cpu.max")))
                    limit(version2(TextFile.read("\(root)/unified\(path)/cpu.max")))
                } else if controllers.contains("cpu") {
                    for mount in [String(fields[1]), "cpu"] {
                        let group = "\(root)/\(mount)\(path)"
                        limit(
                            version1(
                                quota: TextFile.read("\(group)/cpu.cfs_quota_us"),
                                period: TextFile.read("\(group)/cpu.cfs_period_us")))
                    }
                }
            }
        }
        return tightest
    }

    /// `/a/b` to `/a/b`, `/a`, and the root.
    private static func ancestors(of path: String) -> [String] {
        var parts = path.split(separator: "/")
        var paths: [String] = []
        while !parts.isEmpty {
            paths.append("/" + parts.joined(separator: "/"))
            parts.removeLast()
        }
        return paths + [""]
    }

    /// `150000 100000` is one and a half cores; `max 100000` no limit.
    private static func version2(_ text: String?) -> Double? {
        guard let numbers = text?.split(whereSeparator: \.isWhitespace).map({ Double($0) }), numbers.count == 2,
            let quota = numbers[0], let period = numbers[1], period > 0
        else { return nil }
        return quota / period
    }

    /// A quota of -1 is no limit.
    private static func version1(quota: String?, period: String?) -> Double? {
        func number(_ text: String?) -> Double? { text?.split(whereSeparator: \.isWhitespace).first.flatMap { Double($0) } }
        guard let quota = number(quota), let period = number(period), quota > 0, period > 0 else { return nil }
        return quota / period
    }
}

/// Small text files of the system.
enum TextFile {
    /// The first 256 KiB of a file; nil when it cannot be read.
    static func read(_ path: String) -> String? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 14)
        while bytes.count < 1 << 18 {
            let count = Glibc.read(descriptor, &buffer, buffer.count)
            if count < 0 { return nil }
            if count == 0 { break }
            bytes += buffer[..<count]
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
