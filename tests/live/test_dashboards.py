"""Every panel of the dashboards on live traffic, and the numbers on them that are known in advance.

With N workers, a cycle of 0.3 s plus overhead and a bottleneck of 0.1 s, the speed is
X = min(N / 0.3 s, 10/s). The rest of the cycle, N/X - 0.3 s, is time in line before rng: 0.7 s with ten
workers.
"""

from math import isfinite
from time import monotonic, time

import pytest
import requests
import yaml

from tests.grafana import DASHBOARDS, PANELS, QUERIES, quiet, with_all_chosen
from tests.live.conftest import Lab, running
from tests.promql import names
from tests.support import IN_CI, poll_until
from workshop.lab import ROOT
from workshop.native import backends

CONTRACT = yaml.safe_load((ROOT / "services/telemetry/contract.yaml").read_text())
RULES = [
    rule["expr"]
    for path in sorted((ROOT / "prometheus/rules").glob("*.yml"))
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
]
HOME = "speed-latency.json"
# Twice the windows of the queries: the rates, and their means.
SECONDS = 65
SPEED = "job:dockercoins_hashes:rate30s"
PREDICTED = "job:dockercoins_worker_loops:predicted_rate30s"
QUEUEING = 'service_peer_name:http_client_request_queueing_seconds:mean_rate30s{service_peer_name="rng"}'


@pytest.fixture(scope="module")
def labs(tmp_path_factory, real_trace_backend):
    """Labs side by side with 1, 2, 5 and 10 workers; the first and the last with the Collector and Jaeger."""
    folder = tmp_path_factory.mktemp("labs")
    real = {"TRACE_BACKEND": "jaeger"}
    oldest = "min(time() - process_start_time_seconds)"
    with (
        running(Lab(folder, "one", real), "--workers", "1") as one,
        running(Lab(folder, "two"), "--workers", "2") as two,
        running(Lab(folder, "five"), "--workers", "5") as five,
        running(Lab(folder, "ten", real), "--workers", "10") as ten,
    ):
        # The last lab started last.
        poll_until("full windows", lambda: ten.prometheus.scalar(oldest) > SECONDS, SECONDS + 30)
        yield {1: one, 2: two, 5: five, 10: ten}


def values(lab, query):
    """Return the values of a query that are numbers."""
    samples = lab.prometheus.query(with_all_chosen(query))
    return [sample.value for sample in samples if isfinite(sample.value)]


@pytest.mark.parametrize("workers", [1, 10])
@pytest.mark.parametrize("query", [query for query in QUERIES if not quiet(query.rpartition(": ")[0])])
def test_every_query_returns_data(labs, workers, query):
    assert values(labs[workers], QUERIES[query])


@pytest.mark.parametrize("workers", [1, 10])
@pytest.mark.parametrize("query", [query for query in QUERIES if quiet(query.rpartition(": ")[0])])
def test_what_is_declared_to_be_quiet_is_quiet(labs, workers, query):
    samples = labs[workers].prometheus.query(with_all_chosen(QUERIES[query]))
    # With ten workers each waits 0.8 s for rng: that the latency budget burns is the lesson.
    expected = {"LatencyBudgetBurnsFast", "LatencyBudgetBurnsSlowly"} if workers == 10 else set()
    assert {sample.labels.get("alertname") for sample in samples if sample.value} <= expected


@pytest.mark.parametrize("workers", [1, 2, 5, 10])
def test_the_predicted_speed_is_the_measured_one(labs, workers):
    speed, predicted = (
        labs[workers].prometheus.scalar(f"avg_over_time({metric}[30s])") for metric in (SPEED, PREDICTED)
    )
    assert predicted == pytest.approx(speed, rel=0.05)


def test_the_queueing_gap_of_ten_workers(labs):
    gap = labs[10].prometheus.scalar(f"avg_over_time({QUEUEING}[30s])")
    assert 0.65 <= gap <= 0.75


def test_one_worker_does_not_wait_in_line(labs):
    assert labs[1].prometheus.scalar(f"avg_over_time({QUEUEING}[30s])") < 0.02


@pytest.mark.parametrize(
    "target",
    [
        pytest.param(target["expr"], id=f"{title}: {target['refId']}")
        for title, panel in PANELS.items()
        for target in panel["targets"]
        if target["exemplar"]
    ],
)
def test_an_exemplar_of_a_panel_opens_its_trace(labs, target):
    lab = labs[10]
    series = lab.prometheus.exemplars(with_all_chosen(target), time() - 60, time())
    exemplars = [exemplar for one in series for exemplar in one["exemplars"]]
    newest = max(exemplars, key=lambda exemplar: exemplar["timestamp"])
    poll_until("its trace", lambda: lab.jaeger.trace(newest["labels"]["trace_id"]))


@pytest.mark.parametrize("service", ["otel-collector", "span-metrics", "jaeger", "prometheus"])
def test_what_others_add_has_the_labels_of_the_contract(labs, service):
    """The services' own metrics are compared in test_contract.py."""
    only_after_a_failure = {
        "traces_service_graph_request_failed_total",
        "otelcol_exporter_send_failed_spans_total",
        "otelcol_exporter_enqueue_failed_spans_total",
    }
    for metric in CONTRACT["metrics"]:
        if service not in metric["emitted_by"]:
            continue
        name = metric["name"] + ("_count" if metric["type"] == "histogram" else "")
        # ALERTS has no job of its own, and up has every job.
        selector = name if service == "prometheus" else f'{name}{{job="{service}"}}'
        found = [sample.labels for sample in labs[10].prometheus.query(selector)]
        assert found or metric["name"] in only_after_a_failure, name
        required = set(metric["labels"])
        every = {*required, *metric.get("optional_labels", ())}
        for labels in found:
            # Prometheus 3 keeps the dots of server.address; in queries here it does not occur.
            own = {label.replace(".", "_") for label in labels} - {"__name__", "job", "instance"}
            assert required <= own <= every, name


def test_every_recorded_metric_has_data_and_the_labels_of_the_contract(labs):
    for rule in CONTRACT["rules"]:
        found = [sample.labels.keys() - {"__name__"} for sample in labs[10].prometheus.query(rule["name"])]
        assert found, rule["name"]
        assert all(labels == set(rule["labels"]) for labels in found), rule["name"]


def parsed(node):
    """Yield (metric, labels) of each selector, and (None, labels) of each grouping, of Prometheus' parser."""
    if isinstance(node, list):
        for part in node:
            yield from parsed(part)
    elif isinstance(node, dict):
        if node.get("type") in ("vectorSelector", "matrixSelector"):
            yield node["name"], {matcher["name"] for matcher in node["matchers"]} - {"__name__"}
        if node.get("type") == "aggregation":
            yield None, set(node["grouping"] or ())
        if matching := node.get("matching"):
            yield None, {*matching["labels"], *matching["include"]}
        yield from parsed(list(node.values()))


@pytest.mark.parametrize("expression", sorted({*map(with_all_chosen, QUERIES.values()), *RULES}))
def test_prometheus_parser_finds_the_same_names(labs, expression):
    prometheus = backends.find("prometheus")
    if prometheus is None or not prometheus.version.startswith("3."):
        assert not IN_CI, "CI has Prometheus 3, from `make tools`"
        pytest.skip("only Prometheus 3 tells how it parses an expression")
    url = f"{labs[1].prometheus.url}/api/v1/parse_query"
    tree = requests.post(url, {"query": expression}, timeout=5).json()["data"]
    metrics, grouping = {}, set()
    for metric, labels in parsed(tree):
        (grouping if metric is None else metrics.setdefault(metric, set())).update(labels)
    found = names(expression)
    assert found.metrics == metrics
    assert found.grouping == grouping


def test_every_home_panel_has_data_half_a_minute_after_a_cold_start(make_lab):
    lab = make_lab()
    started = monotonic()
    with running(lab):
        for query in (query for query in QUERIES if query.startswith(HOME)):
            poll_until(query, lambda: values(lab, QUERIES[query]), timeout=30)  # noqa: B023
        assert monotonic() - started < 30
        assert len(DASHBOARDS[HOME]["panels"]) > 10
