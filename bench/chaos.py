"""What the lab survives: `make chaos`, or `python -m bench.chaos [--seed N] [--rounds N] [--short]`.

A native lab with three workers and the usual delays, with the real Collector and Jaeger if they are there. In
each round one thing goes wrong and is mended again: 40 different ones, in an order that the seed decides.
Then four things have to be as before: the speed, the count in Redis, the traces, and every process and
target. At the end the workers stop, and Redis must have counted exactly the loops that they finished. Of a
worker that is killed those count that it has written to Redis: what it has in hand, of the last second, is
gone with it.

Two things are less than they sound. The clock jump is that of hasher in its own spans (a fault flag); the
clock of the machine is left alone. The full disk is a small one in memory, which only root can mount.

Exit codes: 0 each goal is met, 1 one is missed, 2 wrong use. Ctrl-C stops the lab, and gives 1.
"""

import random
import re
import socket
import subprocess
import sys
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from time import monotonic, sleep, time
from typing import Any

import requests

import workshop.lab
from bench.command import parser
from bench.report import Goal, Report, at_least, at_most
from bench.trial import carry_out, started, trace_backend
from tests.live.conftest import Lab
from tests.support import samples
from workshop.clients import BackendAwayError
from workshop.native import runner
from workshop.native.supervision import State

WORKERS = 3
ROUNDS = 40
# Of the speed. A worker waits up to 10 s after an error.
WITHIN_SECONDS = 15
SPEED_SHARE = 0.9
SPEED_WINDOW_SECONDS = 4
FIRST_WINDOW_SECONDS = 10
# Workers count once a second; what a worker holds longer than this it cannot bring to Redis.
IN_HAND_SECONDS = 3
GIVE_UP_SECONDS = 60
POLL_SECONDS = 0.25
DISK_MB = 16

CHECKS = ("speed", "count", "traces", "processes")

LOOPS, IN_HAND = "dockercoins_worker_loops_total", "dockercoins_worker_loops_in_hand"


@contextmanager
def during(do: str, undo: str | None, lab: Lab, what: str) -> Iterator[None]:
    """Carry out a command of `workshop`, and after the block the one that undoes it, if there is one."""
    lab.run(do, what)
    yield
    if undo:
        lab.run(undo, what)


killed = partial(during, "kill", None)  # supervisor starts it again
restarted = partial(during, "restart", None)
stopped = partial(during, "stop", "start")
paused = partial(during, "pause", "resume")
flagged = partial(during, "break", "heal")


@contextmanager
def full_disk(lab: Lab, service: str) -> Iterator[None]:
    """Fill the disk with the data of a service for the time of the block."""
    filler = redis_folder(lab) / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    yield
    filler.unlink()


class Busy(BaseHTTPRequestHandler):
    """A collector that takes nothing."""

    def do_POST(self) -> None:
        """Answer 503."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_error(503)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def answering_503(lab: Lab, service: str) -> Iterator[None]:
    """Put a server that answers 503 into the place of the one that takes the spans."""
    with stopped(lab, service), ThreadingHTTPServer(("127.0.0.1", lab.ports["OTLP_PORT"]), Busy) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield
        server.shutdown()


@contextmanager
def hanging(lab: Lab, service: str) -> Iterator[None]:
    """Put something that connects and never answers into the place of the one that takes the spans."""
    with stopped(lab, service), socket.create_server(("127.0.0.1", lab.ports["OTLP_PORT"])):
        yield


@dataclass(frozen=True)
class Event:
    """What goes wrong in a round: something happens to a service, or a fault is on, for so many seconds."""

    kind: str
    what: str
    act: Callable[[Lab, str], AbstractContextManager[None]]
    seconds: float = 0

    def __str__(self) -> str:
        """Return what the table says."""
        return f"{self.what}: {self.kind}"

    def concerns(self, program: str) -> bool:
        """Tell whether it is about this program; if not, that must not end."""
        return self.what in (program, program.partition("-")[0])


def events(programs: Sequence[str], *, small_disk: bool) -> list[Event]:
    """Return everything that can go wrong in a lab of these programs."""
    services = sorted(
        {program.rpartition("-")[0] if "worker" in program else program for program in programs}
    )
    services.remove("console")  # a page for people: nothing depends on it
    takes_spans = "otel-collector" if "otel-collector" in services else "jaeger"
    found = [
        Event(kind, service, act, seconds)
        for kind, act, seconds in (
            ("killed", killed, 0.0),
            ("stopped for 5 s", stopped, 5.0),
            ("paused for 10 s", paused, 10.0),
            ("restarted", restarted, 0.0),
        )
        for service in services
    ]
    found += [
        Event("slow for 10 s", fault, flagged, 10)
        for fault in ("rng-slow", "hasher-slow", "redis-slow-writes")
    ]
    found += [
        Event("clock back and forth", "hasher-clock-skew", flagged, 10),
        Event("answers 503 for 10 s", takes_spans, answering_503, 10),
        Event("hangs for 10 s", takes_spans, hanging, 10),
        Event("away for a minute", "prometheus", stopped, 60),
    ]
    if small_disk:
        found.append(Event("disk full for 10 s", "redis", full_disk, 10))
    return found


SHORT_KINDS = (
    *("killed", "stopped for 5 s", "paused for 10 s", "restarted"),
    *("answers 503 for 10 s", "disk full for 10 s"),
)


def shuffled(cards: Sequence[Event], rounds: int, seed: int) -> list[Event]:
    """Return an event for each round: all of them in some order, then all of them in another one."""
    draw = random.Random(seed)  # noqa: S311 - not a secret
    order: list[Event] = []
    while len(order) < rounds:
        order += draw.sample(cards, len(cards))
    return order[:rounds]


def one_of_each(kinds: Sequence[str], order: Sequence[Event]) -> list[Event]:
    """Return the first event of each kind, as they come."""
    first = {event.kind: event for event in reversed(order) if event.kind in kinds}
    return [event for event in order if first.get(event.kind) is event]


def redis_folder(lab: Lab) -> Path:
    """Return where Redis keeps its data."""
    return lab.folder / lab.project / "redis"


@contextmanager
def mounted(folder: Path) -> Iterator[bool]:
    """Mount a small disk in memory for the time of the block; yield whether that is allowed."""
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"skipped: a full disk, which needs root ({done.stderr.strip()})", file=sys.stderr)
        yield False
        return
    try:
        yield True
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def worker_samples(lab: Lab) -> list[dict[str, float]]:
    """Return the metrics of each worker; raises `requests.RequestException` if one does not answer."""
    first = lab.ports["WORKER_METRICS_PORT"]
    return [samples(f"http://127.0.0.1:{first + number}/metrics") for number in range(WORKERS)]


class Speedometer:
    """The loops per second of all workers, from their own counters, over the last `window` seconds."""

    def __init__(self, lab: Lab, window: float = SPEED_WINDOW_SECONDS) -> None:
        self._lab = lab
        self._window = window
        self._readings: deque[tuple[float, list[float]]] = deque()

    def speed(self) -> float:
        """Return the speed; 0 until all workers have lived for a window."""
        try:
            counts = [each[LOOPS] for each in worker_samples(self._lab)]
        except (requests.RequestException, KeyError):  # it serves before it has all its metrics
            self._readings.clear()
            return 0
        now = monotonic()
        if self._readings and any(new < old for new, old in zip(counts, self._readings[-1][1], strict=True)):
            self._readings.clear()
        self._readings.append((now, counts))
        while len(self._readings) > 1 and self._readings[1][0] <= now - self._window:
            self._readings.popleft()
        started, before = self._readings[0]
        return (sum(counts) - sum(before)) / (now - started) if now - started >= self._window else 0


def is_complete(trace: dict[str, Any]) -> bool:
    """Tell whether a trace has the calls of a worker to rng and to hasher, each with both its spans."""
    services = {
        span["spanID"]: trace["processes"][span["processID"]]["serviceName"] for span in trace["spans"]
    }
    calls = {
        (services.get(reference["spanID"]), services[span["spanID"]])
        for span in trace["spans"]
        for reference in span["references"]
    }
    return {("worker", "rng"), ("worker", "hasher")} <= calls


def checks(lab: Lab, speed_before: float) -> dict[str, Callable[[], bool]]:
    """Return what has to hold again now that an event is over."""
    speedometer = Speedometer(lab)
    since = int(time() * 1e6)

    def speed() -> bool:
        return speedometer.speed() >= SPEED_SHARE * speed_before

    def count() -> bool:
        try:
            in_hand = sum(each[IN_HAND] for each in worker_samples(lab))
        except requests.RequestException:
            return False
        return in_hand <= IN_HAND_SECONDS * speed_before

    def traces() -> bool:
        try:
            found = lab.jaeger.traces(
                "worker", operation="loop", start=since, end=int(time() * 1e6), limit=50
            )
        except BackendAwayError:
            return False
        return any(map(is_complete, found))

    def processes() -> bool:
        try:
            up = [target["health"] == "up" for target in lab.prometheus.targets()]
        except BackendAwayError:
            return False
        return all(state.name == "running" for state in states(lab)) and bool(up) and all(up)

    return dict(zip(CHECKS, (speed, count, traces, processes), strict=True))


def times_until_well(lab: Lab, speed_before: float, ended: float) -> dict[str, float]:
    """Return how many seconds after `ended`, monotonic, each check held, at the latest.

    They are made one after the other. The first that does not hold within `GIVE_UP_SECONDS`, and those after
    it, are missing. The speed is back from the beginning of the first window in which it is.
    """
    times: dict[str, float] = {}
    for name, holds in checks(lab, speed_before).items():
        while not holds():
            if monotonic() > ended + GIVE_UP_SECONDS:
                return times
            sleep(POLL_SECONDS)
        times[name] = monotonic() - ended - (SPEED_WINDOW_SECONDS if name == "speed" else 0)
    return times


def states(lab: Lab) -> list[State]:
    """Return the state of each process; not by `workshop status`, which is another process to wait for."""
    description = replace(workshop.lab.load(lab.project), state=lab.folder / lab.project)
    return runner.running(description).states()


def pids(lab: Lab) -> dict[str, int | None]:
    """Return the process of each program."""
    return {state.program: state.pid for state in states(lab)}


def do_round(lab: Lab, event: Event, speed_before: float) -> dict[str, Any]:
    """Let an event happen, and return its row: when all was well again, and what ended besides."""
    before = pids(lab)
    with event.act(lab, event.what):
        sleep(event.seconds)
        ended = monotonic()
    times = times_until_well(lab, speed_before, ended)
    now = pids(lab)
    besides = [name for name in before if now.get(name) != before[name] and not event.concerns(name)]
    return {"event": str(event), **times, "besides": ", ".join(besides) or None}


@dataclass(frozen=True)
class Books:
    """The loops at the end: in Redis' counter, told by workers as they ended, and noted for killed ones.

    `unknown` counts what workers told and Redis has no note of.
    """

    hashes: int
    told: list[int]
    killed: list[int]
    unknown: int


def close_books(lab: Lab) -> Books:
    """Stop the workers, and compare what they tell with what Redis has.

    Beside the counter, Redis has the loops of each worker that it counted. A worker that is killed tells
    nothing, and what it had in hand is gone with it: what it finished is what that note says.
    """
    lab.run("stop", "worker")
    files = (lab.folder / lab.project / "logs").glob("worker-*.log*")
    lines = re.findall(r"stopped after (\d+) loops", "".join(file.read_text() for file in files))
    told = Counter(int(loops) for loops in lines if int(loops))
    with lab.redis as client:
        notes = Counter(int(client.get(key)) for key in client.scan_iter("worker:*:loops"))
    return Books(
        hashes=lab.hashes(),
        told=list(told.elements()),
        killed=list((notes - told).elements()),
        unknown=(told - notes).total(),
    )


def goals(rows: list[dict[str, Any]], rounds: int, books: Books, known: list[float]) -> list[Goal]:
    """Return the goals; `known` are the loops that each killed worker knew to be in Redis."""
    slowest = max(row.get("speed", GIVE_UP_SECONDS) for row in rows)
    return [
        at_least("rounds after which all is well again", sum(CHECKS[-1] in row for row in rows), rounds),
        at_most(f"speed back at {100 * SPEED_SHARE:.0f} %, s after a round", slowest, WITHIN_SECONDS),
        at_most("rounds in which something ended besides", sum(bool(row["besides"]) for row in rows), 0),
        at_most(
            "loops that Redis lacks or counted twice",
            abs(books.hashes - sum(books.told) - sum(books.killed)) + books.unknown,
            0,
        ),
        at_most("workers whose end is unknown", abs(len(books.killed) - len(known)), 0),
        at_most("loops lost that a killed worker knew in Redis", max(0, sum(known) - sum(books.killed)), 0),
    ]


def run(*, seed: int, rounds: int, short: bool) -> Report:
    """Run the rounds, and print a line for each."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        lab = Lab(folder, "chaos", {"TRACE_BACKEND": "auto"})
        small_disk = stack.enter_context(mounted(redis_folder(lab)))
        stack.enter_context(started(lab, WORKERS))
        programs = list(pids(lab))
        cards = events(programs, small_disk=small_disk)
        order = shuffled(cards, len(cards) if short else rounds, seed)
        if short:
            order = one_of_each(SHORT_KINDS, order)
        speedometer = Speedometer(lab, FIRST_WINDOW_SECONDS)
        while not (speed := speedometer.speed()):
            sleep(POLL_SECONDS)
        print(f"seed {seed}, {len(order)} rounds; {speed:.2f} loops/s before the first", file=sys.stderr)
        rows: list[dict[str, Any]] = []
        known: list[float] = []
        for number, event in enumerate(order, 1):
            if event.kind == "killed" and event.what == "worker":
                known += [each[LOOPS] - each[IN_HAND] for each in worker_samples(lab)]
            row = {"round": number, **do_round(lab, event, speed)}
            rows.append(row)
            print(line(row, len(order)), file=sys.stderr)
            if CHECKS[-1] not in row:
                print(f"it does not come back in {GIVE_UP_SECONDS} s: the rounds end here", file=sys.stderr)
                break
        books = close_books(lab)
    return Report(
        name="chaos",
        title="What the lab survives: seconds after a round until all was well again",
        how=f"Seed {seed}; {WORKERS} workers with the usual delays, with {trace_backend(programs)}. "
        f"{speed:.2f} loops/s before the first round. The speed is back from where {SPEED_WINDOW_SECONDS} s "
        f"begin in which it is {100 * SPEED_SHARE:.0f} % of that; the other times are those at which it was "
        "seen, after these.",
        columns={
            "event": ("what happened", "{}"),
            "round": ("round", "{}"),
            "speed": ("speed", "{:.1f}"),
            "count": ("count", "{:.1f}"),
            "traces": ("traces", "{:.1f}"),
            "processes": ("processes", "{:.1f}"),
            "besides": ("ended besides", "{}"),
        },
        rows=rows,
        goals=goals(rows, len(order), books, known),
        notes=[
            f"In Redis are {books.hashes} hashes: {sum(books.told)} loops of {len(books.told)} workers that "
            f"were stopped, and {sum(books.killed)} of {len(books.killed)} that were killed."
        ],
    )


def line(row: dict[str, Any], rounds: int) -> str:
    """Return what the terminal shows of a round."""
    times = (f"{name} {row[name]:4.1f} s" if name in row else f"{name}  never" for name in CHECKS)
    besides = f"; ended besides: {row['besides']}" if row["besides"] else ""
    return f"{row['round']:2}/{rounds} {row['event']:40} {', '.join(times)}{besides}"


def main() -> int:
    """Run the command line; return 1 if a goal is missed."""
    command = parser("python -m bench.chaos", __doc__, short="a minute or two, for CI")
    command.add_argument("--seed", type=int, default=1, help="decides the order of the events (%(default)s)")
    command.add_argument("--rounds", type=int, default=ROUNDS, help="how many (%(default)s)")
    options = command.parse_args()
    if options.rounds < 1:
        command.error(f"--rounds {options.rounds}: 1 or more is accepted")
    trial = partial(run, seed=options.seed, rounds=options.rounds, short=options.short)
    return carry_out(command, options, trial)


if __name__ == "__main__":
    sys.exit(main())
