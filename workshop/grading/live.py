"""What a check may see of a running lab: Prometheus, Jaeger's API and Redis, and nothing else.

There is one exception. That an incident was solved shows on no live system, so its score is here too.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import time
from typing import Any

from redis import Redis, RedisError

from workshop import docker
from workshop.clients import BackendAwayError, Jaeger, Prometheus
from workshop.faults import incidents
from workshop.lab import Lab, LabError
from workshop.native import runner, supervision

# Work that is older does not count. It is also what Prometheus is asked for, again and again.
LONGEST_HISTORY_SECONDS = 2 * 60 * 60


@dataclass(frozen=True)
class Live:
    """A running lab, and what is known of the student's work on one exercise.

    `since` is the Unix time from which the work counts, `answers` maps a question to the last right
    answer and its Unix time. `keys(name)` returns the keys of a hash in Redis. `beside(project)` returns
    another lab of this machine, or None if it does not run. `incidents` are the scores of those that are
    over, as `workshop.faults.incidents.scores` returns them.
    """

    prometheus: Prometheus
    jaeger: Jaeger
    keys: Callable[[str], list[str]]
    since: float
    now: float = field(default_factory=time)
    answers: Mapping[str, tuple[str, float]] = field(default_factory=dict)
    beside: Callable[[str], "Live | None"] = lambda project: None
    incidents: Sequence[Mapping[str, Any]] = ()


class NotRunningError(LabError):
    """A lab runs neither without Docker nor with it."""


def connect(lab: Lab, since: float = 0, answers: Mapping[str, tuple[str, float]] | None = None) -> Live:
    """Return the lab as a check may see it, running without Docker or with it; `since` as in `Live`.

    Raises `NotRunningError` if it runs in neither way, `LabError` if it has no telemetry.
    """
    if supervision.connect(lab) is not None:
        prometheus, jaeger = lab.url("PROMETHEUS_PORT"), lab.url("JAEGER_PORT")
        telemetry = lab.telemetry

        def keys(name: str) -> list[str]:
            try:
                with Redis(port=lab.ports["REDIS_PORT"], socket_timeout=4, decode_responses=True) as redis:
                    return [str(key) for key in redis.hkeys(name)]
            except RedisError as error:
                raise BackendAwayError(f"Redis does not answer: {error}") from None

    elif found := docker.published_url(lab.project, "prometheus"):
        prometheus, jaeger = found, docker.backend_url(lab, "jaeger", "JAEGER_PORT")
        telemetry = docker.telemetry(lab.project)

        def keys(name: str) -> list[str]:
            # Redis is not published, so it is asked from within its container.
            return docker.execute(lab.project, "redis", "redis-cli", "--raw", "HKEYS", name).split()

    else:
        raise NotRunningError(
            f"the lab {lab.project!r} is not running: `workshop up` or `docker compose up --detach` starts it"
        )
    if not telemetry:
        raise LabError("the lab runs with TELEMETRY=off, so there is nothing to check: start it anew without")
    since = max(since, time() - LONGEST_HISTORY_SECONDS)

    def beside(project: str) -> Live | None:
        try:
            return connect(runner.choose(project, None), since)
        except NotRunningError:
            return None

    return Live(
        Prometheus(prometheus),
        Jaeger(jaeger),
        keys,
        since,
        answers=answers or {},
        beside=beside,
        incidents=incidents.scores(lab),
    )
