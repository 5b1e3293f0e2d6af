"""The latency of rng and hasher over time, from Prometheus: as the worker and as the service sees it."""

import threading
import time
from dataclasses import dataclass
from math import isfinite

import requests

# All in seconds.
HISTORY = 250
STEP = 5
# For connecting, and for all answers together.
TIMEOUT = 1
# However many pages are open, Prometheus is not asked again before this.
CACHE = 2

# Only requests that succeeded: an error is often quick, and would look like a good latency. The service's
# view also leaves `GET /` out, because that is somebody asking whether the service is alive.
VIEWS = {
    "worker": """
        sum by (le, service_peer_name) (
          rate(http_client_request_duration_seconds_bucket{
            job="worker", error_type=""}[30s])
        )""",
    "service": """
        sum by (le, job) (
          rate(http_server_request_duration_seconds_bucket{
            job="rng", http_route!="/", http_response_status_code="200"}[30s])
          or
          rate(http_server_request_duration_seconds_bucket{
            job="hasher", http_request_method="POST", http_response_status_code="200"}[30s])
        )""",
}
QUANTILES = {"p50": 0.5, "p95": 0.95}
SERVICES = ("rng", "hasher")

Series = list[float | None]


class PrometheusError(Exception):
    """Prometheus is away, or gave no usable answer. Its text says which."""


@dataclass(frozen=True)
class Latencies:
    """What the chart shows: for each time, in seconds since 1970, a latency in seconds, or None for none.

    `views` has a series for each view, service and quantile, for example `views["worker"]["rng"]["p50"]`.
    """

    time: list[int]
    views: dict[str, dict[str, dict[str, Series]]]


class LatencyQuery:
    """Asks Prometheus, one thread at a time.

    While that thread waits, the others get the answer before. So a Prometheus that hangs holds up one
    request, and leaves the other threads of the server to the rest of the page.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._session = requests.Session()
        self._session.trust_env = False  # Prometheus is near; no proxy leads to it
        self._asking = threading.Lock()
        self._ask_again = 0.0
        self._answer: Latencies | str = "Prometheus is being asked for the first time"

    def read(self) -> Latencies:
        """Return the latencies of the last `HISTORY` seconds; raises `PrometheusError`."""
        if time.monotonic() >= self._ask_again and self._asking.acquire(blocking=False):
            try:
                self._answer = self._ask()
            except PrometheusError as error:
                self._answer = str(error)
            finally:
                self._ask_again = time.monotonic() + CACHE
                self._asking.release()
        answer = self._answer
        if isinstance(answer, str):
            raise PrometheusError(answer)
        return answer

    def _ask(self) -> Latencies:
        # Round times: an answer has the times of the one before, or the lines would tremble.
        end = int(time.time()) // STEP * STEP
        times = list(range(end - HISTORY, end + STEP, STEP))
        views: dict[str, dict[str, dict[str, Series]]] = {}
        deadline = time.monotonic() + TIMEOUT
        for view, buckets in VIEWS.items():
            views[view] = {service: {} for service in SERVICES}
            for name, quantile in QUANTILES.items():
                values = self._query_range(f"histogram_quantile({quantile}, {buckets})", times, deadline)
                for service in SERVICES:
                    views[view][service][name] = [values.get((service, at)) for at in times]
        return Latencies(times, views)

    def _query_range(self, query: str, times: list[int], deadline: float) -> dict[tuple[str, int], float]:
        """Return the value of `query` for each service and time that has one."""
        url = f"{self._url}/api/v1/query_range"
        parameters: dict[str, str | int] = {"query": query, "start": times[0], "end": times[-1], "step": STEP}
        timeout = max(deadline - time.monotonic(), 0.01)
        try:
            response = self._session.get(url, params=parameters, timeout=timeout)
            response.raise_for_status()
            return {
                (service, at): float(value)
                for series in response.json()["data"]["result"]
                for service in series["metric"].values()  # its only label
                for at, value in series["values"]
                if isfinite(float(value))  # NaN: no request at that time
            }
        except requests.Timeout:
            problem = f"does not answer within {TIMEOUT} s"
        except requests.HTTPError as error:
            problem = f"answers with an error, {error.response.status_code}"
        except (AttributeError, KeyError, TypeError, ValueError):
            problem = "does not answer as Prometheus does"
        except requests.RequestException:
            problem = "cannot be reached"
        raise PrometheusError(f"Prometheus at {self._url} {problem}")
