"""Questions of an exercise, and how an answer is judged: against what the running lab says at that moment.

In an exercise's `check.py`::

    @number("How many hashes a second does one worker make?", unit="hashes/s")
    def speed(live: Live) -> Expected:
        return Expected(measured, tolerance=0.05 * measured, rule="the speed of the last minute, within 5 %")
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from workshop.grading import promql as comparison
from workshop.grading.checks import Failed, Result, name_of, result
from workshop.grading.live import Live
from workshop.lab import SettingError

Trace = dict[str, Any]
"""A trace as Jaeger's API gives it."""


@dataclass(frozen=True)
class Question:
    """A question of an exercise.

    `accepts` tells what an answer looks like. `judge` returns what speaks for a right answer; it
    raises `Failed` for a wrong one, `Waiting` if there is no data yet, `SettingError` for what is no answer.
    """

    name: str
    text: str
    accepts: str
    judge: Callable[[str, Live], str]
    options: Mapping[str, str] = field(default_factory=dict)

    def answer(self, value: str, live: Live) -> Result:
        """Judge an answer."""
        return result(self.name, f"question {self.name}", lambda: self.judge(value.strip(), live))


@dataclass(frozen=True)
class Expected:
    """The right number and how far an answer may be off; `rule` says so without the number."""

    value: float
    tolerance: float
    rule: str
    query: str = ""


def number(text: str, unit: str = "") -> Callable[[Callable[[Live], Expected]], Question]:
    """Make a function that returns the expected number a question."""
    accepts = f"a number, in {unit}" if unit else "a number"

    def make(expect: Callable[[Live], Expected]) -> Question:
        def judge(value: str, live: Live) -> str:
            try:
                given = float(value.removesuffix(unit))
            except ValueError:
                given = math.nan
            if not math.isfinite(given):
                raise SettingError(f"{value!r} is not usable: {accepts} like 12.3 is accepted")
            expected = expect(live)
            # A tolerance of 5 % includes its edge, which binary fractions may miss.
            if abs(given - expected.value) > expected.tolerance * (1 + 1e-9):
                raise Failed(expected.rule, f"your {given:g} {unit}".rstrip(), expected.query)
            return f"{given:g} is right: measured {expected.value:.4g} {unit}".rstrip()

        return Question(name_of(expect), text, accepts, judge)

    return make


def choice(text: str, **options: str) -> Callable[[Callable[[Live], str]], Question]:
    """Make a function that returns the letter of the right option a question."""
    letters = ", ".join(options)

    def make(right: Callable[[Live], str]) -> Question:
        def judge(value: str, live: Live) -> str:
            letter = value.lower().rstrip(")")
            if letter not in options:
                raise SettingError(f"{value!r} is not usable: one of {letters} is accepted")
            if letter != right(live):
                raise Failed("what the measurements of this lab support", f"your {letter}) {options[letter]}")
            return f"{letter}) {options[letter]}"

        return Question(name_of(right), text, f"one of {letters}", judge, options)

    return make


def promql(text: str, by: tuple[str, ...] = ()) -> Callable[[Callable[[Live], str]], Question]:
    """Make a function that returns a reference expression a question; `by` are the labels that matter.

    An answer is judged by its result on live data, however it is written.
    """

    def make(reference: Callable[[Live], str]) -> Question:
        def judge(value: str, live: Live) -> str:
            return comparison.compare(live, value, reference(live), by)

        return Question(name_of(reference), text, "a PromQL expression, in quotes", judge)

    return make


def trace(text: str) -> Callable[[Callable[[Live, Trace], str]], Question]:
    """Make a function that judges a trace a question for its ID; the trace is fetched before."""

    def make(examine: Callable[[Live, Trace], str]) -> Question:
        def judge(value: str, live: Live) -> str:
            trace_id = value.lower()
            if not re.fullmatch("[0-9a-f]{32}", trace_id):
                raise SettingError(f"{value!r} is no trace ID: 32 hexadecimal digits are accepted")
            found = live.jaeger.trace(trace_id)
            if found is None:
                raise Failed(
                    "a trace that the trace backend has",
                    "none with this ID; one that just ended needs 2 s, and an old one may be gone",
                    f"{live.jaeger.url}/api/traces/{trace_id}",
                )
            return examine(live, found)

        return Question(name_of(examine), text, "a trace ID, 32 hexadecimal digits", judge)

    return make


def text(text: str, accepts: str) -> Callable[[Callable[[str, Live], str]], Question]:
    """Make a function that judges a text (as `Question.judge`) a question."""

    def make(judge: Callable[[str, Live], str]) -> Question:
        return Question(name_of(judge), text, accepts, judge)

    return make
