"""The Docker way of running the lab, seen from outside: the containers of a Compose project."""

import json
import re
import subprocess
from datetime import UTC, datetime
from functools import cache
from typing import Any

import yaml

from workshop.lab import ROOT, Lab, LabError
from workshop.native.supervision import State

TIMEOUT_SECONDS = 10
# As `docker stats` writes memory: 42.6MiB.
UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}

Container = dict[str, Any]
"""What `docker inspect` tells of a container."""


@cache
def declared() -> dict[str, dict[str, Any]]:
    """Return the services of compose.yaml, each as it stands there."""
    services: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    return services


def published_variables() -> list[str]:
    """Return the variables of the ports that compose.yaml publishes."""
    ports = [port for service in declared().values() for port in service.get("ports", [])]
    return [variable for port in ports for variable in re.findall(r"\$\{(\w+)", port)]


def memory_limit() -> int:
    """Return the most memory that the containers may use together with one worker, in bytes."""
    return sum(int(service["mem_limit"].removesuffix("m")) * 2**20 for service in declared().values())


def containers(project: str) -> list[Container]:
    """Return the containers of a Compose project; none where there is no engine that answers.

    What `docker compose run` started beside the services is none of them.
    """
    labels = (f"project={project}", "oneoff=False")
    filters = [word for label in labels for word in ("--filter", f"label=com.docker.compose.{label}")]
    found = _docker("ps", "--all", "--quiet", *filters).split()
    return json.loads(_docker("inspect", *found) or "[]") if found else []


def running(project: str) -> list[Container]:
    """Return those of the containers of a project that run."""
    return [container for container in containers(project) if container["State"]["Running"]]


def services(project: str) -> list[str]:
    """Return the names of the services that a project has containers of."""
    return sorted({_label(container, "service") for container in containers(project)})


def unhealthy(project: str) -> list[str]:
    """Return the services with a container that runs and whose health check does not succeed, or not yet."""
    return sorted(
        {_label(container, "service") for container in running(project) if _health(container) != "healthy"}
    )


def starting(project: str) -> bool:
    """Return whether the health of a container that runs is still to be seen, which ends by itself."""
    return any(_health(container) == "starting" for container in running(project))


def workers(project: str) -> int:
    """Return the number of workers that run."""
    return sum(_label(container, "service") == "worker" for container in running(project))


def states(project: str) -> list[State]:
    """Return the state of each container of a project, in the words of Docker: `running`, `exited` ...

    A container whose health check does not succeed, or not yet, is `unhealthy` or `starting`.
    """
    found = containers(project)
    memory = _memory([container["Id"] for container in found if container["State"]["Running"]])
    return sorted((_state(container, memory) for container in found), key=lambda state: state.program)


def without_container(project: str) -> list[State]:
    """Return a state for each service of compose.yaml that a project has no container of.

    It is `missing` if the application cannot do without it, or what else there is; else `absent`, as Grafana
    is where only the application was started.
    """
    present = set(services(project))
    application = {name for name, service in declared().items() if "build" in service}
    needing = application | present & declared().keys()
    needed = application.union(*(declared()[name].get("depends_on", {}) for name in needing))
    return [
        State(name, "missing" if name in needed else "absent", None, 0, 0)
        for name in declared()
        if name not in present
    ]


def published_ports(project: str) -> dict[str, tuple[str, int]]:
    """Return the address and the port on this machine that each service publishes, if it runs."""
    return {
        _label(container, "service"): (binding["HostIp"], int(binding["HostPort"]))
        for container in running(project)
        for bindings in container["NetworkSettings"]["Ports"].values()
        for binding in bindings or []
    }


def published_url(project: str, service: str) -> str | None:
    """Return the URL of the only port that a service publishes; None if it does not run."""
    published = published_ports(project).get(service)
    return "http://{}:{}".format(*published) if published else None


def telemetry(project: str) -> bool:
    """Return whether the services of a project are instrumented: what their containers were started with."""
    return not any("TELEMETRY=off" in container["Config"]["Env"] for container in running(project))


def backend_url(lab: Lab, service: str, port: str) -> str:
    """Return the URL that a service publishes; where it is no container, that of the lab's port variable."""
    return published_url(lab.project, service) or lab.url(port)


def act(project: str, service: str, command: str) -> None:
    """Do a `docker` command, such as `stop`, to each container of a service; raises `LabError`."""
    for container in containers(project):
        if _label(container, "service") == service:
            done = subprocess.run(
                ["docker", command, container["Id"]], capture_output=True, text=True, timeout=60, check=False
            )
            if done.returncode:
                raise LabError(f"docker {command} {service}: {done.stderr.strip()}")


def execute(project: str, service: str, *command: str) -> str:
    """Return what a command prints in the container of a service; nothing if it fails or there is none."""
    for container in containers(project):
        if _label(container, "service") == service:
            return _docker("exec", container["Id"], *command)
    return ""


def _docker(*arguments: str) -> str:
    """Return what a `docker` command prints; nothing if it fails."""
    try:
        done = subprocess.run(
            ["docker", *arguments], capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return "" if done.returncode else done.stdout


def _label(container: Container, name: str) -> str:
    return str(container["Config"]["Labels"][f"com.docker.compose.{name}"])


def _health(container: Container) -> str:
    return str(container["State"].get("Health", {}).get("Status", "healthy"))


def _state(container: Container, memory: dict[str, int]) -> State:
    state, service = container["State"], _label(container, "service")
    name, health = state["Status"], _health(container)
    running = state["Running"]
    started = datetime.fromisoformat(state["StartedAt"])
    return State(
        program=f"{service}-{_label(container, 'container-number')}" if service == "worker" else service,
        name=health if name == "running" and health != "healthy" else name,
        pid=state["Pid"] or None,
        seconds=(datetime.now(UTC) - started).total_seconds() if running else 0,
        memory_bytes=memory.get(container["Id"], 0),
    )


def _memory(ids: list[str]) -> dict[str, int]:
    """Return the memory of each running container, in bytes, by its ID."""
    if not ids:
        return {}
    lines = _docker("stats", "--no-stream", "--no-trunc", "--format", "{{.ID}} {{.MemUsage}}", *ids)
    found = re.findall(r"^(\w+) ([\d.]+)(\w+)", lines, re.MULTILINE)
    return {container: int(float(number) * UNITS[unit]) for container, number, unit in found}
