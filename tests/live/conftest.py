"""A native lab of the tests' own: free ports, a folder of its own, run by the `workshop` command."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import psutil
import pytest
import redis

from tests.support import IN_CI, free_ports
from workshop.clients import Jaeger, Prometheus
from workshop.lab import PORTS, ROOT
from workshop.native import backends

WORKSHOP = str(Path(sys.executable).with_name("workshop"))

# Seconds, of all tests of faults and incidents in CI.
TIME_FOR_FAULTS = 600

measured: list[str] = []
faults_took: list[float] = []


@dataclass
class Lab:
    """A lab under test; `settings` are its environment variables.

    So many `spare_ports` after its own are free too, for a lab with a port offset beside it.
    """

    folder: Path
    project: str = "test"
    settings: dict[str, str] = field(default_factory=dict)
    spare_ports: int = 0

    def __post_init__(self) -> None:
        """Give the lab ports that nobody else uses."""
        numbers = free_ports(len(PORTS) + 10 + self.spare_ports)  # ten for workers 2 to 11
        names = [name for name in PORTS if name != "WORKER_METRICS_PORT"] + ["WORKER_METRICS_PORT"]
        self.ports = dict(zip(names, numbers, strict=False))
        self.settings = {
            "WORKSHOP_STATE": str(self.folder),
            "COMPOSE_PROJECT_NAME": self.project,
            "WORKBENCH": str(self.folder / f"{self.project}-workbench"),
            "TRACE_BACKEND": "embedded",
            "PORT_OFFSET": "0",
            **{name: str(port) for name, port in self.ports.items()},
            **self.settings,
        }
        self.prometheus = Prometheus(self.url("PROMETHEUS_PORT"))
        self.jaeger = Jaeger(self.url("JAEGER_PORT"))

    def url(self, variable: str) -> str:
        return f"http://127.0.0.1:{self.ports[variable]}"

    def run(self, *arguments: str, code: int | None = 0, **settings: str) -> str:
        """Run a `workshop` command; return what it prints, and fail if its exit code is another."""
        done = subprocess.run(
            [WORKSHOP, *arguments],
            env={**os.environ, **self.settings, **settings},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=150,
        )
        output = done.stdout + done.stderr
        assert code is None or done.returncode == code, f"{arguments} ended with {done.returncode}:\n{output}"
        assert "Traceback" not in output
        return output

    def status(self) -> dict[str, Any]:
        return json.loads(self.run("status", "--json", code=None))

    def pid(self, program: str) -> int:
        return next(p["pid"] for p in self.status()["programs"] if p["program"] == program)

    @property
    def redis(self) -> redis.Redis:
        return redis.Redis(port=self.ports["REDIS_PORT"], socket_timeout=2)

    def hashes(self) -> int:
        with self.redis as client:
            return int(client.get("hashes") or 0)

    def processes(self) -> list[psutil.Process]:
        """Return every process of this lab that is alive."""
        mine = str(self.folder / self.project)
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("DOCKERCOINS_LAB") == mine:
                    found.append(process)
            except psutil.Error:
                pass
        return found


@contextmanager
def running(lab: Lab, *arguments: str) -> Iterator[Lab]:
    """Run a lab for the time of the block."""
    try:
        lab.run("up", *arguments)
        yield lab
    finally:
        lab.run("down")
        assert lab.processes() == []


@pytest.fixture
def make_lab(tmp_path: Path) -> Callable[..., Lab]:
    """Return a function that makes a lab, not yet started."""

    def make(**options: Any) -> Lab:
        return Lab(tmp_path / "labs", **options)

    return make


@pytest.fixture(scope="session")
def real_trace_backend() -> None:
    """Skip a test on a laptop without the real Jaeger and Collector; in CI they must be there."""
    if not (backends.find("jaeger") and backends.find("collector")):
        assert not IN_CI, "CI runs `make tools` first"
        pytest.skip("no Jaeger and Collector here: `make tools` builds them")


@pytest.fixture(scope="module")
def in_the_time_for_faults() -> Iterator[None]:
    """Take the time of a module about faults; in CI all of them together have their limit."""
    started = monotonic()
    yield
    faults_took.append(monotonic() - started)
    measured.append(f"tests of faults and incidents until now: {sum(faults_took):.0f} s")
    assert sum(faults_took) < TIME_FOR_FAULTS or not IN_CI


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what was measured."""
    if measured:
        terminalreporter.section("measured on running labs")
        for line in measured:
            terminalreporter.write_line(line)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab with one worker, for the tests of one module."""
    with running(Lab(tmp_path_factory.mktemp("labs"))) as running_lab:
        yield running_lab
