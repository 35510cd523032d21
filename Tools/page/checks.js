// SPDX-License-Identifier: Apache-2.0
// What a person with little sight, or without a pointer, would stumble over. Run in the page; returns a list of complaints.
(() => {
  const wrong = [];
  const shown = (node) => node.checkVisibility({ opacityProperty: true, visibilityProperty: true });
  const name = (node) => `${node.localName}${node.id ? "#" + node.id : ""}${node.className && typeof node.className === "string" ? "." + node.className.trim().replaceAll(" ", ".") : ""}`;

  const channels = (text) => {
    const numbers = text.match(/[\d.]+(?:e-?\d+)?%?/g).map((part) => parseFloat(part));
    if (text.startsWith("color(srgb")) return [numbers[0] * 255, numbers[1] * 255, numbers[2] * 255, numbers[3] ?? 1];
    if (!text.startsWith("rgb")) throw new Error(`unknown colour ${text}`);
    return [numbers[0], numbers[1], numbers[2], numbers[3] ?? 1];
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  const background = (node) => {
    const layers = [];
    for (let at = node; at; at = at.parentElement) {
      const colour = channels(getComputedStyle(at).backgroundColor);
      if (colour[3] > 0) layers.push(colour);
      if (colour[3] === 1 || at.localName === "dialog") break;
    }
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255, 1]);
  };
  const luminance = (colour) => {
    const [r, g, b] = colour.slice(0, 3).map((value) => (value <= 10.31475 ? value / 3294.6 : ((value / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };

  const open = document.querySelector("dialog[open]");
  const root = open ?? document.body;
  const texts = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  const seen = new Set();
  while (texts.nextNode()) {
    const node = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || seen.has(node) || !shown(node) || node.closest(".unseen, .skip, noscript, option")) continue;
    seen.add(node);
    const style = getComputedStyle(node);
    const below = background(node);
    const [a, b] = [luminance(over(channels(style.color), below)), luminance(below)].sort((x, y) => y - x);
    const size = parseFloat(style.fontSize);
    const needed = size >= 24 || (size >= 18.66 && parseInt(style.fontWeight, 10) >= 700) ? 3 : 4.5;
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast < needed) wrong.push(`contrast ${contrast.toFixed(2)} of ${name(node)}: ${node.textContent.slice(0, 30)}`);
  }

  for (const node of root.querySelectorAll("button, select, input, textarea, summary")) {
    if (!shown(node)) continue;
    const box = (node.type === "checkbox" ? node.closest("label") : node).getBoundingClientRect();
    if (box.height < 24 && node.localName !== "summary" && node.type !== "range") wrong.push(`${name(node)} is ${box.height} high`);
    if (box.width < 24) wrong.push(`${name(node)} is ${box.width} wide`);
  }
  for (const node of root.querySelectorAll("[tabindex]")) if (node.tabIndex > 0) wrong.push(`${name(node)} jumps the order of focus`);
  for (const node of root.querySelectorAll("pre, .table, .log")) {
    if (shown(node) && node.scrollWidth > node.clientWidth + 1 && node.tabIndex < 0 && !node.matches(".log")) wrong.push(`${name(node)} scrolls without a keyboard`);
  }
  const ids = [...document.querySelectorAll("[id]")].map((node) => node.id);
  for (const id of new Set(ids.filter((id, i) => ids.indexOf(id) !== i))) wrong.push(`id ${id} twice`);
  for (const kind of ["aria-labelledby", "aria-describedby", "aria-controls"]) {
    for (const node of document.querySelectorAll(`[${kind}]`)) {
      for (const id of node.getAttribute(kind).split(" ")) if (!document.getElementById(id)) wrong.push(`${kind} of ${name(node)}: no ${id}`);
    }
  }
  for (const label of document.querySelectorAll("label[for]")) if (!document.getElementById(label.htmlFor)) wrong.push(`label for ${label.htmlFor}`);
  for (const [selector, count] of [["main", 1], ["header", 1], ["aside[aria-label]", 1], ["h1", 1]]) {
    if (document.querySelectorAll(selector).length !== count) wrong.push(`${selector}: not ${count}`);
  }
  for (const node of document.querySelectorAll("[style]")) {
    if (!node.style.length) wrong.push(`empty style of ${name(node)}`);
  }
  if (!document.documentElement.lang) wrong.push("no language");
  if (!document.title) wrong.push("no title");

  // Nothing may make the page itself scroll sideways.
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth > width) wrong.push(`the page is ${document.documentElement.scrollWidth} wide, the window ${width}`);
  for (const node of root.querySelectorAll("*")) {
    if (!shown(node) || node.closest(".unseen, .skip, pre, .table, .stops, svg, .legend-ticks, dialog:not([open]), .plain")) continue;
    const box = node.getBoundingClientRect();
    if (box.width > 0 && box.right > width + 1) wrong.push(`${name(node)} ends at ${Math.round(box.right)} of ${width}`);
  }
  return wrong;
})();
