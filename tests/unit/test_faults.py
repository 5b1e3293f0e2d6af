"""The fault flags as the command writes them and as the services read them; the catalogue; faults in apps."""

import json
import os
import re
import stat
import subprocess
import sys
import time
from importlib import import_module
from math import comb

import psutil
import pytest
import requests
import yaml
from click.testing import CliRunner
from common.server import Listen
from hasher import faults, hasher
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import REGISTRY
from rng import rng
from rng.faults import ERROR_SHARE
from telemetry import http_server
from telemetry.flags import Flags
from worker.faults import LABEL_VALUES, FaultyWorker
from worker.worker import Settings

from tests.support import free_ports, poll_until, samples, web_service
from tests.unit.test_dashboards import ALERTS, CONTRACT, assert_declared
from workshop.cli import main
from workshop.clients import Jaeger, Prometheus
from workshop.faults import catalogue, flags, signs
from workshop.faults.catalogue import Sign
from workshop.faults.flags import FOREVER
from workshop.lab import ROOT, SettingError

FAULTS = catalogue.faults()
SOURCES = {
    name: (ROOT / "services" / name / "faults.py").read_text()
    for name in ("rng", "hasher", "worker", "webui")
}
IN_CODE = {
    name: service for service, text in SOURCES.items() for name in re.findall(r'\.on\("([\w-]+)"\)', text)
}
DAMAGED = "dockercoins_faults_file_damaged"


@pytest.fixture
def file(tmp_path):
    return tmp_path / "faults.json"


# ---- the catalogue


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
class TestCatalogue:
    def test_says_all_that_is_to_be_said(self, fault):
        assert re.fullmatch(r"[a-z]+(-[a-z]+)+", fault.name)
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", fault.cause)
        assert fault.level in (1, 2, 3)
        assert fault.name.startswith(f"{fault.service}-")
        for text in (fault.summary, fault.cure, *fault.diagnosis):
            assert text.endswith(".")
        assert fault.diagnosis

    def test_names_an_alert_that_there_is_or_says_why_there_is_none(self, fault):
        assert bool(fault.alert) != bool(fault.no_alert)
        assert not fault.alert or fault.alert in ALERTS
        assert not fault.no_alert or fault.no_alert.endswith(".")

    def test_its_first_sign_moves(self, fault):
        healthy, broken = fault.signs[0].healthy, fault.signs[0].broken
        assert healthy[1] < broken[0] or broken[1] < healthy[0]

    def test_its_signs_can_be_measured(self, fault):
        for sign in fault.signs:
            assert sum(map(bool, (sign.prometheus, sign.jaeger, sign.answers))) == 1
            assert sign.healthy[0] <= sign.healthy[1]
            assert sign.broken[0] <= sign.broken[1]
            if sign.prometheus:
                assert_declared(sign.prometheus)
            if sign.jaeger:
                assert_declared_span(**sign.jaeger)

    def test_is_a_flag_of_a_service_or_done_to_a_process(self, fault):
        assert (fault.name in IN_CODE) == (fault.process is None)
        if fault.process:
            assert fault.process.action in ("kill", "stop", "pause")


def assert_declared_span(service, measure, operation=None):
    spans = [
        span for span in CONTRACT["spans"] if span["service"] == service and operation in (None, span["name"])
    ]
    assert spans
    if measure not in ("roots", "names", "skew"):
        assert all(measure in span["attributes"] + span["optional_attributes"] for span in spans)


def test_every_flag_in_the_code_is_in_the_catalogue():
    assert IN_CODE.keys() == set(catalogue.flags())
    assert len(IN_CODE) >= 18


def test_service_and_cause_name_one_fault():
    answers = [(fault.service, fault.cause) for fault in FAULTS.values()]
    assert len(set(answers)) == len(answers)


def test_faults_differ_in_their_signs():
    seen = [str(fault.signs) for fault in FAULTS.values()]
    assert len(set(seen)) == len(seen)


def test_metrics_that_only_a_fault_brings_name_a_fault():
    assert {metric["fault"] for metric in CONTRACT["metrics"] if "fault" in metric} <= FAULTS.keys()


def test_services_know_nothing_of_the_lab_and_little_of_faults():
    for name in ("rng/rng.py", "hasher/hasher.py", "worker/worker.py", "webui/webui.py"):
        assert "fault" not in (ROOT / "services" / name).read_text().replace("default", "")


@pytest.mark.parametrize(
    ("name", "near"), [("rng-slwo", "rng-slow"), ("slow", "rng-slow"), ("redis", "redis-away")]
)
def test_an_unknown_name_gives_those_that_are_near(name, near):
    with pytest.raises(SettingError, match=near):
        catalogue.find(name)


def test_a_name_that_is_like_no_other():
    with pytest.raises(SettingError, match="--list"):
        catalogue.find("xyzxyzxyz")


def test_names_of_faults_are_completed():
    done = CliRunner().invoke(
        main,
        env={"_WORKSHOP_COMPLETE": "bash_complete", "COMP_WORDS": "workshop break rng-s", "COMP_CWORD": "2"},
        prog_name="workshop",
    )
    assert done.output.split() == ["plain,rng-slow", "plain,rng-short", "plain,rng-span-names"]


@pytest.mark.parametrize(
    ("name", "share"), [("rng-errors", ERROR_SHARE), ("hasher-errors", faults.ERROR_SHARE)]
)
def test_the_share_of_errors_is_the_one_that_is_told(name, share):
    fault, count = catalogue.find(name), 60  # that many requests of three workers are in a window
    assert f"{share:.0%}".replace("%", " %") in fault.summary
    chances = [comb(count, bad) * share**bad * (1 - share) ** (count - bad) for bad in range(count + 1)]
    out = sum(chance for bad, chance in enumerate(chances) if not fault.signs[0].is_broken(bad / count))
    assert out < 1 / 2000


# ---- the file


def test_what_is_written_is_read(file):
    flags.write(
        file, {"rng-slow": FOREVER, "hasher-leak": time.time() + 60, "worker-labels": time.time() - 1}
    )
    on = flags.read(file)
    assert on["rng-slow"] == FOREVER
    assert 58 < on["hasher-leak"] - time.time() < 62
    assert on.keys() == {"rng-slow", "hasher-leak"}


def test_no_file_is_no_fault(file):
    assert flags.read(file) == {}


def test_everybody_may_read_the_file(file):
    flags.write(file, {})
    assert stat.S_IMODE(file.stat().st_mode) == 0o644


# Of no use to the services, so the command must say so too.
DAMAGED_FILES = [
    "",
    "{",
    "[]",
    "\x00",
    '{"flags": []}',
    '{"flags": {"x": 1}}',
    '{"flags": {"x": {"state": "ENABLED", "variants": {"a": "text"}, "defaultVariant": "a"}}}',
    '{"flags": {"x": {"state": "ENABLED", "variants": {"a": true}, "defaultVariant": "b"}}}',
    '{"flags": {"x": {"state": "on", "variants": {"a": true}, "defaultVariant": "a"}}}',
]


@pytest.mark.parametrize("text", ["{}", '{"flags": {}}'])
def test_flags_that_are_not_in_the_file_are_off(file, text):
    file.write_text(text)
    assert flags.read(file) == {}
    seen = Flags(file)
    assert not any(map(seen.on, catalogue.flags()))
    assert REGISTRY.get_sample_value(DAMAGED) == 0


def test_a_flag_that_is_missing_is_off_and_the_others_count(file):
    flags.write(file, {"rng-slow": FOREVER, "rng-errors": FOREVER})
    whole = json.loads(file.read_text())
    del whole["flags"][flags.key("rng-errors")]
    file.write_text(json.dumps(whole))
    assert flags.read(file).keys() == {"rng-slow"}
    seen = Flags(file)
    assert [name for name in catalogue.flags() if seen.on(name)] == ["rng-slow"]


@pytest.mark.parametrize("text", DAMAGED_FILES)
def test_a_damaged_file_is_told(file, text):
    file.write_text(text)
    with pytest.raises(flags.DamagedError, match=str(file)):
        flags.read(file)


def test_the_file_does_not_give_the_answer_away(file):
    """All flags are there with both variants; a fault that is on changes one letter."""
    flags.write(file, {})
    before = file.read_text()
    for name in catalogue.flags():
        assert not re.search(name.replace("-", "|"), before)
        flags.write(file, {name: FOREVER})
        after = file.read_text()
        assert sum(a != b for a, b in zip(before, after, strict=True)) == 1
    letters = [flag["defaultVariant"] for flag in json.loads(before)["flags"].values()]
    assert 0.2 < letters.count("a") / len(letters) < 0.8


# ---- the services' view of it


def event_sink(monkeypatch):
    """Return the list that the events of the current span go to."""
    events = []
    span = type("Span", (), {"add_event": lambda self, name, attributes: events.append((name, attributes))})()
    monkeypatch.setattr("opentelemetry.trace.get_current_span", lambda: span)
    return events


def test_services_see_what_the_command_wrote(file, monkeypatch):
    seen = Flags(file)
    assert not any(map(seen.on, catalogue.flags()))
    events = event_sink(monkeypatch)
    for name in catalogue.flags():
        flags.write(file, {name: FOREVER})
        seen.refresh()
        assert [other for other in catalogue.flags() if seen.on(other)] == [name]
    assert len(events) == len(catalogue.flags())
    assert {name for name, _ in events} == {"feature_flag.evaluation"}
    assert {attributes["feature_flag.key"] for _, attributes in events} == set(
        map(flags.key, catalogue.flags())
    )


def test_a_fault_for_a_while_ends_by_itself(file):
    flags.write(file, {"rng-slow": time.time() + 2})
    seen = Flags(file)
    assert seen.on("rng-slow")

    def over():
        seen.refresh()
        return not seen.on("rng-slow")

    poll_until("its end", over, timeout=4)


@pytest.mark.parametrize("text", DAMAGED_FILES)
def test_a_damaged_file_leaves_the_last_good_state_in_force(file, text):
    flags.write(file, {"rng-slow": FOREVER})
    seen = Flags(file)
    file.write_text(text)
    seen.refresh()
    assert seen.on("rng-slow")
    assert REGISTRY.get_sample_value(DAMAGED) == 1
    flags.write(file, {"rng-errors": FOREVER})
    seen.refresh()
    assert REGISTRY.get_sample_value(DAMAGED) == 0
    assert seen.on("rng-errors")
    assert not seen.on("rng-slow")


def test_a_file_that_is_empty_from_the_start_is_damage(file):
    file.touch()
    assert not Flags(file).on("rng-slow")
    assert REGISTRY.get_sample_value(DAMAGED) == 1


def test_a_folder_in_the_place_of_the_file_is_damage(file):
    file.mkdir()
    assert not Flags(file).on("rng-slow")
    assert REGISTRY.get_sample_value(DAMAGED) == 1


def test_with_no_fault_on_openfeature_is_not_asked(file, monkeypatch):
    flags.write(file, {"rng-slow": FOREVER})
    seen = Flags(file)
    monkeypatch.setattr(seen, "_client", None)
    assert not seen.on("rng-errors")
    with pytest.raises(AttributeError):
        seen.on("rng-slow")


@pytest.mark.parametrize(
    ("setting", "imported"), [({}, False), ({"FAULTS_FILE": "/nowhere/faults.json"}, True)]
)
def test_openfeature_is_imported_only_where_there_can_be_faults(setting, imported):
    code = (
        "import sys; from rng.rng import *; from telemetry import http_server;"
        "http_server.instrument(create_app(Settings.from_environment()));"
        "print('openfeature' in sys.modules, 'grpc' in sys.modules)"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT / "services"), **setting}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(imported), "False"]


# ---- in a service


def test_a_service_reports_a_damaged_file_and_goes_on(tmp_path, file):
    file.write_text("{")
    with web_service("rng", tmp_path / "rng.log", RNG_DELAY=0, FAULTS_FILE=file) as (_, metrics):
        assert samples(metrics)[DAMAGED] == 1
        flags.write(file, {})
        poll_until("the good file", lambda: samples(metrics)[DAMAGED] == 0, timeout=2)


def test_a_change_is_in_force_within_a_second(tmp_path, file):
    with web_service("rng", tmp_path / "rng.log", RNG_DELAY=0, FAULTS_FILE=file) as (url, _):

        def length():
            return len(requests.get(f"{url}/32", timeout=5).content)

        assert length() == 32
        flags.write(file, {"rng-short": FOREVER})  # a file where there was none
        poll_until("short answers", lambda: length() == 16, timeout=1)
        flags.write(file, {})
        poll_until("whole answers", lambda: length() == 32, timeout=1)
        flags.write(file, {"rng-short": FOREVER})
        poll_until("short answers", lambda: length() == 16, timeout=1)
        file.unlink()
        poll_until("whole answers", lambda: length() == 32, timeout=1)


# ---- what must have an end


class On:
    """Flags of which some are on."""

    def __init__(self, *names):
        self.names = {*names}

    def on(self, name):
        return name in self.names


def test_the_leak_ends_and_is_given_back():
    app = hasher.create_app(hasher.Settings(delay=0, listen=Listen("127.0.0.1", 80, 1)))
    http_server.instrument(app)
    flags_on = On("hasher-leak")
    faults.install(app, flags_on)
    client, process = app.test_client(), psutil.Process()
    client.post("/", data=b"abc")
    before = process.memory_info().rss
    for _ in range(2 * faults.ALL_LEAKS // faults.LEAK):
        client.post("/", data=b"abc")
    leaked = process.memory_info().rss - before
    assert 0.9 * faults.ALL_LEAKS < leaked < 1.2 * faults.ALL_LEAKS
    flags_on.names.clear()
    client.post("/", data=b"abc")
    assert process.memory_info().rss - before < 0.2 * faults.ALL_LEAKS


@pytest.fixture
def spans(monkeypatch):
    """What keeps the spans of the web services."""
    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    monkeypatch.setattr(http_server, "tracer", provider.get_tracer("test"))
    return kept


@pytest.mark.parametrize("name", [name for name, service in IN_CODE.items() if service in ("rng", "hasher")])
def test_a_flag_shows_on_the_span_of_the_request(file, spans, name):
    service, request = {"rng": (rng, {"path": "/32"}), "hasher": (hasher, {"path": "/", "method": "POST"})}[
        IN_CODE[name]
    ]
    app = service.create_app(service.Settings(delay=0, listen=Listen("127.0.0.1", 80, 1)))
    http_server.instrument(app)
    flags.write(file, {name: FOREVER})
    import_module(f"{IN_CODE[name]}.faults").install(app, Flags(file))
    app.test_client().open(**request)
    (span,) = spans.get_finished_spans()
    (event,) = span.events
    assert event.name == "feature_flag.evaluation"
    assert event.attributes["feature_flag.key"] == flags.key(name)
    assert span.start_time <= event.timestamp <= span.end_time


def test_a_clock_that_is_wrong_shifts_both_ends_of_a_span(spans):
    app = hasher.create_app(hasher.Settings(delay=0, listen=Listen("127.0.0.1", 80, 1)))
    http_server.instrument(app)
    flags_on = On("hasher-clock-skew")
    faults.install(app, flags_on)
    for skew in (faults.SKEW, 0):
        spans.clear()
        app.test_client().post("/", data=b"abc")
        (span,) = spans.get_finished_spans()
        for stamp in (span.start_time, span.end_time):
            assert time.time() + skew - 1 < stamp / 1e9 < time.time() + skew + 0.1
        flags_on.names.clear()


def test_the_values_of_the_label_end():
    settings = Settings(delay=0, rng_url="http://rng", hasher_url="http://hasher", redis_url="redis://redis")
    worker = FaultyWorker(settings, On("worker-labels"))
    for number in range(2000):
        worker.label(f"{number:x}", 0.1)
    name = "dockercoins_worker_hash_duration_seconds"
    (family,) = (family for family in REGISTRY.collect() if family.name == name)
    assert len({sample.labels["hash"] for sample in family.samples}) == LABEL_VALUES
    worker.flags = On()
    worker.label("0", 0.1)
    assert name not in {family.name for family in REGISTRY.collect()}


# ---- signs


@pytest.mark.parametrize(
    ("value", "healthy", "broken"),
    [(0.1, True, False), (0.3, False, True), (0.2, False, False), (None, False, False)],
)
def test_ranges_of_a_sign(value, healthy, broken):
    sign = Sign(healthy=(0, 0.1), broken=(0.3, 0.4), prometheus="up")
    assert sign.is_healthy(value) == healthy
    assert sign.is_broken(value) == broken


def test_a_backend_that_is_away_says_nothing():
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    prometheus, jaeger = Prometheus(url), Jaeger(url)
    assert signs.measure(Sign((0, 1), (0, 1), prometheus="up"), prometheus, jaeger) is None
    of_spans = {"service": "rng", "measure": "roots"}
    assert signs.measure(Sign((0, 1), (0, 1), jaeger=of_spans), prometheus, jaeger) is None
    assert signs.measure(Sign((1, 1), (0, 0), answers="prometheus"), prometheus, jaeger) == 0


def test_the_catalogue_has_nothing_twice():
    entries = yaml.safe_load(catalogue.FILE.read_text())
    assert len(entries) == len(FAULTS) >= 24
