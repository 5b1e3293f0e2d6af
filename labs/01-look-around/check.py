"""Lab 01: what runs, what it logs, and the speed behind a count that jumps."""

import re

from workshop.grading.answers import Expected, Trace, choice, number, text, trace
from workshop.grading.checks import Failed, Waiting, check
from workshop.grading.history import WORKERS
from workshop.grading.live import Live
from workshop.lab import SettingError

READINGS = 8
SECONDS = 40
REQUESTS = 'sum(http_server_request_duration_seconds_count{job="webui", http_route="/json"})'
LOOPS = f"sum(increase(dockercoins_worker_loops_total[{SECONDS}s]))"
HANDED_IN = (
    f'sum(increase(db_client_operation_duration_seconds_count{{db_operation_name="EVALSHA"}}[{SECONDS}s]))'
)
# A reading of 40 s misses up to 4 of 128 hashes, and so does the reference: 3.1 % each. The rest is
# for the time that curl itself takes.
SPEED_TOLERANCE = 0.07


def need_data(live: Live) -> None:
    """Wait until a worker has run for as long as the references look back."""
    age = live.prometheus.scalar('time() - max(process_start_time_seconds{job="worker"})')
    if age is None:
        raise Failed("a worker", "none", WORKERS)
    if age < SECONDS:
        raise Waiting(f"{SECONDS} s of data", SECONDS - age)


@check("one worker runs, and all that Prometheus looks at answers")
def runs(live: Live) -> str:
    workers, away = live.prometheus.scalar(WORKERS), live.prometheus.query("up == 0")
    if workers != 1:
        raise Failed("1 worker", f"{workers or 0:g}", WORKERS)
    if away:
        raise Failed("every target up", ", ".join(series.labels["job"] for series in away), "up == 0")
    return "1 worker"


@check("the count was read by hand")
def read_by_hand(live: Live) -> str:
    before = live.prometheus.scalar(REQUESTS, at=live.since) or 0
    readings = (live.prometheus.scalar(REQUESTS) or 0) - before
    if readings < READINGS:
        raise Failed(f"at least {READINGS} requests for /json", f"{max(readings, 0):g}", REQUESTS)
    return f"{readings:g} requests for /json"


@number("How many hashes does the worker hand in at once?")
def at_once(live: Live) -> Expected:
    need_data(live)
    loops, times = live.prometheus.scalar(LOOPS), live.prometheus.scalar(HANDED_IN)
    if not loops or not times:
        raise Waiting("a worker that hands in its loops", 5)
    rule = "the loops done, divided by how often they were handed in, within 0.5"
    return Expected(loops / times, 0.5, rule, "workshop logs worker")


@number("How many hashes a second does one worker make, in truth?", unit="hashes/s")
def speed(live: Live) -> Expected:
    need_data(live)
    measured = live.prometheus.scalar(f"max(rate(dockercoins_hashes_total[{SECONDS}s]))")
    if measured is None:
        raise Waiting("Redis", 5)
    rule = f"the speed over the last {SECONDS} s, within {SPEED_TOLERANCE:.0%}"
    return Expected(measured, SPEED_TOLERANCE * measured, rule, "step 4, for at least 40 s")


@choice(
    "Why does the count jump?",
    a="the worker is fast in some seconds and slow in others",
    b="the worker hands in its hashes about once a second, several at once",
    c="webui asks Redis too seldom",
    d="some hashes are coins and do not count",
)
def why(live: Live) -> str:
    return "b"


@text("The first eight characters of a coin from the worker's log", accepts="eight hexadecimal digits")
def coin(value: str, live: Live) -> str:
    if not re.fullmatch("[0-9a-f]{8}", value.lower()):
        raise SettingError(f"{value!r} is not usable: eight hexadecimal digits are accepted")
    if not any(each.startswith(value.lower()) for each in live.keys("wallet")):
        raise Failed("a coin that is in the wallet in Redis", f"none begins with {value}", "HKEYS wallet")
    return f"{value} is in the wallet"


@trace("The ID of a trace in which a coin was found")
def coin_trace(live: Live, trace: Trace) -> str:
    loops = [span for span in trace["spans"] if span["operationName"] == "loop"]
    tags = {tag["key"]: tag["value"] for span in loops for tag in span["tags"]}
    if "dockercoins.coin" not in tags:
        raise Failed("the trace of a worker's loop", "a trace without a finished loop")
    if str(tags["dockercoins.coin"]).lower() != "true":
        raise Failed("a loop that found a coin", "dockercoins.coin is false in the span loop of this trace")
    return "its loop found a coin"
