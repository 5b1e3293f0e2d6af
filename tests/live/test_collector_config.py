"""The committed configurations of Collector and Jaeger: the real programs, with real spans between them."""

import json
import re
import subprocess
from contextlib import contextmanager
from math import sqrt
from time import time_ns

import pytest
import requests
import yaml
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode, format_trace_id
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from telemetry.metrics import DURATION_BUCKETS

from tests.support import answers, free_ports, poll_until, process, require
from workshop.lab import ROOT

COLLECTOR_CONFIG = ROOT / "otel-collector" / "config.yaml"
# As TAIL_SAMPLING chooses.
OFF, ON = (COLLECTOR_CONFIG.with_name(f"tail-sampling-{value}.yaml") for value in ("off", "on"))
JAEGER_CONFIG = ROOT / "jaeger" / "config.yaml"
COLLECTOR_PORTS = ("OTLP_PORT", "OTLP_GRPC_PORT", "SPAN_METRICS_PORT", "HEALTH_PORT", "METRICS_PORT")
JAEGER_PORTS = (
    *("OTLP_PORT", "OTLP_GRPC_PORT", "QUERY_PORT", "QUERY_GRPC_PORT"),
    *("HEALTH_PORT", "METRICS_PORT"),
)
OPENMETRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}


@contextmanager
def running(*command, environment, log):
    """Run a server; at its end it must go within 5 s, and in peace."""
    with process(*map(str, command), env=environment, log=log) as server:
        yield
        server.terminate()
        assert server.wait(5) == 0


class Pipeline:
    """A Collector and a Jaeger with ports of their own; their logs are in `folder`."""

    def __init__(self, folder, tail_sampling=OFF):
        self.tail_sampling = tail_sampling
        self.collector_log = folder / "collector.log"
        self.jaeger_log = folder / "jaeger.log"
        ports = [str(port) for port in free_ports(len(COLLECTOR_PORTS) + len(JAEGER_PORTS))]
        self._collector_ports = dict(zip(COLLECTOR_PORTS, ports, strict=False))
        self._jaeger_ports = dict(zip(JAEGER_PORTS, reversed(ports), strict=False))
        collector, jaeger = (
            {variable: f"http://127.0.0.1:{port}" for variable, port in ports.items()}
            for ports in (self._collector_ports, self._jaeger_ports)
        )
        self.spans = f"{collector['OTLP_PORT']}/v1/traces"
        self.span_metrics = f"{collector['SPAN_METRICS_PORT']}/metrics"
        self.collector_metrics = f"{collector['METRICS_PORT']}/metrics"
        self.collector_health = collector["HEALTH_PORT"]
        self.query = f"{jaeger['QUERY_PORT']}/api"
        self.jaeger_metrics = f"{jaeger['METRICS_PORT']}/metrics"
        self.jaeger_health = f"{jaeger['HEALTH_PORT']}/status"

    @contextmanager
    def collector(self):
        endpoint = f"127.0.0.1:{self._jaeger_ports['OTLP_GRPC_PORT']}"
        environment = {"LISTEN_HOST": "127.0.0.1", "JAEGER_ENDPOINT": endpoint, **self._collector_ports}
        command = require("collector"), "--config", COLLECTOR_CONFIG, "--config", self.tail_sampling
        with running(*command, environment=environment, log=self.collector_log):
            poll_until("the Collector's health", lambda: answers(self.collector_health))
            yield

    @contextmanager
    def jaeger(self):
        environment = {"LISTEN_HOST": "127.0.0.1", **self._jaeger_ports}
        command = require("jaeger"), "--config", JAEGER_CONFIG
        with running(*command, environment=environment, log=self.jaeger_log):
            poll_until("Jaeger's health", lambda: answers(self.jaeger_health))
            yield

    def tracer(self, service, instance="1"):
        resource = {"service.name": service, "service.namespace": "blue", "service.instance.id": instance}
        provider = TracerProvider(resource=Resource(resource), shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(self.spans)))
        return provider.get_tracer("tests")

    def trace(self, trace_id):
        """Return the spans of a trace in Jaeger; None if it isn't there."""
        response = requests.get(f"{self.query}/traces/{trace_id}", timeout=5)
        return response.json()["data"][0]["spans"] if response.ok else None

    def metrics(self, condition):
        """Return what the Collector has made of the spans, once `condition` holds for it."""

        def ready():
            samples = scrape(self.span_metrics)
            return samples if condition(samples) else None

        # An edge of the service graph takes up to 17 s: its time to live, two intervals.
        return poll_until("the span metrics", ready, timeout=60)


def loop(worker, rng):
    """Send one trace in the shape of the application's, in which hasher is down; return its ID."""
    client, server = SpanKind.CLIENT, SpanKind.SERVER
    ok = {"http.response.status_code": 200}
    with worker.start_as_current_span("loop") as root:
        attributes = {"service.peer.name": "rng", **ok}
        with (
            worker.start_as_current_span("GET", kind=client, attributes=attributes),
            rng.start_as_current_span("GET /{n}", kind=server, attributes=ok),
        ):
            pass
        attributes = {"service.peer.name": "hasher"}
        with worker.start_as_current_span("POST", kind=client, attributes=attributes) as failed:
            failed.set_status(Status(StatusCode.ERROR))
        attributes = {"service.peer.name": "redis", "db.system.name": "redis"}
        with worker.start_as_current_span("HSET", kind=client, attributes=attributes):
            pass
    return format_trace_id(root.get_span_context().trace_id)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    """Return a pipeline that runs."""
    pipeline = Pipeline(tmp_path_factory.mktemp("pipeline"))
    with pipeline.jaeger(), pipeline.collector():
        yield pipeline


@pytest.fixture(scope="module")
def traces(pipeline):
    """Return the IDs of the traces that two workers have sent."""
    rng = pipeline.tracer("rng")
    workers = pipeline.tracer("worker", "1"), pipeline.tracer("worker", "2")
    return [loop(worker, rng) for worker in workers for _ in range(4)]


def scrape(url):
    """Return the samples of a page of metrics, by their names."""
    response = requests.get(url, headers=OPENMETRICS, timeout=5)
    assert response.headers["content-type"].startswith("application/openmetrics-text")
    samples = {}
    for family in parse_openmetrics(response.text):
        for sample in family.samples:
            samples.setdefault(sample.name, []).append(sample)
    return samples


def value(samples, name, **labels):
    """Return the sum of the samples that bear these labels."""
    return sum(sample.value for sample in samples.get(name, []) if labels.items() <= sample.labels.items())


CALLS = "traces_span_metrics_calls_total"
EDGES = "traces_service_graph_request_total"


@pytest.mark.parametrize(
    ("name", "configs"),
    [
        ("collector", [COLLECTOR_CONFIG]),
        ("collector", [COLLECTOR_CONFIG, OFF]),
        ("collector", [COLLECTOR_CONFIG, ON]),
        ("jaeger", [JAEGER_CONFIG]),
    ],
)
def test_the_configuration_is_valid_with_its_defaults(name, configs):
    command = [require(name), "validate", *(f"--config={config}" for config in configs)]
    answer = subprocess.run(command, env={}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert answer.returncode == 0, answer.stdout


def test_without_tail_sampling_nothing_is_changed():
    printed = [
        subprocess.run(
            [require("collector"), "print-config", *(f"--config={config}" for config in configs)],
            env={},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for configs in ([COLLECTOR_CONFIG], [COLLECTOR_CONFIG, OFF], [COLLECTOR_CONFIG, ON])
    ]
    assert printed[0] == printed[1] != printed[2]


@pytest.mark.parametrize(
    ("name", "config", "ports"),
    [
        ("collector", COLLECTOR_CONFIG, {4317, 4318, 8888, 8889, 13133}),
        ("jaeger", JAEGER_CONFIG, {4317, 4318, 8888, 13133, 16685, 16686}),
    ],
)
def test_its_defaults_are_the_ports_of_the_container(name, config, ports):
    command = [require(name), "print-config", "--config", config]
    answer = subprocess.run(command, env={}, capture_output=True, text=True, check=True)
    telemetry = yaml.safe_load(answer.stdout)["service"]["telemetry"]
    own = telemetry["metrics"]["readers"][0]["pull"]["exporter"]["prometheus"]
    assert own["host"] == "0.0.0.0"
    assert {own["port"], *map(int, re.findall(r"endpoint: 0\.0\.0\.0:(\d+)", answer.stdout))} == ports


def test_a_trace_arrives_in_jaeger_whole(pipeline, traces):
    def whole():
        spans = pipeline.trace(traces[0])
        return spans if spans and len(spans) == 5 else None

    spans = {span["operationName"]: span for span in poll_until("the trace", whole)}
    parents = {name: [parent["spanID"] for parent in span["references"]] for name, span in spans.items()}
    root, call = [spans["loop"]["spanID"]], [spans["GET"]["spanID"]]
    assert parents == {"loop": [], "GET": root, "GET /{n}": call, "POST": root, "HSET": root}


def test_calls_are_counted_for_a_service_not_for_its_processes(pipeline, traces):
    samples = pipeline.metrics(lambda samples: value(samples, CALLS, span_name="HSET") >= len(traces))
    common = {"service_name": "worker", "service_namespace": "blue", "span_kind": "SPAN_KIND_CLIENT"}
    unset, ok = {"status_code": "STATUS_CODE_UNSET"}, {"http_response_status_code": "200"}
    assert [sample.labels for sample in samples[CALLS] if sample.labels["span_name"] == "GET"] == [
        common | unset | ok | {"span_name": "GET", "service_peer_name": "rng"}
    ]
    assert [sample.labels for sample in samples[CALLS] if sample.labels["span_name"] == "POST"] == [
        common | {"status_code": "STATUS_CODE_ERROR", "span_name": "POST", "service_peer_name": "hasher"}
    ]
    for name in ("loop", "GET", "GET /{n}", "POST"):
        assert value(samples, CALLS, span_name=name) == len(traces)


def test_durations_have_the_buckets_of_the_services_own_histograms(pipeline, traces):
    names = [
        "traces_span_metrics_duration_seconds_bucket",
        "traces_service_graph_request_client_seconds_bucket",
        "traces_service_graph_request_server_seconds_bucket",
    ]
    samples = pipeline.metrics(lambda samples: samples.keys() >= {*names})
    for name in names:
        bounds = {float(sample.labels["le"]) for sample in samples[name]}
        assert sorted(bounds) == [*DURATION_BUCKETS, float("inf")]


def test_an_exemplar_opens_a_trace_that_exists(pipeline):
    clock = pipeline.tracer("clock")

    def exemplars():
        clock.start_span("tick").end()
        buckets = scrape(pipeline.span_metrics).get("traces_span_metrics_duration_seconds_bucket", [])
        return [bucket.exemplar for bucket in buckets if bucket.exemplar]

    exemplar = poll_until("an exemplar", exemplars)[0].labels
    spans = poll_until("its trace", lambda: pipeline.trace(exemplar["trace_id"]))
    assert exemplar["span_id"] in [span["spanID"] for span in spans]


def test_the_graph_shows_who_calls_whom_even_a_service_that_is_down(pipeline, traces):
    def complete(samples):
        return all(value(samples, EDGES, server=server) for server in ("rng", "hasher", "redis"))

    samples = pipeline.metrics(complete)
    labels = ("client", "server", "connection_type", "failed")
    assert {tuple(sample.labels[label] for label in labels) for sample in samples[EDGES]} == {
        ("worker", "rng", "", "false"),
        ("worker", "redis", "database", "false"),
        ("worker", "hasher", "virtual_node", "true"),
    }
    assert value(samples, "traces_service_graph_request_failed_total", server="hasher") > 0


def test_a_span_name_with_an_id_in_it_does_not_make_series_without_end(pipeline):
    careless = pipeline.tracer("careless")
    for number in range(300):
        careless.start_span(f"GET /order/{number}").end()
    samples = pipeline.metrics(lambda samples: value(samples, CALLS, otel_metric_overflow="true") >= 100)
    assert value(samples, CALLS, otel_metric_overflow="true") == 100
    series = [sample for sample in samples[CALLS] if sample.labels.get("service_name") == "careless"]
    assert len(series) == 200


@pytest.mark.parametrize(
    ("page", "exporter"),
    [("collector_metrics", "otlp_grpc/jaeger"), ("jaeger_metrics", "jaeger_storage_exporter")],
)
def test_each_counts_the_spans_that_it_received_and_sent(pipeline, traces, page, exporter):
    def counts():
        text = requests.get(getattr(pipeline, page), timeout=5).text
        received = re.search(r'^otelcol_receiver_accepted_spans_total{receiver="otlp",.*} [1-9]', text, re.M)
        sent = re.search(rf'^otelcol_exporter_sent_spans_total{{exporter="{exporter}".*}} [1-9]', text, re.M)
        return text if received and sent else None

    assert "otel_scope" not in poll_until("spans received and sent", counts)


def test_the_collector_logs_in_json(pipeline):
    lines = pipeline.collector_log.read_text().splitlines()
    assert lines
    for line in lines:
        assert {"level", "ts", "msg"} <= json.loads(line).keys()


def test_spans_wait_while_jaeger_is_away(tmp_path):
    pipeline = Pipeline(tmp_path)
    with pipeline.collector():
        trace_id = loop(pipeline.tracer("worker"), pipeline.tracer("rng"))
        log = pipeline.collector_log
        poll_until("a failed export", lambda: "Exporting failed. Will retry" in log.read_text())
        with pipeline.jaeger():
            assert poll_until("the trace", lambda: pipeline.trace(trace_id))


# ---- TAIL_SAMPLING=on

ORDINARY = 400
KEPT = 0.1
TRACES = "otelcol_processor_tail_sampling_global_count_traces_sampled_total"


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Return a pipeline that samples, which was sent ordinary traces, and three others by their names."""
    pipeline = Pipeline(tmp_path_factory.mktemp("kept"), ON)
    with pipeline.jaeger(), pipeline.collector():
        worker, rng = pipeline.tracer("worker"), pipeline.tracer("rng")
        odd = {"error": loop(worker, rng)}
        for name, seconds, coin in (("slow", 2.1, False), ("coin", 0.1, True)):
            now = time_ns()
            span = worker.start_span("loop", start_time=now, attributes={"dockercoins.coin": coin})
            span.end(now + int(seconds * 1e9))
            odd[name] = format_trace_id(span.get_span_context().trace_id)
        for _ in range(ORDINARY):
            worker.start_span("ordinary", attributes={"dockercoins.coin": False}).end()
        every = ORDINARY + len(odd)
        poll_until("all decisions", lambda: decisions(pipeline) == every, timeout=30)
        yield pipeline, odd


def decisions(pipeline, **labels):
    """Return how many traces the Collector has decided about, with these labels."""
    text = requests.get(pipeline.collector_metrics, timeout=5).text
    found = re.findall(rf"^{TRACES}{{(.*)}} (\d+)$", text, re.MULTILINE)
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    return sum(int(number) for given, number in found if all(label in given for label in wanted))


@pytest.mark.parametrize(("name", "spans"), [("error", 5), ("slow", 1), ("coin", 1)])
def test_a_trace_that_matters_is_kept_whole(kept, name, spans):
    pipeline, odd = kept

    def whole():
        found = pipeline.trace(odd[name])
        return found and len(found) == spans

    poll_until("the trace", whole)


def test_a_tenth_of_the_others_is_kept(kept):
    pipeline, odd = kept
    search = {"service": "worker", "operation": "ordinary", "limit": ORDINARY}

    def found():
        return len(requests.get(f"{pipeline.query}/traces", search, timeout=5).json()["data"])

    number = decisions(pipeline, sampled="true") - len(odd)
    poll_until("what was kept", lambda: found() == number)
    # One run in 16 000 is further off by chance.
    assert number == pytest.approx(KEPT * ORDINARY, abs=4 * sqrt(ORDINARY * KEPT * (1 - KEPT)))


def test_the_metrics_are_of_all_traces(kept):
    pipeline, _ = kept
    pipeline.metrics(lambda samples: value(samples, CALLS, span_name="ordinary") == ORDINARY)
