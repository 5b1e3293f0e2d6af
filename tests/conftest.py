"""Fixtures that more than one suite uses."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import free_ports, redis_process

# A shell without job control lets what it starts in the background ignore SIGINT, and so all that comes of
# that. Several tests are about Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    """The URL of a real Valkey or Redis of this test's own."""
    (port,) = free_ports(1)
    with redis_process(tmp_path / "redis", port):
        yield f"redis://127.0.0.1:{port}"
