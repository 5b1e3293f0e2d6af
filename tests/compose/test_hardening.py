"""What a container may do: as the engine was told, and as it looks from inside."""

import re
import socket

import psutil
import pytest

from tests.compose.conftest import SERVICES, TOOLBOX

pytestmark = pytest.mark.timeout(900)

KERNEL = ("/proc", "/sys", "/dev")
# The data, /tmp, and what Docker puts there.
WRITABLE = {
    *("/tmp", "/data", "/prometheus", "/var/lib/grafana"),
    *("/etc/resolv.conf", "/etc/hostname", "/etc/hosts"),
}


def processes(stack, service):
    """Return what the kernel says of each process of a container, the visiting shell left out."""
    script = (
        "for process in /proc/[0-9]*; do"
        " test $process = /proc/$$ || test $(readlink $process/ns/net) = $(readlink /proc/$$/ns/net)"
        " || cat $process/status 2>/dev/null; echo; done"
    )
    texts = re.split(r"\n\n+", stack.beside(service, script))
    return [dict(re.findall(r"^(\w+):\s*(.*)$", text, re.MULTILINE)) for text in texts if "Uid" in text]


def test_no_process_is_root_or_has_a_capability_or_can_get_one(green, subtests):
    for service in green.services:
        with subtests.test(service=service):
            found = processes(green, service)
            assert len(found) >= 2, "the init and the service"
            for process in found:
                assert "0" not in process["Uid"].split()
                assert "0" not in process["Gid"].split()
                assert process["NoNewPrivs"] == "1"
                for capabilities in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
                    assert int(process[capabilities], 16) == 0


def test_the_root_file_system_cannot_be_written(green, subtests):
    for service in green.services:
        with subtests.test(service=service):
            mounts = [line.split() for line in green.beside(service, "cat /proc/1/mountinfo").splitlines()]
            options = {point: options.split(",") for _, _, _, _, point, options, *_ in mounts}
            assert "ro" in options["/"]
            writable = {mount for mount, flags in options.items() if "rw" in flags}
            assert {mount for mount in writable if not mount.startswith(KERNEL)} <= WRITABLE


def test_the_engine_limits_memory_and_processes(green, subtests):
    for service in green.services:
        with subtests.test(service=service):
            limits = green.inspect(service)["HostConfig"]
            assert 0 < limits["Memory"] <= 384 * 2**20
            assert 0 < limits["PidsLimit"] <= 256
            assert limits["ReadonlyRootfs"]
            assert limits["CapDrop"] == ["ALL"]
            assert not limits["CapAdd"]
            assert not limits["Privileged"]


def test_the_limit_of_processes_holds(green):
    code = (
        "import threading, itertools\n"
        "stop = threading.Event()\n"
        "for count in itertools.count():\n"
        "    try:\n"
        "        threading.Thread(target=stop.wait, daemon=True).start()\n"
        "    except RuntimeError:\n"
        "        break\n"
        "print(count, flush=True)\n"
        "stop.set()\n"
    )
    assert 200 < int(green.python("webui", code)) <= 256


def test_only_the_loopback_address_is_published(green, subtests):
    for service in green.services:
        with subtests.test(service=service):
            published = green.inspect(service)["NetworkSettings"]["Ports"]
            addresses = {binding["HostIp"] for bindings in published.values() for binding in bindings or []}
            assert addresses == ({"127.0.0.1"} if SERVICES[service].get("ports") else set())


def test_redis_is_not_published(green):
    assert not any(green.inspect("redis")["NetworkSettings"]["Ports"].values())


def test_redis_is_out_of_reach_of_a_container_outside(green):
    """On Docker's default network; a container of the project reaches it in the same way."""
    ask = ("timeout", "3", "redis-cli", "-h", green.address("redis"), "ping")
    (network,) = green.inspect("redis")["NetworkSettings"]["Networks"]
    for name, answer in ((network, "PONG"), ("bridge", "")):
        command = ("run", "--rm", "--network", name, "--entrypoint", "", TOOLBOX, *ask)
        assert green.engine.docker(*command, check=False).strip() == answer


def test_no_other_address_of_the_machine_answers(green):
    addresses = {
        address.address
        for interface in psutil.net_if_addrs().values()
        for address in interface
        if address.family == socket.AF_INET and not address.address.startswith("127.")
    }
    for address in addresses:
        for name, port in green.ports.items():
            with socket.socket() as client:
                client.settimeout(2)
                assert client.connect_ex((address, port)) != 0, f"{name} answers on {address}"
