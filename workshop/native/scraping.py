"""What Prometheus scrapes natively: the jobs of `prometheus/prometheus.yml`, found in files.

The file in the repository is the truth: intervals, labels and rules are taken from it. In containers its jobs
find their targets by name and port 9100. Natively every process has a port of its own on 127.0.0.1.
"""

from collections.abc import Collection
from pathlib import Path

import yaml

from workshop.files import write_json
from workshop.lab import ROOT, Lab

CONFIGURATION = ROOT / "prometheus" / "prometheus.yml"


def write_configuration(lab: Lab, programs: Collection[str]) -> None:
    """Write `prometheus.yml` for this lab into its folder, with the jobs of the programs that it runs."""
    configuration = yaml.safe_load(CONFIGURATION.read_text())
    configuration["rule_files"] = [
        str(CONFIGURATION.parent / pattern) for pattern in configuration.get("rule_files", [])
    ]
    jobs = []
    for job in configuration["scrape_configs"]:
        targets = _targets(lab, job["job_name"], programs)
        if targets is not None:
            job = {
                key: value for key, value in job.items() if not key.endswith(("sd_configs", "static_configs"))
            }
            jobs.append(job | {"file_sd_configs": [{"files": [str(_file(lab, job["job_name"]))]}]})
            _write_targets(lab, job["job_name"], targets)
    configuration["scrape_configs"] = jobs
    (lab.state / "prometheus.yml").write_text(yaml.safe_dump(configuration, sort_keys=False))


def write_worker_targets(lab: Lab, programs: Collection[str]) -> None:
    """Tell a running Prometheus which workers there are now."""
    _write_targets(lab, "worker", _targets(lab, "worker", programs) or [])


def _targets(lab: Lab, job: str, programs: Collection[str]) -> list[int] | None:
    """Return the ports to scrape for a job; None if the lab runs nothing of that kind."""
    if job == "worker":
        workers = [int(name.removeprefix("worker-")) for name in programs if name.startswith("worker-")]
        return [lab.worker_metrics_port(number) for number in workers]
    embedded = "otel-collector" not in programs
    variables: dict[str, str | None] = {
        "rng": "RNG_METRICS_PORT",
        "hasher": "HASHER_METRICS_PORT",
        "webui": "WEBUI_METRICS_PORT",
        "prometheus": "PROMETHEUS_PORT",
        "jaeger": "JAEGER_PORT" if embedded else "JAEGER_METRICS_PORT",
        "otel-collector": None if embedded else "COLLECTOR_METRICS_PORT",
        "span-metrics": None if embedded else "SPAN_METRICS_PORT",
    }
    variable = variables[job]
    return None if variable is None else [lab.ports[variable]]


def _file(lab: Lab, job: str) -> Path:
    return lab.state / "targets" / f"{job}.json"


def _write_targets(lab: Lab, job: str, ports: list[int]) -> None:
    write_json(_file(lab, job), [{"targets": [f"127.0.0.1:{port}" for port in ports]}])
