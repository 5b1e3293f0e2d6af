"""rng, hasher and worker, from which parts can be taken out while they run: see `bench/switched.py`.

Two sets of processes, one with a part and one without, would differ by some per cent in any case, because of
where things lie in memory.
"""

import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

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
from workshop.lab import ROOT

LOOPS = "dockercoins_worker_loops_total"


@dataclass(frozen=True)
class Found:
    """What was measured: loops per second, and milliseconds of CPU time per loop."""

    speed: float
    cpu: float
    other_cpu: float = 0


@dataclass(frozen=True)
class Application:
    """The running application: its processes, others that count too, and its worker's metrics as a URL."""

    processes: list[psutil.Process]
    others: list[psutil.Process]
    metrics: str

    def take_out_one_more(self) -> None:
        """Take out the next part of each service; nothing where none is left."""
        self._send(signal.SIGUSR1)

    def put_all_back(self) -> None:
        """Put back what was taken out."""
        self._send(signal.SIGUSR2)

    def _send(self, number: signal.Signals) -> None:
        for one in self.processes:
            os.kill(one.pid, number)

    def measure(self, seconds: float) -> Found:
        """Measure for so many seconds."""
        started, loops = time.monotonic(), samples(self.metrics)[LOOPS]
        cpu, other_cpu = cpu_time(self.processes), cpu_time(self.others)
        time.sleep(seconds)
        passed, loops = time.monotonic() - started, samples(self.metrics)[LOOPS] - loops
        if loops == 0:
            sys.exit(f"no loop in {seconds} s: the machine is too busy to measure on")
        return Found(
            speed=loops / passed,
            cpu=1000 * (cpu_time(self.processes) - cpu) / loops,
            other_cpu=1000 * (cpu_time(self.others) - other_cpu) / loops,
        )


def cpu_time(processes: list[psutil.Process]) -> float:
    """Return the CPU time that processes have used, in seconds."""
    return sum(times.user + times.system for times in (one.cpu_times() for one in processes))


@contextmanager
def application(what: str, *others: psutil.Process, **settings: object) -> Iterator[Application]:
    """Run the application with these settings; `what` is what can be taken out of it."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        redis, rng, hasher, *metrics = free_ports(6)
        stack.enter_context(redis_process(folder / "redis", redis))
        common = {
            **NO_DELAY,
            "RNG_URL": f"http://127.0.0.1:{rng}",
            "HASHER_URL": f"http://127.0.0.1:{hasher}",
            "REDIS_URL": f"redis://127.0.0.1:{redis}",
            **settings,
        }
        processes = []
        for name, port, metrics_port in zip(
            ("rng", "hasher", "worker"), (rng, hasher, None), metrics, strict=True
        ):
            ports = {"METRICS_PORT": metrics_port} | ({"PORT": port} if port else {})
            command = (sys.executable, str(ROOT / "bench" / "switched.py"), what, name)
            env = service_environment(**common, **ports)
            child = stack.enter_context(process(*command, log=folder / f"{name}.log", env=env))
            poll_until(name, lambda port=port or metrics_port: listens(port))
            processes.append(psutil.Process(child.pid))
        url = f"http://127.0.0.1:{metrics[-1]}/metrics"
        poll_until("loops", lambda: samples(url)[LOOPS] > 0)
        yield Application(processes, list(others), url)
