"""The workbench: a folder in which students change the code of a service, and never in `services/`.

A folder in it with the name of a service stands in for the one in `services/`, because Python looks there
first. Some exercises begin with one: what they have in `start/`, and the rest of the service as it is in
`services/`. All others begin with an empty workbench, that is with the finished services. So anybody can join
at any of them.
"""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from shutil import rmtree

from workshop.lab import ROOT, Lab, LabError

SERVICES = ("rng", "hasher", "worker", "webui")
# What was changed is moved here, within the workbench.
KEPT = "kept"
# What belongs to an image and not to the code, and what Python and Git leave behind.
NO_CODE = {"Dockerfile", "requirements.txt", "__pycache__", ".gitkeep"}

Files = Mapping[str, bytes]
"""The files of a service: the path of each within its folder, and what is in it."""


def services(lab: Lab) -> list[str]:
    """Return the services that the workbench stands in for."""
    return [name for name in SERVICES if (lab.workbench / name / "__init__.py").exists()]


def changed_at(lab: Lab, service: str) -> float:
    """Return when a file of a service in the workbench was changed last, in seconds since 1970."""
    return max(file.stat().st_mtime for file in _code(lab.workbench / service))


def lay_out(lab: Lab, start: Path | None) -> tuple[set[str], Path | None]:
    """Put the services of an exercise's folder `start` on the workbench; without it, leave nothing there.

    Returns the services whose code is another one now, and the folder to which a student's changes were
    moved, if there were any. Raises `LabError` if a file cannot be read or written.
    """
    affected = set(services(lab))
    try:
        kept = _clear(lab)
        for folder in start.iterdir() if start else ():
            affected.add(folder.name)
            for path, content in _original(folder.name, folder.parent).items():
                file = lab.workbench / folder.name / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
    except OSError as error:
        raise LabError(f"the workbench cannot be laid out: {error.filename}: {error.strerror}") from None
    return affected, kept


def _clear(lab: Lab) -> Path | None:
    """Take every service from the workbench; return where those are that a student has changed."""
    kept = None
    for service in SERVICES:
        folder = lab.workbench / service
        if not folder.is_dir():
            continue
        starts = (ROOT / "labs").glob("*/start")
        if _files(folder) in [_original(service, start) for start in starts]:
            rmtree(folder)
            continue
        kept = kept or lab.workbench / KEPT / f"{datetime.now():%Y-%m-%d-%H.%M.%S}"
        kept.mkdir(parents=True, exist_ok=True)
        folder.rename(kept / service)
    return kept


def _original(service: str, start: Path) -> Files:
    """Return a service as an exercise with this folder `start` begins with it."""
    return _files(ROOT / "services" / service) | _files(start / service)


def _files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in _code(folder)}


def _code(folder: Path) -> list[Path]:
    return [
        file
        for file in folder.rglob("*")
        if file.is_file() and not NO_CODE.intersection(file.relative_to(folder).parts)
    ]
