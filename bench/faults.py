"""Benchmark of the fault flags while no fault is on: what they cost a loop without delays.

    python bench/faults.py [--rounds 60] [--seconds 1]

Two copies of rng, hasher and worker run, one with a file of flags and one without. They take turns: while one
is measured, the other is frozen, so that what the machine does meanwhile meets both alike. Nothing takes
their spans. Prints the medians of the rounds and their ratios, and what a question for one flag takes.
"""

import argparse
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

from telemetry.flags import Flags  # noqa: E402

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


@dataclass
class Copy:
    """A running copy of the application: its processes, and the URL of its worker's metrics."""

    processes: list[psutil.Process]
    metrics: str

    def let(self, signum: signal.Signals) -> None:
        """Freeze it or let it go on."""
        for one in self.processes:
            one.send_signal(signum)

    def cpu(self) -> float:
        """Return the CPU time that it has used, in seconds."""
        return sum(times.user + times.system for times in (one.cpu_times() for one in self.processes))

    def measure(self, seconds: float) -> tuple[float, float]:
        """Return loops per second and milliseconds of CPU time per loop."""
        self.let(signal.SIGCONT)
        time.sleep(0.2)
        started, cpu, loops = time.monotonic(), self.cpu(), samples(self.metrics)[LOOPS]
        time.sleep(seconds)
        ended, cpu, loops = time.monotonic(), self.cpu() - cpu, samples(self.metrics)[LOOPS] - loops
        self.let(signal.SIGSTOP)
        return loops / (ended - started), 1000 * cpu / loops


def start(stack: ExitStack, folder: Path, **settings: object) -> Copy:
    """Start a copy of the application."""
    folder.mkdir()
    redis, rng, hasher, *metrics = free_ports(6)
    stack.enter_context(redis_process(folder / "redis", redis))
    common = {
        **NO_DELAY,
        **settings,
        "RNG_URL": f"http://127.0.0.1:{rng}",
        "HASHER_URL": f"http://127.0.0.1:{hasher}",
        "REDIS_URL": f"redis://127.0.0.1:{redis}",
    }
    processes = []
    for name, port, metrics_port in zip(
        ("rng", "hasher", "worker"), (rng, hasher, None), metrics, strict=True
    ):
        ports = {"METRICS_PORT": metrics_port} | ({"PORT": port} if port else {})
        command = (sys.executable, "-m", f"{name}.{name}")
        env = service_environment(**common, **ports)
        child = stack.enter_context(process(*command, log=folder / f"{name}.log", env=env))
        poll_until(name, lambda port=port or metrics_port: listens(port))
        processes.append(psutil.Process(child.pid))
    return Copy(processes, f"http://127.0.0.1:{metrics[-1]}/metrics")


def microseconds(seen: Flags, fault: str, count: int) -> float:
    """Return what a question for a flag takes, in microseconds."""
    started = time.perf_counter()
    for _ in range(count):
        seen.on(fault)
    return 1e6 * (time.perf_counter() - started) / count


def main() -> None:
    """Run the benchmark and print what it found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=60, help="of each copy (%(default)s)")
    parser.add_argument("--seconds", type=float, default=1, help="of each measurement (%(default)s)")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        file = folder / "faults.json"
        flags.write(file, {"rng-slow": FOREVER})
        seen = Flags(file)
        print(f"a flag that is on   {microseconds(seen, 'rng-slow', 10_000):8.3f} µs")
        off = microseconds(seen, "rng-errors", 1_000_000)
        print(f"a flag that is off  {off:8.3f} µs")
        questions = len(catalogue.flags())  # in a loop each flag is asked for once, or not at all
        print(f"{questions} of them         {off * questions:8.3f} µs, the most that a loop asks for")
        started = time.perf_counter()
        for _ in range(100):
            seen.refresh()
        print(f"reading the file {10 * (time.perf_counter() - started):9.3f} ms, twice a second")

        flags.write(file, {})
        copies = {
            "no file": start(stack, folder / "without"),
            "no fault": start(stack, folder / "with", FAULTS_FILE=file),
        }
        for copy in copies.values():
            copy.measure(options.seconds)  # warm-up
        results: dict[str, list[tuple[float, float]]] = {name: [] for name in copies}
        for number in range(options.rounds):
            for name in list(copies)[:: 1 if number % 2 else -1]:
                results[name].append(copies[name].measure(options.seconds))
        print(f"{'':10} {'loops/s':>10} {'CPU ms/loop':>12} {'RSS MB':>8}")
        for name, copy in copies.items():
            speed, cpu = (statistics.median(column) for column in zip(*results[name], strict=True))
            rss = statistics.mean(one.memory_info().rss for one in copy.processes) / 1e6
            print(f"{name:10} {speed:10.1f} {cpu:12.3f} {rss:8.1f}")
        pairs = list(zip(results["no fault"], results["no file"], strict=True))
        for index, name in enumerate(("loops/s", "CPU ms/loop")):
            ratios = [a[index] / b[index] for a, b in pairs]
            low, middle, high = statistics.quantiles(ratios, n=4)
            print(f"{name:12} no fault / no file: {middle:.3f}; half of the rounds: {low:.3f} to {high:.3f}")
        for copy in copies.values():
            copy.let(signal.SIGCONT)


if __name__ == "__main__":
    main()
