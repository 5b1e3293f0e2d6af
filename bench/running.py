"""What benchmarks run: the lab, natively, its trace backend alone, and a plain DockerCoins.

Each has free ports and its own data.
"""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import psutil
from redis import Redis, RedisError

import workshop.lab
from tests.live.conftest import Lab
from tests.live.conftest import running as running_lab
from tests.support import free_ports, poll_until, process, samples
from workshop.lab import MAX_WORKERS, PORTS, ROOT
from workshop.native import backends, runner
from workshop.native.ports import listens
from workshop.native.programs import base_programs

PLAIN = ROOT / "bench" / "plain"
EMBEDDED, REAL = "embedded", "jaeger"  # the values of TRACE_BACKEND
NO_DELAY = {"WORKER_DELAY": "0", "RNG_DELAY": "0", "HASHER_DELAY": "0", "LOG_LEVEL": "WARNING"}


@dataclass(frozen=True)
class Running:
    """An application that runs: the port of its Redis, and its processes by name."""

    redis_port: int
    processes: dict[str, psutil.Process]

    def hashes(self) -> int:
        """Return the loops that are counted in Redis; 0 while it does not answer."""
        try:
            with Redis(port=self.redis_port, socket_timeout=1) as redis:
                return int(redis.get("hashes") or 0)
        except RedisError:
            return 0

    def next_count(self) -> tuple[float, int]:
        """Wait for the next change of the count; return when it was, monotonic, and the new count."""
        before = self.hashes()

        def changed() -> int:
            now = self.hashes()
            return now if now != before else 0

        now = poll_until("a change of the count", changed, timeout=60, interval=0.002)
        return monotonic(), now

    def cpu(self) -> dict[str, float]:
        """Return the CPU time of each process since its start, in seconds."""
        times = {name: process.cpu_times() for name, process in self.processes.items()}
        return {name: each.user + each.system for name, each in times.items()}


@dataclass(frozen=True)
class RunningLab(Running):
    """The lab that runs; `processes` are those of its start."""

    lab: Lab


def new_lab(folder: Path, **settings: str) -> Lab:
    """Return a lab with these settings, not yet started, with ports for as many workers as it may have."""
    return Lab(folder, "bench", settings, spare_ports=MAX_WORKERS)


@contextmanager
def lab(**settings: str) -> Iterator[RunningLab]:
    """Run the lab with these settings, and with its embedded trace store if they do not say otherwise."""
    with tempfile.TemporaryDirectory() as folder, running_lab(new_lab(Path(folder), **settings)) as found:
        programs = found.status()["programs"]
        processes = {program["program"]: psutil.Process(program["pid"]) for program in programs}
        yield RunningLab(found.ports["REDIS_PORT"], processes, found)


def trace_backends() -> list[str]:
    """Return the values of TRACE_BACKEND that this machine can run."""
    return [EMBEDDED, REAL] if backends.find("collector") and backends.find("jaeger") else [EMBEDDED]


@dataclass(frozen=True)
class TraceBackend:
    """What takes the spans of a lab, without the rest of it."""

    ports: dict[str, int]
    processes: list[psutil.Process]

    def url(self, variable: str) -> str:
        """Return the base URL of what listens on the port of this variable."""
        return f"http://127.0.0.1:{self.ports[variable]}"

    def metrics(self, variable: str) -> dict[str, float]:
        """Return the metrics at the port of this variable, as `samples`."""
        return samples(f"{self.url(variable)}/metrics")

    def memory(self) -> float:
        """Return the resident memory of its processes together, in MB."""
        return sum(process.memory_info().rss for process in self.processes) / 1e6


@contextmanager
def trace_backend(choice: str, *options: str) -> Iterator[TraceBackend]:
    """Run the programs that a lab with this TRACE_BACKEND has; `options` are added to each one's command."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        description = workshop.lab.Lab("bench", 0, ports, folder, {"TRACE_BACKEND": choice})
        found = runner.find_backends(description, say=lambda _: None)
        processes = []
        for program in base_programs(description, found):
            if program.name in ("jaeger", "otel-collector"):
                command = (*program.command, *options)
                log = folder / f"{program.name}.log"
                started = stack.enter_context(process(*command, log=log, env=program.environment))
                processes.append(psutil.Process(started.pid))
                poll_until(program.name, program.ready)
        yield TraceBackend(ports, processes)


@contextmanager
def plain() -> Iterator[Running]:
    """Run the plain DockerCoins."""
    redis = backends.find("redis")
    if redis is None:
        sys.exit("no Redis here: install valkey or redis with the system's packages")
    redis_port, rng, hasher = free_ports(3)
    commands = {
        "redis": (str(redis.path), "--port", str(redis_port), "--bind", "127.0.0.1", "--save", ""),
        "rng": (sys.executable, str(PLAIN / "rng.py"), str(rng)),
        "hasher": (sys.executable, str(PLAIN / "hasher.py"), str(hasher)),
    }
    worker = (sys.executable, str(PLAIN / "worker.py"), str(rng), str(hasher), str(redis_port))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))

        def start(name: str, command: tuple[str, ...]) -> psutil.Process:
            return psutil.Process(stack.enter_context(process(*command, log=folder / name)).pid)

        processes = {name: start(name, command) for name, command in commands.items()}
        poll_until("the plain services", lambda: all(map(listens, (redis_port, rng, hasher))))
        yield Running(redis_port, processes | {"worker-1": start("worker-1", worker)})
