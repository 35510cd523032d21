// SPDX-License-Identifier: Apache-2.0
// The page: wires the message box, the conversation, the settings and the live side together.

import { key, read } from "./api.js";
import { applyScale, placeOf, STEPS } from "./colours.js";
import { count, dollars, experts, rate } from "./format.js";
import { Panel } from "./panel.js";
import { element } from "./render.js";
import { Compute, Settings, store } from "./settings.js";
import { Turn } from "./turn.js";

const $ = (id) => document.getElementById(id);
const CONVERSATION = "moe-infer.conversation";
const EXAMPLES = ["Tell a short story about a lighthouse", "Write a Python function that reverses a list", "What is 17 + 25?"];

const settings = new Settings();
const compute = new Compute();
const turns = [];
let model = null;
let running = null;
let following = true;
let spentBefore = 0;

const page = {
  mostExperts: 1,
  coloured: store.read("moe-infer.colour") === true,
  act,
  grown: follow,
};

const panel = new Panel({
  status(status) {
    const state = $("state");
    state.classList.toggle("busy", (status?.running ?? 0) > 0);
    state.classList.toggle("strained", (status?.pressure ?? 0) > 0);
    state.classList.toggle("lost", status === null);
    let text = "The server cannot be reached";
    if (status) text = status.running > 0 ? `${count(status.running)} running, ${rate(status.tokens_per_second)} tokens/s` : "Idle";
    if ($("state-text").textContent !== text) $("state-text").textContent = text;
    const strained = status?.pressure > 0;
    const notice = strained
      ? `The server is under pressure (level ${status.pressure}): new tokens may run at a cheaper operating point than asked.`
      : "";
    if ($("pressure").textContent !== notice) $("pressure").textContent = notice;
    $("pressure").hidden = !strained;
    if (status && !model) start();
  },
  refused: async (failure) => {
    if (await askKey(failure)) panel.wake();
  },
});

// The server and its model

async function start() {
  if (start.busy) return;
  start.busy = true;
  try {
    const models = (await read("/v1/models")).data ?? [];
    model = settings.offer(models);
    offerModel();
  } catch (failure) {
    if (failure.status === 401) askKey(failure).then((given) => given && !model && start());
    else $("state-text").textContent = failure.message;
  } finally {
    start.busy = false;
  }
}

function offerModel() {
  $("model").textContent = model?.id ?? "";
  $("model").title = model ? `${model.id}${model.context_length ? `, context of ${count(model.context_length)} tokens` : ""}` : "";
  const moe = model?.moe;
  const choice = (moe?.operating_points ?? []).length > 1;
  page.mostExperts = moe?.experts_per_token ?? 1;
  $("colour").hidden = $("experts").hidden = $("moe-settings").hidden = !moe;
  $("compare").hidden = !choice;
  compute.offer(model);
  if (!choice) store.write("moe-infer.compare", null);
  showCompare(choice && store.read("moe-infer.compare") === true);
  if (!moe) $("empty-text").textContent = "Answers stream as they are written. This model is dense: every token takes the same compute.";
  drawLegend();
  showColour(Boolean(moe) && page.coloured);
  restore();
  panel.mapTime = 0;
  panel.wake();
}

let keyAsked = null;

/** Asks for a key after a request that wanted another one, once at a time; whether there is one now. */
async function askKey(failure) {
  // Another one was given meanwhile.
  if (failure.key !== key.get()) return key.get() !== "";
  const again = failure.key !== "";
  keyAsked ??= new Promise((resolve) => {
    const dialog = $("ask-key");
    $("ask-key-text").textContent = again
      ? "The server refused the key that was given. Another one?"
      : "It stays in this tab's session and goes to this server alone.";
    $("asked-key").value = "";
    dialog.returnValue = "cancel";
    dialog.addEventListener(
      "close",
      () => {
        const value = $("asked-key").value.trim();
        const given = dialog.returnValue === "ok" && value !== "";
        if (given) key.set(value);
        keyAsked = null;
        if (given) {
          if (!model) start();
          panel.wake();
        } else $("state-text").textContent = "A key is needed: see the settings";
        resolve(given);
      },
      { once: true },
    );
    $("settings").close();
    dialog.showModal();
  });
  return keyAsked;
}

$("no-key").addEventListener("click", () => $("ask-key").close("cancel"));
$("key").addEventListener("change", () => {
  if (!model) start();
  panel.wake();
});
document.querySelector('[data-setting="model"]').addEventListener("change", start);
document.querySelector('[data-setting="remember"]').addEventListener("change", save);

// The conversation

function save() {
  store.write(CONVERSATION, null);
  if (settings.values.remember === true && turns.length) store.write(CONVERSATION, { turns, spentBefore });
}

function restore() {
  const saved = settings.values.remember === true && !turns.length ? store.read(CONVERSATION) : null;
  if (!Array.isArray(saved?.turns)) return;
  spentBefore = saved.spentBefore ?? 0;
  for (const entry of saved.turns) add(Turn.from(entry, page));
  sum();
}

function add(turn) {
  turns.push(turn);
  $("turns").append(turn.root);
  $("empty").hidden = true;
}

/** Takes out the turns from `index` on; what they cost stays counted. */
function takeBack(index) {
  for (const turn of turns.splice(index)) {
    spentBefore += turn.answers.reduce((total, answer) => total + answer.cost, 0);
    turn.root.remove();
  }
  $("empty").hidden = turns.length > 0;
}

function sum() {
  const total = turns.flatMap((turn) => turn.answers).reduce((all, answer) => all + answer.cost, spentBefore);
  $("sum").textContent = $("cost-here").textContent = dollars(total);
}

async function send(prompt) {
  if (running || !prompt.trim()) return;
  if (!model) await start();
  if (running || !model) return;
  const turn = new Turn(prompt, page);
  add(turn);
  $("prompt").value = "";
  fit();
  following = true;
  await answer(turn, $("compare").getAttribute("aria-pressed") === "true" ? compute.pair : [compute.point]);
}

async function answer(turn, points) {
  spentBefore += turn.answers.reduce((total, before) => total + before.cost, 0);
  running = new AbortController();
  const { signal } = running;
  showRunning(true);
  turn.atOnce = points.length > 1 && !$("in-turn").checked;
  turn.begin(points);
  follow();
  const history = turns.slice(0, turns.indexOf(turn)).flatMap((earlier) => earlier.messages);
  const messages = [...history, { role: "user", content: turn.prompt }];
  // Two answers differ by their compute alone: they share a seed.
  const seed = points.length > 1 ? (settings.number("seed") ?? Math.floor(Math.random() * 2 ** 31)) : undefined;
  const one = (given, i) => given.generate(settings.request(model, messages, points[i], seed), signal, () => turn.views[i].schedule());
  say("Answering");
  setTimeout(() => panel.wake(), 250);
  if (points.length > 1 && $("in-turn").checked) {
    for (const [i, given] of turn.answers.entries()) {
      if (signal.aborted) given.status = "stopped";
      else await one(given, i);
    }
  } else await Promise.all(turn.answers.map(one));
  running = null;
  showRunning(false);
  turn.settle();
  follow();
  sum();
  save();
  tell(turn);
  const refused = turn.answers.map((given) => given.failure).find((failure) => failure?.status === 401);
  if (refused && (await askKey(refused))) await answer(turn, points);
}

/** Says once how it ended, with the text where it is short enough to be listened to. */
function tell(turn) {
  const [first] = turn.answers;
  if (first.status === "failed") return say("The answer failed");
  const length = `${count(first.completionTokens)} tokens`;
  const end = first.status === "stopped" ? "Stopped after" : "Answered,";
  say(turn.answers.length > 1 ? "Both answers are complete" : `${end} ${length}. ${first.text.length < 1200 ? first.text : ""}`);
}

function say(text) {
  $("announce").textContent = text;
}

function act(name, turn, index, button) {
  const view = turn.views[index];
  if (name === "copy") copy(view.answer.text, button);
  else if (name === "source") {
    const on = view.source.hidden;
    view.showSource(on);
    button.setAttribute("aria-pressed", String(on));
  } else if (name === "keep") {
    turn.kept = index;
    turn.settle();
    turn.views[index].actions.querySelector('[data-action="keep"]').focus();
    save();
  } else if (running) return;
  else if (name === "edit") {
    takeBack(turns.indexOf(turn));
    $("prompt").value = turn.prompt;
    fit();
    $("prompt").focus();
    sum();
    save();
  } else if (name === "again") {
    takeBack(turns.indexOf(turn) + 1);
    const points = turn.answers.length > 1 ? turn.answers.map((given) => given.asked) : [compute.point];
    answer(turn, points);
  }
}

async function copy(text, button) {
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
    say("Copied");
  } catch {
    button.textContent = "Not allowed";
  }
  setTimeout(() => (button.textContent = before), 1500);
}

$("turns").addEventListener("click", (event) => {
  const button = event.target.closest?.('[data-action="copy-code"]');
  if (button) copy(button.closest(".code").querySelector("code").textContent, button);
});

// The message box

function fit() {
  const box = $("prompt");
  box.style.height = "auto";
  box.style.height = `${Math.min(box.scrollHeight + 2, innerHeight * 0.4)}px`;
}

function showRunning(on) {
  $("send").hidden = on;
  $("stop").hidden = !on;
  document.body.classList.toggle("running", on);
  if (!on && document.activeElement === $("stop")) $("prompt").focus();
  if (!on && document.activeElement === document.body) $("prompt").focus({ preventScroll: true });
}

$("prompt").addEventListener("input", fit);
$("prompt").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  send($("prompt").value);
});
$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  send($("prompt").value);
});
$("stop").addEventListener("click", () => running?.abort());
$("new").addEventListener("click", newChat);

function newChat() {
  running?.abort();
  takeBack(0);
  spentBefore = 0;
  sum();
  save();
  $("prompt").focus();
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && running && !document.querySelector("dialog[open]")) running.abort();
  if (!event.altKey || event.ctrlKey || event.metaKey) return;
  const target = { KeyC: "colour", KeyS: "compare", KeyL: "load", KeyN: "new", KeyP: "open-settings" }[event.code];
  if (target && !$(target).hidden && !document.querySelector("dialog[open]")) {
    event.preventDefault();
    $(target).click();
  }
});

// What is shown

function follow() {
  const log = $("log");
  if (following) log.scrollTop = log.scrollHeight;
  $("latest").hidden = following;
}

$("log").addEventListener("scroll", () => {
  const log = $("log");
  following = log.scrollHeight - log.scrollTop - log.clientHeight < 48;
  $("latest").hidden = following;
});
$("latest").addEventListener("click", () => {
  following = true;
  follow();
});

function drawLegend() {
  const most = page.mostExperts;
  const bar = element("span", "legend-bar");
  bar.append(...Array.from({ length: STEPS }, (_, step) => element("span", `k c${step}`)));
  const ticks = element("span", "legend-ticks");
  for (let k = 1; k < most; k *= 2) ticks.append(tick(k, placeOf(k, most)));
  ticks.append(tick(most, 1));
  const scale = element("span", "legend-scale");
  scale.append(bar, ticks);
  scale.setAttribute("role", "img");
  scale.setAttribute("aria-label", `Colours from 1 to ${most} experts`);
  const note = element("span", "legend-note");
  note.append("experts per token", element("span", "legend-more", ", mean of its layers. Point at a token, or focus an answer and use ← →"));
  const token = element("span", "legend-token");
  token.id = "token";
  $("legend").replaceChildren(scale, note, token);
}

/** Shows a token's text and experts beside the legend; null: nothing. */
function showToken(span) {
  const token = $("token");
  if (!token) return;
  token.replaceChildren();
  if (span) token.append(element("b", "", span.dataset.k), element("span", "", `“${span.textContent.replaceAll("\n", "⏎")}”`));
  $("legend").classList.toggle("reading", Boolean(span));
}

$("turns").addEventListener("pointerover", (event) => {
  const span = event.target.closest?.(".k") ?? null;
  if (page.coloured) showToken(span);
});

function tick(k, place) {
  const made = element("span", "", String(k));
  made.style.left = `${place * 100}%`;
  return made;
}

function showColour(on) {
  $("colour").setAttribute("aria-pressed", String(on));
  $("legend").hidden = !on;
  document.body.classList.toggle("colours", on);
  for (const turn of turns) if (page.coloured !== on || on) turn.colour(on);
  page.coloured = on;
}

$("colour").addEventListener("click", () => {
  const on = $("colour").getAttribute("aria-pressed") !== "true";
  store.write("moe-infer.colour", on);
  showColour(on);
  follow();
});

/** In a coloured answer that has the focus, the arrow keys read out tokens and their experts. */
$("turns").addEventListener("keydown", (event) => {
  const body = event.target.closest?.(".coloured .md");
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!body || event.target !== body || !step) return;
  event.preventDefault();
  const tokens = [...body.querySelectorAll(".k")];
  const before = tokens.indexOf(body.querySelector(".at"));
  const next = tokens[Math.min(Math.max(before + step, 0), tokens.length - 1)];
  tokens[before]?.classList.remove("at");
  next?.classList.add("at");
  showToken(next ?? null);
  if (next) say(`${next.textContent.trim() || "blank"}: ${next.title}`);
});

function showCompare(on) {
  $("compare").setAttribute("aria-pressed", String(on));
  $("pair").hidden = !on;
  $("compute").hidden = on || compute.points.length < 2;
  document.body.classList.toggle("comparing", on);
}

$("compare").addEventListener("click", () => {
  const on = $("compare").getAttribute("aria-pressed") !== "true";
  store.write("moe-infer.compare", on);
  showCompare(on);
});

const wide = matchMedia("(min-width: 1080px)");
const showPanel = (on) => {
  panel.show(on);
  follow();
};
$("load").addEventListener("click", () => {
  showPanel(!panel.open);
  if (panel.open && !wide.matches) $("close-panel").focus();
});
$("close-panel").addEventListener("click", () => {
  showPanel(false);
  $("load").focus();
});
wide.addEventListener("change", () => showPanel(wide.matches));

const THEMES = ["", "light", "dark"];

function showTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  $("theme").setAttribute("aria-label", `Theme: ${theme || "as the system"}`);
  $("theme").title = `Theme: ${theme || "as the system"}`;
  applyScale();
  panel.drawMap();
}

$("theme").addEventListener("click", () => {
  const now = document.documentElement.dataset.theme ?? "";
  const next = THEMES[(THEMES.indexOf(now) + 1) % THEMES.length];
  try {
    localStorage.setItem("moe-infer.theme", next);
  } catch {
    // Then it holds for this visit.
  }
  showTheme(next);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => showTheme(document.documentElement.dataset.theme ?? ""));

for (const example of EXAMPLES) {
  const made = element("li");
  const button = element("button", "", example);
  button.type = "button";
  button.addEventListener("click", () => send(example));
  made.append(button);
  $("examples").append(made);
}

showTheme(document.documentElement.dataset.theme ?? "");
showPanel(wide.matches);
start();
if (wide.matches) $("prompt").focus();
