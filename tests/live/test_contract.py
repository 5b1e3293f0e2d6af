"""The telemetry contract against the live system, in both directions: nothing undeclared, nothing missing."""

import pytest
import requests
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from telemetry.http_server import KNOWN_METHODS

from tests.live.conftest import Lab, running
from tests.support import is_whole, parents, poll_until
from workshop.lab import ROOT

CONTRACT = yaml.safe_load((ROOT / "services" / "telemetry" / "contract.yaml").read_text())
SERVICES = ("rng", "hasher", "worker", "webui")


@pytest.fixture(scope="module")
def provoked_lab(tmp_path_factory):
    """A lab in which everything that telemetry can tell has happened once: coins, errors, wrong requests."""
    with running(Lab(tmp_path_factory.mktemp("labs"), settings={"WORKER_DELAY": "0"})) as lab:
        for service in ("redis", "hasher"):
            errors = f'dockercoins_worker_errors_total{{phase="{service}"}}'
            lab.run("stop", service)
            poll_until(f"errors of {service}", lambda: lab.prometheus.query(errors))  # noqa: B023
            lab.run("start", service)
        for service in ("RNG", "HASHER", "WEBUI"):
            requests.get(lab.url(f"{service}_PORT"), timeout=5)
            requests.delete(lab.url(f"{service}_PORT") + "/nothing/here", timeout=5)
            requests.request("BREW", lab.url(f"{service}_PORT"), timeout=5)
        for path in ("json", "history", "latency", "plotly.min.js", "static/webui.js"):
            assert requests.get(f"{lab.url('WEBUI_PORT')}/{path}", timeout=5).ok
        coin = "dockercoins_worker_coins_total > 0"
        poll_until("a coin", lambda: lab.prometheus.query(coin), timeout=60)
        yield lab


def declared_metrics(service):
    return {
        metric["name"]: metric
        for metric in CONTRACT["metrics"]
        if service in metric["emitted_by"] and "fault" not in metric  # no fault is on here
    }


def exposed_metrics(lab, service):
    """Return name → (type, label sets) of what a service exposes, named as Prometheus names its series."""
    variable = {"tracestore": "JAEGER_PORT"}.get(service, f"{service.upper()}_METRICS_PORT")
    text = requests.get(
        f"{lab.url(variable)}/metrics", headers={"Accept": "application/openmetrics-text"}, timeout=5
    ).text
    found = {}
    for family in text_string_to_metric_families(text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = [frozenset(sample.labels) - {"le"} for sample in family.samples]
        found[name] = (family.type, labels)
    return found


@pytest.mark.parametrize("service", [*SERVICES, "tracestore"])
def test_metrics(provoked_lab, service):
    declared, exposed = declared_metrics(service), exposed_metrics(provoked_lab, service)
    assert sorted(exposed) == sorted(declared)
    for name, (kind, label_sets) in exposed.items():
        # OpenMetrics has types of its own for what the Prometheus text format calls a gauge.
        kind = {"unknown": "gauge", "info": "gauge"}.get(kind, kind)
        assert kind == declared[name]["type"], name
        assert label_sets, f"{name} has no series: the fixture does not provoke it"
        every = {*declared[name]["labels"], *declared[name].get("optional_labels", ())}
        assert all(labels == every for labels in label_sets), name


def test_what_is_counted_at_all_ends_in_the_unit(provoked_lab):
    """https://prometheus.io/docs/practices/naming/"""
    for metric in CONTRACT["metrics"]:
        name = metric["name"].removesuffix("_total")
        assert metric["name"].endswith("_total") == (metric["type"] == "counter"), metric["name"]
        if metric["unit"] in ("s", "By"):
            assert name.endswith({"s": "_seconds", "By": "_bytes"}[metric["unit"]]), metric["name"]


# What Jaeger's API adds to the attributes of a span.
JAEGERS_OWN = {
    "otel.scope.name",
    "otel.scope.version",
    "otel.status_code",
    "otel.status_description",
    "error",
}


def spans_of(lab):
    """Return (service, name, kind) → attribute sets of the spans in the trace backend."""
    found = {}
    for service in SERVICES:
        for trace in lab.jaeger.traces(service, limit=1500):
            for span in trace["spans"]:
                attributes = {tag["key"]: tag["value"] for tag in span["tags"]}
                sender = trace["processes"][span["processID"]]["serviceName"]
                kind = attributes.pop("span.kind", "internal")
                name = span["operationName"]
                if kind == "server" and name in {*KNOWN_METHODS, "HTTP"}:
                    name = "METHOD"
                found.setdefault((sender, name, kind), set()).add(frozenset(attributes) - JAEGERS_OWN)
    return found


def test_spans(provoked_lab):
    declared = {(span["service"], span["name"], span["kind"]): span for span in CONTRACT["spans"]}

    def all_of_them():
        found = spans_of(provoked_lab)
        return found if found.keys() >= declared.keys() else None

    found = poll_until("every declared span", all_of_them)
    assert sorted(found) == sorted(declared)
    for key, attribute_sets in found.items():
        required, optional = set(declared[key]["attributes"]), set(declared[key]["optional_attributes"])
        for attributes in attribute_sets:
            assert required <= attributes <= required | optional, key


def test_every_optional_attribute_is_sent_by_somebody(provoked_lab):
    seen = frozenset().union(*(a for sets in spans_of(provoked_lab).values() for a in sets))
    assert {name for span in CONTRACT["spans"] for name in span["optional_attributes"]} <= seen


def test_the_address_of_a_server_is_without_its_port(provoked_lab):
    found = {
        (tags["server.address"], tags["server.port"])
        for service in ("rng", "hasher", "webui")
        for trace in provoked_lab.jaeger.traces(service, limit=200)
        for tags in ({tag["key"]: tag["value"] for tag in span["tags"]} for span in trace["spans"])
        if tags.get("span.kind") == "server"
    }
    ports = {provoked_lab.ports[f"{service}_PORT"] for service in ("RNG", "HASHER", "WEBUI")}
    assert found == {("127.0.0.1", port) for port in ports}


@pytest.mark.parametrize("operation", ["GET", "HLEN"])
def test_redis_is_asked_in_the_trace_of_the_request(provoked_lab, operation):
    def traces():
        found = provoked_lab.jaeger.traces("webui", operation=operation, limit=20)
        return [trace for trace in found if is_whole(trace)]

    trace = poll_until(f"a whole trace with {operation}", traces)[0]
    assert parents(trace)["webui", operation] == [("webui", "GET /json")]


@pytest.mark.parametrize("service", SERVICES)
def test_the_resource_tells_which_lab_it_is(provoked_lab, service):
    trace = poll_until("a trace", lambda: provoked_lab.jaeger.traces(service, limit=1))[0]
    process = next(p for p in trace["processes"].values() if p["serviceName"] == service)
    tags = {tag["key"]: tag["value"] for tag in process["tags"]}
    assert tags["service.namespace"] == "test"
    # The fixture has restarted hasher, so there may be two.
    infos = [
        s.labels for s in provoked_lab.prometheus.query(f'last_over_time(target_info{{job="{service}"}}[5m])')
    ]
    assert {info["service_namespace"] for info in infos} == {"test"}
    assert {info["service_name"] for info in infos} == {service}
    assert tags["service.instance.id"] in {info["service_instance_id"] for info in infos}


def test_each_name_is_declared_once():
    keys = [metric["name"] for metric in CONTRACT["metrics"]]
    keys += [(span["service"], span["name"], span["kind"]) for span in CONTRACT["spans"]]
    assert len(keys) == len(set(keys))
