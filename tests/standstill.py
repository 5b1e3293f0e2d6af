"""Whether the machine stood still: a virtual machine does while it is saved, a laptop while it sleeps.

What was measured meanwhile says nothing, so it is measured once more. The tests' summary tells when it was.
"""

from collections.abc import Callable
from datetime import datetime
from threading import Thread
from time import monotonic, sleep, time
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

TICK_SECONDS = 0.1
# A speed is measured over 30 s, and judged within 5 %.
LONGEST_SECONDS = 0.05 * 30

_found: list[tuple[float, float]] = []
"""Of each time: when it ended, by the monotonic clock, and how many seconds it took."""


def watch() -> None:
    """Look on from now on, in a thread."""
    Thread(target=_watch, name="standstill", daemon=True).start()


def _watch() -> None:
    before = monotonic(), time()
    while True:
        sleep(TICK_SECONDS)
        now = monotonic(), time()
        # A virtual machine may find only one of its clocks put forward.
        seconds = max(now[0] - before[0], now[1] - before[1]) - TICK_SECONDS
        if seconds > LONGEST_SECONDS:
            _found.append((monotonic(), seconds))
        before = now


def seconds(since: float) -> float:
    """Return for how long the machine stood still after a time of the monotonic clock."""
    return sum(seconds for ended, seconds in _found if ended >= since)


def undisturbed(act: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return what a function returns; call it once more if the machine stood still meanwhile."""
    started = monotonic()
    try:
        result = act(*args, **kwargs)
    except Exception:
        if not seconds(started):
            raise
    else:
        if not seconds(started):
            return result
    return act(*args, **kwargs)


def told() -> list[str]:
    """Return a line for each time that the machine stood still."""
    now, clock = monotonic(), time()
    return [
        f"{seconds:.1f} s until {datetime.fromtimestamp(clock - (now - ended)):%H:%M:%S}"
        for ended, seconds in _found
    ]
