// SPDX-License-Identifier: Apache-2.0
// The live side: load once a second, the map of experts every two. Only while somebody can see it.

import { histogram } from "./answer.js";
import { read } from "./api.js";
import { isDark, shade } from "./colours.js";
import { count, dollars, experts, figure, percent, rate, seconds } from "./format.js";
import { element } from "./render.js";

const $ = (id) => document.getElementById(id);
const SAMPLES = 60;
const HOW = "Layers down, experts across. Point at a cell, or use the arrow keys.";

export class Panel {
  rates = [];
  view = "recent";
  map = null;
  cell = null;

  /** `pressed(status)` is told every status; `refused(failure)` a 401. */
  constructor({ status, refused }) {
    this.onStatus = status;
    this.onRefused = refused;
    document.addEventListener("visibilitychange", () => this.wake());
    for (const button of document.querySelectorAll("[data-view]")) {
      button.addEventListener("click", () => {
        this.view = button.dataset.view;
        for (const other of document.querySelectorAll("[data-view]")) other.setAttribute("aria-pressed", String(other === button));
        this.drawMap();
      });
    }
    const map = $("map");
    map.addEventListener("pointermove", (event) => this.point(event));
    map.addEventListener("pointerleave", () => this.select(null));
    map.addEventListener("blur", () => this.select(null));
    map.addEventListener("keydown", (event) => this.move(event));
    new ResizeObserver(() => this.drawMap()).observe(map);
  }

  get open() {
    return !$("panel").hidden;
  }

  show(on) {
    $("panel").hidden = !on;
    $("load").setAttribute("aria-pressed", String(on));
    if (on) this.wake();
  }

  /** Asks at once, and then every second. */
  wake() {
    clearTimeout(this.timer);
    if (!document.hidden && !this.asking) this.tick();
  }

  async tick() {
    this.asking = true;
    let wait = 1000;
    try {
      const wantsMap = this.open && !$("experts").hidden && !(this.mapTime > Date.now() - 1900);
      if (wantsMap) this.mapTime = Date.now();
      const [status, map] = await Promise.all([read("/moe/status"), wantsMap ? read("/moe/heatmap") : null]);
      this.rates.push(status.tokens_per_second ?? 0);
      if (this.rates.length > SAMPLES) this.rates.shift();
      this.drawStatus(status);
      this.onStatus(status);
      if (map) {
        this.map = map;
        this.drawMap();
      }
    } catch (failure) {
      if (failure.status === 401) {
        this.asking = false;
        return this.onRefused(failure);
      }
      wait = 4000;
      this.onStatus(null);
    }
    this.asking = false;
    clearTimeout(this.timer);
    if (!document.hidden) this.timer = setTimeout(() => this.tick(), wait);
  }

  drawStatus(status) {
    const queued = (status.waiting ?? 0) + (status.queued ?? 0);
    $("rate").textContent = rate(status.tokens_per_second);
    $("prompt-rate").textContent = rate(status.prompt_tokens_per_second);
    $("running").textContent = count(status.running);
    $("queued").textContent = count(queued);
    const { free = 0, cached = 0, total = 0 } = status.blocks ?? {};
    const used = Math.max(0, total - free - cached);
    const share = total > 0 ? used / total : 0;
    $("blocks-text").textContent = `${count(used)} used, ${count(cached)} cached of ${count(total)}`;
    $("blocks").setAttribute("aria-valuenow", Math.round(share * 100));
    $("blocks").setAttribute("aria-valuetext", $("blocks-text").textContent);
    $("blocks").children[0].style.width = `${share * 100}%`;
    $("blocks").children[1].style.width = `${total > 0 ? (cached / total) * 100 : 0}%`;
    $("step").textContent = `${seconds(status.step_seconds?.p50)}, ${seconds(status.step_seconds?.p99)}`;
    $("level").textContent = status.pressure > 0 ? `level ${figure(status.pressure)}` : "none";
    const { completed, refused, failed } = status.requests ?? {};
    $("requests").textContent = [completed, refused, failed].map(count).join(", ");
    $("cost-all").textContent = status.price_per_core_hour > 0 ? dollars(status.cost_usd) : "no price set";
    $("cost-all").title = status.price_per_core_hour > 0 ? `${dollars(status.price_per_core_hour)} per core hour` : "";
    this.drawSpark();
  }

  drawSpark() {
    const most = Math.max(1, ...this.rates);
    const points = this.rates.map((value, i) => {
      const x = 240 - ((this.rates.length - 1 - i) * 240) / (SAMPLES - 1);
      return `${x.toFixed(1)} ${(37 - (34 * value) / most).toFixed(1)}`;
    });
    const [area, line] = $("spark").children;
    line.setAttribute("d", points.length > 1 ? `M${points.join("L")}` : "");
    const left = points[0]?.split(" ")[0];
    area.setAttribute("d", points.length > 1 ? `M${points.join("L")}L240 40L${left} 40Z` : "");
    $("spark").setAttribute("aria-label", `Tokens per second: now ${rate(this.rates.at(-1))}, most of the last minute ${rate(most)}`);
  }

  /** Of each cell: the share of its layer's tokens, in fair shares (1: as many as every other), for the chosen view. */
  cells() {
    const fair = (values) => {
      const total = values.reduce((sum, value) => sum + value, 0);
      return values.map((value) => (total > 0 ? (value * values.length) / total : 0));
    };
    return (this.map?.layers ?? []).map((layer) => {
      const [total, recent] = [fair(layer.experts ?? []), fair(layer.recent ?? [])];
      if (this.view === "total") return total;
      return this.view === "recent" ? recent : recent.map((value, i) => (total[i] > 0 ? value - total[i] : 0));
    });
  }

  drawMap() {
    const canvas = $("map");
    const cells = this.cells();
    const columns = Math.max(0, ...cells.map((row) => row.length));
    $("experts").classList.toggle("unused", !columns);
    if (!columns) $("map-text").textContent = "No token has been computed yet.";
    if (!columns || !canvas.clientWidth) return;
    if (!this.cell) $("map-text").textContent = HOW;
    const width = canvas.clientWidth;
    const height = Math.round(Math.min(Math.max((width / columns) * cells.length, cells.length * 14, 60), 320));
    const density = window.devicePixelRatio || 1;
    canvas.style.height = `${height}px`;
    canvas.width = Math.round(width * density);
    canvas.height = Math.round(height * density);
    const context = canvas.getContext("2d");
    const dark = isDark();
    const changes = this.view === "change";
    const most = Math.max(2, ...cells.flat());
    const [w, h] = [canvas.width / columns, canvas.height / cells.length];
    const gap = w > 8 && h > 8 ? density : 0;
    cells.forEach((row, y) =>
      row.forEach((value, x) => {
        context.fillStyle = shade(changes ? "change" : "share", changes ? 0.5 + value / 4 : value / most, dark);
        const [left, top] = [Math.round(x * w), Math.round(y * h)];
        context.fillRect(left, top, Math.round((x + 1) * w) - left - gap, Math.round((y + 1) * h) - top - gap);
      }),
    );
    if (this.cell) {
      const [x, y] = this.cell;
      context.strokeStyle = dark ? "#fff" : "#000";
      context.lineWidth = 1.5 * density;
      context.strokeRect(x * w, y * h, w - gap, h - gap);
    }
    this.drawScale(most, dark, changes);
    this.describe(cells);
    $("mean").textContent = this.map.mean_experts === null ? "–" : `mean ${experts(this.map.mean_experts)}`;
    const bars = histogram(this.map.histogram);
    const labels = element("div", "spread-labels");
    labels.setAttribute("aria-hidden", "true");
    const first = this.map.histogram?.[0] > 0 ? 0 : 1;
    labels.append(...(this.map.histogram ?? []).slice(first).map((_, i) => element("span", "", String(first + i))));
    $("spread").replaceChildren(...(bars ? [bars, labels] : []));
  }

  drawScale(most, dark, changes) {
    const context = $("scale").getContext("2d");
    for (let x = 0; x < 120; x++) {
      context.fillStyle = shade(changes ? "change" : "share", x / 119, dark);
      context.fillRect(x, 0, 1, 8);
    }
    $("scale-low").textContent = changes ? "less" : "0";
    $("scale-high").textContent = changes ? "more" : `${figure(most, 2)}× a fair share`;
  }

  describe(cells) {
    const places = cells.flatMap((row, y) => row.map((value, x) => [value, y, x])).sort((a, b) => b[0] - a[0]);
    const busiest = places.slice(0, 3).filter(([value]) => value > 0).map(([, y, x]) => `expert ${x} of layer ${this.map.layers[y].layer}`);
    const names = { recent: "of late", total: "since the start", change: "more than before" };
    $("map").setAttribute(
      "aria-label",
      `Experts by layer, ${cells.length} layers. Busiest ${names[this.view]}: ${busiest.join(", ") || "none yet"}. Arrow keys read cells.`,
    );
  }

  point(event) {
    const box = $("map").getBoundingClientRect();
    const cells = this.cells();
    const y = Math.floor(((event.clientY - box.top) / box.height) * cells.length);
    const x = Math.floor(((event.clientX - box.left) / box.width) * (cells[0]?.length ?? 0));
    this.select(cells[y]?.[x] === undefined ? null : [x, y], "off");
  }

  move(event) {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!step || !this.map?.layers?.length) return;
    event.preventDefault();
    const rows = this.map.layers;
    const [x, y] = this.cell ?? [-step[0], -step[1]];
    const row = Math.min(Math.max(y + step[1], 0), rows.length - 1);
    this.select([Math.min(Math.max(x + step[0], 0), rows[row].experts.length - 1), row], "polite");
  }

  select(cell, live = "off") {
    this.cell = cell;
    $("map-text").setAttribute("aria-live", live);
    if (cell) {
      const [x, y] = cell;
      const layer = this.map.layers[y];
      const share = (values) => percent(values[x] / (values.reduce((sum, value) => sum + value, 0) || 1));
      $("map-text").textContent =
        `Layer ${layer.layer}, expert ${x}: ${share(layer.recent)} of late, ${share(layer.experts)} since the start (${count(layer.experts[x])} tokens)`;
    }
    this.drawMap();
  }
}
