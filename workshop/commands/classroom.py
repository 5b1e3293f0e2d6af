"""`workshop hand-in` and `workshop class`: what a student hands in, and the overview of a teacher."""

import getpass
import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click
from jinja2 import Environment, PackageLoader
from rich.console import Console
from rich.table import Table
from rich.text import Text

from workshop.grading import exercises, handin
from workshop.grading.handin import HandIn, LabSummary, RefusedError
from workshop.lab import Lab, SettingError

console = Console()

DEFAULT_KEY = "dockercoins"
MARKS = {"passed": "✓", "begun": "…", "open": ""}
COLOURS = {"passed": "green", "begun": "yellow", "open": "dim"}


def _key(lab: Lab) -> str:
    return lab.environment.get("CLASS_KEY") or DEFAULT_KEY


def hand_in(lab: Lab, name: str | None, file: Path | None) -> None:
    """Write the summary of a student, by default with the name of the account."""
    name = name or getpass.getuser()
    file = file or Path(f"hand-in-{name.replace(' ', '-')}.json")
    summary = handin.summarise(lab, name, exercises.find())
    handin.write(summary, file, _key(lab))
    click.echo(f"{summary.passed} of {len(summary.labs)} labs passed: {file}")


def show_class(lab: Lab, folder: Path, html: Path | None, *, as_json: bool) -> int:
    """Print an overview of the summaries in a folder; return 1 if one of them is refused, else 0.

    Of several by the same student the newest counts. Raises `SettingError` if there are none.
    """
    files = sorted(folder.glob("*.json"))
    if not files:
        raise SettingError(f"{folder} has no summaries: files *.json of `workshop hand-in` are accepted")
    newest: dict[str, HandIn] = {}
    refused: list[str] = []
    for file in files:
        try:
            summary = handin.read(file, _key(lab))
        except RefusedError as error:
            refused.append(str(error))
            continue
        if summary.name not in newest or newest[summary.name].time < summary.time:
            newest[summary.name] = summary
    students = sorted(newest.values(), key=lambda student: student.name.casefold())
    numbers = sorted({number for student in students for number in student.labs})
    if html:
        html.write_text(_page(students, numbers, refused))
    if as_json:
        report = {"students": [asdict(student) for student in students], "refused": refused}
        click.echo(json.dumps(report, indent=2, ensure_ascii=False))
    else:
        console.print(_table(students, numbers))
        for problem in refused:
            console.print(Text(problem, "red"), soft_wrap=True)
    return 1 if refused else 0


def _table(students: list[HandIn], numbers: list[str]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("student", *numbers, "passed", "hints", "tries"):
        table.add_column(heading, justify="left" if heading == "student" else "right")
    for student in students:
        labs = [student.labs.get(number, _NOTHING) for number in numbers]
        table.add_row(
            Text(student.name),
            *(Text(MARKS[lab.state], COLOURS[lab.state]) for lab in labs),
            f"{student.passed}/{len(numbers)}",
            str(sum(lab.hints for lab in labs)),
            str(sum(lab.tries for lab in labs)),
        )
    return table


_NOTHING = LabSummary("open", None, 0, 0)


def _page(students: list[HandIn], numbers: list[str], refused: list[str]) -> str:
    """Return the overview as one page of HTML that needs no other file; names are shown as text."""
    environment = Environment(loader=PackageLoader("workshop", "templates"), autoescape=True)
    environment.filters["day"] = lambda seconds: datetime.fromtimestamp(seconds, UTC).strftime(
        "%Y-%m-%d %H:%M"
    )
    return environment.get_template("class.html").render(
        students=students, numbers=numbers, refused=refused, marks=MARKS, nothing=_NOTHING
    )
