"""`workshop logs`."""

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from time import sleep

import click

from workshop.lab import Lab, LabError
from workshop.native import supervision

POLL_SECONDS = 0.2


def show(lab: Lab, service: str | None, *, follow: bool, lines: int) -> None:
    """Print the last lines of the logs, each with its service in front; with `follow`, what comes too."""
    folder = supervision.log_file(lab, "any").parent
    files = [file for file in sorted(folder.glob("*.log")) if _wanted(file, service)]
    if not files:
        raise LabError(f"no logs of {service or 'the lab'} yet, in {folder}: `workshop up` starts the lab")
    positions = {}
    for file in files:
        with file.open(errors="replace") as log:
            for line in deque(log, maxlen=lines):
                _print(file, line)
            positions[file] = log.tell()
    with suppress(KeyboardInterrupt):  # the usual way to end it
        while follow:
            for file in files:
                for line in _new_lines(file, positions):
                    _print(file, line)
            sleep(POLL_SECONDS)


def _wanted(file: Path, service: str | None) -> bool:
    return service is None or service in (file.stem, file.stem.partition("-")[0])


def _new_lines(file: Path, positions: dict[Path, int]) -> Iterator[str]:
    with file.open(errors="replace") as log:
        if file.stat().st_size < positions[file]:  # it was rotated
            positions[file] = 0
        log.seek(positions[file])
        for line in iter(log.readline, ""):
            if not line.endswith("\n"):  # its end is still to come
                break
            yield line
            positions[file] = log.tell()


def _print(file: Path, line: str) -> None:
    click.echo(f"{click.style(f'{file.stem:<14}', fg='cyan')} {line.rstrip()}")
