# SPDX-License-Identifier: Apache-2.0
"""What a server can do to the page, told to the stand-in by name: failures, hostile and huge answers, tools, reasoning, dense models, load."""

from __future__ import annotations

import unittest

from browser import Browser, Server, mock
from selenium.webdriver.common.keys import Keys

browser: Browser
shoot = lambda name: None  # noqa: E731


class Scenario(unittest.TestCase):
    """A page of a server of one's own."""

    options: tuple[str, ...] = ()

    @classmethod
    def serve(cls, *more: str) -> Server:
        return mock(*cls.options, *more)

    @classmethod
    def setUpClass(cls):
        cls.server = cls.serve()

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def setUp(self):
        browser.look()
        browser.open(self.server.url)
        browser.ready()
        browser.log()

    def tearDown(self):
        # A policy that is violated, or a script that throws, fails whichever test saw it.
        self.assertEqual(browser.js("return window.violations ?? []"), [])
        quiet = getattr(self, "expected", ())
        self.assertEqual([line for line in browser.log() if not any(word in line for word in quiet)], [])


class Answers(Scenario):
    def test_error_in_the_middle(self):
        for scenario, message in (("error", "The engine failed in layer 3."), ("cut", "before the answer was complete")):
            self.expected = ("ERR_INCOMPLETE_CHUNKED_ENCODING",)
            browser.send(f"scenario:{scenario}")
            self.assertIn(message, browser.text(".turn:last-child .notice"))
            self.assertEqual(browser.all(".turn:last-child .notice")[0].get_attribute("role"), "alert")
            self.assertIn("Reversing a list", browser.text(".turn:last-child .md"))
            self.assertEqual(browser.all('.turn:last-child [data-action="again"]')[0].text, "Try again")
            browser.until("return document.querySelector('.turn:last-child .figures').innerText.includes('cost')", "figures of the broken answer", 5)
        self.assertEqual(browser.complaints(), [])
        shoot("error")
        browser.send("And now?")
        self.assertIn("large", browser.text(".turn:last-child .md"))

    def test_refusals(self):
        self.expected = ("status of 429", "status of 400")
        browser.send("scenario:busy")
        self.assertIn("The queue is full. Try again in 3 s.", browser.text(".notice"))
        self.assertIn("status 429", browser.text(".notice"))
        browser.send("scenario:context")
        self.assertIn("context 8,192", browser.text(".turn:last-child .notice"))
        self.assertIn("context_length_exceeded", browser.text(".turn:last-child .notice"))
        self.assertNotIn("NaN", browser.text("body"))

    def test_hostile_answer(self):
        browser.send("scenario:hostile")
        self.assertIsNone(browser.js("return window.hacked ?? null"))
        names = set(browser.js("return [...document.querySelectorAll('.answer .md *')].map((node) => node.localName)"))
        self.assertFalse({"img", "script", "iframe", "svg"} & names)
        self.assertIn("<img src=x onerror=", browser.text(".answer .md"))
        for link in browser.all(".answer .md a"):
            self.assertTrue(link.get_attribute("href").startswith("https://example.org/"))
            self.assertIn("noopener", link.get_attribute("rel"))
        browser.id("colour").click()
        self.assertIsNone(browser.js("return window.hacked ?? null"))
        # It can neither leave its place nor make the page scroll sideways.
        browser.look(360, 740)
        self.assertEqual(browser.js("return document.documentElement.scrollWidth"), 360)

    def test_answer_of_a_megabyte(self):
        # The page stays alive meanwhile: its frames are counted.
        browser.js("window.frames_ = 0; const count = () => { window.frames_ += 1; requestAnimationFrame(count); }; requestAnimationFrame(count)")
        browser.send("scenario:long")
        browser.until("return document.querySelectorAll('.answer .md > *').length > 1500", "many blocks")
        self.assertGreater(browser.js("return frames_"), 10)
        length = browser.js("return document.querySelector('.answer .md').textContent.length")
        self.assertGreater(length, 900_000)
        self.assertGreater(browser.js("const log = document.getElementById('log'); return log.scrollTop + log.clientHeight"),
                           browser.js("return document.getElementById('log').scrollHeight") - 60)
        browser.id("colour").click()
        self.assertGreater(len(browser.all(".answer .k")), 800)

    def test_reasoning(self):
        browser.send("scenario:reasoning")
        self.assertRegex(browser.text(".reasoning summary"), r"Reasoning, \d+ tokens")
        self.assertFalse(browser.js("return document.querySelector('.reasoning').open"))
        browser.all(".reasoning summary")[0].click()
        self.assertIn("Slicing is shortest", browser.text(".reasoning"))
        browser.id("colour").click()
        self.assertTrue(browser.all(".reasoning .k"))
        self.assertEqual(browser.complaints(), [])

    def test_tool_calls(self):
        browser.js("""const field = document.querySelector('[data-setting="tools"]');
            field.value = '[{"type":"function","function":{"name":"weather"}}]'; field.dispatchEvent(new Event('input'))""")
        browser.send("scenario:tools")
        self.assertEqual(browser.sent()[0]["tools"][0]["function"]["name"], "weather")
        self.assertIn("Calls weather", browser.text(".tool").replace("\n", " "))
        self.assertIn('"place": "Zürich"', browser.text(".tool pre"))
        self.assertEqual(browser.all(".tool b"), [])
        browser.js("""const field = document.querySelector('[data-setting="tools"]'); field.value = '{'; field.dispatchEvent(new Event('input'))""")
        browser.send("Hello")
        self.assertNotIn("tools", browser.sent()[1])

    def test_copy_of_code(self):
        browser.cdp("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"], origin=self.server.url)
        browser.send("How?")
        browser.all('[data-action="copy-code"]')[0].click()
        browser.until("return document.querySelector('[data-action=\"copy-code\"]').textContent === 'Copied'", "copied", 5)
        text = browser.driver.execute_async_script("navigator.clipboard.readText().then(arguments[0])")
        self.assertTrue(text.startswith("def reversed_copy(values):\n    \"\"\"A new list"), text)
        self.assertTrue(text.endswith("return values[::-1]"), text)

    def test_answers_stream_at_once_side_by_side(self):
        browser.id("compare").click()
        browser.start("scenario:slow")
        browser.until("return [...document.querySelectorAll('.answer .md')].filter((node) => node.textContent.length > 80).length === 2", "two answers growing", 10)
        self.assertTrue(browser.js("return document.body.classList.contains('running')"))
        browser.id("stop").click()
        browser.done()
        self.assertEqual(browser.js("return [...document.querySelectorAll('.answer-head')].filter((node) => node.innerText.includes('Stopped')).length"), 2)

    def test_reading_is_not_disturbed_by_growing(self):
        browser.look(900, 400)
        browser.start("scenario:slow")
        browser.until("return document.getElementById('log').scrollTop > 200", "scrolling along", 20)
        browser.js("document.getElementById('log').scrollTop = 60")
        browser.until("return !document.getElementById('latest').hidden", "the way back to the end", 5)
        length = browser.js("return document.querySelector('.md').textContent.length")
        browser.until(f"return document.querySelector('.md').textContent.length > {length + 60}", "more text", 10)
        self.assertEqual(browser.js("return Math.round(document.getElementById('log').scrollTop)"), 60)
        browser.id("latest").click()
        self.assertTrue(browser.js("const log = document.getElementById('log'); return log.scrollHeight - log.scrollTop - log.clientHeight < 40"))
        browser.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
        browser.done()

    def test_focus_is_not_taken_by_words(self):
        browser.start("scenario:slow")
        browser.all(".said .quiet")[0].send_keys("")
        browser.js("document.getElementById('theme').focus()")
        browser.until("return document.querySelector('.md').textContent.length > 300", "text", 20)
        self.assertEqual(browser.js("return document.activeElement.id"), "theme")
        self.assertEqual(browser.js("return document.getElementById('announce').textContent"), "Answering")
        browser.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
        browser.done()


class Dense(Scenario):
    options = ("--dense",)

    def test_no_choice_of_experts(self):
        for name in ("compute", "pair", "colour", "compare", "experts", "moe-settings", "legend"):
            self.assertFalse(browser.id(name).is_displayed(), name)
        browser.send("How?")
        self.assertNotIn("moe", browser.sent()[0])
        self.assertNotIn("experts", browser.text(".figures"))
        self.assertIn("cost", browser.text(".figures"))
        self.assertEqual(browser.complaints(), [])
        shoot("dense")


class Pressure(Scenario):
    options = ("--pressure", "2")

    def test_degradation_is_said(self):
        browser.until("return !document.getElementById('pressure').hidden", "the notice", 5)
        self.assertIn("level 2", browser.text("#pressure"))
        browser.send("How?")
        self.assertRegex(browser.text(".answer-head"), r"\d+ degraded")
        self.assertEqual(browser.complaints(), [])
        shoot("pressure")
