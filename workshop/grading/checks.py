"""A check: one thing that an exercise wants to see on the live system.

In an exercise's `check.py`::

    @check("three workers for a minute")
    def three_workers(live: Live) -> str:
        speed = live.prometheus.scalar(SPEED)
        if speed is None:
            raise Failed("a speed", "none", SPEED)
        return f"{speed:.1f} hashes/s"
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from workshop.grading.live import Live

State = Literal["passed", "failed", "waiting"]


class Failed(Exception):  # noqa: N818 - it is no error, but what a check finds
    """What a check wanted is not there: what was expected, what was seen, and the query that shows it.

    None of the three may give the answer away.
    """

    def __init__(self, expected: str, seen: str, query: str = "") -> None:
        super().__init__(expected, seen, query)
        self.expected, self.seen, self.query = expected, seen, query


class Waiting(Exception):  # noqa: N818 - as above
    """Nothing is wrong, but it takes time: what is waited for, and for how many seconds more."""

    def __init__(self, what: str, seconds: float) -> None:
        super().__init__(what, seconds)
        self.what, self.seconds = what, max(seconds, 1)


@dataclass(frozen=True)
class Result:
    """What came of one check or question; `query` is what shows what was `seen`."""

    name: str
    title: str
    state: State
    seen: str = ""
    expected: str = ""
    query: str = ""


@dataclass(frozen=True)
class Check:
    """A check of an exercise; `look` returns what it saw, or raises `Failed` or `Waiting`."""

    name: str
    title: str
    look: Callable[[Live], str]

    def run(self, live: Live) -> Result:
        """Look, and tell what came of it."""
        return result(self.name, self.title, lambda: self.look(live))


def name_of(function: Callable[..., object]) -> str:
    """Return the name of a check or a question, after that of its function: `speed_each` is speed-each."""
    return function.__name__.strip("_").replace("_", "-")


def check(title: str) -> Callable[[Callable[[Live], str]], Check]:
    """Make a function of an exercise a check; its name becomes that of the check."""

    def make(look: Callable[[Live], str]) -> Check:
        return Check(name_of(look), title, look)

    return make


def result(name: str, title: str, judge: Callable[[], str]) -> Result:
    """Return what comes of a judgement: a text of what was seen, or one of the two exceptions."""
    try:
        return Result(name, title, "passed", judge())
    except Failed as failure:
        return Result(name, title, "failed", failure.seen, failure.expected, failure.query)
    except Waiting as waiting:
        return Result(name, title, "waiting", f"{waiting.what}: {waiting.seconds:.0f} s to go")


def run_all(checks: list[Check], live: Live) -> list[Result]:
    """Run checks side by side, so that all of them together take no longer than the slowest."""
    if not checks:
        return []
    with ThreadPoolExecutor(len(checks)) as pool:
        return list(pool.map(lambda each: each.run(live), checks))
