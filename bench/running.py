"""What benchmarks run: the lab, natively, and a plain DockerCoins; each has free ports and its own data."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import psutil
from redis import Redis, RedisError

from tests.support import free_ports, poll_until
from workshop.clients import Jaeger, Prometheus
from workshop.lab import MAX_WORKERS, PORTS, ROOT
from workshop.native import backends

PLAIN = ROOT / "bench" / "plain"
WORKSHOP = str(Path(sys.executable).with_name("workshop"))
START_SECONDS = 60
NO_DELAY = {"WORKER_DELAY": "0", "RNG_DELAY": "0", "HASHER_DELAY": "0", "LOG_LEVEL": "WARNING"}


@dataclass
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


@dataclass
class RunningLab(Running):
    """A native lab that runs; `settings` are its environment variables."""

    settings: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)
    started: str = ""

    @property
    def prometheus(self) -> Prometheus:
        """Its Prometheus."""
        return Prometheus(f"http://127.0.0.1:{self.ports['PROMETHEUS_PORT']}")

    @property
    def jaeger(self) -> Jaeger:
        """Its trace backend."""
        return Jaeger(f"http://127.0.0.1:{self.ports['JAEGER_PORT']}")

    def workshop(self, *arguments: str, check: bool = True) -> str:
        """Run a `workshop` command; return what it prints."""
        return workshop(self.settings, *arguments, check=check)

    def status(self) -> dict[str, Any]:
        """Return what `workshop status` tells."""
        found: dict[str, Any] = json.loads(self.workshop("status", "--json", check=False))
        return found

    def look(self) -> None:
        """Find its processes anew: after some were started again, or scaled."""
        programs = self.status()["programs"]
        self.processes = {each["program"]: psutil.Process(each["pid"]) for each in programs if each["pid"]}


def workshop(settings: Mapping[str, str], *arguments: str, check: bool = True) -> str:
    """Run a `workshop` command with these settings; return what it prints."""
    done = subprocess.run(
        [WORKSHOP, *arguments],
        env={**os.environ, **settings},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if check and done.returncode:
        raise RuntimeError(f"workshop {' '.join(arguments)} ended with {done.returncode}: {done.stdout}")
    return done.stdout


@contextmanager
def lab(workers: int = 1, **settings: str) -> Iterator[RunningLab]:
    """Run the lab with these settings, and with its embedded trace store unless they say otherwise."""
    with tempfile.TemporaryDirectory() as folder:
        names = [name for name in PORTS if name != "WORKER_METRICS_PORT"] + ["WORKER_METRICS_PORT"]
        # As many for workers as there can be; theirs come last.
        ports = dict(zip(names, free_ports(len(names) + MAX_WORKERS), strict=False))
        environment = {
            "TRACE_BACKEND": "embedded",
            "PORT_OFFSET": "0",
            "WORKSHOP_STATE": folder,
            "COMPOSE_PROJECT_NAME": "bench",
            **{name: str(port) for name, port in ports.items()},
            **settings,
        }
        started = workshop(environment, "up", "--workers", str(workers))
        running = RunningLab(ports["REDIS_PORT"], {}, environment, ports, started)
        try:
            running.look()
            yield running
        finally:
            running.workshop("down")


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
        folder = stack.enter_context(tempfile.TemporaryDirectory())

        def start(command: tuple[str, ...]) -> psutil.Process:
            process = subprocess.Popen(
                command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            stack.callback(process.wait)
            stack.callback(process.terminate)
            return psutil.Process(process.pid)

        processes = {name: start(command) for name, command in commands.items()}
        wait_for("the plain services", lambda: all(map(listens, (redis_port, rng, hasher))))
        yield Running(redis_port, processes | {"worker-1": start(worker)})


def listens(port: int) -> bool:
    """Return whether something listens on a port of 127.0.0.1."""
    return any(
        connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
        for connection in psutil.net_connections("tcp")
    )


def wait_for(what: str, holds: Callable[[], object], seconds: float = START_SECONDS) -> None:
    """Wait until something holds; raises `AssertionError` that names it."""
    poll_until(what, holds, seconds, 0.1)
