// One turn on the page: the question, the answer as it comes, and what it cost.

import { duration, make, number, percent } from "./dom.js";
import { show } from "./markdown.js";

/** A question with its answer. Shows what it is told; asks for nothing. */
export class Turn {
  #answer = make("div.answer", {}, make("span.waiting", {}, make("i"), make("i"), make("i")));
  #receipt = make("div.receipt");
  #item = make("li.turn.assistant", { "aria-label": "Answer" }, this.#answer, this.#receipt);
  #problem = null;
  #countdown = 0;
  #frame = 0;

  constructor(list, question) {
    this.question = question;
    this.reset();
    list.append(make("li.turn.user", { "aria-label": "You" }, make("div.text", {}, question)), this.#item);
  }

  /** Ready to be asked, or asked again. */
  reset() {
    clearInterval(this.#countdown);
    this.#problem?.remove();
    this.text = "";
    this.chunks = 0;
    this.sent = performance.now();
    this.first = this.last = null;
  }

  /** The messages that later turns build on: none of a turn that failed. */
  messages() {
    if (!this.text) return [];
    return [{ role: "user", content: this.question }, { role: "assistant", content: this.text }];
  }

  /** More of the answer came. */
  add(text, shown) {
    this.last = performance.now();
    this.first ??= this.last;
    this.chunks += 1;
    this.text += text;
    // One drawing a frame, however fast tokens come.
    this.#frame ||= requestAnimationFrame(() => {
      this.#draw();
      shown();
    });
  }

  #draw() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    if (this.text) this.#answer.querySelector(".waiting")?.remove();
    show(this.#answer, this.text);
  }

  /** The answer is over: shows what it cost. `usage` is null when it was stopped. */
  finish(usage, end) {
    this.#draw();
    const children = [];
    if (usage) children.push(split(usage));
    const items = usage ? prompt(usage) : [];
    if (this.first !== null) items.push(item("to the first token", duration(this.first - this.sent)));
    const tokens = usage?.completion_tokens ?? this.chunks;
    const seconds = (this.last - this.first) / 1000;
    if (tokens > 1 && seconds > 0) items.push(item("tokens/s", number((tokens - 1) / seconds, 1)));
    items.push(item(`${tokens === 1 ? "token" : "tokens"}${end}`, number(tokens), "end"));
    children.push(make("dl", {}, ...items));
    this.#receipt.replaceChildren(...children);
  }

  /** The answer failed: says why and offers to try again. */
  fail(problem, retry) {
    this.#draw();
    const button = make("button.quiet", { type: "button", onclick: retry }, "Try again");
    const words = make("p", {}, make("strong", {}, problem.title), problem.detail);
    this.#problem = make("div.problem", { role: "alert" }, words, button);
    this.#receipt.replaceChildren();
    this.#receipt.before(this.#problem);
    if (problem.wait > 0) this.#wait(button, problem.wait);
  }

  #wait(button, seconds) {
    const tick = () => {
      button.disabled = seconds > 0;
      button.textContent = seconds > 0 ? `Try again in ${seconds} s` : "Try again";
      if (seconds-- <= 0) clearInterval(this.#countdown);
    };
    tick();
    this.#countdown = setInterval(tick, 1000);
  }

  /** Shows again that it waits. */
  restart() {
    this.reset();
    this.#answer.replaceChildren(make("span.waiting", {}, make("i"), make("i"), make("i")));
    this.#receipt.replaceChildren();
  }
}

const cachedOf = (usage) => usage.prompt_tokens_details?.cached_tokens ?? 0;

/** The bar: prompt tokens from the cache, and those computed. */
function split(usage) {
  const cached = cachedOf(usage);
  const fresh = usage.prompt_tokens - cached;
  const label = `${number(cached)} of ${number(usage.prompt_tokens)} prompt tokens came from the cache`;
  const bar = make("div.split", { role: "img", "aria-label": label, title: label });
  for (const [name, tokens] of [["cached", cached], ["fresh", fresh]]) {
    if (!tokens) continue;
    const part = make(`i.${name}`);
    part.style.flexGrow = tokens;
    bar.append(part);
  }
  return bar;
}

function prompt(usage) {
  const cached = cachedOf(usage);
  const share = ` cached (${percent(cached / Math.max(usage.prompt_tokens, 1))})`;
  return [
    item(share.trim(), number(cached), "cached.key"),
    item("new", number(usage.prompt_tokens - cached), "fresh.key"),
  ];
}

const item = (term, value, classes = "") =>
  make(`div${classes && `.${classes}`}`, {}, make("dt", {}, term), make("dd", {}, value));
