"""The dashboards that Grafana is given, from the same files: read anew each time, so that an edit shows."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workshop.console.dashboards import units
from workshop.console.dashboards.times import RangeError, parse_duration
from workshop.lab import ROOT

FOLDER = ROOT / "grafana" / "dashboards"
PANEL_TYPES = ("timeseries", "stat", "heatmap")
DEFAULT_STEP = "2s"
# $name, ${name} or ${name:format}. That $1 of label_replace is not one of them.
VARIABLE = re.compile(r"\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)(?::\w+)?\})")
LABEL_VALUES = re.compile(r"label_values\(\s*([A-Za-z_:][\w:]*)\s*,\s*([A-Za-z_]\w*)\s*\)")


class DashboardError(Exception):
    """A file that is not a dashboard; the text says which, and why."""


@dataclass(frozen=True)
class Variable:
    """A choice of values of a label of a metric; `everything` is the regular expression of all of them."""

    name: str
    label: str
    description: str
    metric: str
    of_label: str
    everything: str


@dataclass(frozen=True)
class Target:
    """One query of a panel, and the template of its series' names."""

    expression: str
    legend: str
    exemplars: bool


@dataclass(frozen=True)
class Panel:
    """A panel, or the title of a row; `settings` is what the browser needs to draw it.

    `problem` says why the console cannot show it; it is empty if it can. `min_step` is in seconds.
    """

    id: int
    type: str
    title: str
    description: str
    targets: tuple[Target, ...]
    min_step: float
    problem: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Dashboard:
    """A dashboard; `time` and `refresh` are in Grafana's notation, such as now-5m and 5s."""

    uid: str
    title: str
    description: str
    time: Mapping[str, str]
    refresh: str
    variables: Mapping[str, Variable]
    panels: tuple[Panel, ...]


def read_dashboards(folder: Path = FOLDER) -> dict[str, Dashboard]:
    """Return each dashboard by its uid, in the order of their titles; raises `DashboardError`."""
    found = [_read(path) for path in sorted(folder.glob("*.json"))]
    return {dashboard.uid: dashboard for dashboard in sorted(found, key=lambda dashboard: dashboard.title)}


def _read(path: Path) -> Dashboard:
    try:
        content = json.loads(path.read_text())
        variables = {
            variable.name: variable
            for one in content.get("templating", {}).get("list", [])
            if (variable := _variable(one))
        }
        return Dashboard(
            uid=str(content["uid"]),
            title=str(content["title"]),
            description=str(content.get("description", "")),
            time={"from": "now-5m", "to": "now"} | content.get("time", {}),
            refresh=str(content.get("refresh", "")),
            variables=variables,
            panels=tuple(_panel(one, variables) for one in _flat(content["panels"])),
        )
    except KeyError as error:
        raise DashboardError(f"{path.name}: {error} is missing") from None
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DashboardError(f"{path.name} is not a dashboard: {error}") from None


def _flat(panels: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the panels with those that a collapsed row holds."""
    return [one for panel in panels for one in (panel, *panel.get("panels", []))]


def _variable(content: Mapping[str, Any]) -> Variable | None:
    """Return a variable that stands in queries; None for the data source, of which there is only one here."""
    match = LABEL_VALUES.fullmatch(str(content.get("query", "")))
    if content["type"] != "query" or not match:
        return None
    return Variable(
        name=content["name"],
        label=content.get("label") or content["name"],
        description=content.get("description", ""),
        metric=match[1],
        of_label=match[2],
        everything=content.get("allValue") or ".+",
    )


def _panel(content: Mapping[str, Any], variables: Mapping[str, Variable]) -> Panel:
    defaults = content.get("fieldConfig", {}).get("defaults", {})
    custom = defaults.get("custom", {})
    options = content.get("options", {})
    unit = defaults.get("unit", "short")
    y_unit = options.get("yAxis", {}).get("unit", "short")
    targets = tuple(
        Target(str(one["expr"]), str(one.get("legendFormat", "")), bool(one.get("exemplar")))
        for one in content.get("targets", [])
    )
    interval = content.get("interval") or DEFAULT_STEP
    settings = {
        "type": content["type"],
        "position": {side: int(content["gridPos"][side]) for side in "xywh"},
        "scales": units.scales(unit),
        "yScales": units.scales(y_unit),
        "decimals": defaults.get("decimals"),
        "noValue": defaults.get("noValue", ""),
        "stacked": custom.get("stacking", {}).get("mode", "none") == "normal",
        "fill": custom.get("fillOpacity", 0) / 100,
        "lineWidth": custom.get("lineWidth", 1),
        "softMin": custom.get("axisSoftMin"),
        "least": options.get("filterValues", {}).get("le", 0),
        "exponent": options.get("color", {}).get("exponent", 1),
    }
    return Panel(
        id=int(content["id"]),
        type=content["type"],
        title=str(content.get("title", "")),
        description=str(content.get("description", "")),
        targets=targets,
        min_step=_step(interval),
        problem=_problem(content["type"], (unit, y_unit), interval, targets, variables),
        settings=settings,
    )


def _step(interval: str) -> float:
    try:
        return parse_duration(interval) or parse_duration(DEFAULT_STEP)
    except RangeError:
        return parse_duration(DEFAULT_STEP)


def _problem(
    panel_type: str,
    used_units: tuple[str, ...],
    interval: str,
    targets: tuple[Target, ...],
    variables: Mapping[str, Variable],
) -> str:
    """Say what the console does not know in a panel, which Grafana shows nevertheless."""
    if panel_type == "row":
        return ""
    if panel_type not in PANEL_TYPES:
        return f"The console cannot show panels of the type {panel_type!r}. Grafana can."
    for unit in used_units:
        if units.scales(unit) is None:
            return f"The console does not know the unit {unit!r}. Grafana does."
    try:
        parse_duration(interval)
    except RangeError as error:
        return f"The least step {error}."
    for target in targets:
        for match in VARIABLE.finditer(target.expression):
            if (match[1] or match[2]) not in variables:
                return f"The console does not know {match[0]} in a query of this panel."
    return ""
