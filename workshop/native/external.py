"""Run another program to its end: a compiler, a package manager."""

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from workshop.lab import LabError

Say = Callable[[str], None]


class BackendError(LabError):
    """A backend does not run, or could not be fetched or built; the text is one clear line."""


def run(
    command: Sequence[str | Path],
    *,
    cwd: Path,
    environment: Mapping[str, str] | None = None,
    on_line: Say = lambda _: None,
) -> None:
    """Run `command` in the folder `cwd`; `on_line` is told each line that it prints, when it prints it.

    Raises `BackendError` with the last line that it printed if it fails. It never outlives this call: on
    Ctrl-C it is killed, with all that it has started.
    """
    last = ""
    try:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            process_group=0,  # its own group, so that its compilers can be killed together with it
        )
    except OSError as error:
        raise BackendError(f"{command[0]} does not run: {error.strerror}") from None
    with process:
        try:
            for line in process.stdout or ():
                last = line.strip() or last
                on_line(line.rstrip("\n"))
            status = process.wait()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    if status != 0:
        title = " ".join([Path(command[0]).name, *map(str, command[1:3])])
        raise BackendError(f"{title} failed: {last or f'exit status {status}'}")
