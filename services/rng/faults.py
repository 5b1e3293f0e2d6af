"""What can go wrong in rng, each as a flag. rng itself knows nothing of it."""

import random
import time

from flask import Flask, abort
from flask.typing import ResponseReturnValue
from opentelemetry import trace
from telemetry.flags import Flags

# Seconds.
SLOW = 0.2
JITTER = 0.5
LOCK_PERIOD = 3.8
LOCK_HELD = 1.0

ERROR_SHARE = 0.3
SPAN_NAMES = 1000


def install(app: Flask, flags: Flags) -> None:
    """Let the faults act on every request, inside of its span and its measurement."""
    dispatch = app.dispatch_request

    def broken_dispatch() -> ResponseReturnValue:
        if flags.on("rng-slow"):
            time.sleep(SLOW)
        if flags.on("rng-jitter"):
            time.sleep(random.uniform(0, JITTER))  # noqa: S311 - not a secret
        if flags.on("rng-lock"):
            # As if something else held a lock that every request needs, for a while every now and then.
            time.sleep(max(0, LOCK_HELD - time.monotonic() % LOCK_PERIOD))
        if flags.on("rng-errors") and random.random() < ERROR_SHARE:  # noqa: S311
            abort(500, "the source of randomness cannot be read")
        if flags.on("rng-span-names"):
            number = random.randrange(SPAN_NAMES)  # noqa: S311
            trace.get_current_span().update_name(f"GET /32?request={number}")
        answer = dispatch()
        if flags.on("rng-short"):
            response = app.make_response(answer)
            data = response.get_data()
            response.set_data(data[: len(data) // 2])
            return response
        return answer

    # Not hooks before and after a request: Flask takes longer to call those than all flags take that are off.
    app.dispatch_request = broken_dispatch  # type: ignore[method-assign]
