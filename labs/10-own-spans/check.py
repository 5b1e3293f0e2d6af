"""Lab 10: what a student's code adds to the spans of the worker."""

import re
from urllib.parse import quote

from workshop.console.traces import model
from workshop.console.traces.model import Span
from workshop.grading.answers import Expected, Trace, choice, number, trace
from workshop.grading.checks import Failed, Waiting, check
from workshop.grading.live import Live

VALUE, FIRST_DIGIT = "dockercoins.hash.value", "dockercoins.hash.first_digit"
FOUND = "dockercoins.coin.found"
BYTES = "32"
# What rng gives while the fault rng-short is on.
HALF = "16"
SLEEP = (
    'sum(rate(dockercoins_worker_phase_duration_seconds_sum{phase="sleep"}[1m]))'
    ' / sum(rate(dockercoins_worker_phase_duration_seconds_count{phase="sleep"}[1m]))'
)

MICROSECONDS = 1_000_000
# A service sends its spans after a second at most, so by then those of all services are there.
ARRIVED_SECONDS = 3
LOOPS = 30
# The rest of a loop is Python at work. Without the sleep it is a third.
DARK_SHARE = 0.15
DARK_TOLERANCE = 0.1
# One loop in 16, of three in a second.
NEXT_COIN_SECONDS = 5


def loops(live: Live, tags: str = "", operation: str = "loop") -> list[Span]:
    """Return the newest loops since the work began that are complete, the oldest first.

    `tags` are those of one of the worker's spans in it, of that operation.
    """
    start = int(live.since * MICROSECONDS)
    parameters = {"operation": operation, "start": start, "limit": LOOPS} | ({"tags": tags} if tags else {})
    roots = [model.parse(one).root for one in live.jaeger.traces("worker", **parameters)]
    arrived = (live.now - ARRIVED_SECONDS) * MICROSECONDS
    return sorted((root for root in roots if root.end <= arrived), key=lambda root: root.start)


def search(live: Live, tags: str = "", operation: str = "loop") -> str:
    """Return the address of a search for loops, for somebody who wants to see what a check saw."""
    address = f"{live.jaeger.url}/api/traces?service=worker&operation={operation}"
    return f"{address}&tags={quote(tags)}" if tags else address


def newest_loop(live: Live) -> Span:
    """Return the newest loop that is complete; raises `Waiting` if there is none."""
    found = loops(live)
    if not found:
        raise Waiting("a loop", ARRIVED_SECONDS)
    return found[-1]


def found_events(loop: Span) -> list[dict[str, str]]:
    """Return the attributes of each event of a loop that says that a coin was found."""
    events = [dict(event.attributes) for event in loop.events]
    return [event for event in events if event.get("event") == FOUND]


@check("a span of its own for the sleep")
def sleep(live: Live) -> str:
    loop = newest_loop(live)
    covered = sum(child.duration for child in loop.children)
    dark = (loop.duration - covered) / MICROSECONDS
    if not any(child.operation == "sleep" for child in loop.children):
        expected = "a span named sleep, as a child of loop"
        seen = f"{' and '.join(child.operation for child in loop.children)}; {dark:.3f} s are in none"
        raise Failed(expected, seen, search(live))
    if dark > DARK_SHARE * loop.duration / MICROSECONDS:
        seen = f"{dark:.3f} s of {loop.duration / MICROSECONDS:.3f} s are in none"
        raise Failed("spans below loop that tell where its time goes", seen, search(live))
    return f"{dark:.3f} s of the loop are in no span below it"


@check("the hash as attributes of each loop")
def attributes(live: Live) -> str:
    loop = newest_loop(live)
    value, digit = loop.get(VALUE), loop.get(FIRST_DIGIT)
    expected = f"{VALUE} with a hash, {FIRST_DIGIT} with its first digit"
    if not re.fullmatch("[0-9a-f]{64}", value) or digit != value[:1]:
        seen = ", ".join(f"{name}={loop.get(name)!r}" for name in (VALUE, FIRST_DIGIT))
        raise Failed(expected, seen, search(live))
    return f"{VALUE}={value[:8]}..., {FIRST_DIGIT}={digit}"


@check("an event for each coin")
def event(live: Live) -> str:
    tags = '{"dockercoins.coin": "true"}'
    coins, others = loops(live, tags), loops(live, '{"dockercoins.coin": "false"}')
    if others and found_events(others[-1]):
        raise Failed(f"no event {FOUND} in a loop without a coin", "one", search(live))
    if coins and (events := found_events(coins[-1])):
        if len(events) != 1 or events[0].get(VALUE) != coins[-1].get(VALUE):
            raise Failed(f"one event {FOUND} with the coin in {VALUE}", f"{events}", search(live, tags))
        return f"{FOUND}, {coins[-1].get(VALUE)[:8]}..."
    # The coin may be from before the code was changed.
    if others and others[-1].get(VALUE) and not (coins and coins[-1].get(VALUE)):
        raise Waiting("a coin", NEXT_COIN_SECONDS)
    raise Failed(f"an event {FOUND} in a loop with a coin", "none", search(live, tags))


def short(loop: Span) -> bool:
    """Tell whether a loop has an error with a type, got too few bytes, and had no request that failed."""
    sizes = {child.get("http.response.body.size") for child in loop.children if child.operation == "GET"}
    quiet = not any(child.error for child in loop.children)
    return loop.error and bool(loop.get("error.type")) and quiet and bool(sizes) and BYTES not in sizes


@check("a loop with too few bytes has an error")
def error(live: Live) -> str:
    # Not for the error itself: of Jaeger 2, `error=true` finds nothing.
    tags = f'{{"http.response.body.size": "{HALF}"}}'
    answers = loops(live, tags, "GET")
    found = [loop for loop in answers if short(loop)]
    if not found:
        expected = "a loop that is an error and has error.type, though each request in it succeeded"
        seen = f"none of the last {len(answers)} loops" if answers else "no loop"
        raise Failed(expected, f"{seen} with {HALF} bytes", search(live, tags, "GET"))
    return f"error.type={found[-1].get('error.type')}"


@number("How many seconds of a loop did no span below it tell of, in step 1?", unit="s")
def dark(live: Live) -> Expected:
    measured = live.prometheus.scalar(SLEEP)
    if measured is None or measured != measured:  # NaN: no loop in a minute
        raise Waiting("loops", NEXT_COIN_SECONDS)
    rule = f"what the worker does before it asks rng, within {DARK_TOLERANCE:.0%}"
    return Expected(measured, DARK_TOLERANCE * measured, rule)


def own_loop(live: Live, trace: Trace, expected: str) -> Span:
    """Return the loop of a trace, if it is of a loop since the work began; else raise `Failed`."""
    root = model.parse(trace).root
    if root.operation != "loop":
        raise Failed(expected, f"a trace of {root.operation}", search(live))
    if root.start < live.since * MICROSECONDS:
        raise Failed(expected, "a trace from before", search(live))
    return root


@trace("A trace whose loop has your event")
def coin_loop(live: Live, trace: Trace) -> str:
    expected = f"a loop with the event {FOUND}, whose {VALUE} is in the wallet"
    events = found_events(own_loop(live, trace, expected))
    if not events:
        raise Failed(expected, "no such event", search(live))
    coin = events[0].get(VALUE, "")
    if coin not in live.keys("wallet"):
        raise Failed(expected, f"{coin[:8] or 'nothing'}, which is not in it", search(live))
    return f"coin {coin[:8]}..."


@trace("A trace whose loop has an error because of too few bytes")
def short_loop(live: Live, trace: Trace) -> str:
    expected = "a loop with an error and error.type, in which each request succeeded and rng sent too little"
    loop = own_loop(live, trace, expected)
    if not short(loop):
        raise Failed(expected, f"error: {str(loop.error).lower()}", search(live))
    return loop.get("otel.status_description") or loop.get("error.type")


@choice(
    "Which of your attributes may also be a label of a metric?",
    a="the hash: one can then look each one up",
    b="its first digit: it has 16 values, known beforehand",
    c="both: an attribute and a label are the same",
    d="neither: metrics have no labels for what is in a span",
)
def label(live: Live) -> str:
    return "b"


@choice(
    "Too few bytes: why is it the span loop that has the error, and not GET?",
    a="loop is the root, and errors belong on the root",
    b="a client span cannot have an error",
    c="the request succeeded; what failed is what the worker did with the answer",
    d="GET is a span of rng",
)
def right_span(live: Live) -> str:
    return "c"


@choice(
    "Somebody catches an exception, calls record_exception and goes on. Which spans then have an error?",
    a="none: an event says that something happened, the status says whether the operation failed",
    b="this span: an exception event makes its status ERROR",
    c="this span and all above it",
    d="the one above it, in which the exception would have ended up",
)
def status(live: Live) -> str:
    return "a"
