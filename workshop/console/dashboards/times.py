"""The range of time that a dashboard shows, and the step between its points."""

import re
from dataclasses import dataclass
from math import ceil, floor

SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
# As long as Prometheus keeps its data.
LONGEST = 24 * 60 * 60
# More than a panel has room for would only cost time.
MAX_POINTS = 300
ACCEPTED = "accepted is now, now-5m, or milliseconds since 1970"


class RangeError(ValueError):
    """A range of time that cannot be shown; the text says why, in one line."""


@dataclass(frozen=True)
class Range:
    """From `start` to `end`, in seconds since 1970."""

    start: float
    end: float

    def aligned(self, step: float) -> list[float]:
        """Return the multiples of `step` in the range.

        The next range has the same times but for the ends: other times would have other values, and the
        lines would tremble.
        """
        return [number * step for number in range(ceil(self.start / step), floor(self.end / step) + 1)]


def parse_duration(text: str) -> float:
    """Return the seconds of a duration such as 2s or 5m; raises `RangeError`."""
    match = re.fullmatch(r"(\d{1,9})(ms|s|m|h|d)", text, re.ASCII)
    if not match:
        raise RangeError(f"{text!r} is not a duration: accepted is 500ms, 2s, 5m, 1h or 1d")
    return int(match[1]) * SECONDS[match[2]]


def parse_range(start: str, end: str, now: float) -> Range:
    """Return the range between two times in Grafana's notation; raises `RangeError`.

    A time is `now`, `now-5m`, or milliseconds since 1970.
    """
    span = Range(_parse_time("from", start, now), _parse_time("to", end, now))
    if span.start >= span.end:
        raise RangeError(f"from={start} is not before to={end}")
    if span.end - span.start > LONGEST:
        raise RangeError(f"from={start} to={end} is longer than a day")
    return span


def _parse_time(name: str, text: str, now: float) -> float:
    if text == "now":
        return now
    if text.startswith("now-"):
        try:
            return now - parse_duration(text.removeprefix("now-"))
        except RangeError:
            pass
    elif re.fullmatch(r"\d{1,14}", text, re.ASCII):
        return int(text) / 1000
    raise RangeError(f"{name}={text!r} is not a time: {ACCEPTED}")


def choose_step(span: Range, min_step: float) -> float:
    """Return the seconds between points: the least multiple of `min_step` that makes few enough of them."""
    return max(1, ceil((span.end - span.start) / MAX_POINTS / min_step)) * min_step
