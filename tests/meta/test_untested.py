"""A run without a browser says so in its last lines, also where workers ran the tests."""

import subprocess
import sys
from pathlib import Path

import pytest

from untested import COMMAND, NO_BROWSER, NO_DRIVER, say_untested

ROOT = Path(__file__).resolve().parents[2]
SKIPPING = """
import pytest
from untested import NO_BROWSER

@pytest.mark.parametrize("number", range(3))
def test_a_page(number):
    pytest.skip(NO_BROWSER)
"""


@pytest.mark.parametrize("workers", ["0", "1"])
def test_the_last_lines_say_what_was_not_tested(tmp_path, workers):
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    (tmp_path / "test_pages.py").write_text(SKIPPING)
    options = ["-q", "-n", workers, "-c", "/dev/null", "-o", f"pythonpath={ROOT}/tests", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *options, f"--rootdir={tmp_path}", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert f"NOT TESTED: the pages in a browser (3 tests). To test them: {COMMAND}, " in done.stdout, done.stdout


def test_other_skips_are_no_matter_of_browsers():
    assert say_untested(["needs the shared models"]) == ""
    assert "(2 tests)" in say_untested(["needs the shared models", f"Skipped: {NO_BROWSER}", f"Skipped: {NO_BROWSER}"])
    assert "pip install" in say_untested([NO_DRIVER])
