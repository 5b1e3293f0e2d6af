"""The `workshop` command: what can be said; `workshop/commands/` acts."""

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import get_completion_class

from workshop.commands import (
    classroom,
    console,
    control,
    doctor,
    faults,
    incident,
    labs,
    lifecycle,
    logs,
    query,
    status,
    tools,
    watch,
)
from workshop.faults.flags import FOREVER
from workshop.faults.incidents import LEVELS
from workshop.lab import MAX_WORKERS, LabError, SettingError, load
from workshop.native import runner
from workshop.native.backends import TOOLS
from workshop.parameters import Duration, FaultName, Service


class Commands(click.Group):
    """Commands that answer a mistake of the user with one clear line and the right exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command: exit code 1 for something that failed, 2 for wrong use."""
        try:
            return super().invoke(ctx)
        except LabError as error:
            click.secho(str(error), err=True, fg="red")
            sys.exit(2 if isinstance(error, SettingError) else 1)


def lab_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the two options that tell labs on one machine apart."""
    project = click.option(
        "--project", metavar="NAME", help="Which lab, if several run.  [default: dockercoins]"
    )
    offset = click.option("--port-offset", type=int, metavar="N", help="Added to each port.  [default: 0]")
    return project(offset(command))


def with_lab(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the lab that its options choose, as the first argument."""

    @functools.wraps(command)
    def wrapper(project: str | None, port_offset: int | None, **arguments: Any) -> Any:
        return command(runner.choose(project, port_offset), **arguments)

    return lab_options(wrapper)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="dockercoins-observability-lab")
def main() -> None:
    """DockerCoins, an observability lab: start it, watch it, break it, mend it.

    Settings stand in .env (.env.example lists them); a variable in the environment wins over it.
    Exit codes: 0 good, 1 something failed, 2 wrong use.
    """


@main.command()
@click.option(
    "--workers", type=click.IntRange(1, MAX_WORKERS), default=1, show_default=True, help="How many."
)
@lab_options
def up(project: str | None, port_offset: int | None, workers: int) -> None:
    """Start the lab, and wait until there is data to see."""
    lifecycle.up(load(project, port_offset), workers)


@main.command()
@click.option("--volumes", is_flag=True, help="Remove the data of Redis and Prometheus too.")
@with_lab
def down(lab: Any, volumes: bool) -> None:
    """Stop the lab; Redis and Prometheus keep their data."""
    lifecycle.down(lab, volumes=volumes)


@main.command("status")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
@with_lab
def show_status(lab: Any, as_json: bool) -> None:
    """Tell what runs, and how fast DockerCoins are mined; exit code 1 unless all of it runs."""
    sys.exit(status.show(lab, as_json=as_json))


@main.command("logs")
@click.argument("service", type=Service(), required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes.")
@click.option("-n", "--lines", type=click.IntRange(0), default=20, show_default=True, help="Of each service.")
@with_lab
def show_logs(lab: Any, service: str | None, follow: bool, lines: int) -> None:
    """Show the logs of all services, or of one."""
    logs.show(lab, service, follow=follow, lines=lines)


@main.command()
@click.argument("service_count", metavar="worker=N")
@with_lab
def scale(lab: Any, service_count: str) -> None:
    """Run N workers, from 0 to 50."""
    lifecycle.scale(lab, service_count)


def _add_control(name: str, text: str) -> None:
    @main.command(name, help=text)
    @click.argument("service", type=Service())
    @with_lab
    def act(lab: Any, service: str) -> None:
        control.act(lab, name, service)


for _name, _text in control.ACTIONS.items():
    _add_control(_name, _text)


@main.command("console")
@with_lab
def show_console(lab: Any) -> None:
    """Serve the lab's dashboards, traces and alerts as web pages, until Ctrl-C.

    `make up` starts the console too; this is for a lab in Docker.
    """
    sys.exit(console.serve(lab))


@main.command("break")
@click.argument("fault", type=FaultName())
@click.option(
    "--for", "seconds", type=Duration(), default=FOREVER, metavar="TIME", help="Heal after 90s, 2m ..."
)
@with_lab
def break_lab(lab: Any, fault: str, seconds: float) -> None:
    """Switch a fault on; `workshop faults --list` tells which ones there are.

    With --for it heals by itself, also if this terminal is closed. For a fault that stops or pauses a process
    the command waits until its time is over, and ends it at once when it is interrupted.
    """
    faults.break_(lab, fault, seconds)


@main.command()
@click.argument("fault", type=FaultName(), required=False)
@with_lab
def heal(lab: Any, fault: str | None) -> None:
    """Switch a fault off, or all of them."""
    faults.heal(lab, fault)


@main.command("faults")
@click.option("--list", "all_of_them", is_flag=True, help="What can be broken, not what is.")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
@with_lab
def show_faults(lab: Any, all_of_them: bool, as_json: bool) -> None:
    """Tell which faults are on: the answer, for those who look for it."""
    if all_of_them:
        faults.show_all(as_json=as_json)
    else:
        faults.show(lab, as_json=as_json)


@main.group("incident", invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
@with_lab
@click.pass_context
def show_incident(ctx: click.Context, lab: Any, as_json: bool) -> None:
    """Find what is broken, when nobody tells. Without a command: how the incident stands, and the scores."""
    ctx.obj = lab
    if ctx.invoked_subcommand is None:
        incident.show(lab, as_json=as_json)


@show_incident.command("start")
@click.option("--seed", type=click.IntRange(0), metavar="N", help="The same one for all.  [default: any]")
@click.option(
    "--level",
    type=click.IntRange(min(LEVELS), max(LEVELS)),
    default=1,
    show_default=True,
    help="1: dashboards or an alert show it; 2: it has to be looked for; 3: two at once, one of them hidden.",
)
@click.pass_obj
def start_incident(lab: Any, seed: int | None, level: int) -> None:
    """Break something, and do not tell what."""
    incident.start(lab, seed, level)


@show_incident.command("seen")
@click.pass_obj
def see_incident(lab: Any) -> None:
    """Say that you see a symptom: it stops the clock of the detection."""
    incident.see(lab)


@show_incident.command("solve")
@click.argument("service")
@click.argument("cause")
@click.pass_obj
def solve_incident(lab: Any, service: str, cause: str) -> None:
    """Say which service is at fault, and why; exit code 1 for a wrong diagnosis."""
    sys.exit(incident.solve(lab, service, cause))


@show_incident.command("causes")
def list_causes() -> None:
    """List the causes that there are."""
    incident.show_causes()


@show_incident.command("give-up")
@click.pass_obj
def give_up_incident(lab: Any) -> None:
    """End the incident, and have it explained."""
    incident.give_up(lab)


class Expression(click.Command):
    """A command with an argument that may begin with a minus sign: a PromQL expression, or an answer."""

    ignore_unknown_options = True


@main.command("list")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
@with_lab
def show_list(lab: Any, as_json: bool) -> None:
    """List the labs, with the time that each takes and what is passed."""
    labs.show_list(lab, as_json=as_json)


@main.command("next")
@with_lab
def show_next(lab: Any) -> None:
    """Tell which lab comes next: the first that is not passed."""
    labs.show_next(lab)


@main.command("check")
@click.argument("number", metavar="[NN]", required=False)
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
@click.option("--wait", is_flag=True, help="First wait for what needs nothing but time.")
@with_lab
def check_lab(lab: Any, number: str | None, as_json: bool, wait: bool) -> None:
    """Check a lab, or the next one, on the live system; exit code 1 unless all of it is good."""
    sys.exit(labs.check(lab, number, as_json=as_json, wait=wait))


@main.command("watch")
@with_lab
def watch_lab(lab: Any) -> None:
    """Check the next lab again and again, until Ctrl-C."""
    watch.show(lab)


@main.command("answer", cls=Expression)
@click.argument("number", metavar="NN")
@click.argument("question", required=False)
@click.argument("value", required=False)
@with_lab
def answer_question(lab: Any, number: str, question: str | None, value: str | None) -> None:
    """Answer a question of a lab, or all that are open; exit code 1 for a wrong answer."""
    sys.exit(labs.answer(lab, number, question, value))


@main.command("hint")
@click.argument("number", metavar="NN")
@with_lab
def show_hint(lab: Any, number: str) -> None:
    """Show the next hint for a lab."""
    labs.hint(lab, number)


@main.command("solution")
@click.argument("number", metavar="NN")
@click.option("--spoil", is_flag=True, help="Also before the lab is passed.")
@with_lab
def show_solution(lab: Any, number: str, spoil: bool) -> None:
    """Explain the solution of a lab that is passed."""
    labs.solution(lab, number, spoil=spoil)


@main.command("reset")
@click.argument("number", metavar="[NN]", required=False)
@click.option("--all", "everything", is_flag=True, help="Every lab.")
@with_lab
def reset_lab(lab: Any, number: str | None, everything: bool) -> None:
    """Forget the progress in a lab, or in the next one, and bring the system to the lab's start."""
    labs.reset(lab, number, everything=everything)


@main.command("hand-in")
@click.option("--name", help="Who hands it in.  [default: the name of the account]")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), required=False)
@with_lab
def hand_in(lab: Any, name: str | None, file: Path | None) -> None:
    """Write what is passed into a file for the teacher, signed with CLASS_KEY of .env."""
    classroom.hand_in(lab, name, file)


@main.command("class")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Write a page as well.")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
@with_lab
def show_class(lab: Any, folder: Path, html: Path | None, as_json: bool) -> None:
    """Show what all of a class handed in: a folder of files; exit code 1 if one of them is refused."""
    sys.exit(classroom.show_class(lab, folder, html, as_json=as_json))


@main.command("query", cls=Expression)
@click.argument("expression")
@with_lab
def query_prometheus(lab: Any, expression: str) -> None:
    """Print what a PromQL expression gives now."""
    sys.exit(query.show(lab, expression))


@main.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
@with_lab
def examine(lab: Any, as_json: bool) -> None:
    """Check this machine, and say how to mend what is missing; exit code 1 if the lab cannot run."""
    sys.exit(doctor.show(lab, as_json=as_json))


@main.command("tools")
@click.argument("names", nargs=-1, type=click.Choice(TOOLS))
def build_tools(names: tuple[str, ...]) -> None:
    """Build the real Prometheus, Collector, Jaeger and Compose from source, once, into the tools cache."""
    sys.exit(tools.tools(names, say=click.echo))


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell: eval "$(workshop completion bash)"."""
    script = get_completion_class(shell)
    assert script is not None  # noqa: S101 - the choices are those that click knows
    click.echo(script(main, {}, "workshop", "_WORKSHOP_COMPLETE").source())
