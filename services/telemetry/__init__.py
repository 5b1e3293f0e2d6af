"""How DockerCoins is instrumented: one concept per file.

========================  ==========================================================================
`resource.py`             who is speaking: service name, namespace, instance, version
`metrics.py`              the Prometheus registry, the histograms' buckets, exemplars, the /metrics port
`traces.py`               the OpenTelemetry tracer, its bounded queue, the export by OTLP/HTTP
`logs.py`                 JSON lines that carry the trace and span ID
`http_server.py`          a span and the RED metrics for each request that a Flask app answers
`http_client.py`          the same for each request that a `requests` session sends
`database.py`             the same for each Redis operation
`faults.py`               the faults that can be switched on
`flags.py`                the flags that do it, in a file, with OpenFeature
`contract.yaml`           every metric and span that the services may emit, and what it means
========================  ==========================================================================

A service starts all of it with one line, and works the same without it (`TELEMETRY=off`)::

    telemetry.start("rng")
"""

from telemetry import logs, metrics, resource, traces


def start(service: str) -> None:
    """Start logs, metrics and traces for the service of this name.

    Raises `SettingError` for a setting that is not usable, `OSError` if the port of the metrics is taken.
    """
    identity = resource.describe(service)
    logs.start(identity)
    traces.start(identity)
    metrics.start(identity)
