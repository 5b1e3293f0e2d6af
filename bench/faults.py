"""Benchmark of the fault flags while no fault is on: what they cost a loop without delays.

    python bench/faults.py [--rounds 400] [--seconds 0.25]

rng, hasher and worker run with a file of flags. In every other measurement what the flags add to a request or
a loop is taken out of the running processes (`bench/switched.py`). Two sets of processes, one with flags and
one without, would differ by some per cent in any case, because of where things lie in memory.

What stays in is the thread that reads the file twice a second. Its time is measured by itself, and added as
if each process took it away from the loop. And OpenFeature stays in memory, so a full run of the garbage
collector has more to look at: that is not measured.

Nothing takes the spans. Prints what the flags cost with its standard error, and what a question for one flag
takes. Exit code 1 if the flags may cost over 2 % of the speed: if the cost and two standard errors are more.
"""

import argparse
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

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "services")]

from telemetry.flags import POLL_SECONDS, Flags  # noqa: E402

from tests.support import (  # noqa: E402
    free_ports,
    listens,
    poll_until,
    process,
    redis_process,
    samples,
    service_environment,
)
from workshop.faults import catalogue, flags  # noqa: E402
from workshop.faults.flags import FOREVER  # noqa: E402

NO_DELAY = {"RNG_DELAY": 0, "HASHER_DELAY": 0, "WORKER_DELAY": 0, "LOG_LEVEL": "WARNING"}
LOOPS = "dockercoins_worker_loops_total"
WITHOUT, WITH = signal.SIGUSR1, signal.SIGUSR2
MOST = 0.02


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


def main() -> int:
    """Run the benchmark, and print what it found; return 1 if the flags may cost too much."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=400, help="of two measurements each (%(default)s)")
    parser.add_argument("--seconds", type=float, default=0.25, help="of each measurement (%(default)s)")
    options = parser.parse_args()
    cost = measure(options.rounds, options.seconds)
    questions = len(catalogue.flags())  # in a loop each flag is asked for once, or not at all
    print(f"a flag that is on   {cost.question_on:8.3f} µs")
    print(f"a flag that is off  {cost.question_off:8.3f} µs")
    print(
        f"{questions} of them         {cost.question_off * questions:8.3f} µs, the most that a loop asks for"
    )
    for what, unit, found in (("loops/s", "", cost.speed), ("CPU per loop", " ms", cost.cpu)):
        print(
            f"{what:13} {found.without:7.2f}{unit} without flags, {found.with_flags:7.2f}{unit} with: "
            f"{found.share:+.2%} ± {found.error:.2%}"
        )
    print(f"reading the file takes {cost.reading:.2%} of a core")
    met = cost.at_most <= MOST
    print(
        f"cost {cost.share:.2%} ± {cost.speed.error:.2%} of the speed, reading included: with two standard "
        f"errors {cost.at_most:.2%}, {'within' if met else 'over'} {MOST:.0%}"
    )
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
