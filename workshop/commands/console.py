"""`workshop console`."""

import click

from workshop import docker
from workshop.lab import Lab
from workshop.native import supervision


def serve(lab: Lab) -> int:
    """Serve the console of a lab in Docker, or of one that is yet to start; return the exit code."""
    if supervision.connect(lab) is not None:
        click.echo(f"the console of the lab {lab.project!r} is at {lab.url('CONSOLE_PORT')}")
        return 0
    # Not above: every other command would wait for these pages to be imported.
    from workshop.console import server
    from workshop.console.backends import Backends

    prometheus, jaeger, grafana = (
        docker.backend_url(lab, service, f"{service.upper()}_PORT")
        for service in ("prometheus", "jaeger", "grafana")
    )
    return server.serve(lab.ports["CONSOLE_PORT"], Backends(prometheus, jaeger, grafana), lab)
