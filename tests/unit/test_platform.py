"""A system that is not supported is named at once, with what to do."""

import subprocess
import sys

CODE = """
import sys
sys.platform = "win32"
import patchclamp
"""


def test_windows_is_refused_with_what_to_do():
    ended = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    assert ended.returncode != 0
    assert "this is Windows. Install it inside WSL" in ended.stderr
