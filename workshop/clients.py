"""The lab's view of Prometheus and of the trace backend: their HTTP query APIs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import requests

from workshop.lab import LabError

# A command that asks them answers within 5 s, with the time that it takes to start.
TIMEOUT_SECONDS = 3


class BackendAwayError(LabError):
    """A backend does not answer, or answers with an error."""


class NotThereError(BackendAwayError):
    """A backend answers that it does not have what was asked for."""


class RefusedError(BackendAwayError):
    """A backend answers that it cannot do what was asked for; the text is its own."""


def _get(url: str, parameters: Mapping[str, str | int] | None = None) -> Any:
    try:
        response = requests.get(url, params=parameters, timeout=TIMEOUT_SECONDS)
        body = response.json()
    except (requests.RequestException, ValueError) as error:
        raise BackendAwayError(f"{url} {_problem(error)}") from None
    if response.status_code == 404:
        raise NotThereError(f"{response.url}: {body}")
    if response.status_code in (400, 422) and isinstance(body, dict):
        raise RefusedError(str(body.get("error") or body["errors"][0]["msg"]))  # Prometheus; Jaeger
    if not response.ok:
        raise BackendAwayError(f"{response.url} answered {response.status_code}: {body}")
    return body


def _problem(error: Exception) -> str:
    """Say in a few words why there was no answer; the text of `requests` holds the whole URL once more."""
    if isinstance(error, requests.Timeout):
        return f"does not answer within {TIMEOUT_SECONDS} s"
    if isinstance(error, requests.ConnectionError):
        return "cannot be reached"
    return f"does not answer as it should: {error}"


@dataclass(frozen=True)
class Sample:
    """One time series of an instant query: its labels and its value now."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True)
class Series:
    """One time series of a range query: its labels, and its values by time, in seconds since 1970."""

    labels: Mapping[str, str]
    values: Mapping[float, float]


@dataclass(frozen=True)
class Prometheus:
    """Prometheus at a base URL; every method raises `BackendAwayError` if it cannot answer.

    Usage::

        Prometheus("http://127.0.0.1:9090").scalar("sum(rate(dockercoins_hashes_total[30s]))")
    """

    url: str

    def query(self, expression: str, at: float | None = None) -> list[Sample]:
        """Return the value of each series of a PromQL expression, now or at a time in seconds since 1970."""
        moment = {} if at is None else {"time": f"{at:.3f}"}
        data = _get(f"{self.url}/api/v1/query", {"query": expression, **moment})["data"]
        if data["resultType"] == "scalar":
            return [Sample({}, float(data["result"][1]))]
        if data["resultType"] != "vector":
            raise RefusedError(f"the result is a {data['resultType']}, not a number for each time series")
        return [Sample(series["metric"], float(series["value"][1])) for series in data["result"]]

    def query_range(self, expression: str, start: float, end: float, step: float) -> list[Series]:
        """Return each series of a PromQL expression from `start` to `end`, one value every `step` seconds."""
        parameters = {"query": expression, "start": str(start), "end": str(end), "step": str(step)}
        result = _get(f"{self.url}/api/v1/query_range", parameters)["data"]["result"]
        return [
            Series(series["metric"], {time: float(value) for time, value in series["values"]})
            for series in result
        ]

    def label_values(self, metric: str, label: str, start: float, end: float) -> list[str]:
        """Return the values that a label of a metric had between two Unix times, in seconds."""
        parameters = {"match[]": metric, "start": str(start), "end": str(end)}
        return list(_get(f"{self.url}/api/v1/label/{label}/values", parameters)["data"])

    def rule_groups(self) -> list[dict[str, Any]]:
        """Return the groups of recording rules and alerts, as Prometheus' API describes them."""
        return list(_get(f"{self.url}/api/v1/rules")["data"]["groups"])

    def scalar(self, expression: str, at: float | None = None) -> float | None:
        """Return the value, as `query`, of an expression that has one series at most; None without data."""
        samples = self.query(expression, at)
        return samples[0].value if samples else None

    def targets(self, job: str | None = None) -> list[dict[str, Any]]:
        """Return the active scrape targets, of one job or of all, as Prometheus' API describes them."""
        found = _get(f"{self.url}/api/v1/targets", {"state": "active"})["data"]["activeTargets"]
        return [target for target in found if job in (None, target["labels"]["job"])]

    def exemplars(self, expression: str, start: float, end: float) -> list[dict[str, Any]]:
        """Return the exemplars of each series of an expression between two Unix times, in seconds."""
        parameters = {"query": expression, "start": str(start), "end": str(end)}
        return list(_get(f"{self.url}/api/v1/query_exemplars", parameters)["data"])


@dataclass(frozen=True)
class Jaeger:
    """Jaeger, or the embedded trace store, at a base URL; raises `BackendAwayError` if it cannot answer."""

    url: str

    def services(self) -> list[str]:
        """Return the names of the services that have sent spans."""
        return list(_get(f"{self.url}/api/services")["data"] or [])

    def operations(self, service: str) -> list[str]:
        """Return the names of the operations of a service."""
        # Not by /api/services/NAME/operations: a client takes `..` in the place of a name for one step back.
        found = _get(f"{self.url}/api/operations", {"service": service})["data"] or []
        return sorted({operation["name"] for operation in found})

    def traces(self, service: str, **parameters: str | int) -> list[dict[str, Any]]:
        """Return traces with a span of `service`; `parameters` as in Jaeger's `/api/traces`."""
        return list(_get(f"{self.url}/api/traces", {"service": service, **parameters})["data"] or [])

    def trace(self, trace_id: str) -> dict[str, Any] | None:
        """Return one trace by its ID; None if it is not there, or no longer."""
        try:
            traces: list[dict[str, Any]] = _get(f"{self.url}/api/traces/{trace_id}")["data"]
        except NotThereError:
            return None
        return traces[0]


def services_of(trace: Mapping[str, Any]) -> set[str]:
    """Return the names of the services that have a span in a trace of Jaeger's API."""
    processes = trace["processes"]
    return {processes[span["processID"]]["serviceName"] for span in trace["spans"]}
