"""Live editing: with `docker compose up --build --watch` a change of the source is built and started."""

import os
import shutil
import signal
import subprocess
from dataclasses import replace

import pytest
import requests

from tests.support import poll_until
from workshop.lab import ROOT

pytestmark = pytest.mark.timeout(900)


def greeting(stack):
    try:
        return requests.get(stack.url("HASHER"), timeout=2).text
    except requests.RequestException:
        return ""


def test_a_change_of_the_source_is_seen_at_once(make_stack, tmp_path):
    for name in ("compose.yaml", "requirements.lock", ".dockerignore"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "services", tmp_path / "services")
    (tmp_path / "faults").mkdir()
    stack = replace(make_stack("dockercoins-test-watch"), folder=tmp_path)
    log = tmp_path / "watch.log"
    command = ("docker", "compose", "--project-directory", str(tmp_path), "up", "--build", "--watch")
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [*command, "hasher"],
            env=stack.environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        ) as watch,
    ):
        try:
            poll_until("watching", lambda: "Watch enabled" in log.read_text(), 120)
            poll_until("hasher", lambda: "HASHER running on" in greeting(stack), 30)
            source = tmp_path / "services/hasher/hasher.py"
            source.write_text(source.read_text().replace("HASHER running on", "HASHER, edited, on"))
            poll_until("the edited hasher", lambda: "HASHER, edited, on" in greeting(stack), 60)
        finally:
            os.killpg(watch.pid, signal.SIGINT)  # as Ctrl-C does: `docker` and Compose are two processes
            watch.wait(60)
            stack.compose("down", "--volumes", "--rmi", "local")
