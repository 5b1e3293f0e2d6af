"""The committed dashboards, as Grafana reads them."""

import json
import re
from math import isfinite
from typing import Any

from grafana.dashboards.panels import NEEDS_COLLECTOR
from workshop.clients import Prometheus
from workshop.lab import ROOT

FOLDER = ROOT / "grafana" / "dashboards"
DASHBOARDS: dict[str, dict[str, Any]] = {
    path.name: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))
}
HOME = "speed-latency.json"
# Each panel but the titles of rows.
PANELS: dict[str, dict[str, Any]] = {
    f"{name}: {panel['title']}": panel
    for name, dashboard in DASHBOARDS.items()
    for panel in dashboard["panels"]
    if panel["type"] != "row"
}
QUERIES: dict[str, str] = {
    f"{title}: {target['refId']}": target["expr"]
    for title, panel in PANELS.items()
    for target in panel["targets"]
}
# The lines that only a Collector gives, in panels that have others too.
LINES_OF_COLLECTOR = {
    "traces.json: Spans from step to step: D",
    "traces.json: Queues: B",
    "traces.json: Requests: from spans, and counted: A",
    "traces.json: Duration: from spans, and measured: A",
}


def panel_of(query: str) -> str:
    """Return the panel of a query, by their names in `PANELS` and `QUERIES`."""
    return query.rpartition(": ")[0]


def no_value(title: str) -> str:
    """Return what a panel says when it is empty; "" if it never is."""
    return PANELS[title]["fieldConfig"]["defaults"].get("noValue", "")


def quiet(title: str) -> str:
    """Return the reason why a panel is empty when all is well; "" if it never is."""
    reason = no_value(title)
    return "" if reason == NEEDS_COLLECTOR else reason


# The queries that are declared to be empty: while all is well, and where there is no Collector.
QUIET = {query for query in QUERIES if quiet(panel_of(query))}
OF_COLLECTOR = LINES_OF_COLLECTOR | {
    query for query in QUERIES if no_value(panel_of(query)) == NEEDS_COLLECTOR
}


def with_all_chosen(expression: str) -> str:
    """Return an expression as Grafana sends it when every choice is "All"."""
    return re.sub(r"\$\w+", ".+", expression)


def values(prometheus: Prometheus, query: str) -> list[float]:
    """Return the values now of a query of `QUERIES` that are numbers."""
    samples = prometheus.query(with_all_chosen(QUERIES[query]))
    return [sample.value for sample in samples if isfinite(sample.value)]


def home_queries_have_data(prometheus: Prometheus) -> bool:
    """Whether each query of the home dashboard has data now."""
    return all(values(prometheus, query) for query in QUERIES if query.startswith(f"{HOME}: "))
