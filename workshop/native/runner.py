"""Starts and ends a native lab, and changes it while it runs."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from time import monotonic, sleep

from redis import Redis, RedisError

from workshop import workbench
from workshop.clients import BackendAwayError, Jaeger, Prometheus, services_of
from workshop.faults import flags
from workshop.files import write_json
from workshop.lab import Lab, LabError, SettingError, load
from workshop.native import backends, ports, scraping, supervision
from workshop.native.programs import Backends, Program, base_programs, worker_programs
from workshop.native.supervision import Supervisor

START_TIMEOUT_SECONDS = 60
# A program that supervisor has to start again and again after this time will not come up.
CRASH_SECONDS = 3
DATA_TIMEOUT_SECONDS = 60
STOP_TIMEOUT_SECONDS = 20
# Prometheus takes up one change of its targets at once, and the next one up to 5 s later (its
# discovery/manager.go).
TARGETS_TIMEOUT_SECONDS = 10
POLL_SECONDS = 0.1

Say = Callable[[str], None]


class StartError(LabError):
    """The lab did not come up; everything that was started is stopped again."""


def running(lab: Lab) -> Supervisor:
    """Return the supervisor of a lab that runs; raises `LabError` if it doesn't."""
    supervisor = supervision.connect(lab)
    if supervisor is None:
        raise LabError(f"the lab {lab.project!r} is not running: `workshop up` starts it")
    return supervisor


def choose(project: str | None, port_offset: int | None) -> Lab:
    """Return the lab that the arguments name, with the ports, telemetry and workbench that it runs with.

    What one without Docker was started with says nothing about one in Docker, or about the next start.

    Raises `SettingError` for arguments that are not usable.
    """
    lab = load(project, port_offset)
    if supervision.connect(lab) is None:
        return lab
    try:
        notes = json.loads(_notes(lab).read_text())
        return replace(
            lab,
            port_offset=int(notes["port_offset"]),
            ports={**lab.ports, **notes["ports"]},
            environment={
                **lab.environment,
                "TELEMETRY": notes["telemetry"],
                "WORKBENCH": notes["workbench"],
            },
        )
    except (OSError, ValueError, KeyError, TypeError):  # a damaged file
        return lab


def remember(lab: Lab) -> None:
    """Write down what the commands that come later must know of this lab."""
    telemetry = "on" if lab.telemetry else "off"
    notes = {
        "port_offset": lab.port_offset,
        "ports": dict(lab.ports),
        "telemetry": telemetry,
        "workbench": str(lab.workbench),
    }
    write_json(_notes(lab), notes)


def _notes(lab: Lab) -> Path:
    return lab.state / "lab.json"


def find_backends(lab: Lab, say: Say) -> Backends:
    """Return the backends that this lab uses; gets Prometheus if the machine has none.

    Raises `LabError` for one that is asked for and cannot be had.
    """
    choice = lab.environment.get("TRACE_BACKEND") or "auto"
    if choice not in ("auto", "embedded", "jaeger"):
        raise SettingError(f"TRACE_BACKEND={choice!r} is not usable: auto, embedded or jaeger is accepted")
    if choice == "embedded" and lab.tail_sampling:
        raise SettingError("TAIL_SAMPLING=on needs the Collector: TRACE_BACKEND=auto or jaeger is accepted")
    redis = backends.find("redis", say)
    if redis is None:
        raise LabError("no Redis: install valkey or redis with the system's packages")
    collector = jaeger = None
    if choice != "embedded":
        collector, jaeger = backends.find("collector", say), backends.find("jaeger", say)
        if (choice == "jaeger" or lab.tail_sampling) and not (collector and jaeger):
            setting = "TRACE_BACKEND=jaeger" if choice == "jaeger" else "TAIL_SAMPLING=on"
            raise LabError(f"{setting}, but Jaeger or the Collector is missing: `make tools` builds them")
    return Backends(redis, backends.obtain_prometheus(say), collector, jaeger)


def check_ports(lab: Lab, programs: list[Program]) -> None:
    """Raise `LabError` for ports that cannot be had; it names each, the reason, and what changes it."""
    wanted = [(port, variable) for program in programs for variable, port in program.ports.items()]
    twice = {port for port, _ in wanted if [other for other, _ in wanted].count(port) > 1}
    if twice:
        names = ", ".join(f"{variable}={port}" for port, variable in wanted if port in twice)
        raise LabError(f"two ports are the same: {names}")
    problems = [
        f"port {port} {problem}: "
        f"set {variable}={_another(lab, port)}, or PORT_OFFSET to move all ports, in .env"
        for port, variable in wanted
        if (problem := ports.problem(port))
    ]
    if problems:
        raise LabError("\n".join(problems))


def _another(lab: Lab, port: int) -> int:
    """Return a port to set instead: for ordinary users, and not beyond the last one."""
    step = 1000 if port < 64_000 else -1000
    return port - lab.port_offset + max(step, 1024 - port)


def up(lab: Lab, workers: int, say: Say) -> None:
    """Start the lab and wait until it has data; `say` is told each program's start time.

    Raises `LabError`, and leaves nothing half-started, if a port is taken or a program does not come up; the
    same on Ctrl-C.
    """
    end_left_overs(lab, say)
    found = find_backends(lab, say)
    base, worker_list = base_programs(lab, found), worker_programs(lab, workers)
    programs = base + worker_list
    check_ports(lab, programs)
    # The logs of an earlier run would be taken for this one's.
    shutil.rmtree(lab.state / "logs", ignore_errors=True)
    for folder in ("logs", "redis", "prometheus"):
        (lab.state / folder).mkdir(parents=True, exist_ok=True)
    scraping.write_configuration(lab, [program.name for program in programs])
    supervision.write_configuration(lab, base)
    supervision.write_workers(lab, worker_list)
    flags.write(lab.faults_file, on={})
    lab.incident_file.unlink(missing_ok=True)
    remember(lab)
    with stopping_on_failure(lab):
        started = monotonic()
        supervision.start(lab)
        start_in_order(lab, programs, started, say)
        wait_for_data(lab, started)
        say(f"data ready in {monotonic() - started:.1f} s")


@contextmanager
def stopping_on_failure(lab: Lab) -> Iterator[None]:
    """Stop the lab if the block does not succeed."""
    try:
        yield
    except BaseException:
        down(lab)
        raise


def end_left_overs(lab: Lab, say: Say) -> None:
    """End the processes of this lab that outlived its supervisor, as after a crash."""
    processes = supervision.left_over(lab)
    if processes:
        say(f"an earlier run was cut off: ending {len(processes)} processes that it left")
        supervision.end(processes)
    supervision.forget(lab)


def start_in_order(lab: Lab, programs: list[Program], started: float, say: Say) -> None:
    """Start each program when those that it comes after are ready, and wait until all of them serve.

    `started` is the monotonic time from which the start times count. Raises `StartError` with the end of the
    log of a program that does not come up.
    """
    supervisor = running(lab)
    waiting = {program.name: program for program in programs}
    unstarted = {program.name: program for program in programs if program.after}
    while waiting:
        for program in [program for program in unstarted.values() if not waiting.keys() & set(program.after)]:
            supervisor.start(program.name, wait=False)
            del unstarted[program.name]
        started_ones = [program for program in waiting.values() if program.name not in unstarted]
        for program in [program for program in started_ones if program.ready()]:
            del waiting[program.name]
            note = f"  ({program.note})" if program.note else ""
            say(f"{program.name:<15} ready after {monotonic() - started:4.1f} s{note}")
        seconds = monotonic() - started
        if seconds > CRASH_SECONDS:
            for state in supervisor.states():
                if state.program in waiting and state.name == "backoff":
                    raise StartError(f"{state.program} does not start\n{last_lines(lab, state.program)}")
        if seconds > START_TIMEOUT_SECONDS:
            first = next(iter(waiting))
            raise StartError(
                f"not ready after {seconds:.0f} s: {', '.join(waiting)}\n{last_lines(lab, first)}"
            )
        if waiting:
            sleep(POLL_SECONDS)


def last_lines(lab: Lab, program: str, count: int = 5) -> str:
    """Return the end of a program's log, each line once however often the program was started."""
    try:
        lines = supervision.log_file(lab, program).read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    return "\n".join(f"{program}: {line}" for line in dict.fromkeys(lines[-count:] or ["(no output)"]))


def wait_for_data(lab: Lab, started: float) -> None:
    """Wait until there is something to see: a speed, every target up, and one complete trace.

    `started` is the monotonic time at which the lab started; data of an earlier run does not count.
    Raises `StartError` that names what is missing.
    """
    for name, holds in data_checks(lab, started).items():
        while not holds():
            if monotonic() - started > DATA_TIMEOUT_SECONDS:
                problem = f"no data after {DATA_TIMEOUT_SECONDS} s: {name} is missing"
                raise StartError(f"{problem}\n{last_lines(lab, 'worker-1')}")
            sleep(POLL_SECONDS)


def data_checks(lab: Lab, started: float) -> dict[str, Callable[[], bool]]:
    """Return what makes up "data ready", by name; without telemetry, the growing count alone.

    Where only some loops are traced, the first trace may be long in coming: nobody waits for it. Nor for the
    telemetry of a service on the workbench, which may have none yet.
    """
    prometheus, jaeger = Prometheus(lab.url("PROMETHEUS_PORT")), Jaeger(lab.url("JAEGER_PORT"))

    on_the_workbench = workbench.services(lab)

    counts: list[int] = []

    def hashes_grow() -> bool:
        with Redis(port=lab.ports["REDIS_PORT"], socket_timeout=1) as redis:
            counts.append(int(redis.get("hashes") or 0))
        return counts[0] < counts[-1]

    def speed() -> bool:
        milliseconds = int(1000 * (monotonic() - started))
        return (prometheus.scalar(f"sum(rate(dockercoins_hashes_total[{milliseconds}ms]))") or 0) > 0

    def targets_up() -> bool:
        targets = prometheus.targets()  # none at first: Prometheus looks for them when it has started
        up = [target["health"] == "up" or target["labels"]["job"] in on_the_workbench for target in targets]
        return bool(up) and all(up)

    def complete_trace() -> bool:
        traces = jaeger.traces("worker", limit=5)
        return any({"worker", "rng", "hasher"} <= services_of(trace) for trace in traces)

    checks: dict[str, Callable[[], bool]] = {"a growing count in Redis": hashes_grow}
    if lab.telemetry:
        checks = {"every Prometheus target up": targets_up, "a speed above zero": speed}
    if lab.every_loop_traced and not on_the_workbench:
        checks["a complete trace worker → rng → hasher"] = complete_trace
    return {name: _unless_away(check) for name, check in checks.items()}


def _unless_away(check: Callable[[], bool]) -> Callable[[], bool]:
    def holds() -> bool:
        try:
            return check()
        except (BackendAwayError, RedisError):
            return False

    return holds


def down(lab: Lab, *, volumes: bool = False) -> bool:
    """Stop the lab, and with `volumes` remove its data; return whether it ran."""
    supervisor = supervision.connect(lab)
    ran = supervisor is not None
    if supervisor is not None:
        supervisor.shutdown()
        deadline = monotonic() + STOP_TIMEOUT_SECONDS
        while supervision.left_over(lab) and monotonic() < deadline:
            sleep(POLL_SECONDS)
    while left_over := supervision.left_over(lab):  # a start that was cut off may still be making processes
        ran = True
        supervision.end(left_over)
    supervision.forget(lab)
    if volumes:
        shutil.rmtree(lab.state, ignore_errors=True)
    return ran


def scale(lab: Lab, workers: int, say: Say) -> None:
    """Run so many workers in a lab that runs, until Prometheus scrapes these and no others.

    Raises `LabError` if the lab does not run, or if a port is taken.
    """
    supervisor = running(lab)
    now = {state.program for state in supervisor.states()}
    programs = worker_programs(lab, workers)
    new = [program for program in programs if program.name not in now]
    check_ports(lab, new)
    supervision.write_workers(lab, programs)
    supervisor.reload()
    scraping.write_worker_targets(lab, [program.name for program in programs])
    start_in_order(lab, new, monotonic(), say)
    prometheus, deadline = Prometheus(lab.url("PROMETHEUS_PORT")), monotonic() + TARGETS_TIMEOUT_SECONDS
    with suppress(BackendAwayError):  # nobody waits for one that is away
        while len(prometheus.targets("worker")) != workers and monotonic() < deadline:
            sleep(POLL_SECONDS)
