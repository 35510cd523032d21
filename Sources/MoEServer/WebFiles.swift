// SPDX-License-Identifier: Apache-2.0

/// The page's files, as SwiftPM embeds them.
enum WebFiles {
    static let all: [String: (bytes: [UInt8], type: String)] = [
        "index.html": (PackageResources.index_html, "text/html; charset=utf-8"),
        "app.js": (PackageResources.app_js, "text/javascript; charset=utf-8"),
        "style.css": (PackageResources.style_css, "text/css; charset=utf-8"),
    ]
}
