"""Lab 08: the time series that one bad label makes, predicted, measured, and what is left of them."""

from workshop.grading.answers import Expected, choice, number, promql
from workshop.grading.checks import Failed, Waiting, check
from workshop.grading.history import STEP_SECONDS
from workshop.grading.live import Live

# The histogram with the bad label, and one with the same buckets and no label of its own.
BAD = "dockercoins_worker_hash_duration_seconds"
PLAIN = "dockercoins_worker_loop_duration_seconds"
VALUES = f"max(count by (instance) ({BAD}_count))"
SERIES = f'count({{__name__=~"{BAD}_(bucket|sum|count)"}})'
HEAD = "max(prometheus_tsdb_head_series)"

# Of the hundred values that services/worker/faults.py has. Some 40 loops have 33 of them, in 13 s.
ENOUGH_VALUES = 30
ALL_VALUES = 100
TEN = 10
SAMPLE_BYTES = 1.5
SECONDS_A_DAY = 24 * 60 * 60
DISK_TOLERANCE = 0.05
# Other series are born meanwhile: some of rules, and one for each error.
LEFT_TOLERANCE = 0.1


def most(live: Live, expression: str) -> float:
    """Return the highest value of an expression with one series since the work began; 0 if there was none."""
    series = live.prometheus.query_range(expression, live.since, live.now, STEP_SECONDS)
    return max(series[0].values.values(), default=0) if series else 0


def histogram(live: Live) -> float:
    """Return the time series of one histogram on one worker."""
    query = f'max(count by (instance) ({{__name__=~"{PLAIN}_(bucket|sum|count)"}}))'
    found = live.prometheus.scalar(query)
    if found is None:
        raise Waiting("a worker", STEP_SECONDS)
    return found


@check("the workers had the bad label")
def exploded(live: Live) -> str:
    values = most(live, VALUES)
    if values >= ENOUGH_VALUES:
        return f"{values:g} values on one worker, {most(live, SERIES):g} time series on all of them"
    if live.prometheus.scalar(VALUES):
        raise Waiting(f"{ENOUGH_VALUES} values of the label, so far {values:g}", ENOUGH_VALUES - values)
    expected = f"at least {ENOUGH_VALUES} values of the label hash on one worker"
    raise Failed(expected, f"{values:g} at most", VALUES)


@check("the bad label is gone again")
def mended(live: Live) -> str:
    if most(live, VALUES) < ENOUGH_VALUES:
        raise Failed("the label hash taken away after it was there", "it was not there yet", VALUES)
    left = live.prometheus.scalar(SERIES)
    if left:
        raise Failed("no time series with the label hash any more", f"{left:g}", SERIES)
    return "no time series of it is scraped"


@number("How many time series does one value of the label cost on one worker?")
def each_value(live: Live) -> Expected:
    return Expected(histogram(live), 0, "the buckets, also +Inf, and what else a histogram has")


@number("How many is that at worst with ten workers?")
def worst(live: Live) -> Expected:
    rule = "what one value costs, for each value that the label can have, on each worker"
    return Expected(histogram(live) * ALL_VALUES * TEN, 0, rule)


@promql("An expression for the time series of each metric name of the job worker", by=("__name__",))
def series(live: Live) -> str:
    return 'count by (__name__) ({job="worker"})'


@number("How many gigabytes a day is the worst case, at 1.5 bytes for a sample?", unit="GB")
def disk(live: Live) -> Expected:
    samples = histogram(live) * ALL_VALUES * TEN * SECONDS_A_DAY / STEP_SECONDS
    expected = samples * SAMPLE_BYTES / 1e9
    rule = f"a sample of each time series at each scrape, for a day, within {DISK_TOLERANCE:.0%}"
    return Expected(expected, DISK_TOLERANCE * expected, rule)


@number("How many time series more than before are in the head after the label is gone?")
def left(live: Live) -> Expected:
    mended.look(live)
    made = most(live, SERIES)
    rule = f"the difference of two numbers of series in the head, within {LEFT_TOLERANCE:.0%}"
    return Expected(made, LEFT_TOLERANCE * made, rule, HEAD)


@choice(
    "Why are they still in the head?",
    a="the workers still have them in memory",
    b="the head keeps its samples for some hours, also of series that get no new ones",
    c="Prometheus scrapes again what it has once seen",
    d="somebody still looks at them",
)
def why_left(live: Live) -> str:
    return "b"


@choice(
    "Which of these labels is fine?",
    a="the ID of the user who sent the request",
    b="the trace ID, so that each measurement leads to its trace",
    c="the status code of the answer",
    d="the path of the URL, with the number of the order in it",
)
def bounded(live: Live) -> str:
    return "c"
