// The page's numbers and charts. Each answer of the service holds all that is shown; only the newest is kept.

const SECONDS_SHOWN = 250;
const COUNTERS_INTERVAL = 1000; // milliseconds
const LATENCIES_INTERVAL = 5000;
const TIMEOUT = 4000;
const SERVICES = ["rng", "hasher"];
const QUANTILES = { p95: { dash: "dot", width: 1.5 }, p50: { dash: "solid", width: 2.5 } };
const MEANING = {
  worker: "From sending a request to its answer: network, waiting in line, and work.",
  service: "The work alone. That a request waited in line before, the service cannot see.",
};

let counters = null;
let latencies = null;

const element = (id) => document.getElementById(id);
const decimals = (count) => new Intl.NumberFormat("en", { minimumFractionDigits: count, maximumFractionDigits: count });
const whole = decimals(0);
const tenths = decimals(1);
const thousandths = decimals(3);
const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString("en-GB");
const isKnown = (value) => value !== null && value !== undefined;

function show(id, value, format) {
  element(id).textContent = isKnown(value) ? format.format(value) : "–";
}

// Text that stays the same is left alone: a screen reader would read it out once more.
function notify(id, text) {
  const notice = element(id);
  if (notice.textContent !== text) {
    notice.textContent = text;
    notice.hidden = !text;
  }
}

function drawChart(id, lines, least, emptyText) {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(`--${name}`).trim();
  // plotly.js shows every time as UTC; shifted by the time zone it reads as local time.
  const shift = new Date().getTimezoneOffset() * 60;
  const local = (seconds) => (seconds - shift) * 1000;
  const end = counters ? counters.now : Date.now() / 1000;
  const values = lines.flatMap((line) => line.scale ?? line.values).filter(isKnown);
  const empty = !lines.some((line) => line.values.some(isKnown));
  const axis = {
    color: colour("muted"),
    gridcolor: colour("line"),
    fixedrange: true,
    zeroline: false,
    ticks: "outside", // unseen, they hold the labels of both axes apart
    ticklen: 5,
    tickcolor: colour("card"),
  };
  const data = lines.map((line) => ({
    type: "scatter",
    mode: "lines",
    name: line.name,
    x: line.times.map(local),
    y: line.values,
    line: { color: colour(line.colour), dash: line.dash, width: line.width },
    hovertemplate: "%{y:.3~f}",
  }));
  const layout = {
    xaxis: {
      ...axis,
      type: "date",
      range: [local(end - SECONDS_SHOWN), local(end)],
      tickangle: 0,
      tickformatstops: [
        { dtickrange: [null, 59_999], value: "%H:%M:%S" },
        { dtickrange: [60_000, null], value: "%H:%M" },
      ],
      hoverformat: "%H:%M:%S",
      spikecolor: colour("muted"),
      spikethickness: 1,
    },
    yaxis: { ...axis, range: [0, 1.15 * values.reduce((a, b) => Math.max(a, b), least)], nticks: 6 },
    margin: { l: 44, r: 12, t: 8, b: 28 }, // fixed, so that the times of both charts stand below each other
    paper_bgcolor: colour("card"),
    plot_bgcolor: colour("card"),
    font: { family: style.fontFamily, size: 12, color: colour("ink") },
    hoverlabel: { bgcolor: colour("card"), bordercolor: colour("line") },
    hovermode: "x unified",
    showlegend: false,
    annotations: empty
      ? [{ text: emptyText, showarrow: false, xref: "paper", yref: "paper", x: 0.5, y: 0.5, font: { size: 14 } }]
      : [],
  };
  Plotly.react(id, data, layout, { displayModeBar: false, responsive: true });
}

function drawSpeed() {
  const line = { name: "hashes/s", colour: "speed", dash: "solid", width: 2.5 };
  const lines = counters ? [{ ...line, times: counters.time, values: counters.speed }] : [];
  drawChart("speed-chart", lines, 1, counters ? "The speed is being measured" : "");
}

function drawLatencies() {
  const view = document.querySelector("input[name=view]:checked").value;
  const lines = [];
  if (latencies) {
    // One scale for both views: the difference between them is what there is to see.
    const scale = Object.values(latencies.views).flatMap(Object.values).flatMap(Object.values).flat();
    for (const service of SERVICES) {
      for (const [quantile, look] of Object.entries(QUANTILES)) {
        const values = latencies.views[view][service][quantile];
        lines.push({ name: `${service} ${quantile}`, colour: service, ...look, times: latencies.time, values, scale });
      }
    }
  }
  element("meaning").textContent = MEANING[view];
  drawChart("latency-chart", lines, 0.1, latencies ? "No request was measured" : "");
}

function nothingNew(what, times) {
  return times.length ? `No new ${what} since ${clock(times.at(-1))}.` : `No ${what} yet.`;
}

function showCounters() {
  const { time, hashes, coins, error } = counters;
  const speed = error ? null : counters.speed.at(-1);
  show("speed", speed, tenths);
  show("hashes", hashes.at(-1), whole);
  show("coins", coins.at(-1), whole);
  const unknown = error ? "not known now" : "being measured";
  element("speed-detail").textContent = isKnown(speed) ? "hashes/s, over the last 20 s" : unknown;
  element("counters").classList.toggle("stale", Boolean(error));
  notify("redis-notice", error && `${nothingNew("counters", time)} ${error}`);
}

function showLatencies() {
  for (const [view, services] of Object.entries(latencies.views)) {
    for (const [service, quantiles] of Object.entries(services)) {
      for (const [quantile, values] of Object.entries(quantiles)) {
        show(`${view}-${service}-${quantile}`, values.at(-1), thousandths);
      }
    }
  }
}

async function fetchJson(path) {
  const response = await fetch(path, { signal: AbortSignal.timeout(TIMEOUT) });
  return { ok: response.ok, body: await response.json() };
}

async function updateCounters() {
  try {
    counters = (await fetchJson("history")).body;
    notify("webui-notice", "");
  } catch {
    notify("webui-notice", "webui does not answer. The page tries again every second.");
  }
  if (counters) {
    showCounters();
  }
  drawSpeed();
  drawLatencies(); // its time axis moves along
  setTimeout(updateCounters, COUNTERS_INTERVAL);
}

async function updateLatencies() {
  const answer = await fetchJson("latency").catch(() => null); // updateCounters says that webui is away
  if (answer?.ok) {
    latencies = answer.body;
    showLatencies();
    notify("prometheus-notice", "");
  } else if (answer) {
    notify("prometheus-notice", `${nothingNew("latencies", latencies?.time ?? [])} ${answer.body.error}`);
  }
  setTimeout(updateLatencies, LATENCIES_INTERVAL);
}

for (const input of document.querySelectorAll("input[name=view]")) {
  input.addEventListener("change", drawLatencies);
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  drawSpeed();
  drawLatencies();
});
updateCounters();
updateLatencies();
