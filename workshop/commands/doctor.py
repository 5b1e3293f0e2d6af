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

from workshop import docker
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
    yield from _ports(lab, BASE_PORTS | TRACE_BACKEND_PORTS if real else BASE_PORTS)
    yield from _backends(found)
    yield _docker()


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


def _ports(lab: Lab, needed: Mapping[str, int]) -> Iterator[Finding]:
    if supervision.connect(lab) is not None or docker.containers(lab.project):
        yield Finding("ports", True, True, "held by the lab, which is running")
        return
    if left_over := supervision.left_over(lab):
        text = f"held by {len(left_over)} processes of a run that was cut off"
        yield Finding(
            "ports", False, True, text, "`make up` ends them and starts anew; `make down` ends them"
        )
        return
    taken = [variable for variable in needed if not ports.is_free(lab.ports[variable])]
    if not taken:
        yield Finding("ports", True, True, f"all {len(needed)} are free")
    for variable in taken:
        port = lab.ports[variable]
        yield Finding(
            "ports",
            False,
            True,
            f"{port} is taken by {ports.holder(port)}",
            f"set {variable}, or PORT_OFFSET to move all ports, in .env",
        )


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


def _docker() -> Finding:
    mend = "needed for `docker compose up` only: install Docker and start it"
    if shutil.which("docker") is None:
        return Finding("Docker", False, False, "not found", mend)
    for command in (
        ["docker", "compose", "version", "--short"],
        ["docker", "info", "--format", "{{.ServerVersion}}"],
    ):
        try:
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=10, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return Finding("Docker", False, False, f"`{' '.join(command)}` does not answer", mend)
        if done.returncode:
            return Finding("Docker", False, False, f"`{' '.join(command)}` fails", mend)
    return Finding("Docker", True, False, f"engine {done.stdout.strip()}, with Compose")
