"""Who is speaking: the same for spans and for metrics."""

import socket
import uuid

from common import VERSION
from opentelemetry.sdk.resources import Resource
from prometheus_client import Gauge

# service.namespace, which tells two labs apart, is in OTEL_RESOURCE_ATTRIBUTES. The SDK adds it.
RESOURCE = Resource.create(
    {
        "service.name": "rng",
        "service.version": VERSION,
        "service.instance.id": str(uuid.uuid4()),
        "host.name": socket.gethostname(),
    }
)

LABELS = {
    name.replace(".", "_"): str(value)
    for name, value in RESOURCE.attributes.items()
    if name.startswith(("service.", "host."))
}
TARGET_INFO = Gauge("target_info", "The resource that the metrics of this target are about.", list(LABELS))
TARGET_INFO.labels(**LABELS).set(1)
