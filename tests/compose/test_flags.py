"""A fault flag in containers: switched on from outside, seen in the metrics, and switched off again."""

import json

import pytest

from tests.support import poll_until
from workshop.faults import catalogue, signs
from workshop.lab import ROOT

pytestmark = pytest.mark.timeout(300)

# What Docker adds to the 15 s and 30 s of the native lab: a file has to get through a bind mount.
BROKEN_WITHIN = 20
HEALED_WITHIN = 35


def all_signs(stack, fault, state):
    values = [signs.measure(sign, stack.prometheus, stack.jaeger) for sign in fault.signs]
    return all(getattr(sign, f"is_{state}")(value) for sign, value in zip(fault.signs, values, strict=True))


def on(stack):
    return [entry["fault"] for entry in json.loads(stack.workshop("faults", "--json"))]


@pytest.mark.parametrize(
    "name",
    [
        "rng-slow",
        "redis-away",
        "rng-paused",
        "hasher-killed",
        "hasher-clock-skew",
        "collector-away",
        "prometheus-away",
    ],
)
def test_a_fault_shows_and_heals(green, name):
    fault = catalogue.find(name)
    poll_until("all is healthy", lambda: all_signs(green, fault, "healthy"), 60, 0.5)
    try:
        green.workshop("break", name)
        poll_until(f"{name} to be seen", lambda: all_signs(green, fault, "broken"), BROKEN_WITHIN, 0.5)
        assert on(green) == [name] * (name != "hasher-killed")
    finally:
        green.workshop("heal")
    poll_until(f"{name} to be healed", lambda: all_signs(green, fault, "healthy"), HEALED_WITHIN, 0.5)
    assert on(green) == []
    poll_until("all healthy", green.healthy, 60)


def test_each_project_has_a_file_of_its_own_that_all_services_can_read(green):
    green.workshop("heal")  # writes it
    assert (ROOT / "faults" / f"{green.project}.json").exists()
    read = "import os; print(len(open(os.environ['FAULTS_FILE']).read()))"
    for service in ("rng", "hasher", "worker", "webui"):
        assert int(green.python(service, read)) > 1000
