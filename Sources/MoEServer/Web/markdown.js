// SPDX-License-Identifier: Apache-2.0
// Markdown to a tree of blocks, with the place in the source of every line, so that what is drawn can be coloured by token.
// The source is hostile: the work is linear in its length, the nesting is bounded, and HTML is text.
//
// Where this differs from CommonMark, it is so that a half-written answer does not jump: a line of dashes is always a rule, never the
// underline of a heading; line breaks are kept; there are no link definitions.

const MAX_DEPTH = 8;
const FENCE = /^( {0,3})(`{3,}|~{3,})([^`]*)$/;
const HEADING = /^ {0,3}(#{1,6})(?:[ \t]+|$)/;
const RULE = /^ {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,3})([-*+]|\d{1,9}[.)])(?:([ \t]+)(?=\S)|[ \t]*$)/;
const DELIMITER = /^:?-+:?$/;
// A last line that is only the beginning of a mark: what it becomes is not known yet, so it waits.
const UNDECIDED = /^\s*(?:[-*+]|\d{1,9}[.)]?|#{1,6}|>|`{1,2}|~{1,2}|[*_-]{2,})$|^\s*(?:(?:`{3,}|~{3,})[^`]*|\|.*)$/;

/** The blocks of `source` from offset `from` on. While `streaming`, what is undecided at the end is left out. */
export function parseBlocks(source, from, streaming) {
  const lines = [];
  let at = from;
  while (at <= source.length) {
    let end = source.indexOf("\n", at);
    if (end < 0) end = source.length;
    const stop = end > at && source[end - 1] === "\r" ? end - 1 : end;
    lines.push({ text: source.slice(at, stop), at });
    at = end + 1;
  }
  const last = lines[lines.length - 1];
  if (streaming && last && UNDECIDED.test(last.text.trimEnd())) lines.pop();
  const blocks = parse(lines, 0, streaming);
  if (streaming) markTail(blocks);
  return blocks;
}

/** Marks the last leaf: it is drawn as if what it leaves open were closed at its end. */
function markTail(blocks) {
  const last = blocks[blocks.length - 1];
  if (!last) return;
  last.tail = true;
  if (last.children) markTail(last.children);
}

const blank = (text) => /^\s*$/.test(text);
const endOf = (line) => line.at + line.text.length;

function indentOf(text) {
  let columns = 0;
  for (let i = 0; i < text.length; i++) {
    if (text[i] === " ") columns += 1;
    else if (text[i] === "\t") columns += 4 - (columns % 4);
    else break;
  }
  return columns;
}

/** The line without up to `columns` columns of white space at its start. */
function cut(line, columns) {
  let i = 0;
  let done = 0;
  while (i < line.text.length && done < columns && (line.text[i] === " " || line.text[i] === "\t")) {
    done += line.text[i] === "\t" ? 4 - (done % 4) : 1;
    i += 1;
  }
  return { text: line.text.slice(i), at: line.at + i };
}

function startsBlock(text) {
  if (FENCE.test(text) || HEADING.test(text) || RULE.test(text) || QUOTE.test(text)) return true;
  const item = ITEM.exec(text);
  return item !== null && item[3] !== undefined && (item[2].length === 1 || /^1[.)]$/.test(item[2]));
}

function parse(lines, depth, streaming) {
  const out = [];
  let i = 0;
  while (i < lines.length) {
    const text = lines[i].text;
    if (blank(text)) {
      i += 1;
      continue;
    }
    let step = fence(lines, i) ?? heading(lines, i) ?? rule(lines, i);
    if (!step && depth < MAX_DEPTH) step = quote(lines, i, depth, streaming) ?? list(lines, i, depth, streaming);
    step ??= indented(lines, i, depth) ?? table(lines, i) ?? paragraph(lines, i, depth, streaming);
    if (step.block) out.push(step.block);
    i = step.next;
  }
  return out;
}

function fence(lines, i) {
  const match = FENCE.exec(lines[i].text);
  if (!match) return null;
  const [, indent, mark, info] = match;
  const closing = new RegExp(`^ {0,3}${mark[0]}{${mark.length},}[ \\t]*$`);
  const body = [];
  let j = i + 1;
  let closed = false;
  let end = endOf(lines[i]);
  for (; j < lines.length && !closed; j++) {
    end = endOf(lines[j]);
    if (closing.test(lines[j].text)) closed = true;
    else body.push(indent ? cut(lines[j], indent.length) : lines[j]);
  }
  // The empty line after the last line break of an open fence is not a line of code yet.
  if (!closed && body.length && body[body.length - 1].text === "") body.pop();
  const language = info.trim().split(/\s+/)[0].slice(0, 40);
  return { block: { type: "code", key: language, lines: body, s: lines[i].at, e: end, closed }, next: j };
}

function indented(lines, i, depth) {
  if (depth > 0 || indentOf(lines[i].text) < 4) return null;
  const body = [];
  let j = i;
  for (; j < lines.length && (blank(lines[j].text) || indentOf(lines[j].text) >= 4); j++) body.push(cut(lines[j], 4));
  while (blank(body[body.length - 1].text)) {
    body.pop();
    j -= 1;
  }
  return { block: { type: "code", key: "", lines: body, s: lines[i].at, e: endOf(lines[j - 1]), closed: true }, next: j };
}

function heading(lines, i) {
  const match = HEADING.exec(lines[i].text);
  if (!match) return null;
  const at = match[0].length;
  const text = lines[i].text.slice(at).trimEnd().replace(/(?:^|[ \t])#+$/, "").trimEnd();
  const content = [{ text, at: lines[i].at + at }];
  return { block: { type: "heading", key: match[1].length, lines: content, s: lines[i].at, e: endOf(lines[i]) }, next: i + 1 };
}

function rule(lines, i) {
  if (!RULE.test(lines[i].text)) return null;
  return { block: { type: "rule", key: "", s: lines[i].at, e: endOf(lines[i]) }, next: i + 1 };
}

function quote(lines, i, depth, streaming) {
  if (!QUOTE.test(lines[i].text)) return null;
  const inner = [];
  let j = i;
  for (; j < lines.length; j++) {
    const match = QUOTE.exec(lines[j].text);
    if (match) inner.push({ text: lines[j].text.slice(match[0].length), at: lines[j].at + match[0].length });
    else if (blank(lines[j].text) || startsBlock(lines[j].text)) break;
    else inner.push(lines[j]);
  }
  const children = parse(inner, depth + 1, streaming && j === lines.length);
  return { block: { type: "quote", key: "", children, s: lines[i].at, e: endOf(lines[j - 1]) }, next: j };
}

const kindOf = (marker) => (marker.length > 1 ? "1" + marker[marker.length - 1] : marker);

function list(lines, i, depth, streaming) {
  const first = ITEM.exec(lines[i].text);
  if (!first) return null;
  const kind = kindOf(first[2]);
  const items = [];
  let loose = false;
  let j = i;
  while (j < lines.length) {
    const match = ITEM.exec(lines[j].text);
    if (!match || kindOf(match[2]) !== kind || RULE.test(lines[j].text)) break;
    const spaces = match[3] === undefined ? 1 : match[3].length > 4 ? 1 : match[3].length;
    const left = match[1].length;
    const width = left + match[2].length + spaces;
    const start = j;
    const inner = [{ text: lines[j].text.slice(width), at: lines[j].at + Math.min(width, lines[j].text.length) }];
    let gap = 0;
    for (j += 1; j < lines.length; j++) {
      const text = lines[j].text;
      if (blank(text)) {
        gap += 1;
        inner.push({ text: "", at: lines[j].at });
        continue;
      }
      const indent = indentOf(text);
      // Models indent what is inside by two, whatever the width of the marker: that counts too.
      const nested = indent >= width || (indent - left >= 2 && (ITEM.test(text.trimStart()) || gap === 0));
      if (!nested && (gap > 0 || startsBlock(text) || ITEM.test(text))) break;
      if (gap > 0) loose = true;
      gap = 0;
      inner.push(cut(lines[j], width));
    }
    if (gap > 0) inner.length -= gap;
    const open = streaming && j === lines.length;
    const end = endOf(inner[inner.length - 1]);
    items.push({ type: "item", key: "", children: parse(inner, depth + 1, open), s: lines[start].at, e: end });
    if (gap > 0 && j < lines.length && ITEM.test(lines[j].text)) loose = true;
  }
  if (!items.length) return null;
  const ordered = first[2].length > 1;
  const key = ordered ? `ol${parseInt(first[2], 10)}` : "ul";
  const block = { type: "list", key, ordered, start: parseInt(first[2], 10), loose, children: items };
  return { block: { ...block, s: lines[i].at, e: items[items.length - 1].e }, next: j };
}

function cells(line) {
  const out = [];
  let text = line.text;
  let from = 0;
  let to = text.length;
  while (from < to && /\s/.test(text[from])) from += 1;
  while (to > from && /\s/.test(text[to - 1])) to -= 1;
  if (text[from] === "|") from += 1;
  if (to > from && text[to - 1] === "|" && text[to - 2] !== "\\") to -= 1;
  let begin = from;
  for (let i = from; i <= to; i++) {
    if (i < to && text[i] === "\\") i += 1;
    else if (i === to || text[i] === "|") {
      const raw = text.slice(begin, i);
      const lead = raw.length - raw.trimStart().length;
      out.push({ text: raw.trim(), at: line.at + begin + lead });
      begin = i + 1;
    }
  }
  return out;
}

function startsTable(lines, i) {
  if (i + 1 >= lines.length || !lines[i].text.includes("|") || !lines[i + 1].text.includes("-")) return null;
  const marks = cells(lines[i + 1]);
  if (indentOf(lines[i + 1].text) > 3 || !marks.every(({ text }) => DELIMITER.test(text))) return null;
  const head = cells(lines[i]);
  return head.length === marks.length && (head.length > 1 || lines[i + 1].text.includes("|")) ? { head, marks } : null;
}

function table(lines, i) {
  const found = startsTable(lines, i);
  if (!found) return null;
  const { head, marks } = found;
  const align = marks.map(({ text }) => (text.endsWith(":") ? (text.startsWith(":") ? "center" : "right") : "left"));
  const row = (line, header) => {
    const values = cells(line).slice(0, head.length);
    while (values.length < head.length) values.push({ text: "", at: endOf(line) });
    return { type: "row", key: header ? "th" : "td", cells: values, align, s: line.at, e: endOf(line) };
  };
  const children = [row(lines[i], true)];
  let j = i + 2;
  for (; j < lines.length && !blank(lines[j].text) && !startsBlock(lines[j].text); j++) children.push(row(lines[j], false));
  return { block: { type: "table", key: align.join(), children, s: lines[i].at, e: endOf(lines[j - 1]) }, next: j };
}

function paragraph(lines, i, depth, streaming) {
  let j = i + 1;
  for (; j < lines.length; j++) {
    const text = lines[j].text;
    if (blank(text) || (depth < MAX_DEPTH && startsBlock(text)) || startsTable(lines, j)) break;
  }
  const content = lines.slice(i, j).map((line) => cut(line, indentOf(line.text)));
  const end = endOf(lines[j - 1]);
  // A row at the end may become the head of a table with the next line.
  const atEnd = lines.slice(j).every((line) => blank(line.text)) && lines.length - j <= 1;
  if (streaming && atEnd && /^\|.*\|\s*$/.test(content[content.length - 1].text)) content.pop();
  if (!content.length) return { block: null, next: j };
  return { block: { type: "paragraph", key: "", lines: content, s: lines[i].at, e: end }, next: j };
}
