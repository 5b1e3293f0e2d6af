"""Lab 05: rate, errors and duration of rng, as it sees itself and as the workers see it."""

from workshop.grading.answers import Expected, choice, number, promql
from workshop.grading.checks import Failed, Waiting, check
from workshop.grading.history import Period, measured_period, value
from workshop.grading.live import Live

CLIENT = 'http_client_request_duration_seconds_{}{{service_peer_name="rng", error_type=""}}'
SERVER = 'http_server_request_duration_seconds_{}{{job="rng", http_route="/<int:size>"}}'
FAILED = 'sum(http_client_request_duration_seconds_count{service_peer_name="rng", error_type!=""})'
# The same as the difference of the two means, recorded by prometheus/rules/dockercoins.yml.
LINE = 'service_peer_name:http_client_request_queueing_seconds:mean_rate30s{service_peer_name="rng"}'
# Means over 30 s of some 300 requests each, at different times. The line itself hardly changes.
LINE_TOLERANCE = 0.1


def mean(live: Live, metric: str, period: Period) -> float:
    """Return the mean duration in seconds, over the measured part of a period."""
    total, count = (f"sum(rate({metric.format(part)}[WINDOW]))" for part in ("sum", "count"))
    return value(live, f"{total} / {count}", period)


@check("ten workers, measured on both sides of rng")
def ten_workers(live: Live) -> str:
    period = measured_period(live, 10)
    return (
        f"the workers wait {mean(live, CLIENT, period):.2f} s, rng works {mean(live, SERVER, period):.2f} s"
    )


@check("workers saw requests to rng fail")
def errors(live: Live) -> str:
    before = live.prometheus.scalar(FAILED, at=live.since) or 0
    failed = (live.prometheus.scalar(FAILED) or 0) - before
    if failed <= 0:
        raise Failed("requests of workers to rng that fail", "none", FAILED)
    return f"{failed:g} failed"


@promql("An expression for the requests a second that rng answers, over 30 s, as rng counts them")
def requests(live: Live) -> str:
    measured_period(live, 10)
    return f"sum(rate({SERVER.format('count')}[30s]))"


@promql("One for the time that 95 % of the successful requests to rng stay below, over 30 s, for the workers")
def p95(live: Live) -> str:
    measured_period(live, 10)
    return f"histogram_quantile(0.95, sum by (le) (rate({CLIENT.format('bucket')}[30s])))"


@promql("One for the share of the requests to rng that fail, as the workers see it, over 2 minutes")
def error_share(live: Live) -> str:
    errors.look(live)
    count = 'http_client_request_duration_seconds_count{service_peer_name="rng"'
    return f'sum(rate({count}, error_type!=""}}[2m])) / sum(rate({count}}}[2m]))'


@number("How long does a request wait in line in front of rng, in the mean, with ten workers?", unit="s")
def in_line(live: Live) -> Expected:
    period = measured_period(live, 10)
    # The longest line is the usual one: when rng is away or just back, it is shorter.
    start, end = period.measured
    line = live.prometheus.scalar(f"max_over_time({LINE}[{end - start:.0f}s])", at=end)
    if line is None:
        raise Waiting("requests to rng", 5)
    rule = f"the mean time that workers wait less the mean time that rng works, within {LINE_TOLERANCE:.0%}"
    return Expected(line, LINE_TOLERANCE * line, rule, "the two means of step 3")


@choice(
    "Why does rng itself not see that time?",
    a="its clock runs slower under load",
    b="it starts its clock when it begins to work on a request, and the line is before that",
    c="its histogram has no bucket for it",
    d="Prometheus scrapes rng less often than the workers",
)
def both_right(live: Live) -> str:
    return "b"
