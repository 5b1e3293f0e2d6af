"""compose.yaml on a real engine: one project for the whole run, and what can be asked of a project."""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
import yaml
from dotenv import dotenv_values

from tests.compose.engine import Engine, engine, run
from tests.compose.images import WITHOUT_GRAFANA, obtain, pinned
from tests.support import IN_CI, free_ports, poll_until
from workshop.clients import BackendAwayError, Jaeger, Prometheus
from workshop.lab import ROOT
from workshop.native.external import BackendError

SETTINGS = dotenv_values(ROOT / ".env.example")
SERVICES = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
PORTS = ("WEBUI", "RNG", "HASHER", "GRAFANA", "PROMETHEUS", "JAEGER", "OTLP")
TOOLBOX = pinned()["redis"]  # an image with a shell that is there in any case

# Redis' own clock and the counter, many times a second: a speed without the noise of the commands that ask.
SAMPLE = """
local time = redis.call('TIME')
return time[1] .. '.' .. string.format('%06d', time[2]) .. ' ' .. (redis.call('GET', 'hashes') or 0)
"""
SAMPLES_PER_SECOND = 10

UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}

MEMORY_GOAL = 2 * 2**30

measured: list[str] = []
healthy_after: dict[str, float] = {}
"""The seconds from `up` until each project was healthy."""


@dataclass(frozen=True)
class Stack:
    """One Compose project, of the services that there are images for."""

    engine: Engine
    project: str
    services: tuple[str, ...]
    ports: dict[str, int]
    workbench: Path
    folder: Path = ROOT

    @property
    def environment(self) -> dict[str, str]:
        """What `docker compose` and `workshop` need to work on this project, whatever is set outside."""
        settings = {f"{name}_PORT": str(port) for name, port in self.ports.items()}
        inherited = {name: value for name, value in self.engine.environment.items() if name not in SETTINGS}
        files = [self.folder / "compose.yaml"]
        files += [] if "grafana" in self.services else [WITHOUT_GRAFANA]
        return {
            **inherited,
            **settings,
            "COMPOSE_PROJECT_NAME": self.project,
            "WORKBENCH": str(self.workbench),
            "COMPOSE_ENV_FILES": os.devnull,
            "COMPOSE_FILE": os.pathsep.join(map(str, files)),
        }

    def compose(self, *arguments: str, timeout: float = 120, **settings: str) -> str:
        command = ["docker", "compose", *arguments]
        return run(command, self.environment | settings, timeout=timeout, folder=self.folder)

    def up(self, workers: int = 1) -> None:
        """Start or change the project, from images that are there."""
        self.compose("up", "--detach", "--no-build", "--scale", f"worker={workers}")

    def containers(self, service: str = "") -> list[str]:
        """Return the IDs of the project's containers, of one service or of all."""
        labels = [f"label=com.docker.compose.project={self.project}"]
        labels += [f"label=com.docker.compose.service={service}"] if service else []
        filters = [word for label in labels for word in ("--filter", label)]
        return self.engine.docker("ps", "--all", "--quiet", "--no-trunc", *filters).split()

    def inspect(self, service: str) -> dict[str, Any]:
        """Return what the engine knows of the only container of a service."""
        (container,) = self.containers(service)
        return json.loads(self.engine.docker("inspect", container))[0]

    def address(self, service: str) -> str:
        (network,) = self.inspect(service)["NetworkSettings"]["Networks"].values()
        return network["IPAddress"]

    def python(self, service: str, code: str) -> str:
        """Return what a few lines of Python print in the container of a service."""
        (container, *_) = self.containers(service)
        return self.engine.docker("exec", container, "python", "-c", code).strip()

    def redis(self, *command: str, timeout: float = 60, check: bool = True) -> str:
        (container,) = self.containers("redis")
        arguments = ("exec", container, "redis-cli", "-e", "--raw", *command)
        return self.engine.docker(*arguments, timeout=timeout, check=check).strip()

    def hashes(self) -> int:
        return int(self.redis("GET", "hashes") or 0)

    def speed(self, seconds: float) -> float:
        """Return hashes per second, between the first and the last growth of the counter in so many seconds.

        The workers hand in their loops once a second: from growth to growth, none of them is cut in two.
        """
        repeat = ("-r", str(int(seconds * SAMPLES_PER_SECOND)), "-i", str(1 / SAMPLES_PER_SECOND))
        lines = self.redis(*repeat, "EVAL", SAMPLE, "0", timeout=seconds + 30, check=False).splitlines()
        samples = [(float(time), int(count)) for time, count in map(str.split, lines)]
        grown = [after for before, after in itertools.pairwise(samples) if after[1] > before[1]]
        if len(grown) < 2:
            return 0
        (start, first), (end, last) = grown[0], grown[-1]
        return (last - first) / (end - start)

    def beside(self, service: str, script: str, *, check: bool = True) -> str:
        """Return what a shell script prints that runs among the processes of a service's container.

        It is root in a container of its own, and needs no shell in the image and no right on this machine.
        """
        (container,) = self.containers(service)
        options = ("--rm", "--network", "none", "--pid", f"container:{container}", "--user", "0")
        rights = ("--cap-add", "SYS_PTRACE")  # to see the mounts of other users' processes
        command = ("run", *options, *rights, "--entrypoint", "sh", TOOLBOX, "-c", script)
        return self.engine.docker(*command, check=check)

    def workshop(self, *arguments: str, code: int = 0, stderr: bool = False, **settings: str) -> str:
        """Return what a `workshop` command prints, or complains of; fail if its exit code is another."""
        command = [str(Path(sys.executable).with_name("workshop")), *arguments]
        environment = self.environment | settings
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == code, f"{done.returncode}: {done.stdout}{done.stderr}"
        return done.stderr if stderr else done.stdout

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    @property
    def prometheus(self) -> Prometheus:
        return Prometheus(self.url("PROMETHEUS"))

    @property
    def jaeger(self) -> Jaeger:
        return Jaeger(self.url("JAEGER"))

    def healthy(self) -> bool:
        """Tell whether every container runs, and is healthy if it has a health check."""
        states = self.engine.docker(
            "inspect",
            "--format",
            "{{.State.Status}} {{with .State.Health}}{{.Status}}{{else}}healthy{{end}}",
            *self.containers(),
        )
        return set(states.splitlines()) == {"running healthy"}

    def memory(self) -> dict[str, tuple[float, float]]:
        """Return the memory that each container uses, and its limit as the kernel knows it, in bytes."""
        lines = self.engine.docker(
            "stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}", *self.containers()
        )
        found = {}
        for line in lines.splitlines():
            name, used, _, limit = line.split()
            found[name.removeprefix(f"{self.project}-")] = in_bytes(used), in_bytes(limit)
        return found

    def targets(self, job: str) -> list[str]:
        """Return the health of each target of a job; none while Prometheus does not answer."""
        try:
            return [target["health"] for target in self.prometheus.targets(job)]
        except BackendAwayError:
            return []


def limits(*services: str) -> int:
    """Return the memory that one container of each of some services may use, in bytes."""
    return sum(int(SERVICES[name]["mem_limit"].removesuffix("m")) * 2**20 for name in services)


def in_bytes(text: str) -> float:
    """Return the number of bytes in a text like 42.6MiB."""
    number = text.rstrip("BKMGi")
    return float(number) * UNITS[text.removeprefix(number)]


@contextmanager
def running(stack: Stack) -> Iterator[Stack]:
    """Run a project for the time of the block; it leaves nothing."""
    stack.compose("build", "--quiet", timeout=600)
    try:
        started = monotonic()
        stack.up()
        poll_until(f"{stack.project} healthy", stack.healthy, 120, 0.2)
        healthy_after[stack.project] = monotonic() - started
        measured.append(f"{stack.project}: healthy after {healthy_after[stack.project]:.1f} s")
        yield stack
    finally:
        stack.compose("down", "--volumes", "--rmi", "local")
        (ROOT / "faults" / f"{stack.project}.json").unlink(missing_ok=True)


@pytest.fixture(scope="package")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The engine; without one the suite is skipped on a laptop, and fails in CI."""
    try:
        with engine(tmp_path_factory.mktemp("docker")) as answering:
            yield answering
    except BackendError as error:
        (pytest.fail if IN_CI else pytest.skip)(str(error))


@pytest.fixture(scope="package")
def make_stack(docker: Engine, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Stack]:
    """Return a function that makes a project, not yet started, of all services that there are images for."""
    try:
        missing, notes = obtain(docker)
    except BackendError as error:
        (pytest.fail if IN_CI else pytest.skip)(str(error))
    measured.extend(notes)
    services = tuple(name for name in SERVICES if name not in missing)

    def make(project: str) -> Stack:
        ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        workbench = tmp_path_factory.mktemp("lab") / "workbench"
        workbench.mkdir()  # unlike the folder that it is in, everybody may read it
        return Stack(docker, project, services, ports, workbench)

    return make


@pytest.fixture(scope="package")
def green(make_stack: Callable[..., Stack]) -> Iterator[Stack]:
    """A project with one worker."""
    with running(make_stack("dockercoins-test-green")) as stack:
        yield stack


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what was measured."""
    if measured:
        terminalreporter.section("measured on the Docker engine")
        for line in measured:
            terminalreporter.write_line(line)
