"""The speed with 1 to 50 workers: with the bottleneck, and with the bottleneck removed.

The lab is a closed queueing system. N workers go round, each in C seconds when nobody waits. On the way, rng
serves T requests at a time, each in S seconds. So the speed is at most

    X = min(N / C, T / S)

loops a second. These are the asymptotic bounds of operational analysis: P. J. Denning and J. P. Buzen, *The
Operational Analysis of Queueing Network Models*, ACM Computing Surveys 10(3), 1978. The lab comes close to
them, because its delays are nearly constant.

C and S are measured with one worker in the same run: C is the time of a loop, the inverse of the speed, and S
the mean time that rng says it takes. All other predictions follow from these two. By default T is 1. With
`RNG_THREADS=10` it is 10, and rng is no bottleneck up to some thirty workers; beyond, and with too few cores
for so many processes before, the speed measured stays behind.
"""

import sys
from statistics import linear_regression
from time import sleep
from typing import Any

from bench.report import Report, at_least, at_most
from bench.running import Running, RunningLab, lab

WORKERS, FEW_WORKERS = (1, 2, 3, 5, 10, 20, 35, 50), (1, 3, 10)
SPACING_SECONDS = 0.2
SETTLE_SECONDS = 2
DEVIATION_PERCENT = 5
RNG_DURATION = "http_server_request_duration_seconds_{}" + '{{job="rng",http_route="/<int:size>"}}[{}s]'
HEADINGS = {1: "by default", 10: "RNG_THREADS=10"}


def speed(running: Running, seconds: float) -> float:
    """Return loops per second, measured for so many seconds.

    A worker counts its loops once a second, several at once. So the speed is the slope of a line through the
    count at many of its changes, by least squares: the first and the last alone may be those of two workers.
    """
    points = [running.next_count()]
    while points[-1][0] < points[0][0] + seconds:
        sleep(SPACING_SECONDS)
        points.append(running.next_count())
    times, counts = zip(*points, strict=True)
    return linear_regression(times, counts).slope


def measure(
    running: RunningLab, threads: int, workers: tuple[int, ...], seconds: float
) -> list[dict[str, Any]]:
    """Return the speeds predicted and measured, in loops/s, for each number of workers; the first is 1."""
    loop_time = service_time = 0.0
    found = []
    for count in workers:
        if count > 1:
            running.lab.run("scale", f"worker={count}")
            # Each has begun, and has made and counted a loop.
            sleep(SETTLE_SECONDS + count / predicted(count, loop_time, threads, service_time))
        measured = speed(running, seconds)
        if count == 1:
            loop_time, service_time = 1 / measured, mean_service_time(running, seconds)
        expected = predicted(count, loop_time, threads, service_time)
        deviation = 100 * (measured / expected - 1)
        found.append({"predicted": expected, "measured": measured, "deviation": deviation})
        print(f"{HEADINGS[threads]}, {count} workers: {expected:.2f}/s, {measured:.2f}/s", file=sys.stderr)
    return found


def predicted(workers: int, loop_time: float, threads: int, service_time: float) -> float:
    """Return the largest speed that so many workers can have, in loops/s; times in seconds."""
    return min(workers / loop_time, threads / service_time)


def mean_service_time(running: RunningLab, seconds: float) -> float:
    """Return the mean time of a request during the last seconds, as rng itself measures it, in seconds."""
    total, count = (RNG_DURATION.format(what, round(seconds)) for what in ("sum", "count"))
    found = running.lab.prometheus.scalar(f"sum(rate({total})) / sum(rate({count}))")
    if found is None:
        raise LookupError("Prometheus knows no request of rng")
    return found


def run(*, short: bool) -> Report:
    """Run the benchmark."""
    workers, seconds = (FEW_WORKERS, 4) if short else (WORKERS, 12)
    found = {}
    for threads in HEADINGS:
        with lab(RNG_THREADS=str(threads)) as running:
            found[threads] = measure(running, threads, workers, seconds)
    columns = {"workers": ("workers", "{}")}
    for threads, heading in HEADINGS.items():
        columns |= {
            f"predicted_{threads}": (f"{heading}: predicted/s", "{:.1f}"),
            f"measured_{threads}": ("measured/s", "{:.1f}"),
            f"deviation_{threads}": ("deviation, %", "{:+.1f}"),
        }
    rows = [
        {"workers": count}
        | {f"{key}_{threads}": value for threads in HEADINGS for key, value in found[threads][index].items()}
        for index, count in enumerate(workers)
    ]
    without = {row["workers"]: row["measured_10"] for row in rows}
    return Report(
        name="workers",
        title="The speed over the number of workers",
        how=f"{seconds} s for each number of workers, which changes while the lab runs. In loops per second.",
        columns=columns,
        rows=rows,
        goals=[
            at_most(
                "largest deviation from the prediction by default, %",
                max(abs(row["deviation_1"]) for row in rows),
                DEVIATION_PERCENT,
            ),
            at_least("speed of ten workers with RNG_THREADS=10, of one", without[10] / without[1], 9),
        ],
    )


def draw(report: Report, axes: Any) -> None:
    """Draw what was predicted as lines, what was measured as points."""
    workers = [row["workers"] for row in report.rows]
    for (threads, heading), colour in zip(HEADINGS.items(), ("#3b6ea5", "#c2611f"), strict=True):
        predictions = [row[f"predicted_{threads}"] for row in report.rows]
        measurements = [row[f"measured_{threads}"] for row in report.rows]
        axes.plot(workers, predictions, "--", color=colour, label=f"{heading}: predicted")
        axes.plot(workers, measurements, "o", color=colour, label=f"{heading}: measured")
    axes.set_xlabel("workers")
    axes.set_ylabel("loops per second")
    axes.legend(frameon=False)
