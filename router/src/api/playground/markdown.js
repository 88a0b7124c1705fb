// Enough Markdown to read an answer: paragraphs, fenced code, inline code, bold. Built from text
// nodes alone, so that nothing in an answer can become markup.

import { make } from "./dom.js";

const FENCE = /^\s*```(\S*)\s*$/;
const INLINE = /`([^`\n]+)`|\*\*([^*\n]+)\*\*/g;

/** Brings `container` to show `text`; blocks that did not change stay as they are. */
export function show(container, text) {
  const blocks = split(text);
  blocks.forEach((block, index) => {
    const old = container.children[index];
    const mark = JSON.stringify(block);
    if (old?.source === mark) return;
    const element = block.code === undefined ? paragraph(block.text) : code(block);
    element.source = mark;
    if (old) old.replaceWith(element);
    else container.append(element);
  });
  while (container.children.length > blocks.length) container.lastChild.remove();
}

/** Blocks in order; a fence that is still open is code to the end. */
function split(text) {
  const blocks = [];
  let lines = [];
  let fence = null;
  const flush = () => {
    const joined = lines.join("\n");
    lines = [];
    if (fence !== null) blocks.push({ language: fence, code: joined });
    else for (const part of joined.split(/\n\s*\n/)) if (part.trim()) blocks.push({ text: part.trim() });
  };
  for (const line of text.split("\n")) {
    const match = FENCE.exec(line);
    if (!match) lines.push(line);
    else {
      flush();
      fence = fence === null ? match[1] : null;
    }
  }
  flush();
  return blocks;
}

function paragraph(text) {
  const element = make("p");
  let end = 0;
  for (const match of text.matchAll(INLINE)) {
    element.append(text.slice(end, match.index));
    element.append(match[1] === undefined ? make("strong", {}, match[2]) : make("code", {}, match[1]));
    end = match.index + match[0].length;
  }
  element.append(text.slice(end));
  return element;
}

function code({ language, code: text }) {
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
