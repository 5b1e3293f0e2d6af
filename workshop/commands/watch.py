"""`workshop watch`."""

from contextlib import suppress
from time import sleep

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live as Screen
from rich.text import Text

from workshop.commands.labs import MARKS, report_on
from workshop.grading import grade, live
from workshop.grading.checks import Result
from workshop.lab import Lab, LabError

console = Console()

# Prometheus knows of a change after 2 s at most, and this must not make it 3.
INTERVAL_SECONDS = 0.5


def show(lab: Lab) -> None:
    """Check the current exercise again and again until Ctrl-C, and go on to the next when it is passed.

    A terminal shows its state; anything else gets a line for each change.
    """
    live.connect(lab)  # a lab that does not run is an error at once
    with suppress(KeyboardInterrupt):
        if console.is_terminal:
            _redraw(lab)
        else:
            _print_changes(lab)


def _redraw(lab: Lab) -> None:
    with Screen(console=console, auto_refresh=False) as screen:
        while True:
            screen.update(_picture(lab), refresh=True)
            sleep(INTERVAL_SECONDS)


def _picture(lab: Lab) -> RenderableType:
    try:
        exercise = grade.current(lab)
        if exercise is None:
            return Text("every lab is passed", "green")
        report = report_on(exercise, grade.grade(lab, exercise))
    except LabError as error:
        report = Text(str(error), "red")
    return Group(report, Text("checked again and again, until Ctrl-C", "dim"))


def _print_changes(lab: Lab) -> None:
    shown: dict[str, str] = {}
    while True:
        for name, line in _lines(lab).items():
            if shown.get(name) != line:
                click.echo(line)
                shown[name] = line
        sleep(INTERVAL_SECONDS)


def _lines(lab: Lab) -> dict[str, str]:
    """Return a line for each check and question of the current exercise; it changes with the state only."""
    try:
        exercise = grade.current(lab)
        if exercise is None:
            return {"": "every lab is passed"}
        results = grade.grade(lab, exercise)
    except LabError as error:
        return {"": str(error)}
    lines = {"": f"lab {exercise.number}: {exercise.title}"}
    lines |= {f"{exercise.number} {each.name}": _line(exercise.number, each) for each in results}
    if all(result.state == "passed" for result in results):
        lines[f"{exercise.number} passed"] = f"lab {exercise.number} is passed"
    return lines


def _line(number: str, result: Result) -> str:
    mark, _ = MARKS[result.state]
    return f"{mark} lab {number}, {result.title}: {result.state}"
