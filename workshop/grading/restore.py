"""Brings the system back to the start of an exercise, and lets nothing count that was done before.

The start of each exercise is the same: every service runs, no fault is on, and there is one worker.
"""

import os
import signal
import subprocess
from time import monotonic, sleep, time

from workshop import docker
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

    Raises `LabError` if the lab does not run, or does not come back.
    """
    seen = live.connect(lab)
    restore(lab, say)
    deadline = monotonic() + TIMEOUT_SECONDS
    while not _at_the_start(seen):
        if monotonic() > deadline:
            raise LabError(f"Prometheus does not see one worker and all targets after {TIMEOUT_SECONDS} s")
        sleep(POLL_SECONDS)
    for exercise in exercises:
        progress.write(lab, exercise.number, Record(since=time()))


def _at_the_start(seen: live.Live) -> bool:
    try:
        return seen.prometheus.scalar(WORKERS) == 1 and not seen.prometheus.query("up == 0")
    except BackendAwayError:  # it was just started
        return False


def restore(lab: Lab, say: runner.Say) -> None:
    """Heal every fault, let every service run, and one worker."""
    control.heal(lab, None)
    supervisor = supervision.connect(lab)
    if supervisor is not None:
        runner.scale(lab, 1, say)
        for state in supervisor.states():
            if state.name == "paused":
                supervisor.signal(state.program, signal.SIGCONT)
            elif state.name != "running":
                supervisor.start(state.program)
        return
    for container in docker.containers(lab.project):
        if container["State"]["Paused"]:
            _run(lab, "docker", "unpause", container["Id"])
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
