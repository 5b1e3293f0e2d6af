"""Breaks and heals a lab that runs, without Docker or with it."""

import time
from pathlib import Path

from workshop import docker
from workshop.commands.control import act_on
from workshop.faults import catalogue, flags
from workshop.faults.catalogue import Fault, Process
from workshop.faults.flags import FOREVER
from workshop.lab import ROOT, Lab, LabError
from workshop.native import runner, supervision
from workshop.native.supervision import Supervisor

# How a process is found after something was done to it; after a kill it is started again at once.
STATES = {"stop": ("stopped", "exited"), "pause": ("paused",), "kill": ()}
CURES = {"stop": "start", "pause": "resume"}
DOCKER = {
    "stop": ["stop"],
    "start": ["start"],
    "pause": ["pause"],
    "resume": ["unpause"],
    "kill": ["kill", "start"],
}


def native(lab: Lab) -> Supervisor | None:
    """Return the supervisor of a lab that runs without Docker, or None for one that runs with it.

    Raises `LabError` if it does not run at all.
    """
    supervisor = supervision.connect(lab)
    return supervisor if supervisor or docker.containers(lab.project) else runner.running(lab)


def flags_file(lab: Lab) -> Path:
    """Return the file with the fault flags that the services of this lab read."""
    return lab.faults_file if native(lab) else ROOT / "faults" / f"{lab.project}.json"


def on(lab: Lab) -> flags.Until:
    """Return the faults that are on, each with its end; raises `LabError`."""
    found = flags.read(flags_file(lab))
    states = _states(lab)
    for fault in catalogue.faults().values():
        if fault.process and states.get(_program(fault.process, states)) in STATES[fault.process.action]:
            found[fault.name] = FOREVER
    return found


def break_by(lab: Lab, fault: Fault, seconds: float) -> None:
    """Switch a fault on, for so many seconds or `FOREVER`; raises `LabError`.

    For a fault of a process the caller must see to its end.
    """
    if fault.process:
        _act(lab, fault.process.action, fault.process)
    elif not (lab.telemetry if native(lab) else docker.telemetry(lab.project)):
        # Without the name of the fault, which may be part of an incident.
        raise LabError("this needs the instrumentation of the services: start the lab with TELEMETRY=on")
    else:
        file = flags_file(lab)
        with flags.locked(file):
            flags.write(file, flags.read(file) | {fault.name: time.time() + seconds})


def heal(lab: Lab, fault: Fault | None) -> list[str]:
    """Switch a fault off, or all of them; return the names of those that were on. Raises `LabError`."""
    file = flags_file(lab)
    with flags.locked(file):
        try:
            now = flags.read(file)
        except flags.DamagedError:
            if fault:
                raise
            now = {}
        healed = [name for name in now if fault is None or name == fault.name]
        flags.write(file, {name: end for name, end in now.items() if name not in healed})
    for name in on(lab):
        other = catalogue.find(name)
        if other.process and (fault is None or fault.name == name):
            _act(lab, CURES[other.process.action], other.process)
            healed.append(name)
    return healed


def _states(lab: Lab) -> dict[str, str]:
    supervisor = native(lab)
    states = supervisor.states() if supervisor else docker.states(lab.project)
    return {state.program: state.name for state in states}


def _program(process: Process, states: dict[str, str]) -> str:
    """Return the program of a fault; where there is no Collector, `jaeger` takes the spans."""
    if process.service != "collector":
        return process.service
    return "otel-collector" if "otel-collector" in states else "jaeger"


def _act(lab: Lab, action: str, process: Process) -> None:
    states = _states(lab)
    program = _program(process, states)
    if program not in states:
        raise LabError(f"{program} is not part of the lab that runs")
    supervisor = native(lab)
    if supervisor:
        act_on(supervisor, action, program, states[program])
    else:
        for command in DOCKER[action]:
            docker.act(lab.project, program, command)
