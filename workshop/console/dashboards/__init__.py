"""The pages of dashboards.

GET /dashboards/            the home dashboard
GET /dashboards/UID         any other
GET /dashboards/UID/data    what its panels show: from=now-5m&to=now&var-service=rng&panel=2&panel=3

The browser names dashboards and panels, and never a query: only those in the files reach Prometheus.
"""

import time
from concurrent.futures import ThreadPoolExecutor

from flask import Blueprint, Response, abort, jsonify, render_template, request

from workshop.console.backends import Backends
from workshop.console.dashboards import data
from workshop.console.dashboards.files import Dashboard, DashboardError, Panel, read_dashboards
from workshop.console.dashboards.times import Range, RangeError, parse_range

HOME = "dockercoins-speed"
# Queries at the same time: a dashboard has up to 20, and Prometheus answers each in milliseconds. Each thread
# keeps some memory.
THREADS = 2
MAX_CHOSEN = 20


def create_blueprint(backends: Backends) -> Blueprint:
    """Return the pages of dashboards."""
    pages = Blueprint("dashboards", __name__, url_prefix="/dashboards")
    executor = ThreadPoolExecutor(THREADS, thread_name_prefix="query")

    @pages.get("/")
    def index() -> str:
        return dashboard(HOME)

    @pages.get("/<uid>")
    def dashboard(uid: str) -> str:
        dashboards = _read()
        shown = _find(dashboards, uid)
        # The home dashboard first.
        others = sorted(dashboards.values(), key=lambda one: one.uid != HOME)
        return render_template("dashboards/dashboard.html", dashboard=shown, dashboards=others)

    @pages.get("/<uid>/data")
    def panel_data(uid: str) -> Response:
        shown = _find(_read(), uid)
        answer = data.read(
            backends.prometheus, executor, shown, _panels(shown), _range(shown), _chosen(shown)
        )
        return jsonify(answer)

    return pages


def _read() -> dict[str, Dashboard]:
    try:
        return read_dashboards()
    except DashboardError as error:
        abort(500, str(error))


def _find(dashboards: dict[str, Dashboard], uid: str) -> Dashboard:
    if uid not in dashboards:
        abort(404, f"there is no dashboard {uid!r}: accepted is {', '.join(dashboards)}")
    return dashboards[uid]


def _panels(dashboard: Dashboard) -> list[Panel]:
    """Return the panels that the request names; all of them if it names none."""
    known = {str(panel.id): panel for panel in dashboard.panels if panel.type != "row" and not panel.problem}
    wanted = request.args.getlist("panel") or list(known)
    for number in wanted:
        if number not in known:
            abort(404, f"there is no panel {number!r} to show in the dashboard {dashboard.uid!r}")
    return [known[number] for number in dict.fromkeys(wanted)]


def _range(dashboard: Dashboard) -> Range:
    start, end = (request.args.get(name, dashboard.time[name]) for name in ("from", "to"))
    try:
        return parse_range(start, end, time.time())
    except RangeError as error:
        abort(400, str(error))


def _chosen(dashboard: Dashboard) -> dict[str, list[str]]:
    chosen = {name: request.args.getlist(f"var-{name}") for name in dashboard.variables}
    for name, values in chosen.items():
        if len(values) > MAX_CHOSEN:
            abort(400, f"var-{name} is given {len(values)} times: accepted is {MAX_CHOSEN}")
        for value in values:
            if not data.SERVICE_NAME.fullmatch(value):
                abort(400, f"var-{name}={value!r} is not a name: accepted are letters, digits and . : / _ -")
    return chosen
