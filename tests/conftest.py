"""Fixtures that more than one suite uses."""

import signal
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests import standstill
from tests.support import IN_CI, free_ports, redis_process

# A shell without job control lets what it starts in the background ignore SIGINT, and so all that comes of
# that. Several tests are about Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)

standstill.watch()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show when the machine stood still."""
    if told := standstill.told():
        terminalreporter.section("the machine stood still")
        for line in told:
            terminalreporter.write_line(line)


# The reasons for which a test may be skipped in CI: what no set-up of the machine can change.
IMPOSSIBLE = {"only Linux tells which signals a process ignores"}


def fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    """In CI, make a failure of a test, or a module, that was skipped."""
    if not (IN_CI and report.skipped) or hasattr(report, "wasxfail"):
        return
    reason = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if reason.removeprefix("Skipped: ") not in IMPOSSIBLE:
        report.outcome = "failed"
        report.longrepr = f"nothing may be skipped in CI: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    fail_if_skipped(report)
    return report


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    """The URL of a real Valkey or Redis of this test's own."""
    (port,) = free_ports(1)
    with redis_process(tmp_path / "redis", port):
        yield f"redis://127.0.0.1:{port}"
