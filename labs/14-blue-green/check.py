"""Lab 14: a second lab beside the student's own: what each one finds by name, counts, and says of itself."""

import re
from collections.abc import Mapping

from workshop.grading.answers import Expected, choice, number, promql, text
from workshop.grading.checks import Failed, Waiting, check
from workshop.grading.history import STEP_SECONDS, measured_period, speed
from workshop.grading.live import Live
from workshop.lab import SettingError

GREEN = "green"
# The workers of blue and of green.
ONE, THREE = 1, 3
STARTED = 'min(process_start_time_seconds{job="prometheus"})'
# The Collector has a `target_info` about itself, without a namespace.
NAMESPACES = 'count by (service_namespace) (target_info{service_namespace!=""})'
HASHES = "max(dockercoins_hashes_total)"
# One worker hands in each 1.3 s; a scrape later it is seen. So this long without a hash is no chance.
STILL_SECONDS = 10
# 1.7 % is the error of a speed over 30 s of one worker (workshop/grading/history.py), less with three.
SPEED_TOLERANCE = 0.05


def green(live: Live) -> Live:
    """Return the second lab; raises `Failed` unless one runs that was started since the work began."""
    found = live.beside(GREEN)
    status = f"workshop status --project {GREEN}"
    if found is None:
        raise Failed(f"a second lab on this machine, of the name {GREEN}", "none", status)
    started = found.prometheus.scalar(STARTED)
    if started is None:
        raise Waiting(f"the first scrape of {GREEN}", STEP_SECONDS)
    if started < live.since:
        old = f"one that has run for {live.now - started:.0f} s: take it down first"
        raise Failed(f"a lab {GREEN} that was started after you began", old, status)
    return found


def count(live: Live, start: float, end: float) -> Mapping[float, float]:
    """Return the count in Redis by time, between two Unix times."""
    series = live.prometheus.query_range(HASHES, start, end, STEP_SECONDS)
    return series[0].values if series else {}


@check("a second lab runs, and its telemetry has its name")
def beside(live: Live) -> str:
    found = [sample.labels["service_namespace"] for sample in green(live).prometheus.query(NAMESPACES)]
    if found != [GREEN]:
        seen = ", ".join(found) or "none"
        raise Failed(f"telemetry of {GREEN} alone in its Prometheus", seen, NAMESPACES)
    return "service_namespace is green"


@check("three workers in green, while blue has one")
def workers(live: Live) -> str:
    other = green(live)
    mine, theirs = speed(live, measured_period(live, ONE)), speed(other, measured_period(other, THREE))
    return f"blue {mine:.1f}, green {theirs:.1f} hashes/s"


@check("blue stood still, and green went on")
def apart(live: Live) -> str:
    other = green(live)
    start = longest = first = 0.0
    values: Mapping[float, float] = count(live, live.since, live.now)
    for time in values:
        if not start or values[time] != values[start]:
            start = time
        if time - start > longest:
            first, longest = start, time - start
    expected = f"the count of blue the same for at least {STILL_SECONDS} s, while {GREEN} runs"
    if longest < STILL_SECONDS:
        raise Failed(expected, f"for {longest:.0f} s at most", HASHES)
    counted = list(count(other, first, first + longest).values())
    more = counted[-1] - counted[0] if counted else 0
    if more <= 0:
        raise Failed(expected, f"{longest:.0f} s, in which {GREEN} counted nothing either", HASHES)
    return f"{longest:.0f} s without a hash of blue, and {more:.0f} of {GREEN}"


@text("The ID of a trace of green that blue does not have", accepts="a trace ID, 32 hexadecimal digits")
def green_trace(value: str, live: Live) -> str:
    if not re.fullmatch("[0-9a-f]{32}", value.lower()):
        raise SettingError(f"{value!r} is no trace ID: 32 hexadecimal digits are accepted")
    other = green(live)
    trace = other.jaeger.trace(value.lower())
    if trace is None:
        where = f"{other.jaeger.url}/api/traces/{value.lower()}"
        raise Failed("a trace that the trace backend of green has", "none with this ID", where)
    if live.jaeger.trace(value.lower()):
        raise Failed("a trace that blue does not have", "both have it", f"{live.jaeger.url}/api/traces")
    tags = [tag for process in trace["processes"].values() for tag in process["tags"]]
    namespaces = {tag["value"] for tag in tags if tag["key"] == "service.namespace"}
    return f"service.namespace is {', '.join(sorted(namespaces))}"


@number("How many hashes a second does green make with three workers?", unit="hashes/s")
def green_speed(live: Live) -> Expected:
    other = green(live)
    expected = speed(other, measured_period(other, THREE))
    rule = f"the speed that the Prometheus of green measures, within {SPEED_TOLERANCE:.0%}"
    return Expected(expected, SPEED_TOLERANCE * expected, rule, "rate(dockercoins_hashes_total[30s])")


@choice(
    "If the address of rng on this machine were in the worker's code, which rng would green's worker use?",
    a="its own: a process finds what was started together with it",
    b="none: two labs cannot use the same address",
    c="blue's: an address is the same for everybody, and blue's rng has it",
    d="both in turn",
)
def hard_coded(live: Live) -> str:
    return "c"


@promql("The loops a second of the workers, over 30 s, for each service_namespace", by=("service_namespace",))
def namespaces(live: Live) -> str:
    measured_period(live, ONE)
    return (
        "sum by (service_namespace) (rate(dockercoins_worker_loops_total[30s])"
        " * on (job, instance) group_left (service_namespace) target_info)"
    )


@number("One Prometheus for both: what does sum(rate(dockercoins_hashes_total[30s])) give?", unit="hashes/s")
def together(live: Live) -> Expected:
    other = green(live)
    expected = speed(live, measured_period(live, ONE)) + speed(other, measured_period(other, THREE))
    rule = f"what such a sum adds up, within {SPEED_TOLERANCE:.0%}"
    return Expected(expected, SPEED_TOLERANCE * expected, rule)


@choice(
    "And what does the rule job:dockercoins_hashes:rate30s give there, max by (job) of the rates?",
    a="one value for each lab",
    b="the speed of both together",
    c="the speed of blue alone, because it was there first",
    d="the speed of green alone: the greater one hides the other, and if blue stops nobody sees it",
)
def rule(live: Live) -> str:
    return "d"
