// A lab's page: what its checks see now, buttons that copy commands, and the keys n and p.

const INTERVAL = 2000; // milliseconds
const TIMEOUT = 10_000;
const MARKS = { passed: "✓", failed: "✗", waiting: "…" };

const list = document.getElementById("results");
const progress = document.getElementById("progress");

function fact(name, text) {
  const line = document.createElement("div");
  line.append(Object.assign(document.createElement("b"), { textContent: `${name} ` }), text);
  return line;
}

function item({ title, state, seen, expected, query }) {
  const element = document.createElement("li");
  element.className = state;
  const head = document.createElement("span");
  head.textContent = `${MARKS[state]} ${title}`;
  head.setAttribute("aria-label", `${title}: ${state}`);
  element.append(head);
  if (expected) {
    element.append(fact("expected", expected));
  }
  if (seen) {
    element.append(fact("seen", seen));
  }
  if (query) {
    const code = document.createElement("code");
    code.textContent = query;
    element.append(fact("query", code));
  }
  return element;
}

// What did not change stays as it is, or a screen reader would read it, and a selection be lost, every time.
let shown = "";

async function update() {
  if (!document.hidden) {
    try {
      const response = await fetch(list.dataset.url, { signal: AbortSignal.timeout(TIMEOUT) });
      const state = await response.json();
      const text = JSON.stringify(state);
      if (text !== shown) {
        shown = text;
        const results = state.results ?? [];
        const good = results.filter((result) => result.state === "passed").length;
        progress.textContent =
          state.error ?? (state.passed ? "Passed." : `${good} of ${results.length} good`);
        list.replaceChildren(...results.map(item));
      }
    } catch {
      progress.textContent = "The console does not answer. The page tries again.";
      shown = "";
    }
  }
  setTimeout(update, INTERVAL);
}

function addCopyButtons() {
  for (const code of document.querySelectorAll(".document pre > code")) {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: "Copy" });
    button.className = "copy";
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = "Copy"), INTERVAL);
    });
    code.parentElement.prepend(button);
  }
}

document.addEventListener("keydown", (event) => {
  const relation = { n: "next", p: "prev" }[event.key];
  if (relation && !event.ctrlKey && !event.metaKey && !event.altKey) {
    document.querySelector(`a[rel=${relation}]`)?.click();
  }
});

addCopyButtons();
update();
