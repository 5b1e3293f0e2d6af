"""Lab 09: a trace as a tree, waiting as a gap in it, and propagation: broken, done by hand, mended."""

from statistics import mode
from urllib.parse import quote

from workshop.console.traces import model
from workshop.console.traces.critical_path import self_time
from workshop.console.traces.model import Span
from workshop.grading.answers import Expected, Trace, choice, number, trace
from workshop.grading.checks import Failed, Waiting, check
from workshop.grading.history import WORKERS, periods
from workshop.grading.live import Live

TEN = 10
REQUEST_TO_RNG = "GET /<int:size>"
SLOW_SECONDS = 0.4
IN_LINE_TOLERANCE = 0.01
MENDED_SECONDS = 6
# A service sends its spans after a second at most, so by then those of all services are there.
ARRIVED_SECONDS = 3
LOOPS = 30
# Fifty workers wait in line for five seconds.
LONGEST_REQUEST_SECONDS = 6
# The server ends its span when the answer is sent, which the client may have by then.
LATE_SECONDS = 0.05
MICROSECONDS = 1_000_000


def search_url(live: Live, service: str, operation: str) -> str:
    """Return the address of a search, for somebody who wants to see what a check saw."""
    return f"{live.jaeger.url}/api/traces?service={service}&operation={quote(operation)}"


def whole_loops(live: Live) -> list[model.Trace]:
    """Return loops from before spans may be under way, each with the spans of rng and hasher."""
    end = int((live.now - ARRIVED_SECONDS) * MICROSECONDS)
    found = [model.parse(one) for one in live.jaeger.traces("worker", operation="loop", end=end, limit=LOOPS)]
    whole = [one for one in found if {"worker", "rng", "hasher"} <= one.services.keys()]
    if found and not whole:
        seen = f"none among the last {len(found)}"
        raise Failed("loops with spans of all three services", seen, search_url(live, "worker", "loop"))
    if not whole:
        raise Waiting("a loop", ARRIVED_SECONDS)
    return whole


def one_span(trace: model.Trace, service: str, operation: str) -> Span:
    """Return the span of a service and operation; raises `Failed` if the trace does not have just one."""
    spans = [span for span in trace.spans if (span.service, span.operation) == (service, operation)]
    if len(spans) != 1:
        raise Failed(f"a trace with one span {operation} of {service}", f"a trace with {len(spans)}")
    return spans[0]


@check("ten workers ran")
def ten_workers(live: Live) -> str:
    counts = sorted({period.workers for period in periods(live)})
    if TEN not in counts:
        raise Failed(f"{TEN} workers", f"workers so far: {', '.join(map(str, counts)) or 'none'}", WORKERS)
    return f"{TEN} workers"


@check("propagation was broken, and is mended")
def mended(live: Live) -> str:
    if "orphan" not in live.answers:
        query = search_url(live, "rng", REQUEST_TO_RNG)
        raise Failed("a right answer to the question orphan, while propagation is broken", "none yet", query)
    start = int((live.now - MENDED_SECONDS) * MICROSECONDS)
    found = live.jaeger.traces("rng", operation=REQUEST_TO_RNG, start=start, limit=1000)
    spans = [span for one in found for span in model.parse(one).spans if span.operation == REQUEST_TO_RNG]
    if not spans:
        raise Waiting("requests to rng", ARRIVED_SECONDS)
    orphans = sum(not span.references for span in spans)
    if orphans:
        expected = f"spans of rng that all name a parent, in the last {MENDED_SECONDS} s"
        seen = f"{orphans} of {len(spans)} name none"
        raise Failed(expected, seen, f"{search_url(live, 'rng', REQUEST_TO_RNG)}&start={start}")
    return f"all {len(spans)} spans of rng in the last {MENDED_SECONDS} s name a parent"


@choice(
    "Which span does rng's span name as its parent?",
    a="the root, loop: it is the parent of all others",
    b="the worker's GET, the client span of the same request",
    c="none: it is the first span of rng",
    d="the worker's POST, which comes next",
)
def parent(live: Live) -> str:
    return "b"


@number("How many spans has the trace of a loop that writes nothing to Redis?", unit="spans")
def spans(live: Live) -> Expected:
    counts = [sum(not span.get("db.system.name") for span in one.spans) for one in whole_loops(live)]
    return Expected(mode(counts), 0, "what the traces of whole loops have, without the writes to Redis")


@trace("The ID of a trace whose loop found a coin and took over 400 ms")
def slow_coin(live: Live, trace: Trace) -> str:
    found = one_span(model.parse(trace), "worker", "loop")
    if found.get("dockercoins.coin") != "true":
        raise Failed(
            "a loop that found a coin", "dockercoins.coin is not true in the span loop of this trace"
        )
    if found.duration <= SLOW_SECONDS * MICROSECONDS:
        seen = f"a loop of {found.duration / MICROSECONDS:.3f} s"
        raise Failed(f"a loop that took over {SLOW_SECONDS} s", seen)
    return f"it found a coin in {found.duration / MICROSECONDS:.3f} s"


@number("How many seconds did that loop wait in line for rng?", unit="s")
def in_line(live: Live) -> Expected:
    if "slow-coin" not in live.answers:
        raise Failed("a right answer to the question slow-coin first: it is about that trace", "none yet")
    document = live.jaeger.trace(live.answers["slow-coin"][0])
    if document is None:
        raise Failed(
            "the trace that you answered to slow-coin", "it is gone: answer slow-coin with a new one"
        )
    found = model.parse(document)
    one_span(found, "rng", REQUEST_TO_RNG)
    seconds = self_time(one_span(found, "worker", "GET")) / MICROSECONDS
    rule = f"the time of the request in which rng does not work on it, within {IN_LINE_TOLERANCE} s"
    return Expected(seconds, IN_LINE_TOLERANCE, rule, f"{live.jaeger.url}/api/traces/{found.trace_id}")


@number("Into how many traces does a loop fall while propagation is broken?", unit="traces")
def pieces(live: Live) -> Expected:
    servers = [sum(span.get("span.kind") == "server" for span in one.spans) for one in whole_loops(live)]
    return Expected(1 + mode(servers), 0, "how many spans have no parent when no header is sent")


@trace("The ID of a trace that is rng's part of a loop, while propagation is broken")
def orphan(live: Live, trace: Trace) -> str:
    found = one_span(model.parse(trace), "rng", REQUEST_TO_RNG)
    if found.references:
        raise Failed("a span of rng that names no parent", "a span of rng that names one")
    if not any(_around(loop, found) for loop in _loops_at(live, found)):
        expected = "a request of a worker whose loop has lost its spans of rng"
        query = search_url(live, "worker", "GET")
        raise Failed(expected, "a request that no such loop was waiting for at that time", query)
    return "a worker was waiting for it, and its trace does not have it"


def _loops_at(live: Live, span: Span) -> list[model.Trace]:
    """Return the traces of workers that may have waited for a span of rng."""
    start = span.start - LONGEST_REQUEST_SECONDS * MICROSECONDS
    found = live.jaeger.traces("worker", operation="GET", start=start, end=span.end, limit=1000)
    return [model.parse(one) for one in found]


def _around(loop: model.Trace, span: Span) -> bool:
    """Tell whether a loop without spans of rng waited for an answer while this span of rng went on."""
    if "rng" in loop.services:
        return False
    return any(
        request.start <= span.start and span.end <= request.end + LATE_SECONDS * MICROSECONDS
        for request in loop.spans
        if request.operation == "GET"
    )


@trace("The ID of a trace that you made with curl: requests to rng and to hasher, below one parent")
def own(live: Live, trace: Trace) -> str:
    found = model.parse(trace)
    if found.services.keys() != {"rng", "hasher"}:
        seen = f"spans of {', '.join(found.services)}"
        raise Failed("a trace with spans of rng and of hasher, and of nobody else", seen)
    parents = {reference.span_id for span in found.spans for reference in span.references}
    if found.roots or len(parents) != 1:
        seen = f"{len(parents)} parents, and {found.roots} spans that name none"
        raise Failed("spans that all name the same parent", seen)
    return "both services took the header"


@choice(
    "Who is to be mended, and how do you know?",
    a="rng and hasher: it is their spans that have no parent",
    b="rng and hasher: they did not take the header that you sent",
    c="the worker: rng and hasher took the header that you sent",
    d="the trace backend: it does not find the parents",
)
def who(live: Live) -> str:
    return "c"


@choice(
    "Why is there no trace of the request with the flags 00?",
    a="rng refuses such a request",
    b="the caller says that it records nothing, and rng follows",
    c="the header is not valid, so rng begins another trace",
    d="the trace backend drops what is below an unknown parent",
)
def unsampled(live: Live) -> str:
    return "b"
