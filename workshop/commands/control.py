"""`workshop stop`, `start`, `restart`, `kill`, `pause`, `resume`: one service, or one worker."""

import signal

import click

from workshop.lab import Lab, LabError
from workshop.native import runner
from workshop.native.supervision import Supervisor

ACTIONS = {
    "stop": "Stop a service, and leave it stopped.",
    "start": "Start a service that was stopped.",
    "restart": "Stop a service and start it again.",
    "kill": "Kill a service as a crash would; it is started again at once.",
    "pause": "Freeze a service: it keeps its connections and does not answer.",
    "resume": "Let a paused service go on.",
}


def act(lab: Lab, action: str, service: str) -> None:
    """Do one of the `ACTIONS` to a service; raises `LabError` if it is in no state for it."""
    supervisor = runner.running(lab)
    states = {
        state.program: state.name
        for state in supervisor.states()
        if service in (state.program, state.program.partition("-")[0])
    }
    if not states:
        raise LabError(f"{service} is not part of the lab that runs: `workshop status` tells what is")
    for program, state in states.items():
        act_on(supervisor, action, program, state)
        click.echo(f"{program}: {action}")


def act_on(supervisor: Supervisor, action: str, program: str, state: str) -> None:
    """Do one of the `ACTIONS` to one program."""
    if action in ("stop", "restart"):
        supervisor.stop(program)
    if action in ("start", "restart"):
        supervisor.start(program)
    if action in ("kill", "pause", "resume"):
        wanted = "paused" if action == "resume" else "running"
        if state != wanted and not (action == "kill" and state == "paused"):
            raise LabError(f"{program} is {state}, not {wanted}")
        signals = {"kill": signal.SIGKILL, "pause": signal.SIGSTOP, "resume": signal.SIGCONT}
        supervisor.signal(program, signals[action])
