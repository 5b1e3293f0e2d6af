"""What the instructor's guide tells: to prepare a classroom without a network, and to run a class in it.

The classroom is a network namespace with nothing but its own 127.0.0.1: so the ports of the guide are free in
there, and whatever wants a network fails.
"""

import os
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import psutil
import pytest

from tests.guide import blocks
from tests.live.conftest import measured
from tests.support import IN_CI
from workshop.lab import ROOT
from workshop.native import gobuild, toolcache

OFFLINE = "Packages and tools"
# In this order, after the installation without a network; and what shows that it came to something.
CLASS = {
    "The day before": "test ! -e .lab/dockercoins/supervisord.pid",
    "The teacher's page": "curl --silent --fail --output /dev/null http://localhost:8010/faults/",
    "A race": "workshop incident --json | grep -q '\"seed\": 7'",
    "Who comes late": "workshop query 'sum(up{job=\"worker\"})' | grep -qx 1",
    "What is passed": "grep -q Ada class.html",
    "In one account": "! workshop status --project student1",
    "In an account each": "curl --silent --fail http://localhost:8210/json",
    "How many": "! workshop status --project full",
}
TRIED = {OFFLINE, *CLASS}

# The limit for the first start, as for that with a network in test_fresh_clone.py.
SECONDS = 120

# Also shows that it has no network.
WITHOUT_NETWORK = "ip link set lo up\n! (exec 3<>/dev/tcp/1.1.1.1/443) 2>/dev/null\n"
NAMESPACE = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--net"]


def copy_of_the_lab(folder):
    """Copy what git would: no virtual environment, no data."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """That of somebody whose home has nothing but the programs of `make tools`."""
    if not all((gobuild.target(name) / tool.programs[0]).exists() for name, tool in gobuild.TOOLS.items()):
        assert not IN_CI, "CI runs `make tools` first"
        pytest.skip("the tools cache is not complete: `make tools` builds what is missing")
    if subprocess.run([*NAMESPACE, "ip", "link"], capture_output=True).returncode:
        assert not IN_CI, "CI is Linux, as root"
        pytest.skip("this machine gives no network namespace")
    home = tmp_path_factory.mktemp("teacher")
    shutil.copytree(toolcache.folder() / "bin", home / ".cache" / "dockercoins-lab" / "bin")
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("VIRTUAL_ENV", "PYTHON", "XDG_"))
    }
    return {**inherited, "HOME": str(home)}


@dataclass(frozen=True)
class Machine:
    """Where somebody has the lab in a folder, and types commands."""

    folder: Path
    environment: dict[str, str]

    def does(self, commands: str, *, network: bool) -> str:
        """Carry out commands in one shell; return what they print, fail if one of them fails."""
        shell = ["bash", "-c", f"set -euo pipefail\n{'' if network else WITHOUT_NETWORK}{commands}"]
        done = subprocess.run(
            shell if network else [*NAMESPACE, *shell],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=200,
        )
        assert done.returncode == 0, f"exit code {done.returncode}:\n{done.stdout}"
        return done.stdout

    def processes(self) -> list[psutil.Process]:
        """Return what runs of the labs in this folder."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get("DOCKERCOINS_LAB", "").startswith(f"{self.folder}/"):
                    found.append(process)
        return found


@dataclass(frozen=True)
class Classroom:
    """A student's machine with the lab installed, what that printed, and the seconds of both parts."""

    machine: Machine
    printed: str
    prepared: float
    installed: float


@pytest.fixture(scope="module")
def classroom(environment, tmp_path_factory):
    """Prepare on one machine, install on another."""
    prepare, install = blocks(OFFLINE)
    teacher = Machine(tmp_path_factory.mktemp("teachers"), environment)
    home = tmp_path_factory.mktemp("student")
    student = Machine(tmp_path_factory.mktemp("students"), {**environment, "HOME": str(home)})
    copy_of_the_lab(teacher.folder)
    copy_of_the_lab(student.folder)
    started = monotonic()
    # The programs of `make tools` are there: see `environment`.
    teacher.does(prepare.replace("make tools\n", ""), network=True)
    prepared = monotonic() - started
    for name in ("wheels", "tools.tar.gz"):
        (teacher.folder / name).rename(student.folder / name)
    try:
        started = monotonic()
        # Down again: the next commands come in a namespace of their own.
        printed = student.does(f"{install}make down\n", network=False)
        yield Classroom(student, printed, prepared, monotonic() - started)
    finally:
        labs = "for lab in .lab/*/; do .venv/bin/workshop down --project $(basename $lab); done"
        student.does(labs, network=True)
        assert student.processes() == []


def test_the_lab_is_installed_and_started_without_a_network(classroom):
    """Only from what was prepared: the packages, checked by their hashes, and the programs."""
    assert "data ready in " in classroom.printed
    measured.append(
        f"for a classroom without a network: prepared in {classroom.prepared:.0f} s, "
        f"installed and started in {classroom.installed:.0f} s"
    )
    assert classroom.installed < SECONDS


def test_a_class_is_run_as_the_guide_tells(classroom):
    commands = "".join(f"{''.join(blocks(name))}\n{proof}\n" for name, proof in CLASS.items())
    printed = classroom.machine.does(commands, network=False)
    assert "labs passed: hand-in-Ada.json" in printed
    assert printed.count("data ready in ") == 6, "each `make up` and `workshop up` started a lab"
