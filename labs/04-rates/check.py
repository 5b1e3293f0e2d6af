"""Lab 04: the speed, from two counters, over windows of different lengths."""

from workshop.grading.answers import Expected, number, promql
from workshop.grading.checks import Failed, check
from workshop.grading.history import measured_period, speed
from workshop.grading.live import Live

WINDOW_SECONDS = 30
# `rate` needs two samples.
SAMPLES = 2
# A change shows at the next scrape, 2 s at most, of what a worker hands in after 1 s.
SEEN_AFTER_SECONDS = 3


@check("one worker, measured")
def one_worker(live: Live) -> str:
    return f"{speed(live, measured_period(live, 1)):.1f} hashes/s"


@check("three workers, measured")
def three_workers(live: Live) -> str:
    return f"{speed(live, measured_period(live, 3)):.1f} hashes/s"


def reference(live: Live, expression: str) -> str:
    """Return a reference when there was a change, without which all windows give the same."""
    measured_period(live, 1)
    measured_period(live, 3)
    return expression


@promql("An expression for the hashes a second, from the counter in Redis, over 30 s")
def speed_redis(live: Live) -> str:
    return reference(live, "max(rate(dockercoins_hashes_total[30s]))")


@promql("The same from the workers' own counters, one number for all of them")
def speed_workers(live: Live) -> str:
    return reference(live, "sum(rate(dockercoins_worker_loops_total[30s]))")


@promql("The same for each worker, told apart by instance", by=("instance",))
def speed_each(live: Live) -> str:
    return reference(live, "sum by (instance) (rate(dockercoins_worker_loops_total[30s]))")


@number("The shortest window for rate, in whole seconds, in which there are always two samples", unit="s")
def shortest_window(live: Live) -> Expected:
    workers = live.prometheus.targets("worker")
    if not workers:
        raise Failed("a worker", "none", 'up{job="worker"}')
    interval = float(workers[0]["scrapeInterval"].removesuffix("s"))
    rule = "a window that holds two samples wherever it begins, and no longer than that"
    return Expected(SAMPLES * interval, 0, rule, "rate(dockercoins_worker_loops_total[2s])")


@number("How many seconds after a change does a rate over 30 s show the new speed in full?", unit="s")
def full_effect(live: Live) -> Expected:
    rule = f"the time until none of the old speed is left in the window, within {SEEN_AFTER_SECONDS} s"
    return Expected(WINDOW_SECONDS, SEEN_AFTER_SECONDS, rule, "rate(dockercoins_hashes_total[30s])")
