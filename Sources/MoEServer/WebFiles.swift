// SPDX-License-Identifier: Apache-2.0

/// The page's files, as SwiftPM embeds them.
enum WebFiles {
    private static let script = "text/javascript; charset=utf-8"

    static let all: [String: (bytes: [UInt8], type: String)] = [
        "answer.js": (PackageResources.answer_js, script),
        "api.js": (PackageResources.api_js, script),
        "app.js": (PackageResources.app_js, script),
        "colours.js": (PackageResources.colours_js, script),
        "format.js": (PackageResources.format_js, script),
        "icon.svg": (PackageResources.icon_svg, "image/svg+xml"),
        "index.html": (PackageResources.index_html, "text/html; charset=utf-8"),
        "inline.js": (PackageResources.inline_js, script),
        "markdown.js": (PackageResources.markdown_js, script),
        "panel.js": (PackageResources.panel_js, script),
        "render.js": (PackageResources.render_js, script),
        "settings.js": (PackageResources.settings_js, script),
        "style.css": (PackageResources.style_css, "text/css; charset=utf-8"),
        "theme.js": (PackageResources.theme_js, script),
        "turn.js": (PackageResources.turn_js, script),
    ]
}
