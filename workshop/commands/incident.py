"""`workshop incident`."""

import json
import random
from dataclasses import asdict
from difflib import get_close_matches
from time import time

import click
from rich.console import Console
from rich.table import Table

from workshop import docker
from workshop.clients import Prometheus
from workshop.faults import catalogue, incidents
from workshop.faults.incidents import Incident
from workshop.lab import Lab, SettingError

console = Console()


def start(lab: Lab, seed: int | None, level: int) -> None:
    """Begin an incident, and say how it goes on."""
    number = random.randrange(10_000) if seed is None else seed  # noqa: S311 - not a secret
    incident = incidents.start(lab, number, level)
    count = len(incident.faults)
    click.echo(
        f"incident {number} of level {level} is under way: "
        f"{'one thing is' if count == 1 else f'{count} things are'} broken"
    )
    click.echo("`workshop incident seen` when you see the first symptom,")
    click.echo("`workshop incident solve SERVICE CAUSE` when you know what it is;")
    click.echo("`workshop incident causes` lists the causes that there are")
    click.echo(f"the same for everybody: workshop incident start --seed {number} --level {level}")


def see(lab: Lab) -> None:
    """Stop the clock of the detection."""
    incident = incidents.see(lab)
    assert incident.seen is not None  # noqa: S101 - that is what `see` does
    click.echo(f"detected after {_minutes(incident.seen - incident.started)}")


def solve(lab: Lab, service: str, cause: str) -> int:
    """Judge a diagnosis; return 0 if it is right, else 1. Raises `SettingError` for unknown words."""
    _check("service", service, {fault.service for fault in catalogue.faults().values()})
    _check("cause", cause, {fault.cause for fault in catalogue.faults().values()})
    incident, hit = incidents.solve(lab, service, cause)
    if hit is None:
        click.echo(f"{service} {cause}: no; {incident.wrong_answers} wrong so far. The incident goes on.")
        return 1
    click.echo(f"{service} {cause}: right. {hit.summary}")
    click.echo(f"cure: {hit.cure}")
    if incident.left:
        click.echo(f"healed; {len(incident.left)} more to find")
    else:
        _report(lab, incident)
    return 0


def give_up(lab: Lab) -> None:
    """End the incident and explain it."""
    incident = incidents.give_up(lab)
    for fault in incident.faults:
        found = "  (you found it)" if fault.name in incident.found else ""
        click.echo(f"{fault.service} {fault.cause}: {fault.summary}{found}")
        for step in fault.diagnosis:
            click.echo(f"  - {step}")
        click.echo(f"  alert: {fault.alert or f'none. {fault.no_alert}'}")
        click.echo(f"  cure: {fault.cure}")
    click.echo(f"healed; {incident.points} points")


def show(lab: Lab, *, as_json: bool) -> None:
    """Tell how the incident that is under way stands, and the scores."""
    incident, scores = incidents.current(lab), incidents.scores(lab)
    if as_json:
        now = None
        if incident:
            now = {k: v for k, v in asdict(incident).items() if k not in ("found", "gave_up")}
            now |= {"found": len(incident.found), "left": len(incident.left)}
        print(json.dumps({"incident": now, "scores": scores}, indent=2))
        return
    if incident:
        detected = incident.seen and f", detected after {_minutes(incident.seen - incident.started)}"
        click.echo(
            f"incident {incident.seed} of level {incident.level}, under way for "
            f"{_minutes(time() - incident.started)}{detected or ''}: {len(incident.left)} to find, "
            f"{incident.wrong_answers} wrong answers"
        )
    else:
        click.echo("no incident is under way: `workshop incident start` begins one")
    if scores:
        table = Table(box=None, pad_edge=False)
        for column in ("seed", "level", "found", "wrong", "to detect", "to diagnose", "points"):
            table.add_column(column, justify="right")
        for entry in scores:
            table.add_row(
                str(entry["seed"]),
                str(entry["level"]),
                f"{entry['found']} of {len(entry['faults'])}",
                str(entry["wrong_answers"]),
                _minutes(entry["seconds_to_detect"]),
                _minutes(entry["seconds_to_diagnose"]),
                str(entry["points"]),
            )
        console.print(table)
        click.echo(f"{sum(entry['points'] for entry in scores)} points in all")


def show_causes() -> None:
    """List every cause, with the services that can have it."""
    table = Table(box=None, pad_edge=False)
    for column in ("cause", "services"):
        table.add_column(column)
    faults = catalogue.faults().values()
    for cause in sorted({fault.cause for fault in faults}):
        table.add_row(cause, ", ".join(sorted(fault.service for fault in faults if fault.cause == cause)))
    console.print(table)


def _report(lab: Lab, incident: Incident) -> None:
    assert incident.seen is not None  # noqa: S101 - an answer counts as seen
    click.echo(f"time to detect    {_minutes(incident.seen - incident.started)}")
    click.echo(f"time to diagnose  {_minutes(max(incident.found.values()) - incident.started)}")
    url = docker.backend_url(lab, "prometheus", "PROMETHEUS_PORT")
    alert = incidents.first_alert(Prometheus(url), incident)
    click.echo(f"first alert       {f'{alert[0]}, after {_minutes(alert[1])}' if alert else 'none fired'}")
    click.echo(f"points            {incident.points}")


def _check(what: str, word: str, accepted: set[str]) -> None:
    if word not in accepted:
        nearest = get_close_matches(word, accepted, n=3, cutoff=0.4) or sorted(accepted)
        raise SettingError(f"there is no {what} {word!r}: {' or '.join(nearest)}?")


def _minutes(seconds: float | None) -> str:
    return "-" if seconds is None else f"{int(seconds) // 60}:{int(seconds) % 60:02} min"
