"""A student who does what the pages of an exercise tell, and nothing else."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.live.conftest import Lab
from workshop.lab import PORTS, ROOT

FENCED = re.compile(r"^```([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LABS = sorted(folder for folder in (ROOT / "labs").glob("[0-9][0-9]-*"))
BIN = Path(sys.executable).parent
TIMEOUT_SECONDS = 240

# A check that is not passed yet is no mistake. Each command is printed, for the reader of a failed test.
PRELUDE = """
set -euo pipefail
workshop() {
    local code=0
    command workshop "$@" || code=$?
    if [ "$1" = check ] && [ "$code" = 1 ]; then return 0; fi
    return "$code"
}
trap 'printf "> %s\\n" "$BASH_COMMAND" >&2' DEBUG
"""


def blocks(page: Path, kind: str) -> list[str]:
    """Return the blocks of a page whose first line is ``` and `kind`: sh, sh docker, promql or text."""
    return [text for language, text in FENCED.findall(page.read_text()) if language == kind]


def session(exercise: Path, mistakes: str = "") -> str:
    """Return every command that the README of an exercise tells for a lab without Docker, then its answers.

    The answers are those of the solution. Predictions stand where the README asks for them. `mistakes` are
    commands that come before the first answer.
    """
    readme, solution = exercise / "README.md", exercise / "solution.md"
    predictions = "".join(blocks(solution, "sh predict"))
    script = ""
    for kind, text in FENCED.findall(readme.read_text()):
        if kind == "sh":
            script += text
        elif kind == "sh predict":
            script += mistakes + predictions
    return script + ("" if predictions else mistakes) + "".join(blocks(solution, "sh"))


@dataclass(frozen=True)
class Student:
    """Somebody at a shell, with a lab of their own on other ports than those that the pages name."""

    lab: Lab

    def does(self, commands: str, *, code: int = 0) -> str:
        """Carry out commands in one shell; return what they print, fail if they fail."""
        done = subprocess.run(
            ["bash", "-c", PRELUDE + self.on_my_ports(commands)],
            env={**os.environ, **self.lab.settings, "PATH": f"{BIN}:{os.environ['PATH']}"},
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT_SECONDS,
        )
        assert done.returncode == code, f"exit code {done.returncode}:\n{done.stdout}"
        assert "Traceback" not in done.stdout, done.stdout
        return done.stdout

    def on_my_ports(self, commands: str) -> str:
        """Return commands with the ports of this lab instead of the default ones."""

        def port(match: re.Match[str]) -> str:
            (variable,) = (name for name, default in PORTS.items() if default == int(match[1]))
            return f"localhost:{self.lab.ports[variable]}"

        return re.sub(r"localhost:(\d+)", port, commands)
