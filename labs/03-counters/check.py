"""Lab 03: counters, their resets, and what is lost in a crash."""

import math

from workshop.grading.answers import Expected, choice, number, promql
from workshop.grading.checks import Failed, Waiting, check
from workshop.grading.live import Live

LOOPS = "dockercoins_worker_loops_total"
IN_HAND = "max(dockercoins_worker_loops_in_hand)"
# One worker makes 3.2 loops a second and never has more than 4 in its hands while Redis answers. To have 15
# takes over 4 s without Redis, longer than a restart.
MANY_IN_HAND = 15
FEW_IN_HAND = 5
LONGEST_BACKOFF_SECONDS = 10
LOOP_SECONDS = (
    "sum(rate(dockercoins_worker_loop_duration_seconds_sum[30s]))"
    " / sum(rate(dockercoins_worker_loop_duration_seconds_count[30s]))"
)
# A worker hands in at the end of the first loop that ends so long after the last time, or later.
FLUSH_SECONDS = 1


def since(live: Live) -> str:
    """Return the time since the work counts as a window of PromQL, to the millisecond.

    In whole seconds it could begin too late for the only sample before a crash.
    """
    return f"[{max(live.now - live.since, 1) * 1000:.0f}ms]"


@check("a worker died, and its counter began anew")
def crash(live: Live) -> str:
    resets = live.prometheus.scalar(f"sum(resets({LOOPS}{since(live)}))", live.now)
    if not resets:
        raise Failed("a counter that falls to zero", "none fell", f"resets({LOOPS}[5m])")
    return f"resets: {resets:g}"


@check("Redis was away, and came back")
def redis_away(live: Live) -> str:
    in_hand = f"max(max_over_time(dockercoins_worker_loops_in_hand{since(live)}))"
    most = live.prometheus.scalar(in_hand, live.now) or 0
    if most < MANY_IN_HAND:
        raise Failed(
            f"a worker with {MANY_IN_HAND} loops in its hands at some time", f"{most:g} at most", IN_HAND
        )
    now = live.prometheus.scalar(IN_HAND)
    if live.prometheus.scalar("min(dockercoins_redis_up)") != 1:
        raise Failed("a Redis that answers", "it does not", "dockercoins_redis_up")
    if now is None or now > FEW_IN_HAND:
        raise Waiting("the worker tries Redis again", LONGEST_BACKOFF_SECONDS)
    return f"{most:g} loops were in hand, and now {now:g} are"


@number("How many samples of each counter does Prometheus take in a minute?")
def scrapes(live: Live) -> Expected:
    workers = live.prometheus.targets("worker")
    if not workers:
        raise Failed("a worker", "none", 'up{job="worker"}')
    per_minute = 60 / float(workers[0]["scrapeInterval"].removesuffix("s"))
    return Expected(
        per_minute,
        1,
        "a minute divided by the time between two scrapes",
        'count_over_time(up{job="worker"}[20s])',
    )


@promql("An expression for the loops that all workers finished in the last 5 minutes, right across the crash")
def loops(live: Live) -> str:
    return f"sum(increase({LOOPS}[5m]))"


@number("How many finished loops can a crash of one worker lose at most?")
def lost(live: Live) -> Expected:
    loop = live.prometheus.scalar(LOOP_SECONDS)
    if loop is None or math.isnan(loop):
        raise Waiting("a worker that finishes loops", 5)
    return Expected(math.ceil(FLUSH_SECONDS / loop), 1, "what a worker hands in at once, within 1", IN_HAND)


@choice(
    "Who can tell exactly how many loops the crash lost?",
    a="Prometheus, from the counter of loops",
    b="Redis, from the counter `hashes`",
    c="the trace backend, from the number of traces",
    d="nobody",
)
def who_knows(live: Live) -> str:
    return "d"


@choice(
    "How many loops were lost when Redis was away?",
    a="none",
    b="those of the last second before it went away",
    c="all those of the time when it was away",
)
def redis_away_lost(live: Live) -> str:
    return "a"
