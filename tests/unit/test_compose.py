"""compose.yaml and what it starts, as text and through the programs' own checks; no engine is needed."""

import ast
import itertools
import json
import os
import re
import subprocess
import sys
from urllib.parse import urlsplit

import pytest
import yaml
from dotenv import dotenv_values

from tests.support import addresses, require
from workshop.lab import PORTS, ROOT

TEXT = (ROOT / "compose.yaml").read_text()
COMPOSE = yaml.safe_load(TEXT)
SERVICES = COMPOSE["services"]
BUILT = [name for name, service in SERVICES.items() if "build" in service]
EXAMPLE = dotenv_values(ROOT / ".env.example")
SCRAPE_CONFIGS = yaml.safe_load((ROOT / "prometheus/prometheus.yml").read_text())["scrape_configs"]
DATA_SOURCES = yaml.safe_load((ROOT / "grafana/provisioning/datasources/datasources.yaml").read_text())[
    "datasources"
]

KEY_ORDER = (
    *("<<", "image", "build", "develop", "command", "user", "environment", "ports", "volumes", "tmpfs"),
    *("depends_on", "healthcheck", "stop_grace_period", "mem_limit"),
)
PUBLISHED = {
    "WEBUI_PORT": 8000,
    "RNG_PORT": 8001,
    "HASHER_PORT": 8002,
    "GRAFANA_PORT": 3000,
    "PROMETHEUS_PORT": 9090,
    "JAEGER_PORT": 16686,
    "OTLP_PORT": 4318,
}
TEXTS = {".py", ".yaml", ".yml", ".json", ".js", ".css", ".html", ".svg", ".txt"}
# A container has its service's ports to itself.
NOT_SETTABLE = {"PORT", "METRICS_PORT"}


def dockerfile(service):
    return (ROOT / "services" / service / "Dockerfile").read_text()


def variables(text):
    """Return the variables that a text takes from its environment, each with its default."""
    found = {}
    for name, default in re.findall(r"\$\{(\w+)(?::-([^}]*))?", text):
        found[name] = default or found.get(name, "")
    return found


def settings(service):
    """Return the settings that the code of a service reads, each with its default if that is a number."""
    files = [*(ROOT / "services" / service).glob("*.py"), *(ROOT / "services/telemetry").glob("*.py")]
    found = {}
    for file in [*files, ROOT / "services/common/settings.py", ROOT / "services/common/server.py"]:
        for call in ast.walk(ast.parse(file.read_text())):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "").startswith("read_") and call.args:
                arguments = [getattr(argument, "value", None) for argument in call.args]
                if str(arguments[0]).isupper():
                    default = arguments[1] if len(arguments) > 1 else None
                    found[arguments[0]] = default if isinstance(default, int | float) else None
    return found


# ---- compose.yaml


def test_services_are_named_like_their_folders():
    for name in SERVICES.keys() - {"redis"}:
        folder = "services/" + name if name in BUILT else name
        assert (ROOT / folder).is_dir()
    for name in BUILT:
        assert SERVICES[name]["build"] == {"context": ".", "dockerfile": f"services/{name}/Dockerfile"}


@pytest.mark.parametrize("name", SERVICES)
def test_keys_of_a_service_are_in_order(name):
    root = {key.value: value for key, value in yaml.compose(TEXT).value}
    services = {key.value: value for key, value in root["services"].value}
    keys = [key.value for key, _ in services[name].value]
    assert keys == [key for key in KEY_ORDER if key in keys]


@pytest.mark.parametrize("name", [name for name in SERVICES if name not in BUILT])
def test_images_are_pinned(name):
    assert re.search(r":v?\d+\.\d+[\w.-]*$", SERVICES[name]["image"])


def test_nothing_has_a_name_that_a_second_project_would_share():
    shared = {"x-container", "x-watch", "x-faults", "x-workbench", "x-service-environment"}
    assert COMPOSE.keys() == {"name", "services", "volumes"} | shared
    assert set(COMPOSE["volumes"].values()) == {None}
    for service in SERVICES.values():
        assert not service.keys() & {"container_name", "hostname", "networks", "network_mode"}


def test_ports_are_published_on_the_loopback_address_only_and_can_be_changed():
    published = {}
    for service in SERVICES.values():
        for port in service.get("ports", []):
            variable, default = re.fullmatch(r"127\.0\.0\.1:\$\{(\w+):-(\d+)}:\d+", port).groups()
            published[variable] = int(default)
    assert published == PUBLISHED
    assert "ports" not in SERVICES["redis"]


def test_no_other_address_is_in_the_code_or_the_configuration():
    folders = ("services", "prometheus", "otel-collector", "jaeger", "grafana")
    files = [file for folder in folders for file in (ROOT / folder).rglob("*") if file.is_file()]
    for file in files:
        if file.suffix in TEXTS or file.name == "Dockerfile":
            assert addresses(file.read_text()) <= {"0.0.0.0"}, file  # every address of the container itself
    assert addresses(TEXT) == {"127.0.0.1"}
    assert TEXT.count("127.0.0.1") == len(PUBLISHED)


@pytest.mark.parametrize("name", BUILT)
def test_a_service_is_built_anew_when_what_it_contains_changes(name):
    contained = re.findall(r"^COPY (services/[a-z]+) ", dockerfile(name), re.MULTILINE)
    rules = SERVICES[name]["develop"]["watch"]
    assert {rule["path"] for rule in rules} == set(contained)
    assert {rule["action"] for rule in rules} == {"rebuild"}


@pytest.mark.parametrize("name", SERVICES)
def test_containers_are_hardened(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["init"] is True
    assert service["restart"] == "unless-stopped"
    assert service["pids_limit"] > 0
    assert service["logging"] == {"driver": "json-file", "options": {"max-size": "10m", "max-file": "3"}}
    if name in BUILT:
        users = re.findall(r"^USER (.*)$", dockerfile(name), re.MULTILINE)
        assert users == ["10001:10001"]
        assert "user" not in service
    else:
        user, group = service["user"].split(":")  # without a group, it would be the image that chooses it
        assert not {user, group} & {"", "0", "root"}


def test_all_containers_together_fit_into_2_gigabytes():
    limits = [re.fullmatch(r"(\d+)m", service["mem_limit"]) for service in SERVICES.values()]
    assert sum(int(limit[1]) for limit in limits) <= 2048


def test_what_is_mounted_is_there_and_cannot_be_written():
    for service in SERVICES.values():
        volumes = [re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", volume) for volume in service.get("volumes", [])]
        for source, _, target in (volume.partition(":") for volume in volumes):
            if source.startswith("./"):
                assert (ROOT / source).exists()
                assert target.endswith(":ro")
            else:
                assert source in COMPOSE["volumes"]


@pytest.mark.parametrize("name", BUILT)
def test_a_service_on_the_workbench_comes_before_that_of_the_image(name, tmp_path):
    """As in a container: started in the folder of the services, with the paths that compose.yaml sets."""
    assert "${WORKBENCH:-./workbench}:/workbench:ro" in SERVICES[name]["volumes"]
    folder = re.findall(r"^WORKDIR (.*)$", dockerfile(name), re.MULTILINE)[-1]
    for file in ("__init__.py", "found.py"):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / file).write_text("import common\nprint(__file__, common.__file__)\n")
    paths = {"/workbench": str(tmp_path), folder: str(ROOT / "services")}
    environment = SERVICES[name]["environment"]
    done = subprocess.run(
        [sys.executable, "-m", f"{name}.found"],
        cwd=paths[folder],
        env={
            "PYTHONPATH": ":".join(paths[path] for path in environment["PYTHONPATH"].split(":")),
            "PYTHONSAFEPATH": environment["PYTHONSAFEPATH"],
        },
        capture_output=True,
        text=True,
        check=True,
    )
    common = ROOT / "services/common/__init__.py"
    for line, file in zip(done.stdout.splitlines(), ("__init__.py", "found.py"), strict=True):
        assert line == f"{tmp_path / name / file} {common}"


def test_the_worker_starts_when_its_first_loop_can_succeed():
    healthy = {"condition": "service_healthy"}
    assert SERVICES["worker"]["depends_on"] == {"redis": healthy, "rng": healthy, "hasher": healthy}
    for name in ("rng", "hasher", "worker", "webui"):
        assert "HEALTHCHECK" in dockerfile(name)
        assert "healthcheck" not in SERVICES[name]  # one place


def test_the_application_needs_nothing_that_observes_it():
    application = {"redis", *BUILT}
    for name in application:
        assert SERVICES[name].get("depends_on", {}).keys() <= application


def test_redis_keeps_what_it_acknowledged():
    command = SERVICES["redis"]["command"]
    assert "--appendonly yes --appendfsync always" in command
    assert "redis-data:/data" in SERVICES["redis"]["volumes"]


# ---- .env.example


def test_env_example_lists_every_variable_of_compose_with_its_default():
    used = variables(TEXT) | {"COMPOSE_PROJECT_NAME": COMPOSE["name"]}
    assert {name: EXAMPLE.get(name) for name in used} == used
    native = (PORTS.keys() - PUBLISHED) | {"PORT_OFFSET", "TRACE_BACKEND", "WORKSHOP_TEACHER", "CLASS_KEY"}
    assert EXAMPLE.keys() - used == native


def test_env_example_has_the_ports_of_the_native_way():
    assert {name: int(EXAMPLE[name]) for name in PORTS} == PORTS


def test_env_example_says_of_each_variable_what_it_is():
    lines = (ROOT / ".env.example").read_text().splitlines()
    for before, line in itertools.pairwise(lines):
        if "=" in line and not line.startswith("#"):
            assert before.startswith("# ")


@pytest.mark.parametrize("name", BUILT)
def test_every_setting_of_a_service_can_be_set(name):
    environment = SERVICES[name]["environment"]
    read = settings(name)
    assert read.keys() - NOT_SETTABLE <= environment.keys()
    for setting, default in read.items():
        if default is not None and setting not in NOT_SETTABLE:
            assert float(variables(environment[setting])[setting]) == default


# ---- Dockerfiles


@pytest.mark.parametrize("name", ["hasher", "worker", "webui"])
def test_images_are_built_alike(name):
    def parts(service):
        _, build, final = dockerfile(service).replace(service, "SERVICE").split("FROM ")
        final = re.sub(r"description=.*", "", final.partition("EXPOSE")[0])
        return build.strip(), final

    build, final = parts(name)
    rng_build, rng_final = parts("rng")
    assert build.startswith(rng_build)  # webui's has one step more
    assert final == rng_final


@pytest.mark.parametrize("name", BUILT)
def test_images_install_what_is_locked(name):
    assert "--require-hashes --constraint requirements.lock --requirement requirements.txt" in dockerfile(
        name
    )
    assert f"COPY services/{name}/requirements.txt" in dockerfile(name)


def test_what_the_images_copy_is_in_the_build_context():
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[1:4] == ["*", "!requirements.lock", "!services"]
    for name in BUILT:
        for source in re.findall(r"^COPY (?!--from)(\S+)", dockerfile(name), re.MULTILINE):
            assert source.split("/")[0] in ("requirements.lock", "services")
            assert (ROOT / source).exists()


# ---- Prometheus


def test_each_job_is_one_service():
    jobs = {job["job_name"] for job in SCRAPE_CONFIGS}
    assert jobs - {"span-metrics"} == SERVICES.keys() - {"redis", "grafana"}
    for job in SCRAPE_CONFIGS:
        for group in job.get("static_configs", []):
            for target in group["targets"]:
                host = target.partition(":")[0]
                assert host == {"span-metrics": "otel-collector"}.get(job["job_name"], job["job_name"])


def test_workers_are_found_by_their_name():
    (worker,) = (job for job in SCRAPE_CONFIGS if job["job_name"] == "worker")
    (discovery,) = worker["dns_sd_configs"]
    assert discovery == {"names": ["worker"], "type": "A", "port": 9100, "refresh_interval": "5s"}


def test_prometheus_accepts_its_configuration_and_rules():
    check = subprocess.run(
        [require("promtool"), "check", "config", "prometheus/prometheus.yml"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert check.returncode == 0, check.stdout + check.stderr


def test_recording_rules_compute_what_they_should():
    check = subprocess.run(
        [require("promtool"), "test", "rules", *sorted((ROOT / "prometheus/tests").glob("*.yml"))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert check.returncode == 0, check.stdout + check.stderr


# ---- Grafana


def test_data_sources_are_services_and_lead_to_each_other():
    uids = {source["uid"] for source in DATA_SOURCES}
    for source in DATA_SOURCES:
        assert urlsplit(source["url"]).hostname == source["type"] == source["uid"]
        assert source["type"] in SERVICES
    prometheus, jaeger = DATA_SOURCES
    assert prometheus["jsonData"]["exemplarTraceIdDestinations"] == [
        {"name": "trace_id", "datasourceUid": "jaeger"}
    ]
    assert jaeger["jsonData"]["tracesToMetrics"]["datasourceUid"] in uids


def test_nobody_can_log_in_to_grafana():
    environment = SERVICES["grafana"]["environment"]
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert not [name for name in environment if "PASSWORD" in name]


# ---- docker compose


def config(env_file, *arguments, **environment):
    """Return what Docker Compose makes of compose.yaml, with `env_file` in the place of .env."""
    inherited = {name: value for name, value in os.environ.items() if name not in EXAMPLE}
    done = subprocess.run(
        [require("compose"), "--env-file", env_file, *arguments, "config", "--format", "json"],
        cwd=ROOT,
        env=inherited | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr
    return json.loads(done.stdout)


def published(configuration):
    return {
        int(port["published"])
        for service in configuration["services"].values()
        for port in service.get("ports", [])
    }


def test_compose_accepts_the_file_as_it_is():
    configuration = config(os.devnull)
    assert configuration["name"] == "dockercoins"
    assert published(configuration) == set(PUBLISHED.values())
    worker = configuration["services"]["worker"]["environment"]
    assert worker["WORKER_DELAY"] == "0.1"
    assert worker["TELEMETRY"] == "on"
    assert worker["OTEL_RESOURCE_ATTRIBUTES"] == "service.namespace=dockercoins"


def test_env_example_changes_nothing():
    assert config(ROOT / ".env.example") == config(os.devnull)


def test_a_setting_comes_from_env_and_the_environment_wins(tmp_path):
    env_file = tmp_path / ".env"
    env_file.write_text(
        "RNG_DELAY=0.2\nHASHER_DELAY=0.3\nRNG_PORT=9001\nOTEL_RESOURCE_ATTRIBUTES=room=12,seat=3\n"
    )
    services = config(env_file, RNG_DELAY="0.5")["services"]
    assert services["rng"]["environment"]["RNG_DELAY"] == "0.5"
    assert services["hasher"]["environment"]["HASHER_DELAY"] == "0.3"
    assert services["rng"]["ports"][0]["published"] == "9001"
    attributes = services["rng"]["environment"]["OTEL_RESOURCE_ATTRIBUTES"]
    assert attributes == "service.namespace=dockercoins,room=12,seat=3"


def test_a_second_project_shares_nothing_with_the_first(tmp_path):
    env_file = tmp_path / "green.env"
    env_file.write_text("".join(f"{name}={port + 100}\n" for name, port in PUBLISHED.items()))
    blue, green = config(os.devnull), config(env_file, "--project-name", "green")
    assert green["name"] == "green"
    assert not published(blue) & published(green)
    for kind in ("networks", "volumes"):
        assert not {one["name"] for one in blue[kind].values()} & {
            one["name"] for one in green[kind].values()
        }
    rng = green["services"]["rng"]["environment"]
    assert rng["OTEL_RESOURCE_ATTRIBUTES"] == "service.namespace=green"
