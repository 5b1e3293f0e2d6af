"""The processes of a native lab: what each one runs, on which ports, and how to tell that it is ready."""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import redis
import requests

from workshop.lab import ROOT, Lab
from workshop.native import ports
from workshop.native.backends import Backend

PYTHON = sys.executable


@dataclass(frozen=True)
class Program:
    """One process of the lab.

    `ports` are those that it listens on, by the variable that sets each. `ready` tells whether it serves.
    It is started when the programs in `after` are ready.
    """

    name: str
    command: tuple[str, ...]
    ready: Callable[[], bool]
    ports: Mapping[str, int]
    environment: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class Backends:
    """What the lab found on this machine; without `collector` and `jaeger` it uses its own trace store."""

    redis: Backend
    prometheus: Backend
    collector: Backend | None
    jaeger: Backend | None


def base_programs(lab: Lab, backends: Backends) -> list[Program]:
    """Return every process of the lab but the workers."""
    return [
        _redis(lab, backends.redis),
        *_trace_backend(lab, backends),
        _web_service(lab, "rng"),
        _web_service(lab, "hasher"),
        _web_service(lab, "webui"),
        _prometheus(lab, backends.prometheus),
        _console(lab),
    ]


def worker_programs(lab: Lab, count: int) -> list[Program]:
    """Return the processes worker-1 to worker-`count`."""
    return [_worker(lab, number) for number in range(1, count + 1)]


def _ports(lab: Lab, *variables: str) -> dict[str, int]:
    return {variable: lab.ports[variable] for variable in variables}


def _answers(url: str) -> Callable[[], bool]:
    def ready() -> bool:
        try:
            return requests.get(url, timeout=1).ok
        except requests.RequestException:
            return False

    return ready


def _redis(lab: Lab, backend: Backend) -> Program:
    port = lab.ports["REDIS_PORT"]

    def ready() -> bool:
        try:
            with redis.Redis(port=port, socket_timeout=1) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    options = {
        "port": str(port),
        "bind": "127.0.0.1",
        "dir": str(lab.state / "redis"),
        # The count in Redis is exact: what Redis has acknowledged survives a kill.
        "appendonly": "yes",
        "appendfsync": "always",
        # Plain commands: the data can be read by every Redis and Valkey, whichever this machine has tomorrow.
        "aof-use-rdb-preamble": "no",
        "save": "",
        # Else it writes a title over its environment, by which the lab knows its own processes.
        "set-proc-title": "no",
    }
    arguments = (part for name, value in options.items() for part in (f"--{name}", value))
    return Program(
        name="redis",
        command=(str(backend.path), *arguments),
        ready=ready,
        ports=_ports(lab, "REDIS_PORT"),
        note=f"{backend.path.name} {backend.version}",
    )


def _service_environment(lab: Lab) -> dict[str, str]:
    return {
        "PYTHONPATH": os.pathsep.join((str(lab.workbench), str(ROOT / "services"))),
        "LISTEN_HOST": "127.0.0.1",
        "RNG_URL": lab.url("RNG_PORT"),
        "HASHER_URL": lab.url("HASHER_PORT"),
        "REDIS_URL": f"redis://127.0.0.1:{lab.ports['REDIS_PORT']}",
        "PROMETHEUS_URL": lab.url("PROMETHEUS_PORT"),
        "OTEL_EXPORTER_OTLP_ENDPOINT": lab.url("OTLP_PORT"),
        "FAULTS_FILE": str(lab.faults_file),
    }


def _web_service(lab: Lab, name: str) -> Program:
    port, metrics_port = f"{name.upper()}_PORT", f"{name.upper()}_METRICS_PORT"
    return Program(
        name=name,
        command=(PYTHON, "-m", f"{name}.{name}"),
        ready=lambda: ports.listens(lab.ports[port]),
        ports=_ports(lab, port, metrics_port),
        environment=_service_environment(lab)
        | {"PORT": str(lab.ports[port]), "METRICS_PORT": str(lab.ports[metrics_port])},
    )


def _console(lab: Lab) -> Program:
    return Program(
        name="console",
        command=(
            *(PYTHON, "-m", "workshop.console"),
            *("--port", str(lab.ports["CONSOLE_PORT"])),
            *("--prometheus", lab.url("PROMETHEUS_PORT")),
            *("--jaeger", lab.url("JAEGER_PORT")),
            *("--grafana", lab.url("GRAFANA_PORT")),
        ),
        ready=lambda: ports.listens(lab.ports["CONSOLE_PORT"]),
        ports=_ports(lab, "CONSOLE_PORT"),
        environment={
            "COMPOSE_PROJECT_NAME": lab.project,
            # Else glibc keeps memory for each thread that ever read a long answer of Prometheus: 8 MB more.
            "MALLOC_ARENA_MAX": "1",
        },
    )


def _worker(lab: Lab, number: int) -> Program:
    metrics_port = lab.worker_metrics_port(number)
    return Program(
        name=f"worker-{number}",
        command=(PYTHON, "-m", "worker.worker"),
        ready=lambda: ports.listens(metrics_port) or not lab.telemetry,
        ports={"WORKER_METRICS_PORT": metrics_port},
        after=("redis", "rng", "hasher"),  # so that its first loop is not an error
        environment=_service_environment(lab) | {"METRICS_PORT": str(metrics_port)},
    )


def _trace_backend(lab: Lab, backends: Backends) -> list[Program]:
    if backends.collector is None or backends.jaeger is None:
        return [_trace_store(lab)]
    return [_jaeger(lab, backends.jaeger), _collector(lab, backends.collector)]


def _trace_store(lab: Lab) -> Program:
    return Program(
        name="jaeger",
        command=(
            *(PYTHON, "-m", "workshop.tracestore"),
            *("--otlp-port", str(lab.ports["OTLP_PORT"])),
            *("--query-port", str(lab.ports["JAEGER_PORT"])),
        ),
        ready=_answers(f"{lab.url('JAEGER_PORT')}/api/services"),
        ports=_ports(lab, "OTLP_PORT", "JAEGER_PORT"),
        note="embedded trace store",
    )


def _jaeger(lab: Lab, backend: Backend) -> Program:
    return Program(
        name="jaeger",
        command=(str(backend.path), "--config", str(ROOT / "jaeger" / "config.yaml")),
        ready=_answers(f"{lab.url('JAEGER_PORT')}/api/services"),
        ports=_ports(
            lab,
            *("JAEGER_PORT", "JAEGER_GRPC_PORT", "JAEGER_OTLP_PORT", "JAEGER_OTLP_GRPC_PORT"),
            *("JAEGER_METRICS_PORT", "JAEGER_HEALTH_PORT"),
        ),
        environment={
            "LISTEN_HOST": "127.0.0.1",
            "QUERY_PORT": str(lab.ports["JAEGER_PORT"]),
            "QUERY_GRPC_PORT": str(lab.ports["JAEGER_GRPC_PORT"]),
            "OTLP_PORT": str(lab.ports["JAEGER_OTLP_PORT"]),
            "OTLP_GRPC_PORT": str(lab.ports["JAEGER_OTLP_GRPC_PORT"]),
            "METRICS_PORT": str(lab.ports["JAEGER_METRICS_PORT"]),
            "HEALTH_PORT": str(lab.ports["JAEGER_HEALTH_PORT"]),
        },
        note=f"Jaeger {backend.version}",
    )


def _collector(lab: Lab, backend: Backend) -> Program:
    folder, tail_sampling = ROOT / "otel-collector", "on" if lab.tail_sampling else "off"
    return Program(
        name="otel-collector",
        command=(
            str(backend.path),
            *("--config", str(folder / "config.yaml")),
            *("--config", str(folder / f"tail-sampling-{tail_sampling}.yaml")),
        ),
        ready=_answers(lab.url("COLLECTOR_HEALTH_PORT")),
        ports=_ports(
            lab,
            *("OTLP_PORT", "OTLP_GRPC_PORT"),
            *("COLLECTOR_METRICS_PORT", "SPAN_METRICS_PORT", "COLLECTOR_HEALTH_PORT"),
        ),
        environment={
            "LISTEN_HOST": "127.0.0.1",
            "OTLP_PORT": str(lab.ports["OTLP_PORT"]),
            "OTLP_GRPC_PORT": str(lab.ports["OTLP_GRPC_PORT"]),
            "METRICS_PORT": str(lab.ports["COLLECTOR_METRICS_PORT"]),
            "SPAN_METRICS_PORT": str(lab.ports["SPAN_METRICS_PORT"]),
            "HEALTH_PORT": str(lab.ports["COLLECTOR_HEALTH_PORT"]),
            "JAEGER_ENDPOINT": f"127.0.0.1:{lab.ports['JAEGER_OTLP_GRPC_PORT']}",
        },
        note=f"Collector {backend.version}",
    )


def _prometheus(lab: Lab, backend: Backend) -> Program:
    return Program(
        name="prometheus",
        command=(
            str(backend.path),
            f"--config.file={lab.state / 'prometheus.yml'}",
            f"--storage.tsdb.path={lab.state / 'prometheus'}",
            "--storage.tsdb.retention.time=1d",
            f"--web.listen-address=127.0.0.1:{lab.ports['PROMETHEUS_PORT']}",
            "--enable-feature=exemplar-storage",
            # Five scrapes. By default, what it saw before a restart would pass for present for five minutes.
            "--query.lookback-delta=10s",
            # Its default of 5 s keeps a new worker, and at the start everything, unseen for that long.
            "--scrape.discovery-reload-interval=100ms",
        ),
        ready=_answers(f"{lab.url('PROMETHEUS_PORT')}/-/ready"),
        ports=_ports(lab, "PROMETHEUS_PORT"),
        note=f"Prometheus {backend.version}",
    )
