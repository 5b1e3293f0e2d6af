"""What the fault flags cost a loop without delays, while no fault is on.

rng, hasher and worker run with a file of flags. In every other measurement what the flags add to a request or
a loop is taken out of the running processes (`bench/switched.py`). Two sets of processes, one with flags and
one without, would differ by some per cent in any case, because of where things lie in memory.

What stays in is the thread that reads the file twice a second. Its time is measured by itself, and added as
if each process took it away from the loop. And OpenFeature stays in memory, so a full run of the garbage
collector has more to look at: that is not measured. Nothing takes the spans.
"""

import math
import os
import signal
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from bench.report import Report, at_most
from bench.running import NO_DELAY
from tests.support import (
    free_ports,
    listens,
    poll_until,
    process,
    redis_process,
    samples,
    service_environment,
)
from workshop.faults import catalogue, flags
from workshop.faults.flags import FOREVER
from workshop.lab import ROOT

sys.path.insert(0, str(ROOT / "services"))

from telemetry.flags import POLL_SECONDS, Flags

LOOPS = "dockercoins_worker_loops_total"
WITHOUT, WITH = signal.SIGUSR1, signal.SIGUSR2
MOST = 2  # per cent
SECONDS = 0.25


@dataclass
class Application:
    """The running application: its processes, and the URL of its worker's metrics."""

    processes: list[psutil.Process]
    metrics: str

    def cpu(self) -> float:
        """Return the CPU time that it has used, in seconds."""
        return sum(times.user + times.system for times in (one.cpu_times() for one in self.processes))

    def measure(self, switch: signal.Signals, seconds: float) -> tuple[float, float]:
        """Switch, then return loops per second and milliseconds of CPU time per loop."""
        for one in self.processes:
            os.kill(one.pid, switch)
        started, cpu, loops = time.monotonic(), self.cpu(), samples(self.metrics)[LOOPS]
        time.sleep(seconds)
        ended, cpu, loops = time.monotonic(), self.cpu() - cpu, samples(self.metrics)[LOOPS] - loops
        if loops == 0:
            sys.exit(f"no loop in {seconds} s: the machine is too busy to measure on")
        return loops / (ended - started), 1000 * cpu / loops


def start(stack: ExitStack, folder: Path, file: Path) -> Application:
    """Start the application with a file of flags."""
    redis, rng, hasher, *metrics = free_ports(6)
    stack.enter_context(redis_process(folder / "redis", redis))
    common = {
        **NO_DELAY,
        "FAULTS_FILE": file,
        "RNG_URL": f"http://127.0.0.1:{rng}",
        "HASHER_URL": f"http://127.0.0.1:{hasher}",
        "REDIS_URL": f"redis://127.0.0.1:{redis}",
    }
    processes = []
    for name, port, metrics_port in zip(
        ("rng", "hasher", "worker"), (rng, hasher, None), metrics, strict=True
    ):
        ports = {"METRICS_PORT": metrics_port} | ({"PORT": port} if port else {})
        command = (sys.executable, str(ROOT / "bench" / "switched.py"), name)
        env = service_environment(**common, **ports)
        child = stack.enter_context(process(*command, log=folder / f"{name}.log", env=env))
        poll_until(name, lambda port=port or metrics_port: listens(port))
        processes.append(psutil.Process(child.pid))
    url = f"http://127.0.0.1:{metrics[-1]}/metrics"
    poll_until("loops", lambda: samples(url)[LOOPS] > 0)
    return Application(processes, url)


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
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        file = folder / "faults.json"
        flags.write(file, {"rng-slow": FOREVER})
        seen = Flags(file)
        question_on = microseconds(seen, "rng-slow", 10_000)
        question_off = microseconds(seen, "rng-errors", 1_000_000)
        started = time.perf_counter()
        for _ in range(100):
            seen.refresh()
        refresh = (time.perf_counter() - started) / 100

        flags.write(file, {})
        application = start(stack, folder, file)
        results: dict[signal.Signals, list[tuple[float, float]]] = {WITHOUT: [], WITH: []}
        for number in range(rounds):
            for switch in (WITHOUT, WITH)[:: 1 if number % 2 else -1]:
                results[switch].append(application.measure(switch, seconds))
        speed, cpu = (
            change(*([one[index] for one in results[switch]] for switch in (WITHOUT, WITH)))
            for index in range(2)
        )
        reading = refresh / POLL_SECONDS * len(application.processes)
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
