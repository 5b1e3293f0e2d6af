"""What the console reads, and which of it has pages of its own to link to."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import requests

from workshop.clients import Jaeger, Prometheus

TIMEOUT_SECONDS = 0.5
# Whether a backend has pages changes seldom: with a start or an end.
CACHE_SECONDS = 10


@dataclass(frozen=True)
class Backends:
    """The base URLs of the backends; Grafana need not run."""

    prometheus_url: str
    jaeger_url: str
    grafana_url: str

    @property
    def prometheus(self) -> Prometheus:
        """The metrics."""
        return Prometheus(self.prometheus_url)

    @property
    def jaeger(self) -> Jaeger:
        """The traces."""
        return Jaeger(self.jaeger_url)


@dataclass(frozen=True)
class Link:
    """A program with pages of its own."""

    name: str
    url: str


def links_to(backends: Backends) -> Callable[[], list[Link]]:
    """Return a function that returns links to the programs that answer with a page now.

    The Prometheus and Jaeger that `make tools` builds, and the embedded trace store, have an API only.
    """
    candidates = [
        Link("Grafana", backends.grafana_url),
        Link("Prometheus", backends.prometheus_url),
        Link("Jaeger", backends.jaeger_url),
    ]
    known: list[Link] = []
    ask_again = 0.0

    def links() -> list[Link]:
        nonlocal known, ask_again
        if time.monotonic() >= ask_again:
            ask_again = time.monotonic() + CACHE_SECONDS
            known = [link for link in candidates if _has_page(link.url)]
        return known

    return links


def _has_page(url: str) -> bool:
    try:
        # Prometheus and Grafana answer with a redirection to their first page.
        response = requests.get(url, timeout=TIMEOUT_SECONDS, headers={"Accept": "text/html"})
    except requests.RequestException:
        return False
    # A Jaeger that was built without its pages answers with one that says so, and holds no code.
    return response.ok and "<script" in response.text
