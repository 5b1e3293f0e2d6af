"""The pages of the labs: the exercises, as they stand in `labs/`, and how far the student is.

GET /labs/            all of them
GET /labs/NN          one of them
GET /labs/NN/seen.png its picture
GET /labs/NN/state    what its checks see now, and which questions are answered, as JSON
"""

import re
from dataclasses import asdict
from typing import TYPE_CHECKING

from flask import Blueprint, Response, abort, jsonify, render_template, send_from_directory, url_for

from workshop.console.markdown import render
from workshop.lab import PORTS, Lab, LabError

if TYPE_CHECKING:
    from workshop.grading.exercises import Exercise

OTHER_LAB = re.compile(r"\.\./(\d\d)-[\w-]+(?:/(?:README\.md)?)?")
PICTURE = "seen.png"
# As the pages name the console, whatever its port is now.
CONSOLE = f"http://localhost:{PORTS['CONSOLE_PORT']}"


def create_blueprint(lab: Lab) -> Blueprint:
    """Return the pages of the labs, with the progress of a lab."""
    pages = Blueprint("labs", __name__, url_prefix="/labs")

    @pages.get("/")
    def index() -> str:
        # Not above: what grading needs takes 13 MB of memory, which a console without labs can save.
        from workshop.grading import exercises, progress

        try:
            records, problem = progress.read(lab), ""
        except LabError as error:
            records, problem = {}, str(error)
        states = {number: record.state for number, record in records.items()}
        return render_template("labs/index.html", exercises=exercises.find(), states=states, problem=problem)

    @pages.get("/<number>")
    def exercise(number: str) -> str:
        found = _exercises()
        shown = _find(number)

        def link(target: str) -> str | None:
            if target == PICTURE:
                return url_for("labs.picture", number=number)
            if target.startswith(f"{CONSOLE}/"):
                return target.removeprefix(CONSOLE)
            other = OTHER_LAB.fullmatch(target)
            return url_for("labs.exercise", number=other[1]) if other and other[1] in found else None

        title, text = render(shown.text, link)
        numbers = sorted(found)
        at = numbers.index(number)
        return render_template(
            "labs/exercise.html",
            number=number,
            title=title,
            text=text,
            hints=[render(hint, link)[1] for hint in shown.hints],
            previous=numbers[at - 1] if at else None,
            following=numbers[at + 1] if at + 1 < len(numbers) else None,
        )

    @pages.get(f"/<number>/{PICTURE}")
    def picture(number: str) -> Response:
        return send_from_directory(_find(number).folder, PICTURE)

    @pages.get("/<number>/state")
    def state(number: str) -> tuple[Response, int]:
        """Check the lab as `workshop check` does, which also notes that it is passed."""
        from workshop.grading import grade

        try:
            results = grade.grade(lab, _find(number))
        except LabError as error:  # the lab is down, or a file is damaged
            return jsonify(error=str(error)), 503
        passed = all(result.state == "passed" for result in results)
        return jsonify(passed=passed, results=[asdict(result) for result in results]), 200

    return pages


def _exercises() -> "dict[str, Exercise]":
    from workshop.grading import exercises

    return {one.number: one for one in exercises.find()}


def _find(number: str) -> "Exercise":
    found = _exercises()
    if number not in found:
        abort(404, f"there is no lab {number!r}: accepted is {', '.join(found)}")
    return found[number]
