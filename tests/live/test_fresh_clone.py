"""What a student does: clone the repository on a machine with python3 and make, and type one command."""

import os
import subprocess
from time import monotonic

import requests

from tests.live.conftest import Lab
from workshop.lab import ROOT


def test_make_up_in_a_fresh_clone(tmp_path):
    """The first start, with empty caches, takes 120 s at most. Only what is committed is in the clone."""
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    lab = Lab(clone / ".lab", project="fresh")
    (clone / ".env").write_text("".join(f"{name}={value}\n" for name, value in lab.settings.items()))
    env = {
        name: value for name, value in os.environ.items() if not name.startswith(("VIRTUAL_ENV", "PYTHON"))
    }
    env |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}

    started = monotonic()
    up = make(clone, "up", env)
    seconds = monotonic() - started
    try:
        assert up.returncode == 0, up.stdout + up.stderr
        assert "data ready in " in up.stdout
        assert seconds <= 120
        assert requests.get(f"{lab.url('WEBUI_PORT')}/json", timeout=5).json()["hashes"] > 0
    finally:
        down = make(clone, "down", env)
    assert down.returncode == 0, down.stdout + down.stderr
    assert lab.processes() == []
    tracked = subprocess.run(
        ["git", "status", "--short"], cwd=clone, capture_output=True, text=True, check=True
    )
    assert tracked.stdout == "", "starting the lab leaves nothing for git to see"


def make(folder, target, env):
    return subprocess.run(["make", target], cwd=folder, env=env, capture_output=True, text=True, timeout=280)
