"""Who is speaking: the OpenTelemetry resource that spans, logs and metrics share.

https://opentelemetry.io/docs/specs/semconv/resource/#service
"""

import socket
import uuid

from common import VERSION
from opentelemetry.sdk.resources import Resource


class HashedResource(Resource):
    """A resource that computes its hash once. The exporter asks for it with each span."""

    def __init__(self, resource: Resource) -> None:
        super().__init__(resource.attributes, resource.schema_url)
        self._hash = super().__hash__()

    def __hash__(self) -> int:
        """Return the hash of the attributes, which do not change."""
        return self._hash


def describe(service: str) -> Resource:
    """Return the resource of this process.

    The namespace tells two copies of DockerCoins apart; `OTEL_RESOURCE_ATTRIBUTES=service.namespace=green`
    changes it, as in every OpenTelemetry SDK.
    """
    defaults = Resource(
        {
            "service.name": service,
            "service.namespace": "dockercoins",
            "service.version": VERSION,
            "service.instance.id": str(uuid.uuid4()),
            "host.name": socket.gethostname(),
        }
    )
    return HashedResource(defaults.merge(Resource.create({"service.name": service})))
