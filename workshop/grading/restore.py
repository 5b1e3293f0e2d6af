"""Brings the system back to the start of an exercise, and lets nothing count that was done before.

The start of each exercise is the same: every service runs, as it is in `services/`, no fault is on, and there
is one worker. Only an exercise with a folder `start/` begins with the services in there, on the workbench.
"""

import os
import signal
import subprocess
from time import monotonic, sleep, time

from workshop import docker, workbench
from workshop.clients import BackendAwayError
from workshop.faults import control
from workshop.grading import live, progress
from workshop.grading.exercises import Exercise
from workshop.grading.history import WORKERS
from workshop.grading.progress import Record
from workshop.lab import ROOT, Lab, LabError
from workshop.native import runner, supervision

TIMEOUT_SECONDS = 60
POLL_SECONDS = 0.2


def reset(lab: Lab, exercises: list[Exercise], say: runner.Say) -> None:
    """Forget the progress in some exercises, and bring the system to its start.

    With several of them, the system comes to the start that most of them have: with an empty workbench.
    Raises `LabError` if the lab does not run, or does not come back.
    """
    seen = live.connect(lab)
    start = exercises[0].start if len(exercises) == 1 else None
    affected, kept = workbench.lay_out(lab, start)
    if kept:
        say(f"the code that you changed is kept in {kept}")
    restore(lab, affected, say)
    restored, on_the_workbench = time(), workbench.services(lab)
    deadline = monotonic() + TIMEOUT_SECONDS
    while not _at_the_start(seen, affected, restored, on_the_workbench):
        if monotonic() > deadline:
            raise LabError(f"Prometheus does not see one worker and all targets after {TIMEOUT_SECONDS} s")
        sleep(POLL_SECONDS)
    since = time()
    for exercise in exercises:
        progress.write(lab, exercise.number, Record(since=since))
    for service in on_the_workbench:
        say(f"{service} is yours to change: {lab.workbench / service}")


def _at_the_start(seen: live.Live, affected: set[str], restored: float, on_the_workbench: list[str]) -> bool:
    """Tell whether Prometheus sees that all is well, and has seen each restarted service after `restored`."""
    try:
        if seen.prometheus.scalar(WORKERS) != 1:
            return False
        scraped = seen.prometheus.query(f'timestamp(up{{job=~"{"|".join(affected)}"}})')
        down = {sample.labels["job"] for sample in seen.prometheus.query("up == 0")}
        # One on the workbench may have no metrics yet.
        return all(sample.value > restored for sample in scraped) and down <= set(on_the_workbench)
    except BackendAwayError:  # it was just started
        return False


def restore(lab: Lab, affected: set[str], say: runner.Say) -> None:
    """Heal every fault, let every service run, and one worker; restart the `affected` services."""
    control.heal(lab, None)
    lab.incident_file.unlink(missing_ok=True)  # of an incident, nothing is left to be found
    supervisor = supervision.connect(lab)
    if supervisor is not None:
        runner.scale(lab, 1, say)
        for state in supervisor.states():
            if state.program.partition("-")[0] in affected:
                supervisor.stop(state.program)
                supervisor.start(state.program)
            elif state.name == "paused":
                supervisor.signal(state.program, signal.SIGCONT)
            elif state.name != "running":
                supervisor.start(state.program)
        return
    for container in docker.containers(lab.project):
        if container["State"]["Paused"]:
            _run(lab, "docker", "unpause", container["Id"])
    for service in sorted(affected):
        docker.act(lab.project, service, "restart")
    # What was paused must be found healthy first: `up` gives up at once on a dependency that is not.
    deadline = monotonic() + TIMEOUT_SECONDS
    while ill := docker.unhealthy(lab.project):
        if monotonic() > deadline:
            raise LabError(f"not healthy after {TIMEOUT_SECONDS} s: {', '.join(ill)}")
        sleep(POLL_SECONDS)
    # The containers stay what they are, with whatever settings they were started; others are not begun.
    up = ("up", "--detach", "--no-recreate", "--no-build", "--scale", "worker=1")
    _run(lab, "docker", "compose", "--project-name", lab.project, *up, *docker.services(lab.project))


def _run(lab: Lab, *command: str) -> None:
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **lab.environment}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise LabError(f"{' '.join(command)}: {done.stderr.strip()}")
