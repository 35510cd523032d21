// SPDX-License-Identifier: Apache-2.0
// What a person sets: the drawer's fields and the compute of the next answer. Kept in this browser, but for the key.

import { key } from "./api.js";
import { element } from "./render.js";

const STORE = "moe-infer.settings";
const $ = (id) => document.getElementById(id);

export const store = {
  read(name) {
    try {
      return JSON.parse(localStorage.getItem(name));
    } catch {
      return null;
    }
  },
  /** Whether it could be kept: storage may be full or forbidden. */
  write(name, value) {
    try {
      if (value === null) localStorage.removeItem(name);
      else localStorage.setItem(name, JSON.stringify(value));
      return true;
    } catch {
      return false;
    }
  },
};

export class Settings {
  values = { ...store.read(STORE) };

  constructor() {
    for (const field of document.querySelectorAll("[data-setting]")) {
      const name = field.dataset.setting;
      if (field.type === "checkbox") field.checked = this.values[name] === true;
      else if (typeof this.values[name] === "string") field.value = this.values[name];
      field.addEventListener("input", () => {
        this.values[name] = field.type === "checkbox" ? field.checked : field.value;
        store.write(STORE, this.values);
        if (name === "tools") this.tools();
      });
    }
    $("key").addEventListener("change", () => key.set($("key").value.trim()));
    $("open-settings").addEventListener("click", () => {
      $("key").value = key.get();
      $("settings").showModal();
    });
    $("settings").addEventListener("click", (event) => {
      if (event.target === $("settings")) $("settings").close();
    });
  }

  /** Also sets what the model lets one set. */
  offer(models) {
    const select = document.querySelector('[data-setting="model"]');
    select.replaceChildren(...models.map((model) => new Option(model.id, model.id)));
    $("model-field").hidden = models.length < 2;
    if (models.some((model) => model.id === this.values.model)) select.value = this.values.model;
    return models.find((model) => model.id === select.value) ?? models[0];
  }

  number(name) {
    const text = this.values[name];
    const value = typeof text === "string" && text.trim() !== "" ? Number(text) : NaN;
    return Number.isFinite(value) ? value : undefined;
  }

  tools() {
    const text = this.values.tools?.trim();
    $("tools-error").hidden = true;
    if (!text) return undefined;
    try {
      const tools = JSON.parse(text);
      if (Array.isArray(tools)) return tools.length ? tools : undefined;
      throw new Error("an array is expected");
    } catch (error) {
      $("tools-error").textContent = `Not used: ${error.message}.`;
      $("tools-error").hidden = false;
      return undefined;
    }
  }

  /** A request of the API: `messages`, and what is set. `point`: null for the server's default. */
  request(model, messages, point, seed) {
    const system = this.values.system?.trim();
    const body = {
      model: model?.id,
      messages: system ? [{ role: "system", content: this.values.system }, ...messages] : messages,
      stream: true,
      stream_options: { include_usage: true },
      max_tokens: this.number("maxTokens"),
      temperature: this.number("temperature"),
      top_p: this.number("topP"),
      seed: seed ?? this.number("seed"),
      tools: this.tools(),
    };
    if (model?.moe) {
      const moe = { routing: point ?? undefined, max_experts: this.number("maxExperts"), budget: this.number("budget") };
      if (Object.values(moe).some((value) => value !== undefined)) body.moe = moe;
    }
    return body;
  }
}

/** The usual points from least to most compute; others follow in the server's order. */
const ORDER = ["fast", "balanced", "parity", "exact"];

const told = ({ description, mean_experts: mean }) =>
  [description, typeof mean === "number" ? `${mean.toFixed(2)} experts per token` : ""].filter(Boolean).join("; ");

export class Compute {
  points = [];
  /** The point of the next answer; null: the server's default. */
  point = null;

  constructor() {
    $("slider").addEventListener("input", () => this.choose(this.points[$("slider").valueAsNumber].name));
    // A click on the thumb where it stands chooses that point, too.
    $("slider").addEventListener("click", () => this.choose(this.points[$("slider").valueAsNumber].name));
    $("default").addEventListener("click", () => this.choose(null));
    for (const id of ["left", "right"]) $(id).addEventListener("change", () => store.write("moe-infer.pair", this.pair));
  }

  offer(model) {
    const rank = (point) => (ORDER.includes(point.name) ? ORDER.indexOf(point.name) : ORDER.length);
    this.points = [...(model?.moe?.operating_points ?? [])].sort((a, b) => rank(a) - rank(b));
    this.byDefault = model?.moe?.default ?? "";
    $("slider").max = Math.max(0, this.points.length - 1);
    $("stops").replaceChildren(
      ...this.points.map((point, i) => {
        const stop = element("span", "", point.name);
        stop.style.setProperty("--at", this.points.length > 1 ? i / (this.points.length - 1) : 0);
        stop.title = told(point);
        stop.addEventListener("click", () => this.choose(point.name));
        return stop;
      }),
    );
    const saved = store.read("moe-infer.pair");
    for (const [id, wanted, fallback] of [["left", saved?.[0], this.points.at(-1)?.name], ["right", saved?.[1], this.points[0]?.name]]) {
      $(id).replaceChildren(...this.points.map((point) => new Option(point.name, point.name)));
      $(id).value = this.points.some((point) => point.name === wanted) ? wanted : fallback;
    }
    const last = store.read("moe-infer.point");
    this.choose(this.points.some((point) => point.name === last) ? last : null);
  }

  get pair() {
    return [$("left").value, $("right").value];
  }

  choose(name) {
    this.point = name;
    store.write("moe-infer.point", name);
    const shown = this.points.findIndex((point) => point.name === name);
    const standing = this.points.findIndex((point) => point.name === this.byDefault);
    const place = shown >= 0 ? shown : standing >= 0 ? standing : Math.floor((this.points.length - 1) / 2);
    $("slider").value = Math.max(0, place);
    $("slider").style.setProperty("--fill", this.points.length > 1 ? place / (this.points.length - 1) : 0);
    const point = this.points[shown];
    const text = point ? `${point.name}: ${told(point)}` : `the server's default, ${this.byDefault}`;
    $("slider").setAttribute("aria-valuetext", text);
    $("slider").title = text;
    $("compute").classList.toggle("unset", !point);
    $("default").setAttribute("aria-pressed", String(!point));
    $("default").title = `Let the server choose${this.byDefault ? ` (${this.byDefault})` : ""}`;
    [...$("stops").children].forEach((stop, i) => stop.classList.toggle("chosen", i === shown));
  }
}
