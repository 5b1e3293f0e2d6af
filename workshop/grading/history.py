"""What happened in a running lab, from Prometheus' history: how many workers ran when, and how fast.

A speed measured over T seconds has an error, because workers hand their loops to Redis about once a second.
The counter lags behind the loops done by 0 to h, where h is what one worker hands in at once (4 if it is
alone). So a difference over T seconds is wrong by at most h, and with a standard deviation of h √2 / √12 =
0.41 h: for one worker and 30 s that is 0.05 hashes/s, or 1.7 % of its speed. The lags of ten workers are
independent of each other: there it is below 1 %.
"""

import math
from dataclasses import dataclass

from workshop.grading.checks import Failed, Waiting
from workshop.grading.live import Live

WORKERS = 'sum(up{job="worker"})'
SPEED = "max(rate(dockercoins_hashes_total[30s]))"

STEP_SECONDS = 2  # as Prometheus scrapes
# What is left out at both ends of a period: workers that start or end, and the scrapes that notice it.
MARGIN_SECONDS = 5
MEASURED_SECONDS = 30
# A period that was long enough a moment ago must not be too short when it ends, give or take a step.
SHORTEST_SECONDS = MEASURED_SECONDS - MARGIN_SECONDS - STEP_SECONDS


@dataclass(frozen=True)
class Period:
    """A time in which the number of workers did not change; Unix times in seconds."""

    workers: int
    start: float
    end: float
    goes_on: bool

    @property
    def measured(self) -> tuple[float, float]:
        """The part of the period that says something of so many workers."""
        return self.start + MARGIN_SECONDS, self.end - (0 if self.goes_on else MARGIN_SECONDS)

    @property
    def seconds(self) -> float:
        """How long that part is."""
        start, end = self.measured
        return end - start


def first_step(time: float) -> float:
    """Return the first multiple of a step that is not before a Unix time, in seconds.

    A history that begins there has the same moments whenever it is asked for.
    """
    return math.ceil(time / STEP_SECONDS) * STEP_SECONDS


def periods(live: Live) -> list[Period]:
    """Return the periods of the exercise's history, the oldest first."""
    # Before the first step there is only this moment. What was before the exercise does not count.
    start = min(first_step(live.since), live.now)
    series = live.prometheus.query_range(WORKERS, start, live.now, STEP_SECONDS)
    found: list[Period] = []
    for time, value in series[0].values.items() if series else ():
        workers = round(value)
        goes_on = live.now - time < STEP_SECONDS
        last = found[-1] if found else None
        if last and last.workers == workers and time - last.end < 2 * STEP_SECONDS:
            found[-1] = Period(workers, last.start, time, goes_on)
        else:
            found.append(Period(workers, time, time, goes_on))
    return found


def measured_period(live: Live, workers: int, after: float = 0) -> Period:
    """Return the last period with so many workers that is long enough to measure, and began after `after`.

    Raises `Waiting` while it is under way, `Failed` if there is none.
    """
    history = periods(live)
    fitting = [period for period in history if period.workers == workers and period.start >= after]
    for period in reversed(fitting):
        if period.seconds >= (MEASURED_SECONDS if period.goes_on else SHORTEST_SECONDS):
            return period
    name = "1 worker" if workers == 1 else f"{workers} workers"
    if fitting and fitting[-1].goes_on:
        raise Waiting(
            f"{MEASURED_SECONDS} s of measurements with {name}", MEASURED_SECONDS - fitting[-1].seconds
        )
    if len(history) > 1 and live.now - history[-1].start < MARGIN_SECONDS:
        raise Waiting("the number of workers just changed", MARGIN_SECONDS - (live.now - history[-1].start))
    enough = f"{name} for at least {MEASURED_SECONDS + MARGIN_SECONDS} s"
    if fitting:
        longest = max(period.end - period.start for period in fitting)
        raise Failed(enough, f"{name} for {longest:.0f} s", WORKERS)
    counts = sorted({period.workers for period in history})
    raise Failed(enough, f"workers so far: {', '.join(map(str, counts)) or 'none'}", WORKERS)


def value(live: Live, expression: str, period: Period) -> float:
    """Return what an expression with `[WINDOW]` for its window gives for the measured part of a period.

    Raises `Waiting` if there is no data yet.
    """
    _, end = period.measured
    window = f"{min(period.seconds, 60):.0f}s"
    found = live.prometheus.scalar(expression.replace("WINDOW", window), at=end)
    if found is None or found != found:  # NaN: nothing happened in the window
        raise Waiting("data", 5)
    return found


def speed(live: Live, period: Period) -> float:
    """Return the hashes per second of a period, from the counter in Redis."""
    return value(live, "max(rate(dockercoins_hashes_total[WINDOW]))", period)
