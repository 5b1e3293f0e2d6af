"""What `workshop doctor` says of a machine that lacks something: how to mend it, and exit code 1."""

import json
import shutil
import socket
from collections import namedtuple

import psutil
import pytest

from tests.support import free_ports
from workshop import lab as labs
from workshop.commands import doctor
from workshop.native import backends


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """A lab that does not run, with ports that are free."""
    monkeypatch.setenv("WORKSHOP_STATE", str(tmp_path))
    monkeypatch.setenv("PORT_OFFSET", "0")
    for variable, port in zip(labs.PORTS, free_ports(len(labs.PORTS)), strict=True):
        monkeypatch.setenv(variable, str(port))
    return labs.load("examined")


def bad_findings(lab, capsys):
    """Return what is required and not good, by name; fail unless the exit code says so."""
    code = doctor.show(lab, as_json=True)
    bad = {f["name"]: f for f in json.loads(capsys.readouterr().out) if f["required"] and not f["good"]}
    assert code == (1 if bad else 0)
    return bad


def test_a_taken_port(lab, capsys):
    port = lab.ports["HASHER_PORT"]
    with socket.create_server(("127.0.0.1", port)):
        finding = bad_findings(lab, capsys)["ports"]
    assert f"{port} is taken by " in finding["text"]
    assert "set HASHER_PORT" in finding["mend"]


def test_little_memory(lab, capsys, monkeypatch):
    monkeypatch.setattr(
        psutil, "virtual_memory", lambda: namedtuple("Memory", "available total")(2**29, 2**30)
    )
    finding = bad_findings(lab, capsys)["memory"]
    assert finding["text"].startswith("0.5 GB")
    assert finding["mend"]


def test_little_disk(lab, capsys, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(2**30, 2**29, 2**29))
    finding = bad_findings(lab, capsys)["disk"]
    assert finding["text"].startswith("0.5 GB free in ")
    assert "WORKSHOP_STATE" in finding["mend"]


def test_no_redis(lab, capsys, monkeypatch):
    """Neither on PATH nor in a Python package."""
    monkeypatch.setattr(backends, "find", lambda name, say=None: None)
    finding = bad_findings(lab, capsys)["redis"]
    assert "install valkey or redis" in finding["mend"]


def test_an_empty_path(lab, capsys, monkeypatch, tmp_path):
    """What is optional is then missing, and has its mending; nothing that is required is."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    doctor.show(lab, as_json=True)
    missing = [f for f in json.loads(capsys.readouterr().out) if not f["good"]]
    assert {"prometheus", "collector", "jaeger", "Docker"} <= {f["name"] for f in missing}
    assert all(f["mend"] for f in missing)
