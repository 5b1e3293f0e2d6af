"""The pages of the labs: the exercises, as they stand in `labs/`, and what of them is passed.

GET /labs/       all of them
GET /labs/NN     one of them
"""

import re

from flask import Blueprint, abort, render_template, url_for

from workshop.console.markdown import render
from workshop.lab import Lab, LabError

OTHER_LAB = re.compile(r"\.\./(\d\d)-[\w-]+(?:/(?:README\.md)?)?")


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
        from workshop.grading import exercises

        found = {one.number: one for one in exercises.find()}
        if number not in found:
            abort(404, f"there is no lab {number!r}: accepted is {', '.join(found)}")

        def link(target: str) -> str | None:
            other = OTHER_LAB.fullmatch(target)
            return url_for("labs.exercise", number=other[1]) if other and other[1] in found else None

        title, text = render(found[number].text, link)
        return render_template("labs/exercise.html", title=title, text=text)

    return pages
