"""Lab 11: what exemplars are and are not, and the causes to which they and log lines lead."""

import json
import re
from itertools import pairwise
from statistics import median

from workshop.console.traces import model
from workshop.console.traces.model import Span
from workshop.grading.answers import Expected, Trace, choice, number, text, trace
from workshop.grading.checks import Failed, Waiting, check
from workshop.grading.history import STEP_SECONDS
from workshop.grading.live import Live
from workshop.lab import SettingError

RNG = 'job="rng", http_route="/<int:size>"'
EXEMPLARS = 'http_server_request_duration_seconds_bucket{job="rng"}'
SLOW = (
    f"sum(http_server_request_duration_seconds_count{{{RNG}}})"
    f' - sum(http_server_request_duration_seconds_bucket{{{RNG}, le="0.6"}})'
)
ERRORS = f'sum(http_server_request_duration_seconds_count{{{RNG}, http_response_status_code="500"}})'

SLOW_SECONDS = 0.6
# So many slow requests have a rhythm.
FEWEST = 4
PERIOD_TOLERANCE = 0.2
# A service sends its spans after a second at most.
ARRIVED_SECONDS = 3
MICROSECONDS = 1_000_000


def grown(live: Live, expression: str) -> float:
    """Return by how much a sum of counters grew since the work began."""
    return (live.prometheus.scalar(expression) or 0) - (
        live.prometheus.scalar(expression, at=live.since) or 0
    )


def need_exemplar(live: Live, trace_id: str) -> float:
    """Return the Unix time of the exemplar of rng that names a trace; raises `Failed` if there is none."""
    for series in live.prometheus.exemplars(EXEMPLARS, live.since, live.now):
        for exemplar in series["exemplars"]:
            if exemplar["labels"].get("trace_id") == trace_id:
                return float(exemplar["timestamp"])
    raise Failed("an exemplar of rng, from the time since you began", "none with this trace ID", EXEMPLARS)


def spans_of_rng(live: Live, **search: str) -> list[Span]:
    """Return rng's spans since the work began, of the traces that a search in Jaeger's terms finds."""
    start = int(live.since * MICROSECONDS)
    found = live.jaeger.traces("rng", start=start, limit=300, **search)
    return [span for one in found for span in model.parse(one).spans if span.service == "rng"]


@check("some requests to rng are slow")
def slow_requests(live: Live) -> str:
    requests = grown(live, SLOW)
    if requests < FEWEST:
        expected = f"at least {FEWEST} requests that rng worked on for over {SLOW_SECONDS} s"
        raise Failed(expected, f"{max(requests, 0):g}", SLOW)
    return f"{requests:g} requests over {SLOW_SECONDS} s"


@check("rng answers some requests with an error")
def errors(live: Live) -> str:
    requests = grown(live, ERRORS)
    if requests <= 0:
        raise Failed("requests that rng answers with status 500", "none", ERRORS)
    return f"{requests:g} errors"


@number("How many exemplars of one bucket of one process can Prometheus get in a minute, at most?")
def per_bucket(live: Live) -> Expected:
    return Expected(60 / STEP_SECONDS, 1, "one at each scrape, within 1")


@text(
    "The trace ID of an exemplar of rng whose trace is no longer there", "a trace ID, 32 hexadecimal digits"
)
def gone(value: str, live: Live) -> str:
    if not re.fullmatch("[0-9a-f]{32}", value.lower()):
        raise SettingError(f"{value!r} is no trace ID: 32 hexadecimal digits are accepted")
    age = live.now - need_exemplar(live, value.lower())
    if age < ARRIVED_SECONDS:
        raise Waiting("spans of this trace that may be under way", ARRIVED_SECONDS - age)
    if live.jaeger.trace(value.lower()) is not None:
        query = f"{live.jaeger.url}/api/traces/{value.lower()}"
        raise Failed("a trace that the trace backend has no longer", "it has this one", query)
    return "Prometheus has the exemplar, and nobody the trace"


@trace("The trace ID of an exemplar of rng of over 0.6 s")
def slow(live: Live, trace: Trace) -> str:
    found = model.parse(trace)
    longest = max((span.duration for span in found.spans if span.service == "rng"), default=0) / MICROSECONDS
    if longest <= SLOW_SECONDS:
        raise Failed(f"a request that rng worked on for over {SLOW_SECONDS} s", f"one of {longest:.3f} s")
    need_exemplar(live, found.trace_id)
    return f"rng worked on it for {longest:.3f} s"


@number("Every how many seconds does a slow request end?", unit="s")
def period(live: Live) -> Expected:
    # From the traces, which have all slow requests: exemplars may lack one.
    ends = sorted(span.end for span in spans_of_rng(live, minDuration=f"{SLOW_SECONDS}s"))
    if len(ends) < FEWEST:
        raise Failed(f"at least {FEWEST} slow requests to rng in the traces", f"{len(ends)}", EXEMPLARS)
    seconds = median(later - earlier for earlier, later in pairwise(ends)) / MICROSECONDS
    rule = f"the usual time from the end of one to that of the next, within {PERIOD_TOLERANCE} s"
    return Expected(seconds, PERIOD_TOLERANCE, rule, EXEMPLARS)


@choice(
    "What makes some requests slow?",
    a="rng has too much to do: requests wait in line in front of it",
    b="each request to rng takes longer than before",
    c="something holds up all of rng, by the clock, whoever asks and for whatever",
    d="some requests ask rng for more bytes than others",
)
def reason(live: Live) -> str:
    return "c"


@trace("The ID of a trace in which rng answered with 500")
def failed(live: Live, trace: Trace) -> str:
    spans = [span for span in model.parse(trace).spans if span.service == "rng"]
    statuses = ", ".join(span.get("http.response.status_code") for span in spans) or "no span of rng"
    if "500" not in statuses:
        raise Failed("a trace in which rng answered with 500", statuses)
    return "rng answered with 500"


@text("The span ID in a log line of rng about such an answer", accepts="a span ID, 16 hexadecimal digits")
def log_span(value: str, live: Live) -> str:
    if not re.fullmatch("[0-9a-f]{16}", value.lower()):
        raise SettingError(f"{value!r} is no span ID: 16 hexadecimal digits are accepted")
    tags = json.dumps({"http.response.status_code": "500"})
    if value.lower() not in {span.span_id for span in spans_of_rng(live, tags=tags)}:
        seen = f"none among the last 300 has the ID {value}: whose is it?"
        query = f"{live.jaeger.url}/api/traces?service=rng&tags={tags}"
        raise Failed("a span of rng that answered with 500", seen, query)
    return "it is the span of rng in which the line was written"


@choice(
    "What does rng lack when it answers with 500?",
    a="memory",
    b="its source of randomness",
    c="a thread that is free",
    d="the number of bytes in the request",
)
def missing(live: Live) -> str:
    return "b"


@choice(
    "Why has the worker's own warning no trace ID?",
    a="the worker writes no IDs into its log",
    b="it is written after the span of the loop has ended",
    c="a loop that fails is not recorded as a trace",
    d="only lines of the level INFO have IDs",
)
def no_id(live: Live) -> str:
    return "b"
