"""The committed dashboards, as Grafana reads them."""

import json
import re
from typing import Any

from workshop.lab import ROOT

FOLDER = ROOT / "grafana" / "dashboards"
DASHBOARDS: dict[str, dict[str, Any]] = {
    path.name: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))
}
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


def with_all_chosen(expression: str) -> str:
    """Return an expression as Grafana sends it when every choice is "All"."""
    return re.sub(r"\$\w+", ".+", expression)


def quiet(title: str) -> str:
    """Return the reason why a panel is empty when all is well; "" if it never is."""
    return PANELS[title]["fieldConfig"]["defaults"].get("noValue", "")
