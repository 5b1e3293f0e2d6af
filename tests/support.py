"""What several test suites need: waiting for a named thing, free ports, processes of the lab."""

import json
import os
import random
import re
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pytest
import requests

from tests import standstill
from workshop.lab import ROOT
from workshop.native import backends
from workshop.native.ports import listens

T = TypeVar("T")
IN_CI = bool(os.environ.get("CI"))


def poll_until(what: str, check: Callable[[], T], timeout: float = 20, interval: float = 0.05) -> T:
    """Return the first true value of `check`; fail after `timeout` seconds and say what was waited for.

    The time for which the machine stood still does not count.
    """
    started = monotonic()
    while True:
        value = check()
        if value:
            return value
        if monotonic() > started + timeout + standstill.seconds(started):
            raise AssertionError(f"waited {timeout} s in vain for {what}; the last value was {value!r}")
        sleep(interval)


def is_whole(trace: Mapping[str, Any]) -> bool:
    """Tell whether the parent of each span of a trace is there: services send their spans when these end."""
    there = {span["spanID"] for span in trace["spans"]}
    return there >= {reference["spanID"] for span in trace["spans"] for reference in span["references"]}


def parents(trace: Mapping[str, Any]) -> dict[tuple[str, str], list[tuple[str, str]]]:
    """Return (service, name) of each span of a trace → those of its parents."""
    names = {
        span["spanID"]: (trace["processes"][span["processID"]]["serviceName"], span["operationName"])
        for span in trace["spans"]
    }
    return {
        names[span["spanID"]]: [names[reference["spanID"]] for reference in span["references"]]
        for span in trace["spans"]
    }


def taken_from(work: deque[T]) -> Iterator[T]:
    """Yield one piece of work after the other, while other threads take from the same."""
    while True:
        try:
            piece = work.popleft()
        except IndexError:
            return
        yield piece


def addresses(text: str) -> set[str]:
    """Return the IPv4 addresses in a text, also those within a URL."""
    return set(re.findall(r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.])", text))


_given: set[int] = set()


def free_ports(count: int) -> list[int]:
    """Return ports of 127.0.0.1 that nobody listens on, all in a row; never the same one twice.

    They lie below the range from which the system takes ports for outgoing connections (Linux: from 32768):
    one of those could take a port between this call and the start of its server.
    """
    while True:
        first = random.randrange(10_000, 32_000 - count)
        with ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    stack.enter_context(socket.create_server(("127.0.0.1", port)))
            except OSError:
                continue
            ports = range(first, first + count)
            if _given.isdisjoint(ports):
                _given.update(ports)
                return list(ports)


def require(name: str) -> str:
    """Return the program of a backend. Without it the test is skipped; in CI it fails."""
    backend = backends.find(name)
    if backend is None:
        (pytest.fail if IN_CI else pytest.skip)(f"there is no {name} here; `make tools` brings it")
    return str(backend.path)


def answers(url: str) -> bool:
    """Tell whether somebody answers there, and does not with an error."""
    try:
        return requests.get(url, timeout=1).ok
    except requests.RequestException:
        return False


@contextmanager
def process(
    *command: str, log: Path, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command for the time of the block; its output goes to `log`."""
    with log.open("ab") as output:
        child = subprocess.Popen(
            command, env={**os.environ, **(env or {})}, stdout=output, stderr=output, cwd=ROOT
        )
    try:
        yield child
    finally:
        if child.poll() is None:
            child.kill()
        child.wait()


def service_environment(**settings: object) -> dict[str, str]:
    """Return the environment of a service process under test; nothing listens where it sends its spans."""
    return {
        "PYTHONPATH": str(ROOT / "services"),
        "LISTEN_HOST": "127.0.0.1",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_ports(1)[0]}",
        **{name: str(value) for name, value in settings.items()},
    }


@contextmanager
def web_service(name: str, log: Path, **settings: object) -> Iterator[tuple[str, str]]:
    """Run rng, hasher or webui; yield its URL and the URL of its metrics."""
    port, metrics_port = free_ports(2)
    env = service_environment(PORT=port, METRICS_PORT=metrics_port, **settings)
    with process(sys.executable, "-m", f"{name}.{name}", log=log, env=env):
        poll_until(f"{name} on port {port}", lambda: listens(port))
        yield f"http://127.0.0.1:{port}", f"http://127.0.0.1:{metrics_port}/metrics"


@contextmanager
def redis_process(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run Valkey or Redis as the lab does, with its data in `folder`."""
    backend = backends.find("redis")
    assert backend, "no Redis here"
    folder.mkdir(exist_ok=True)
    options = ("--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", "")
    durable = ("--appendonly", "yes", "--appendfsync", "always")
    with process(str(backend.path), *options, *durable, log=folder / "redis.log") as server:
        poll_until(f"Redis on port {port}", lambda: listens(port))
        yield server


@contextmanager
def prometheus_process(
    folder: Path, port: int, jobs: Mapping[str, Sequence[str]], rule_files: Sequence[str] = ()
) -> Iterator[str]:
    """Run Prometheus with its data in `folder`; it scrapes each job's metrics URLs. Yield its own URL."""
    scrape_configs = [
        {"job_name": job, "static_configs": [{"targets": [urlsplit(url).netloc for url in urls]}]}
        for job, urls in jobs.items()
    ]
    config = {
        "global": {"scrape_interval": "1s"},
        "rule_files": list(rule_files),
        "scrape_configs": scrape_configs,
    }
    file = folder / "prometheus.yml"
    file.write_text(json.dumps(config))
    options = (
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--enable-feature=exemplar-storage",
    )
    url = f"http://127.0.0.1:{port}"
    with process(require("prometheus"), *options, log=folder / "prometheus.log"):
        poll_until(f"Prometheus on port {port}", lambda: answers(f"{url}/-/ready"))
        yield url


def samples(url: str, *, openmetrics: bool = False) -> dict[str, float]:
    """Return what a metrics URL tells: each series, as it is written there, and its value."""
    headers = {"Accept": "application/openmetrics-text; version=1.0.0"} if openmetrics else {}
    lines = requests.get(url, headers=headers, timeout=5).text.splitlines()
    series = (line.partition(" # ")[0].rpartition(" ") for line in lines if line and not line.startswith("#"))
    return {name: float(value) for name, _, value in series}
