"""How many spans a second a trace backend takes without losing one, and how much memory it needs for them.

Spans like those of the lab are sent by OTLP/HTTP as fast as they are taken, over three connections, in
requests of up to 512 spans. They are counted at the end of their way, in the embedded store or where Jaeger
has written them, and none may be missing. The time runs until the last one is there. The sender is on the
same machine, and takes its share of the cores.

The embedded store keeps 100,000 spans. It is filled once, and then with twice as many more, which push the
older ones out: that must not need more memory. What Jaeger keeps is bounded too, in `jaeger/config.yaml`, by
a number of traces.
"""

import sys
from dataclasses import dataclass
from time import perf_counter, sleep
from typing import Any

from bench import exports
from bench.report import Report, at_most
from bench.running import EMBEDDED, REAL, TraceBackend, trace_backend, trace_backends

KEPT = 100_000  # the default of the embedded store
STORE = "dockercoins_tracestore_spans"
WRITTEN = 'otelcol_exporter_sent_spans_total{exporter="jaeger_storage_exporter"'
ARRIVAL_SECONDS = 30
# Of the memory of a store that is full for the first time. A store that let nothing go would hold three times
# as much.
GROWTH = 1.1


@dataclass(frozen=True)
class Result:
    """What became of so many spans: how many a second arrived, and how many did not.

    `again` is the number of requests that were refused first, `memory` what the backend needs then, in MB.
    """

    spans: int
    speed: float
    lost: float
    again: int
    memory: float


def arrived(backend: TraceBackend, choice: str) -> float:
    """Return how many spans have arrived at the end of their way."""
    if choice == EMBEDDED:
        metrics = backend.metrics("JAEGER_PORT")
        return metrics[f"{STORE}_stored"] + metrics[f"{STORE}_evicted_total"]
    metrics = backend.metrics("JAEGER_METRICS_PORT")
    return sum(value for series, value in metrics.items() if series.startswith(WRITTEN))


def fill(backend: TraceBackend, choice: str, spans: int) -> Result:
    """Send so many spans, and wait until they have arrived; those that have not after a while are lost."""
    bodies = list(exports.requests_of(spans))
    wanted = arrived(backend, choice) + spans
    started = perf_counter()
    again = exports.send(f"{backend.url('OTLP_PORT')}/v1/traces", bodies)
    sent = perf_counter()
    while (lost := wanted - arrived(backend, choice)) and perf_counter() < sent + ARRIVAL_SECONDS:
        sleep(0.05)
    result = Result(spans, spans / (perf_counter() - started), lost, again, backend.memory())
    print(f"{choice}: {result.speed:,.0f} spans/s, {result.memory:.0f} MB", file=sys.stderr)
    return result


def run(*, short: bool) -> Report:
    """Run the benchmark."""
    kept = KEPT // 10 if short else KEPT
    results = {}
    with trace_backend(EMBEDDED, f"--max-spans={kept}") as backend:
        empty = backend.memory()
        results["embedded store, until it is full"] = full = fill(backend, EMBEDDED, kept)
        results["embedded store, evicting"] = later = fill(backend, EMBEDDED, 2 * kept)
        stored = backend.metrics("JAEGER_PORT")[f"{STORE}_stored"]
    if REAL in trace_backends():
        with trace_backend(REAL) as backend:
            results["Collector and Jaeger"] = fill(backend, REAL, 3 * kept)
    return Report(
        name="spans",
        title="Spans that the trace backends take",
        how="Each row once, one after the other. Memory is the resident set of the backend's processes.",
        columns={
            "backend": ("backend", "{}"),
            "spans": ("spans sent", "{:,}"),
            "speed": ("spans/s", "{:,.0f}"),
            "lost": ("lost", "{:.0f}"),
            "again": ("requests sent again", "{}"),
            "memory": ("memory then, MB", "{:.0f}"),
        },
        rows=[{"backend": name, **vars(result)} for name, result in results.items()],
        goals=[
            at_most("spans lost", sum(result.lost for result in results.values()), 0),
            at_most("spans in the embedded store", stored, kept),
            at_most(
                "memory after three times the spans, of a store full once", later.memory / full.memory, GROWTH
            ),
        ],
        notes=[
            f"The embedded store needs {empty:.0f} MB when it is empty, and "
            f"{1e6 * (later.memory - empty) / kept:,.0f} bytes for each span that it keeps."
        ],
    )


def draw(report: Report, axes: Any) -> None:
    """Draw a bar for the speed of each backend."""
    names = [row["backend"] for row in report.rows]
    bars = axes.barh(names[::-1], [row["speed"] for row in report.rows][::-1], color="#3b6ea5")
    axes.bar_label(bars, fmt="{:,.0f}", padding=3)
    axes.set_xlabel("spans per second")
