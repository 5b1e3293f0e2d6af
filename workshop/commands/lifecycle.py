"""`workshop up`, `down` and `scale`."""

import re

import click
from rich.console import Console

from workshop.lab import MAX_WORKERS, Lab, SettingError
from workshop.native import runner, supervision

console = Console()

# What there is to open. Prometheus and Jaeger may be builds without pages: these are requests to their APIs.
PAGES = {
    "webui": ("WEBUI_PORT", "", "the speed, live"),
    "console": ("CONSOLE_PORT", "", "dashboards, traces and alerts"),
    "rng": ("RNG_PORT", "/32", "32 random bytes"),
    "hasher": ("HASHER_PORT", "", "SHA-256 of what is posted"),
    "Prometheus": ("PROMETHEUS_PORT", "/api/v1/query?query=up", "metrics, by its API"),
    "Jaeger": ("JAEGER_PORT", "/api/services", "traces, by its API"),
}


def up(lab: Lab, workers: int) -> None:
    """Start the lab, show the progress, and end with a table of URLs."""
    if supervision.connect(lab) is not None:
        click.echo(f"the lab {lab.project!r} is already up; `workshop status` tells more")
        click.echo(
            "`workshop scale worker=N` changes the workers; `workshop down` comes before other changes"
        )
        show_pages(runner.choose(lab.project, None))
        return
    with console.status("starting"):
        runner.up(lab, workers, say=click.echo)
    show_pages(lab)


def show_pages(lab: Lab) -> None:
    """Print what there is to open."""
    for name, (variable, path, text) in PAGES.items():
        click.echo(f"{name:<11} {lab.url(variable) + path:<50} {text}")


def down(lab: Lab, *, volumes: bool) -> None:
    """Stop the lab, and say so."""
    with console.status("stopping"):
        ran = runner.down(lab, volumes=volumes)
    click.echo(f"the lab {lab.project!r} {'is stopped' if ran else 'was not running'}")
    if volumes:
        click.echo("its data is removed")


def scale(lab: Lab, service_count: str) -> None:
    """Bring the number of workers to that of `worker=N`."""
    match = re.fullmatch(r"worker=([0-9]{1,3})", service_count)
    if match is None or int(match[1]) > MAX_WORKERS:
        raise SettingError(f"{service_count!r} is not usable: worker=0 to worker={MAX_WORKERS} is accepted")
    runner.scale(lab, int(match[1]), say=click.echo)
    click.echo(f"workers: {int(match[1])}")
