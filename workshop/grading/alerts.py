"""The condition of an alert, judged by history: when it would have fired, and whether it should have.

An alert of Prometheus fires while its expression has a result, whatever the value:
https://prometheus.io/docs/prometheus/latest/configuration/alerting_rules/

In an exercise's `check.py`::

    seen = replay(live, expression, live.since, live.now)
    seen.must_fire(failure.start, failure.start + 30, "a result within 30 s of the failure")
    seen.must_be_quiet(seen.outside([(failure.start, failure.end)]), "no result while all is healthy")
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from workshop.clients import RefusedError
from workshop.grading.checks import Failed, Waiting
from workshop.grading.history import STEP_SECONDS, first_step
from workshop.grading.live import Live

# So few moments say nothing of how an alert behaves while nothing happens.
FEWEST_MOMENTS = 5


@dataclass(frozen=True)
class Replay:
    """An expression over a time that is past.

    `moments` are the Unix times at which it was evaluated, in seconds; at those in `fires` it had a result.
    """

    expression: str
    moments: list[float]
    fires: frozenset[float]

    def within(self, start: float, end: float) -> list[float]:
        """Return the moments from `start` to `end`, both included."""
        return [moment for moment in self.moments if start <= moment <= end]

    def outside(self, spans: Iterable[tuple[float, float]]) -> list[float]:
        """Return the moments that are in none of the spans of time.

        Raises `Waiting` while they are too few to judge by.
        """
        excluded = list(spans)
        found = [
            moment for moment in self.moments if not any(start <= moment <= end for start, end in excluded)
        ]
        if len(found) < FEWEST_MOMENTS:
            raise Waiting("healthy time to compare with", (FEWEST_MOMENTS - len(found)) * STEP_SECONDS)
        return found

    def must_fire(self, start: float, end: float, expected: str) -> None:
        """Raise `Failed` if the expression has no result from `start` to `end`."""
        if self.fires.isdisjoint(self.within(start, end)):
            raise Failed(expected, f"none in {end - start:.0f} s", self.expression)

    def must_be_quiet(self, moments: list[float], expected: str) -> None:
        """Raise `Failed` if the expression has a result at one of some moments."""
        if alarms := self.fires.intersection(moments):
            seen = f"one for {len(alarms) * STEP_SECONDS} s of {len(moments) * STEP_SECONDS} s"
            raise Failed(expected, seen, self.expression)


def replay(live: Live, expression: str, start: float, end: float) -> Replay:
    """Return when an expression had a result; raises `Failed` if Prometheus does not understand it."""
    first = first_step(start)
    moments = [first + step * STEP_SECONDS for step in range(math.floor((end - first) / STEP_SECONDS) + 1)]
    try:
        series = live.prometheus.query_range(expression, first, end, STEP_SECONDS) if moments else []
    except RefusedError as error:
        raise Failed("a PromQL expression", f"Prometheus says: {error}", expression) from None
    return Replay(expression, moments, frozenset(time for one in series for time in one.values))


def recorded(live: Live, expression: str, start: float) -> dict[float, float]:
    """Return the values by time, from `start` until now, of an expression that has one series at most."""
    first = first_step(start)
    if first > live.now:
        return {}
    series = live.prometheus.query_range(expression, first, live.now, STEP_SECONDS)
    return dict(series[0].values) if series else {}
