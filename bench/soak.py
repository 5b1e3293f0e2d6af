"""What the lab does in the long run: `make soak`, or `python -m bench.soak [--short]`.

A native lab with one worker and no delays, with the real Collector and Jaeger if they are there. After a
warm-up of some eight minutes it runs for ten. No process may grow by more than 5 %, no span may be lost, and
no scrape may fail.

The memory of a process is what it has in RAM that is not of files: its programs, libraries and mapped data
are not part of it. It is read once a second, and the median of the first minute is compared with that of the
last. What has a bound is full before that: the trace backend, and the exemplars in Prometheus, of which it
keeps 2,000 here and not 100,000. The wallet has none, so for each coin that comes another one is taken out.

Exit codes: 0 each goal is met, 1 one is missed, 2 wrong use. Ctrl-C stops the lab, and gives 1.
"""

import re
import signal
import sys
import tempfile
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from time import monotonic, sleep
from typing import Any

import psutil
import yaml
from redis import RedisError

from bench import exports
from bench.command import parser
from bench.report import Goal, Report, at_least, at_most
from bench.running import NO_DELAY
from bench.trial import carry_out, started, trace_backend
from tests.live.conftest import Lab
from tests.support import poll_until
from workshop.clients import Prometheus

# Fills the embedded store, which keeps 100,000 spans, and Jaeger's, which keeps 10,000 traces.
FILL_LOOPS = 20_000
SPANS_OF_A_LOOP = 5
FILL_TIMEOUT = 1800
EXEMPLARS = 2000
LOST_SPANS = {
    "the queue of a service was full": 'otel_sdk_processor_span_processed_total{error_type="queue_full"}',
    "a service could not export them": 'otel_sdk_exporter_span_exported_total{error_type="export_failed"}',
    "the queue of the Collector was full": "otelcol_exporter_enqueue_failed_spans_total",
    "Collector or Jaeger could not pass them on": "otelcol_exporter_send_failed_spans_total",
    "the embedded store refused them": "dockercoins_tracestore_spans_rejected_total",
}


@dataclass(frozen=True)
class Extent:
    """How long things take, in seconds, and the growth that is accepted; `window` is that of a median."""

    warm_up: int
    soak: int
    window: int
    growth: float


# Prometheus keeps samples in memory until it has 120 of a series, for four minutes. Go's heap has the size
# for that after the second time at the earliest.
LONG = Extent(warm_up=360, soak=600, window=60, growth=0.05)
# Nothing is warm after so short a time: of leaks it finds those of some kB in each loop.
SHORT = Extent(warm_up=10, soak=30, window=10, growth=0.25)


def bound_exemplars(lab: Lab) -> None:
    """Let Prometheus keep as few exemplars as it has soon; 100,000 would take over an hour."""
    file = lab.folder / lab.project / "prometheus.yml"
    configuration = yaml.safe_load(file.read_text())
    configuration["storage"] = {"exemplars": {"max_exemplars": EXEMPLARS}}
    file.write_text(yaml.safe_dump(configuration))
    processes(lab)["prometheus"].send_signal(signal.SIGHUP)
    bound = "prometheus_tsdb_exemplar_max_exemplars"
    poll_until("the bound of exemplars", lambda: lab.prometheus.scalar(bound) == EXEMPLARS)


def fill(lab: Lab, *, short: bool) -> None:
    """Wait until the trace backend has all the traces that it can keep; in a short run, send it made ones."""
    if short:
        spans = list(exports.requests_of(SPANS_OF_A_LOOP * FILL_LOOPS))
        exports.send(f"{lab.url('OTLP_PORT')}/v1/traces", spans)
    else:
        poll_until("a full trace backend", lambda: lab.hashes() >= FILL_LOOPS, FILL_TIMEOUT, interval=1)


def processes(lab: Lab) -> dict[str, psutil.Process]:
    """Return every process of the lab by the name of its program, and supervisor."""
    names = {program["pid"]: program["program"] for program in lab.status()["programs"]}
    return {names.get(process.pid, "supervisor"): process for process in lab.processes()}


def not_of_files(process: psutil.Process) -> int:
    """Return the bytes that a process has in RAM without those of files; raises `psutil.NoSuchProcess`."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:  # it has ended, or this is not Linux, which alone tells what is of files
        return process.memory_info().rss
    parts = re.findall(r"^Rss(?:Anon|Shmem):\s+(\d+) kB", status, re.MULTILINE)
    return 1024 * sum(map(int, parts))


def memory(found: dict[str, psutil.Process]) -> dict[str, int]:
    """Return the memory of each process in bytes, but of those that have ended."""
    sizes = {}
    for name, process in found.items():
        with suppress(psutil.NoSuchProcess):
            sizes[name] = not_of_files(process)
    return sizes


def coins(lab: Lab) -> int:
    """Return how many coins are in the wallet."""
    with lab.redis as client:
        return client.hlen("wallet")


def take_coins_out(lab: Lab, most: int) -> None:
    """Take any coins out of the wallet that are too many; nothing while Redis does not answer."""
    with suppress(RedisError), lab.redis as client:
        if (excess := client.hlen("wallet") - most) > 0:
            client.hdel("wallet", *client.hrandfield("wallet", excess))


def lost_spans(prometheus: Prometheus) -> Counter[str]:
    """Return how many spans were lost since the lab was started, by where and why."""
    return Counter({why: int(prometheus.scalar(f"sum({name})") or 0) for why, name in LOST_SPANS.items()})


def exported_spans(prometheus: Prometheus) -> int:
    """Return how many spans the services have passed on since they were started."""
    return int(prometheus.scalar('sum(otel_sdk_exporter_span_exported_total{error_type=""})') or 0)


def scrapes(prometheus: Prometheus, seconds: int) -> tuple[float, float]:
    """Return how many scrapes failed in the last seconds, and how many were never made."""
    failed = prometheus.scalar(f"sum(count_over_time(up[{seconds}s]) - sum_over_time(up[{seconds}s]))")
    counts = {
        (sample.labels["job"], sample.labels["instance"]): sample.value
        for sample in prometheus.query(f"count_over_time(up[{seconds}s])")
    }
    missing = 0.0
    for target in prometheus.targets():
        labels = target["labels"]
        # One may be due just now.
        due = seconds // int(target["scrapeInterval"].removesuffix("s")) - 1
        missing += max(0, due - counts.get((labels["job"], labels["instance"]), 0))
    return failed or 0, missing


def run(*, short: bool) -> Report:
    """Run the soak."""
    extent = SHORT if short else LONG
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder), "soak", {"TRACE_BACKEND": "auto", **NO_DELAY})
        with started(lab, workers=1):
            bound_exemplars(lab)
            print("filling the trace backend", file=sys.stderr)
            fill(lab, short=short)
            print(f"warm-up: {extent.warm_up} s more", file=sys.stderr)
            sleep(extent.warm_up)
            found = processes(lab)
            lost, exported = lost_spans(lab.prometheus), exported_spans(lab.prometheus)
            hashes, began = lab.hashes(), monotonic()
            sizes = watch(lab, found, extent.soak)
            speed = (lab.hashes() - hashes) / (monotonic() - began)
            ended = [name for name, process in found.items() if not process.is_running()]
            lost = lost_spans(lab.prometheus) - lost
            exported = exported_spans(lab.prometheus) - exported
            failed, missing = scrapes(lab.prometheus, extent.soak)
    rows = [
        row(name, [size[name] for size in sizes if name in size], extent.window) for name in sorted(found)
    ]
    return Report(
        name="soak",
        title="What the lab does in the long run: memory",
        how=f"{extent.soak} s, {extent.warm_up} s after the trace backend was full; one worker without "
        f"delays, with {trace_backend(found)}: {speed:.0f} loops/s, {exported:,} spans exported. "
        f"Memory that is not of files; medians of {extent.window} s.",
        columns={
            "program": ("program", "{}"),
            "first": ("first, MB", "{:.1f}"),
            "last": ("last, MB", "{:.1f}"),
            "growth": ("growth", "{:+.1%}"),
        },
        rows=rows,
        goals=[
            *(at_most(f"growth of {row['program']}", row["growth"], extent.growth) for row in rows),
            at_most(f"processes that ended{in_brackets(ended)}", len(ended), 0),
            *goals_of_spans(exported, lost),
            at_most("failed scrapes", failed, 0),
            at_most("scrapes that were not made", missing, 0),
        ],
    )


def goals_of_spans(exported: int, lost: Counter[str]) -> list[Goal]:
    """Return the goals for spans: there are some, and none is lost."""
    reasons = [f"{why}: {count}" for why, count in lost.items()]
    return [
        at_least("spans exported", exported, 1),
        at_most(f"spans lost{in_brackets(reasons)}", lost.total(), 0),
    ]


def in_brackets(words: list[str]) -> str:
    """Return what a goal says more; nothing without words."""
    return f" ({', '.join(words)})" if words else ""


def watch(lab: Lab, found: dict[str, psutil.Process], seconds: float) -> list[dict[str, int]]:
    """Return the memory of each process, once a second for so many seconds."""
    sizes = []
    most = coins(lab)
    deadline = monotonic() + seconds
    while monotonic() < deadline:
        sizes.append(memory(found))
        take_coins_out(lab, most)
        if len(sizes) % 60 == 0:
            print(f"{len(sizes)} of {seconds:.0f} s", file=sys.stderr)
        sleep(1)
    return sizes


def row(name: str, sizes: list[int], window: int) -> dict[str, Any]:
    """Return the row of a process: its memory in MB in the first and in the last window, and the growth."""
    first, last = median(sizes[:window]), median(sizes[-window:])
    return {"program": name, "first": first / 1e6, "last": last / 1e6, "growth": last / first - 1}


if __name__ == "__main__":
    command = parser("python -m bench.soak", __doc__, short="a minute or two, for CI")
    options = command.parse_args()
    sys.exit(carry_out(command, options, partial(run, short=options.short)))
