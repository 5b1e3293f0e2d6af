"""Rate, errors and duration (RED) of each service and route.

Tom Wilkie's method: https://grafana.com/blog/2018/08/02/the-red-method-how-to-instrument-your-services/
"""

from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.dashboards.panels import (
    ERRORS_PER_SECOND,
    FRACTION,
    REQUESTS_PER_SECOND,
    SECONDS,
    Panel,
    Query,
    Row,
    dashboard,
    graph,
    heat_map,
    quantile,
    service_variable,
    sum_rate,
)

SERVER = "http_server_request_duration_seconds"
CLIENT = "http_client_request_duration_seconds"
DATABASE = "db_client_operation_duration_seconds"
CHOSEN = 'job=~"$service"'


def build() -> Dashboard:
    """Return the dashboard "Services (RED)"."""
    return dashboard(
        "services",
        "Services (RED)",
        "Rate, errors and duration of each service and route: what an on-call engineer looks at first.",
        Row("Rate", [_rate(), _client_rate()]),
        Row("Errors", [_error_ratio(), _server_errors(), _worker_errors()]),
        Row("Duration", [_duration(), _client_duration(), *_heat_maps(), _redis()]),
        variables=[service_variable(f"label_values({SERVER}_count, job)", "Whose requests to show.")],
    )


def _rate() -> Panel:
    return graph(
        "Requests per route",
        "Requests that each service answers, by route. Healthy: rng and hasher answer as many as there are "
        "hashes a second; webui answers one or two a second for each open page, and none without.",
        REQUESTS_PER_SECOND,
        Query(
            sum_rate(f"{SERVER}_count", CHOSEN, by="job, http_request_method, http_route"),
            "{{job}} {{http_request_method}} {{http_route}}",
        ),
    )


def _client_rate() -> Panel:
    return graph(
        "Requests that workers send",
        "Requests of all workers together, by the service that they go to. Healthy: rng and hasher get the "
        "same.",
        REQUESTS_PER_SECOND,
        Query(sum_rate(f"{CLIENT}_count", by="service_peer_name"), "{{service_peer_name}}"),
    )


def _error_ratio() -> Panel:
    total = sum_rate(f"{CLIENT}_count", by="service_peer_name")
    bad = sum_rate(f"{CLIENT}_count", 'error_type!=""', by="service_peer_name")
    return graph(
        "Share of requests that fail",
        "Share of the requests of workers that got no answer, or one from 400 upwards. Healthy: 0.",
        FRACTION,
        Query(
            f"({bad} or 0 * {total}) / {total}",
            "{{service_peer_name}}",
        ),
        width=8,
    )


def _server_errors() -> Panel:
    return graph(
        "Requests answered with an error",
        "Answers from 400 upwards: 4xx is the fault of who asked, 5xx that of the service. Healthy: none.",
        ERRORS_PER_SECOND,
        Query(
            sum_rate(
                f"{SERVER}_count",
                f'{CHOSEN}, http_response_status_code=~"[45].."',
                by="job, http_route, http_response_status_code",
            ),
            "{{job}} {{http_route}} {{http_response_status_code}}",
        ),
        width=8,
        empty="No request was answered with an error.",
    )


def _worker_errors() -> Panel:
    return graph(
        "Errors of workers",
        "Loops and Redis writes that failed, by phase and kind: the view of who depends on the services. "
        "Healthy: none. With an error in redis, loops go on and their count waits.",
        ERRORS_PER_SECOND,
        Query(
            sum_rate("dockercoins_worker_errors_total", by="phase, error_type"),
            "{{phase}}: {{error_type}}",
        ),
        width=8,
        empty="No loop and no write has failed.",
    )


def _duration() -> Panel:
    return graph(
        "Duration at the server",
        "How long each service works on a request, by route: 95 % stay below. Healthy: 0.1 s where rng and "
        "hasher serve workers, some milliseconds for webui. A dot is one request: it opens its trace.",
        SECONDS,
        Query(
            quantile(0.95, SERVER, CHOSEN, by="job, http_request_method, http_route"),
            "{{job}} {{http_request_method}} {{http_route}} p95",
            exemplars=True,
        ),
    )


def _client_duration() -> Panel:
    return graph(
        "Duration at the client",
        "How long workers wait for an answer: 95 % stay below. Healthy: 0.1 s; for rng with ten workers "
        "0.8 s, because requests wait in line. A dot is one request: it opens its trace.",
        SECONDS,
        Query(quantile(0.95, CLIENT, by="service_peer_name"), "{{service_peer_name}} p95", exemplars=True),
    )


def _heat_maps() -> list[Panel]:
    return [
        heat_map(
            "Work on requests, of the chosen services",
            "How many requests took how long at the server. Healthy: one dark band just above 0.1 s. "
            "A dot is one request: it opens its trace.",
            SERVER,
            CHOSEN,
        ),
        heat_map(
            "Waiting for rng",
            "How many requests to rng took how long at the workers. Healthy: a band at 0.1 s with one "
            "worker; with ten it is at 0.8 s. Two bands at a time mean that not all requests are treated "
            "alike. A dot is one request: it opens its trace.",
            CLIENT,
            'service_peer_name="rng"',
        ),
    ]


def _redis() -> Panel:
    return graph(
        "Duration of Redis commands",
        "How long workers and webui wait for Redis: 95 % stay below. Healthy: a few milliseconds, as every "
        "write goes to disk before its answer.",
        SECONDS,
        Query(
            quantile(0.95, DATABASE, by="job, db_operation_name"),
            "{{job}} {{db_operation_name}} p95",
            exemplars=True,
        ),
        width=24,
    )
