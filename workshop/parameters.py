"""The kinds of arguments that the `workshop` command takes: what is accepted, and how each is completed."""

import re
from typing import Any

import click

from workshop.faults import catalogue

SERVICES = ("rng", "hasher", "worker", "webui", "redis", "prometheus", "jaeger", "otel-collector", "console")


class Service(click.ParamType[str]):
    """A service of the lab; `worker` means all workers, `worker-3` one of them."""

    name = "service"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name, or fail with the names that are accepted."""
        kind, _, number = value.partition("-")
        if value not in SERVICES and not (kind == "worker" and number.isdigit()):
            self.fail(f"{value!r} is no service: {', '.join(SERVICES)} or worker-1 is accepted", param, ctx)
        return value

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[click.shell_completion.CompletionItem]:
        """Complete the names of the services."""
        names = [name for name in SERVICES if name.startswith(incomplete)]
        return [click.shell_completion.CompletionItem(name) for name in names]


class FaultName(click.ParamType[str]):
    """A fault of the catalogue."""

    name = "fault"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name, or fail with the names that are nearest to it."""
        return catalogue.find(value).name

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[click.shell_completion.CompletionItem]:
        """Complete the names of the faults."""
        return [
            click.shell_completion.CompletionItem(fault.name, help=fault.summary)
            for fault in catalogue.faults().values()
            if fault.name.startswith(incomplete)
        ]


class Duration(click.ParamType[float]):
    """A time in seconds, or with a unit: 90, 90s, 2m, 1h."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the seconds, or fail with what is accepted."""
        if isinstance(value, float):
            return value
        match = re.fullmatch(r"([0-9]{1,6})([smh]?)", value)
        if match is None or int(match[1]) == 0:
            self.fail(f"{value!r} is no duration: 90s, 2m or 1h is accepted", param, ctx)
        return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]
