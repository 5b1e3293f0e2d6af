"""A Docker engine for the tests: the one that runs on this machine, else, in CI, one of their own.

The engine of their own keeps its images in the tools cache, for the next run; everything else of it is gone
afterwards: processes, containers, networks, volumes, mounts, firewall rules.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.support import IN_CI, poll_until
from workshop.lab import ROOT
from workshop.native import backends, toolcache
from workshop.native.external import BackendError

FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
FIREWALL_TABLES = ("filter", "nat")
KEPT_BUILD_CACHE = "2GB"


@dataclass(frozen=True)
class Engine:
    """An engine that answers; `environment` leads `docker` and `docker compose` to it.

    `disposable`: nobody minds images in it that are not what their names say.
    """

    environment: dict[str, str]
    disposable: bool

    def docker(self, *arguments: str, timeout: float = 60, check: bool = True) -> str:
        """Return what a `docker` command prints; fail with its complaint if it fails."""
        return run(["docker", *arguments], self.environment, timeout=timeout, check=check)


def run(
    command: list[str],
    environment: dict[str, str],
    *,
    timeout: float = 60,
    check: bool = True,
    folder: Path = ROOT,
) -> str:
    """Return what a command prints to its standard output; fail with all that it printed if it fails."""
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=timeout
    )
    assert not check or done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
    return done.stdout


@contextmanager
def engine(folder: Path) -> Iterator[Engine]:
    """Give the engine that answers here, else start one, which ends with the block; `folder`: for settings.

    Raises `BackendError` where there is none, and none may be started.
    """
    environment = with_compose(folder)
    if answers(environment):
        yield Engine(environment, disposable=IN_CI)
        return
    if not (IN_CI and os.geteuid() == 0):
        raise BackendError("no Docker engine answers `docker info`; the tests start one as root in CI only")
    with started(environment) as own:
        yield own


def with_compose(folder: Path) -> dict[str, str]:
    """Return an environment in which `docker compose` works: with the plugin of `make tools` if need be.

    Raises `BackendError` where there is neither.
    """
    try:
        if succeeds(["docker", "compose", "version"], dict(os.environ)):
            return dict(os.environ)
    except FileNotFoundError:
        raise BackendError("there is no `docker` here") from None
    compose = backends.find("compose")
    if compose is None:
        raise BackendError("there is no `docker compose` here: `make tools` builds it")
    plugin = folder / "cli-plugins" / "docker-compose"
    plugin.parent.mkdir(parents=True)
    plugin.symlink_to(compose.path)
    return {**os.environ, "DOCKER_CONFIG": str(folder)}


def succeeds(command: list[str], environment: dict[str, str]) -> bool:
    done = subprocess.run(command, env=environment, capture_output=True, timeout=30)
    return done.returncode == 0


def answers(environment: dict[str, str]) -> bool:
    return succeeds(["docker", "info", "--format", "{{.ServerVersion}}"], environment)


@contextmanager
def started(environment: dict[str, str]) -> Iterator[Engine]:
    """Run an engine for the time of the block; one run at a time on a machine."""
    folder = toolcache.folder() / "engine"
    socket = f"unix://{folder}/docker.sock"
    own = Engine({**environment, "DOCKER_HOST": socket}, disposable=True)
    folders = ("--data-root", str(folder / "data"), "--exec-root", str(folder / "run"))
    command = ["dockerd", "--host", socket, "--pidfile", str(folder / "dockerd.pid"), *folders]
    folder.mkdir(parents=True, exist_ok=True)
    with toolcache.locked(folder, print):
        end(folder)  # what a run that was killed has left
        with (
            network_restored(),
            (folder / "dockerd.log").open("wb") as log,
            subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True) as dockerd,
        ):
            try:
                poll_until(
                    f"the engine, see {log.name}", lambda: dockerd.poll() or answers(own.environment), 60, 0.2
                )
                assert dockerd.poll() is None, f"dockerd ends at once, see {log.name}"
                remove_all(own)
                yield own
                remove_all(own)
                own.docker("image", "prune", "--force")
                own.docker("builder", "prune", "--force", "--keep-storage", KEPT_BUILD_CACHE)
            finally:
                end(folder)


def remove_all(own: Engine) -> None:
    """Remove every container, network and volume, but no image."""
    if containers := own.docker("ps", "--all", "--quiet").split():
        own.docker("rm", "--force", "--volumes", *containers)
    own.docker("network", "prune", "--force")
    if volumes := own.docker("volume", "ls", "--quiet").split():
        own.docker("volume", "rm", *volumes)


def processes(folder: Path) -> list[psutil.Process]:
    """Return dockerd and its helpers, which all have the engine's folder in their command line."""
    found = []
    for process in psutil.process_iter():
        try:
            command = process.cmdline()
        except psutil.Error:
            continue
        if command and Path(command[0]).name.startswith(("dockerd", "containerd")):
            found += [process] if any(str(folder) in argument for argument in command) else []
    return found


def end(folder: Path) -> None:
    """End an engine, its helpers, and what it has mounted."""
    found = processes(folder)
    for process in found:
        if process.name() == "dockerd":
            process.terminate()  # it ends its helpers, unless it is gone and they are what a crash has left
    psutil.wait_procs(found, timeout=30)
    left = processes(folder)
    left += [child for process in left for child in process.children(recursive=True)]
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    _, alive = psutil.wait_procs(left, timeout=30)
    assert not alive, f"these do not end: {alive}"
    for mount in reversed(mounts(folder)):
        subprocess.run(["umount", "--lazy", mount], check=True)


def mounts(folder: Path) -> list[str]:
    """Return what is mounted below a folder, the outer before the inner."""
    points = (line.split()[1] for line in Path("/proc/mounts").read_text().splitlines())
    return [point for point in points if point.startswith(f"{folder}/")]


@contextmanager
def network_restored() -> Iterator[None]:
    """Put back afterwards what an engine changes of the machine's network: bridge, firewall, forwarding."""
    forwarding, interfaces = FORWARDING.read_text(), set(os.listdir("/sys/class/net"))
    firewall = {
        table: subprocess.run(["iptables-save", "-t", table], capture_output=True, text=True, check=True)
        for table in FIREWALL_TABLES
    }
    try:
        yield
    finally:
        for bridge in set(os.listdir("/sys/class/net")) - interfaces:
            subprocess.run(["ip", "link", "delete", bridge], check=True)
        for table, saved in firewall.items():
            rules = saved.stdout or f"*{table}\nCOMMIT\n"
            subprocess.run(["iptables-restore", "-T", table], input=rules, text=True, check=True)
        FORWARDING.write_text(forwarding)
