"""The images that the lab builds: what is in them, and how large that is."""

import json
import re
import sys

import pytest

from tests.compose.conftest import SERVICES, measured
from tests.compose.engine import run
from tests.compose.images import is_there, pinned
from workshop.lab import ROOT

pytestmark = pytest.mark.timeout(900)

# Over the base image, which all four share.
LARGEST = {"rng": 45e6, "hasher": 45e6, "worker": 30e6, "webui": 60e6}


@pytest.fixture(params=[name for name, service in SERVICES.items() if "build" in service])
def service(request):
    return request.param


def image(stack, service):
    return json.loads(stack.engine.docker("image", "inspect", f"{stack.project}-{service}"))[0]


def test_it_is_small(green, service):
    base = json.loads(green.engine.docker("image", "inspect", pinned()["python"]))[0]
    own = image(green, service)["Size"] - base["Size"]
    measured.append(
        f"image of {service}: {own / 2**20:.0f} MiB over its base of {base['Size'] / 2**20:.0f} MiB"
    )
    assert own <= LARGEST[service]


def test_it_tells_what_it_is(green, service):
    labels = image(green, service)["Config"]["Labels"]
    assert labels["org.opencontainers.image.title"] == f"DockerCoins {service}"
    assert labels["org.opencontainers.image.description"]
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"


def test_it_has_a_health_check_and_a_user(green, service):
    config = image(green, service)["Config"]
    assert config["Healthcheck"]["Test"]
    assert config["User"] == "10001:10001"


def test_there_is_only_its_own_source(green, service):
    code = "import os; print(*sorted(os.listdir('.')), *sorted(os.listdir('/venv/bin')))"
    files = green.python(service, code).split()
    assert files[:3] == sorted(["common", "telemetry", service])
    assert not {"pip", "uv", "tests"} & set(files)


def test_what_is_installed_is_what_is_locked(green, service):
    code = (
        "import importlib.metadata, sysconfig\n"
        "for one in importlib.metadata.distributions(path=[sysconfig.get_path('purelib')]):\n"
        "    print(one.name.lower().replace('_', '-'), one.version)\n"
    )
    lock = dict(
        re.findall(r"^([\w.-]+)==([^\s;\\]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    )
    installed = dict(line.split() for line in green.python(service, code).splitlines())
    assert "prometheus-client" in installed
    assert installed == {name: lock[name] for name in installed}


def test_stand_ins_are_made_for_what_the_engine_lacks_and_replace_nothing(green):
    images = {name: image for name, image in pinned().items() if name != "grafana"}
    lacking = images["otel-collector"] if "grafana" not in green.services else ""
    if lacking:  # it is a stand-in itself, and its container does without the name
        green.engine.docker("image", "rm", "--force", "--no-prune", lacking)
    command = [sys.executable, "-m", "tests.compose.images"]
    printed = run(command, green.engine.environment, timeout=300)
    told = dict(line.split(maxsplit=1) for line in printed.splitlines())
    assert told == {image: "stand-in" if image == lacking else "was there" for image in images.values()}
    assert all(is_there(green.engine, image) for image in images.values())
