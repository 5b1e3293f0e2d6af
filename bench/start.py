"""How long the lab takes to start, and how much memory each of its parts needs.

The times run from the moment at which `workshop up` starts the first process, until each part serves. *Data
ready* is when Prometheus reaches all targets and knows a speed, and one trace is complete. Only the last row
is the time of the whole command.

*Cold* is a start without data, into an empty folder, and without any compiled Python: all modules of the lab
and of its libraries are compiled anew. No real start is that cold, for pip compiles what it installs. What
the operating system keeps of the files in memory was not thrown away. *Warm* is the next start of the same
lab.

RSS, the resident set, is what `workshop status` tells: it counts what several processes share in each of
them. PSS, the proportional set, shares that out among them, so its sum is what the machine needs. (Only Linux
tells it.) Prometheus and the trace backend grow while the lab runs, the trace store until it is full.
"""

import re
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import monotonic, sleep
from typing import Any

from bench.report import Report, Row, at_most
from bench.running import EMBEDDED, REAL, new_lab, trace_backends
from tests.live.conftest import Lab

LABS = {EMBEDDED: "embedded store", REAL: "Collector and Jaeger"}
READY = re.compile(r"^(\S+) +ready after +([\d.]+) s", re.MULTILINE)
DATA_READY = re.compile(r"^data ready in ([\d.]+) s", re.MULTILINE)
DATA, COMMAND, ALL = "data ready", "the command `workshop up`", "all together"
MANY_WORKERS = 10
HOST_GB, SYSTEM_GB = 16, 2


def start(lab: Lab) -> dict[str, float]:
    """Start a lab; return when each part was ready, in seconds."""
    before = monotonic()
    printed = lab.run("up")
    whole = monotonic() - before
    times = {part_of(name): float(seconds) for name, seconds in READY.findall(printed)}
    (data,) = DATA_READY.findall(printed)
    return {**times, DATA: float(data), COMMAND: whole}


def memory(lab: Lab) -> dict[str, dict[str, float]]:
    """Return RSS and, on Linux, PSS of each part of a lab that runs, in MB; all workers are one part."""
    names = {program["pid"]: program["program"] for program in lab.status()["programs"]}
    found: dict[str, dict[str, float]] = {}
    for process in lab.processes():
        used = process.memory_full_info()
        sizes = {kind: getattr(used, kind) / 1e6 for kind in ("rss", "pss") if hasattr(used, kind)}
        for part in (part_of(names.get(process.pid, "supervisord")), ALL):
            before = found.setdefault(part, dict.fromkeys(sizes, 0.0))
            found[part] = {kind: before[kind] + size for kind, size in sizes.items()}
    return found


def part_of(program: str) -> str:
    """Return the name under which a program has its row."""
    return re.sub(r"^worker-\d+$", "worker", program)


def measure(choice: str, rounds: int, seconds: float) -> list[Row]:
    """Return a row for each part of a lab with this TRACE_BACKEND.

    It has the medians of the times of its rounds, and the memory in the last of them, taken so many seconds
    after the start, and after the number of workers was changed.
    """
    cold, warm = [], []
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            compiled = {"PYTHONPYCACHEPREFIX": f"{folder}/compiled", "PYTHONDONTWRITEBYTECODE": ""}
            lab = new_lab(Path(folder), TRACE_BACKEND=choice, **compiled)
            try:
                cold.append(start(lab))
                lab.run("down")
                warm.append(start(lab))
                if number == rounds - 1:
                    sleep(seconds)
                    one = memory(lab)
                    lab.run("scale", f"worker={MANY_WORKERS}")
                    sleep(seconds)
                    many = memory(lab)
            finally:
                lab.run("down")
        print(f"{choice}: {DATA} cold {cold[-1][DATA]:.1f} s, warm {warm[-1][DATA]:.1f} s", file=sys.stderr)
    return [
        {
            "lab": LABS[choice],
            "part": part,
            **{
                name: median([times[part] for times in starts])
                for name, starts in (("cold", cold), ("warm", warm))
                if part in starts[0]
            },
            **{f"{kind}_1": size for kind, size in one.get(part, {}).items()},
            **{f"{kind}_many": size for kind, size in many.get(part, {}).items()},
        }
        for part in dict.fromkeys([*warm[0], *one])
    ]


def run(*, short: bool) -> Report:
    """Run the benchmark."""
    rounds, seconds = (1, 2) if short else (3, 10)
    labs = trace_backends()[:1] if short else trace_backends()
    rows = [row for choice in labs for row in measure(choice, rounds, seconds)]
    whole = {row["lab"]: row for row in rows if row["part"] == ALL}
    kind, name = ("pss", "PSS") if "pss_1" in whole[LABS[EMBEDDED]] else ("rss", "RSS")
    rss = {workers: whole[LABS[EMBEDDED]][f"rss_{workers}"] for workers in ("1", "many")}
    return Report(
        name="start",
        title="Start and memory of the lab",
        how=f"{rounds} cold starts, each followed by a warm one; medians. Memory is that of the last start, "
        f"{seconds} s after it, and as long after the number of workers was changed.",
        columns={
            "lab": ("traces", "{}"),
            "part": ("part", "{}"),
            "cold": ("ready cold, s", "{:.1f}"),
            "warm": ("ready warm, s", "{:.1f}"),
            "rss_1": ("RSS with 1 worker, MB", "{:.0f}"),
            "pss_1": ("PSS, MB", "{:.0f}"),
            "rss_many": (f"RSS with {MANY_WORKERS} workers, MB", "{:.0f}"),
            "pss_many": ("PSS, MB", "{:.0f}"),
        },
        rows=rows,
        goals=[
            at_most("memory with one worker, embedded store, RSS, MB", rss["1"], 500),
            at_most("memory with ten workers, embedded store, RSS, MB", rss["many"], 1000),
        ],
        notes=[
            f"A host with {HOST_GB} GB, {SYSTEM_GB} GB of it for the system, has memory for "
            f"{labs_that_fit(row[f'{kind}_1'])} labs with one worker or {labs_that_fit(row[f'{kind}_many'])} "
            f"with {MANY_WORKERS}, by {name}. Traces: {lab}."
            for lab, row in whole.items()
        ],
    )


def labs_that_fit(megabytes: float) -> int:
    """Return how many labs of that size a host has memory for."""
    return int((HOST_GB - SYSTEM_GB) * 1000 // megabytes)


def draw(report: Report, axes: Any) -> None:
    """Draw two bars for each part of the lab with the embedded store: its start cold, and warm."""
    rows = [row for row in report.rows if row["lab"] == LABS[EMBEDDED] and "cold" in row][::-1]
    for offset, key, colour in ((0.2, "cold", "#b8cbe0"), (-0.2, "warm", "#3b6ea5")):
        places = [place + offset for place in range(len(rows))]
        axes.barh(places, [row[key] for row in rows], height=0.4, color=colour, label=key)
    axes.set_yticks(range(len(rows)), [row["part"] for row in rows])
    axes.set_xlabel("seconds")
    axes.legend(frameon=False)
