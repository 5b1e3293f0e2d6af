"""What the lab does in the long run: `make soak`, or `python -m bench.soak [--short]`.

A native lab with one worker and no delays, with the real Collector and Jaeger if they are there. After a
warm-up of some ten minutes it runs for ten. No process may grow by more than 5 %, no span may be lost, and no
scrape may fail.

The memory of a process is what it has in RAM that is not of files: its programs, libraries and mapped data
are not part of it. It is read once a second, and the most that it is in the ten minutes is compared with the
most in the warm-up. What has a bound was full by then:

- the trace backend;
- the exemplars in Prometheus, of which it keeps 2,000 here and not 100,000;
- the samples that it keeps in memory until they are 4 MiB, to write them together. In a lab that takes half
  an hour. Here Prometheus scrapes ten times as often until it wrote them once.

The wallet has no bound, so for each coin that comes another one is taken out.

Exit codes: 0 each goal is met, 1 one is missed, 2 wrong use. Ctrl-C stops the lab, and gives 1.
"""

import re
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
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
# The write buffer of Prometheus, DefaultWriteBufferSize in its tsdb/chunks/head_chunks.go.
BUFFER_BYTES = 4 * 2**20
FAST_SCRAPES = "200ms"
LOST_SPANS = {
    "the queue of a service was full": 'otel_sdk_processor_span_processed_total{error_type="queue_full"}',
    "a service could not export them": 'otel_sdk_exporter_span_exported_total{error_type="export_failed"}',
    "the queue of the Collector was full": "otelcol_exporter_enqueue_failed_spans_total",
    "Collector or Jaeger could not pass them on": "otelcol_exporter_send_failed_spans_total",
    "the embedded store refused them": "dockercoins_tracestore_spans_rejected_total",
}


@dataclass(frozen=True)
class Extent:
    """How long things take, in seconds, and the growth that is accepted."""

    warm_up: int
    soak: int
    growth: float


# Prometheus packs the samples of a series when it has 120 of them, every four minutes.
LONG = Extent(warm_up=360, soak=600, growth=0.05)
# Nothing is warm after so short a time: of leaks it finds those of some kB in each loop.
SHORT = Extent(warm_up=10, soak=30, growth=0.25)


def configure_prometheus(lab: Lab, changes: dict[str, Any]) -> None:
    """Give Prometheus another configuration: its own, with these sections changed."""
    file = lab.folder / lab.project / "prometheus.yml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | changes))
    loaded = partial(lab.prometheus.scalar, "prometheus_config_last_reload_success_timestamp_seconds")
    before = loaded()
    processes(lab)["prometheus"].send_signal(signal.SIGHUP)
    poll_until("the configuration of Prometheus", lambda: loaded() != before)


@contextmanager
def fast_scrapes(lab: Lab) -> Iterator[None]:
    """Let Prometheus scrape ten times as often for the time of the block."""
    found = yaml.safe_load((lab.folder / lab.project / "prometheus.yml").read_text())
    fast = {"scrape_interval": FAST_SCRAPES, "scrape_timeout": FAST_SCRAPES}
    jobs = [job | fast for job in found["scrape_configs"]]
    configure_prometheus(lab, {"global": found["global"] | fast, "scrape_configs": jobs})
    yield
    configure_prometheus(lab, found)


def fill(lab: Lab, *, short: bool) -> None:
    """Wait until the trace backend has all traces that it keeps; in a short run, make them and the coins."""
    if short:
        spans = list(exports.requests_of(SPANS_OF_A_LOOP * FILL_LOOPS))
        exports.send(f"{lab.url('OTLP_PORT')}/v1/traces", spans)
        with lab.redis as client:
            made = (sha256(str(number).encode()).hexdigest() for number in range(FILL_LOOPS))
            client.hset("wallet", mapping={digest: bytes(32) for digest in made if digest.startswith("0")})
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
            configure_prometheus(lab, {"storage": {"exemplars": {"max_exemplars": EXEMPLARS}}})
            print("filling the trace backend", file=sys.stderr)
            fill(lab, short=short)
            found, most = processes(lab), coins(lab)
            warm = [] if short else fill_prometheus(lab, found, most)
            warm += watch("warm-up", lab, found, most, extent.warm_up)
            lost, exported = lost_spans(lab.prometheus), exported_spans(lab.prometheus)
            hashes, began = lab.hashes(), monotonic()
            sizes = watch("soak", lab, found, most, extent.soak)
            speed = (lab.hashes() - hashes) / (monotonic() - began)
            ended = [name for name, process in found.items() if not process.is_running()]
            lost = lost_spans(lab.prometheus) - lost
            exported = exported_spans(lab.prometheus) - exported
            failed, missing = scrapes(lab.prometheus, extent.soak)
    rows = [
        row(name, *([size.get(name, 0) for size in part] for part in (warm, sizes))) for name in sorted(found)
    ]
    return Report(
        name="soak",
        title="What the lab does in the long run: memory",
        how=f"{extent.soak} s after a warm-up of {len(warm)} s; one worker without delays, with "
        f"{trace_backend(found)}: {speed:.0f} loops/s, {exported:,} spans exported.",
        columns={
            "program": ("program", "{}"),
            "warm": ("most in the warm-up, MB", "{:.1f}"),
            "soak": ("most after it, MB", "{:.1f}"),
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


def watch(
    what: str,
    lab: Lab,
    found: dict[str, psutil.Process],
    most: int,
    seconds: float,
    until: Callable[[], bool] = lambda: False,
) -> list[dict[str, int]]:
    """Return the memory of each process, once a second for so many seconds, or until something is so.

    No more than the `most` coins are left in the wallet.
    """
    sizes: list[dict[str, int]] = []
    deadline = monotonic() + seconds
    while monotonic() < deadline and not until():
        sizes.append(memory(found))
        take_coins_out(lab, most)
        if len(sizes) % 60 == 0:
            print(f"{what}: {len(sizes)} s", file=sys.stderr)
        sleep(1)
    return sizes


def fill_prometheus(lab: Lab, found: dict[str, psutil.Process], most: int) -> list[dict[str, int]]:
    """Return the memory of each process, as `watch`, until Prometheus has written samples to disk once."""

    def written() -> bool:
        return (
            lab.prometheus.scalar("prometheus_tsdb_head_chunks_storage_size_bytes") or 0
        ) > BUFFER_BYTES / 2

    with fast_scrapes(lab):
        sizes = watch("filling the buffer of Prometheus", lab, found, most, FILL_TIMEOUT, written)
    poll_until("samples of Prometheus on disk", written)
    return sizes


def row(name: str, warm: list[int], soak: list[int]) -> dict[str, Any]:
    """Return the row of a process: the most memory in MB in the warm-up and after it, and the growth."""
    return {
        "program": name,
        "warm": max(warm) / 1e6,
        "soak": max(soak) / 1e6,
        "growth": max(soak) / max(warm) - 1,
    }


if __name__ == "__main__":
    command = parser("python -m bench.soak", __doc__, short="a minute or two, for CI")
    options = command.parse_args()
    sys.exit(carry_out(command, options, partial(run, short=options.short)))
