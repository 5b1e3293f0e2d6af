"""The home dashboard: how the speed that Redis counts follows from the latency of each service."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.dashboards.panels import (
    COUNT,
    HASHES_PER_SECOND,
    REQUESTS_PER_SECOND,
    SECONDS,
    Panel,
    Query,
    Row,
    dashboard,
    graph,
    number,
    quantile,
    sum_rate,
)

SPEED = "job:dockercoins_hashes:rate30s"
PREDICTED = "job:dockercoins_worker_loops:predicted_rate30s"
BUDGET = "job_phase:dockercoins_worker_phase_duration_seconds:per_loop_rate30s"
QUEUEING = "service_peer_name:http_client_request_queueing_seconds:mean_rate30s"
CLIENT_COUNT, ANSWERED = "http_client_request_duration_seconds_count", 'error_type=""'
HASHES, COINS = "max(dockercoins_hashes_total)", "max(dockercoins_coins)"


def build() -> Dashboard:
    """Return the home dashboard."""
    return dashboard(
        "speed",
        "Speed × latency",  # noqa: RUF001 - times
        "How the hashing speed that Redis counts follows from the latency of each service.",
        Row("How fast, and why", [*_numbers(), _speeds(), _budget()]),
        Row("Latency on both sides", [_latency("rng"), _latency("hasher"), _queueing(), _requests()]),
        Row("Coins", [_coins(), _luck()]),
    )


def _numbers() -> list[Panel]:
    return [
        number(
            "Speed",
            "Hashes a second that arrive in Redis. Healthy: 3.2 with one worker, 10 from four workers "
            "upwards. More is not possible while rng serves one request at a time and takes 0.1 s for "
            "each.",
            HASHES_PER_SECOND,
            Query(SPEED, "measured"),
        ),
        number(
            "Predicted speed",
            "Workers divided by the time of one loop (Little's law). Healthy: the same as the speed.",
            HASHES_PER_SECOND,
            Query(PREDICTED, "predicted"),
        ),
        number(
            "Time of one loop",
            "The sum of all phases. Healthy: 0.31 s with one worker, 1.0 s with ten.",
            SECONDS,
            Query(f"sum({BUDGET})", "cycle time"),
        ),
        number(
            "Time in line before rng",
            "What workers wait beyond rng's own work, on average. Healthy: nothing with one worker, 0.7 s "
            "with ten.",
            SECONDS,
            Query(f'{QUEUEING}{{service_peer_name="rng"}}', "rng"),
        ),
    ]


def _speeds() -> Panel:
    return graph(
        "Measured and predicted speed",
        "The speed from the counter in Redis, beside the one that the time budget predicts: workers "
        "divided by cycle time. Healthy: both lines lie on each other, except for half a minute after a "
        "change of the number of workers. The measured one is lower when loops fail, when workers stand "
        "still, or when counts do not reach Redis; the difference then leaves zero.",
        HASHES_PER_SECOND,
        Query(SPEED, "measured, in Redis"),
        Query(PREDICTED, "predicted: workers / cycle time"),
        Query(f"{SPEED} - ignoring (job) {PREDICTED}", "difference"),
    )


def _budget() -> Panel:
    return graph(
        "Time budget of one loop",
        "Seconds of one loop that each phase takes; the height of the stack is the cycle time. Healthy: "
        "with one worker sleep, rng and hasher take 0.1 s each; with ten, rng takes 0.8 s and the others "
        "stay. redis is thin: one write a second.",
        SECONDS,
        Query(BUDGET, "{{phase}}"),
        stacked=True,
    )


def _latency(service: str) -> Panel:
    server = ("http_server_request_duration_seconds", f'job="{service}", http_response_status_code="200"')
    client = ("http_client_request_duration_seconds", f'service_peer_name="{service}", error_type=""')
    healthy = {
        "rng": "Healthy: the server's stay at 0.1 s, whatever the load; the client's too with one worker, "
        "but with ten they are at 0.8 s: the requests wait in line, where the server cannot see "
        "them.",
        "hasher": "Healthy: both sides at 0.1 s, with one worker and with ten, because hasher serves many "
        "requests at a time.",
    }[service]
    return graph(
        f"Latency of {service}, both sides",
        f"How long {service} works on a request, and how long workers wait for it: half of the requests, 95 "
        f"% and 99 % stay below. {healthy} A dot is one request: it opens its trace.",
        SECONDS,
        *(
            Query(quantile(q, *what), f"p{100 * q:.0f} {side}", exemplars=q == 0.95)
            for side, what in (("server", server), ("client", client))
            for q in (0.5, 0.95, 0.99)
        ),
    )


def _queueing() -> Panel:
    return graph(
        "Queueing gap: client minus server",
        "Mean time that a request takes for its client beyond what the server works on it: the time in "
        "line, and the network. Healthy: almost nothing, but for rng with ten workers 0.7 s, that is 1.0 s "
        "cycle time minus 3 x 0.1 s of work.",
        SECONDS,
        Query(QUEUEING, "{{service_peer_name}}"),
    )


def _requests() -> Panel:
    return graph(
        "Requests answered",
        "Requests of workers that rng and hasher answer. Healthy: both as many as hashes, for each loop "
        "asks each of them once. rng's limit is 10 a second.",
        REQUESTS_PER_SECOND,
        Query(sum_rate(CLIENT_COUNT, ANSWERED, by="service_peer_name"), "{{service_peer_name}}"),
    )


def _coins() -> Panel:
    return graph(
        "Coins found and expected",
        "Coins in the wallet, beside 1/16 of all hashes: a coin is a hash whose first hexadecimal digit is "
        "0. Healthy: the found ones stay between the limits, three standard deviations of a binomial "
        "distribution.",
        COUNT,
        Query(COINS, "found"),
        Query(f"{HASHES} / 16", "expected: hashes / 16"),
        Query(f"{HASHES} / 16 + 3 * sqrt({HASHES} * 15 / 256)", "upper limit"),
        Query(f"clamp_min({HASHES} / 16 - 3 * sqrt({HASHES} * 15 / 256), 0)", "lower limit"),
    )


def _luck() -> Panel:
    return graph(
        "Luck",
        "Coins found beyond those expected, in standard deviations. Healthy: it wanders between -3 and 3. "
        "A line that goes down steadily means that coins are lost, or that hashes are wrong.",
        COUNT,
        Query(f"({COINS} - {HASHES} / 16) / sqrt({HASHES} * 15 / 256)", "standard deviations"),
    )
