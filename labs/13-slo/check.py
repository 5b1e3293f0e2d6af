"""Lab 13: an error budget that burns as fast as predicted, and an alert that fires in time and not before.

The objective is that of prometheus/rules/slo.yml: of the requests that workers send to hasher, 99 % succeed,
over 2 hours. The burn rate is the share of those that fail, divided by the share that may fail. Site
Reliability Workbook, chapter 5: https://sre.google/workbook/alerting-on-slos/
"""

import math
from dataclasses import dataclass
from itertools import pairwise

from workshop.grading.alerts import recorded, replay
from workshop.grading.answers import Expected, choice, number, promql, text
from workshop.grading.checks import Failed, Waiting, check
from workshop.grading.history import STEP_SECONDS, measured_period, speed, value
from workshop.grading.live import Live

REQUESTS = 'http_client_request_duration_seconds_count{service_peer_name="hasher"}'
GOOD = 'http_client_request_duration_seconds_count{service_peer_name="hasher", error_type=""}'
FAILED = 'http_client_request_duration_seconds_count{service_peer_name="hasher", error_type!=""}'

FOUR = 4
BUDGET = 0.01  # of the requests, which is 1 minus the objective
PERIOD_SECONDS = 2 * 60 * 60
# Of the fault hasher-errors, as `workshop faults --list` says.
ERROR_SHARE = 0.3
BURN_RATE = ERROR_SHARE / BUDGET
TOLERANCE = 0.05

# The alert that is asked for: it fires when 5 % of the budget went within 40 s.
SPENT = 0.05
WINDOW_SECONDS = 40
THRESHOLD = SPENT * PERIOD_SECONDS / WINDOW_SECONDS
# At 10 % of the budget it must have fired; at less than 4 % it must not. Between the two an alert may fire.
DEAR = 0.1
CHEAP = 0.04
# So long may it go on after the failure. With 30 % errors a window of 10 s is below the threshold 7 s after
# the end, one of 40 s only 28 s after it.
OVER_SECONDS = 20
# Until no window of 40 s knows of a failure, with the scrapes before its end is noticed.
SETTLED_SECONDS = WINDOW_SECONDS + 3 * STEP_SECONDS
# One failure, and not two: of the 19 requests of a step none fails by chance once in 900 times, and of three
# steps once in 10^9 times.
GAP_SECONDS = 3 * STEP_SECONDS
# A prediction is refuted by a measurement that is further off than chance is in 1 of 16 000 cases.
DEVIATIONS = 4


@dataclass(frozen=True)
class Failure:
    """A time in which requests to hasher failed, in Unix seconds; how many there were, and how many failed.

    `cost` is the share of the error budget that went. At the time `dear` it was `DEAR`, if ever.
    """

    start: float
    end: float
    requests: float = 0
    failed: float = 0
    cost: float = 0
    dear: float = math.inf

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.end - self.start

    def longer(self, end: float, requests: float, failed: float) -> "Failure":
        """Return it with a step more, in which so many requests failed."""
        cost = self.cost + failed / requests / BUDGET * (end - self.end) / PERIOD_SECONDS
        dear = min(self.dear, end if cost >= DEAR else math.inf)
        return Failure(self.start, end, self.requests + requests, self.failed + failed, cost, dear)

    def had_begun(self, when: float) -> bool:
        """Tell whether a request had certainly failed by then: the first did at any moment of the step."""
        return self.start + STEP_SECONDS <= when

    def goes_on(self, live: Live) -> bool:
        """Tell whether more requests may fail any moment."""
        return live.now - self.end < GAP_SECONDS + STEP_SECONDS


def failures(live: Live) -> list[Failure]:
    """Return the failures since the work began, and those just before it, the oldest first."""
    start = live.since - SETTLED_SECONDS
    requests, failed = (recorded(live, f"sum({counter})", start) for counter in (REQUESTS, FAILED))
    found: list[Failure] = []
    for before, time in pairwise(requests):
        more, worse = requests[time] - requests[before], failed.get(time, 0) - failed.get(before, 0)
        # Fewer than before: workers ended.
        if more <= 0 or worse <= 0:
            continue
        same = found and before - found[-1].end <= GAP_SECONDS
        last = found.pop() if same else Failure(before, before)
        found.append(last.longer(time, more, worse))
    return found


def dear_failures(live: Live) -> list[Failure]:
    """Return the failures of this exercise for which the alert must fire; raises `Failed` without any."""
    mine = [one for one in failures(live) if one.start >= live.since]
    if found := [one for one in mine if one.cost >= DEAR]:
        return found
    if mine and mine[-1].goes_on(live):
        last = mine[-1]
        left = (DEAR - last.cost) / last.cost * last.seconds
        raise Waiting(f"{DEAR:.0%} of the error budget is gone", left)
    highest = max((one.cost for one in mine), default=0)
    expected = f"a failure of hasher that takes {DEAR:.0%} of its error budget"
    raise Failed(expected, f"{highest:.1%} at most", f"sum({FAILED})")


def blips(live: Live) -> list[Failure]:
    """Return the short failures of this exercise, for which the alert must not fire; raises without any."""
    known = failures(live)
    found = [
        one
        for before, one in pairwise([Failure(0, 0), *known])
        if one.start >= live.since and one.cost < CHEAP and one.start - before.end >= SETTLED_SECONDS
    ]
    last = known[-1] if known and known[-1].start >= live.since else None
    if last and last.goes_on(live):
        if last in found:
            raise Waiting("the end of the short failure", GAP_SECONDS)
    elif last and not found and live.now - last.end < SETTLED_SECONDS:
        left = SETTLED_SECONDS - (live.now - last.end)
        raise Waiting("the last failure is out of all windows, and you may go on", left)
    if found:
        return found
    seen = f"the last one took {last.seconds:.0f} s and cost {last.cost:.1%}" if last else "none"
    expected = (
        f"a failure that costs less than {CHEAP:.0%}, after {SETTLED_SECONDS} s without a failed request"
    )
    raise Failed(expected, seen, f"sum({FAILED})")


@check("four workers, measured")
def four_workers(live: Live) -> str:
    return f"{speed(live, measured_period(live, FOUR)):.1f} hashes/s"


@check("hasher fails, and the error budget burns as fast as you predicted")
def burns(live: Live) -> str:
    failure = dear_failures(live)[0]
    if "burn-rate" not in live.answers:
        raise Failed("a right answer to the question burn-rate, before hasher fails", "none yet")
    prediction, when = live.answers["burn-rate"]
    if failure.had_begun(when):
        too_early = "hasher failed before you predicted: `workshop reset 13`, then predict first"
        raise Failed("a prediction, then the failure", too_early, f"sum({FAILED})")
    measured = failure.failed / failure.requests / BUDGET
    deviation = math.sqrt(ERROR_SHARE * (1 - ERROR_SHARE) / failure.requests) / BUDGET
    found = f"predicted {float(prediction):.3g}, measured {measured:.3g} ± {deviation:.2g}"
    # In the first step and in the last one the fault may have been on for a moment only.
    ends = BURN_RATE * 2 * STEP_SECONDS / failure.seconds
    if abs(measured - float(prediction)) > DEVIATIONS * deviation + ends:
        expected = f"a measurement within {DEVIATIONS} standard deviations of the prediction"
        raise Failed(expected, found, f"sum({FAILED})")
    return found


@check("a blip: hasher fails for a moment")
def blip(live: Live) -> str:
    last = blips(live)[-1]
    return f"{last.seconds:.0f} s, {last.cost:.1%} of the error budget"


@number("How many requests to hasher may fail in 2 hours, with four workers?", unit="requests")
def budget(live: Live) -> Expected:
    period = measured_period(live, FOUR)
    expected = value(live, f"sum(rate({REQUESTS}[WINDOW]))", period) * PERIOD_SECONDS * BUDGET
    rule = f"the share that may fail, of the requests that there are at this rate, within {TOLERANCE:.0%}"
    return Expected(expected, TOLERANCE * expected, rule)


@number("30 % of the requests fail. What is the burn rate?")
def burn_rate(live: Live) -> Expected:
    return Expected(BURN_RATE, TOLERANCE, "the share that fails by the share that may fail")


@number("After how many seconds of that is an error budget of 2 hours gone?", unit="s")
def gone_after(live: Live) -> Expected:
    expected = PERIOD_SECONDS / BURN_RATE
    return Expected(expected, TOLERANCE, "what the burn rate makes of the 2 hours")


@promql(
    "An expression for the share of the requests to hasher that succeed, as workers see it, over 1 minute"
)
def sli(live: Live) -> str:
    dear_failures(live)
    return f"sum(rate({GOOD}[1m])) / sum(rate({REQUESTS}[1m]))"


@number("At which burn rate does 5 % of the error budget go within 40 s?")
def threshold(live: Live) -> Expected:
    return Expected(THRESHOLD, TOLERANCE, "5 % of what 2 hours allow, in 40 s")


@number(
    "hasher fails as before. After how many seconds is the mean over 10 minutes above that burn rate?",
    unit="s",
)
def late(live: Live) -> Expected:
    expected = THRESHOLD / BURN_RATE * 10 * 60
    return Expected(
        expected, TOLERANCE * expected, f"a mean of 10 minutes, healthy before, within {TOLERANCE:.0%}"
    )


@choice(
    "What is the short window good for, beside the long one?",
    a="the alert fires sooner than with the long one alone",
    b="the alert ends soon after the failure, when the long one still knows of it",
    c="the alert fires for blips as well",
    d="Prometheus has less to compute",
)
def why_short(live: Live) -> str:
    return "b"


@text("A condition for an alert: 5 % of the error budget went within 40 s", "a PromQL expression, in quotes")
def alert(expression: str, live: Live) -> str:
    dear, cheap, known = dear_failures(live), blips(live), failures(live)
    ends = [one.start for one in known[1:]] + [math.inf]
    seen = replay(live, expression, live.since, live.now)
    healthy = seen.outside((one.start, one.end + SETTLED_SECONDS) for one in known)
    seen.must_be_quiet(healthy, "no result while no request fails")
    for one, next_start in zip(known, ends, strict=True):
        until = min(one.end + SETTLED_SECONDS, next_start - STEP_SECONDS)
        if one in cheap:
            quiet = seen.within(one.start, until)
            seen.must_be_quiet(
                quiet, f"no result for a failure that costs less than {CHEAP:.0%} of the budget"
            )
        if one in dear:
            seen.must_fire(one.start, one.dear, f"a result before {DEAR:.0%} of the error budget is gone")
            over = seen.within(one.end + OVER_SECONDS, until)
            seen.must_be_quiet(over, f"no result later than {OVER_SECONDS} s after the last failed request")
    return "it fires in time, and not before"
