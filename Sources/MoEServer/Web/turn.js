// SPDX-License-Identifier: Apache-2.0
// One prompt and its answers, one or two side by side.

import { Answer, AnswerView } from "./answer.js";
import { dollars, experts, figure, seconds } from "./format.js";
import { element } from "./render.js";

export class Turn {
  /** `page`: {mostExperts, coloured, act(name, turn, index), grown()}. */
  constructor(prompt, page) {
    this.prompt = prompt;
    this.page = page;
    this.answers = [];
    this.views = [];
    /** Which answer the conversation goes on with. */
    this.kept = 0;
    this.atOnce = false;
    this.root = element("section", "turn");
    this.root.setAttribute("aria-label", "Prompt and answer");
    const said = element("div", "said");
    const text = element("div", "said-text", prompt);
    text.dir = "auto";
    said.append(element("h2", "unseen", "You"), text, this.button("Edit", "edit", 0));
    this.grid = element("div", "answers");
    this.verdict = element("dl", "verdict");
    this.root.append(said, this.grid, this.verdict);
    this.verdict.hidden = true;
  }

  button(label, name, index, className = "quiet") {
    const made = element("button", className, label);
    made.type = "button";
    made.dataset.action = name;
    made.addEventListener("click", () => this.page.act(name, this, index, made));
    return made;
  }

  /** New, empty answers for `points`. */
  begin(points) {
    this.set(points.map((point) => new Answer(point)));
  }

  set(answers) {
    this.answers = answers;
    this.kept = Math.min(this.kept, answers.length - 1);
    this.views = answers.map((answer, i) => {
      const title = answers.length > 1 ? `Answer ${i + 1} of ${answers.length}, ${answer.asked ?? "default"}` : "Answer";
      const { mostExperts, coloured, grown } = this.page;
      return new AnswerView(answer, { mostExperts, coloured, title, grown });
    });
    this.grid.replaceChildren(...this.views.map((view) => view.root));
    this.grid.classList.toggle("two", answers.length > 1);
    this.settle();
  }

  get running() {
    return this.answers.some((answer) => answer.running);
  }

  /** Draws what belongs to the end: actions, and how two answers compare. */
  settle() {
    this.views.forEach((view, i) => {
      view.draw();
      const { answer } = view;
      if (answer.running) return view.actions.replaceChildren();
      const buttons = [];
      if (answer.text) buttons.push(this.button("Copy", "copy", i));
      if (answer.text) {
        const source = this.button("Source", "source", i);
        source.setAttribute("aria-pressed", String(!view.source.hidden));
        buttons.push(source);
      }
      buttons.push(this.button(answer.status === "failed" ? "Try again" : "Regenerate", "again", i));
      if (this.answers.length > 1) {
        const keep = this.button(this.kept === i ? "Goes on with this" : "Go on with this", "keep", i);
        keep.setAttribute("aria-pressed", String(this.kept === i));
        buttons.push(keep);
      }
      view.actions.replaceChildren(...buttons);
    });
    this.compare();
  }

  compare() {
    const [left, right] = this.answers;
    this.verdict.hidden = !right || this.running || !left.usage || !right.usage;
    if (this.verdict.hidden) return;
    const time = ({ timings, elapsed, firstToken }) => timings?.generation_seconds ?? (elapsed !== null ? elapsed - (firstToken ?? 0) : null);
    const perToken = (answer) => (answer.completionTokens > 0 ? time(answer) / answer.completionTokens : null);
    const perMillion = (answer) => (answer.completionTokens > 0 ? (answer.cost * 1e6) / answer.completionTokens : null);
    const rows = [
      ["time", time(left), time(right), seconds],
      ["time per token", perToken(left), perToken(right), seconds],
      ["experts", left.meanExperts, right.meanExperts, experts],
      ["cost", left.cost, right.cost, dollars],
      ["cost of a million tokens", perMillion(left), perMillion(right), dollars],
    ];
    const name = (answer) => answer.usage.moe?.operating_point ?? answer.asked ?? "default";
    this.verdict.replaceChildren(element("dt", "verdict-title", `${name(right)} against ${name(left)}`));
    for (const [label, a, b, show] of rows) {
      if (a === null || b === null || !(a > 0) || !(b > 0)) continue;
      const value = element("dd");
      value.append(element("span", "faint", label), element("b", "", `${figure(b / a, 2)}×`), element("span", "faint", `${show(b)} : ${show(a)}`));
      this.verdict.append(value);
    }
    const same = left.text === right.text;
    const agreed = sharedWords(left.text, right.text);
    const value = element("dd");
    value.append(element("span", "faint", "text"), element("b", "", same ? "identical" : `same for ${agreed} words`));
    this.verdict.append(value);
    if (this.atOnce) this.verdict.append(element("dd", "faint", "Both ran at once and shared the machine: their times are each other's, too."));
  }

  colour(on) {
    for (const view of this.views) view.colour(on);
  }

  /** As messages of the API. */
  get messages() {
    const answer = this.answers[this.kept];
    const out = [{ role: "user", content: this.prompt }];
    if (answer?.text) out.push({ role: "assistant", content: answer.text });
    return out;
  }

  toJSON() {
    return { prompt: this.prompt, answers: this.answers, kept: this.kept };
  }

  static from(saved, page) {
    const turn = new Turn(String(saved.prompt), page);
    turn.kept = saved.kept ?? 0;
    turn.set(saved.answers.map(Answer.from));
    return turn;
  }
}

function sharedWords(a, b) {
  let i = 0;
  while (i < a.length && i < b.length && a[i] === b[i]) i += 1;
  return a.slice(0, i).split(/\s+/).filter(Boolean).length;
}
