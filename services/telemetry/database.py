"""A client span and a duration for each Redis operation.

https://opentelemetry.io/docs/specs/semconv/db/redis/
"""

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from opentelemetry import trace
from opentelemetry.trace import SpanKind, Status, StatusCode
from prometheus_client import Histogram
from redis import Redis, RedisError

from telemetry.metrics import DURATION_BUCKETS, exemplar

DURATION = Histogram(
    "db_client_operation_duration_seconds",
    "Time from sending an operation to the database to its answer, as the client sees it.",
    ["db_system_name", "db_operation_name", "error_type"],
    buckets=DURATION_BUCKETS,
)

tracer = trace.get_tracer("telemetry.database")


@contextmanager
def operation(redis: Redis, name: str) -> Iterator[None]:
    """Measure and trace the Redis command `name`, which the block sends; errors are recorded and passed on.

    Usage::

        with operation(redis, "HSET"):
            redis.hset("wallet", digest, data)
    """
    connection = redis.get_connection_kwargs()
    with tracer.start_as_current_span(
        name,
        kind=SpanKind.CLIENT,
        attributes={
            "db.system.name": "redis",
            "db.operation.name": name,
            "db.namespace": str(connection.get("db", 0)),
            "server.address": connection["host"],
            "server.port": connection.get("port", 6379),
            "service.peer.name": "redis",
        },
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        error_type = ""
        started = perf_counter()
        try:
            yield
        except RedisError as error:
            error_type = type(error).__name__
            span.set_attribute("error.type", error_type)
            span.set_status(Status(StatusCode.ERROR))
            raise
        finally:
            DURATION.labels("redis", name, error_type).observe(perf_counter() - started, exemplar(span))
