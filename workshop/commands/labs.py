"""`workshop list`, `next`, `check`, `answer`, `hint`, `solution` and `reset`: the exercises in `labs/`."""

import json
import sys
from dataclasses import asdict
from time import monotonic, sleep

import click
from rich.console import Console, Group, RenderableType
from rich.markdown import Markdown
from rich.table import Table
from rich.text import Text

from workshop import docker
from workshop.clients import BackendAwayError, Prometheus
from workshop.grading import exercises, grade, progress, restore
from workshop.grading.answers import Question
from workshop.grading.checks import Result
from workshop.grading.exercises import Exercise
from workshop.grading.history import STEP_SECONDS
from workshop.grading.progress import Record
from workshop.lab import Lab, LabError, SettingError
from workshop.native import supervision

console = Console()

MARKS = {"passed": ("✓", "green"), "failed": ("✗", "red"), "waiting": ("…", "yellow")}
POLL_SECONDS = 0.5
# Prometheus scrapes each 2 s, and the history of a lab is read in steps of as much.
SCRAPED_SECONDS = 2 * STEP_SECONDS
# With Docker it looks for workers each 5 s, and takes up what it found up to 5 s later.
DISCOVERED_SECONDS = 10


def choose(lab: Lab, number: str | None) -> Exercise:
    """Return the exercise of a number, or the first that is not passed; raises `LabError` if all are."""
    if number is not None:
        return exercises.choose(number)
    found = grade.current(lab)
    if found is None:
        raise LabError("every lab is passed: `workshop check NN` checks one again")
    return found


def show_list(lab: Lab, *, as_json: bool) -> None:
    """Print every exercise with its time and its state."""
    records, current = progress.read(lab), grade.current(lab)
    rows = []
    for exercise in exercises.find():
        record = records.get(exercise.number, Record())
        rows.append(
            {
                "number": exercise.number,
                "title": exercise.title,
                "minutes": exercise.minutes,
                "state": record.state,
                "current": current is not None and exercise.number == current.number,
                "hints": record.hints,
                "folder": f"labs/{exercise.folder.name}",
            }
        )
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    table.add_column("lab")
    table.add_column("")
    table.add_column("time", justify="right", no_wrap=True)
    table.add_column("state")
    colours = {"passed": "green", "begun": "yellow", "open": "dim"}
    for row in rows:
        table.add_row(
            "→" if row["current"] else "",
            str(row["number"]),
            Text(str(row["title"])),
            f"{row['minutes']} min",
            Text(str(row["state"]), colours[str(row["state"])]),
        )
    console.print(table)


def show_next(lab: Lab) -> None:
    """Tell which exercise comes next, and how to go on."""
    exercise = grade.current(lab)
    if exercise is None:
        click.echo("every lab is passed")
        return
    click.echo(f"Lab {exercise.number}: {exercise.title}")
    click.echo(f"{exercise.minutes} minutes; read labs/{exercise.folder.name}/README.md")
    click.echo(f"`workshop check {exercise.number}` checks it, `workshop watch` does so all the time")


def check(lab: Lab, number: str | None, *, as_json: bool, wait: bool) -> int:
    """Check an exercise and print what came of it; return 0 if all of it is good, else 1.

    With `wait`, first wait for what needs nothing but time.
    """
    exercise = choose(lab, number)
    results = wait_for_results(lab, exercise) if wait else grade.grade(lab, exercise)
    passed = all(result.state == "passed" for result in results)
    if as_json:
        report = {"number": exercise.number, "passed": passed, "results": [asdict(each) for each in results]}
        click.echo(json.dumps(report, indent=2, ensure_ascii=False))
    else:
        console.print(report_on(exercise, results), soft_wrap=True)
    return 0 if passed else 1


def wait_for_results(lab: Lab, exercise: Exercise) -> list[Result]:
    """Check an exercise until nothing waits, at least until Prometheus has seen what was done just now."""
    with console.status("waiting for Prometheus") as status:
        if supervision.connect(lab) is None:
            wait_for_containers(lab)
        seen = monotonic() + SCRAPED_SECONDS
        while True:
            all_seen = monotonic() > seen
            results = grade.grade(lab, exercise)
            waiting = [each.seen for each in results if each.state == "waiting"]
            if all_seen and not waiting:
                return results
            status.update("; ".join(waiting) or "waiting for Prometheus")
            sleep(POLL_SECONDS)


def wait_for_containers(lab: Lab) -> None:
    """Wait until none is starting, and Prometheus scrapes the workers that run, unless it takes too long.

    Compose may have waited for nothing. Without Docker, `workshop scale` returns when Prometheus knows the
    workers.
    """
    while docker.starting(lab.project):
        sleep(POLL_SECONDS)
    found = monotonic() + DISCOVERED_SECONDS
    while not knows_the_workers(lab) and monotonic() < found:
        sleep(POLL_SECONDS)


def knows_the_workers(lab: Lab) -> bool:
    """Return whether Prometheus scrapes as many workers as run with Docker, or is away."""
    url = docker.published_url(lab.project, "prometheus")
    try:
        return url is None or len(Prometheus(url).targets("worker")) == docker.workers(lab.project)
    except BackendAwayError:
        return True


def report_on(exercise: Exercise, results: list[Result]) -> RenderableType:
    """Return the report of a check, for a terminal."""
    good = sum(result.state == "passed" for result in results)
    last = (
        Text(f"passed: `workshop solution {exercise.number}` explains it, `workshop next` goes on", "green")
        if good == len(results)
        else Text(f"{good} of {len(results)} good; `workshop hint {exercise.number}` helps")
    )
    return Group(
        Text(f"Lab {exercise.number}: {exercise.title}", "bold"),
        *(one_result(result) for result in results),
        last,
    )


def one_result(result: Result) -> RenderableType:
    """Return what came of one check or question, for a terminal."""
    mark, colour = MARKS[result.state]
    head = Text.assemble((mark, colour), f" {result.title}")
    if not result.expected:
        return head.append(f": {result.seen}" if result.seen else "", "dim")
    facts = {"expected": result.expected, "seen": result.seen, "query": result.query}
    lines = (Text.assemble((f"    {name:<9}", "dim"), fact) for name, fact in facts.items() if fact)
    return Group(head, *lines)


def answer(lab: Lab, number: str, name: str | None, value: str | None) -> int:
    """Judge an answer, or ask for those that are missing; return 0 if all of them are right, else 1.

    Raises `SettingError` for an unknown question, for what is no answer, and if nobody is there to be asked.
    """
    exercise = exercises.choose(number)
    if name is not None and value is not None:
        return _judge(lab, exercise, exercise.question(name), value)
    record = progress.of(lab, exercise.number)
    asked = [exercise.question(name)] if name else list(exercise.questions.values())
    if not sys.stdin.isatty():
        accepted = ", ".join(question.name for question in asked)
        raise SettingError(
            f"workshop answer {exercise.number} QUESTION VALUE is accepted where no terminal is; "
            f"QUESTION is one of {accepted}"
        )
    codes = []
    for question in asked:
        if name is None and question.name in record.right_answers():
            console.print(one_result(grade.state_of(question, record)))
        else:
            codes.append(_ask(lab, exercise, question))
    return max(codes, default=0)


def _ask(lab: Lab, exercise: Exercise, question: Question) -> int:
    """Ask on the terminal until there is something to judge; an empty answer passes over the question."""
    console.print(Text(f"\n{question.text}", "bold"))
    for letter, option in question.options.items():
        console.print(Text(f"  {letter})  {option}"))
    while value := click.prompt(f"{question.accepts} [Enter: later]", default="", show_default=False):
        try:
            return _judge(lab, exercise, question, value)
        except SettingError as error:
            click.secho(str(error), fg="red")
    return 1


def _judge(lab: Lab, exercise: Exercise, question: Question, value: str) -> int:
    found = grade.answer(lab, exercise, question, value)
    console.print(one_result(found), soft_wrap=True)
    return 0 if found.state == "passed" else 1


def hint(lab: Lab, number: str) -> None:
    """Print the next hint."""
    exercise = exercises.choose(number)
    at, count, text = grade.next_hint(lab, exercise)
    last = " (the last one)" if at == count else ""
    show_page(f"**Hint {at} of {count}**{last}\n\n{text}")


def solution(lab: Lab, number: str, *, spoil: bool) -> None:
    """Print the solution."""
    show_page(grade.solution(lab, exercises.choose(number), spoil=spoil))


def show_page(text: str) -> None:
    """Print Markdown: laid out on a terminal, as it is for a program."""
    if console.is_terminal:
        console.print(Markdown(text))
    else:
        click.echo(text)


def reset(lab: Lab, number: str | None, *, everything: bool) -> None:
    """Forget the progress in one exercise or in all, and bring the system to its start."""
    chosen = exercises.find() if everything else [choose(lab, number)]
    with console.status("bringing the system back"):
        restore.reset(lab, chosen, say=click.echo)
    numbers = ", ".join(exercise.number for exercise in chosen)
    click.echo(f"lab {numbers}: reset; what was done so far no longer counts")
