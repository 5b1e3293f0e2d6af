"""Every panel of the dashboards on live traffic, and the numbers on them that are known in advance.

With N workers, a cycle of 0.3 s plus overhead and a bottleneck of 0.1 s, the speed is
X = min(N / 0.3 s, 10/s). The rest of the cycle, N/X - 0.3 s, is time in line before rng: 0.7 s with ten
workers.
"""

from math import sqrt
from time import monotonic, time

import pytest
import requests
import yaml

from tests.grafana import (
    OF_COLLECTOR,
    PANELS,
    QUERIES,
    QUIET,
    home_queries_have_data,
    values,
    with_all_chosen,
)
from tests.live.conftest import Lab, running
from tests.promql import aggregations, names
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
# Twice the windows of the queries: the rates, and their means.
SECONDS = 65
SPEED = "job:dockercoins_hashes:rate30s"
PREDICTED = "job:dockercoins_worker_loops:predicted_rate30s"
ALERTS = "slo.json: Alerts that fire: A"
FAILED_CALLS = "traces.json: Calls that fail: A"
SAMPLING = "traces.json: Sampling: loops with a trace: A"
SAMPLED = 0.1
QUEUEING = 'service_peer_name:http_client_request_queueing_seconds:mean_rate30s{service_peer_name="rng"}'


@pytest.fixture(scope="module")
def labs(tmp_path_factory, real_trace_backend):
    """Labs side by side with 1, 2, 5 and 10 workers; all but the one with two have the Collector and Jaeger.

    Of the loops of the five workers only a tenth has a trace.
    """
    folder = tmp_path_factory.mktemp("labs")
    real = {"TRACE_BACKEND": "jaeger"}
    tenth = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": str(SAMPLED)}
    oldest = "min(time() - process_start_time_seconds)"
    with (
        running(Lab(folder, "one", real), "--workers", "1") as one,
        running(Lab(folder, "two"), "--workers", "2") as two,
        running(Lab(folder, "five", real | tenth), "--workers", "5") as five,
        running(Lab(folder, "ten", real), "--workers", "10") as ten,
    ):
        # The last lab started last.
        poll_until("full windows", lambda: ten.prometheus.scalar(oldest) > SECONDS, SECONDS + 30)
        yield {1: one, 2: two, 5: five, 10: ten}


@pytest.mark.parametrize("workers", [1, 10])
@pytest.mark.parametrize("query", [query for query in QUERIES if query not in QUIET])
def test_every_query_returns_data(labs, workers, query):
    assert values(labs[workers].prometheus, query)


def test_without_a_collector_those_that_need_it_are_empty_and_no_others(labs):
    prometheus = labs[2].prometheus
    assert {query for query in QUERIES.keys() - QUIET if not values(prometheus, query)} == OF_COLLECTOR


@pytest.mark.parametrize("workers", [1, 2, 10])
@pytest.mark.parametrize("query", sorted(QUIET - {ALERTS}))
def test_what_is_declared_to_be_quiet_is_quiet(labs, workers, query):
    assert not any(values(labs[workers].prometheus, query))


@pytest.mark.parametrize(
    ("workers", "expected"),
    [
        (1, set()),
        # Each waits 0.8 s for rng: that the latency budget burns is the lesson.
        (10, {("LatencyBudgetBurnsFast", "page"), ("LatencyBudgetBurnsSlowly", "ticket")}),
    ],
)
def test_the_alerts_that_fire(labs, workers, expected):
    fires = labs[workers].prometheus.query(QUERIES[ALERTS])
    assert {(sample.labels["alertname"], sample.labels["severity"]) for sample in fires} == expected
    assert all(sample.value == 1 for sample in fires)  # for rng, and for no other service


def mean(lab, query, **labels):
    """Return the mean of a query in the last 30 s, of the one of its series that has these labels."""
    samples = lab.prometheus.query(f"avg_over_time(({with_all_chosen(QUERIES[query])})[30s:2s])")
    (value,) = (sample.value for sample in samples if labels.items() <= sample.labels.items())
    return value


RNG, HASHER = {"service_peer_name": "rng"}, {"service_peer_name": "hasher"}
ROUTE = {"job": "rng", "http_route": "/<int:size>"}
EDGE = {"client": "worker", "server": "rng"}


@pytest.mark.parametrize(
    ("workers", "query", "labels", "low", "high"),
    [
        # One worker keeps rng busy for 0.1 s of each cycle of 0.31 s; ten leave it no pause.
        (1, "saturation.json: rng is busy: A", {}, 0.29, 0.35),
        (10, "saturation.json: rng is busy: A", {}, 0.95, 1.05),
        (10, "saturation.json: Busy threads: A", {"job": "rng"}, 0.95, 1.05),
        # Little's law, with ten workers: 10/s times 0.7 s in line, 0.8 s at rng, and 0.1 s at hasher.
        (1, "saturation.json: Requests in line before rng: A", {}, -0.05, 0.05),
        (10, "saturation.json: Requests in line before rng: A", {}, 6.5, 7.5),
        (1, "saturation.json: Requests under way, seen by workers: A", RNG, 0.29, 0.35),
        (10, "saturation.json: Requests under way, seen by workers: A", RNG, 7.5, 8.5),
        (10, "saturation.json: Requests under way, seen by workers: A", HASHER, 0.95, 1.2),
        (10, "saturation.json: Workers: A", {}, 10, 10),
        (1, "slo.json: Requests that succeed: A", RNG, 1, 1),
        (10, "slo.json: Requests that succeed: A", RNG, 1, 1),
        (10, "slo.json: Requests that succeed: A", HASHER, 1, 1),
        (1, "slo.json: Requests that are fast: A", RNG, 0.98, 1),
        (10, "slo.json: Requests that are fast: A", RNG, 0, 0.02),
        (10, "slo.json: Requests that are fast: A", HASHER, 0.98, 1),
        # 5 % may be slow; with ten workers all are, and that is 20 times as many.
        (10, "slo.json: Burn rate: latency: A", RNG, 19, 20),
        (10, "slo.json: Burn rate: availability: A", RNG, 0, 0),
        (1, "services.json: Duration at the server: A", ROUTE, 0.1, 0.125),
        (10, "services.json: Duration at the server: A", ROUTE, 0.1, 0.125),
        (10, "traces.json: Who calls whom: A", EDGE, 9, 10.5),
        (10, FAILED_CALLS, EDGE, 0, 0),
        (1, SAMPLING, {}, 0.9, 1.1),
    ],
)
def test_the_numbers_that_are_known_in_advance(labs, workers, query, labels, low, high):
    assert low <= mean(labs[workers], query, **labels) <= high


def test_a_tenth_of_the_loops_has_a_trace(labs):
    """Each is chosen by chance: how many of the 300 of half a minute, has a binomial distribution."""
    four_sigma = 4 * sqrt(SAMPLED * (1 - SAMPLED) / 300)
    assert mean(labs[5], SAMPLING) == pytest.approx(SAMPLED, abs=four_sigma)


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


def nodes(tree):
    """Yield each part of an expression, as Prometheus' parser tells it."""
    if isinstance(tree, list):
        for part in tree:
            yield from nodes(part)
    elif isinstance(tree, dict):
        yield tree
        yield from nodes(list(tree.values()))


def selected(tree):
    """Return the metrics of an expression, each with the labels that are matched."""
    found = {}
    for node in nodes(tree):
        if node.get("type") in ("vectorSelector", "matrixSelector"):
            labels = {matcher["name"] for matcher in node["matchers"]} - {"__name__"}
            found.setdefault(node["name"], set()).update(labels)
    return found


def in_order(pairs):
    return sorted((sorted(labels), sorted(metrics)) for labels, metrics in pairs)


@pytest.mark.parametrize("expression", sorted({*map(with_all_chosen, QUERIES.values()), *RULES}))
def test_prometheus_parser_finds_the_same_names(labs, expression):
    prometheus = backends.find("prometheus")
    if prometheus is None or not prometheus.version.startswith("3."):
        assert not IN_CI, "CI has Prometheus 3, from `make tools`"
        pytest.skip("only Prometheus 3 tells how it parses an expression")
    url = f"{labs[1].prometheus.url}/api/v1/parse_query"
    tree = requests.post(url, {"query": expression}, timeout=5).json()["data"]
    by = [
        (node["grouping"], selected(node["expr"]))
        for node in nodes(tree)
        if node.get("type") == "aggregation" and node["grouping"]
    ]
    matching = [node["matching"] for node in nodes(tree) if node.get("matching")]
    found = names(expression)
    assert found.metrics == selected(tree)
    assert found.grouping == {
        label
        for labels in (*(labels for labels, _ in by), *(one["labels"] + one["include"] for one in matching))
        for label in labels
    }
    assert in_order(aggregations(expression)) == in_order(by)


def test_what_is_quiet_speaks_up_when_requests_fail(labs):
    """With hasher's errors; that the alerts' panel has data too, is the lesson of ten workers."""
    lab = labs[10]
    lab.run("break", "hasher-errors")
    try:
        for query in (*sorted(QUIET), FAILED_CALLS):
            # An edge of the service graph takes up to 17 s: its time to live, two intervals.
            poll_until(query, lambda: any(v > 0 for v in values(lab.prometheus, query)), 40, 0.5)  # noqa: B023
    finally:
        lab.run("heal")


def test_every_home_panel_has_data_half_a_minute_after_a_cold_start(make_lab):
    lab = make_lab()
    started = monotonic()
    with running(lab):
        poll_until("data in all of them", lambda: home_queries_have_data(lab.prometheus), timeout=30)
        assert monotonic() - started < 30
