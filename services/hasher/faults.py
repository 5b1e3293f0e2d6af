"""What can go wrong in hasher, each as a flag. hasher itself knows nothing of it."""

import random
import time
from contextvars import ContextVar
from mmap import mmap

import opentelemetry.sdk.trace
from flask import Flask, Response, abort
from flask.typing import ResponseReturnValue
from telemetry.flags import Flags

# Seconds.
SLOW = 0.3
BURN = 0.05
SKEW = -3

ERROR_SHARE = 0.3
# Bytes. With what hasher needs anyway, all of the leak is less than its container may have.
LEAK = 2 * 2**20
ALL_LEAKS = 60 * 2**20

# Seconds by which the clock of the request under way is wrong: the same for all of its time stamps.
skew: ContextVar[int] = ContextVar("skew", default=0)


def install(app: Flask, flags: Flags) -> None:
    """Let the faults act on every request, inside of its span and its measurement."""
    leaked: list[mmap] = []
    opentelemetry.sdk.trace.time_ns = skewed_clock  # type: ignore[attr-defined]

    dispatch, full_dispatch = app.dispatch_request, app.full_dispatch_request

    def dispatch_by_the_clock() -> Response:
        skew.set(SKEW if flags.on("hasher-clock-skew") else 0)
        return full_dispatch()

    def broken_dispatch() -> ResponseReturnValue:
        flags.on("hasher-clock-skew")  # once more, now that there is a span to write it on
        if flags.on("hasher-slow"):
            time.sleep(SLOW)
        if flags.on("hasher-cpu"):
            burn(BURN)
        if not flags.on("hasher-leak"):
            while leaked:
                leaked.pop().close()
        elif len(leaked) * LEAK < ALL_LEAKS:
            leaked.append(filled(LEAK))
        if flags.on("hasher-errors") and random.random() < ERROR_SHARE:  # noqa: S311 - not a secret
            abort(500, "out of SHA-256")
        answer = dispatch()
        if flags.on("hasher-wrong"):
            response = app.make_response(answer)
            response.set_data("f" + response.get_data(as_text=True)[1:])
            return response
        return answer

    # Not hooks before and after a request: Flask takes longer to call those than all flags take that are off.
    app.dispatch_request = broken_dispatch  # type: ignore[method-assign]
    # Around the span, whose start and end are by that clock.
    app.full_dispatch_request = dispatch_by_the_clock  # type: ignore[method-assign]


def skewed_clock() -> int:
    """Return the time in nanoseconds since 1970, by a clock that may be wrong."""
    return time.time_ns() + skew.get() * 1_000_000_000


def burn(seconds: float) -> None:
    """Compute for that many seconds of CPU time."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def filled(size: int) -> mmap:
    """Return so many bytes of memory, in RAM. What is not written to is not."""
    block = mmap(-1, size)
    block.write(b"x" * size)
    return block
