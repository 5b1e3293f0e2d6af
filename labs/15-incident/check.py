"""Lab 15: an incident that was found out and solved, and the evidence for it in what was measured."""

import re
from dataclasses import dataclass

from workshop.clients import RefusedError
from workshop.grading.answers import Expected, Trace, choice, number, text
from workshop.grading.checks import Failed, Waiting, check
from workshop.grading.history import STEP_SECONDS
from workshop.grading.live import Live

HASHES = "max(dockercoins_hashes_total)"
SPEED = "max(rate(dockercoins_hashes_total[30s]))"
SCORES = "workshop incident"

# By the catalogue of faults the signs move within 15 s after the beginning, and are back 30 s after the end.
MOVED_SECONDS, BACK_SECONDS = 15, 30
# What is measured before the incident, and after it when the signs are back.
BEFORE_SECONDS, AFTER_SECONDS = 30, 10
# How much of the incident an expression must show, and the traces that one is compared with.
EVIDENT = 0.8
TRACES = 200
SPEED_TOLERANCE = 0.05
# A worker that failed waits up to 10 s before its next try, and its speed is an average of 30 s.
RECOVERED = 0.65
# What a worker has in hand when the count is read, twice.
IN_HAND = 8


@dataclass(frozen=True)
class Incident:
    """An incident that was solved; `start` and `end` are Unix times in seconds."""

    start: float
    end: float
    points: int

    @property
    def healthy_from(self) -> float:
        """From when on nothing is to be seen of it any more."""
        return self.end + BACK_SECONDS


def solved(live: Live) -> Incident:
    """Return the last incident that was solved since the work began; raises `Failed` if there is none."""
    over = [one for one in live.incidents if one.get("started", 0) >= live.since]
    good = [one for one in over if one["seconds_to_diagnose"] is not None]
    if not good:
        seen = "one that was given up" if over else "none that is over"
        raise Failed("an incident that you began after the reset, and solved to its end", seen, SCORES)
    start = good[-1]["started"]
    return Incident(start, start + good[-1]["seconds_to_diagnose"], good[-1]["points"])


def measured(live: Live) -> Incident:
    """Return the incident when there is something before and after it to compare with."""
    try:
        incident = solved(live)
    except Failed as failure:
        raise Failed("first of all, the diagnosis", failure.seen, failure.query) from None
    before = incident.start - live.since
    if before < BEFORE_SECONDS:
        expected = f"an incident that begins at least {BEFORE_SECONDS} s after the reset"
        raise Failed(expected, f"one after {before:.0f} s: begin another one", SCORES)
    ready = incident.healthy_from + AFTER_SECONDS
    if live.now < ready:
        raise Waiting("measurements after the incident", ready - live.now)
    return incident


@check("an incident was solved")
def diagnosed(live: Live) -> str:
    incident = solved(live)
    return f"after {incident.end - incident.start:.0f} s, {incident.points} points"


@check("the speed came back")
def back(live: Live) -> str:
    incident = measured(live)
    away = live.prometheus.query("up == 0")
    if away:
        raise Failed("every target up", ", ".join(sample.labels["job"] for sample in away), "up == 0")
    before, now = live.prometheus.scalar(SPEED, at=incident.start), live.prometheus.scalar(SPEED)
    if not before or now is None:
        raise Failed("a speed before the incident and now", "no data", SPEED)
    if now < RECOVERED * before:
        raise Failed(
            f"at least {RECOVERED:.0%} of the speed of before the incident",
            f"{now:.1f} of {before:.1f}/s",
            SPEED,
        )
    return f"{before:.1f} hashes/s before, {now:.1f} now"


@text(
    "The evidence: what shows that the system was not as usual?",
    accepts="a PromQL expression with one time series, in quotes, or the ID of a trace",
)
def evidence(value: str, live: Live) -> str:
    incident = measured(live)
    if re.fullmatch("[0-9a-f]{32}", value.lower()):
        return of_trace(live, value.lower(), incident)
    return of_expression(live, value, incident)


def of_expression(live: Live, expression: str, incident: Incident) -> str:
    """Judge an expression: during the incident it must have other values than before and after, or none."""

    def values(start: float, end: float) -> list[float | None]:
        """Return its value at each scrape; None where it has none, or NaN."""
        series = live.prometheus.query_range(expression, start, end, STEP_SECONDS)
        if len(series) > 1:
            raise Failed("one time series", f"{len(series)}: add them up, or select one", expression)
        found = {round(time, 3): value for time, value in series[0].values.items()} if series else {}
        moments = [round(start + step * STEP_SECONDS, 3) for step in range(int((end - start) / STEP_SECONDS))]
        return [found[at] if at in found and found[at] == found[at] else None for at in moments]

    try:
        before = values(incident.start - BEFORE_SECONDS, incident.start)
        after = values(incident.healthy_from, live.now - STEP_SECONDS)
        # One that was found out quickly has not moved much.
        moved = min(MOVED_SECONDS, (incident.end - incident.start) / 2)
        during = values(incident.start + moved, incident.end)
    except RefusedError as error:
        raise Failed("a PromQL expression", f"Prometheus says: {error}", expression) from None
    usual = before + after
    known = [value for value in usual if value is not None]

    def strange(value: float | None) -> bool:
        # No value is strange where there mostly is one, and any value where there never is.
        if value is None:
            return len(known) > len(usual) / 2
        return not known or not min(known) <= value <= max(known)

    share = sum(map(strange, during)) / max(len(during), 1)
    if share < EVIDENT:
        expected = (
            f"values in the incident that it had neither before nor after, for {EVIDENT:.0%} of the time"
        )
        raise Failed(expected, f"for {share:.0%}", expression)
    return f"it was not as usual for {share:.0%} of the incident"


def of_trace(live: Live, trace_id: str, incident: Incident) -> str:
    """Judge a trace: it must be of the incident, and have or lack something that the usual ones do not."""
    found = live.jaeger.trace(trace_id)
    if found is None:
        raise Failed("a trace that the trace backend has", "none with this ID", live.jaeger.url)
    began = min(span["startTime"] for span in found["spans"]) / 1e6
    if not incident.start <= began <= incident.end:
        when = f"one from {began - incident.start:.0f} s after its beginning"
        raise Failed("a trace from the time of the incident", when, live.jaeger.url)
    window = {"start": int((incident.start - BEFORE_SECONDS) * 1e6), "end": int(incident.start * 1e6)}
    usual = live.jaeger.traces("worker", limit=TRACES, **window)
    if steps(found) in [steps(one) for one in usual] and seconds(found) <= max(
        map(seconds, usual), default=0
    ):
        seen = "the same services, operations and errors, and no more time"
        raise Failed("a trace that differs from those before the incident", seen, live.jaeger.url)
    return "it differs from those before the incident"


def steps(trace: Trace) -> set[tuple[str, str, str]]:
    """Return the service, the operation and the error of each span."""
    return {
        (
            trace["processes"][span["processID"]]["serviceName"],
            span["operationName"],
            next((str(tag["value"]) for tag in span["tags"] if tag["key"] == "error.type"), ""),
        )
        for span in trace["spans"]
    }


def seconds(trace: Trace) -> float:
    """Return how long its longest span took."""
    return float(max(span["duration"] for span in trace["spans"]) / 1e6)


def speed_before(live: Live, incident: Incident) -> float:
    """Return the hashes a second of the 30 s before the incident."""
    found = live.prometheus.scalar(SPEED, at=incident.start)
    if not found:
        raise Failed("a speed before the incident", "none", SPEED)
    return found


@number("How many hashes a second were made before the incident?", unit="hashes/s")
def before(live: Live) -> Expected:
    expected = speed_before(live, measured(live))
    rule = f"the speed of the 30 s before it began, within {SPEED_TOLERANCE:.0%}"
    return Expected(expected, SPEED_TOLERANCE * expected, rule, SPEED)


@number("How many hashes did the incident cost?", unit="hashes")
def lost(live: Live) -> Expected:
    incident = measured(live)
    first, last = (live.prometheus.scalar(HASHES, at=at) for at in (incident.start, incident.healthy_from))
    if first is None or last is None:
        raise Failed("the count when it began, and 30 s after its end", "no data", HASHES)
    due = speed_before(live, incident) * (incident.healthy_from - incident.start)
    rule = f"those that were due, less those that were made, within {SPEED_TOLERANCE:.0%} of the former"
    return Expected(due - (last - first), SPEED_TOLERANCE * due + IN_HAND, rule, HASHES)


@choice(
    "Workers wait 0.8 s for rng, and rng itself works 0.1 s on each request. Where is the cause?",
    a="in rng: it answers too slowly",
    b="between them: in the line in front of rng, or on the way",
    c="in the worker: its clock is wrong",
    d="nowhere: one of the two histograms must be wrong",
)
def both_sides(live: Live) -> str:
    return "b"


@choice(
    "No alert fires, and a user says that something is broken. What follows?",
    a="nothing is broken",
    b="the alerts are late, so wait for them",
    c="the symptom is not covered by any alert: look for it, and then ask whether an alert should cover it",
    d="Prometheus is broken",
)
def silent(live: Live) -> str:
    return "c"


@choice(
    "What belongs into a post-mortem as the cause?",
    a="who made the last change",
    b="that somebody was not careful",
    c="what in the system made it possible, with the evidence that excludes the other causes",
    d="the first thing that looked strange",
)
def cause(live: Live) -> str:
    return "c"
