"""Whether two PromQL expressions mean the same: they do if they give the same on live data.

Both are evaluated over the same time. So two expressions that differ only in what did not happen then are
taken for the same; the exercises ask after something has happened.
"""

import math
from collections.abc import Mapping

from workshop.clients import RefusedError, Series
from workshop.grading.checks import Failed, Waiting
from workshop.grading.live import Live

STEP_SECONDS = 2  # as Prometheus scrapes
RANGE_SECONDS = 300
# The newest samples may come between the two queries.
SETTLED_SECONDS = 4
# Two evaluations that are up to two scrapes apart, as those of a recording rule, are the same expression.
SHIFT_STEPS = 2
TOLERANCE = 0.05
AGREEMENT = 0.95
FEWEST_MOMENTS = 10

Key = tuple[str, ...]
Values = dict[Key, dict[float, float]]


def compare(live: Live, expression: str, reference: str, by: tuple[str, ...]) -> str:
    """Return what speaks for an expression that means the same as `reference`.

    Series are told apart by the labels `by`; other labels do not matter. Raises `Failed` if the two differ,
    `Waiting` if the reference has too little data, `RefusedError` if Prometheus does not understand it.
    """
    end = live.now - SETTLED_SECONDS
    start = min(max(live.since, end - RANGE_SECONDS), end)
    expected = _by(live.prometheus.query_range(reference, start, end, STEP_SECONDS), by)
    moments = max((len(values) for values in expected.values()), default=0)
    if moments < FEWEST_MOMENTS:
        raise Waiting("enough data to compare with", (FEWEST_MOMENTS - moments) * STEP_SECONDS)
    wanted = f"one number for each {' and '.join(by)}" if by else "one number"
    try:
        # Before there was any data an expression that measures something gives nothing, or zero.
        if any(sample.value for sample in live.prometheus.query(expression, at=0)):
            raise Failed("an expression that reads metrics", "it gives a value even for 1970", expression)
        found = live.prometheus.query_range(expression, start, end, STEP_SECONDS)
    except RefusedError as error:
        raise Failed("a PromQL expression", f"Prometheus says: {error}", expression) from None
    try:
        seen = _by(found, by)
    except ValueError:
        raise Failed(wanted, f"{len(found)} time series, several for the same", expression) from None
    if strange := seen.keys() - expected.keys():
        which = ", ".join(" ".join(key).strip() or f"no {' or '.join(by)}" for key in sorted(strange))
        raise Failed(wanted, f"also a time series for {which}", expression)
    if not seen:
        raise Failed(wanted, "no data at all: is each name and label right?", expression)
    share = _agreement(seen, expected)
    if share < AGREEMENT:
        raise Failed(
            f"what was asked for, within {TOLERANCE:.0%}, most of the last {end - start:.0f} s",
            f"it agrees for {share:.0%} of that time",
            expression,
        )
    return f"the same as the reference for {share:.0%} of the last {end - start:.0f} s"


def _by(series: list[Series], by: tuple[str, ...]) -> Values:
    """Return the values of each series by the labels `by`; raises `ValueError` if two have the same."""
    found: Values = {}
    for one in series:
        key = tuple(one.labels.get(label, "") for label in by)
        if key in found:
            raise ValueError(key)
        values = {time: value for time, value in one.values.items() if math.isfinite(value)}
        if values:
            found[key] = values
    return found


def _agreement(seen: Values, expected: Values) -> float:
    """Return the share of the moments at which both have the same value."""
    good = total = 0
    for key in expected:
        mine, theirs = seen.get(key, {}), expected[key]
        times = sorted(mine.keys() | theirs.keys())
        total += len(times)
        good += sum(_agree(mine.get(time), theirs, time) for time in times)
    return good / total


def _agree(value: float | None, expected: Mapping[float, float], time: float) -> bool:
    shifts = range(-SHIFT_STEPS, SHIFT_STEPS + 1)
    near = [expected.get(round(time + shift * STEP_SECONDS, 3)) for shift in shifts]
    known = [each for each in near if each is not None]
    if value is None:
        return None in near
    if not known:
        return False
    low, high = min(known), max(known)
    slack = TOLERANCE * max(abs(low), abs(high)) + 1e-9
    return low - slack <= value <= high + slack
