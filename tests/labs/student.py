"""A student who does what the pages of an exercise tell, and nothing else."""

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.labs import editor
from tests.live.conftest import Lab
from workshop.lab import PORTS, ROOT

FENCED = re.compile(r"^```([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LABS = sorted(folder for folder in (ROOT / "labs").glob("[0-9][0-9]-*"))
BIN = Path(sys.executable).parent
TIMEOUT_SECONDS = 400
# Where a service in a container has its metrics, for commands that run in there.
CONTAINER_METRICS_PORT = 9100

# The lab that lab 14 starts beside the student's own, as its page names it.
GREEN, GREEN_OFFSET = "green", 100

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


def session(exercise: Path, mistakes: str = "", *, docker: bool = False) -> str:
    """Return every command that the README of an exercise tells for a lab without Docker, then its answers.

    With `docker`, a block for Docker takes the place of the block before it, and, as the pages say,
    `docker compose restart` that of `workshop restart`.

    The answers are those of the solution. Predictions stand where the README asks for them. What is to be
    written into a file is written there. `mistakes` are commands that come before the first answer.
    """
    readme, solution = exercise / "README.md", exercise / "solution.md"
    predictions = "".join(blocks(solution, "sh predict"))
    early = mistakes if "workshop answer" in predictions else ""
    script = ""
    parts = FENCED.findall(readme.read_text())
    for (kind, text), (following, _) in zip(parts, [*parts[1:], ("", "")], strict=True):
        if kind == "sh docker" if docker and "sh docker" in (kind, following) else kind == "sh":
            script += text
        elif kind == "sh predict":
            script += early + predictions
        elif edit := editor.KIND.fullmatch(kind):
            words = shlex.join(word for word in edit.groups() if word)
            script += f"python -m {editor.__name__} {words} <<'END OF BLOCK'\n{text}END OF BLOCK\n"
    if docker:
        script = re.sub(r"^workshop restart ", "docker compose restart ", script, flags=re.MULTILINE)
        # Compose does not wait for a worker, so `status` may see it start, and end with 1.
        script = re.sub(r"^(workshop status.*)", r"\1 || [ $? = 1 ]", script, flags=re.MULTILINE)
    return script + ("" if early else mistakes) + "".join(blocks(solution, "sh"))


@dataclass(frozen=True)
class Student:
    """Somebody at a shell, with a lab of their own on other ports than those that the pages name."""

    lab: Lab

    def does(self, commands: str, *, code: int = 0) -> str:
        """Carry out commands in one shell; return what they print, fail if they fail."""
        done = subprocess.run(
            ["bash", "-c", PRELUDE + self.in_my_lab(commands)],
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

    def in_my_lab(self, commands: str) -> str:
        """Return commands with the ports and the workbench of this lab instead of the default ones."""

        def port(match: re.Match[str]) -> str:
            number = int(match[1])
            if number == CONTAINER_METRICS_PORT:
                return match[0]
            offset = 0 if number in PORTS.values() else GREEN_OFFSET
            (variable,) = (name for name, default in PORTS.items() if default == number - offset)
            return f"localhost:{self.lab.ports[variable] + offset}"

        def setting(match: re.Match[str]) -> str:
            variable, offset = match[1], int(match[2]) - PORTS[match[1]]
            return f"{variable}={self.lab.ports[variable] + offset}"

        commands = re.sub(r"localhost:(\d+)", port, commands)
        commands = re.sub(r"^(\w+_PORT)=(\d+)$", setting, commands, flags=re.MULTILINE)
        return re.sub(r"(?<=\s)workbench/", f"{self.lab.settings['WORKBENCH']}/", commands)
