"""Where the time goes: telemetry taken out of the running services, one part after another.

The application runs without delays, with all traces, which the embedded trace store takes. Without the part
of a row and those above it, a loop takes less time. The difference is what the part costs, with all that it
does to the rest: it also drives other code and data out of the processor's caches.

Prometheus does not run here. The trace store is the other process.
"""

import math
import statistics
import sys
import time
from itertools import pairwise
from typing import Any

from bench.apart import Application, Found, application
from bench.loops import CPU_LIMIT
from bench.report import Report
from bench.running import EMBEDDED, trace_backend

# In the order in which `bench/switched.py` takes them out.
PARTS = (
    "the export of spans: encoding, sending, storing",
    "spans: making, ending, queueing them",
    "measurements: histograms and gauges",
    "what is around each call: attributes, labels, context, headers",
)
# Until a batch of spans that was begun before is out of the way: they are exported once a second.
SETTLE_SECONDS = 1.5


def measure(running: Application, rounds: int, seconds: float) -> list[list[Found]]:
    """Return what was found with everything, without the first part, without the first two and so on."""
    found: list[list[Found]] = [[] for _ in range(len(PARTS) + 1)]
    for number in range(rounds):
        running.put_all_back()
        for stage in found:
            time.sleep(SETTLE_SECONDS)
            stage.append(running.measure(seconds))
            running.take_out_one_more()
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
    return found


def costs(found: list[list[Found]], field: str) -> list[tuple[float, float]]:
    """Return what each part costs, and at last all of them, in ms of CPU time per loop.

    It is the mean of all rounds, and the standard error of that.
    """
    return [
        mean_and_error([getattr(a, field) - getattr(b, field) for a, b in zip(before, after, strict=True)])
        for before, after in (*pairwise(found), (found[0], found[-1]))
    ]


def mean_and_error(values: list[float]) -> tuple[float, float]:
    """Return the mean of some values, and its standard error."""
    return statistics.fmean(values), statistics.stdev(values) / math.sqrt(len(values))


def run(*, short: bool) -> Report:
    """Run the benchmark."""
    rounds, seconds = (3, 1) if short else (25, 2)
    with trace_backend(EMBEDDED) as backend:
        otlp = backend.url("OTLP_PORT")
        with application("telemetry", *backend.processes, OTEL_EXPORTER_OTLP_ENDPOINT=otlp) as running:
            found = measure(running, rounds, seconds)
    services, others = costs(found, "cpu"), costs(found, "other_cpu")
    return Report(
        name="parts",
        title="The parts of telemetry in the running services",
        how=f"{rounds} rounds of {seconds} s without each of the parts, on the same processes; means.",
        columns={
            "part": ("part", "{}"),
            "services": ("CPU of rng, hasher, worker, ms/loop", "{:.2f}"),
            "error": ("standard error", "{:.2f}"),
            "others": ("of the trace store", "{:.2f}"),
            "all": ("of both", "{:.2f}"),
        },
        rows=[
            {"part": part, "services": mean, "error": error, "others": other, "all": mean + other}
            for part, (mean, error), (other, _) in zip([*PARTS, "all of them"], services, others, strict=True)
        ],
        notes=[note(found)],
    )


def note(found: list[list[Found]]) -> str:
    """Return what follows for the goal of `loops`."""
    everything, nothing = (
        statistics.fmean([one.cpu + one.other_cpu for one in stage]) for stage in (found[0], found[-1])
    )
    fast, faster = (statistics.fmean([one.speed for one in stage]) for stage in (found[0], found[-1]))
    return (
        f"With everything, a loop takes {everything:.2f} ms of CPU time, and there are {fast:.0f} loops/s; "
        f"without all these parts, {nothing:.2f} ms and {faster:.0f} loops/s. To take {CPU_LIMIT} times as "
        f"much, all parts together may take {(CPU_LIMIT - 1) * nothing:.2f} ms."
    )


def draw(report: Report, axes: Any) -> None:
    """Draw a bar for each part: what it takes in the services, and then in the trace store."""
    rows = report.rows[-2::-1]
    parts = [row["part"].partition(":")[0] for row in rows]
    services = [row["services"] for row in rows]
    others = [row["others"] for row in rows]
    axes.barh(parts, others, left=services, color="#c98a3b", label="trace store")
    errors = [2 * row["error"] for row in rows]
    label = "rng, hasher, worker, and two standard errors"
    axes.barh(parts, services, xerr=errors, color="#3b6ea5", capsize=4, label=label)
    axes.legend(loc="lower center", bbox_to_anchor=(0.4, 1), ncols=2, frameon=False)
    axes.set_xlabel("ms of CPU time in a loop")
