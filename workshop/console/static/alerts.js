// Keeps the page of alerts up to date, and writes times as the reader's clock has them.

const INTERVAL = 5000; // milliseconds
const TIMEOUT = 10_000;

function duration(seconds) {
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  if (hours) {
    return `${hours} h ${minutes} min`;
  }
  return minutes ? `${minutes} min ${seconds % 60} s` : `${seconds} s`;
}

function localTimes() {
  for (const time of document.querySelectorAll("#alerts time")) {
    const since = new Date(time.dateTime);
    const today = since.toDateString() === new Date().toDateString();
    time.textContent = today ? since.toLocaleTimeString("en-GB") : since.toLocaleString("en-GB");
    const age = time.closest(".since").querySelector(".age");
    age.textContent = duration(Math.max(Math.floor((Date.now() - since) / 1000), 0));
  }
}

// Details that are open stay so.
async function update() {
  const notice = document.getElementById("notice");
  if (!document.hidden) {
    try {
      const response = await fetch(location.pathname, { signal: AbortSignal.timeout(TIMEOUT) });
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      const fresh = page.getElementById("alerts");
      const open = [...document.querySelectorAll("#alerts details[open]")].map(({ id }) => id);
      open.forEach((id) => fresh.querySelector(`#${CSS.escape(id)}`)?.setAttribute("open", ""));
      document.getElementById("alerts").replaceWith(fresh);
      localTimes();
      notice.hidden = true;
    } catch {
      notice.textContent = "The console does not answer. The page tries again every 5 s.";
      notice.hidden = false;
    }
  }
  setTimeout(update, INTERVAL);
}

localTimes();
setTimeout(update, INTERVAL);
