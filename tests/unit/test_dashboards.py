"""The dashboards, rules, alerts and runbooks against each other and against the telemetry contract."""

import json
import re
import subprocess
from itertools import chain, combinations

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.dashboards.__main__ import contents
from tests.grafana import (
    DASHBOARDS,
    FOLDER,
    HOME,
    LINES_OF_COLLECTOR,
    OF_COLLECTOR,
    PANELS,
    QUERIES,
    QUIET,
    no_value,
    panel_of,
    quiet,
    with_all_chosen,
)
from tests.promql import aggregations, names
from tests.support import require
from workshop.console.traces.search import parse_tags
from workshop.lab import PORTS, ROOT

CONTRACT = yaml.safe_load((ROOT / "services/telemetry/contract.yaml").read_text())
RULES = [
    rule
    for path in sorted((ROOT / "prometheus/rules").glob("*.yml"))
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
]
RECORDS = [rule for rule in RULES if "record" in rule]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
PROVISIONING = ROOT / "grafana/provisioning"


def declared():
    """Return the labels of each time series that the contract declares, by name."""
    found = {}
    for metric in CONTRACT["metrics"]:
        labels = {*metric["labels"], *metric.get("optional_labels", ()), "job", "instance"}
        if metric["type"] == "histogram":
            for suffix in ("_sum", "_count"):
                found[metric["name"] + suffix] = labels
            found[metric["name"] + "_bucket"] = labels | {"le"}
        else:
            found[metric["name"]] = labels
    return found | {rule["name"]: set(rule["labels"]) for rule in CONTRACT["rules"]}


DECLARED = declared()
BY_COLLECTOR = {
    name
    for metric in CONTRACT["metrics"]
    if {"otel-collector", "span-metrics"} & set(metric["emitted_by"])
    for name in DECLARED
    if name.startswith(metric["name"])
}


# ---- dashboards


def test_making_the_dashboards_anew_gives_the_same_bytes():
    assert contents() == {path.name: path.read_text() for path in FOLDER.glob("*.json")}, "make dashboards"


@pytest.mark.parametrize("name", DASHBOARDS)
def test_the_types_of_the_sdk_accept_the_file(name):
    """They leave out what they do not know, so the file must come out of them as it went in."""
    register_default_plugins()
    typed = json.loads(json.dumps(Dashboard.from_json(DASHBOARDS[name]), cls=JSONEncoder))
    for panel in typed["panels"]:
        if panel["type"] == "heatmap":
            assert panel["fieldConfig"]["defaults"].pop("custom") == {}
    assert typed == DASHBOARDS[name]


def test_each_dashboard_keeps_its_uid():
    assert {name: dashboard["uid"] for name, dashboard in DASHBOARDS.items()} == {
        "saturation.json": "dockercoins-saturation",
        "services.json": "dockercoins-services",
        "slo.json": "dockercoins-slo",
        "speed-latency.json": "dockercoins-speed",
        "traces.json": "dockercoins-traces",
    }
    assert len({dashboard["title"] for dashboard in DASHBOARDS.values()}) == len(DASHBOARDS)


@pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS)
class TestDashboard:
    def test_says_what_it_is_for(self, dashboard):
        assert dashboard["description"].endswith(".")

    def test_has_a_schema_that_grafana_12_and_13_migrate(self, dashboard):
        """Grafana 11.6 writes 41, the last schema before 12 changed it; both migrate from 13 upwards."""
        assert dashboard["schemaVersion"] == 41

    def test_has_unique_panel_ids(self, dashboard):
        ids = [panel["id"] for panel in dashboard["panels"]]
        assert len(set(ids)) == len(ids)

    def test_is_linked_with_the_others(self, dashboard):
        (link,) = (link for link in dashboard["links"] if link["type"] == "dashboards")
        assert all(set(link["tags"]) <= set(other["tags"]) for other in DASHBOARDS.values())
        assert link["keepTime"]

    def test_is_linked_with_the_labs_where_the_console_usually_is(self, dashboard):
        (link,) = (link for link in dashboard["links"] if link["type"] == "link")
        assert link["url"] == f"http://localhost:{PORTS['CONSOLE_PORT']}/labs/"

    def test_its_panels_do_not_overlap(self, dashboard):
        def cells(panel):
            position = panel["gridPos"]
            assert position["x"] + position["w"] <= 24
            return {
                (position["x"] + x, position["y"] + y)
                for x in range(position["w"])
                for y in range(position["h"])
            }

        for one, other in combinations(dashboard["panels"], 2):
            assert not cells(one) & cells(other), (one["title"], other["title"])

    def test_every_variable_is_declared_described_and_used(self, dashboard):
        variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
        panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
        used = set(re.findall(r"\$\{?(\w+)", str(panels)))
        assert used == variables.keys()
        assert variables["datasource"]["type"] == "datasource"
        assert all(variable["description"] and variable["label"] for variable in variables.values())

    def test_no_data_source_is_hard_coded(self, dashboard):
        def sources(part):
            if isinstance(part, dict):
                if "datasource" in part:
                    yield part["datasource"]
                part = part.values()
            if isinstance(part, list | type({}.values())):
                yield from chain.from_iterable(map(sources, part))

        found = list(sources(dashboard))
        assert found
        assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in found)

    def test_needs_no_plugin(self, dashboard):
        assert {panel["type"] for panel in dashboard["panels"]} <= {"row", "timeseries", "stat", "heatmap"}


@pytest.mark.parametrize("panel", PANELS.values(), ids=PANELS)
class TestPanel:
    def test_says_what_a_healthy_picture_is(self, panel):
        assert "Healthy: " in panel["description"]
        assert panel["description"].endswith(".")

    def test_has_a_unit_and_a_least_step(self, panel):
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["interval"] == "2s"  # as often as Prometheus scrapes

    def test_has_queries_with_ids_and_names(self, panel):
        ids = [target["refId"] for target in panel["targets"]]
        assert ids == list("ABCDEFGHIJ"[: len(ids)])
        assert all(target["legendFormat"] for target in panel["targets"])

    def test_shows_exemplars_where_it_shows_latencies_of_a_histogram(self, panel):
        # The service graph has none.
        latencies = re.compile(
            r"(?<!_graph_request_client_seconds)(?<!_graph_request_server_seconds)_bucket.*le\)"
        )
        histograms = [target for target in panel["targets"] if latencies.search(target["expr"])]
        assert not histograms or any(target["exemplar"] for target in histograms)
        assert all("_bucket" in target["expr"] for target in panel["targets"] if target["exemplar"])


def test_rate_errors_and_duration_are_shown_for_each_service_and_route():
    for title in ("Requests per route", "Requests answered with an error", "Duration at the server"):
        assert {"job", "http_route"} <= names(QUERIES[f"services.json: {title}: A"]).grouping


@pytest.mark.parametrize("title", [title for title in PANELS if no_value(title)])
def test_a_panel_that_may_be_empty_says_why(title):
    assert no_value(title).endswith(".")
    if not quiet(title):
        # A Collector would give it data: so it needs a metric of the Collector's.
        queries = [query for query in QUERIES if panel_of(query) == title]
        assert all(names(QUERIES[query]).metrics.keys() & BY_COLLECTOR for query in queries)


@pytest.mark.parametrize("query", sorted(LINES_OF_COLLECTOR))
def test_a_panel_says_which_of_its_lines_need_the_collector(query):
    assert names(QUERIES[query]).metrics.keys() <= BY_COLLECTOR
    assert re.search(r"[Ww]ithout (a Collector|it)|if there is one", PANELS[panel_of(query)]["description"])


def test_no_query_is_declared_to_be_empty_twice():
    assert not QUIET & OF_COLLECTOR


# ---- queries


@pytest.mark.parametrize(
    ("expression", "metrics", "grouping"),
    [
        ("up", {"up": set()}, set()),
        ('sum by (job) (rate(a_total{x="1",y!~"by (z)|}"}[30s]))', {"a_total": {"x", "y"}}, {"job"}),
        ("1 - a:b:c2m / on (k) group_left (v) (b > 0)", {"a:b:c2m": set(), "b": set()}, {"k", "v"}),
        ("clamp_min(max(a) * 1e-9, 0) or vector(0.5) and a offset 5m", {"a": set()}, set()),
        (
            'label_replace(a, "x", "$1", "job", "(.*)") unless ignoring (y) b{}',
            {"a": set(), "b": set()},
            {"y"},
        ),
    ],
)
def test_the_names_of_an_expression(expression, metrics, grouping):
    found = names(expression)
    assert found.metrics == metrics
    assert found.grouping == grouping


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("up", []),
        (
            "sum by (job) (a) / on (k) sum without (x, y) (rate(b[30s]))",
            [({"job"}, {"a"}), ({"x", "y"}, {"b"})],
        ),
        ('max by (a) (sum by (a, b) (c{d=")"}) - e)', [({"a"}, {"c", "e"}), ({"a", "b"}, {"c"})]),
    ],
)
def test_what_an_expression_aggregates(expression, expected):
    assert list(aggregations(expression)) == expected


def assert_declared(expression, also=frozenset()):
    """Fail if an expression names a metric that is not declared, or a label that its metrics do not have.

    `also` are labels that the expression makes itself.
    """
    found = names(with_all_chosen(expression))
    assert found.metrics.keys() <= DECLARED.keys(), expression
    for metric, labels in found.metrics.items():
        assert labels <= DECLARED[metric], (metric, labels)
    # Those of on, ignoring and group_left are of either side.
    assert found.grouping <= also.union(*(DECLARED[metric] for metric in found.metrics)), expression
    for labels, metrics in aggregations(with_all_chosen(expression)):
        for metric in metrics:
            assert labels <= DECLARED[metric] | also, (metric, labels)


@pytest.mark.parametrize("query", QUERIES)
def test_queries_name_only_what_is_declared(query):
    assert_declared(QUERIES[query])


@pytest.mark.parametrize(
    "expression",
    [
        "nothing_total",
        'up{nothing="1"}',
        "sum by (le) (up)",
        # A label of the other side's metric.
        "sum by (le) (up) / sum by (le) (rate(http_server_request_duration_seconds_bucket[30s]))",
    ],
)
def test_what_is_not_declared_is_found(expression):
    with pytest.raises(AssertionError):
        assert_declared(expression)


@pytest.mark.parametrize("name", PANELS)
def test_legends_name_only_labels_that_the_query_keeps(name):
    for target in PANELS[name]["targets"]:
        labels = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
        found = names(with_all_chosen(target["expr"]))
        assert labels <= found.grouping.union(*(DECLARED[metric] for metric in found.metrics))


@pytest.mark.parametrize("name", DASHBOARDS)
def test_variables_ask_for_what_is_declared(name):
    for variable in DASHBOARDS[name]["templating"]["list"]:
        if variable["type"] == "query":
            metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]).groups()
            assert label in DECLARED[metric]


# ---- rules and alerts


@pytest.mark.parametrize("rule", RULES, ids=[rule.get("record") or rule["alert"] for rule in RULES])
def test_rules_name_only_what_is_declared(rule):
    # label_replace makes service_peer_name of job, so that client and server can be compared.
    assert_declared(rule["expr"], also={"service_peer_name"} if "label_replace" in rule["expr"] else set())


def test_every_recorded_metric_is_declared_and_the_other_way_round():
    assert {rule["record"] for rule in RECORDS} == {rule["name"] for rule in CONTRACT["rules"]}
    for rule in RECORDS:
        assert set(rule.get("labels", ())) <= DECLARED[rule["record"]]


@pytest.mark.parametrize("record", sorted({rule["record"] for rule in RECORDS}))
def test_records_are_named_level_metric_operations(record):
    """https://prometheus.io/docs/practices/rules/"""
    level, metric, operations = record.split(":")
    labels = DECLARED[record]
    assert level == "_".join(sorted(labels, key=level.index))
    assert metric
    assert re.fullmatch(r"([a-z0-9_]+_)?rate\d+[smh]", operations)


@pytest.mark.parametrize("name", ALERTS)
def test_alerts_say_what_it_is_and_what_to_do(name):
    alert = ALERTS[name]
    assert alert["labels"] == {"severity": alert["labels"]["severity"]}
    assert alert["labels"]["severity"] in ("page", "ticket")
    annotations = alert["annotations"]
    assert annotations.keys() == {"summary", "description", "runbook_url"}
    assert annotations["summary"].endswith(".")
    assert annotations["description"].endswith(".")
    runbook = (ROOT / annotations["runbook_url"]).read_text()
    assert f"`{name}`" in runbook
    for heading in ("What it means", "See it", "Find the cause", "Cure"):
        assert f"## {heading}\n" in runbook


@pytest.mark.parametrize("path", sorted((ROOT / "docs/runbooks").glob("*.md")), ids=lambda path: path.stem)
def test_each_cure_has_a_command_for_either_way_to_run_the_lab(path):
    text = path.read_text()
    cures = re.split(r"^- ", text[text.index("## Cure\n") :], flags=re.MULTILINE)[1:]
    for cure in cures:
        native = re.search(r"`workshop (?!status)|`make ", cure)
        assert bool(native) == ("`docker compose " in cure or " docker compose " in cure), cure
    # Nor does it tell to search for what cannot be searched for.
    for tag in re.findall(r"`([\w.]+)=\w+`", text):
        assert tag.isupper() or parse_tags(f"{tag}=x")


def test_every_runbook_belongs_to_an_alert():
    used = {alert["annotations"]["runbook_url"] for alert in ALERTS.values()}
    pages = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs/runbooks").glob("*.md")}
    assert pages == used


def test_every_alert_is_tested_while_it_fires_and_while_it_does_not():
    tests = [
        case
        for path in (ROOT / "prometheus/tests").glob("*.yml")
        for test in yaml.safe_load(path.read_text())["tests"]
        for case in test.get("alert_rule_test", ())
    ]
    fires = {case["alertname"] for case in tests if case.get("exp_alerts")}
    is_quiet = {case["alertname"] for case in tests if not case.get("exp_alerts")}
    assert fires == is_quiet == ALERTS.keys()


@pytest.mark.parametrize(
    "rule", RECORDS, ids=[" ".join((rule["record"], *rule.get("labels", {}).values())) for rule in RECORDS]
)
def test_every_recording_rule_is_tested_on_series_with_a_known_answer(rule):
    own = {f'{label}="{value}"' for label, value in rule.get("labels", {}).items()}
    answers = [
        sample
        for path in (ROOT / "prometheus/tests").glob("*.yml")
        for test in yaml.safe_load(path.read_text())["tests"]
        for case in test.get("promql_expr_test", ())
        if rule["record"] in names(case["expr"]).metrics
        for sample in case["exp_samples"]
    ]
    assert any(sample["value"] and all(label in sample["labels"] for label in own) for sample in answers)


def test_burn_rates_of_alerts_follow_from_their_windows():
    """Burn rate = share x period / long window; Site Reliability Workbook, chapter "Alerting on SLOs"."""
    period = 120
    for share, minutes, speed in ((0.20, 2, "Fast"), (0.25, 10, "Slowly")):
        for slo in ("Availability", "Latency"):
            expression = ALERTS[f"{slo}BudgetBurns{speed}"]["expr"]
            limits = {float(limit) for limit in re.findall(r"> (\d+)", expression)}
            assert limits == {share * period / minutes}
            assert f"burn_rate{minutes}m{{" in expression


@pytest.mark.parametrize(
    "path", sorted((ROOT / "prometheus/rules").glob("*.yml")), ids=lambda path: path.name
)
def test_prometheus_accepts_the_rules(path):
    check = subprocess.run(
        [require("promtool"), "check", "rules", path], capture_output=True, text=True, check=False
    )
    assert check.returncode == 0, check.stdout + check.stderr


# ---- provisioning


def test_the_metrics_of_a_span_are_declared():
    """Grafana puts matchers of labels in the place of $__tags; the file has $$ for $."""
    sources = yaml.safe_load((PROVISIONING / "datasources/datasources.yaml").read_text())["datasources"]
    (link,) = (source["jsonData"]["tracesToMetrics"] for source in sources if source["type"] == "jaeger")
    tags = ", ".join(f'{tag["value"]}="x"' for tag in link["tags"])
    for query in link["queries"]:
        assert "$$__tags" in query["query"]
        assert_declared(query["query"].replace("$$__tags", tags))


def test_grafana_opens_with_the_home_dashboard():
    (provider,) = yaml.safe_load((PROVISIONING / "dashboards/dashboards.yaml").read_text())["providers"]
    environment = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["grafana"]["environment"]
    home = environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{provider['options']['path']}/{HOME}"


def test_grafana_finds_the_dashboards_in_its_container():
    (provider,) = yaml.safe_load((PROVISIONING / "dashboards/dashboards.yaml").read_text())["providers"]
    volumes = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["grafana"]["volumes"]
    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in volumes
    assert "./grafana/provisioning/dashboards:/etc/grafana/provisioning/dashboards:ro" in volumes
    assert provider["allowUiUpdates"] is False
