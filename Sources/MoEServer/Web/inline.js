// SPDX-License-Identifier: Apache-2.0
// What is inside a paragraph, as a flat list of events: {t: "text", a, b, show?} (a, b: offsets into the text), {t: "open", tag},
// {t: "close", tag}, {t: "code", a, b}, {t: "link", href}, {t: "endlink"}, {t: "break"}. Emphasis follows CommonMark's rules.

const SPECIAL = /[\\`*_~[\]!<&\n]|https?:\/\//g;
const TARGET = /\([ \t\n]{0,8}(<[^<>\n]{0,2000}>|[^\s()<>]{0,2000}(?:\([^\s()<>]{0,500}\)[^\s()<>]{0,500}){0,4})(?:[ \t\n]{1,8}(?:"[^"\n]{0,500}"|'[^'\n]{0,500}'))?[ \t\n]{0,8}\)/y;
const OPEN_TARGET = /\((?:[^\s()]|\([^\s()]*\)){0,2000}$/y;
const AUTOLINK = /<(https?:\/\/[^\s<>]{1,2000})>/y;
const BARE = /https?:\/\/[^\s<>"'`|\\^{}[\]]{1,2000}/y;
const ENTITY = /&(amp|lt|gt|quot|apos|nbsp|#39|#x27);/y;
const ENTITIES = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0", "#39": "'", "#x27": "'" };
const ESCAPABLE = /[\\`*_{}[\]#+\-.!|~<>&$]/;
const PUNCTUATION = /[\p{P}\p{S}]/u;

/** The address if it may be a link: http or https with a host, whole; else null. */
export function safeAddress(text) {
  try {
    const url = new URL(text);
    return (url.protocol === "https:" || url.protocol === "http:") && url.hostname ? url.href : null;
  } catch {
    return null;
  }
}

const at = (expression, text, index) => {
  expression.lastIndex = index;
  return expression.exec(text);
};

/** Events of `text`. `open`: more text follows, so what is unclosed at the end counts as closed there. */
export function inline(text, open) {
  const events = [];
  const delimiters = [];
  const brackets = [];
  const runs = backtickRuns(text);
  let end = text.length;
  if (open) end -= /[*_~`!\\]*$/.exec(text.slice(-64))[0].length;
  let plain = 0;
  let held = -1;
  const flush = (to) => {
    if (to > plain) events.push({ t: "text", a: plain, b: to });
  };
  let i = 0;
  while (i < end) {
    SPECIAL.lastIndex = i;
    const found = SPECIAL.exec(text);
    if (!found || found.index >= end) break;
    i = found.index;
    const ch = text[i];
    let next = i + 1;
    let emit = null;
    if (ch === "\n") emit = [{ t: "break" }];
    else if (ch === "\\") {
      if (text[i + 1] === "\n") emit = [];
      else if (i + 1 < text.length && ESCAPABLE.test(text[i + 1])) {
        next = i + 2;
        emit = [{ t: "text", a: i, b: next, show: text[i + 1] }];
      }
    } else if (ch === "`") {
      let n = 1;
      while (text[i + n] === "`") n += 1;
      const close = runs.next(n, i + n);
      if (close >= 0) {
        next = close + n;
        emit = [code(text, i + n, close)];
      } else if (open && n < 3) {
        next = end;
        emit = [{ t: "code", a: i + n, b: end }];
      } else next = i + n;
    } else if (ch === "*" || ch === "_" || ch === "~") {
      let n = 1;
      while (i + n < end && text[i + n] === ch) n += 1;
      next = i + n;
      if (ch !== "~" || n === 2) {
        const delimiter = flanks(text, i, next, ch);
        delimiters.push(delimiter);
        emit = [delimiter];
      }
    } else if (ch === "[" || (ch === "!" && text[i + 1] === "[")) {
      next = i + (ch === "!" ? 2 : 1);
      const mark = { t: "text", a: i, b: next };
      brackets.push({ mark, from: delimiters.length, image: ch === "!" });
      emit = [mark];
    } else if (ch === "]") {
      const bracket = brackets.pop();
      const target = bracket && text[i + 1] === "(" ? at(TARGET, text, i + 1) : null;
      const href = target && safeAddress(target[1].replace(/^<|>$/g, ""));
      if (href) {
        flush(i);
        plain = i;
        emphasise(delimiters, bracket.from);
        delimiters.length = bracket.from;
        Object.assign(bracket.mark, { t: "link", href, image: bracket.image });
        next = TARGET.lastIndex;
        emit = [{ t: "endlink" }];
        // A link holds no link.
        brackets.length = 0;
      } else if (open && bracket && (i + 1 === end || (text[i + 1] === "(" && at(OPEN_TARGET, text, i + 1)))) {
        held = bracket.mark.a;
        break;
      }
    } else if (ch === "<") {
      const link = at(AUTOLINK, text, i);
      const href = link && safeAddress(link[1]);
      if (href) {
        next = AUTOLINK.lastIndex;
        emit = linked(href, i + 1, next - 1);
      }
    } else if (ch === "&") {
      const entity = at(ENTITY, text, i);
      if (entity) {
        next = ENTITY.lastIndex;
        emit = [{ t: "text", a: i, b: next, show: ENTITIES[entity[1]] }];
      }
    } else if (ch === "h" && !/[\p{L}\p{N}_]/u.test(text[i - 1] ?? " ")) {
      const address = bareAddress(text, i);
      next = i + Math.max(address.length, 1);
      const href = safeAddress(address);
      if (href) emit = linked(href, i, next);
    }
    if (emit) {
      flush(i);
      plain = next;
      events.push(...emit);
    }
    i = next;
  }
  if (open && held < 0) {
    // What may become a link waits for a moment.
    const bracket = brackets[brackets.length - 1];
    if (bracket && end - bracket.mark.a < 80 && !text.slice(bracket.mark.a, end).includes("\n")) held = bracket.mark.a;
  }
  const stop = held < 0 ? end : held;
  flush(stop);
  emphasise(delimiters, 0);
  if (open) closeAtEnd(delimiters, text, stop, events);
  return flatten(held < 0 ? events : events.filter((event) => event.a === undefined || event.a < held), stop);
}

const linked = (href, a, b) => [{ t: "link", href, a }, { t: "text", a, b }, { t: "endlink", a }];

function code(text, a, b) {
  // One space on either side belongs to the marks, as in `` `a` ``.
  const inner = text.slice(a, b);
  if (inner.length > 2 && inner[0] === " " && inner[inner.length - 1] === " " && inner.trim()) return { t: "code", a: a + 1, b: b - 1 };
  return { t: "code", a, b };
}

function bareAddress(text, index) {
  const address = at(BARE, text, index)?.[0] ?? "";
  let depth = 0;
  for (const ch of address) depth += ch === "(" ? 1 : ch === ")" ? -1 : 0;
  // What ends the sentence is no part of it, nor a bracket that the sentence opened.
  let end = address.length;
  for (; end > 0; end--) {
    const last = address[end - 1];
    if (last === ")" && depth < 0) depth += 1;
    else if (!".,;:!?*_~".includes(last)) break;
  }
  return address.slice(0, end);
}

/** Where runs of backticks are, by length: finding the closing one must not take the whole text each time. */
function backtickRuns(text) {
  const places = new Map();
  for (const match of text.matchAll(/`+/g)) {
    const length = match[0].length;
    if (!places.has(length)) places.set(length, { list: [], used: 0 });
    places.get(length).list.push(match.index);
  }
  return {
    next(length, from) {
      const entry = places.get(length);
      if (!entry) return -1;
      while (entry.used < entry.list.length && entry.list[entry.used] < from) entry.used += 1;
      return entry.used < entry.list.length ? entry.list[entry.used] : -1;
    },
  };
}

function flanks(text, a, b, ch) {
  const before = a > 0 ? text[a - 1] : " ";
  const after = b < text.length ? text[b] : " ";
  const spaceBefore = /\s/.test(before);
  const spaceAfter = /\s/.test(after);
  const markBefore = PUNCTUATION.test(before);
  const markAfter = PUNCTUATION.test(after);
  const left = !spaceAfter && (!markAfter || spaceBefore || markBefore);
  const right = !spaceBefore && (!markBefore || spaceAfter || markAfter);
  const opens = ch === "_" ? left && (!right || markBefore) : left;
  const closes = ch === "_" ? right && (!left || markAfter) : right;
  return { t: "delimiter", a, b, ch, n: b - a, length: b - a, opens, closes, closing: [], opening: [] };
}

/** Matches delimiters from index `bottom` on, by CommonMark's algorithm; unmatched ones stay text. */
function emphasise(delimiters, bottom) {
  const previous = [];
  const before = (index) => previous[index - bottom] ?? index - 1;
  const floors = new Map();
  for (let c = bottom; c < delimiters.length; c++) {
    const closer = delimiters[c];
    while (closer.closes && closer.n > 0) {
      const key = `${closer.ch}${closer.opens}${closer.length % 3}`;
      const floor = floors.get(key) ?? bottom;
      let o = before(c);
      while (o >= floor) {
        const opener = delimiters[o];
        const three =
          (opener.closes || closer.opens) && (opener.length + closer.length) % 3 === 0 &&
          (opener.length % 3 !== 0 || closer.length % 3 !== 0);
        if (opener.ch === closer.ch && opener.opens && opener.n > 0 && !(three && closer.ch !== "~")) break;
        o = before(o);
      }
      if (o < floor) {
        floors.set(key, c);
        break;
      }
      const opener = delimiters[o];
      const used = closer.n > 1 && opener.n > 1 ? 2 : 1;
      const tag = closer.ch === "~" ? "del" : used === 2 ? "strong" : "em";
      opener.opening.unshift(tag);
      closer.closing.push(tag);
      opener.n -= used;
      closer.n -= used;
      previous[c - bottom] = opener.n > 0 ? o : before(o);
    }
  }
}

/** While the text grows, emphasis that was opened is drawn at once, not only when it is closed. */
function closeAtEnd(delimiters, text, stop, events) {
  const tags = [];
  for (const delimiter of delimiters) {
    const before = delimiter.a > 0 ? text[delimiter.a - 1] : " ";
    if (delimiter.n === 0 || delimiter.n > 3 || !delimiter.opens || delimiter.a >= stop || /[\p{L}\p{N}]/u.test(before)) continue;
    if (stop - delimiter.a > 600 || text.slice(delimiter.b, stop).includes("\n")) continue;
    const wanted = delimiter.ch === "~" ? ["del"] : [["em"], ["strong"], ["strong", "em"]][delimiter.n - 1];
    delimiter.opening.unshift(...wanted);
    delimiter.n = 0;
    tags.unshift(...[...wanted].reverse());
  }
  for (const tag of tags) events.push({ t: "close", tag });
}

function flatten(events, stop) {
  const out = [];
  for (const event of events) {
    if (event.t === "text" && event.b > stop && event.show === undefined) out.push({ ...event, b: stop });
    else if (event.t !== "delimiter") out.push(event);
    else {
      for (const tag of event.closing) out.push({ t: "close", tag });
      // Marks that a closer has used are its first ones, those of an opener its last ones.
      const used = event.closing.reduce((sum, tag) => sum + (tag === "em" ? 1 : 2), 0);
      if (event.n > 0) out.push({ t: "text", a: event.a + used, b: event.a + used + event.n });
      for (const tag of event.opening) out.push({ t: "open", tag });
    }
  }
  return out;
}
