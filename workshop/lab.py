"""One lab: its project name, its ports, its folder, and the settings that it was given.

The native way and the Docker way read the same `.env`; a variable in the environment wins over it.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dotenv import dotenv_values

ROOT = Path(__file__).resolve().parents[1]
MAX_WORKERS = 50
MAX_PORT = 65_535

# Each variable and its default. Worker i has its metrics on WORKER_METRICS_PORT + i - 1.
BASE_PORTS = {
    "WEBUI_PORT": 8000,
    "RNG_PORT": 8001,
    "HASHER_PORT": 8002,
    "CONSOLE_PORT": 8010,
    "PROMETHEUS_PORT": 9090,
    "JAEGER_PORT": 16686,
    "OTLP_PORT": 4318,
    "REDIS_PORT": 6379,
    "RNG_METRICS_PORT": 9101,
    "HASHER_METRICS_PORT": 9102,
    "WEBUI_METRICS_PORT": 9103,
    "WORKER_METRICS_PORT": 9110,
}
# Those that only the real Collector and Jaeger need.
TRACE_BACKEND_PORTS = {
    "OTLP_GRPC_PORT": 4317,
    "COLLECTOR_METRICS_PORT": 8888,
    "SPAN_METRICS_PORT": 8889,
    "COLLECTOR_HEALTH_PORT": 13133,
    "JAEGER_GRPC_PORT": 16685,
    "JAEGER_OTLP_PORT": 14318,
    "JAEGER_OTLP_GRPC_PORT": 14317,
    "JAEGER_METRICS_PORT": 8887,
    "JAEGER_HEALTH_PORT": 13134,
}
# That of a container only; the console looks for it there.
DOCKER_PORTS = {"GRAFANA_PORT": 3000}
PORTS = BASE_PORTS | TRACE_BACKEND_PORTS | DOCKER_PORTS


class LabError(Exception):
    """Something that the user can mend went wrong; the text is one clear line. Exit code 1."""


class SettingError(LabError):
    """A setting or an argument is not usable. Exit code 2."""


@dataclass(frozen=True)
class Lab:
    """One lab on this machine; two of them run side by side with different projects and port offsets.

    `ports` maps each variable of `PORTS` to the port in force, `environment` is what its processes inherit.
    """

    project: str
    port_offset: int
    ports: Mapping[str, int]
    state: Path
    environment: Mapping[str, str]

    @property
    def telemetry(self) -> bool:
        """Whether the services are instrumented."""
        return self.environment.get("TELEMETRY") != "off"

    @property
    def tail_sampling(self) -> bool:
        """Whether the Collector passes on only some of the traces."""
        return self.environment.get("TAIL_SAMPLING") == "on"

    @property
    def every_loop_traced(self) -> bool:
        """Whether each loop leaves a trace, by the settings of the OpenTelemetry SDK and of the Collector."""
        disabled = self.environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
        sampler = self.environment.get("OTEL_TRACES_SAMPLER") or "parentbased_always_on"
        recorded = self.telemetry and not disabled and sampler in ("always_on", "parentbased_always_on")
        return recorded and not self.tail_sampling

    @property
    def for_teacher(self) -> bool:
        """Whether the console may tell what is broken."""
        return self.environment.get("WORKSHOP_TEACHER") == "1"

    @property
    def faults_file(self) -> Path:
        """The file with the fault flags, without Docker."""
        return self.state / "faults.json"

    @property
    def workbench(self) -> Path:
        """The folder whose services stand in for those in `services/`; see `workshop/workbench.py`."""
        return (ROOT / Path(self.environment.get("WORKBENCH") or "workbench").expanduser()).resolve()

    @property
    def incident_file(self) -> Path:
        """The file with the incident that is under way; there is none without one."""
        return self.state / "incident.json"

    def url(self, variable: str) -> str:
        """Return the base URL of what listens on the port of this variable."""
        return f"http://127.0.0.1:{self.ports[variable]}"

    def worker_metrics_port(self, number: int) -> int:
        """Return the metrics port of worker `number`, from 1; raises `SettingError` for a port too high."""
        first = self.ports["WORKER_METRICS_PORT"]
        if first + number - 1 > MAX_PORT:
            raise SettingError(
                f"WORKER_METRICS_PORT is {first}: that leaves ports up to {MAX_PORT} for "
                f"{MAX_PORT - first + 1} workers, and each needs one"
            )
        return first + number - 1


def load(project: str | None = None, port_offset: int | None = None) -> Lab:
    """Return the lab of the arguments, else of the environment, else of `.env`, else the default one.

    Raises `SettingError` for a value that is not usable.
    """
    settings = {name: value for name, value in dotenv_values(ROOT / ".env").items() if value is not None}
    settings |= os.environ
    project = project or settings.get("COMPOSE_PROJECT_NAME") or "dockercoins"
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,40}", project):
        raise SettingError(
            f"the project name {project!r} is not usable: "
            "lower-case letters, digits, - and _ are accepted, a letter or digit first"
        )
    if port_offset is None:
        port_offset = _whole_number("PORT_OFFSET", settings.get("PORT_OFFSET") or "0", 0, 50_000)
    for switch in ("TELEMETRY", "TAIL_SAMPLING"):
        if settings.get(switch) not in (None, "", "on", "off"):
            raise SettingError(f"{switch}={settings[switch]!r} is not usable: on or off is accepted")
    ports = {
        variable: _whole_number(variable, settings.get(variable) or str(default), 1, MAX_PORT) + port_offset
        for variable, default in PORTS.items()
    }
    for variable, port in ports.items():
        if port > MAX_PORT:
            raise SettingError(
                f"{variable} with PORT_OFFSET={port_offset} is {port}: at most {MAX_PORT} is accepted"
            )
    state = Path(settings.get("WORKSHOP_STATE") or ROOT / ".lab").resolve() / project
    for part in (state, *state.parents):
        if part.exists() and not part.is_dir():
            raise SettingError(f"WORKSHOP_STATE={str(state.parent)!r} is not usable: {part} is not a folder")
    resource = f"service.namespace={project}"
    if given := settings.get("OTEL_RESOURCE_ATTRIBUTES"):
        resource = f"{resource},{given}"
    lab = Lab(
        project=project,
        port_offset=port_offset,
        ports=ports,
        state=state,
        environment=settings | {"OTEL_RESOURCE_ATTRIBUTES": resource},
    )
    if os.pathsep in str(lab.workbench) or lab.workbench in (ROOT, ROOT / "services"):
        raise SettingError(
            f"WORKBENCH={settings.get('WORKBENCH')!r} is not usable: a folder of its own is accepted, "
            f"without {os.pathsep!r} in its name"
        )
    return lab


def _whole_number(name: str, text: str, minimum: int, maximum: int) -> int:
    if not (text.isascii() and text.isdigit() and minimum <= int(text) <= maximum):
        raise SettingError(
            f"{name}={text!r} is not usable: a whole number from {minimum} to {maximum} is accepted"
        )
    return int(text)
