// Wires the page: the conversation, the message box, the settings.

import { chat, Problem } from "./api.js";
import { byId, make, number } from "./dom.js";
import { ServerView } from "./server.js";
import { Turn } from "./turn.js";

const IDEAS = [
  "Explain in three sentences why the tides come and go.",
  "Write a limerick about a patient compiler.",
  "Write a Python function that reverses a linked list.",
];
/** How far from the end the reader may be and still follow it, in pixels. */
const NEAR = 60;

const [turnList, scroll, input, composer] = ["turns", "scroll", "prompt", "composer"].map(byId);
const [system, temperature, maxTokens, key] = ["system", "temperature", "max-tokens", "key"].map(byId);
let turns = [];
let running = null;
let follows = true;

function send(text) {
  const turn = new Turn(turnList, text);
  byId("empty").hidden = true;
  turns.push(turn);
  follow(true);
  ask(turn);
}

/** Asks for the answer of the last turn. */
async function ask(turn) {
  const stop = new AbortController();
  let usage = null;
  let reason = null;
  setRunning(stop);
  try {
    for await (const chunk of chat(request(turn), key.value.trim(), stop.signal)) {
      usage = chunk.usage ?? usage;
      const choice = chunk.choices[0];
      reason = choice?.finish_reason ?? reason;
      if (choice?.delta?.content) turn.add(choice.delta.content, followEnd);
    }
    turn.finish(usage, reason === "length" ? ", cut by the limit" : "");
    say(`Answer complete: ${number(usage?.completion_tokens ?? turn.chunks)} tokens`);
  } catch (problem) {
    if (stop.signal.aborted) stopped(turn);
    else failed(turn, problem);
  } finally {
    if (running === stop) setRunning(null);
    followEnd();
  }
}

function stopped(turn) {
  turn.finish(null, ", stopped");
  say("Stopped");
}

function failed(turn, error) {
  if (!(error instanceof Problem)) console.error(error);
  const problem = error instanceof Problem ? error : new Problem("page", "This page failed", String(error));
  turn.fail(problem, () => retry(turn));
  if (problem.kind === "key") askForKey();
}

function retry(turn) {
  if (running || turn !== turns.at(-1)) return;
  turn.restart();
  ask(turn);
  input.focus();
}

function request(turn) {
  const before = turns.slice(0, turns.indexOf(turn)).flatMap((earlier) => earlier.messages());
  const words = system.value.trim();
  const start = words ? [{ role: "system", content: words }] : [];
  return {
    model: "tgi",
    messages: [...start, ...before, { role: "user", content: turn.question }],
    temperature: temperature.valueAsNumber,
    max_tokens: maxTokens.valueAsNumber,
  };
}

function setRunning(stop) {
  running = stop;
  byId("send").hidden = stop !== null;
  byId("stop").hidden = stop === null;
}

/** Says what happened to those who cannot see it. */
const say = (words) => (byId("status").textContent = words);

function follow(on) {
  follows = on;
  byId("latest").hidden = on;
  followEnd();
}

function followEnd() {
  if (follows) scroll.scrollTop = scroll.scrollHeight;
}

function showPanel(open) {
  byId("panel").toggleAttribute("data-open", open);
  byId("toggle-panel").setAttribute("aria-expanded", open);
  byId("toggle-panel").textContent = open ? "Chat" : "Server";
  // Nobody tabs into what the panel covers.
  document.querySelector("main").inert = open;
}

function askForKey() {
  byId("settings").open = true;
  if (getComputedStyle(byId("toggle-panel")).display !== "none") showPanel(true);
  key.focus();
}

function submit() {
  const text = input.value.trim();
  if (!text || running) return;
  const wrong = [temperature, maxTokens].find((field) => !field.checkValidity() || field.value === "");
  if (wrong) {
    byId("settings").open = true;
    wrong.reportValidity();
    wrong.focus();
    return;
  }
  input.value = "";
  send(text);
}

composer.addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
input.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  submit();
});
if (!CSS.supports("field-sizing", "content")) {
  input.addEventListener("input", () => {
    input.style.height = "auto";
    input.style.height = `${input.scrollHeight + 2}px`;
  });
}
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") running?.abort();
});
byId("stop").addEventListener("click", () => {
  running?.abort();
  input.focus();
});
byId("new-chat").addEventListener("click", () => {
  running?.abort();
  turns = [];
  turnList.replaceChildren();
  byId("empty").hidden = false;
  showPanel(false);
  input.focus();
});
byId("toggle-panel").addEventListener("click", () => showPanel(!byId("panel").hasAttribute("data-open")));
byId("latest").addEventListener("click", () => follow(true));
scroll.addEventListener("scroll", () => {
  const rest = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight;
  follows = rest < NEAR;
  byId("latest").hidden = follows;
}, { passive: true });

key.value = sessionStorage.getItem("key") ?? "";
key.addEventListener("input", () => sessionStorage.setItem("key", key.value.trim()));
byId("options").addEventListener("submit", (event) => event.preventDefault());
key.addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  showPanel(false);
  // Whoever entered a key because an answer failed wants that answer.
  if (turns.length && !turns.at(-1).text) retry(turns.at(-1));
});
byId("ideas").append(...IDEAS.map((idea) =>
  make("li", {}, make("button.quiet", { type: "button", onclick: () => send(idea) }, idea))));
new ServerView(() => key.value.trim()).run();
