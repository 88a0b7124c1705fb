// Elements by hand: text only ever enters the page as text.

/** The element with this id, which the page has. */
export const byId = (id) => document.getElementById(id);

/**
 * A new element.
 * @param {string} name of the element, with classes: "p.note.small"
 * @param {object} attributes to set; `null` and `undefined` are left out
 * @param {...(Node|string)} children in order
 */
export function make(name, attributes = {}, ...children) {
  const [tag, ...classes] = name.split(".");
  const element = document.createElement(tag);
  if (classes.length) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "onclick") element.addEventListener("click", value);
    else if (value !== null && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

/** A number as people of this browser write it. */
export const number = (value, digits = 0) =>
  value.toLocaleString(undefined, { minimumFractionDigits: digits, maximumFractionDigits: digits });

/** Milliseconds as "38 ms" or "1.4 s". */
export const duration = (ms) => (ms < 1000 ? `${number(ms)} ms` : `${number(ms / 1000, ms < 10000 ? 2 : 1)} s`);

/** A share of one as "93 %", never rounded up to all or down to nothing. */
export function percent(share) {
  const rounded = Math.round(share * 100);
  const kept = share > 0 && share < 1 ? Math.min(99, Math.max(1, rounded)) : rounded;
  return `${kept}\u2009%`;
}
