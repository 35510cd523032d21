#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests of the page in a real browser. See test.sh."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import time
import unittest
from pathlib import Path

import test_answers
import test_markdown
from browser import Browser, Server, fetch, mock
from mock import MARKDOWN
from selenium.webdriver.common.keys import Keys

browser: Browser
binary: str | None = None
shots: Path | None = None


def shoot(name: str):
    if shots:
        browser.shot(shots / f"{name}.png")


class Page(test_answers.Scenario):
    """What holds for any server that keeps the contract."""

    def settings(self, **values):
        browser.js("""for (const [name, value] of Object.entries(arguments[0])) {
            const field = document.querySelector(`[data-setting="${name}"]`);
            if (field.type === "checkbox") field.checked = value; else field.value = value;
            field.dispatchEvent(new Event("input", { bubbles: true }));
            field.dispatchEvent(new Event("change", { bubbles: true }));
        }""", values)

    def test_answer_streams_and_tells_its_figures(self):
        self.settings(maxTokens="64", seed="5", temperature="0.5", system="Be brief.")
        browser.send("How do I reverse a list?")
        body = browser.sent()[0]
        self.assertEqual(body["messages"][0], {"role": "system", "content": "Be brief."})
        self.assertEqual((body["max_tokens"], body["seed"], body["temperature"], body["stream"]), (64, 5, 0.5, True))
        self.assertNotIn("moe", body)
        self.assertTrue(browser.text(".answer .md").strip())
        figures = browser.text(".figures")
        for word in ("tokens", "tokens/s", "first", "experts", "saved", "cost", "spread"):
            self.assertIn(word, figures)
        self.assertNotIn("NaN", browser.text("body"))
        self.assertTrue(browser.all(".answer .chip"))
        self.assertNotEqual(browser.text("#sum"), "$0") if not binary else None
        self.assertIn("tokens", browser.js("return document.getElementById('announce').textContent"))

    def test_conversation_goes_on_with_what_was_said(self):
        self.settings(maxTokens="16")
        browser.send("First")
        browser.send("Second")
        first, second = browser.sent()
        self.assertEqual([message["content"] for message in first["messages"]], ["First"])
        self.assertEqual([message["role"] for message in second["messages"]], ["user", "assistant", "user"])
        browser.all('[data-action="again"]')[0].click()
        browser.done()
        self.assertEqual(len(browser.all(".turn")), 1)
        self.assertEqual(browser.sent()[2]["messages"], first["messages"])
        browser.id("new").click()
        self.assertEqual(len(browser.all(".turn")), 0)
        self.assertTrue(browser.id("empty").is_displayed())

    def test_stop_keeps_what_was_said_and_frees_the_server(self):
        for _ in range(8):
            # Pressed by the page itself as soon as there is text: a small model can be done before a driver is.
            browser.js("""const watch = () => {
                if (document.querySelector('.answer .md')?.textContent.length > 3)
                  document.dispatchEvent(new KeyboardEvent('keydown', { key: 'Escape', bubbles: true }));
                else requestAnimationFrame(watch);
              };
              requestAnimationFrame(watch);""")
            self.settings(maxTokens="4000")
            browser.send("scenario:slow Count from 1 to 1000, one by one.")
            if "Stopped" in browser.text(".answer-head"):
                break
            browser.id("new").click()
        self.assertIn("Stopped", browser.text(".answer-head"))
        self.assertGreater(len(browser.text(".answer .md")), 3)
        browser.until("return document.activeElement.id === 'prompt'", "the focus in the message box")
        end = time.monotonic() + 10
        while fetch(f"{self.server.url}/moe/status")["running"] > 0 and time.monotonic() < end:
            time.sleep(0.1)
        self.assertEqual(fetch(f"{self.server.url}/moe/status")["running"], 0)
        # What was generated is known although the stream was left; what it cost, where the server's record says it.
        record = fetch(f"{self.server.url}/v1/requests/{browser.js('return lastID')}")
        self.assertIn(record["status"], ("cancelled", "completed", "running"))
        known = "cost" if record["usage"] else "experts"
        browser.until(f"return document.querySelector('.figures').innerText.includes('{known}')", "the figures", 5)

    def test_slider_chooses_the_compute(self):
        self.settings(maxTokens="8")
        points = [point["name"] for point in fetch(f"{self.server.url}/v1/models")["data"][0]["moe"]["operating_points"]]
        ordered = [name for name in ("fast", "balanced", "parity", "exact") if name in points]
        self.assertEqual(browser.js("return [...document.querySelectorAll('#stops span')].map((stop) => stop.textContent)")[:len(ordered)], ordered)
        slider = browser.id("slider")
        slider.send_keys(Keys.HOME)
        slider.send_keys(Keys.END)
        self.assertIn("exact", slider.get_attribute("aria-valuetext"))
        browser.send("One")
        slider.send_keys(Keys.HOME)
        browser.send("Two")
        self.settings(maxExperts="3", budget="5000")
        browser.id("default").click()
        browser.send("Three")
        self.assertEqual([body.get("moe") for body in browser.sent()],
                         [{"routing": "exact"}, {"routing": "fast"}, {"max_experts": 3, "budget": 5000}])
        chips = [chip.text for chip in browser.all(".answer .chip:not(.warm)")]
        self.assertEqual(chips[:2], ["exact", "fast"])

    def test_tokens_are_coloured_by_experts(self):
        self.settings(maxTokens="120")
        browser.send("How do I reverse a list in Python?")
        before = browser.text(".answer .md")
        self.assertEqual(browser.all(".answer .k"), [])
        browser.id("colour").click()
        self.assertEqual(browser.text(".answer .md"), before)
        spans = browser.js("""return [...document.querySelectorAll('.answer .md .k')].map((span) =>
            [Number(span.dataset.k), span.className, span.title, getComputedStyle(span).backgroundColor])""")
        self.assertGreater(len(spans), 5)
        most = fetch(f"{self.server.url}/v1/models")["data"][0]["moe"]["experts_per_token"]
        for k, _, title, _ in spans:
            self.assertTrue(0 < k <= most and title.endswith(" experts"), (k, title))
        # More experts is never a step back on the scale.
        steps = [int(kind.split("c")[-1]) for _, kind, _, _ in sorted(spans)]
        self.assertEqual(steps, sorted(steps))
        self.assertGreater(len({colour for *_, colour in spans}), 1)
        self.assertIn(str(most), browser.text("#legend"))
        body = browser.all(".answer .md")[0]
        body.send_keys(Keys.ARROW_RIGHT)
        self.assertIn("experts", browser.js("return document.getElementById('announce').textContent"))
        self.assertTrue(browser.all(".k.at"))
        shoot(f"{type(self).__name__.lower()}-colour")
        browser.id("colour").click()
        self.assertEqual(browser.all(".answer .k"), [])

    def test_source_shows_every_character(self):
        self.settings(maxTokens="120")
        browser.send("How do I reverse a list in Python?")
        browser.all('[data-action="source"]')[0].click()
        shown = browser.js("return document.querySelector('.answer pre.plain').textContent")
        browser.id("colour").click()
        self.assertEqual(browser.js("return document.querySelector('.answer pre.plain').textContent"), shown)
        self.assertTrue(browser.all(".answer pre.plain .k"))
        self.settings(remember=True)
        saved = browser.js("return JSON.parse(localStorage['moe-infer.conversation']).turns[0].answers[0].text")
        self.assertEqual(saved, shown)

    def test_load_and_map_are_live(self):
        self.expected = ("willReadFrequently",)
        browser.send("Tell a story")
        browser.until("return document.querySelector('#requests').textContent.match(/^[1-9]/)", "a counted request", 10)
        self.assertNotIn("–", browser.text("#blocks-text"))
        drawn = """const canvas = document.getElementById('map');
            const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
            const colours = new Set();
            for (let i = 0; i < data.length; i += 4) colours.add(data.slice(i, i + 3).join());
            return colours.size"""
        browser.until(drawn.replace("return colours.size", "return colours.size > 3"), "a map in several colours", 10)
        for view in ("total", "change", "recent"):
            browser.all(f'[data-view="{view}"]')[0].click()
            self.assertGreater(browser.js(drawn), 1)
        self.assertIn("layers", browser.id("map").get_attribute("aria-label"))
        browser.id("map").send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_DOWN)
        self.assertRegex(browser.text("#map-text"), r"Layer 1, expert 1: \d+ % of late")
        self.assertGreater(len(browser.all("#spread .bars span")), 1)

    def test_nothing_is_asked_while_nobody_looks(self):
        hide = "Object.defineProperty(document, 'hidden', { value: arguments[0], configurable: true }); document.dispatchEvent(new Event('visibilitychange'))"
        browser.js(hide, True)
        time.sleep(1.2)
        before = len(browser.js("return asked"))
        time.sleep(2.5)
        self.assertEqual(len(browser.js("return asked")), before)
        browser.js(hide, False)
        browser.until(f"return asked.length > {before}", "asking again", 3)

    def test_side_by_side(self):
        self.settings(maxTokens="150", temperature="0.7")
        browser.id("compare").click()
        browser.start("How do I reverse a list in Python?")
        self.assertEqual(len(browser.all(".answer")), 2)
        browser.done()
        left, right = browser.sent()
        self.assertEqual((left["moe"]["routing"], right["moe"]["routing"]), ("exact", "fast"))
        self.assertEqual(left["seed"], right["seed"])
        self.assertEqual(left["messages"], right["messages"])
        boxes = browser.js("return [...document.querySelectorAll('.answer')].map((node) => node.getBoundingClientRect().left)")
        self.assertGreater(boxes[1], boxes[0] + 200)
        verdict = browser.text(".verdict")
        for word in ("fast against exact", "time", "experts", "cost" if not binary else "experts", "×"):
            self.assertIn(word, verdict)
        texts = [node.text for node in browser.all(".answer .md")]
        browser.all('[data-action="keep"]')[1].click()
        browser.id("compare").click()
        browser.send("And then?")
        history = browser.sent()[2]["messages"]
        self.assertEqual(history[1]["role"], "assistant")
        self.assertTrue(history[1]["content"].strip().startswith(texts[1].split("\n")[0].split(" ")[0].strip("#*`> ")[:4]))
        shoot(f"{type(self).__name__.lower()}-side-by-side")

    def test_one_after_the_other(self):
        self.settings(maxTokens="40")
        browser.id("compare").click()
        browser.id("in-turn").click()
        browser.start("Hello")
        browser.done()
        self.assertEqual(len(browser.sent()), 2)
        self.assertIn("×", browser.text(".verdict"))

    def test_keyboard(self):
        prompt = browser.id("prompt")
        prompt.send_keys("one", Keys.SHIFT, Keys.ENTER, Keys.NULL, "two")
        self.assertEqual(prompt.get_attribute("value"), "one\ntwo")
        self.assertEqual(browser.sent(), [])
        prompt.send_keys(Keys.ALT, "c", Keys.NULL)
        self.assertTrue(browser.id("legend").is_displayed())
        prompt.send_keys(Keys.ALT, "p", Keys.NULL)
        self.assertTrue(browser.all("#settings[open]"))
        browser.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
        self.assertFalse(browser.all("#settings[open]"))
        # Everything can be reached, and shows that it has been.
        browser.js("document.activeElement.blur()")
        reached = []
        for _ in range(40):
            browser.driver.switch_to.active_element.send_keys(Keys.TAB)
            name, outline = browser.js("""const at = document.activeElement; const style = getComputedStyle(at);
                const around = getComputedStyle(at.closest('.compose') ?? at);
                return [at === document.body ? '' : at.id || at.dataset.view || at.textContent, style.outlineStyle !== 'none' || around.boxShadow !== 'none']""")
            if name in reached and name != "":
                break
            reached.append(name)
            self.assertTrue(outline or name == "", f"{name} does not show the focus")
        for name in ("colour", "compare", "load", "new", "open-settings", "theme", "prompt", "send", "slider", "default", "recent", "map"):
            self.assertIn(name, reached)

    def test_for_everybody(self):
        for width, height, dark in ((1366, 860, False), (1366, 860, True), (360, 740, False), (360, 740, True)):
            browser.look(width, height, dark)
            browser.open(self.server.url)
            browser.ready()
            name = f"{type(self).__name__.lower()}-{'dark' if dark else 'light'}-{width}"
            wrong = {}
            with self.subTest(name):
                wrong["empty"] = browser.complaints()
                shoot(f"{name}-empty")
                self.settings(maxTokens="250")
                browser.send("How do I reverse a list in Python?")
                wrong["answer"] = browser.complaints()
                browser.id("colour").click()
                wrong["coloured"] = browser.complaints()
                shoot(f"{name}-colour")
                browser.id("compare").click()
                browser.send("And in one line?")
                wrong["side by side"] = browser.complaints()
                time.sleep(2.2 if shots else 0)
                shoot(f"{name}-compare")
                browser.id("open-settings").click()
                wrong["settings"] = browser.complaints()
                shoot(f"{name}-settings")
                browser.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
                if width < 1080:
                    browser.id("load").click()
                    time.sleep(2.2)
                    wrong["panel"] = browser.complaints()
                    shoot(f"{name}-panel")
                self.assertEqual({state: found for state, found in wrong.items() if found}, {})

    def test_theme(self):
        brightness = "return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0)"
        self.assertGreater(browser.js(brightness), 700)
        browser.look(dark=True)
        self.assertLess(browser.js(brightness), 100)
        browser.id("theme").click()
        self.assertGreater(browser.js(brightness), 700)
        browser.open(self.server.url, fresh=False)
        browser.ready()
        self.assertGreater(browser.js(brightness), 700)
        browser.look(dark=False)
        browser.id("theme").click()
        self.assertLess(browser.js(brightness), 100)

    def test_quiet_motion(self):
        browser.look(still=True)
        self.assertEqual(browser.js("""const made = document.createElement('p'); made.className = 'pulse'; document.body.append(made);
            const name = getComputedStyle(made).animationName; made.remove(); return name"""), "none")

    def test_conversation_is_kept_only_if_wanted(self):
        self.settings(maxTokens="20")
        browser.send("Keep this?")
        browser.open(self.server.url, fresh=False)
        browser.ready()
        self.assertEqual(browser.all(".turn"), [])
        self.settings(remember=True)
        browser.send("Keep this!")
        said, text = browser.text(".said-text"), browser.text(".answer .md")
        browser.open(self.server.url, fresh=False)
        browser.ready()
        self.assertEqual((browser.text(".said-text"), browser.text(".answer .md")), (said, text))
        self.settings(remember=False)
        self.assertIsNone(browser.js("return localStorage['moe-infer.conversation'] ?? null"))

    def test_policy_is_strict(self):
        policy = browser.driver.execute_async_script("""const done = arguments[0];
            fetch('/').then((response) => done(response.headers.get('content-security-policy')))""")
        for part in ("default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"):
            self.assertIn(part, policy)
        self.assertNotIn("unsafe", policy)
        # It is kept, too: what another script or style would do is not done.
        browser.js("""const script = document.createElement('script'); script.textContent = 'window.hacked = 1'; document.body.append(script);
            const style = document.createElement('div'); style.setAttribute('style', 'color: red'); document.body.append(style); style.id = 'styled'""")
        self.assertIsNone(browser.js("return window.hacked ?? null"))
        self.assertNotEqual(browser.js("return getComputedStyle(document.getElementById('styled')).color"), "rgb(255, 0, 0)")
        self.assertEqual(len(browser.js("const seen = violations; window.violations = []; return seen")), 2)
        self.expected = ("Content Security Policy",)


class Key(unittest.TestCase):
    """A server that wants a key."""

    settings = Page.settings

    @classmethod
    def serve(cls) -> Server:
        return mock("--key", "right-key")

    def test_key(self):
        server = self.serve()
        self.addCleanup(server.stop)
        browser.look()
        browser.open(server.url)
        browser.until("return document.getElementById('ask-key').open", "the question for a key")
        shoot("key")
        browser.id("asked-key").send_keys("wrong-key", Keys.ENTER)
        browser.until("return document.getElementById('ask-key-text').textContent.includes('refused')", "a second question")
        self.assertEqual(browser.complaints(), [])
        browser.id("asked-key").send_keys("right-key", Keys.ENTER)
        browser.ready()
        self.settings(maxTokens="40")  # two answers must fit in the context
        browser.send("Hello")
        self.assertTrue(browser.text(".answer .md"))
        self.assertEqual(browser.js("return [sessionStorage['moe-infer.key'], JSON.stringify(localStorage).includes('right-key')]"), ["right-key", False])
        # Taken away while at it: the question comes again, and then the answer.
        browser.js("sessionStorage['moe-infer.key'] = 'old'; const box = document.getElementById('prompt'); box.value = 'Again'; box.form.requestSubmit()")
        browser.until("return document.getElementById('ask-key').open", "the question for a key")
        browser.id("asked-key").send_keys("right-key", Keys.ENTER)
        browser.until("return document.querySelectorAll('.answer')[1]?.querySelector('.md').textContent", "the second answer")
        browser.done()
        self.assertEqual(browser.js("return violations"), [])
        browser.log()


def main():
    global browser, binary, shots
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mock", action="store_true", help="only against the stand-in")
    parser.add_argument("--server", default=".build/release/moe-infer")
    parser.add_argument("--shots", type=Path, help="a folder for screenshots")
    parser.add_argument("tests", nargs="*")
    options = parser.parse_args()
    shots = options.shots

    browser = test_answers.browser = test_markdown.browser = Browser()
    test_answers.shoot = shoot
    suites = [Page, Key, test_markdown.Markdown, test_answers.Answers, test_answers.Dense, test_answers.Pressure]

    if not options.mock:
        binary = options.server

        class Real(Page):
            @classmethod
            def serve(cls, *more: str) -> Server:
                return Server([options.server, "serve", "--port", "0", *more])

        class RealKey(Key):
            @classmethod
            def serve(cls) -> Server:
                digest = hashlib.sha256(b"right-key").hexdigest()
                with tempfile.NamedTemporaryFile("w", suffix=".json", delete=False) as file:
                    json.dump({"keys": [{"name": "test", "sha256": digest}]}, file)
                try:
                    # It has read them when it says that it listens.
                    return Server([options.server, "serve", "--port", "0", "--api-keys", file.name])
                finally:
                    Path(file.name).unlink()

        suites = [Real, RealKey] + suites[2:]
    class Result(unittest.TextTestResult):
        """Says what failed at once: a run takes minutes."""

        def addFailure(self, test, error):  # noqa: N802
            super().addFailure(test, error)
            self.stream.writeln(self.failures[-1][1])

        def addSubTest(self, test, subtest, error):  # noqa: N802
            super().addSubTest(test, subtest, error)
            if error:
                self.stream.writeln((self.failures + self.errors)[-1][1])

        def addError(self, test, error):  # noqa: N802
            super().addError(test, error)
            self.stream.writeln(self.errors[-1][1])

        def printErrors(self):  # noqa: N802
            pass

    load = unittest.defaultTestLoader
    load.testNamePatterns = [f"*{name}*" for name in options.tests] or None
    result = unittest.TextTestRunner(verbosity=2, resultclass=Result).run(unittest.TestSuite(load.loadTestsFromTestCase(suite) for suite in suites))
    browser.quit()
    return 0 if result.wasSuccessful() and result.testsRun else 1


if __name__ == "__main__":
    sys.exit(main())
