"""Lab 06: the speed of six workers, predicted from what one worker shows, then measured."""

from workshop.grading.answers import Expected, number, promql
from workshop.grading.checks import Failed, check
from workshop.grading.history import WORKERS, measured_period, periods, speed, value
from workshop.grading.live import Live

SIX = 6
# C and S, in PromQL.
CYCLE = (
    "sum(rate(dockercoins_worker_loop_duration_seconds_sum[WINDOW]))"
    " / sum(rate(dockercoins_worker_loop_duration_seconds_count[WINDOW]))"
)
SERVICE = (
    'sum(rate(http_server_request_duration_seconds_sum{job="rng", http_route="/<int:size>"}[WINDOW]))'
    ' / sum(rate(http_server_request_duration_seconds_count{job="rng", http_route="/<int:size>"}[WINDOW]))'
)
TOLERANCE = 0.05
LINE_TOLERANCE = 0.1
# The bounds are exact for times that do not vary. Here they vary a little, and near N* that matters most;
# and a prediction may be 5 % off already.
MEASURED_TOLERANCE = 0.1


def cycle(live: Live) -> float:
    """Return C, the seconds that a loop takes when nobody waits."""
    return value(live, CYCLE, measured_period(live, 1))


def service(live: Live) -> float:
    """Return S, the seconds that rng works on a request."""
    return value(live, SERVICE, measured_period(live, 1))


def bound(live: Live) -> float:
    """Return the speed of six workers, in hashes a second: X = min(N / C, 1 / S)."""
    return min(SIX / cycle(live), 1 / service(live))


def compare(live: Live, question: str, unit: str, expression: str) -> str:
    """Compare a prediction with what was measured with six workers that started after it."""
    if question not in live.answers:
        raise Failed(f"a right answer to the question {question}, before six workers run", "none yet")
    prediction, when = live.answers[question]
    if any(period.workers == SIX and period.start < when for period in periods(live)):
        too_early = "six workers ran before you predicted: `workshop reset 06`, then predict first"
        raise Failed("a prediction, then six workers", too_early, WORKERS)
    period = measured_period(live, SIX, after=when)
    seen = speed(live, period) if not expression else value(live, expression, period)
    found = f"predicted {float(prediction):.3g}, measured {seen:.3g} {unit}"
    if abs(float(prediction) - seen) > MEASURED_TOLERANCE * seen:
        raise Failed(f"a measurement within {MEASURED_TOLERANCE:.0%} of the prediction", found, expression)
    return found


@check("one worker, measured")
def one_worker(live: Live) -> str:
    return f"C = {cycle(live):.3f} s, S = {service(live):.3f} s"


@check("six workers: the speed is as predicted")
def six_speed(live: Live) -> str:
    return compare(live, "speed", "hashes/s", "")


@check("six workers: the loop is as long as predicted")
def six_loop(live: Live) -> str:
    return compare(live, "loop", "s", CYCLE)


@number("With how many workers does rng become saturated, N*?")
def knee(live: Live) -> Expected:
    expected = cycle(live) / service(live)
    return Expected(expected, TOLERANCE * expected, f"the N at which N / C = 1 / S, within {TOLERANCE:.0%}")


@number("How many hashes a second do six workers make?", unit="hashes/s")
def speed_(live: Live) -> Expected:
    expected = bound(live)
    return Expected(expected, TOLERANCE * expected, f"the smaller one of two bounds, within {TOLERANCE:.0%}")


@number("How many seconds does one loop take with six workers?", unit="s")
def loop(live: Live) -> Expected:
    expected = SIX / bound(live)
    return Expected(expected, TOLERANCE * expected, f"what Little's law says, within {TOLERANCE:.0%}")


@number("How many seconds of that are spent waiting in line?", unit="s")
def in_line(live: Live) -> Expected:
    expected = SIX / bound(live) - cycle(live)
    rule = f"what is in the loop beyond C, within {LINE_TOLERANCE:.0%}"
    return Expected(expected, LINE_TOLERANCE * expected, rule)


@promql("An expression for the share of time that rng works, over 30 s")
def utilisation(live: Live) -> str:
    measured_period(live, SIX)
    return 'sum(rate(http_server_request_duration_seconds_sum{job="rng", http_route="/<int:size>"}[30s]))'
