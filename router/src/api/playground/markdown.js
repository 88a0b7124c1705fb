// Enough Markdown to read an answer: paragraphs, headings, lists, quotes, rules, fenced code, and in
// lines code, bold and emphasis. Built from text nodes alone, so that nothing in an answer can become
// markup.

import { make } from "./dom.js";

const FENCE = /^\s*```(\S*)\s*$/;
const HEADING = /^#{1,6}\s+(.*?)\s*#*$/;
const RULE = /^\s*(?:(?:-\s*){3,}|(?:\*\s*){3,}|(?:_\s*){3,})$/;
const ITEM = /^(\s*)(?:[-*+]|(\d{1,9})[.)])\s+(.*)$/;
const QUOTE = /^\s*>\s?(.*)$/;
const INLINE = /`([^`\n]+)`|\*\*([^*\n]+)\*\*|(?<![*\w])\*([^*\s](?:[^*\n]*[^*\s])?)\*(?![*\w])/g;

/** Brings `container` to show `text`; blocks that did not change stay as they are. */
export function show(container, text) {
  const blocks = split(text);
  blocks.forEach((block, index) => {
    const old = container.children[index];
    const mark = JSON.stringify(block);
    if (old?.source === mark) return;
    const element = DRAW[block.kind](block);
    element.source = mark;
    if (old) old.replaceWith(element);
    else container.append(element);
  });
  while (container.children.length > blocks.length) container.lastChild.remove();
}

/** Blocks in order; a fence that is still open is code to the end. */
function split(text) {
  const blocks = [];
  let open = null;
  for (const line of text.split("\n")) {
    const fence = FENCE.exec(line);
    if (open?.kind === "code") {
      if (fence) open = null;
      else open.lines.push(line);
    } else if (fence) {
      blocks.push((open = { kind: "code", language: fence[1], lines: [] }));
    } else if (!line.trim()) {
      // Items may have empty lines between them.
      if (open?.kind !== "list") open = null;
    } else {
      open = place(line, open, blocks);
    }
  }
  return blocks;
}

/** Adds a line to the open block or begins a new one; returns the block that is open then. */
function place(line, open, blocks) {
  const found = read(line);
  if (!goesOn(open, found, line)) blocks.push((open = { kind: found.kind, lines: [] }));
  open.lines.push(found.line);
  return found.kind === "heading" || found.kind === "rule" ? null : open;
}

function goesOn(open, found, line) {
  if (open?.kind !== "list") return open?.kind === found.kind;
  if (found.kind === "text") return /^\s/.test(line);
  if (found.kind !== "list") return false;
  // Numbers behind bullets are another list, unless they are indented.
  const [first] = open.lines;
  const numbered = ({ number }) => number !== undefined;
  return found.line.depth > first.depth || numbered(found.line) === numbered(first);
}

/** What a line is, and what of it is shown. */
function read(line) {
  if (RULE.test(line)) return { kind: "rule", line: "" };
  const heading = HEADING.exec(line);
  if (heading) return { kind: "heading", line: heading[1] };
  const item = ITEM.exec(line);
  if (item) return { kind: "list", line: { depth: item[1].length, number: item[2], text: item[3] } };
  const quote = QUOTE.exec(line);
  return quote ? { kind: "quote", line: quote[1] } : { kind: "text", line };
}

const DRAW = {
  text: ({ lines }) => make("p", {}, ...inline(lines.join("\n").trim())),
  heading: ({ lines }) => make("h3", {}, ...inline(lines[0])),
  quote: ({ lines }) => make("blockquote", {}, ...inline(lines.join("\n"))),
  rule: () => make("hr"),
  list: ({ lines }) => list(join(lines)),
  code: ({ language, lines }) => code(language, lines.join("\n")),
};

/** Items with the lines that go on with them. */
function join(lines) {
  const items = [];
  for (const line of lines) {
    if (typeof line === "string") items.at(-1).text += `\n${line.trim()}`;
    else items.push({ ...line });
  }
  return items;
}

/** A list; what is indented further than its first item belongs to the item before it. */
function list(items) {
  const [first] = items;
  const element = first.number === undefined ? make("ul") : make("ol", { start: Number(first.number) });
  for (let index = 0; index < items.length; ) {
    let end = index + 1;
    while (end < items.length && items[end].depth > first.depth) end += 1;
    const inner = items.slice(index + 1, end);
    element.append(make("li", {}, ...inline(items[index].text), ...(inner.length ? [list(inner)] : [])));
    index = end;
  }
  return element;
}

function inline(text) {
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(INLINE)) {
    const [whole, code, strong, emphasis] = match;
    const element = code ? make("code", {}, code) : strong ? make("strong", {}, strong) : make("em", {}, emphasis);
    parts.push(text.slice(end, match.index), element);
    end = match.index + whole.length;
  }
  return [...parts, text.slice(end)];
}

function code(language, text) {
  const copy = make("button.quiet", { type: "button", onclick: () => copyText(copy, text) }, "Copy");
  // Browsers offer the clipboard to secure pages only.
  const head = make("header", {}, language || "code", ...(navigator.clipboard ? [copy] : []));
  return make("div.code", {}, head, make("pre", { tabindex: "0" }, make("code", {}, text)));
}

async function copyText(button, text) {
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Not allowed";
  }
  setTimeout(() => (button.textContent = "Copy"), 1500);
}
