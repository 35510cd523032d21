// SPDX-License-Identifier: Apache-2.0
// One answer: what the server streamed of it, what it cost, and how it is drawn.

import { call, events, read } from "./api.js";
import { count, dollars, experts, percent, rate, seconds } from "./format.js";
import { element, MarkdownView, Painter, Tokens } from "./render.js";

const now = () => performance.now() / 1000;

export class Answer {
  text = "";
  reasoning = "";
  tokens = new Tokens();
  reasoningTokens = new Tokens();
  tools = [];
  /** waiting, streaming, done, stopped or failed */
  status = "waiting";
  pieces = 0;
  firstToken = null;
  elapsed = null;
  finish = null;
  usage = null;
  timings = null;
  failure = null;

  constructor(point) {
    /** The operating point that was asked for; null: the server's default. */
    this.asked = point;
    this.served = null;
  }

  get running() {
    return this.status === "waiting" || this.status === "streaming";
  }

  /** Streams an answer to `body`; `changed` is called after each event. Never throws: a failure is kept. */
  async generate(body, signal, changed) {
    const start = now();
    let requestID = null;
    try {
      const response = await call("/v1/chat/completions", { body, signal });
      requestID = response.headers.get("x-request-id");
      this.served = response.headers.get("x-moe-operating-point");
      for await (const chunk of events(response)) {
        this.take(chunk, now() - start);
        changed();
      }
      this.status = "done";
    } catch (error) {
      if (error.name === "AbortError") this.status = "stopped";
      else {
        this.status = "failed";
        this.failure = error;
        if (!error.requestID) error.requestID = requestID;
      }
    }
    this.elapsed = now() - start;
    changed();
    if (this.status !== "done" && requestID && this.pieces > 0) await this.askFigures(requestID);
  }

  take(chunk, time) {
    if (chunk.usage) this.usage = chunk.usage;
    if (chunk.timings) this.timings = chunk.timings;
    this.elapsed = time;
    const choice = chunk.choices?.[0];
    if (!choice) return;
    const delta = choice.delta ?? {};
    const k = typeof chunk.moe?.mean_experts === "number" ? chunk.moe.mean_experts : null;
    if (typeof delta.reasoning_content === "string" && delta.reasoning_content) {
      this.reasoning += delta.reasoning_content;
      this.reasoningTokens.add(this.reasoning.length, k);
      this.began(time);
    }
    if (typeof delta.content === "string" && delta.content) {
      this.text += delta.content;
      this.tokens.add(this.text.length, k);
      this.began(time);
    }
    for (const part of delta.tool_calls ?? []) {
      const index = Number.isInteger(part.index) && part.index >= 0 && part.index < 128 ? part.index : 0;
      const tool = (this.tools[index] ??= { id: part.id ?? "", name: "", arguments: "" });
      tool.name += part.function?.name ?? "";
      tool.arguments += part.function?.arguments ?? "";
      this.began(time);
    }
    if (choice.finish_reason) this.finish = choice.finish_reason;
  }

  began(time) {
    this.firstToken ??= time;
    this.pieces += 1;
    this.status = "streaming";
  }

  /** What a request that did not end well has used, from the server's own record of it. */
  async askFigures(requestID) {
    for (const wait of [150, 600, 1500]) {
      await new Promise((resolve) => setTimeout(resolve, wait));
      try {
        const record = await read(`/v1/requests/${encodeURIComponent(requestID)}`);
        if (record.usage) this.usage = record.usage;
        if (record.status !== "running" && record.status !== "queued") return;
      } catch {
        return;
      }
    }
  }

  get cost() {
    return this.usage?.moe?.cost_usd ?? 0;
  }

  get meanExperts() {
    if (typeof this.usage?.moe?.mean_experts === "number") return this.usage.moe.mean_experts;
    const values = [...this.reasoningTokens.experts, ...this.tokens.experts].filter((k) => k !== null);
    return values.length ? values.reduce((sum, k) => sum + k, 0) / values.length : null;
  }

  get completionTokens() {
    return this.usage?.completion_tokens ?? this.pieces;
  }

  get speed() {
    const told = this.timings?.generation_tokens_per_second;
    if (typeof told === "number") return told;
    const span = (this.elapsed ?? 0) - (this.firstToken ?? 0);
    return this.pieces > 1 && span > 0 ? (this.pieces - 1) / span : null;
  }

  toJSON() {
    const { text, reasoning, tools, status, pieces, firstToken, elapsed, finish, usage, timings, asked, served } = this;
    const message = this.failure?.message;
    const tokens = [this.tokens, this.reasoningTokens].map(({ ends, experts }) => ({ ends, experts }));
    return { text, reasoning, tools, status, pieces, firstToken, elapsed, finish, usage, timings, asked, served, message, tokens };
  }

  static from(saved) {
    const { tokens, message, ...rest } = saved;
    const answer = Object.assign(new Answer(saved.asked), rest);
    Object.assign(answer.tokens, tokens?.[0]);
    Object.assign(answer.reasoningTokens, tokens?.[1]);
    if (message) answer.failure = { message };
    if (answer.running) answer.status = "stopped";
    return answer;
  }
}

/** The elements of an answer; `options`: {mostExperts, coloured, title, grown()}. */
export class AnswerView {
  constructor(answer, options) {
    this.answer = answer;
    this.options = options;
    this.root = element("article", "answer");
    this.root.setAttribute("aria-label", options.title);
    this.head = element("div", "answer-head");
    this.body = element("div", "md");
    this.source = element("pre", "plain");
    this.source.tabIndex = 0;
    this.source.setAttribute("aria-label", "The answer's text as the model wrote it");
    this.source.hidden = true;
    this.reasoning = element("details", "reasoning");
    this.reasoningText = element("div", "plain");
    this.reasoning.append(element("summary", "", "Reasoning"), this.reasoningText);
    this.reasoning.firstChild.addEventListener("click", () => (this.touched = true));
    this.tools = element("div", "tools");
    this.notice = element("div", "notice");
    this.figures = element("dl", "figures");
    this.actions = element("div", "actions");
    const foot = element("div", "answer-foot");
    foot.append(this.figures, this.actions);
    this.root.append(this.head, this.reasoning, this.body, this.source, this.tools, this.notice, foot);
    this.painter = new Painter(answer.tokens, options.mostExperts);
    this.reasoningPainter = new Painter(answer.reasoningTokens, options.mostExperts);
    this.markdown = new MarkdownView(this.body, this.painter);
    this.cost = 0;
    this.ended = 0;
    this.colour(options.coloured);
  }

  /** Draws again, from the start, with or without colours. */
  colour(on) {
    this.painter.coloured = this.reasoningPainter.coloured = on;
    this.root.classList.toggle("coloured", on);
    // Then the arrow keys walk through its tokens.
    if (on) {
      this.body.tabIndex = 0;
      this.body.setAttribute("role", "group");
      this.body.setAttribute("aria-label", "Answer; arrow keys read tokens and their experts");
    } else for (const name of ["tabindex", "role", "aria-label"]) this.body.removeAttribute(name);
    this.markdown.reset();
    for (const plain of [this.source, this.reasoningText]) {
      plain.replaceChildren();
      plain.drawn = 0;
    }
    this.draw();
  }

  showSource(on) {
    this.source.hidden = !on;
    this.body.hidden = on;
    this.draw();
  }

  /** Draws soon; the more a drawing takes, the rarer it is, so that long answers leave the page responsive. */
  schedule() {
    if (this.pending) return;
    this.pending = true;
    const wait = Math.max(0, this.cost * 4000 - (now() - this.ended) * 1000);
    const draw = () => {
      if (!this.pending) return;
      this.draw();
      this.options.grown?.();
    };
    setTimeout(() => (document.hidden ? draw() : requestAnimationFrame(draw)), wait);
  }

  draw() {
    this.pending = false;
    const start = now();
    const { answer } = this;
    this.markdown.update(answer.text, answer.running);
    if (!this.source.hidden) this.grow(this.source, answer.text, this.painter);
    this.reasoning.hidden = !answer.reasoning;
    if (answer.reasoning) {
      this.grow(this.reasoningText, answer.reasoning, this.reasoningPainter);
      if (!this.touched) this.reasoning.open = answer.running && !answer.text;
      this.reasoning.firstChild.textContent = `Reasoning, ${count(answer.reasoningTokens.ends.length)} tokens`;
    }
    this.drawHead();
    this.drawTools();
    this.drawNotice();
    this.drawFigures();
    this.root.classList.toggle("running", answer.running);
    this.root.setAttribute("aria-busy", String(answer.running));
    this.ended = now();
    this.cost = this.ended - start;
  }

  grow(parent, text, painter) {
    const from = parent.drawn ?? 0;
    if (text.length > from) painter.put(parent, text.slice(from), from, text.length);
    painter.flush();
    parent.drawn = text.length;
  }

  drawHead() {
    const { answer } = this;
    const point = answer.usage?.moe?.operating_point ?? answer.served ?? answer.asked;
    const parts = [];
    if (point) parts.push(element("span", "chip", point));
    const degraded = answer.usage?.moe?.degraded_tokens ?? 0;
    if (degraded > 0) {
      const chip = element("span", "chip warm", `${count(degraded)} degraded`);
      chip.title = "Tokens that ran at a cheaper operating point because the server was under pressure";
      parts.push(chip);
    }
    if (answer.status === "waiting") parts.push(element("span", "faint pulse", "Waiting for the first token"));
    if (answer.status === "stopped") parts.push(element("span", "faint", "Stopped"));
    if (answer.finish === "length") parts.push(element("span", "faint", "Cut off at the limit of tokens"));
    this.head.replaceChildren(...parts);
    this.head.hidden = parts.length === 0;
  }

  drawTools() {
    this.tools.hidden = this.answer.tools.length === 0;
    this.tools.replaceChildren(
      ...this.answer.tools.filter(Boolean).map((tool) => {
        const made = element("div", "tool");
        const title = element("div", "tool-name", "Calls ");
        title.append(element("code", "", tool.name || "a tool"));
        let text = tool.arguments;
        try {
          text = JSON.stringify(JSON.parse(text), null, 2);
        } catch {
          // Not whole yet, or not JSON: shown as it came.
        }
        const body = element("pre", "plain", text);
        body.tabIndex = 0;
        body.setAttribute("aria-label", "Arguments");
        made.append(title, body);
        return made;
      }),
    );
  }

  drawNotice() {
    const { failure } = this.answer;
    this.notice.hidden = !failure;
    if (!failure) return this.notice.removeAttribute("role");
    if (this.notice.shown === failure) return;
    this.notice.shown = failure;
    this.notice.setAttribute("role", "alert");
    const text = element("p", "", failure.message);
    const facts = [failure.status && `status ${failure.status}`, failure.code || failure.type, failure.requestID && `request ${failure.requestID}`];
    const detail = element("p", "faint", facts.filter(Boolean).join(" · "));
    if (failure.retryAfter) text.append(` Try again in ${Math.ceil(failure.retryAfter)} s.`);
    this.notice.replaceChildren(text, detail);
  }

  drawFigures() {
    const { answer } = this;
    const moe = answer.usage?.moe;
    const rows = [["tokens", count(answer.completionTokens), "Tokens generated"]];
    if (answer.speed) rows.push(["tokens/s", rate(answer.speed), "Tokens generated per second"]);
    if (answer.firstToken !== null) rows.push(["first", seconds(answer.firstToken), "Time to the first token, as seen here"]);
    if (answer.meanExperts !== null) rows.push(["experts", experts(answer.meanExperts), "Experts per token and layer, mean"]);
    if (typeof moe?.saved_fraction === "number") {
      rows.push(["saved", percent(moe.saved_fraction), "Share of the model's own expert evaluations that were not needed"]);
    }
    if (moe?.budget !== undefined) rows.push(["budget", count(moe.budget), "Limit of expert evaluations"]);
    if (typeof moe?.cost_usd === "number") rows.push(["cost", dollars(moe.cost_usd), "At the configured price of a core hour"]);
    this.figures.hidden = answer.pieces === 0 && !answer.usage;
    this.figures.replaceChildren(
      ...rows.map(([label, value, title]) => {
        const made = element("div");
        made.title = title;
        made.append(element("dt", "", label), element("dd", "", value));
        return made;
      }),
    );
    const bars = histogram(moe?.histogram);
    if (bars) {
      const made = element("div", "spread");
      made.append(element("dt", "", "spread"), element("dd"));
      made.lastChild.append(bars);
      this.figures.append(made);
    }
  }
}

/** Small bars of how often a token in a layer had k experts; null without figures. */
export function histogram(values) {
  if (!Array.isArray(values)) return null;
  const total = values.reduce((sum, value) => sum + value, 0);
  if (!(total > 0)) return null;
  const from = values[0] > 0 ? 0 : 1;
  const bars = element("span", "bars");
  const most = Math.max(...values);
  const told = [];
  for (let k = from; k < values.length; k++) {
    const bar = element("span");
    bar.style.height = `${values[k] ? Math.max(6, (100 * values[k]) / most) : 0}%`;
    bars.append(bar);
    told.push(`${k}: ${percent(values[k] / total)}`);
  }
  bars.setAttribute("role", "img");
  bars.setAttribute("aria-label", `Experts per token. ${told.join(", ")}`);
  bars.title = `Experts per token and layer\n${told.join("\n")}`;
  return bars;
}
