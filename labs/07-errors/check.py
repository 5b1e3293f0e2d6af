"""Lab 07: a loud failure and two silent ones, told apart by metrics; and how long no coin is mere chance."""

import math
from dataclasses import dataclass
from itertools import pairwise

from workshop.grading.alerts import recorded, replay
from workshop.grading.answers import Expected, choice, number, promql, text
from workshop.grading.checks import Failed, Waiting, check
from workshop.grading.history import STEP_SECONDS, measured_period, speed
from workshop.grading.live import Live

LOOPS = "sum(dockercoins_worker_loops_total)"
COINS = "sum(dockercoins_worker_coins_total)"
RNG_ERRORS = 'sum(http_server_request_duration_seconds_count{job="rng", http_response_status_code="500"})'
REFUSED = 'sum(http_server_request_duration_seconds_count{job="hasher", http_response_status_code="404"})'

COIN_SHARE = 1 / 16
CHANCE = 0.001
ONE_WORKER = 3.2  # hashes a second
# So many loops have no coin by chance once in 13 times: it may be chance, or the beginning of something.
STRANGE_LOOPS = 40
# The longest window of an alert here, and the scrapes before it is noticed that something ended.
WINDOW_SECONDS = 40
SETTLED_SECONDS = WINDOW_SECONDS + 3 * STEP_SECONDS
# rng allows 10 a second, so these fill such a window. By chance they have no coin once in 10^12 times.
SURE_LOOPS = 10 * SETTLED_SECONDS


@dataclass(frozen=True)
class Stretch:
    """A time without a coin, in Unix seconds, and the loops in it; in all of it hasher refused, or never."""

    start: float
    end: float
    loops: float
    refused: bool


def stretches(live: Live) -> list[Stretch]:
    """Return the stretches without a coin since the work began, the oldest first."""
    loops, coins, refused = (recorded(live, expression, live.since) for expression in (LOOPS, COINS, REFUSED))
    times = sorted(loops.keys() & coins.keys())
    found: list[Stretch] = []
    for before, time in pairwise(times):
        more = loops[time] - loops[before]
        # Fewer than before: workers ended, or began anew.
        if coins[time] != coins[before] or more < 0:
            continue
        refuses = refused.get(time, 0) > refused.get(before, 0)
        last = found[-1] if found else None
        if last and last.end == before and last.refused == refuses:
            found[-1] = Stretch(last.start, time, last.loops + more, refuses)
        else:
            found.append(Stretch(before, time, more, refuses))
    return found


def grown(live: Live, expression: str) -> float:
    """Return by how much a sum of counters grew since the work began."""
    return (live.prometheus.scalar(expression) or 0) - (
        live.prometheus.scalar(expression, at=live.since) or 0
    )


def silent_stretches(live: Live) -> list[Stretch]:
    """Return the stretches that are too long for chance, and in which hasher refused nothing."""
    return [one for one in stretches(live) if one.loops >= SURE_LOOPS and not one.refused]


@check("ten workers, measured")
def ten_workers(live: Live) -> str:
    return f"{speed(live, measured_period(live, 10)):.1f} hashes/s"


@check("the loud failure: rng answers some requests with an error")
def loud(live: Live) -> str:
    errors = grown(live, RNG_ERRORS)
    if errors <= 0:
        raise Failed("requests that rng answers with status 500", "none", RNG_ERRORS)
    return f"{errors:g} errors"


@check("the first silent failure: hasher refuses what workers ask for")
def refused(live: Live) -> str:
    requests = grown(live, REFUSED)
    if requests <= 0:
        raise Failed("requests that hasher answers with status 404", "none", REFUSED)
    return f"{requests:g} requests refused"


@check("the second silent failure: no coins, and every request succeeds")
def silent(live: Live) -> str:
    if found := silent_stretches(live):
        return f"no coin in {found[-1].loops:g} loops"
    healthy = [one for one in stretches(live) if not one.refused]
    longest = max((one.loops for one in healthy), default=0)
    last = healthy[-1] if healthy else None
    if last and last.loops >= STRANGE_LOOPS and live.now - last.end < 2 * STEP_SECONDS:
        what = f"no coin in the last {last.loops:g} loops, which may be chance; sure after {SURE_LOOPS}"
        pace = last.loops / (last.end - last.start)
        raise Waiting(what, (SURE_LOOPS - last.loops) / pace)
    expected = f"{SURE_LOOPS} loops in a row without a coin, while hasher answers with 200"
    raise Failed(expected, f"{longest:g} at most", COINS)


@promql("An expression for the share of coins in the loops, as the workers count both, over 1 minute")
def coin_share(live: Live) -> str:
    measured_period(live, 10)
    return "sum(rate(dockercoins_worker_coins_total[1m])) / sum(rate(dockercoins_worker_loops_total[1m]))"


@choice(
    "hasher answers with 404, and coins are gone. Who is to be mended?",
    a="hasher: it is where the errors are counted",
    b="rng: without good bytes there is no hash",
    c="the worker: it asks for what is not there, and counts the answer as a hash without an error",
    d="Redis: it has the wallet",
)
def who_refused(live: Live) -> str:
    return "c"


@choice(
    "Coins are gone, and every request succeeds. Why is it not rng that gives bad bytes?",
    a="rng's histogram shows 0.1 s, as always",
    b="of the hashes of any bytes one in 16 begins with 0, if only the bytes are not the same each time",
    c="bad bytes make hasher answer with 404",
    d="rng answers with 200, so its bytes are good",
)
def why_not_rng(live: Live) -> str:
    return "b"


def sure_loops() -> int:
    """Return the smallest number of loops that are all without a coin by chance less often than `CHANCE`."""
    return math.ceil(math.log(CHANCE) / math.log(1 - COIN_SHARE))


@number("After how many loops without a coin is chance below 0.1 %?", unit="loops")
def sure(live: Live) -> Expected:
    return Expected(sure_loops(), 1, f"the smallest n for which that chance is below {CHANCE:.1%}, within 1")


@number("How many seconds does that take with one worker?", unit="s")
def sure_seconds(live: Live) -> Expected:
    seconds = sure_loops() / ONE_WORKER
    return Expected(seconds, 0.05 * seconds, f"so many loops, {ONE_WORKER} of them a second, within 5 %")


@text("An alert condition for coins that are gone, with windows of 40 s", "a PromQL expression, in quotes")
def alert(expression: str, live: Live) -> str:
    gone = silent_stretches(live)
    if not gone:
        raise Failed("the second silent failure, before an alert for it is judged", "none yet", COINS)
    seen = replay(live, expression, live.since + SETTLED_SECONDS, live.now)
    for one in gone:
        seen.must_fire(one.start, one.end, "a result while coins are gone")
    # While hasher refuses, coins are gone as well; and a window still knows of it for a while afterwards.
    broken = [one for one in stretches(live) if one.refused or one.loops >= SURE_LOOPS]
    healthy = seen.outside((one.start, one.end + SETTLED_SECONDS) for one in broken)
    seen.must_be_quiet(healthy, "no result while coins are found")
    return "it fires while coins are gone, and not while they are found"
