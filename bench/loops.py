"""Benchmark of the whole application without its delays: what telemetry costs.

    python bench/loops.py [--rounds 5] [--seconds 10]

It runs five variants in turn, round after round, so that what the machine does meanwhile meets all alike: a
plain DockerCoins (bench/plain), and the lab with telemetry off, with metrics only, with 5 % and with all
traces. For each it prints the loops per second and the CPU time per loop, as the median of the rounds.
CPU time is that of every process: also Redis, Prometheus, the trace backend and the pages.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

import psutil
from redis import Redis, RedisError

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.support import free_ports  # noqa: E402
from workshop.lab import PORTS  # noqa: E402
from workshop.native import backends  # noqa: E402

PLAIN = ROOT / "bench" / "plain"
WORKSHOP = str(Path(sys.executable).with_name("workshop"))
WARM_UP_LOOPS = 500
START_TIMEOUT_SECONDS = 60
NO_DELAY = {"WORKER_DELAY": "0", "RNG_DELAY": "0", "HASHER_DELAY": "0"}
VARIANTS = {
    "telemetry off": {"TELEMETRY": "off"},
    "metrics only": {"OTEL_TRACES_SAMPLER": "always_off"},
    "traces at 5 %": {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.05"},
    "everything at 100 %": {},
}
SERVICES = ("rng", "hasher", "worker")


@dataclass(frozen=True)
class Running:
    """A variant that runs: the port of its Redis, and its processes by name."""

    redis_port: int
    processes: dict[str, psutil.Process]


@dataclass(frozen=True)
class Result:
    """Loops per second, and milliseconds of CPU time per loop: of the services, and of all processes."""

    loops_per_second: float
    services_cpu: float
    all_cpu: float


@contextmanager
def plain() -> Iterator[Running]:
    """Run the plain DockerCoins."""
    redis = backends.find("redis", say=lambda _: None)
    if redis is None:
        sys.exit("no Redis here")
    redis_port, rng, hasher = free_ports(3)
    python = sys.executable
    commands = {
        "redis": [str(redis.path), "--port", str(redis_port), "--bind", "127.0.0.1", "--save", ""],
        "rng": [python, str(PLAIN / "rng.py"), str(rng)],
        "hasher": [python, str(PLAIN / "hasher.py"), str(hasher)],
    }
    worker = [python, str(PLAIN / "worker.py"), str(rng), str(hasher), str(redis_port)]
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())

        def start(command: list[str]) -> psutil.Process:
            process = subprocess.Popen(
                command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            stack.callback(process.wait)
            stack.callback(process.terminate)
            return psutil.Process(process.pid)

        processes = {name: start(command) for name, command in commands.items()}
        wait_for("the plain services", lambda: all(listens(port) for port in (redis_port, rng, hasher)))
        yield Running(redis_port, processes | {"worker": start(worker)})


def listens(port: int) -> bool:
    """Return whether something listens on a port of 127.0.0.1."""
    return any(
        connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
        for connection in psutil.net_connections("tcp")
    )


@contextmanager
def lab(settings: dict[str, str]) -> Iterator[Running]:
    """Run the lab with these settings."""
    with tempfile.TemporaryDirectory() as folder:
        ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        environment = {
            **os.environ,
            **NO_DELAY,
            **settings,
            **{name: str(port) for name, port in ports.items()},
            "WORKSHOP_STATE": folder,
            "COMPOSE_PROJECT_NAME": "bench",
            "LOG_LEVEL": "WARNING",
        }

        def workshop(*arguments: str) -> str:
            return subprocess.run(
                [WORKSHOP, *arguments], env=environment, check=True, capture_output=True, text=True
            ).stdout

        workshop("up")
        try:
            programs = json.loads(workshop("status", "--json"))["programs"]
            pids = {program["program"].removesuffix("-1"): program["pid"] for program in programs}
            yield Running(ports["REDIS_PORT"], {name: psutil.Process(pid) for name, pid in pids.items()})
        finally:
            workshop("down")


def wait_for(what: str, holds: Callable[[], bool]) -> None:
    """Wait until something holds; raises `TimeoutError` that names it."""
    deadline = monotonic() + START_TIMEOUT_SECONDS
    while not holds():
        if monotonic() > deadline:
            raise TimeoutError(f"{what}: not after {START_TIMEOUT_SECONDS} s")
        sleep(0.1)


def hashes(port: int) -> int:
    """Return the loops that are counted in Redis; 0 while it does not answer."""
    try:
        with Redis(port=port, socket_timeout=1) as redis:
            return int(redis.get("hashes") or 0)
    except RedisError:
        return 0


def cpu_seconds(process: psutil.Process) -> float:
    """Return the CPU time of a process since its start, in seconds."""
    times = process.cpu_times()
    return times.user + times.system


def next_count(port: int) -> tuple[float, int]:
    """Wait for the next change of the count; return when it was and the new count."""
    before = hashes(port)
    while (now := hashes(port)) == before:
        sleep(0.002)
    return monotonic(), now


def measure(running: Running, seconds: float) -> Result:
    """Let a variant warm up, then measure it from one change of its count to another, for so many seconds."""
    wait_for("warm-up", lambda: hashes(running.redis_port) > WARM_UP_LOOPS)
    started, first = next_count(running.redis_port)
    before = {name: cpu_seconds(process) for name, process in running.processes.items()}
    sleep(seconds)
    ended, last = next_count(running.redis_port)
    used = {name: cpu_seconds(process) - before[name] for name, process in running.processes.items()}
    loops = last - first
    return Result(
        loops_per_second=loops / (ended - started),
        services_cpu=1000 * sum(used[name] for name in SERVICES) / loops,
        all_cpu=1000 * sum(used.values()) / loops,
    )


def main() -> None:
    """Run the benchmark and print what it found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="of each variant (%(default)s)")
    parser.add_argument("--seconds", type=float, default=10, help="of each measurement (%(default)s)")
    options = parser.parse_args()
    starts: dict[str, Callable[[], Iterator[Running]]] = {"plain": plain}
    starts |= {name: lambda settings=settings: lab(settings) for name, settings in VARIANTS.items()}
    results: dict[str, list[Result]] = {name: [] for name in starts}
    for number in range(options.rounds):
        for name, start in starts.items():
            with start() as running:
                result = measure(running, options.seconds)
            results[name].append(result)
            print(f"round {number + 1}: {name:20} {result.loops_per_second:6.1f}/s", file=sys.stderr)

    print(f"{'':20} {'loops/s':>8} {'/plain':>7} {'CPU ms/loop':>12} {'/off':>6} {'all ms':>12} {'/off':>6}")

    def median(name: str, field: str) -> float:
        return statistics.median(getattr(result, field) for result in results[name])

    for name in results:
        speed = median(name, "loops_per_second")
        services, everything = median(name, "services_cpu"), median(name, "all_cpu")
        print(
            f"{name:20} {speed:8.1f} {speed / median('plain', 'loops_per_second'):7.2f}"
            f" {services:12.2f} {services / median('telemetry off', 'services_cpu'):6.2f}"
            f" {everything:12.2f} {everything / median('telemetry off', 'all_cpu'):6.2f}"
        )


if __name__ == "__main__":
    main()
