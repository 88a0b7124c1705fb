// A line over the last minute.

import { make } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 100;

/** Draws series of one value a second, the latest on the right; `null` is a gap. */
export class Chart {
  #svg = document.createElementNS(SVG, "svg");
  #area = this.#shape("path", { class: "area" });
  #line = this.#shape("path", { class: "line" });
  #most = make("span.most");

  constructor(container, seconds, label) {
    this.seconds = seconds;
    this.label = label;
    this.#svg.setAttribute("viewBox", `0 0 ${seconds} ${HEIGHT}`);
    this.#svg.setAttribute("preserveAspectRatio", "none");
    this.#svg.setAttribute("role", "img");
    for (const y of [0, HEIGHT / 2, HEIGHT]) {
      this.#svg.append(this.#shape("line", { class: "grid", x1: 0, x2: seconds, y1: y, y2: y }));
    }
    this.#svg.append(this.#area, this.#line);
    const axis = make("div.axis", { "aria-hidden": "true" }, make("span", {}, `${seconds} s ago`), make("span", {}, "now"));
    container.append(this.#most, this.#svg, axis);
  }

  /** `top` is the value at the upper edge, `format` says values in words. */
  draw(values, top, format) {
    const start = this.seconds - (values.length - 1);
    const y = (value) => (HEIGHT - (Math.min(value, top) / top) * HEIGHT).toFixed(2);
    const runs = [];
    values.forEach((value, index) => {
      if (value === null) return;
      if (index === 0 || values[index - 1] === null) runs.push([]);
      runs.at(-1).push([start + index, y(value)]);
    });
    const path = (run) => `M${run.map((point) => point.join(" ")).join("L")}`;
    this.#line.setAttribute("d", runs.map(path).join(""));
    const closed = (run) => `${path(run)}L${run.at(-1)[0]} ${HEIGHT}L${run[0][0]} ${HEIGHT}Z`;
    this.#area.setAttribute("d", runs.map(closed).join(""));
    this.#most.textContent = format(top);
    const latest = values.at(-1) ?? null;
    this.#svg.setAttribute("aria-label", `${this.label}: ${latest === null ? "nothing yet" : `${format(latest)} now`}`);
  }

  #shape(name, attributes) {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  }
}
