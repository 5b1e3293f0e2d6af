"""What the panels of a dashboard show: the answers to their queries, as the browser draws them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from math import inf, isfinite
from typing import Any

from workshop.clients import Prometheus, RefusedError, Series
from workshop.console.dashboards.files import VARIABLE, Dashboard, Panel, Target
from workshop.console.dashboards.times import Range, choose_step

# Prometheus gives all exemplars of a time or none: with ten workers some thousands in this one, in seconds.
EXEMPLAR_RANGE = 10 * 60
# A dot for each of so many slots of time, and each bucket: more would hide each other.
EXEMPLAR_SLOTS = 40
SERVICE_NAME = re.compile(r"[\w.:/-]{1,100}", re.ASCII)

Choices = Mapping[str, Sequence[str]]


def expand(expression: str, dashboard: Dashboard, chosen: Choices) -> str:
    """Return a query with the chosen values in place of its variables; with none chosen, all are.

    They stand in a regular expression, in a string in double quotes.
    """

    def values(match: re.Match[str]) -> str:
        variable = dashboard.variables[match[1] or match[2]]
        names = chosen.get(variable.name)
        return "|".join(map(_quoted, names)) if names else variable.everything

    return VARIABLE.sub(values, expression)


def _quoted(value: str) -> str:
    literal = re.sub(r"[.*+?()\[\]{}|^$\\]", r"\\\g<0>", value)
    return literal.replace("\\", "\\\\").replace('"', '\\"')


def read(
    prometheus: Prometheus,
    executor: Executor,
    dashboard: Dashboard,
    panels: Iterable[Panel],
    span: Range,
    chosen: Choices,
) -> dict[str, Any]:
    """Return the data of some panels, and what there is to choose from; raises `BackendAwayError`."""
    jobs = {panel.id: executor.submit(_panel, prometheus, dashboard, panel, span, chosen) for panel in panels}
    try:
        return {
            "from": span.start,
            "to": span.end,
            "choices": {
                variable.name: prometheus.label_values(
                    variable.metric, variable.of_label, span.start, span.end
                )
                for variable in dashboard.variables.values()
            },
            "panels": {number: job.result() for number, job in jobs.items()},
        }
    finally:
        # When Prometheus is away, nobody needs to wait for that again for each panel.
        for job in jobs.values():
            job.cancel()


def _panel(
    prometheus: Prometheus, dashboard: Dashboard, panel: Panel, span: Range, chosen: Choices
) -> dict[str, Any]:
    """Return what a panel shows; an expression that Prometheus refuses is a problem of this panel alone."""
    step = choose_step(span, panel.min_step)
    times = span.aligned(step)
    series: list[dict[str, Any]] = []
    exemplars: list[dict[str, Any]] = []
    try:
        for target in panel.targets:
            expression = expand(target.expression, dashboard, chosen)
            answer = prometheus.query_range(expression, times[0], times[-1], step) if times else []
            series += _buckets(answer, times) if panel.type == "heatmap" else _lines(answer, times, target)
            if target.exemplars:
                recent = Range(max(span.start, span.end - EXEMPLAR_RANGE), span.end)
                exemplars += _thinned(prometheus.exemplars(expression, recent.start, recent.end), recent)
    except RefusedError as error:
        return {"error": f"Prometheus refuses a query of this panel: {error}"}
    return {"step": step, "times": times, "series": series, "exemplars": exemplars}


def _lines(answer: Sequence[Series], times: Sequence[float], target: Target) -> list[dict[str, Any]]:
    return [
        {
            "name": _legend(target.legend, series.labels),
            "values": [_number(series.values.get(time)) for time in times],
        }
        for series in answer
    ]


def _number(value: float | None) -> float | None:
    """Return a value that JSON can hold: NaN (nothing divided by nothing) and infinity are no data."""
    return value if value is not None and isfinite(value) else None


def _legend(template: str, labels: Mapping[str, str]) -> str:
    """Return the name of a series: the template with its labels' values, or else all of its labels."""
    name = re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda match: labels.get(match[1], ""), template)
    return name or ", ".join(f"{label}={value}" for label, value in sorted(labels.items()))


def _buckets(answer: Sequence[Series], times: Sequence[float]) -> list[dict[str, Any]]:
    """Return the rate of each bucket alone, from the lowest up; Prometheus' buckets hold all lower ones too.

    A bucket has its upper limit `le`; None is infinity.
    """
    rising = sorted((series for series in answer if "le" in series.labels), key=_limit)
    result = []
    below: Mapping[float, float] = {}
    for series in rising:
        limit = _limit(series)
        values = [
            # A rate of each bucket is computed by itself: rounding may leave it a hair below the last one.
            None if time not in series.values else max(0.0, series.values[time] - below.get(time, 0.0))
            for time in times
        ]
        result.append({"le": None if limit == inf else limit, "values": values})
        below = series.values
    return result


def _limit(series: Series) -> float:
    return float(series.labels["le"])


def _thinned(answer: Sequence[Mapping[str, Any]], span: Range) -> list[dict[str, Any]]:
    """Return at most one exemplar for each slot of time and bucket: the newest.

    Slots lie at round times, so that a dot stays when the range moves on.
    """
    width = (span.end - span.start) / EXEMPLAR_SLOTS
    kept: dict[tuple[int, str], dict[str, Any]] = {}
    for series in answer:
        labels = series["seriesLabels"]
        for exemplar in series["exemplars"]:
            trace_id = exemplar["labels"].get("trace_id")
            key = (int(exemplar["timestamp"] // width), labels.get("le", ""))
            if not trace_id or (key in kept and kept[key]["time"] >= exemplar["timestamp"]):
                continue
            kept[key] = {
                "time": exemplar["timestamp"],
                "value": float(exemplar["value"]),
                "trace": trace_id,
                "labels": {name: labels[name] for name in labels if name not in ("__name__", "le")},
            }
    return sorted(kept.values(), key=lambda exemplar: exemplar["time"])
