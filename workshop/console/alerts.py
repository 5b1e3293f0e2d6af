"""The pages of alerts.

GET /alerts/                  what fires, what is about to, and what is quiet
GET /alerts/runbooks/NAME     what to do: docs/runbooks/NAME.md
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, abort, render_template, url_for

from workshop.clients import BackendAwayError
from workshop.console.backends import Backends
from workshop.console.markdown import render
from workshop.lab import ROOT

RUNBOOKS = ROOT / "docs" / "runbooks"
RUNBOOK_URL = re.compile(r"docs/runbooks/([\w-]+)\.md")
STATES = ("firing", "pending")


@dataclass(frozen=True)
class Alert:
    """An alert that fires or is pending; or a rule of which none does.

    `since` is when the expression became true; None if it is not. `runbook` is the name of a page of
    `docs/runbooks`. `wait` is how long the alert is pending before it fires, in seconds.
    """

    name: str
    state: str
    since: datetime | None
    value: str
    labels: Mapping[str, str]
    severity: str
    summary: str
    description: str
    runbook: str
    expression: str
    wait: float


def create_blueprint(backends: Backends) -> Blueprint:
    """Return the pages of alerts."""
    pages = Blueprint("alerts", __name__, url_prefix="/alerts")

    @pages.get("/")
    def index() -> tuple[str, int]:
        try:
            groups = backends.prometheus.rule_groups()
        except BackendAwayError as error:
            return render_template("alerts/alerts.html", alerts={}, problems=[], away=str(error)), 503
        alerts = {state: _alerts(groups, state) for state in (*STATES, "inactive")}
        problems = _problems(groups)
        return render_template(
            "alerts/alerts.html", alerts=alerts, problems=problems, now=datetime.now(UTC)
        ), 200

    @pages.get("/runbooks/<name>")
    def runbook(name: str) -> str:
        names = {path.stem: path for path in RUNBOOKS.glob("*.md")}
        if name not in names:
            abort(404, f"there is no runbook {name!r}: accepted is {', '.join(sorted(names))}")

        def link(target: str) -> str | None:
            page = re.fullmatch(r"([\w-]+)\.md", target)
            return url_for("alerts.runbook", name=page[1]) if page and page[1] in names else None

        title, text = render(names[name].read_text(), link)
        return render_template("alerts/runbook.html", title=title or name, text=text)

    return pages


def _rules(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [rule for group in groups for rule in group["rules"]]


def _alerts(groups: list[dict[str, Any]], state: str) -> list[Alert]:
    """Return the alerts in a state, the oldest first; "inactive" are the rules of which none is active."""
    rules = [rule for rule in _rules(groups) if rule["type"] == "alerting"]
    if state == "inactive":
        return [_quiet(rule) for rule in rules if not rule["alerts"]]
    found = [_active(rule, alert) for rule in rules for alert in rule["alerts"] if alert["state"] == state]
    return sorted(found, key=lambda alert: (str(alert.since), alert.name))


def _active(rule: Mapping[str, Any], alert: Mapping[str, Any]) -> Alert:
    since = datetime.fromisoformat(alert["activeAt"])
    return _alert(rule, alert["labels"], alert["annotations"], alert["state"], since, alert["value"])


def _quiet(rule: Mapping[str, Any]) -> Alert:
    # Its texts are templates: whose alert it will be is not known yet.
    annotations = {name: re.sub(r"\{\{.*?\}\}", "…", text) for name, text in rule["annotations"].items()}
    return _alert(rule, rule["labels"], annotations, "quiet", None, "")


def _alert(
    rule: Mapping[str, Any],
    labels: Mapping[str, str],
    annotations: Mapping[str, str],
    state: str,
    since: datetime | None,
    value: str,
) -> Alert:
    runbook = RUNBOOK_URL.fullmatch(annotations.get("runbook_url", ""))
    return Alert(
        name=rule["name"],
        state=state,
        since=since,
        value=f"{float(value):.4g}" if value else "",
        labels={name: labels[name] for name in sorted(labels) if name not in ("alertname", "severity")},
        severity=labels.get("severity", ""),
        summary=annotations.get("summary", ""),
        description=annotations.get("description", ""),
        runbook=runbook[1] if runbook else "",
        expression=rule["query"],
        wait=rule["duration"],
    )


def _problems(groups: list[dict[str, Any]]) -> list[str]:
    """Return what is wrong with the rules themselves: such an alert may be quiet for that reason alone."""
    problems = [
        f"Rule {rule['name']}: {rule.get('lastError') or 'the last evaluation failed'}"
        for rule in _rules(groups)
        if rule["health"] == "err"
    ]
    for group in groups:
        if group["evaluationTime"] > group["interval"]:
            problems.append(
                f"Group {group['name']}: its evaluation took {group['evaluationTime']:.1f} s, "
                f"and is due every {group['interval']:.0f} s."
            )
    return problems
