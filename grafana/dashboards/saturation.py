"""Utilisation, saturation and errors (USE): what is busy, what waits, and what it costs.

Brendan Gregg's method: https://www.brendangregg.com/usemethod.html
"""

from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.dashboards.panels import (
    BYTES,
    COUNT,
    FRACTION,
    Panel,
    Query,
    Row,
    dashboard,
    graph,
    number,
    service_variable,
    sum_rate,
)

SERVER = "http_server_request_duration_seconds"
CLIENT = "http_client_request_duration_seconds"
CHOSEN = 'job=~"$service"'
# Utilisation law: requests a second times seconds of work for each.
BUSY_RNG = sum_rate(f"{SERVER}_sum", 'job="rng"')


def build() -> Dashboard:
    """Return the dashboard "Saturation (USE)"."""
    return dashboard(
        "saturation",
        "Saturation (USE)",
        "What is busy, what waits in line, and what it costs in CPU and memory.",
        Row("The bottleneck", [*_numbers(), _busy(), _queue()]),
        Row("Requests and loops in the services", [_active(), _in_hand()]),
        Row("CPU and memory", [_cpu(), _memory()]),
        variables=[service_variable("label_values(process_cpu_seconds_total, job)", "What to show.")],
    )


def _numbers() -> list[Panel]:
    return [
        number(
            "rng is busy",
            "Share of the time in which rng works. Healthy: 32 % with one worker. At 100 % it is the "
            "bottleneck: more workers only make the line longer. With RNG_THREADS above 1 it may pass 100 "
            "%.",
            FRACTION,
            Query(BUSY_RNG, "busy"),
            width=8,
            decimals=0,
        ),
        number(
            "Requests in line before rng",
            "How many wait, on average. Healthy: none with one worker, 7 with ten.",
            COUNT,
            Query(_waiting("rng"), "waiting"),
            width=8,
            decimals=1,
        ),
        number(
            "Workers",
            "Worker processes that Prometheus reaches. Healthy: as many as were started.",
            COUNT,
            Query('sum(up{job="worker"})', "workers"),
            width=8,
            decimals=0,
        ),
    ]


def _waiting(service: str) -> str:
    """Return the mean number in line by Little's law: rate times time in line."""
    requests = sum_rate(f"{CLIENT}_count", f'service_peer_name="{service}", error_type=""')
    queueing = "service_peer_name:http_client_request_queueing_seconds:mean_rate30s"
    return f'{requests} * scalar({queueing}{{service_peer_name="{service}"}})'


def _busy() -> Panel:
    return graph(
        "Busy threads",
        "Mean number of requests that rng and hasher work on: requests a second times the work for each "
        "(utilisation law). Healthy: at most 1 for rng, which has one thread. It reaches 1 with four "
        "workers and stays there.",
        COUNT,
        Query(sum_rate(f"{SERVER}_sum", 'job=~"rng|hasher"', by="job"), "{{job}}"),
    )


def _queue() -> Panel:
    return graph(
        "Requests under way, seen by workers",
        "Mean number of requests that workers wait for, in line or being served (Little's law: rate times "
        "duration). Healthy: 0.3 each with one worker; with ten, 8 at rng and 1 at hasher; the tenth "
        "worker sleeps.",
        COUNT,
        Query(sum_rate(f"{CLIENT}_sum", by="service_peer_name"), "{{service_peer_name}}"),
        Query(_waiting("rng"), "of these, in line before rng"),
    )


def _active() -> Panel:
    return graph(
        "Requests being served now",
        "What each service works on at the moment of the scrape. Healthy: 0 or 1 for rng; about 1 for "
        "hasher with ten workers.",
        COUNT,
        Query("sum by (job) (http_server_active_requests)", "{{job}}"),
    )


def _in_hand() -> Panel:
    return graph(
        "Loops not yet in Redis",
        "Finished loops that workers still hold. Healthy: below the hashes of one second for each worker, "
        "as each hands in its count once a second. It grows while Redis is away, and drops when it is "
        "back.",
        COUNT,
        Query("sum(dockercoins_worker_loops_in_hand)", "all workers"),
    )


def _cpu() -> Panel:
    return graph(
        "CPU",
        "Processors that each service uses; 100 % is one of them. Healthy: a few per cent for each: this "
        "application waits more than it computes. Redis is not here: it gives no metrics of its own.",
        FRACTION,
        Query(sum_rate("process_cpu_seconds_total", CHOSEN, by="job"), "{{job}}"),
    )


def _memory() -> Panel:
    return graph(
        "Memory",
        "Memory in RAM of all processes of a service. Healthy: flat, and 50 MB or so for each process of the "
        "application. Redis is not here: it gives no metrics of its own.",
        BYTES,
        Query(f"sum by (job) (process_resident_memory_bytes{{{CHOSEN}}})", "{{job}}"),
    )
