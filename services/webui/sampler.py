"""The hashing speed and its history: the counters, read once a second."""

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass
from statistics import linear_regression

from webui.counters import Counters, CountersError, Reading

log = logging.getLogger(__name__)

# All in seconds.
INTERVAL = 1
HISTORY = 250
WINDOW = 20
# A slope over less than this says more about the moments of the readings than about the speed.
SHORTEST_WINDOW = 10
# Readings farther apart than this have an outage between them.
OUTAGE = 3
# While Redis is away the workers keep their counts. They hand them in at their next try: at most 10 s after
# its return, plus the loop under way. What the counter gains until then says nothing of the speed.
SETTLING = 12


class Speedometer:
    """Computes the speed from readings of a counter that grows in steps.

    The speed is the slope of the least-squares line through the readings of the last `WINDOW` seconds.
    Workers add their loops about once a second: one worker that needs 0.31 s for a loop adds 4 loops each
    1.24 s. From one reading to the next the counter then grows by 4, 4, 4, 4, 0, which is no speed to show.

    The error that is left: the counter lags behind the loops done by 0 to h, with h = 4 for one worker.
    Around its mean, the lag is an error e of each reading: at most h/2, with a standard deviation of h/√12 if
    all lags are equally likely. The line through readings at the times t has the slope error
    Σ(t-t̄)e / Σ(t-t̄)². For 21 readings, one a second, Σ(t-t̄)² is 770 and Σ|t-t̄| is 110. So the error

    - has a standard deviation of h / √12 / √770: for one worker 0.04 hashes/s, or 1.3 % of its speed;
    - is never more than h/2 · 110/770: for one worker 0.29 hashes/s.

    The lags of many workers are independent of each other; with ten the standard deviation is below 1 %.
    """

    def __init__(self) -> None:
        self._window: deque[tuple[float, int]] = deque()
        self._last: Reading | None = None
        self._settled = 0.0

    def update(self, reading: Reading) -> float | None:
        """Take one more reading; return the speed in hashes per second, or None while it cannot be known.

        It cannot be known from too few readings, or shortly after an outage. The window starts anew if the
        counter fell (its data was removed, or Redis came back with older data) or the clock was set back.
        """
        if self._last:
            elapsed = reading.time - self._last.time
            if elapsed <= 0 or reading.hashes < self._last.hashes:
                self._window.clear()
            if not 0 < elapsed <= OUTAGE:
                self._settled = reading.time + SETTLING
        self._last = reading
        if reading.time < self._settled:
            return None
        self._window.append((reading.time, reading.hashes))
        while self._window[0][0] < reading.time - WINDOW:
            self._window.popleft()
        if reading.time - self._window[0][0] < SHORTEST_WINDOW:
            return None
        return linear_regression(*zip(*self._window, strict=True)).slope


@dataclass(frozen=True)
class Sample:
    """A reading, and the speed at its time in hashes per second if that is known."""

    reading: Reading
    speed: float | None


class Sampler(threading.Thread):
    """Reads the counters once a second, and keeps what it read in the last `HISTORY` seconds.

    `error` says why the last read failed; it is empty if that succeeded.
    """

    def __init__(self, counters: Counters) -> None:
        super().__init__(name="sampler", daemon=True)
        self.error = ""
        self._counters = counters
        self._speedometer = Speedometer()
        self._samples: tuple[Sample, ...] = ()  # replaced, never changed: other threads read it

    def run(self) -> None:
        """Sample for as long as the process lives."""
        while True:
            self.sample()
            time.sleep(INTERVAL)

    def sample(self) -> None:
        """Read the counters once; a failure is remembered in `error`."""
        try:
            reading = self._counters.read()
        except CountersError as error:
            if not self.error:
                log.warning("%s", error)
            self.error = str(error)
            return
        if self.error:
            log.info("Redis is back")
            self.error = ""
        sample = Sample(reading, self._speedometer.update(reading))
        self._samples = (*self.since(reading.time - HISTORY), sample)

    def since(self, start: float) -> tuple[Sample, ...]:
        """Return the samples taken after `start`, in seconds since 1970."""
        return tuple(sample for sample in self._samples if sample.reading.time > start)
