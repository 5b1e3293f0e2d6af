"""Lab 02: how the speed depends on the number of workers, and which part limits it."""

from workshop.grading.answers import Expected, choice, number
from workshop.grading.checks import check
from workshop.grading.history import SPEED, measured_period, speed, value
from workshop.grading.live import Live

# The answer and its reference are ratios of two speeds, and each speed has a standard deviation of up to 2 %
# (see `history`): the four together have 2 % · √4 = 4 %, and this is 2.5 times as much.
RATIO_TOLERANCE = 0.1
# An answer is one request, the reference is the mean of those of the workers. You are one customer more, and
# the line in front of you changes: three places of 0.1 s each.
LINE_TOLERANCE = 0.3


def measure(live: Live, workers: int) -> str:
    """Return what was measured with so many workers, as a text."""
    return f"{speed(live, measured_period(live, workers)):.1f} hashes/s"


@check("one worker, measured")
def one_worker(live: Live) -> str:
    """30 s of measurements with one worker."""
    return measure(live, 1)


@check("two workers, measured")
def two_workers(live: Live) -> str:
    """30 s of measurements with two workers."""
    return measure(live, 2)


@check("ten workers, measured")
def ten_workers(live: Live) -> str:
    """30 s of measurements with ten workers."""
    return measure(live, 10)


def ratio(live: Live, workers: int) -> Expected:
    """Return how many times the speed of one worker so many make."""
    times = speed(live, measured_period(live, workers)) / speed(live, measured_period(live, 1))
    rule = (
        f"the measured speed with {workers} workers, divided by that with one, within {RATIO_TOLERANCE:.0%}"
    )
    return Expected(times, RATIO_TOLERANCE * times, rule, SPEED)


@number("How many times the speed of one worker do two workers make?")
def twice(live: Live) -> Expected:
    """About 2: they hardly ever meet."""
    return ratio(live, 2)


@number("How many times the speed of one worker do ten workers make?")
def ten_times(live: Live) -> Expected:
    """About 3: 1 / 0.1 s over 1 / 0.31 s."""
    return ratio(live, 10)


@number("How long does rng take for a request of yours while ten workers run?", unit="s")
def waiting(live: Live) -> Expected:
    """What the workers themselves wait, for you stand in the same line."""
    mean = value(
        live,
        'sum(rate(http_client_request_duration_seconds_sum{service_peer_name="rng"}[WINDOW]))'
        ' / sum(rate(http_client_request_duration_seconds_count{service_peer_name="rng"}[WINDOW]))',
        measured_period(live, 10),
    )
    rule = f"what a worker waits for rng when there are ten, within {LINE_TOLERANCE} s"
    return Expected(mean, LINE_TOLERANCE, rule, "curl http://localhost:8001/32, some times, with ten workers")


@choice(
    "Which part limits the speed with ten workers?",
    a="rng",
    b="hasher",
    c="redis",
    d="the workers themselves",
)
def slow_part(live: Live) -> str:
    """The part whose answer takes longer the more workers there are."""
    measured_period(live, 10)
    return "a"


@choice(
    "Why do ten workers not make ten times the speed?",
    a="each request to rng takes rng more work when there are more workers",
    b="the machine has too few processors for ten workers",
    c="rng serves one request at a time, so the others wait in line",
    d="the workers wait for each other before they write to Redis",
)
def why(live: Live) -> str:
    """Of 0.8 s that a request takes, rng works 0.1 s."""
    measured_period(live, 10)
    return "c"
