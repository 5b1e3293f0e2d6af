"""`workshop break`, `heal` and `faults`."""

import json
import signal
import time
from contextlib import suppress

import click
from rich.console import Console
from rich.table import Table

from workshop.faults import catalogue, control, incidents
from workshop.faults.flags import FOREVER
from workshop.lab import Lab, LabError, SettingError

console = Console()


def break_(lab: Lab, name: str, seconds: float) -> None:
    """Switch a fault on; `seconds` may be `FOREVER`. Waits for the end of a fault of a process only."""
    _refuse_in_incident(lab)
    fault = catalogue.find(name)
    timed = seconds < FOREVER
    if timed and fault.process and fault.process.action == "kill":
        raise SettingError(f"{name} is over at once: --for is accepted for a fault that lasts")
    control.break_by(lab, fault, seconds)
    click.echo(f"{name}: {fault.summary}")
    if timed and fault.process:
        click.echo(f"it heals in {seconds:.0f} s, or with Ctrl-C")
        for signum in (signal.SIGHUP, signal.SIGTERM):  # also if the terminal is closed
            signal.signal(signum, signal.default_int_handler)
        with suppress(KeyboardInterrupt):
            time.sleep(seconds)
        _say_what_healed(name, control.heal(lab, fault))
    elif timed:
        click.echo(f"it heals by itself in {seconds:.0f} s")
    else:
        click.echo(f"`workshop heal {name}` ends it")


def heal(lab: Lab, name: str | None) -> None:
    """Switch a fault off, or all of them, and say which ones were on."""
    _refuse_in_incident(lab)
    fault = catalogue.find(name) if name else None
    _say_what_healed(name, control.heal(lab, fault))


def _say_what_healed(name: str | None, healed: list[str]) -> None:
    for one in healed:
        click.echo(f"{one}: healed")
    if not healed:
        click.echo(f"{name} was not on" if name else "no fault was on")


def show(lab: Lab, *, as_json: bool) -> None:
    """Tell what is on."""
    _refuse_in_incident(lab)
    faults = control.on(lab)
    left = {name: None if end == FOREVER else round(end - time.time(), 1) for name, end in faults.items()}
    if as_json:
        print(
            json.dumps([{"fault": name, "seconds_left": seconds} for name, seconds in left.items()], indent=2)
        )
        return
    for name, seconds in left.items():
        click.echo(name if seconds is None else f"{name}  (for {seconds:.0f} s more)")
    if not left:
        click.echo("no fault is on")


def _refuse_in_incident(lab: Lab) -> None:
    """Raise `LabError` where the answer would give an incident away, or something would change it."""
    if incidents.current(lab):
        raise LabError("an incident is under way: `workshop incident give-up` ends and explains it")


def show_all(*, as_json: bool) -> None:
    """Tell what can be broken."""
    faults = catalogue.faults().values()
    if as_json:
        keys = ("name", "service", "cause", "level", "summary")
        print(json.dumps([{key: getattr(fault, key) for key in keys} for fault in faults], indent=2))
        return
    table = Table(box=None, pad_edge=False)
    for column in ("fault", "level", "what it does"):
        table.add_column(column)
    for fault in faults:
        table.add_row(fault.name, str(fault.level), fault.summary)
    console.print(table)
