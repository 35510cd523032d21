// SPDX-License-Identifier: Apache-2.0

import CMoEKernels
import Synchronization

/// A BLAS library that cannot be used: one line that names the library and says why.
public struct BLASLibraryError: Error, Equatable, Sendable, CustomStringConvertible {
    public let description: String
}

/// The BLAS of this process: the linked library, or one that was loaded by name (`MOE_BLAS_LIBRARY`).
package enum BLAS {
    private static let named = Mutex<String?>(nil)
    /// Whether products may be running on it.
    private static let inUse = Atomic(false)

    /// From now on another library is refused: it would change under products that run.
    package static func use() { named.withLock { _ in inUse.store(true, ordering: .relaxed) } }

    /// Makes another library compute all BLAS products from now on. Call before the first product; a second call with the
    /// same name does nothing, so that every engine may ask for what its settings say.
    ///
    /// - Parameter library: a path or a soname, as `dlopen` takes it.
    /// - Throws: ``BLASLibraryError`` when it is not there, has no sgemm, computes wrong results, or another was loaded before.
    package static func load(_ library: String) throws {
        try named.withLock { named in
            if named == library { return }
            if let named {
                throw BLASLibraryError(
                    description: "BLAS library '\(library)' cannot be loaded: this process uses '\(named)' already")
            }
            if inUse.load(ordering: .relaxed) {
                throw BLASLibraryError(
                    description: "BLAS library '\(library)' cannot be loaded: an engine of this process uses the linked one"
                )
            }
            var error = [CChar](repeating: 0, count: 1024)
            if moe_blas_load(library, &error, error.count) != 0 {
                throw BLASLibraryError(description: String(cArray: error))
            }
            named = library
        }
    }

    /// The library in use.
    package static var information: BLASInformation {
        named.withLock { named in
            var info = moe_blas_info()
            moe_blas_describe(&info)
            return BLASInformation(info, named: named)
        }
    }
}

/// What a BLAS library says of itself, and where its sgemm really comes from.
package struct BLASInformation: Sendable, Equatable, Codable {
    /// "OpenBLAS", "BLIS", "MKL", "ATLAS", "netlib" or "unknown"
    package var vendor: String
    /// As the library words it; may be empty.
    package var version: String
    /// The shared object that holds sgemm: the proof of who computes.
    package var path: String
    /// `cblas_sgemm`, `scipy_cblas_sgemm64_` …
    package var symbol: String
    /// "pthread", "openmp", "serial" or "unknown"
    package var threading: String
    /// Threads that the library would use by itself; 0 unknown. Ours come on top.
    package var threads: Int
    /// Loaded by name rather than linked.
    package var loaded: Bool
    package var integers64: Bool
    /// The name that was asked for, if any.
    package var named: String?

    init(_ info: moe_blas_info, named: String?) {
        func text<Array>(_ array: Array) -> String {
            withUnsafeBytes(of: array) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        }
        vendor = text(info.vendor)
        version = text(info.version)
        path = text(info.path)
        symbol = text(info.symbol)
        threading = text(info.threading)
        threads = Int(info.threads)
        loaded = info.loaded
        integers64 = info.integers64
        self.named = named
    }
}

extension String {
    fileprivate init(cArray: [CChar]) {
        self.init(decoding: cArray.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
