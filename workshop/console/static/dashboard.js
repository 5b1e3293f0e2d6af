// A dashboard: asks for the data of the panels in view, again and again, and has them drawn.
//
// What is shown stands in the page's own address, in Grafana's notation:
// ?from=now-15m&to=now&refresh=5s&var-service=rng

import { drawPanel } from "./dashboard-panels.js";

const INTERVAL = 5000; // milliseconds
const TIMEOUT = 30_000;

const dashboard = document.getElementById("dashboard");
const controls = document.getElementById("controls");
const notice = document.getElementById("notice");
const panels = [...document.querySelectorAll(".dashboard-panel")];
const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString("en-GB");
const traceUrl = (id) => dashboard.dataset.traces + encodeURIComponent(id);

const inView = new Set();
const answers = new Map(); // the newest data of each panel, and the range that it is for
let timer = null;
let request = null;
let newest = null;

// ---- the state

function state() {
  const query = new URLSearchParams(location.search);
  const state = new URLSearchParams();
  for (const name of ["from", "to", "refresh"]) {
    state.set(name, query.get(name) ?? dashboard.dataset[name]);
  }
  for (const { dataset } of controls.querySelectorAll("[data-variable]")) {
    for (const value of query.getAll(`var-${dataset.variable}`)) {
      state.append(`var-${dataset.variable}`, value);
    }
  }
  return state;
}

function change(state) {
  history.replaceState(null, "", `?${state}`);
  showState();
  update();
}

// The other dashboards open with the same range of time; their choices of services may be others.
function showState() {
  const now = state();
  for (const input of controls.querySelectorAll("input[name=from]")) {
    input.checked = input.value === now.get("from") && now.get("to") === "now";
  }
  controls.elements.refresh.checked = now.get("refresh") !== "";
  for (const field of controls.querySelectorAll("[data-variable]")) {
    const chosen = now.getAll(`var-${field.dataset.variable}`);
    for (const input of field.querySelectorAll("input")) {
      input.checked = input.value ? chosen.includes(input.value) : chosen.length === 0;
    }
  }
  for (const tab of document.querySelectorAll(".tab")) {
    tab.search = new URLSearchParams(["from", "to", "refresh"].map((name) => [name, now.get(name)]));
  }
}

controls.addEventListener("submit", (event) => event.preventDefault());
controls.addEventListener("change", ({ target }) => {
  const now = state();
  const variable = target.closest("[data-variable]")?.dataset.variable;
  if (variable) {
    const others = now.getAll(`var-${variable}`).filter((value) => value !== target.value);
    now.delete(`var-${variable}`);
    const chosen = target.value && target.checked ? [...others, target.value] : target.value ? others : [];
    chosen.forEach((value) => now.append(`var-${variable}`, value));
  } else if (target.name === "from") {
    now.set("from", target.value);
    now.set("to", "now");
  } else {
    now.set("refresh", target.checked ? target.value : "");
  }
  change(now);
});

// What there is to choose from; a chosen service that is gone stays, or it could not be left.
function showChoices(choices) {
  for (const field of controls.querySelectorAll("[data-variable]")) {
    const name = field.dataset.variable;
    const values = [...new Set([...choices[name], ...state().getAll(`var-${name}`)])].sort();
    const shown = [...field.querySelectorAll("input")].map((input) => input.value).slice(1);
    if (JSON.stringify(values) === JSON.stringify(shown)) {
      continue;
    }
    field.querySelectorAll("label:not(:first-of-type)").forEach((label) => label.remove());
    for (const value of values) {
      const input = Object.assign(document.createElement("input"), { type: "checkbox", value });
      const text = Object.assign(document.createElement("span"), { textContent: value });
      const label = document.createElement("label");
      label.append(input, text);
      field.append(label);
    }
    showState();
  }
}

// ---- the data

function notify(text) {
  if (notice.textContent !== text) {
    notice.textContent = text;
    notice.hidden = !text;
  }
}

async function fetchData(query, signal) {
  const headers = { Accept: "application/json" };
  const response = await fetch(`${dashboard.dataset.url}?${query}`, { headers, signal });
  const body = await response.json();
  if (!response.ok) {
    throw new Error(body.error);
  }
  return body;
}

async function update() {
  clearTimeout(timer);
  request?.abort();
  const mine = (request = new AbortController());
  const query = state();
  query.delete("refresh");
  const wanted = panels.filter((panel) => inView.has(panel) && panel.querySelector(".plot"));
  wanted.forEach((panel) => query.append("panel", panel.dataset.id));
  let failed = false;
  if (wanted.length) {
    try {
      const answer = await fetchData(query, AbortSignal.any([mine.signal, AbortSignal.timeout(TIMEOUT)]));
      newest = answer.to;
      showChoices(answer.choices);
      for (const panel of wanted) {
        answers.set(panel, { ...answer.panels[panel.dataset.id], from: answer.from, to: answer.to });
        draw(panel);
      }
      notify("");
    } catch (error) {
      if (mine.signal.aborted) {
        return; // a newer request is under way
      }
      failed = true;
      const away = error instanceof TypeError || error.name === "TimeoutError";
      const reason = away ? "The console does not answer" : error.message;
      const since = newest ? `No new data since ${clock(newest)}.` : "No data yet.";
      notify(`${since} ${reason}. The page tries again every 5 s.`);
    }
  }
  if (failed || state().get("refresh")) {
    timer = setTimeout(tick, INTERVAL);
  }
}

// A page that nobody looks at costs nothing.
function tick() {
  if (document.hidden) {
    timer = setTimeout(tick, INTERVAL);
  } else {
    update();
  }
}

// ---- the drawing

function draw(panel) {
  if (answers.has(panel) && inView.has(panel)) {
    drawPanel(panel, answers.get(panel), traceUrl);
  }
}

// Several panels come into view together, while the page is scrolled: one request for all of them.
let soon = null;
const observer = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      inView[isIntersecting ? "add" : "delete"](target);
      draw(target);
    }
    if (entries.some(({ target, isIntersecting }) => isIntersecting && answers.get(target)?.to !== newest)) {
      clearTimeout(soon);
      soon = setTimeout(update, 50);
    }
  },
  { rootMargin: "200px" },
);
const sizes = new ResizeObserver((entries) => {
  entries.forEach(({ target }) => draw(target.closest(".dashboard-panel")));
});

// Set here: the Content-Security-Policy allows no style in the page itself.
for (const element of dashboard.children) {
  const { x, y, w, h } = JSON.parse(element.dataset.settings).position;
  element.style.setProperty("--column", `${x + 1} / span ${w}`);
  element.style.setProperty("--row", `${y + 1} / span ${h}`);
  element.style.setProperty("--height", h);
}
for (const panel of panels) {
  observer.observe(panel);
  panel.querySelectorAll(".plot").forEach((plot) => sizes.observe(plot));
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => panels.forEach(draw));
document.addEventListener("visibilitychange", () => document.hidden || !state().get("refresh") || update());
document.addEventListener("keydown", ({ key }) => {
  if (key === "Escape") {
    document.querySelectorAll("details.about[open]").forEach((details) => (details.open = false));
  }
});
showState();
