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
]

ATTEMPTS = {
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
}
