// The live picture of the server, read from /metrics once a second while the page is seen.

import { read } from "./api.js";
import { Chart } from "./chart.js";
import { byId, make, number, percent } from "./dom.js";

const SECONDS = 60;
/** Seconds of prompts that a hit rate is taken over. */
const WINDOW = 15;
const PERIOD = 1000;
const STATES = { referenced: "in use", cached: "cached", free: "free" };

/** Keeps the panel and the bar's dot up to date. */
export class ServerView {
  #key;
  #samples = [];
  #hits = [];
  #speeds = [];
  #known = false;
  #hitChart = new Chart(byId("hits"), SECONDS, "Share of prompt tokens from the cache");
  #speedChart = new Chart(byId("speed"), SECONDS, "Tokens generated a second");

  /** `key` gives the API key of the moment. */
  constructor(key) {
    this.#key = key;
    // All has its place from the start, so that nothing moves when numbers come.
    this.#drawRequests([]);
    this.#drawCharts(0, 0);
  }

  /** Reads and draws until the page is closed. */
  async run() {
    for (;;) {
      if (!document.hidden) await this.#update();
      await new Promise((resume) => setTimeout(resume, PERIOD));
    }
  }

  async #update() {
    try {
      const text = await (await read("metrics", this.#key())).text();
      if (!this.#known) await this.#learn();
      this.#draw(parse(text));
      setHealth("up");
    } catch (problem) {
      // What was learned may belong to a server that is gone.
      this.#known = false;
      const words = problem.kind === "key" ? "needs an API key" : "not reachable, trying again";
      setHealth("down", problem.kind === "busy" ? "not ready yet" : words);
    }
  }

  async #learn() {
    const info = await (await read("info", this.#key())).json();
    byId("model-name").textContent = info.model_id;
    byId("model-name").title = info.model_id;
    const facts = {
      Name: info.model_id,
      Weights: info.model_dtype,
      Device: info.model_device_type,
      "Longest prompt": `${number(info.max_input_tokens)} tokens`,
      "Context": `${number(info.max_total_tokens)} tokens`,
      Version: info.version,
    };
    byId("facts").replaceChildren(...pairs(facts));
    byId("max-tokens").max = info.max_total_tokens;
    this.#known = true;
  }

  #draw(metrics) {
    const sum = (name, label = "") => total(metrics, name, label);
    this.#remember({
      cached: sum("tgi_cached_tokens"),
      computed: sum("tgi_prefill_tokens"),
      generated: sum("tgi_generated_tokens"),
      at: performance.now(),
    });
    this.#drawCharts(sum("tgi_requests_running"), sum("tgi_requests_waiting"));
    this.#drawRequests(metrics);
  }

  #drawRequests(metrics) {
    const sum = (name, label) => total(metrics, name, label);
    drawLoad({
      Answering: sum("tgi_requests_running", 'phase="decode"'),
      Prefilling: sum("tgi_requests_running", 'phase="prefill"'),
      Waiting: sum("tgi_requests_waiting", ""),
    });
    drawPages(Object.keys(STATES).map((state) => [state, sum("tgi_pages", `state="${state}"`)]));
  }

  #remember(sample) {
    const before = this.#samples.at(-1) ?? sample;
    // Counters that fell are those of a new process.
    if (sample.generated < before.generated) this.#samples = [];
    this.#samples.push(sample);
    if (this.#samples.length > WINDOW + 1) this.#samples.shift();
    const first = this.#samples[0];
    const cached = sample.cached - first.cached;
    const prompts = cached + sample.computed - first.computed;
    // Between prompts the rate stays what it was.
    push(this.#hits, prompts > 0 ? cached / prompts : (this.#hits.at(-1) ?? null));
    const elapsed = (sample.at - before.at) / 1000;
    push(this.#speeds, elapsed > 0 ? Math.max(0, sample.generated - before.generated) / elapsed : 0);
  }

  #drawCharts(running, waiting) {
    const hit = this.#hits.at(-1) ?? null;
    const words = hit === null ? "–" : percent(hit);
    this.#hitChart.draw(this.#hits, 1, percent);
    byId("hits-now").textContent = words;
    const speed = this.#speeds.at(-1) ?? 0;
    this.#speedChart.draw(this.#speeds, roundUp(Math.max(0, ...this.#speeds)), number);
    byId("speed-now").textContent = number(speed);
    byId("glance").textContent = `${running} running · ${waiting} waiting · ${words} cached`;
  }
}

function push(series, value) {
  series.push(value);
  if (series.length > SECONDS + 1) series.shift();
}

/** The next of 10, 20, 50, 100, … */
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 10)));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value);
}

/** Name, labels and value of each series of Prometheus text. */
function parse(text) {
  const series = text.matchAll(/^(\w+)(?:\{(.*)\})? (\S+)$/gm);
  return Array.from(series, ([, name, labels, value]) => ({ name, labels: labels ?? "", value: Number(value) }));
}

/** Sum of the series of a metric that carry a label. */
const total = (metrics, name, label) => metrics
  .filter((series) => series.name === name && series.labels.includes(label))
  .reduce((sum, series) => sum + series.value, 0);

function setHealth(state, words) {
  byId("health-dot").dataset.state = state;
  if (words) byId("model-name").textContent = words;
  byId("panel").toggleAttribute("data-stale", state !== "up");
  byId("glance").hidden = state !== "up";
}

function drawLoad(numbers) {
  const items = Object.entries(numbers).map(([name, value]) => {
    const item = make("div", {}, make("dt", {}, name), make("dd", {}, number(value)));
    item.toggleAttribute("data-zero", value === 0);
    return item;
  });
  byId("load").replaceChildren(...items);
}

function drawPages(counts) {
  const total = counts.reduce((sum, [, pages]) => sum + pages, 0);
  const bar = byId("pages-bar");
  if (!bar.children.length) bar.append(...counts.map(([state]) => make("i", { "data-state": state })));
  counts.forEach(([, pages], index) => {
    const part = bar.children[index];
    part.hidden = pages === 0;
    part.style.width = `${(pages / Math.max(total, 1)) * 100}%`;
  });
  const said = counts.map(([state, pages]) => `${number(pages)} ${STATES[state]}`).join(", ");
  bar.setAttribute("aria-label", `Pages: ${said}`);
  byId("pages-total").textContent = number(total);
  const legend = counts.map(([state, pages]) =>
    make("li", {}, make("i", { "data-state": state }), make("b", {}, number(pages)), STATES[state]));
  byId("pages-legend").replaceChildren(...legend);
}

const pairs = (facts) =>
  Object.entries(facts).flatMap(([name, fact]) => [make("dt", {}, name), make("dd", {}, String(fact))]);
