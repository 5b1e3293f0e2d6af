// The search page: the chart of the table's traces, and what makes the forms handier.

const MARKER = { least: 7, perRoot: 1.5, most: 32 }; // pixels; the size grows with the root of the spans
const results = document.getElementById("results");
const rows = results ? [...results.tBodies[0].rows] : [];
const link = (row) => row.querySelector("a").href;

function draw() {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(`--${name}`).trim();
  // plotly.js shows every time as UTC; shifted by the time zone it reads as local time.
  const local = (row) => {
    const milliseconds = row.dataset.start / 1000;
    return milliseconds - new Date(milliseconds).getTimezoneOffset() * 60_000;
  };
  const size = (row) => Math.min(MARKER.least + MARKER.perRoot * Math.sqrt(row.dataset.spans), MARKER.most);
  const axis = {
    color: colour("muted"),
    gridcolor: colour("line"),
    zeroline: false,
    fixedrange: true,
    ticks: "outside", // unseen, they hold the labels of both axes apart
    tickcolor: colour("card"),
  };
  const trace = (name, shown, look) => ({
    type: "scatter",
    mode: "markers",
    name,
    x: shown.map(local),
    y: shown.map((row) => row.dataset.duration / 1e6),
    customdata: shown.map(link),
    text: shown.map((row) => `${row.dataset.spans} spans${row.dataset.errors > 0 ? ", with errors" : ""}`),
    hovertemplate: "%{x|%H:%M:%S.%L}<br>%{y:.4~f} s, %{text}<extra></extra>",
    marker: {
      ...look,
      opacity: 0.75,
      size: shown.map(size),
    },
  });
  const looks = {
    "with errors": { color: colour("failed"), symbol: "diamond" },
    "root not received": { color: colour("muted"), symbol: "circle-open" },
    "no error": { color: colour("accent"), symbol: "circle" },
  };
  const kind = ({ dataset }) => (dataset.errors > 0 ? 0 : dataset.roots > 0 ? 2 : 1);
  const data = Object.entries(looks)
    .map(([name, look], number) => trace(name, rows.filter((row) => kind(row) === number), look))
    .filter((one) => one.x.length);
  const layout = {
    xaxis: { ...axis, type: "date", hoverformat: "%H:%M:%S" },
    yaxis: { ...axis, rangemode: "tozero", ticksuffix: " s" },
    margin: { l: 60, r: 12, t: 8, b: 36 },
    paper_bgcolor: colour("card"),
    plot_bgcolor: colour("card"),
    font: { family: style.fontFamily, size: 12, color: colour("ink") },
    hoverlabel: { bgcolor: colour("card"), bordercolor: colour("line") },
    hovermode: "closest",
    showlegend: data.length > 1,
    legend: { orientation: "h", x: 0, y: 1.15 },
  };
  return Plotly.react("scatter", data, layout, { displayModeBar: false, responsive: true });
}

if (rows.length) {
  draw().then((chart) => chart.on("plotly_click", (event) => location.assign(event.points[0].customdata)));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);

  const boxes = rows.map((row) => row.querySelector("input"));
  const allowTwo = () => {
    const ticked = boxes.filter((box) => box.checked).length;
    document.getElementById("compare-button").disabled = ticked !== 2;
    boxes.forEach((box) => (box.disabled = ticked === 2 && !box.checked));
  };
  document.getElementById("compare").addEventListener("change", allowTwo);
  addEventListener("pageshow", allowTwo); // after "back" the boxes are as they were
}

// Another service has other operations.
const form = document.getElementById("search");
form.elements.service.addEventListener("change", () => {
  form.elements.operation.value = "";
  form.requestSubmit();
});
// Empty fields would only make the address long.
form.addEventListener("formdata", ({ formData }) => {
  for (const [name, value] of [...formData]) {
    if (!value) {
      formData.delete(name);
    }
  }
});
