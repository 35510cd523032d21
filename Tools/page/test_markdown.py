# SPDX-License-Identifier: Apache-2.0
"""The renderer of answers, in the browser: beside markdown-it, under hostile text, and while text grows."""

from __future__ import annotations

import random
import re
import unittest
from html.parser import HTMLParser

from browser import Browser, Server, mock
from markdown_it import MarkdownIt
from mock import HOSTILE, MARKDOWN

browser: Browser

SAMPLES = [
    "plain", "two\nlines", "a\n\nb", "# One\n## Two ##\n###### Six\n####### seven", "#no heading", "*a* _b_ **c** __d__ ***e*** ~~f~~",
    "a*b*c a_b_c **bold**text", "2 * 3 * 4", "* not closed", "**not closed", "*a **b** c*", "**a *b* c**", "*(a)*", "a * b*", "foo*bar*",
    "_foo_bar", "\\*a\\* \\`b\\`", "`code` ``co`de`` `a\\`", "`` ` ``", "`open", "a `b *c` d*", "```\ncode\n```", "```py\nx = 1\n\ny\n```\nafter",
    "~~~\na ``` b\n~~~", "````\n```\n````", "```\nopen", "    indented\n\n    code\n\nafter", "- a\n- b\n- c", "* a\n* b\n\ntext", "1. a\n2. b\n3. c", "3) a\n4) b",
    "- a\n  - b\n    - c\n- d", "1. a\n   - b\n   - c\n2. d", "- a\n\n  b\n\n- c", "- a\n\n  ```\n  code\n  ```\n- b", "text\n- a\n- b", "- a\nlazy\n- b",
    "- a\n\n\ntext", "> a\n> b\n\nc", "> a\nlazy", "> - a\n> - b\n>\n> c", "> > deep", "> ```\n> code\n> ```", "---\n\n***\n\n_ _ _", "[a](https://example.org)",
    "[a](https://example.org \"title\") b", "[**a** `b`](https://example.org/x_y_z)", "[a](<https://example.org/a b>)", "[a] (b)", "[a]", "[a][b]",
    "<https://example.org/a>", "a < b > c & d", "&amp; &lt;b&gt; &quot;", "<b>html</b>", "| a | b |\n|---|---|\n| 1 | 2 |\n| 3 |", "a | b\n--|:-:\n`x` | *y*",
    "| a \\| b | c |\n|---|---|\n| d | e |", "| a |\n|---|\n| b |", "text\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\nafter", "a  \nb", "a\\\nb", "+ x\n+ y", "-\n- a",
    "1. a\n\n   b\n2. c", "# *a* `b`", "**a\nb**", "[a](https://example.org/(b))", "![a](https://example.org/x.png)", "*a*b", "**a**b", "\\# a", "1\\. a",
    "- [a](https://example.org)\n- `b`", "***a** b*", "***a* b**", "a***b***c", "*a*\n*b*", "Ünï *çödé* 你**好**吗 🙂", MARKDOWN,
]


class Outline(HTMLParser):
    """Elements and text of HTML, in a form in which two renderers can be compared."""

    NAMES = {"s": "del"}

    def __init__(self, html: str, ours: bool):
        super().__init__(convert_charrefs=True)
        self.out: list[str] = []
        self.open: list[str | None] = []
        self.ours = ours
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        name = self.NAMES.get(tag, tag)
        if self.ours and tag in ("h3", "h4", "h5", "h6"):
            name = "h" + values["class"].removeprefix("level")
        # Frames, copy buttons and paragraphs in tight lists are the page's, the parts of a table markdown-it's.
        if name in ("div", "button", "span", "thead", "tbody", "p"):
            name = None
        if tag == "button" or values.get("class") == "code-bar":
            name = "!"
        if tag == "img":
            self.out += [f"<a {values['src']}>", f"Image: {values['alt']}", "</a>"]
            return
        extra = f" {values['href'].rstrip('/')}" if tag == "a" else f" {values['start']}" if values.get("start") else ""
        align = "center" if "center" in str(values.get("style", "")) + str(values.get("class", "")) else ""
        align = align or ("right" if "right" in str(values.get("style", "")) + str(values.get("class", "")) else "")
        if name and name != "!":
            self.out.append(f"<{name}{extra}{' ' + align if align else ''}>")
        if tag not in ("br", "hr"):
            self.open.append(name)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)

    def handle_endtag(self, tag):
        name = self.open.pop()
        if name and name != "!":
            self.out.append(f"</{name}>")

    def handle_data(self, data):
        if "!" not in self.open:
            self.out.append(data)

    @property
    def text(self) -> str:
        joined = re.sub(r" *<br>", "<br>", "".join(self.out))
        for tag in ("pre", "/pre", "ul", "/ul", "ol", "/ol", "li", "/li", "/blockquote", "table", "tr", "/tr", "/table", "/td", "/th", "hr", "br"):
            joined = joined.replace(f"\n<{tag}>", f"<{tag}>").replace(f"<{tag}>\n", f"<{tag}>")
        return "".join(line.strip() for line in joined.replace("\n</code>", "</code>").split("\n"))


DRAW = """
  const tokens = new render.Tokens();
  const painter = new render.Painter(tokens, 8);
  const root = document.createElement("div");
  const view = new render.MarkdownView(root, painter);
"""


class Markdown(unittest.TestCase):
    server: Server

    @classmethod
    def setUpClass(cls):
        cls.server = mock()
        browser.look()
        browser.open(cls.server.url)
        browser.ready()

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def draw(self, texts: list[str]) -> list[str]:
        return browser.module("return args[0].map((text) => {" + DRAW + "view.update(text, false); return root.innerHTML; });", texts)

    def test_as_markdown_it(self):
        other = MarkdownIt("commonmark", {"html": False, "breaks": True}).enable(["table", "strikethrough"])
        for sample, html in zip(SAMPLES, self.draw(SAMPLES)):
            with self.subTest(sample=sample):
                self.assertEqual(Outline(html, True).text, Outline(other.render(sample), False).text)

    def test_growing_text_ends_as_whole_text(self):
        """Drawn piece by piece, with and without colours, an answer ends as the same elements as drawn at once."""
        draw = random.Random(11)
        parts = [*SAMPLES, HOSTILE[:900]]
        texts = parts + ["\n\n".join(draw.sample(SAMPLES, 6)) for _ in range(20)] + ["".join(draw.sample(SAMPLES, 9)) for _ in range(20)]
        wrong = browser.module("""
          let seed = 7;
          const random = (n) => (seed = (seed * 48271) % 2147483647) % n;
          const wrong = [];
          for (const text of args[0]) {""" + DRAW + """
            view.update(text, false);
            const whole = root.innerHTML;
            for (const size of [1, 7, 40]) {
              view.reset();
              for (let at = 0; at < text.length; ) {
                at = Math.min(text.length, at + 1 + random(size));
                view.update(text.slice(0, at), true);
              }
              view.update(text, false);
              if (root.innerHTML !== whole) wrong.push([text, size, whole, root.innerHTML]);
            }
            const plain = root.textContent;
            view.reset();
            painter.coloured = true;
            for (let at = 0; at < text.length; ) {
              at = Math.min(text.length, at + 1 + random(6));
              tokens.add(at, 1 + random(8));
              view.update(text.slice(0, at), true);
            }
            view.update(text, false);
            if (root.textContent !== plain) wrong.push([text, "colour", plain, root.textContent]);
          }
          return wrong.slice(0, 5);""", texts)
        self.assertEqual(wrong, [])

    def test_colours_fall_on_the_characters_of_their_tokens(self):
        """Each coloured piece is part of the token that it claims: k is the token's index here."""
        wrong = browser.module("""
          const wrong = [];
          for (const text of args[0]) {""" + DRAW + """
            const parts = text.match(/.{1,3}|\\n/gsu);
            let end = 0;
            for (const [i, part] of parts.entries()) tokens.add((end += part.length), i);
            painter.piece = (shown, index) => Object.assign(document.createElement("span"), { className: "k", textContent: shown, index });
            painter.coloured = true;
            view.update(text, false);
            for (const span of root.querySelectorAll(".k")) {
              const token = parts[span.index] ?? "";
              if (span.textContent.trim() && !token.includes(span.textContent)) wrong.push([text.slice(0, 60), token, span.textContent]);
            }
          }
          return wrong.slice(0, 5);""", [sample for sample in SAMPLES if "&" not in sample and "\\" not in sample])
        self.assertEqual(wrong, [])

    def test_growing_text_does_not_jump(self):
        """Blocks come one after another and stay what they are; what is shown never shrinks by more than a mark."""
        jumps = browser.module(DRAW + """
          const text = args[0];
          const jumps = [];
          let before = [];
          let length = 0;
          const first = [];
          for (let at = 1; at <= text.length; at++) {
            view.update(text.slice(0, at), true);
            const blocks = [...root.children].map((node) => node.localName + "." + node.className);
            if (before.some((name, i) => blocks[i] !== name)) jumps.push([text.slice(Math.max(0, at - 20), at), before, blocks]);
            // The elements of blocks that are complete are never made again.
            [...root.children].slice(0, -1).forEach((node, i) => { first[i] ??= node; if (first[i] !== node) jumps.push(["made again", i]); });
            const shown = root.textContent.length;
            if (shown < length - 2) jumps.push([text.slice(Math.max(0, at - 20), at), length, shown]);
            [before, length] = [blocks, shown];
          }
          return jumps;""", MARKDOWN)
        self.assertEqual(jumps, [])

    def test_hostile_text_is_only_text(self):
        seen = browser.module("""
          const seen = [];
          for (const text of args[0]) {""" + DRAW + """
            document.body.append(root);
            for (let at = 0; at < text.length; at += 13) view.update(text.slice(0, at), true);
            view.update(text, false);
            const elements = [...root.querySelectorAll("*")];
            let depth = 0;
            for (const node of elements) {
              let d = 0;
              for (let up = node; up !== root; up = up.parentElement) d += 1;
              depth = Math.max(depth, d);
            }
            seen.push({
              names: [...new Set(elements.map((node) => node.localName))].sort(),
              links: [...root.querySelectorAll("a")].map((node) => node.href),
              attributes: [...new Set(elements.flatMap((node) => node.getAttributeNames()))].sort(), depth, hacked: window.hacked ?? null });
            root.remove();
          }
          return seen;""", [HOSTILE, "*" * 3000 + "a" + "*" * 3000, "> " * 2000 + "x", "[" * 2000 + "](" * 2000, "- " * 3000 + "x", "`" * 999 + "a" + "`" * 998])
        for one in seen:
            self.assertIsNone(one["hacked"])
            self.assertFalse({"img", "script", "iframe", "svg", "style", "input", "form", "object", "b", "i"} & set(one["names"]), one["names"])
            self.assertFalse([name for name in one["attributes"] if name.startswith("on") or name in ("style", "src", "id")])
            self.assertLess(one["depth"], 80)
            for link in one["links"]:
                self.assertTrue(link.startswith("https://example.org/"), link)
        self.assertGreater(len(seen[0]["links"]), 1)

    def test_work_is_linear(self):
        """Eight times the text is not 64 times the work, whatever the text. (With much room: squares took seconds here.)"""
        slow, part = [], 0
        # A few at a time: a driver waits a minute for a script at most.
        while (found := browser.module("""
          const slow = [];
          const makers = {
            stars: (n) => "*a ".repeat(n), closers: (n) => "a* ".repeat(n), both: (n) => "*".repeat(n), mixed: (n) => "*_".repeat(n),
            brackets: (n) => "[".repeat(n), links: (n) => "[a](".repeat(n), done: (n) => "**[a](https://e.org) ".repeat(n),
            ticks: (n) => Array.from({ length: Math.sqrt(n) * 2 | 0 }, (_, i) => "`".repeat(i)).join(" "), angle: (n) => "<https://a".repeat(n),
            quotes: (n) => "> ".repeat(n), nested: (n) => "- ".repeat(n), table: (n) => "|a".repeat(n) + "\\n" + "|-".repeat(n), words: (n) => "https://e.org/)".repeat(n),
            lines: (n) => "a | b\\n".repeat(n), dashes: (n) => "- ".repeat(n) + "a", space: (n) => "a" + " ".repeat(n) + "b", tail: (n) => "|" + " ".repeat(n) + "b",
            blank: (n) => "- a\\n" + "\\n".repeat(n) + "b", head: (n) => "# a" + " ".repeat(n) + "b", fence: (n) => "~~~" + " ".repeat(n) + "`",
            delimiters: (n) => "|a\\n-" + " ".repeat(n) + "b", ampersand: (n) => "&".repeat(n), escape: (n) => "\\\\".repeat(n), hashes: (n) => "# a" + " #".repeat(n), fences: (n) => "```\\n".repeat(n),
          };
          if (args[0] * 4 >= Object.keys(makers).length) return null;
          for (const [name, make] of Object.entries(makers).slice(args[0] * 4, args[0] * 4 + 4)) {
            const time = (n) => {
              const text = make(n);
              let best = Infinity;
              for (let i = 0; i < 2; i++) {""" + DRAW + """
                const start = performance.now();
                view.update(text, true);
                view.update(text, false);
                best = Math.min(best, performance.now() - start);
              }
              return best;
            };
            const [small, large] = [time(1500), time(12000)];
            if (large > 1000 && large > small * 28) slow.push(`${name}: ${small.toFixed(1)} ms, eight times as long: ${large.toFixed(1)} ms`);
          }
          return slow;""", part)) is not None:
            slow += found
            part += 1
        self.assertEqual(slow, [])
