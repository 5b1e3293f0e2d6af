"""Every odd header, on every kind of path."""

import pytest

from tests.fuzz import strategies
from tests.fuzz.checks import send
from tests.fuzz.client import Request
from tests.fuzz.test_tracestore import QUERY_PATHS

PATHS = {
    "rng": ["/", "/32", "/nothing"],
    "hasher": ["/", "/nothing"],
    "webui": ["/", "/json", "/static/webui.js", "/nothing"],
    "otlp": ["/v1/traces", "/nothing"],
    "query": QUERY_PATHS,
    "console": ["/traces/open", "/alerts/", "/static/traces.css", "/nothing"],
}


@pytest.mark.parametrize("method", [b"GET", b"POST"])
@pytest.mark.parametrize(("name", "path"), [(name, path) for name, paths in PATHS.items() for path in paths])
def test_odd_headers(clients, name, path, method):
    send(
        clients[name],
        *(
            Request(path.encode(), method, ((header, value),), b"{}" if method == b"POST" else b"")
            for header, values in strategies.HEADERS.items()
            for value in values
        ),
    )
