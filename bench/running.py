"""What benchmarks run: the lab, natively, and a plain DockerCoins; each has free ports and its own data."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

import psutil
from redis import Redis, RedisError

from tests.live.conftest import Lab
from tests.live.conftest import running as running_lab
from tests.support import free_ports, poll_until, process
from workshop.lab import ROOT
from workshop.native import backends
from workshop.native.ports import listens

PLAIN = ROOT / "bench" / "plain"
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
        while (now := self.hashes()) == before:
            sleep(0.002)
        return monotonic(), now

    def cpu(self) -> dict[str, float]:
        """Return the CPU time of each process since its start, in seconds."""
        times = {name: process.cpu_times() for name, process in self.processes.items()}
        return {name: each.user + each.system for name, each in times.items()}


@contextmanager
def lab(**settings: str) -> Iterator[Running]:
    """Run the lab with these settings, and with its embedded trace store."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running_lab(Lab(Path(folder), "bench", settings)) as found,
    ):
        programs = found.status()["programs"]
        processes = {program["program"]: psutil.Process(program["pid"]) for program in programs}
        yield Running(found.ports["REDIS_PORT"], processes)


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
