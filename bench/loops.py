"""What telemetry costs: the whole application without its delays, loops per second and CPU time per loop.

Five variants run in turn, round after round, so that what the machine does meanwhile meets all alike: a plain
DockerCoins (bench/plain), and the lab with telemetry off, with metrics only, with 5 % and with all traces.
CPU time is that of every process: also Redis, Prometheus, the trace backend and the pages. Where the time
goes, `parts` and `steps` tell.
"""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from statistics import median
from time import sleep
from typing import Any

from bench.report import Report, at_least, at_most
from bench.running import NO_DELAY, Running, lab, plain
from tests.support import poll_until

WARM_UP_LOOPS = 500
# Goals: the speed with everything on, of plain; the CPU time with everything on, of telemetry off.
SPEED_LIMIT, CPU_LIMIT = 1.5, 1.35
SERVICES = ("rng", "hasher", "worker-1")
PLAIN, OFF, ALL = "plain", "telemetry off", "everything at 100 %"
VARIANTS: dict[str, Callable[[], AbstractContextManager[Running]]] = {
    PLAIN: plain,
    OFF: partial(lab, **NO_DELAY, TELEMETRY="off"),
    "metrics only": partial(lab, **NO_DELAY, OTEL_TRACES_SAMPLER="always_off"),
    "traces at 5 %": partial(
        lab, **NO_DELAY, OTEL_TRACES_SAMPLER="parentbased_traceidratio", OTEL_TRACES_SAMPLER_ARG="0.05"
    ),
    ALL: partial(lab, **NO_DELAY),
}


@dataclass(frozen=True)
class Result:
    """Loops per second, and milliseconds of CPU time per loop: of rng, hasher and worker, and of all."""

    speed: float
    services_cpu: float
    all_cpu: float


def measure(running: Running, seconds: float) -> Result:
    """Let a variant warm up, then measure it from one change of its count to another, for so many seconds."""
    poll_until("warm-up", lambda: running.hashes() > WARM_UP_LOOPS, 60)
    started, first = running.next_count()
    before = running.cpu()
    sleep(seconds)
    ended, last = running.next_count()
    used = {name: seconds - before[name] for name, seconds in running.cpu().items()}
    loops = last - first
    return Result(
        speed=loops / (ended - started),
        services_cpu=1000 * sum(used[name] for name in SERVICES) / loops,
        all_cpu=1000 * sum(used.values()) / loops,
    )


def run(*, short: bool) -> Report:
    """Run the benchmark."""
    rounds, seconds = (2, 4) if short else (7, 10)
    results: dict[str, list[Result]] = {name: [] for name in VARIANTS}
    for number in range(rounds):
        for name, start in VARIANTS.items():
            with start() as running:
                results[name].append(measure(running, seconds))
            print(f"round {number + 1}: {name:20} {results[name][-1].speed:6.1f}/s", file=sys.stderr)

    def ratio(field: str, name: str, other: str) -> float:
        """Return the median of the ratios of each round: what the machine does in a round meets both."""
        pairs = zip(results[name], results[other], strict=True)
        return median([getattr(a, field) / getattr(b, field) for a, b in pairs])

    return Report(
        name="loops",
        title="Loops without delays: what telemetry costs",
        how=f"{rounds} rounds of {seconds} s for each variant, in turn; medians.",
        columns={
            "variant": ("variant", "{}"),
            "speed": ("loops/s", "{:.0f}"),
            "speed_ratio": ("of plain", "{:.2f}"),
            "services_cpu": ("CPU of rng, hasher, worker, ms/loop", "{:.2f}"),
            "services_cpu_ratio": ("of off", "{:.2f}"),
            "all_cpu": ("CPU of all processes, ms/loop", "{:.2f}"),
            "all_cpu_ratio": ("of off", "{:.2f}"),
        },
        rows=[
            {
                "variant": name,
                "speed": median([result.speed for result in found]),
                "speed_ratio": ratio("speed", name, PLAIN),
                "services_cpu": median([result.services_cpu for result in found]),
                "services_cpu_ratio": ratio("services_cpu", name, OFF),
                "all_cpu": median([result.all_cpu for result in found]),
                "all_cpu_ratio": ratio("all_cpu", name, OFF),
            }
            for name, found in results.items()
        ],
        goals=[
            at_least("speed with everything on, of plain", ratio("speed", ALL, PLAIN), SPEED_LIMIT),
            at_most("CPU of all processes with everything on, of off", ratio("all_cpu", ALL, OFF), CPU_LIMIT),
        ],
    )


def draw(report: Report, axes: Any) -> None:
    """Draw a bar for the speed of each variant."""
    names = [row["variant"] for row in report.rows]
    speeds = [row["speed"] for row in report.rows]
    bars = axes.barh(names[::-1], speeds[::-1], color="#3b6ea5")
    axes.bar_label(bars, fmt="%.0f", padding=3)
    axes.set_xlabel("loops per second, without delays")
