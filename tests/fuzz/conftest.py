"""The servers under fire, and what must hold of each after every test."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from subprocess import Popen

import psutil
import pytest
import redis
from hypothesis import HealthCheck, settings

from tests.fuzz.client import Client, sent
from tests.support import (
    free_ports,
    listens,
    poll_until,
    process,
    prometheus_process,
    redis_process,
    service_environment,
)
from workshop.lab import ROOT
from workshop.tracestore.app import MAX_BODY_BYTES
from workshop.tracestore.store import MAX_BYTES

MIB = 2**20
HERE = Path(__file__).parent
SERVICES = ("rng", "hasher", "webui")
NAMES = ("otlp", "query", *SERVICES, "console")

# By default every run sends the same requests, so that what fails once fails again. With FUZZ=20 it sends
# other ones in each run, and 20 times as many.
FACTOR = int(os.environ.get("FUZZ") or 0)
settings.register_profile(
    "fuzz",
    max_examples=100 * max(FACTOR, 1),
    derandomize=not FACTOR,
    deadline=None,  # a machine that is busy is no defect
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("fuzz")


def examples(count: int) -> settings:
    """Return the settings of a test of fewer examples, each of which takes longer."""
    return settings(max_examples=count * max(FACTOR, 1))


# Bytes that a process may take more than at its start. Its largest body or answer has 1 MiB. 20 clients have
# one at a time, it lies in two buffers, and the allocator may keep as much again.
HEADROOM = 20 * 2 * 2 * MIB
# The trace store: what it keeps, and one body at a time, which becomes up to a hundred times as large.
STORE_HEADROOM = HEADROOM + MAX_BYTES + 100 * MAX_BODY_BYTES


@dataclass(frozen=True)
class Server:
    """A server under test; `alive` is a path that it answers. `at_start` is its memory in bytes."""

    name: str
    port: int
    metrics: str
    process: psutil.Process
    log: Path
    alive: str
    headroom: int
    at_start: int

    def peak(self) -> int:
        """Return the most memory that the process ever had, in bytes; where none tells, what it has now."""
        status = Path(f"/proc/{self.process.pid}/status")
        if status.exists():
            return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) * 1024
        return self.process.memory_info().rss

    def check(self) -> None:
        """Fail unless the process is the one that was started, answers, and kept to its memory."""
        assert self.process.is_running(), f"{self.name} ended:\n{self.log.read_text()[-3000:]}"
        with Client(self.name, self.port) as client:
            assert client.get(self.alive).status < 500
        grown = self.peak() - self.at_start
        assert grown <= self.headroom, f"{self.name} took {grown / MIB:.0f} MiB more than at its start"


@pytest.fixture(scope="package")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Server]]:
    """Every server of the lab that takes requests, as a process of its own; no worker works."""
    folder = tmp_path_factory.mktemp("fuzz")
    others = ("redis", "prometheus", *(f"{name}-metrics" for name in SERVICES))
    ports = dict(zip((*NAMES, *others), free_ports(len(NAMES) + len(others)), strict=True))
    url = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    found: dict[str, Server] = {}
    with ExitStack() as stack:

        def start(*command: str, log: str, **env: object) -> Popen[bytes]:
            return stack.enter_context(
                process(*command, log=folder / log, env={name: str(value) for name, value in env.items()})
            )

        def add(name: str, child: Popen[bytes], alive: str) -> None:
            poll_until(f"{name} on port {ports[name]}", lambda: listens(ports[name]))
            with Client(name, ports[name]) as client:
                client.get(alive)  # what is loaded for the first answer belongs to the start
            own = psutil.Process(child.pid)
            log = folder / f"{name}.log"
            metrics = f"{url.get(f'{name}-metrics', url[name])}/metrics"
            headroom = STORE_HEADROOM if name == "query" else HEADROOM
            found[name] = Server(name, ports[name], metrics, own, log, alive, headroom, own.memory_info().rss)

        stack.enter_context(redis_process(folder / "redis", ports["redis"]))
        with redis.Redis(port=ports["redis"]) as store:
            store.set("hashes", 1234)
            store.hset("wallet", "0a", "coin")
        jobs = {"lab": [url[f"{name}-metrics"] for name in SERVICES]}
        rules = [str(ROOT / "prometheus" / "rules" / "*.yml")]
        stack.enter_context(prometheus_process(folder, ports["prometheus"], jobs, rules))
        # As few spans as the console needs to look for errors, so that the store evicts too.
        options = (f"--otlp-port={ports['otlp']}", f"--query-port={ports['query']}", "--max-spans=1000")
        add(
            "query",
            start(sys.executable, "-m", "workshop.tracestore", *options, log="query.log"),
            "/api/services",
        )
        found["otlp"] = replace(found["query"], name="otlp", port=ports["otlp"], alive="/v1/traces")
        for name in SERVICES:
            environment = service_environment(
                PORT=ports[name],
                METRICS_PORT=ports[f"{name}-metrics"],
                RNG_DELAY=0,
                HASHER_DELAY=0,
                REDIS_URL=f"redis://127.0.0.1:{ports['redis']}",
                PROMETHEUS_URL=url["prometheus"],
            )
            environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = url["otlp"]
            child = start(sys.executable, "-m", f"{name}.{name}", log=f"{name}.log", **environment)
            add(name, child, "/json" if name == "webui" else "/")
        options = (
            f"--port={ports['console']}",
            f"--prometheus={url['prometheus']}",
            f"--jaeger={url['query']}",
        )
        lab = {"WORKSHOP_STATE": folder / "labs", "COMPOSE_PROJECT_NAME": "fuzz", "PORT_OFFSET": 0}
        child = start(sys.executable, "-m", "workshop.console", *options, log="console.log", **lab)
        add("console", child, "/dashboards/")
        yield found


@pytest.fixture(autouse=True)
def every_server_survives(servers: dict[str, Server]) -> Iterator[None]:
    yield
    for server in servers.values():
        server.check()


@pytest.fixture(scope="package")
def clients(servers: dict[str, Server]) -> Iterator[dict[str, Client]]:
    """A connection to each server, which is kept alive."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(Client(name, server.port)) for name, server in servers.items()}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Count the requests only where every test that sends some was chosen."""
    mine = [item for item in items if item.path.parent == HERE]
    for item in mine:  # Hypothesis warns of large bodies: to show one that fails takes a while
        item.add_marker(pytest.mark.filterwarnings("ignore:Generating overly large repr"))
    whole = {item.path for item in mine} == set(HERE.glob("test_*.py"))
    if not whole or config.getoption("keyword") or any("::" in argument for argument in config.args):
        total = [item for item in mine if item.name == "test_the_number_of_requests"]
        items[:] = [item for item in items if item not in total]
        config.hook.pytest_deselected(items=total)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show how much was sent."""
    if sent:
        terminalreporter.section("bad input")
        by_server = ", ".join(f"{name} {count}" for name, count in sent.most_common())
        terminalreporter.write_line(f"{sent.total()} requests: {by_server}")
