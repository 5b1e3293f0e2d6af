"""Blue beside green: two projects of the same application on one machine, and the end of one of them."""

import pytest

from tests.compose.conftest import running
from tests.support import poll_until

pytestmark = pytest.mark.timeout(900)

PROBE = """
import socket
with socket.socket() as client:
    client.settimeout(2)
    print("not reached" if client.connect_ex(({!r}, {})) else "reached")
"""


@pytest.fixture(scope="module")
def blue(make_stack, green):
    """A second project, started while the first runs."""
    with running(make_stack("dockercoins-test-blue")) as stack:
        yield stack


@pytest.fixture(scope="module", autouse=True)
def before_blue(green):
    """What the engine has before the second project starts."""
    return everything(green.engine)


def everything(engine):
    """Return every container, network and volume of an engine."""
    return {
        kind: set(engine.docker(*command, "--quiet").split())
        for kind, command in {
            "container": ["ps", "--all"],
            "network": ["network", "ls"],
            "volume": ["volume", "ls"],
        }.items()
    }


def started_at(stack):
    return {service: stack.inspect(service)["State"]["StartedAt"] for service in stack.services}


def test_each_redis_has_its_own_address_under_the_same_name(blue, green):
    resolve = "import socket; print(socket.gethostbyname('redis'))"
    addresses = {stack.project: stack.python("worker", resolve) for stack in (blue, green)}
    assert addresses == {stack.project: stack.address("redis") for stack in (blue, green)}
    assert len(set(addresses.values())) == 2


def test_each_counts_its_own_hashes(blue, green):
    """Each counter has the accounts of its own worker alone, and goes on while the other stands still."""
    keys = {stack.project: set(stack.redis("KEYS", "worker:*").split()) for stack in (blue, green)}
    assert all(keys.values())
    assert not keys[blue.project] & keys[green.project]
    blue.compose("stop", "worker")
    try:
        still = blue.hashes()
        before = green.hashes()
        poll_until("green mines on", lambda: green.hashes() > before + 5)
        assert blue.hashes() == still
    finally:
        blue.compose("start", "worker")


def test_redis_is_out_of_reach_of_the_other_project(blue, green):
    for stack, other in ((blue, green), (green, blue)):
        assert stack.python("worker", PROBE.format("redis", 6379)) == "reached"
        assert stack.python("worker", PROBE.format(other.address("redis"), 6379)) == "not reached"


def test_the_end_of_blue_leaves_nothing_and_green_untouched(blue, green, before_blue):
    before, counted = started_at(green), green.hashes()
    blue.compose("down", "--volumes")
    assert everything(blue.engine) == before_blue
    assert started_at(green) == before
    assert green.healthy()
    assert green.hashes() > counted
    assert green.speed(10) >= 3.0
