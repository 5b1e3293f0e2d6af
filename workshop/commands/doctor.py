"""`workshop doctor`: what this machine has, and how to mend what is missing."""

import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

import psutil
from rich.console import Console

from workshop import docker, workbench
from workshop.lab import BASE_PORTS, ROOT, TRACE_BACKEND_PORTS, Lab
from workshop.native import backends, ports, supervision
from workshop.native.backends import Backend

console = Console()

MEMORY_GB = 1
DISK_GB = 1


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `mend` says what to do about it, if anything."""

    name: str
    good: bool
    required: bool
    text: str
    mend: str = ""


def show(lab: Lab, *, as_json: bool) -> int:
    """Print every finding; return 1 if one that the lab needs is not good, else 0."""
    findings = list(examine(lab))
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            mark = (
                "[green]good[/]"
                if finding.good
                else "[red]bad [/]"
                if finding.required
                else "[yellow]none[/]"
            )
            console.print(f"{mark}  {finding.name:<12} {finding.text}", highlight=False, soft_wrap=True)
            if finding.mend:
                console.print(f"      {'':<12} → {finding.mend}", highlight=False, soft_wrap=True)
    return 0 if all(finding.good for finding in findings if finding.required) else 1


def examine(lab: Lab) -> Iterator[Finding]:
    """Look at everything that the lab depends on."""
    yield _python()
    yield _memory()
    yield _disk(lab)
    found = {name: backends.find(name) for name in ("redis", "prometheus", "collector", "jaeger")}
    real = None not in (found["collector"], found["jaeger"])
    engine = _docker()
    yield from _ports(lab, BASE_PORTS | TRACE_BACKEND_PORTS if real else BASE_PORTS, engine)
    yield from _backends(found)
    yield from _workbench(lab)
    yield engine


def _python() -> Finding:
    good = sys.version_info >= (3, 11)
    mend = "" if good else "install Python 3.11 or later, then: make clean up PYTHON=python3.11"
    return Finding("Python", good, True, platform.python_version(), mend)


def _memory() -> Finding:
    free = psutil.virtual_memory().available / 2**30
    good = free >= MEMORY_GB
    mend = "" if good else f"close other programs: the lab wants {MEMORY_GB} GB"
    return Finding("memory", good, True, f"{free:.1f} GB available", mend)


def _disk(lab: Lab) -> Finding:
    folder = next(parent for parent in (lab.state, *lab.state.parents) if parent.exists())
    free = shutil.disk_usage(folder).free / 2**30
    good = free >= DISK_GB
    mend = "" if good else f"free {DISK_GB} GB there, or set WORKSHOP_STATE to a folder on another disk"
    return Finding("disk", good, True, f"{free:.1f} GB free in {folder}", mend)


def _ports(lab: Lab, needed: Mapping[str, int], engine: Finding) -> Iterator[Finding]:
    """Look at the ports of both ways to run the lab, at those of Docker only where its engine answers.

    One that only one way needs is not required where the other way is open.
    """
    if supervision.connect(lab) is not None:
        yield Finding("ports", True, True, "held by the lab, which is running")
        return
    # PORT_OFFSET does not count in Docker.
    published = {lab.ports[name] - lab.port_offset: name for name in docker.published_variables()}
    if docker.running(lab.project):
        held = {port for _, port in docker.published_ports(lab.project).values()}
        taken = [port for port in published if port not in held and ports.problem(port)]
        if not taken:
            yield Finding("ports", True, True, "held by the lab, which is running in Docker, or free")
        for port in taken:
            yield _taken(port, published[port], "", required=True)
        return
    if left_over := supervision.left_over(lab):
        text = f"held by {len(left_over)} processes of a run that was cut off"
        yield Finding(
            "ports", False, True, text, "`make up` ends them and starts anew; `make down` ends them"
        )
        return
    native = {lab.ports[name]: name for name in needed}
    in_docker = published if engine.good else {}
    wanted = in_docker | native
    taken = [port for port in wanted if ports.problem(port)]
    if not taken:
        yield Finding("ports", True, True, f"all {len(wanted)} are free")
    for port in taken:
        if port not in native:
            yield _taken(port, wanted[port], ", and needed with Docker only", required=False)
        elif port in in_docker or not engine.good:
            yield _taken(port, wanted[port], "", required=True)
        else:
            yield _taken(port, wanted[port], ", and needed without Docker only", required=False)


def _taken(port: int, variable: str, needed: str, *, required: bool) -> Finding:
    moves = (
        "" if needed.endswith("with Docker only") else ", or PORT_OFFSET to move all ports without Docker,"
    )
    text = f"{port} {ports.problem(port)}{needed}"
    return Finding("ports", False, required, text, f"set {variable}{moves} in .env")


def _backends(found: Mapping[str, Backend | None]) -> Iterator[Finding]:
    for name, required, mend in (
        ("redis", True, "install valkey or redis with the system's packages"),
        ("prometheus", False, "`make up` gets one; offline, install it with the system's packages"),
        (
            "collector",
            False,
            "`make tools` builds it; until then services send their spans to the trace store",
        ),
        ("jaeger", False, "`make tools` builds it; until then the lab's own trace store takes its place"),
    ):
        backend = found[name]
        if backend is None:
            yield Finding(name, False, required, "not found", mend)
        else:
            yield Finding(name, True, required, f"{backend.version} ({backend.origin}: {backend.path})")


def _workbench(lab: Lab) -> Iterator[Finding]:
    for service in workbench.services(lab):
        text = f"{service} is not that of the lab, but {lab.workbench / service}"
        yield Finding("workbench", True, False, text, "`workshop reset NN` of a lab moves it aside")


def _docker() -> Finding:
    mend = "needed for `docker compose up` only: install Docker and start it"
    if shutil.which("docker") is None:
        return Finding("Docker", False, False, "not found", mend)
    for command in (
        ["docker", "compose", "version", "--short"],
        ["docker", "info", "--format", "{{.ServerVersion}} {{.MemTotal}}"],
    ):
        try:
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=10, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return Finding("Docker", False, False, f"`{' '.join(command)}` does not answer", mend)
        if done.returncode:
            return Finding("Docker", False, False, f"`{' '.join(command)}` fails", mend)
    version, memory = done.stdout.split()
    text = f"engine {version} of {int(memory) / 2**30:.1f} GB memory, with Compose"
    if int(memory) < docker.memory_limit():
        limit = docker.memory_limit() / 2**30
        mend = f"give the engine more: the limits of the containers add up to {limit:.0f} GB"
        return Finding("Docker", False, False, text, mend)
    return Finding("Docker", True, False, text)
