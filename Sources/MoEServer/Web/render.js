// SPDX-License-Identifier: Apache-2.0
// Draws an answer: Markdown as elements, tokens in colour. Nothing is ever parsed as HTML: only elements and text nodes are made.
//
// While the text grows, blocks that are complete keep their elements; only the last one is drawn again, and open code only grows.

import { STEPS, stepOf } from "./colours.js";
import { experts } from "./format.js";
import { inline } from "./inline.js";
import { parseBlocks } from "./markdown.js";

const MAX_EMPHASIS = 24;
/** Above this many tokens, neighbours of one colour share an element. */
const MANY_TOKENS = 20000;

export function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

/** Which token each part of a text came from: ends of tokens in it (UTF-16 units), and experts per token of each. */
export class Tokens {
  ends = [];
  experts = [];

  add(end, k) {
    this.ends.push(end);
    this.experts.push(k);
  }

  /** The first token that ends after `offset`. */
  indexAt(offset) {
    let low = 0;
    let high = this.ends.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.ends[middle] > offset) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}

/** Puts text into elements, in one piece or a coloured element for each token. */
export class Painter {
  constructor(tokens, mostExperts) {
    this.tokens = tokens;
    this.mostExperts = mostExperts;
    this.coloured = false;
    this.target = null;
    this.parts = [];
  }

  /** To be called before anything else is added to the element that text was put into, and at the end. */
  flush() {
    if (!this.target) return;
    const last = this.target.lastChild;
    const text = this.parts.join("");
    if (last?.nodeType === Node.TEXT_NODE) last.appendData(text);
    else this.target.append(document.createTextNode(text));
    this.target = null;
    this.parts = [];
  }

  /** Appends `shown`, which stands for [a, b) of the source. */
  put(parent, shown, a, b) {
    if (!this.coloured) {
      // In one piece: to add to a text node copies all of it.
      if (this.target !== parent) this.flush();
      this.target = parent;
      this.parts.push(shown);
      return;
    }
    const { ends, experts: values } = this.tokens;
    const exact = shown.length === b - a;
    let index = this.tokens.indexAt(a);
    if (!exact) return void parent.append(this.piece(shown, index));
    let at = a;
    while (at < b) {
      const first = index;
      let to = Math.min(index < ends.length ? ends[index] : b, b);
      if (ends.length > MANY_TOKENS) {
        while (to < b && index + 1 < ends.length && this.step(values[index + 1]) === this.step(values[first])) {
          index += 1;
          to = Math.min(ends[index], b);
        }
      }
      parent.append(this.piece(shown.slice(at - a, to - a), first));
      at = to;
      index += 1;
    }
  }

  step(k) {
    return k === null || k === undefined ? -1 : stepOf(k, this.mostExperts);
  }

  piece(text, index) {
    const k = this.tokens.experts[index];
    const step = this.step(k);
    if (step < 0 || step >= STEPS) return document.createTextNode(text);
    const span = element("span", `k c${step}`, text);
    span.title = `${experts(k)} experts`;
    span.dataset.k = experts(k);
    return span;
  }
}

export class MarkdownView {
  /** Draws into `root`. */
  constructor(root, painter) {
    this.root = root;
    this.painter = painter;
    this.reset();
  }

  reset() {
    this.last = [];
    this.from = 0;
    this.root.replaceChildren();
  }

  /** Draws `source`, which begins with what was drawn before. Only the last block can still change, so only that is read again. */
  update(source, streaming) {
    const fresh = parseBlocks(source, this.from, streaming);
    this.sync(this.root, this.last, fresh);
    this.last = fresh.slice(-1);
    if (fresh.length) this.from = fresh[fresh.length - 1].s;
  }

  /** Makes the last children of `parent`, which `old` drew, those of `fresh`, and keeps what did not change. */
  sync(parent, old, fresh) {
    const offset = parent.childNodes.length - old.length;
    fresh.forEach((block, i) => {
      const before = old[i];
      if (before && before.type === block.type && before.key === block.key && before.s === block.s) {
        block.dom = before.dom;
        if (before.e !== block.e || before.tail || block.tail) this.redraw(block, before);
        else fresh[i] = before;
        return;
      }
      block.dom = this.draw(block);
      const present = parent.childNodes[offset + i];
      if (present) present.replaceWith(block.dom);
      else parent.append(block.dom);
    });
    while (parent.childNodes.length > offset + fresh.length) parent.lastChild.remove();
  }

  draw(block) {
    switch (block.type) {
      case "rule":
        return element("hr");
      case "heading": {
        // The page has its own headings above these.
        const made = element(`h${Math.min(block.key + 2, 6)}`, `level${block.key}`);
        this.fill(made, block.lines, block.tail);
        return made;
      }
      case "paragraph": {
        const made = element("p");
        this.fill(made, block.lines, block.tail);
        return made;
      }
      case "code":
        return this.drawCode(block);
      case "row": {
        const made = element("tr");
        this.fillRow(made, block);
        return made;
      }
      case "table": {
        const made = element("div", "table");
        made.tabIndex = 0;
        made.setAttribute("role", "region");
        made.setAttribute("aria-label", "Table");
        const body = element("tbody");
        const table = element("table");
        table.append(body);
        made.append(table);
        this.sync(body, [], block.children);
        return made;
      }
      default: {
        const name = { quote: "blockquote", item: "li", list: block.ordered ? "ol" : "ul" }[block.type];
        const made = element(name, block.loose ? "loose" : "");
        if (block.ordered && block.start !== 1) made.start = block.start;
        this.sync(made, [], block.children);
        return made;
      }
    }
  }

  redraw(block, before) {
    if (block.type === "heading" || block.type === "paragraph") {
      block.dom.replaceChildren();
      this.fill(block.dom, block.lines, block.tail);
    } else if (block.type === "row") {
      block.dom.replaceChildren();
      this.fillRow(block.dom, block);
    } else if (block.type === "code") this.redrawCode(block, before);
    else if (block.type === "table") this.sync(block.dom.firstChild.firstChild, before.children, block.children);
    else if (block.children) {
      block.dom.classList.toggle("loose", block.loose === true);
      this.sync(block.dom, before.children, block.children);
    }
  }

  fillRow(row, block) {
    block.cells.forEach((cell, i) => {
      const made = element(block.key, block.align[i] === "left" ? "" : block.align[i]);
      if (block.key === "th") made.scope = "col";
      this.fill(made, [cell], block.tail && i === block.cells.length - 1);
      row.append(made);
    });
  }

  drawCode(block) {
    const made = element("div", "code");
    const bar = element("div", "code-bar");
    bar.append(element("span", "language", block.key));
    const copy = element("button", "quiet", "Copy");
    copy.type = "button";
    copy.dataset.action = "copy-code";
    copy.setAttribute("aria-label", `Copy ${block.key || "this"} code`);
    bar.append(copy);
    const pre = element("pre");
    pre.tabIndex = 0;
    pre.setAttribute("aria-label", block.key ? `Code, ${block.key}` : "Code");
    pre.setAttribute("role", "region");
    pre.append(element("code"));
    made.append(bar, pre);
    this.putCode(pre.firstChild, block, 0);
    return made;
  }

  redrawCode(block, before) {
    const code = block.dom.lastChild.firstChild;
    const text = block.lines.map((line) => line.text).join("\n");
    if (text.startsWith(before.text)) {
      block.text = text;
      const added = text.length - before.text.length;
      // The lines that were there are a prefix: only what follows is put.
      if (added > 0) this.putCode(code, block, before.text.length);
      return;
    }
    code.replaceChildren();
    this.putCode(code, block, 0);
  }

  /** Puts the text of code from offset `skip` of it on. */
  putCode(parent, block, skip) {
    let at = 0;
    block.lines.forEach((line, i) => {
      if (i > 0) {
        if (at >= skip) this.painter.put(parent, "\n", line.at - 1, line.at);
        at += 1;
      }
      const from = Math.max(0, skip - at);
      if (from < line.text.length) this.painter.put(parent, line.text.slice(from), line.at + from, line.at + line.text.length);
      at += line.text.length;
    });
    this.painter.flush();
    block.text = block.lines.map((line) => line.text).join("\n");
  }

  /** Fills `parent` with what `lines` say. */
  fill(parent, lines, open) {
    const text = lines.map((line) => line.text).join("\n");
    const starts = [];
    let offset = 0;
    for (const line of lines) {
      starts.push(offset);
      offset += line.text.length + 1;
    }
    let line = 0;
    const place = (index) => {
      while (line + 1 < starts.length && starts[line + 1] <= index) line += 1;
      return lines[line].at + index - starts[line];
    };
    // Apart from the page. (Direction is the style sheet's: with dir="auto", each addition looks through the whole paragraph.)
    const apart = document.createDocumentFragment();
    const stack = [apart];
    let skipped = 0;
    let inLink = false;
    for (const event of inline(text, open)) {
      const top = stack[stack.length - 1];
      if (event.t !== "text") this.painter.flush();
      switch (event.t) {
        case "text":
          this.painter.put(top, event.show ?? text.slice(event.a, event.b), place(event.a), place(event.a) + event.b - event.a);
          break;
        case "code": {
          const made = element("code");
          text.slice(event.a, event.b).split("\n").reduce((at, piece, i) => {
            if (i > 0) this.painter.put(made, " ", place(at - 1), place(at - 1) + 1);
            if (piece) this.painter.put(made, piece, place(at), place(at) + piece.length);
            return at + piece.length + 1;
          }, event.a);
          top.append(made);
          break;
        }
        case "break":
          top.append(element("br"));
          break;
        case "open":
          if (stack.length > MAX_EMPHASIS) skipped += 1;
          else {
            const made = element(event.tag);
            top.append(made);
            stack.push(made);
          }
          break;
        case "close":
          if (skipped > 0) skipped -= 1;
          else if (stack.length > 1 && top.localName === event.tag) stack.pop();
          break;
        case "link":
          if (!inLink) {
            const made = anchor(event.href);
            top.append(made);
            stack.push(made);
            if (event.image) made.append(document.createTextNode("Image: "));
            inLink = true;
          }
          break;
        case "endlink":
          while (inLink && stack.length > 1) if (stack.pop().localName === "a") inLink = false;
          break;
      }
    }
    this.painter.flush();
    parent.append(apart);
  }
}

function anchor(href) {
  const made = element("a");
  made.href = href;
  made.rel = "noopener noreferrer nofollow ugc";
  made.target = "_blank";
  made.referrerPolicy = "no-referrer";
  // What the link says and where it goes need not agree.
  made.title = href;
  return made;
}
