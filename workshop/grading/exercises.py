"""The exercises in `labs/`: each folder `NN-topic` with its pages and its `check.py`."""

import importlib.util
import re
import traceback
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType

from workshop.grading.answers import Question
from workshop.grading.checks import Check
from workshop.lab import ROOT, LabError, SettingError

LABS = ROOT / "labs"


@dataclass(frozen=True)
class Exercise:
    """One exercise; `number` is that in the name of its folder, as "02"."""

    folder: Path

    @property
    def number(self) -> str:
        """Its number, in two digits."""
        return self.folder.name[:2]

    @cached_property
    def text(self) -> str:
        """Its README."""
        return self._page("README.md")

    @property
    def title(self) -> str:
        """The heading of its README, without "Lab NN: ", as plain text."""
        return self._line(r"# Lab \d\d: (.+)").replace("`", "")

    @property
    def minutes(self) -> int:
        """How long it takes."""
        return int(self._line(r"Time: (\d+) minutes"))

    @property
    def hints(self) -> list[str]:
        """Its hints, each one a step further."""
        _, *sections = re.split(r"^## .*\n", self._page("hints.md"), flags=re.MULTILINE)
        return [section.strip() for section in sections]

    @property
    def solution(self) -> str:
        """Its solution, in Markdown."""
        return self._page("solution.md")

    @property
    def start(self) -> Path | None:
        """The folder with the services that it begins with on the workbench; None if it changes no code."""
        folder = self.folder / "start"
        return folder if folder.is_dir() else None

    @property
    def checks(self) -> list[Check]:
        """Its checks, in order."""
        return [thing for thing in vars(self._module).values() if isinstance(thing, Check)]

    @property
    def questions(self) -> dict[str, Question]:
        """Its questions by name, in order."""
        return {thing.name: thing for thing in vars(self._module).values() if isinstance(thing, Question)}

    def question(self, name: str) -> Question:
        """Return a question by its name; raises `SettingError` if there is none."""
        if name not in self.questions:
            accepted = ", ".join(self.questions) or "none"
            raise SettingError(f"lab {self.number} has no question {name!r}: {accepted} is accepted")
        return self.questions[name]

    def _page(self, name: str) -> str:
        try:
            return (self.folder / name).read_text()
        except OSError as error:
            raise LabError(f"{_shown(self.folder / name)} cannot be read: {error.strerror}") from None

    def _line(self, pattern: str) -> str:
        match = re.search(rf"^{pattern}", self.text, re.MULTILINE)
        if match is None:
            raise LabError(f"{_shown(self.folder / 'README.md')} has no line {pattern!r}")
        return match[1]

    @cached_property
    def _module(self) -> ModuleType:
        return load(self.folder / "check.py")


def load(file: Path) -> ModuleType:
    """Run a `check.py` and return it as a module; raises `LabError`, one line, if it cannot be run."""
    spec = importlib.util.spec_from_file_location(f"check_{file.parent.name[:2]}", file)
    assert spec is not None  # noqa: S101 - its name ends with .py
    assert spec.loader is not None  # noqa: S101
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise LabError(f"{_shown(file)}, line {error.lineno}: {error.msg}") from None
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == str(file)]
        where = f", line {lines[-1]}" if lines else ""
        raise LabError(f"{_shown(file)}{where}: {type(error).__name__}: {error}") from None
    return module


def find() -> list[Exercise]:
    """Return every exercise, in teaching order."""
    return [Exercise(file.parent) for file in sorted(LABS.glob("[0-9][0-9]-*/check.py"))]


def choose(number: str) -> Exercise:
    """Return an exercise by its number, as "2", "02" or "02-black-box"; raises `SettingError` for another."""
    exercises = {exercise.number: exercise for exercise in find()}
    for exercise in exercises.values():
        if number in (exercise.number, str(int(exercise.number)), exercise.folder.name):
            return exercise
    raise SettingError(f"there is no lab {number!r}: {', '.join(exercises)} is accepted")


def _shown(file: Path) -> Path:
    return file.relative_to(ROOT) if file.is_relative_to(ROOT) else file
