"""What a benchmark found: a table in the terminal, and JSON and a picture in `bench/results/`."""

import json
import os
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"

Row = dict[str, Any]


@dataclass(frozen=True)
class Goal:
    """What is to be reached: a measured value of at least, or at most, a limit."""

    text: str
    value: float
    limit: float
    at_least: bool

    @property
    def met(self) -> bool:
        """Whether it is reached."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit


def at_least(text: str, value: float, limit: float) -> Goal:
    """Return a goal for a value that should be large."""
    return Goal(text, value, limit, at_least=True)


def at_most(text: str, value: float, limit: float) -> Goal:
    """Return a goal for a value that should be small."""
    return Goal(text, value, limit, at_least=False)


def machine() -> dict[str, Any]:
    """Return what the machine is on which this runs, as far as it matters for a benchmark."""
    model = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), model)
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else psutil.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


@dataclass
class Report:
    """The table of one benchmark.

    `columns` maps the key of a value to its heading and its format; a row may lack values. `how` says in a
    sentence what was done, `notes` what follows from the numbers.
    """

    name: str
    title: str
    how: str
    columns: dict[str, tuple[str, str]]
    rows: list[Row] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    machine: dict[str, Any] = field(default_factory=machine)
    date: str = field(default_factory=lambda: datetime.now(UTC).date().isoformat())

    def cells(self, row: Row) -> list[str]:
        """Return the values of a row as text; nothing for a value that it lacks."""
        return [
            "" if row.get(key) is None else form.format(row[key]) for key, (_, form) in self.columns.items()
        ]

    def is_text(self, key: str) -> bool:
        """Return whether a column has texts in it, and not numbers."""
        return any(isinstance(row.get(key), str) for row in self.rows)

    def show(self) -> None:
        """Print the table, the notes and the goals."""
        console = Console()
        table = Table(title=self.title, title_justify="left", box=None, pad_edge=False)
        for key, (heading, _) in self.columns.items():
            table.add_column(heading, justify="left" if self.is_text(key) else "right")
        for row in self.rows:
            table.add_row(*self.cells(row))
        console.print(table)
        for note in self.notes:
            console.print(note, highlight=False, soft_wrap=True)
        for goal in self.goals:
            word, colour = ("met", "green") if goal.met else ("missed", "red")
            console.print(f"[{colour}]{word}[/]: {goal_text(goal)}", highlight=False, soft_wrap=True)

    def save(self, folder: Path, draw: Callable[["Report", Any], None] | None = None) -> None:
        """Write the JSON, and a picture that `draw` makes on matplotlib's axes."""
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(asdict(self), indent=2, ensure_ascii=False)
        (folder / f"{self.name}.json").write_text(f"{text}\n")
        if draw:
            picture(self, folder / f"{self.name}.svg", draw)


def load(file: Path) -> Report:
    """Return the report that was saved as this JSON."""
    content = json.loads(file.read_text())
    columns = {key: (heading, form) for key, (heading, form) in content["columns"].items()}
    goals = [Goal(**goal) for goal in content["goals"]]
    return Report(**content | {"columns": columns, "goals": goals})


def goal_text(goal: Goal) -> str:
    """Return a goal and what came of it, in a line."""
    bound = "at least" if goal.at_least else "at most"
    value = f"{goal.value:.3g}" if abs(goal.value) < 1000 else f"{goal.value:,.0f}"
    return f"{goal.text}: {value}, wanted {bound} {goal.limit:,g}"


def picture(report: Report, file: Path, draw: Callable[[Report, Any], None]) -> None:
    """Draw a report as SVG: the same text for the same numbers."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    mpl.rcParams.update({"svg.hashsalt": report.name, "svg.fonttype": "none", "font.family": "sans-serif"})
    figure, axes = pyplot.subplots(figsize=(7, 3.5), layout="constrained")
    axes.spines[["top", "right"]].set_visible(False)
    draw(report, axes)
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)
