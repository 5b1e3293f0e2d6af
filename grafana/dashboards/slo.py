"""Service level objectives: how much of the error budget is left, and how fast it goes."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.dashboards.panels import (
    COUNT,
    FRACTION,
    Panel,
    Query,
    Row,
    dashboard,
    graph,
    service_variable,
    sum_rate,
)

CLIENT = "http_client_request_duration_seconds"
BURN = "service_peer_name_slo:error_budget:burn_rate"
CHOSEN = 'service_peer_name=~"$service"'
# As in prometheus/rules/slo.yml.
OBJECTIVES = {"availability": 0.99, "latency": 0.95}
LATENCY_THRESHOLD = "0.25"


def build() -> Dashboard:
    """Return the dashboard "Service levels (SLO)"."""
    return dashboard(
        "slo",
        "Service levels (SLO)",
        "Availability: 99 % of the workers' requests succeed. Latency: 95 % of those take at most 0.25 s. "
        "Both over 2 hours, the length of a lab.",
        Row("Alerts", [_alerts()]),
        Row("Availability: 99 % succeed", [_availability(), _budget("availability"), _burn("availability")]),
        Row("Latency: 95 % take at most 0.25 s", [_latency(), _budget("latency"), _burn("latency")]),
        variables=[
            service_variable(
                f"label_values({CLIENT}_count, service_peer_name)", "The service that workers depend on."
            )
        ],
    )


def _alerts() -> Panel:
    return graph(
        "Alerts that fire",
        "Each alert that fires, with its severity; docs/runbooks tells what to do. Healthy: none with one "
        "worker. With ten, the latency budget of rng burns: workers wait 0.8 s.",
        COUNT,
        Query('sum by (alertname, severity) (ALERTS{alertstate="firing"})', "{{alertname}} ({{severity}})"),
        width=24,
        empty="No alert fires.",
    )


def _availability() -> Panel:
    total = sum_rate(f"{CLIENT}_count", CHOSEN, by="service_peer_name")
    good = sum_rate(f"{CLIENT}_count", f'{CHOSEN}, error_type=""', by="service_peer_name")
    return graph(
        "Requests that succeed",
        "Share of the workers' requests that succeed. Healthy: 100 %, and above the objective in any case.",
        FRACTION,
        Query(f"{good} / {total}", "{{service_peer_name}}"),
        Query(f"vector({OBJECTIVES['availability']})", "objective"),
        width=8,
    )


def _latency() -> Panel:
    succeeded = f'{CHOSEN}, error_type=""'
    fast = sum_rate(f"{CLIENT}_bucket", f'{succeeded}, le="{LATENCY_THRESHOLD}"', by="service_peer_name")
    total = sum_rate(f"{CLIENT}_count", succeeded, by="service_peer_name")
    return graph(
        "Requests that are fast",
        "Share of the requests that succeed within 0.25 s, as workers see it. Healthy: 100 % for hasher, "
        "and for rng up to four workers. With ten it is 0 for rng, though rng itself is as fast as ever: "
        "an objective is about what the user feels.",
        FRACTION,
        Query(
            f"{fast} / {total}",
            "{{service_peer_name}}",
        ),
        Query(f"vector({OBJECTIVES['latency']})", "objective"),
        width=8,
    )


def _budget(slo: str) -> Panel:
    return graph(
        f"Error budget left: {slo}",
        "Share of the error budget of the last 2 hours that is left. Healthy: near 100 %. At 0 the "
        "objective is missed; below, it is missed by that much more. A young lab has few requests: a few "
        "bad ones weigh more.",
        FRACTION,
        Query(f'1 - {BURN}2h{{{CHOSEN}, slo="{slo}"}}', "{{service_peer_name}}"),
        width=8,
    )


def _burn(slo: str) -> Panel:
    return graph(
        f"Burn rate: {slo}",
        "How many times faster than allowed the error budget goes, over a short, a middle and a long "
        "window. Healthy: below 1. Above 12 in both 30 s and 2 min somebody is paged, above 3 in 2 min and "
        "10 min there is a ticket.",
        COUNT,
        *(
            Query(f'{BURN}{window}{{{CHOSEN}, slo="{slo}"}}', f"{{{{service_peer_name}}}}, {window}")
            for window in ("30s", "2m", "10m")
        ),
        width=8,
    )
