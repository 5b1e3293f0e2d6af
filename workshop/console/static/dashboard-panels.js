// How a panel is drawn. What it shows comes from the dashboard's file, its colours from the style sheet.

const PALETTE = 8; // --series-1 to --series-8
const DOT = 6; // pixels from the middle of a dot that count as the dot
const ABOUT = ["job", "service_name", "service_peer_name", "http_route"]; // what an exemplar is of
const LONGEST_SUFFIX = 6; // characters: a longer unit has no room at the axis, and stands in the legend only
const SERVICES = ["rng", "hasher"]; // these have the same colour everywhere

const isKnown = (value) => value !== null && value !== undefined;
const last = (values) => values.findLast(isKnown);
const greatest = (values) => values.reduce((a, b) => Math.max(a, b), -Infinity);
const least = (values) => values.reduce((a, b) => Math.min(a, b), Infinity);

// plotly.js reads a little HTML in what it shows: what looks like it is text.
const asText = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

// plotly.js shows every time as UTC; shifted by the time zone it reads as local time.
const local = (seconds) => (seconds - new Date(seconds * 1000).getTimezoneOffset() * 60) * 1000;

function style() {
  const computed = getComputedStyle(document.documentElement);
  const colour = (name) => computed.getPropertyValue(`--${name}`).trim();
  return { colour, font: getComputedStyle(document.body).fontFamily };
}

function transparent(colour, share) {
  return colour + Math.round(share * 255).toString(16).padStart(2, "0");
}

// ---- values and their units

function scaleOf(value, scales) {
  return scales.find(([size]) => Math.abs(value) >= size) ?? scales.at(-1);
}

function decimalsOf(value) {
  return value === 0 ? 0 : Math.min(Math.max(2 - Math.floor(Math.log10(Math.abs(value))), 0), 3);
}

function write(value, { scales, decimals }) {
  if (!isKnown(value)) {
    return "–";
  }
  const [size, suffix] = scaleOf(value, scales);
  const scaled = value / size;
  const digits = isKnown(decimals)
    ? { minimumFractionDigits: decimals, maximumFractionDigits: decimals }
    : { maximumFractionDigits: decimalsOf(scaled) };
  return new Intl.NumberFormat("en", digits).format(scaled) + suffix;
}

// ---- parts of a chart

function timeAxis(answer, { colour }) {
  return {
    ...axis(colour),
    type: "date",
    range: [local(answer.from), local(answer.to)],
    tickangle: 0,
    nticks: 6,
    tickformatstops: [
      { dtickrange: [null, 59_999], value: "%H:%M:%S" },
      { dtickrange: [60_000, null], value: "%H:%M" },
    ],
    hoverformat: "%H:%M:%S",
    spikecolor: colour("muted"),
    spikethickness: 1,
  };
}

function axis(colour) {
  return {
    color: colour("muted"),
    gridcolor: colour("line"),
    fixedrange: true,
    zeroline: false,
    ticks: "outside",
    ticklen: 4,
    tickcolor: colour("card"),
  };
}

function layoutFor(plot, { colour, font }) {
  return {
    width: plot.clientWidth,
    height: plot.clientHeight,
    margin: { l: 62, r: 10, t: 6, b: 24 },
    paper_bgcolor: colour("card"),
    plot_bgcolor: colour("card"),
    font: { family: font, size: 11, color: colour("ink") },
    hoverlabel: { bgcolor: colour("card"), bordercolor: colour("line"), align: "left", namelength: -1 },
    hovermode: "x unified",
    dragmode: false,
    showlegend: false,
  };
}

function coloursOf(series, { colour }) {
  const taken = new Set();
  let next = 0;
  return series.map(({ name }) => {
    const service = SERVICES.find((service) => name.split(/\W/, 1)[0] === service && !taken.has(service));
    if (service) {
      taken.add(service);
      return colour(service);
    }
    next = (next % PALETTE) + 1;
    return colour(`series-${next}`);
  });
}

// Dots that open their traces. On a graph they stand at their value, on a heat map in their bucket.
function dots(exemplars, positions, settings, { colour }) {
  const texts = exemplars.map(({ value, trace, labels }) => {
    const about = ABOUT.map((name) => labels[name]).filter(Boolean);
    const parts = [write(value, settings), ...about, `trace ${trace.slice(0, 8)}…: click the dot`];
    return asText(parts.join(" "));
  });
  return {
    type: "scatter",
    mode: "markers",
    name: "exemplar",
    x: exemplars.map(({ time }) => local(time)),
    y: positions,
    text: texts,
    customdata: exemplars.map(({ trace }) => trace),
    meta: "exemplars",
    hovertemplate: "%{text}<extra></extra>",
    marker: {
      size: 6,
      symbol: "diamond",
      color: colour("exemplar"),
      line: { color: colour("card"), width: 0.5 },
    },
  };
}

function plotly(plot, data, layout, traceUrl) {
  Plotly.react(plot, data, layout, { displayModeBar: false });
  const exemplars = data.find(({ meta }) => meta === "exemplars");
  const traceAt = (event) => exemplars && traceOfDot(exemplars, layout, plot, event);
  plot.onmousemove = (event) => plot.classList.toggle("on-dot", Boolean(traceAt(event)));
  plot.onclick = (event) => {
    const trace = traceAt(event);
    if (trace) {
      location.assign(traceUrl(trace));
    }
  };
}

// The trace of the dot under the mouse. plotly.js would tell the nearest one in time, at any height.
function traceOfDot(exemplars, { width, height, margin, xaxis, yaxis }, plot, mouse) {
  const box = plot.getBoundingClientRect();
  const inner = { width: width - margin.l - margin.r, height: height - margin.t - margin.b };
  const share = (value, [from, to]) => (value - from) / (to - from);
  const distances = exemplars.x.map((x, index) => {
    const right = margin.l + share(x, xaxis.range) * inner.width;
    const down = margin.t + (1 - share(exemplars.y[index], yaxis.range)) * inner.height;
    return Math.hypot(box.left + right - mouse.clientX, box.top + down - mouse.clientY);
  });
  const nearest = distances.indexOf(least(distances));
  return distances[nearest] <= DOT ? exemplars.customdata[nearest] : null;
}

// The slowest request in view is a link: the dots cannot be reached with the keyboard.
function showLegend(panel, entries, { exemplars }, settings, traceUrl) {
  const items = entries.map(({ name, value, colour }) => {
    const item = document.createElement("li");
    const key = document.createElement("span");
    key.className = "line-key";
    key.style.borderColor = colour;
    const figure = document.createElement("b");
    figure.textContent = value;
    item.append(key, `${name} `, figure);
    return item;
  });
  if (exemplars.length) {
    const slowest = exemplars.reduce((a, b) => (b.value > a.value ? b : a));
    const link = document.createElement("a");
    link.href = traceUrl(slowest.trace);
    link.textContent = `slowest trace: ${write(slowest.value, settings)}`;
    const item = document.createElement("li");
    item.append(link);
    items.push(item);
  }
  panel.querySelector(".legend").replaceChildren(...items);
}

// ---- the types of panels

function drawLines(panel, plot, answer, settings, traceUrl, look) {
  const isStat = settings.type === "stat";
  const { series, exemplars } = answer;
  const sumAt = (index) => series.reduce((sum, { values }) => sum + (values[index] ?? 0), 0);
  const shown = [
    ...series.flatMap(({ values }) => values),
    ...exemplars.map(({ value }) => value),
    ...(settings.stacked ? answer.times.map((_, index) => sumAt(index)) : []),
  ].filter(isKnown);
  const highest = greatest(shown);
  // The small graph of a number begins at 0 too: else noise would look like much.
  const softMin = isStat ? 0 : settings.softMin;
  const lowest = isKnown(softMin) ? Math.min(softMin, least(shown)) : least(shown);
  // One scale for the whole panel, so that the axis has round numbers in it.
  const [size, suffix] = scaleOf(Math.max(Math.abs(highest), Math.abs(lowest)), settings.scales);
  const colours = coloursOf(series, look);
  const x = answer.times.map(local);
  const data = series.map(({ name, values }, index) => ({
    type: "scatter",
    mode: "lines",
    name: asText(name),
    x,
    y: values.map((value) => (isKnown(value) ? value / size : null)),
    text: values.map((value) => asText(write(value, settings))),
    hovertemplate: "%{text}",
    line: { color: colours[index], width: settings.lineWidth },
    ...(settings.stacked ? { stackgroup: "all" } : { fill: lowest < 0 ? "none" : "tozeroy" }),
    fillcolor: transparent(colours[index], isStat ? 0.15 : settings.fill),
  }));
  if (exemplars.length) {
    data.push(dots(exemplars, exemplars.map(({ value }) => value / size), settings, look));
  }
  const room = 0.08 * (highest - lowest || Math.abs(highest) || 1);
  const layout = layoutFor(plot, look);
  layout.xaxis = timeAxis(answer, look);
  layout.yaxis = {
    ...axis(look.colour),
    range: [(lowest - (lowest < 0 ? room : 0)) / size, (highest + room) / size],
    nticks: 6,
    ticksuffix: suffix.length > LONGEST_SUFFIX ? "" : suffix,
    exponentformat: "none",
  };
  if (isStat) {
    Object.assign(layout, { margin: { l: 0, r: 0, t: 2, b: 0 } });
    layout.xaxis.visible = layout.yaxis.visible = false;
  }
  plotly(plot, data, layout, traceUrl);
  const latest = series.map(({ values }) => write(last(values), settings));
  if (isStat) {
    panel.querySelector(".figures").textContent = latest.join(" · ");
  } else {
    const entries = series.map(({ name }, index) => ({ name, value: latest[index], colour: colours[index] }));
    showLegend(panel, entries, answer, settings, traceUrl);
  }
}

// Every bucket is as high as any other, whatever its limits: most of the lab's lie close together.
function drawHeatMap(panel, plot, answer, settings, traceUrl, look) {
  const inYUnit = { scales: settings.yScales, decimals: null };
  const limits = answer.series.map(({ le }) => le ?? Infinity);
  const used = (index) => answer.series[index].values.some((value) => value > settings.least);
  // From the lowest bucket with a request to the highest, and one more on each side.
  const indexes = limits.map((_, index) => index).filter(used);
  const first = Math.max(indexes[0] - 1, 0);
  const rows = answer.series.slice(first, indexes.at(-1) + 2);
  const edges = [limits[first - 1] ?? 0, ...limits.slice(first, first + rows.length)];
  const place = (value) => {
    const row = edges.findIndex((limit, index) => index > 0 && value <= limit) - 1;
    return row < 0 ? null : row + (value - edges[row]) / (Math.min(edges[row + 1], 2 * value) - edges[row]);
  };
  const name = (limit) => (limit === Infinity ? "∞" : write(limit, inYUnit));
  const kept = (values) => values.map((value) => (value > settings.least ? value : null));
  const exponent = (value) => (value === null ? null : value ** settings.exponent);
  const bucket = (row) => `${name(edges[row])} to ${name(edges[row + 1])}`;
  const text = (row, value) => asText(`${bucket(row)}: ${write(value, settings)}`);
  const half = answer.step / 2;
  const data = [
    {
      type: "heatmap",
      x: [...answer.times.map((time) => local(time - half)), local(answer.times.at(-1) + half)],
      y: edges.map((_, index) => index),
      z: rows.map(({ values }) => kept(values).map(exponent)),
      text: rows.map(({ values }, row) => kept(values).map((value) => text(row, value))),
      hovertemplate: "%{text}<extra></extra>",
      colorscale: [[0, look.colour("heat-low")], [1, look.colour("heat-high")]],
      ygap: 1,
      showscale: false,
    },
  ];
  const exemplars = answer.exemplars.filter(({ value }) => place(value) !== null);
  data.push(dots(exemplars, exemplars.map(({ value }) => place(value)), inYUnit, look));
  const each = Math.ceil(edges.length / 12);
  const ticks = edges.map((_, index) => index).filter((index) => index % each === 0);
  const layout = layoutFor(plot, look);
  layout.hovermode = "closest";
  layout.xaxis = timeAxis(answer, look);
  layout.yaxis = {
    ...axis(look.colour),
    range: [0, rows.length],
    tickvals: ticks,
    ticktext: ticks.map((index) => name(edges[index])),
  };
  plotly(plot, data, layout, traceUrl);
  const rate = rows.reduce((sum, { values }) => sum + (last(values) ?? 0), 0);
  const entries = [{ name: "all buckets", value: write(rate, settings), colour: look.colour("heat-high") }];
  showLegend(panel, entries, answer, inYUnit, traceUrl);
}

const DRAW = { timeseries: drawLines, stat: drawLines, heatmap: drawHeatMap };

// Draw the newest data of a panel, or say why there is none.
export function drawPanel(panel, answer, traceUrl) {
  const settings = JSON.parse(panel.dataset.settings);
  const plot = panel.querySelector(".plot");
  const problem = panel.querySelector(".problem");
  const floor = settings.type === "heatmap" ? settings.least : -Infinity;
  const counts = (value) => isKnown(value) && value > floor;
  const empty = !answer.error && !answer.series.some(({ values }) => values.some(counts));
  problem.textContent = answer.error ?? (empty ? settings.noValue || "No data in this range of time." : "");
  problem.hidden = !problem.textContent;
  panel.classList.toggle("quiet", empty);
  plot.hidden = Boolean(problem.textContent);
  if (plot.hidden) {
    panel.querySelector(".legend").replaceChildren();
    panel.querySelectorAll(".figures").forEach((figures) => (figures.textContent = ""));
  } else {
    DRAW[settings.type](panel, plot, answer, settings, traceUrl, style());
  }
  panel.dataset.drawn = answer.to; // seconds since 1970
}
