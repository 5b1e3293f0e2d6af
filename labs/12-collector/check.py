"""Lab 12: what is counted of spans and what is left of traces: without sampling, at the head, at the tail.

A count of traces that are recorded by chance has a binomial distribution: of n traces, each with probability
p, n p are recorded in the mean, with a standard deviation of √(n p (1 - p)).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import sqrt

from workshop.grading.alerts import recorded
from workshop.grading.answers import Expected, choice, number
from workshop.grading.checks import Failed, Waiting, check
from workshop.grading.history import STEP_SECONDS
from workshop.grading.live import Live

COLLECTOR = 'up{job="span-metrics"}'
REQUESTS = 'http_server_request_duration_seconds_count{job="rng", http_route="/<int:size>"}'
SPANS = 'traces_span_metrics_calls_total{service_name="rng", span_name="GET /<int:size>"}'
DECIDED = "otelcol_processor_tail_sampling_global_count_traces_sampled_total"
KEPT = f'{DECIDED}{{sampled="true"}}'
COINS = 'otelcol_processor_tail_sampling_count_traces_sampled_total{policy="coins", sampled="true"}'

# As the page sets it for head sampling, and the policy `others` for tail sampling.
SHARE = 0.1
COIN_SHARE = 1 / 16
KEPT_SHARE = COIN_SHARE + SHARE * (1 - COIN_SHARE)
COINS_KEPT_SHARE = COIN_SHARE / KEPT_SHARE
# Of the questions about head sampling.
ASKED_REQUESTS = 400
ASKED_ERRORS = 5

# A tenth of so many is told from all of them, whatever chance does.
FEWEST = 150
# Until all is counted: a service sends its spans within 1 s, the Collector decides 5 to 6 s later, and is
# scraped every 2 s.
REST_SECONDS = 10
# Spans are lost while the Collector starts, if it is slower than the services. None was seen to be.
LOST = 0.01
# A measurement by chance is further off in 1 of 16 000 cases.
DEVIATIONS = 4


@dataclass(frozen=True)
class Run:
    """A time from a start of rng to the next; Unix times in seconds, and what was counted at its end.

    The last request came at `changed`. `decided` are the traces that tail sampling has decided about.
    """

    start: float
    changed: float
    end: float
    requests: float
    spans: float
    decided: float

    @property
    def at_rest(self) -> float:
        """For how many seconds there was no request at the end."""
        return self.end - self.changed

    @property
    def complete(self) -> bool:
        """Whether there were enough requests, and all that they caused was counted."""
        return self.requests >= FEWEST and self.at_rest >= REST_SECONDS

    @property
    def all_counted(self) -> bool:
        """Whether the Collector counted all requests."""
        return abs(self.spans - self.requests) <= LOST * self.requests


def fresh(counter: str) -> str:
    """Return the sum of what was just scraped; of a lab that is down, Prometheus has values for 10 s."""
    return f"sum(last_over_time({counter}[5s]))"


def scraped(counter: str, job: str) -> str:
    """Return the same, only while the job's last scrape was good; 0 if it had no such series.

    In a lab that goes down, one job's last scrape may be seconds before another's. What was not scraped is
    not 0.
    """
    return f'({fresh(counter)} or vector(0)) and on () last_over_time(up{{job="{job}"}}[5s]) == 1'


def runs(live: Live) -> list[Run]:
    """Return the runs since the work began, the oldest first."""
    # Without a recorded trace there is no series of spans, and without tail sampling none of decisions.
    requests, spans, decided = (
        recorded(live, scraped(counter, job), live.since)
        for counter, job in ((REQUESTS, "rng"), (SPANS, "span-metrics"), (DECIDED, "otel-collector"))
    )
    found: list[Run] = []
    for time in sorted(requests.keys() & spans.keys() & decided.keys()):
        now = Run(time, time, time, requests[time], spans[time], decided[time])
        if found and found[-1].requests <= now.requests:
            last = found.pop()
            changed = time if now.requests > last.requests else last.changed
            now = replace(now, start=last.start, changed=changed)
        found.append(now)
    return found


def latest(live: Live, fits: Callable[[Run], bool], counted: str) -> Run:
    """Return the last complete run that fits; `counted` says what the Collector counted in it.

    Raises `Waiting` while spans of the present one may be under way, `Failed` if there is none.
    """
    found = runs(live)
    if fitting := [run for run in found if run.complete and fits(run)]:
        return fitting[-1]
    need_collector(live)
    expected = (
        f"{FEWEST} requests to rng or more, then none for {REST_SECONDS} s, and the Collector {counted}"
    )
    if not found:
        raise Failed(expected, "no request", SPANS)
    last = found[-1]
    if last.requests >= FEWEST and STEP_SECONDS < last.at_rest < REST_SECONDS:
        raise Waiting("the last spans to be counted", REST_SECONDS - last.at_rest)
    seen = (
        f"in the last run rng counted {last.requests:.0f}, the Collector {last.spans:.0f}, "
        f"{'with' if last.decided else 'without'} tail sampling, and no request for {last.at_rest:.0f} s"
    )
    raise Failed(expected, seen, SPANS)


def need_collector(live: Live) -> None:
    """Raise `Failed` if the lab has no Collector."""
    if not live.prometheus.query(COLLECTOR):
        expected = "the Collector, which makes metrics of spans"
        raise Failed(expected, "none: this lab runs with its own trace store", COLLECTOR)


def need_predictions(live: Live, run: Run, *questions: str) -> None:
    """Raise `Failed` if one of the questions was not answered rightly before the run."""
    for question in questions:
        if question not in live.answers:
            raise Failed(f"a right answer to the question {question}, before that run", "none yet")
        if live.answers[question][1] > run.start:
            seen = "the run came first: do it again, now that you have predicted"
            raise Failed(f"the prediction {question}, then the run", seen, SPANS)


def within(share: float, measured: float, of: float, query: str) -> str:
    """Return a predicted share and the one that was measured; raises `Failed` if they contradict each other.

    `of` is of how many the share is.
    """
    deviation = sqrt(share * (1 - share) / of)
    found = f"predicted {share:.3f}, measured {measured:.3f} ± {deviation:.3f}"
    if abs(measured - share) > DEVIATIONS * deviation:
        expected = f"a measurement within {DEVIATIONS} standard deviations of the prediction"
        raise Failed(expected, found, query)
    return found


def tail_run(live: Live) -> Run:
    """Return the run with tail sampling."""
    return latest(
        live, lambda run: run.all_counted and run.decided > 0, "counts all, and samples at the tail"
    )


def what_was_kept(live: Live, run: Run) -> tuple[float, float]:
    """Return how many traces tail sampling kept in a run, and how many of those found a coin."""
    traces, coins = (live.prometheus.scalar(fresh(counter), at=run.end) for counter in (KEPT, COINS))
    if not traces or coins is None:
        raise Failed("traces that tail sampling kept", "none", KEPT)
    return traces, coins


@check("the lab has the Collector")
def collector(live: Live) -> str:
    need_collector(live)
    return "it makes metrics of spans"


@check("every trace recorded: rng and the Collector count the same")
def every_trace(live: Live) -> str:
    run = latest(live, lambda run: run.all_counted and not run.decided, "counts all, without tail sampling")
    return f"rng counted {run.requests:.0f}, the Collector {run.spans:.0f}"


@check("head sampling: the Collector counts the share that you predicted")
def head(live: Live) -> str:
    run = latest(live, lambda run: run.spans < run.requests / 2 and not run.decided, "counts a small part")
    need_predictions(live, run, "counted", "spread", "missed")
    found = within(SHARE, run.spans / run.requests, run.requests, SPANS)
    return f"of {run.requests:.0f} requests: {found}"


@check("tail sampling: the Collector counts all, and keeps the share that you predicted")
def tail(live: Live) -> str:
    run = tail_run(live)
    need_predictions(live, run, "kept")
    traces, _ = what_was_kept(live, run)
    found = within(KEPT_SHARE, traces / run.decided, run.decided, DECIDED)
    return f"of {run.decided:.0f} traces: {found}"


@check("tail sampling: Jaeger has the share of coins that you predicted")
def coins_in_jaeger(live: Live) -> str:
    run = tail_run(live)
    need_predictions(live, run, "coin-share")
    traces, coins = what_was_kept(live, run)
    return f"of {traces:.0f} traces: {within(COINS_KEPT_SHARE, coins / traces, traces, COINS)}"


@number(
    "Head sampling records a tenth. Of 400 requests to rng, how many does the Collector count in the mean?"
)
def counted(live: Live) -> Expected:
    return Expected(SHARE * ASKED_REQUESTS, 0, "the share that is recorded, of all")


@number("With which standard deviation?")
def spread(live: Live) -> Expected:
    expected = sqrt(ASKED_REQUESTS * SHARE * (1 - SHARE))
    return Expected(expected, 0.05 * expected, "that of a binomial distribution, within 5 %")


@number("Five loops fail. What is the probability that head sampling has a trace of none of them?")
def missed(live: Live) -> Expected:
    return Expected((1 - SHARE) ** ASKED_ERRORS, 0.01, "the first is missed, and the second, and so on")


@number("Which share of all loops does tail sampling keep, if none fails or takes 2 s?")
def kept(live: Live) -> Expected:
    return Expected(KEPT_SHARE, 0.005, "those with a coin, and a tenth of those without")


@number("Which share of the loops that are then in Jaeger found a coin?")
def coin_share(live: Live) -> Expected:
    return Expected(COINS_KEPT_SHARE, 0.01, "those with a coin, of all that are kept")


@number("How many loops that found a coin were in Jaeger after step 4?", unit="loops")
def coins_kept(live: Live) -> Expected:
    _, coins = what_was_kept(live, tail_run(live))
    return Expected(coins, 0, "as many as the policy for coins wanted", COINS)


@number("How many loops ran in step 4, by what is in Jaeger, each trace with its weight?", unit="loops")
def weighted(live: Live) -> Expected:
    run = tail_run(live)
    traces, coins = what_was_kept(live, run)
    # Traces that are no loops, such as health checks: a tenth is kept, by chance, and stands for ten.
    others = max(run.decided - run.requests, 1)
    deviation = sqrt(others * SHARE * (1 - SHARE)) / SHARE
    expected = coins + (traces - coins) / SHARE - others
    rule = "each trace stands for as many as its policy has seen for it"
    return Expected(expected, DEVIATIONS * deviation, rule, KEPT)


@choice(
    "Why are the metrics of spans complete with tail sampling, and not with head sampling?",
    a="with tail sampling the Collector multiplies what it counts by the share that it drops",
    b="the Collector counts before it drops traces; what is dropped at the head never comes to it",
    c="tail sampling drops whole traces, head sampling single spans",
    d="with head sampling the Collector counts only every tenth span, to save time",
)
def why(live: Live) -> str:
    return "b"
