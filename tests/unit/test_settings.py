"""An unusable setting is one clear line and exit code 2."""

import socket
import subprocess
import sys

import pytest
from common.settings import SettingError, read_choice, read_count, read_number, read_url

from tests.support import service_environment
from workshop import lab
from workshop.native import ports, runner


@pytest.mark.parametrize("text", ["abc", "-1", "61", "nan", "inf", "1s"])
def test_a_number_that_is_not_usable(monkeypatch, text):
    monkeypatch.setenv("DELAY", text)
    with pytest.raises(
        SettingError, match=rf"^DELAY='{text}' is not usable: a number of seconds from 0 to 60"
    ):
        read_number("DELAY", 0.1, minimum=0, maximum=60, unit="seconds")


def test_a_number_that_is_usable(monkeypatch):
    monkeypatch.setenv("DELAY", "0.25")
    assert read_number("DELAY", 0.1, minimum=0, maximum=60, unit="seconds") == 0.25
    monkeypatch.setenv("DELAY", "")
    assert read_number("DELAY", 0.1, minimum=0, maximum=60, unit="seconds") == 0.1


def test_a_count_is_a_whole_number(monkeypatch):
    monkeypatch.setenv("THREADS", "1.5")
    with pytest.raises(SettingError, match="a whole number of threads from 1 to 9"):
        read_count("THREADS", 1, minimum=1, maximum=9, unit="threads")


def test_a_choice(monkeypatch):
    monkeypatch.setenv("TELEMETRY", "maybe")
    with pytest.raises(SettingError, match="TELEMETRY='maybe' is not usable: on or off is accepted"):
        read_choice("TELEMETRY", ("on", "off"))


@pytest.mark.parametrize("text", ["rng", "http://", "ftp://rng", "http://rng:port", "http://rng:0"])
def test_a_url_that_is_not_usable(monkeypatch, text):
    monkeypatch.setenv("RNG_URL", text)
    with pytest.raises(SettingError, match="a URL like http://rng is accepted"):
        read_url("RNG_URL", "http://rng")


def test_services_find_each_other_by_name_unless_told_otherwise(monkeypatch):
    monkeypatch.delenv("RNG_URL", raising=False)
    assert read_url("RNG_URL", "http://rng") == "http://rng"


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [
        ("rng.rng", "RNG_DELAY", "slow"),
        ("rng.rng", "RNG_THREADS", "0"),
        ("hasher.hasher", "PORT", "http"),
        ("worker.worker", "REDIS_URL", "http://redis"),
        ("worker.worker", "RNG_URL", "https://rng"),
        ("worker.worker", "TELEMETRY", "yes"),
        ("webui.webui", "PROMETHEUS_URL", "prometheus"),
    ],
)
def test_a_service_ends_with_one_line(module, name, value):
    ended = subprocess.run(
        [sys.executable, "-m", module],
        env=service_environment(**{name: value}),
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1
    assert f"{name}='{value}' is not usable: " in ended.stderr


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "WEBUI_PORT",
            "eighty",
            "WEBUI_PORT='eighty' is not usable: a whole number from 1 to 65535 is accepted",
        ),
        ("PORT_OFFSET", "-5", "PORT_OFFSET='-5' is not usable"),
        ("PORT_OFFSET", "50000", "JAEGER_PORT with PORT_OFFSET=50000 is 66686: at most 65535 is accepted"),
        ("TAIL_SAMPLING", "yes", "TAIL_SAMPLING='yes' is not usable: on or off is accepted"),
        ("WORKSHOP_STATE", __file__, r"test_settings\.py is not a folder"),
        ("COMPOSE_PROJECT_NAME", "Green Lab", "the project name 'Green Lab' is not usable"),
    ],
)
def test_a_setting_of_the_lab_that_is_not_usable(monkeypatch, name, value, message):
    monkeypatch.setenv(name, value)
    with pytest.raises(lab.SettingError, match=message):
        lab.load()


def test_the_embedded_trace_store_samples_nothing(monkeypatch):
    monkeypatch.setenv("TAIL_SAMPLING", "on")
    monkeypatch.setenv("TRACE_BACKEND", "embedded")
    with pytest.raises(lab.SettingError, match=r"^TAIL_SAMPLING=on needs the Collector: "):
        runner.find_backends(lab.load(), print)


def test_each_worker_needs_a_port_for_its_metrics(monkeypatch):
    monkeypatch.setenv("WORKER_METRICS_PORT", "65530")
    monkeypatch.setenv("PORT_OFFSET", "0")
    chosen = lab.load()
    assert chosen.worker_metrics_port(6) == 65535
    with pytest.raises(
        lab.SettingError, match=r"WORKER_METRICS_PORT is 65530: that leaves ports .* 6 workers"
    ):
        chosen.worker_metrics_port(7)


def test_a_port_that_wants_root(monkeypatch):
    """Root, and who is in a container, may have every port: so the system's refusal is made here."""

    def refuse(self, address):
        raise PermissionError

    monkeypatch.setattr(socket.socket, "bind", refuse)
    assert ports.problem(80) == "needs root, as ports below 1024 do"


def test_an_option_wins_over_the_environment(monkeypatch):
    monkeypatch.setenv("COMPOSE_PROJECT_NAME", "blue")
    monkeypatch.setenv("PORT_OFFSET", "100")
    monkeypatch.setenv("RNG_PORT", "18001")
    assert lab.load().ports["RNG_PORT"] == 18101
    green = lab.load("green", 200)
    assert (green.project, green.ports["RNG_PORT"]) == ("green", 18201)
    assert "service.namespace=green" in green.environment["OTEL_RESOURCE_ATTRIBUTES"]
