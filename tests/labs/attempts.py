"""Two plausible wrong attempts at each exercise: doing something else, and answering wrongly.

`deeds` are commands before which nothing was done, and `seen` is what the check then wants instead. `wrong`
answers come when the right ones are due; each is a mistake that somebody makes.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Attempts:
    """The wrong attempts at one exercise."""

    deeds: str
    seen: str
    wrong: dict[str, str]


# A wrong answer stands between quotes, which this leaves for a variable of the steps.
OF_THE_STEPS = "'\"${}\"'"


def _failing(window: str) -> str:
    """Return the share of the requests to hasher that fail, as it is asked for in lab 13."""
    requests = 'http_client_request_duration_seconds_count{service_peer_name="hasher"'
    return f'1 - sum(rate({requests}, error_type=""}}[{window}])) / sum(rate({requests}}}[{window}]))'


# The right expression written differently, and what only looks like it: exercise, question, expression, good.
EXPRESSIONS = [
    ("03", "loops", "300 * sum(rate(dockercoins_worker_loops_total[5m]))", True),
    ("03", "loops", "sum(dockercoins_worker_loops_total)", False),
    ("04", "speed-redis", "job:dockercoins_hashes:rate30s", True),
    ("04", "speed-redis", "sum without (job) (increase(dockercoins_hashes_total[30s])) / 30", True),
    ("04", "speed-redis", "9.6", False),
    ("04", "speed-redis", "vector(9.6)", False),
    ("04", "speed-redis", "rate(", False),
    ("04", "speed-redis", "rate(nothing_of_this_name[30s])", False),
    ("04", "speed-redis", "dockercoins_hashes_total[30s]", False),
    ("04", "speed-workers", "sum by (job) (rate(dockercoins_worker_loop_duration_seconds_count[30s]))", True),
    ("04", "speed-workers", "sum(rate(dockercoins_worker_loops_total[5m]))", False),
    ("04", "speed-workers", "avg(rate(dockercoins_worker_loops_total[30s]))", False),
    ("04", "speed-each", "increase(dockercoins_worker_loops_total[30s]) / 30", True),
    ("04", "speed-each", "avg by (instance) (rate(dockercoins_worker_loops_total[2m]))", False),
    (
        *("05", "p95"),
        'service_peer_name:http_client_request_duration_seconds:p95_rate30s{service_peer_name="rng"}',
        True,
    ),
    (
        "06",
        "utilisation",
        'sum(increase(http_server_request_duration_seconds_sum{job="rng"}[30s])) / 30',
        True,
    ),
    ("06", "utilisation", 'sum(rate(http_server_request_duration_seconds_count{job="rng"}[30s]))', False),
    (
        *("07", "coin-share"),
        "sum(rate(dockercoins_worker_coins_total[60s])) "
        "/ sum(rate(dockercoins_worker_loop_duration_seconds_count[60s]))",
        True,
    ),
    ("07", "coin-share", "dockercoins_worker_coins_total / dockercoins_worker_loops_total", False),
    (
        *("07", "alert"),
        "sum(rate(dockercoins_worker_coins_total[40s])) "
        "/ sum(rate(dockercoins_worker_loops_total[40s])) < 0.001",
        True,
    ),
    ("07", "alert", "sum(increase(dockercoins_worker_coins_total[40s])) == bool 0", False),
    ("07", "alert", "sum(", False),
    ("08", "series", 'sum by (__name__) (count by (__name__, instance) ({job="worker"}))', True),
    ("08", "series", 'sum(scrape_samples_scraped{job="worker"})', False),
    ("09", "in-line", "0.8", False),
    ("12", "coins-kept", "0", False),
    ("12", "weighted", "60", False),  # each trace once
    ("13", "sli", 'avg(rate(http_client_request_duration_seconds_count{error_type=""}[1m]))', False),
    ("13", "alert", f"{_failing('40s')} > 0.09 and {_failing('10s')} > 0.09", True),
    ("13", "alert", f"{_failing('10s')} > 0.09", False),  # also for the blip
    ("13", "alert", f"{_failing('40s')} > 0.09", False),  # for too long
    ("13", "alert", f"{_failing('40s')} > 0.28 and {_failing('10s')} > 0.09", False),  # too late
    ("13", "alert", f"1 - ({_failing('40s')}) > 0.09", False),  # the good ones, so always
    ("13", "alert", f"{_failing('40s')} > bool 0.09", False),
    (
        *("13", "alert"),  # of all requests that there ever were
        'sum(http_client_request_duration_seconds_count{service_peer_name="hasher", error_type!=""})'
        ' / sum(http_client_request_duration_seconds_count{service_peer_name="hasher"}) > 0.01',
        False,
    ),
    (
        *("13", "alert"),  # the lab's own, which wants 20 % of the budget
        'service_peer_name_slo:error_budget:burn_rate2m{slo="availability"} > 12 '
        'and service_peer_name_slo:error_budget:burn_rate30s{slo="availability"} > 12',
        False,
    ),
    ("13", "alert", "sum(", False),
    (
        *("14", "namespaces"),
        "sum by (service_namespace) (rate(dockercoins_worker_loops_total[30s]) "
        '* on (instance) group_left (service_namespace) target_info{job="worker"})',
        True,
    ),
    (
        *("14", "namespaces"),  # without the label
        "rate(dockercoins_worker_loops_total[30s]) * on (job, instance) target_info",
        False,
    ),
    ("15", "evidence", "sum(rate(dockercoins_worker_loops_total[10s]))", True),
    ("15", "evidence", "ALERTS", False),
    ("15", "evidence", "sum(dockercoins_worker_loops_total)", False),  # it grows, in the incident too
    ("15", "evidence", "sum(", False),
]

ATTEMPTS = {
    "00": Attempts(
        # Instrumented, but with a name of its own for a label.
        "cp -r labs/00-instrument/solution/rng workbench/\n"
        "sed -i 's/http_route/path/' workbench/rng/metrics.py\n"
        "workshop restart rng",
        "http_server_request_duration_seconds with the labels",
        {
            "who-knows": "a",
            "hole": "'$trace'",  # in which rng is; the quotes let the shell put its value there
            "own-port": "c",
            "blurred": "0.103",  # the mean
            "orphans": "a",
            "exemplar": "'$hole'",
        },
    ),
    "01": Attempts(
        # Two readings, one second apart, and the page instead of /json.
        "curl --silent http://localhost:8000/json\ncurl --silent --output /dev/null http://localhost:8000/",
        "at least 8 requests for /json",
        {
            "at-once": "1",  # one by one
            "speed": "4",  # the jump
            "why": "a",
            "coin": "ffffffff",  # some hash
            "coin-trace": "0" * 31 + "1",  # not from a log line
        },
    ),
    "02": Attempts(
        # Other numbers of workers, and each for a moment only.
        "workshop scale worker=2\nworkshop scale worker=5\nworkshop scale worker=1",
        "10 workers for at least 35 s",
        {
            "twice": "3",
            "ten-times": "10",  # what one would like
            "waiting": "0.1",  # what rng says of itself
            "slow-part": "b",
            "why": "b",
        },
    ),
    "03": Attempts(
        # Another worker comes and goes, which is no reset; Redis is restarted, and gone for too short a time.
        "workshop scale worker=2\nworkshop scale worker=1\nworkshop restart redis",
        "a counter that falls to zero",
        {
            "scrapes": "60",
            "loops": "sum(delta(dockercoins_worker_loops_total[5m]))",  # for gauges
            "lost": "0",
            "who-knows": "b",
            "redis-away-lost": "c",
        },
    ),
    "04": Attempts(
        # Three workers, but never measured.
        "workshop scale worker=3\nworkshop scale worker=1",
        "3 workers for at least 35 s",
        {
            "speed-redis": "rate(dockercoins_hashes_total[2m])",  # another window
            "speed-workers": "rate(dockercoins_worker_loops_total[30s])",  # one for each
            "speed-each": "sum by (job) (rate(dockercoins_worker_loops_total[30s]))",  # all together
            "shortest-window": "2",  # the scrape interval
            "full-effect": "2",
        },
    ),
    "05": Attempts(
        # The wrong service fails.
        "workshop stop hasher\nworkshop start hasher",
        "requests of workers to rng that fail",
        {
            # the workers' requests to both
            "requests": "sum(rate(http_client_request_duration_seconds_count[30s]))",
            # the other side
            "p95": "histogram_quantile(0.95, sum by (le) "
            '(rate(http_server_request_duration_seconds_bucket{job="rng"}[30s])))',
            # errors a second, not a share
            "error-share": "sum(rate(http_client_request_duration_seconds_count"
            '{service_peer_name="rng", error_type!=""}[2m]))',
            "in-line": "0.1",
            "both-right": "c",
        },
    ),
    "06": Attempts(
        # Measured first, then "predicted".
        "workshop check 06 --wait\nworkshop scale worker=6\nworkshop check 06 --wait\n"
        "workshop answer 06 speed "
        "$(workshop query '1 / scalar(job:http_server_request_duration_seconds:mean_rate30s{job=\"rng\"})')",
        "a prediction, then six workers",
        {
            "knee": "10",  # 1 / S
            "speed": "19.2",  # six times one
            "loop": "0.31",  # as without a line
            "in-line": "0.6",
            "utilisation": 'sum(rate(http_server_request_duration_seconds_count{job="rng"}[30s]))',
        },
    ),
    "07": Attempts(
        # It is hasher that answers with errors.
        "workshop break hasher-errors\nsleep 5\nworkshop heal",
        "requests that rng answers with status 500",
        {
            "coin-share": "sum(rate(dockercoins_worker_coins_total[1m]))",  # coins a second
            "who-refused": "a",
            "why-not-rng": "d",
            "sure": "16",  # when one is due
            "sure-seconds": "5",  # the same
            "alert": "sum(rate(dockercoins_worker_errors_total[40s])) > 0",  # for the loud failure
        },
    ),
    "08": Attempts(
        # More series, but of more workers.
        "workshop scale worker=3\nworkshop scale worker=1",
        "at least 30 values of the label hash",
        {
            "each-value": "33",  # the buckets alone
            "worst": "1000",  # one series for each value
            "series": 'count({job="worker"})',  # all names together
            "disk": "0.065",  # of one for each value
            "left": "0",
            "why-left": "a",
            "bounded": "d",
        },
    ),
    "09": Attempts(
        # An orphan of one's own, by a request without a header.
        "curl --silent --output /dev/null http://localhost:8001/32\nsleep 3\n"
        "id=$(curl --silent 'http://localhost:16686/api/traces?service=rng&limit=100' | python3 -c '\n"
        "import json, sys\n"
        'print(next(one["traceID"] for one in json.load(sys.stdin)["data"] if len(one["spans"]) == 1))\')\n'
        "workshop answer 09 orphan $id || true",
        "a right answer to the question orphan",
        {
            "parent": "a",
            "spans": "3",  # those of the worker
            "slow-coin": OF_THE_STEPS.format("coin"),  # with one worker
            "in-line": "0.8",  # all of the request
            "pieces": "2",  # one for each service that is asked
            "orphan": OF_THE_STEPS.format("whole"),
            "own": OF_THE_STEPS.format("whole"),
            "who": "a",
            "unsampled": "d",
        },
    ),
    "10": Attempts(
        # Errors that are thrown, which need no code.
        "cp -r labs/10-own-spans/solution/worker workbench/\n"
        "workshop restart worker\n"
        "workshop break rng-errors\nsleep 10\nworkshop heal",
        "a loop that is an error and has error.type",
        {
            "dark": "0.3",  # all of the loop
            "coin-loop": "0" * 31 + "1",  # not from a search
            "short-loop": "'$coin'",  # the quotes let the shell put its value there
            "label": "a",
            "right-span": "a",
            "status": "b",
        },
    ),
    "11": Attempts(
        # Each request is slow, and none of them very.
        "workshop break rng-slow\nsleep 5\nworkshop heal",
        "at least 4 requests that rng worked on for over 0.6 s",
        {
            "per-bucket": "190",  # one for each request
            "gone": OF_THE_STEPS.format("slow"),
            "slow": OF_THE_STEPS.format("failed"),
            "period": "2",  # the scrape interval
            "reason": "a",
            "failed": OF_THE_STEPS.format("slow"),
            "log-span": OF_THE_STEPS.format("client_span"),
            "missing": "c",
            "no-id": "c",
        },
    ),
    "12": Attempts(
        # The share alone: the sampler that is usual does not read it.
        "workshop down\n"
        "OTEL_TRACES_SAMPLER_ARG=0.1 workshop up --workers 4\n"
        "sleep 15\nworkshop scale worker=0\nsleep 12",
        "the Collector counts a small part",
        {
            "counted": "360",  # those that it does not count
            "spread": "20",  # the root of 400
            "missed": "0.5",  # 1 - 5 * 0.1
            "kept": "0.1",  # without the coins
            "coin-share": "0.0625",  # that of all loops
            "coins-kept": OF_THE_STEPS.format("loops"),
            "weighted": OF_THE_STEPS.format("loops"),
            "why": "a",
        },
    ),
    "13": Attempts(
        # It is rng that fails.
        "workshop break rng-errors\nsleep 5\nworkshop heal",
        "a failure of hasher that takes 10% of its error budget",
        {
            "budget": "70000",  # all of them
            "burn-rate": "0.3",  # the share that fails
            "gone-after": "24000",  # by that
            # the share that fails
            "sli": 'sum(rate(http_client_request_duration_seconds_count{error_type!=""}[1m])) '
            "/ sum(rate(http_client_request_duration_seconds_count[1m]))",
            "threshold": "0.05",
            "late": "600",  # when all of the window is failure
            "why-short": "a",
            "alert": f"{_failing('10s')} > 0.09",
        },
    ),
    "14": Attempts(
        # It is green's workers that are stopped.
        "workshop up --project green --port-offset 100\nworkshop stop worker --project green\nsleep 11",
        "the count of blue the same for at least 10 s",
        {
            # of blue; the quotes let the shell put it there
            "green-trace": '\'$(curl --silent "http://localhost:16686/api/traces?service=worker&limit=1" '
            "| grep -oE [0-9a-f]{32} | head -n 1)'",
            "green-speed": "3.2",  # blue's
            "hard-coded": "a",
            "namespaces": "sum(rate(dockercoins_worker_loops_total[30s]))",  # without a name
            "together": "9.6",  # green's
            "rule": "b",
        },
    ),
    "15": Attempts(
        # The first idea instead of a diagnosis, and giving up.
        "sleep 32\nworkshop incident start --seed 4\n! workshop incident solve rng errors\n"
        "workshop incident give-up",
        "an incident that you began after the reset, and solved to its end",
        {
            "evidence": "sum(rate(dockercoins_worker_errors_total[10s])) or vector(0)",
            "before": "1.6",  # in the incident
            "lost": "0",
            "both-sides": "a",
            "silent": "b",
            "cause": "b",
        },
    ),
}
