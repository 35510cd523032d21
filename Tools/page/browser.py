# SPDX-License-Identifier: Apache-2.0
"""A headless Chromium with the page in it, and a server to serve it."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

HERE = Path(__file__).resolve().parent
DEADLINE = 60
LOG = HERE.parents[1] / ".cache/page/server.log"


class Server:
    """A started server, by the line that it prints."""

    def __init__(self, command: list[str]):
        LOG.parent.mkdir(parents=True, exist_ok=True)
        with LOG.open("a") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        line = self.process.stdout.readline()
        found = re.fullmatch(r"moe-infer is listening on (http://\S+)\n", line)
        if not found:
            self.process.kill()
            raise RuntimeError(f"{' '.join(command)} printed {line!r}")
        self.url = found[1]

    def stop(self) -> int:
        self.process.terminate()
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


def mock(*options: str) -> Server:
    return Server([sys.executable, str(HERE / "mock.py"), "--port", "0", *options])


class Browser:
    def __init__(self):
        options = webdriver.ChromeOptions()
        flags = ["--headless=new", "--disable-gpu", "--force-color-profile=srgb", "--disable-dev-shm-usage", "--no-first-run"]
        # Chromium's sandbox does not start as root; the pages here are our own.
        for flag in flags + (["--no-sandbox"] if os.geteuid() == 0 else []):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
        self.driver.set_script_timeout(DEADLINE)
        self.js = self.driver.execute_script

    def quit(self):
        self.driver.quit()

    def cdp(self, command: str, **parameters):
        return self.driver.execute_cdp_cmd(command, parameters)

    def look(self, width: int = 1366, height: int = 860, dark: bool = False, still: bool = False):
        self.cdp("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=2 if width < 500 else 1, mobile=width < 500)
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
                    {"name": "prefers-reduced-motion", "value": "reduce" if still else "no-preference"}]
        self.cdp("Emulation.setEmulatedMedia", features=features)

    def open(self, url: str, fresh: bool = True):
        """The page, with what it sends kept in `window.sent`, and violations of its policy in `window.violations`."""
        self.driver.get(url)
        if fresh:
            self.js("localStorage.clear(); sessionStorage.clear()")
            self.driver.get(url)
        self.js("""window.sent = []; window.violations = []; window.asked = [];
            addEventListener("securitypolicyviolation", (event) => violations.push(event.violatedDirective + " " + event.blockedURI));
            const fetched = window.fetch;
            window.fetch = (path, options) => {
              asked.push(String(path));
              if (options?.body) sent.push(JSON.parse(options.body));
              const answered = fetched(path, options);
              if (options?.body) answered.then((response) => (window.lastID = response.headers.get("x-request-id")), () => {});
              return answered;
            };""")

    def ready(self):
        self.until("return document.getElementById('model').textContent !== ''", "the model's name")

    def until(self, script: str, what: str, limit: float = DEADLINE):
        end = time.monotonic() + limit
        while time.monotonic() < end:
            value = self.js(script)
            if value:
                return value
            time.sleep(0.05)
        raise AssertionError(f"not within {limit} s: {what}; the page says: {self.js('return document.body.innerText')[-600:]}")

    def id(self, name: str):
        return self.driver.find_element(By.ID, name)

    def all(self, selector: str):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        return self.js("return document.querySelector(arguments[0])?.innerText ?? ''", selector)

    def start(self, prompt: str):
        self.id("prompt").send_keys(prompt, Keys.ENTER)
        self.until("return document.querySelectorAll('.answer').length", "an answer")

    def send(self, prompt: str):
        self.start(prompt)
        self.done()

    def done(self):
        self.until("return !document.body.classList.contains('running')", "the end of the answer")

    def sent(self) -> list[dict]:
        return self.js("return sent")

    def module(self, body: str, *arguments):
        """Runs `body` with the page's modules `markdown`, `inline` and `render`, and returns what it returns."""
        told = self.driver.execute_async_script("""const done = arguments[arguments.length - 1];
            const args = [...arguments].slice(0, -1);
            Promise.all(["markdown", "inline", "render"].map((name) => import(`/web/${name}.js`)))
              .then(async ([markdown, inline, render]) => done({ value: await (async () => {""" + body + """})() }))
              .catch((error) => done({ error: String(error.stack ?? error) }));""", *arguments)
        if "error" in told:
            raise AssertionError(told["error"])
        return told["value"]

    def complaints(self) -> list[str]:
        wrong = self.js("return (" + (HERE / "checks.js").read_text().split("\n", 2)[2].strip().removesuffix(";") + ")")
        # What is behind an open dialog can neither be reached nor named.
        within = "dialog[open] " if self.all("dialog[open]") else ""
        kinds = ("button", "input", "select", "textarea", "canvas", "[role=meter]", "summary")
        for node in self.all(", ".join(within + kind for kind in kinds) + ", dialog[open]"):
            if node.is_displayed() and node.get_attribute("aria-hidden") is None and not node.accessible_name:
                wrong.append(f"no name: {node.get_attribute('outerHTML')[:90]}")
        return wrong

    def log(self) -> list[str]:
        return [f"{entry['level']} {entry['message']}" for entry in self.driver.get_log("browser")]

    def shot(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(self.cdp("Page.captureScreenshot", format="png")["data"]))


def fetch(url: str) -> dict | list:
    with urllib.request.urlopen(url, timeout=20) as response:
        return json.load(response)
