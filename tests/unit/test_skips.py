"""In CI a test that is skipped fails: what cannot run there would else pass for tested."""

import os
import subprocess
import sys

import pytest

from tests.conftest import IMPOSSIBLE
from workshop.lab import ROOT

SKIPPED_TEST = """
import pytest

@pytest.mark.skip(reason="{reason}")
def test_one(): pass
"""
SKIPPED_IN_THE_TEST = """
import pytest

def test_one(): pytest.skip("{reason}")
"""
SKIPPED_MODULE = """
import pytest

pytest.skip("{reason}", allow_module_level=True)
"""


def run(path, text, ci, reason="no tool here"):
    """Run pytest on a file with this text; return its exit code and what it prints."""
    path.write_text(text.format(reason=reason))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.conftest", "--rootdir", path.parent, path],
        env=os.environ | {"CI": ci, "PYTHONPATH": f"{ROOT}:{ROOT / 'services'}"},
        cwd=path.parent,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize("text", [SKIPPED_TEST, SKIPPED_IN_THE_TEST, SKIPPED_MODULE])
def test_a_skipped_test_fails_in_ci_and_only_there(tmp_path, text):
    code, printed = run(tmp_path / "test_one.py", text, ci="true")
    assert code in (pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED)
    assert "nothing may be skipped in CI: " in printed
    assert "no tool here" in printed
    code, _ = run(tmp_path / "test_one.py", text, ci="")
    assert code in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)


@pytest.mark.parametrize("reason", sorted(IMPOSSIBLE))
def test_what_is_impossible_may_be_skipped(tmp_path, reason):
    assert run(tmp_path / "test_one.py", SKIPPED_TEST, ci="true", reason=reason)[0] == pytest.ExitCode.OK
