"""The teacher's page: what is broken now, and how it is found. It tells the answers of an incident."""

from datetime import UTC, datetime

from flask import Blueprint, render_template

from workshop.faults import catalogue, control, incidents
from workshop.faults.flags import FOREVER
from workshop.lab import Lab, LabError


def create_blueprint(lab: Lab) -> Blueprint:
    """Return the page of the faults of a lab."""
    pages = Blueprint("faults", __name__, url_prefix="/faults")

    @pages.app_template_filter("clock")
    def clock(seconds: float) -> str:
        return datetime.fromtimestamp(seconds, UTC).strftime("%H:%M:%S")

    @pages.get("/")
    def index() -> tuple[str, int]:
        try:
            on, incident = control.on(lab), incidents.current(lab)
        except LabError as error:  # the lab is down, or a file is damaged
            return render_template("error.html", text=str(error)), 503
        broken = [(catalogue.find(name), None if end == FOREVER else end) for name, end in sorted(on.items())]
        page = render_template(
            "faults/index.html", broken=broken, incident=incident, catalogue=catalogue.faults().values()
        )
        return page, 200

    return pages
