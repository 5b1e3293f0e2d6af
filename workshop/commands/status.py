"""`workshop status`."""

import json
from dataclasses import asdict
from time import time
from typing import Any

from rich.console import Console
from rich.table import Table

from workshop import docker, workbench
from workshop.clients import BackendAwayError, Prometheus
from workshop.faults import control, flags
from workshop.lab import Lab
from workshop.native import runner, supervision
from workshop.native.supervision import State

console = Console()

# Supervisor knows the times of its processes to the second.
CLOCK_SECONDS = 1


def show(lab: Lab, *, as_json: bool) -> int:
    """Print the state of each process or container, and the figures; return 0 if all of it runs, else 1.

    A service in Docker that the others do without may be absent.

    Raises `LabError` if the lab runs neither without Docker nor with it.
    """
    prometheus = lab.url("PROMETHEUS_PORT")
    if supervision.connect(lab) is None and (containers := docker.states(lab.project)):
        states = containers + docker.without_container(lab.project)
        prometheus = docker.backend_url(lab, "prometheus", "PROMETHEUS_PORT")
    else:
        states = runner.running(lab).states()
    edited = _edited(lab, states)
    figures = _figures(prometheus) | {
        "faults_file_damaged": bool(damage := _damage(lab)),
        "workbench": edited,
    }
    if as_json:
        print(
            json.dumps({"project": lab.project, "programs": [asdict(s) for s in states], **figures}, indent=2)
        )
    else:
        console.print(_table(states))
        console.print(
            f"speed {_text(figures['speed'])}/s, "
            f"{_text(figures['targets_up'], 0)} of {_text(figures['targets'], 0)} targets up, "
            f"{sum(state.memory_bytes for state in states) / 1e6:.0f} MB"
        )
        for service, is_edited in edited.items():
            console.print(
                f"{service} is the one on the workbench, {lab.workbench / service}"
                + (": changed since it was started, so restart it" if is_edited else ""),
                soft_wrap=True,
                highlight=False,
            )
        if damage:
            console.print(f"[red]{damage}[/]", soft_wrap=True)
    return 0 if all(state.name in ("running", "absent") for state in states) else 1


def _figures(prometheus_url: str) -> dict[str, Any]:
    """Return the speed, in hashes a second, and the targets; None for what Prometheus cannot tell."""
    prometheus = Prometheus(prometheus_url)
    try:
        # A slope, for right after the start a rate would spread the few hashes over the whole window.
        speed = prometheus.scalar("max(deriv(dockercoins_hashes_total[30s]))")
        targets = prometheus.targets()
    except BackendAwayError:
        return {"speed": None, "targets_up": None, "targets": None}
    up = sum(target["health"] == "up" for target in targets)
    return {"speed": speed, "targets_up": up, "targets": len(targets)}


def _edited(lab: Lab, states: list[State]) -> dict[str, bool]:
    """Return the services on the workbench, and whether one of its files is newer than its process."""
    started = {
        service: min(
            (time() - s.seconds for s in states if s.program.partition("-")[0] == service), default=time()
        )
        for service in workbench.services(lab)
    }
    return {
        service: workbench.changed_at(lab, service) > when + CLOCK_SECONDS
        for service, when in started.items()
    }


def _damage(lab: Lab) -> str:
    """Return what is wrong with the file of fault flags, nothing if it is good."""
    try:
        flags.read(control.flags_file(lab))
    except flags.DamagedError as error:
        return str(error)
    return ""


def _text(value: float | None, digits: int = 1) -> str:
    return "?" if value is None else f"{value:.{digits}f}"


def _table(states: list[State]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("service", "state", "pid", "for", "memory"):
        table.add_column(column, justify="left" if column in ("service", "state") else "right")
    for state in states:
        colour = "green" if state.name == "running" else "yellow"
        table.add_row(
            state.program,
            f"[{colour}]{state.name}[/]",
            str(state.pid or ""),
            f"{state.seconds:.0f} s" if state.pid else "",
            f"{state.memory_bytes / 1e6:.0f} MB" if state.pid else "",
        )
    return table
