"""What the fault flags cost a loop without delays, while no fault is on.

rng, hasher and worker run with a file of flags. In every other measurement what the flags add to a request or
a loop is taken out of the running processes.

What stays in is the thread that reads the file twice a second. Its time is measured by itself, and added as
if each process took it away from the loop. And OpenFeature stays in memory, so a full run of the garbage
collector has more to look at: that is not measured. Nothing takes the spans.
"""

import math
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.apart import Found, application
from bench.report import Report, at_most
from workshop.faults import catalogue, flags
from workshop.faults.flags import FOREVER
from workshop.lab import ROOT

sys.path.insert(0, str(ROOT / "services"))

from telemetry.flags import POLL_SECONDS, Flags

MOST = 2  # per cent
SECONDS = 0.25


def microseconds(seen: Flags, fault: str, count: int) -> float:
    """Return what a question for a flag takes, in microseconds."""
    started = time.perf_counter()
    for _ in range(count):
        seen.on(fault)
    return 1e6 * (time.perf_counter() - started) / count


@dataclass(frozen=True)
class Change:
    """What the flags change: medians without and with them, and the share, with its standard error."""

    without: float
    with_flags: float
    share: float
    error: float


@dataclass(frozen=True)
class Cost:
    """What the flags cost: of a loop, of a question, and the share of a core that reading the file takes.

    `speed` is in loops per second, `cpu` in milliseconds per loop; times of questions are in microseconds.
    """

    speed: Change
    cpu: Change
    question_on: float
    question_off: float
    reading: float

    @property
    def share(self) -> float:
        """The share of the speed that is lost."""
        return self.reading - self.speed.share

    @property
    def at_most(self) -> float:
        """The share of the speed that is lost, if chance made it look small: two standard errors more."""
        return self.share + 2 * self.speed.error


def change(without: list[float], with_flags: list[float]) -> Change:
    """Compare measurements in pairs, by the mean of the logarithms of their ratios.

    The mean of the ratios themselves would be too large: that of a/b is larger by the variance of b.
    """
    logs = [math.log(a / b) for a, b in zip(with_flags, without, strict=True)]
    ratio = math.exp(statistics.fmean(logs))
    error = ratio * statistics.stdev(logs) / math.sqrt(len(logs))
    return Change(statistics.median(without), statistics.median(with_flags), ratio - 1, error)


def measure(rounds: int, seconds: float) -> Cost:
    """Measure in so many rounds, each with the flags and without them, for so many seconds."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "faults.json"
        flags.write(file, {"rng-slow": FOREVER})
        seen = Flags(file)
        question_on = microseconds(seen, "rng-slow", 10_000)
        question_off = microseconds(seen, "rng-errors", 1_000_000)
        started = time.perf_counter()
        for _ in range(100):
            seen.refresh()
        refresh = (time.perf_counter() - started) / 100

        flags.write(file, {})
        with application("flags", FAULTS_FILE=file) as running:
            without: list[Found] = []
            with_flags: list[Found] = []
            both = ((running.take_out_one_more, without), (running.put_all_back, with_flags))
            for number in range(rounds):
                for switch, found in both[:: 1 if number % 2 else -1]:
                    switch()
                    found.append(running.measure(seconds))
            reading = refresh / POLL_SECONDS * len(running.processes)
    speed, cpu = (
        change(*([getattr(one, field) for one in found] for found in (without, with_flags)))
        for field in ("speed", "cpu")
    )
    return Cost(speed, cpu, question_on, question_off, reading)


def run(*, short: bool) -> Report:
    """Run the benchmark."""
    rounds = 20 if short else 400
    cost = measure(rounds, SECONDS)
    questions = len(catalogue.flags())  # in a loop each flag is asked for once, or not at all
    rows = [
        {
            "what": what,
            "without": found.without,
            "with": found.with_flags,
            "share": 100 * found.share,
            "error": 100 * found.error,
        }
        for what, found in (("loops/s", cost.speed), ("CPU of rng, hasher and worker, ms/loop", cost.cpu))
    ]
    return Report(
        name="faults",
        title="What the fault flags cost while all are off",
        how=f"{rounds} rounds of {SECONDS} s without and with the flags, in turn, on the same processes.",
        columns={
            "what": ("what", "{}"),
            "without": ("without flags", "{:.2f}"),
            "with": ("with flags", "{:.2f}"),
            "share": ("change, %", "{:+.2f}"),
            "error": ("standard error, %", "{:.2f}"),
        },
        rows=rows,
        goals=[
            at_most(
                "share of the speed that is lost, in %, with two standard errors", 100 * cost.at_most, MOST
            )
        ],
        notes=[
            f"To ask for a flag takes {cost.question_off:.2f} µs while it is off, {cost.question_on:.0f} µs "
            f"while it is on. A loop asks for {questions} at most. To read the file again and again takes "
            f"{100 * cost.reading:.2f} % of a core, which is counted as lost.",
        ],
    )


def draw(report: Report, axes: Any) -> None:
    """Draw the changes with two standard errors."""
    rows = report.rows[::-1]
    errors = [2 * row["error"] for row in rows]
    axes.barh(
        [row["what"] for row in rows], [row["share"] for row in rows], xerr=errors, color="#3b6ea5", capsize=4
    )
    axes.set_xlabel("change with the flags, in %, and two standard errors")
