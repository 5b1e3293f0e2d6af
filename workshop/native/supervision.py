"""The lab's processes under supervisor: its configuration, its start and end, and what it knows.

http://supervisord.org
"""

import hashlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ProtocolError, ServerProxy

import psutil
from supervisor.xmlrpc import SupervisorTransport  # type: ignore[import-untyped]

from workshop.lab import ROOT, Lab, LabError
from workshop.native.programs import Program

# In the environment of every process of a lab, so that the lab knows its own, also after a crash of
# supervisor.
MARK = "DOCKERCOINS_LAB"
# Longer than a worker may take to end, so that supervisor kills only what hangs.
STOP_SECONDS = 8
WORKERS_FILE = "workers.conf"


@dataclass(frozen=True)
class State:
    """A process of the lab now; `name` is `running`, `paused`, or another of supervisor's words."""

    program: str
    name: str
    pid: int | None
    seconds: float
    memory_bytes: int


def socket_path(lab: Lab) -> Path:
    """Return where supervisor listens: a short path, for a socket's may not exceed some 100 bytes."""
    digest = hashlib.sha256(str(lab.state).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"dockercoins-{os.getuid()}-{digest}" / "supervisor.sock"


def log_file(lab: Lab, program: str) -> Path:
    """Return the file with the output of a program."""
    return lab.state / "logs" / f"{program}.log"


def write_configuration(lab: Lab, programs: Iterable[Program]) -> None:
    """Write `supervisord.conf` of this lab into its folder; the workers stand in a file of their own."""
    (lab.state / "supervisord.conf").write_text(
        f"""\
[unix_http_server]
file={_escape(socket_path(lab))}
chmod=0700

[supervisord]
logfile={_escape(log_file(lab, "supervisord"))}
logfile_maxbytes=1MB
logfile_backups=0
pidfile={_escape(lab.state / "supervisord.pid")}
directory={_escape(ROOT)}

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[include]
files={WORKERS_FILE}

"""
        + "\n".join(_section(lab, program) for program in programs)
    )


def write_workers(lab: Lab, workers: Iterable[Program]) -> None:
    """Write the workers' part of the configuration; `Supervisor.reload` puts it in force."""
    (lab.state / WORKERS_FILE).write_text("\n".join(_section(lab, program) for program in workers))


def _section(lab: Lab, program: Program) -> str:
    environment = ",".join(f'{name}="{_escape(value)}"' for name, value in program.environment.items())
    return f"""\
[program:{program.name}]
command={_escape(shlex.join(program.command))}
environment={environment}
autostart={"false" if program.after else "true"}
autorestart=true
startretries=1000000
stopwaitsecs={STOP_SECONDS}
redirect_stderr=true
stdout_logfile={_escape(log_file(lab, program.name))}
stdout_logfile_maxbytes=5MB
stdout_logfile_backups=1
"""


def _escape(text: str | Path) -> str:
    """Return a text as supervisor's configuration wants it: a percent sign starts an expansion there."""
    return str(text).replace("%", "%%")


def start(lab: Lab) -> None:
    """Start supervisor and with it every program; it goes on when this process ends."""
    folder = socket_path(lab).parent
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise LabError(f"{folder} belongs to another user: remove it")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "supervisor.supervisord",
            "--configuration",
            str(lab.state / "supervisord.conf"),
        ],
        env={**lab.environment, MARK: str(lab.state)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise LabError(f"supervisor does not start: {(done.stderr or done.stdout).strip()}")


class Supervisor:
    """A running supervisor; from `connect`.

    Its methods raise `LabError` when supervisor refuses.
    """

    def __init__(self, proxy: Any) -> None:
        self._rpc = proxy.supervisor

    def states(self) -> list[State]:
        """Return the state of every process, in the order of the configuration."""
        return [_state(info) for info in self._rpc.getAllProcessInfo()]

    def stop(self, program: str) -> None:
        """Stop a program, and leave it stopped; nothing happens if it is stopped already."""
        self._continue({program})
        self._call("stopProcess", program, unless="NOT_RUNNING")

    def start(self, program: str, *, wait: bool = True) -> None:
        """Start a program, and wait until supervisor is sure of it; nothing happens if it runs already."""
        try:
            self._call("startProcess", program, wait, unless="ALREADY_STARTED")
        except LabError:
            raise LabError(f"{program} does not start: `workshop logs {program}` says why") from None

    def signal(self, program: str, signum: signal.Signals) -> None:
        """Send a signal to a program that runs."""
        self._call("signalProcess", program, signum.name)

    def reload(self) -> None:
        """Take over the configuration: add what is new, restart what is changed, stop what is gone."""
        ((added, changed, removed),) = self._rpc.reloadConfig()
        self._continue({*removed, *changed})
        for name in (*removed, *changed):
            self._rpc.stopProcessGroup(name)
            self._rpc.removeProcessGroup(name)
        for name in (*changed, *added):
            self._rpc.addProcessGroup(name)
        for name in changed:
            self.start(name, wait=False)

    def shutdown(self) -> None:
        """Stop every program and supervisor itself; returns before that is done."""
        self._continue({state.program for state in self.states()})
        self._rpc.shutdown()

    def _continue(self, programs: set[str]) -> None:
        """Resume those of the programs that are paused; else they would not see the signal to stop."""
        for state in self.states():
            if state.program in programs and state.name == "paused":
                self.signal(state.program, signal.SIGCONT)

    def _call(self, method: str, *arguments: object, unless: str = "") -> None:
        try:
            getattr(self._rpc, method)(*arguments)
        except Fault as fault:
            if unless not in fault.faultString or not unless:
                raise LabError(f"{arguments[0]}: {fault.faultString}") from None


def connect(lab: Lab) -> Supervisor | None:
    """Return the supervisor of this lab, or None if it does not run."""
    proxy = ServerProxy(
        "http://localhost", transport=SupervisorTransport(serverurl=f"unix://{socket_path(lab)}")
    )
    try:
        proxy.supervisor.getState()
    except (OSError, ProtocolError):
        proxy("close")()
        return None
    return Supervisor(proxy)


def _state(info: dict[str, Any]) -> State:
    pid = info["pid"] or None
    name, memory = info["statename"].lower(), 0
    try:
        if pid:
            process = psutil.Process(pid)
            memory = process.memory_info().rss
            if process.status() == psutil.STATUS_STOPPED:
                name = "paused"
    except psutil.NoSuchProcess:
        pid = None
    seconds = max(0, info["now"] - info["start"]) if pid else 0
    return State(program=info["name"], name=name, pid=pid, seconds=seconds, memory_bytes=memory)


def left_over(lab: Lab) -> list[psutil.Process]:
    """Return the processes of this lab that still run, under supervisor or not."""
    return [process for process in psutil.process_iter() if _environment(process).get(MARK) == str(lab.state)]


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except psutil.Error:  # another user's, or gone
        return {}


def end(processes: list[psutil.Process]) -> None:
    """End processes, by force those that do not end within `STOP_SECONDS`."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
            process.resume()
    _, stubborn = psutil.wait_procs(processes, timeout=STOP_SECONDS)
    for process in stubborn:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(stubborn, timeout=STOP_SECONDS)


def forget(lab: Lab) -> None:
    """Remove what a supervisor that was killed leaves behind."""
    shutil.rmtree(socket_path(lab).parent, ignore_errors=True)
    (lab.state / "supervisord.pid").unlink(missing_ok=True)
