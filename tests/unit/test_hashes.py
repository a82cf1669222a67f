"""Hashes of sources change with what code does, not with how it is written down."""

import pytest

from patchclamp.calibrate.hashes import hash_sources, strip_source
from patchclamp.core.errors import PatchclampError

CODE = '''"""What it is for."""

from numpy import array, ones


def mean(x, scale):
    """Return the mean."""
    if scale > 0:  # else all are dead
        x = x / scale
    return f"{sum(x) / len(x)} # of {len(x)}"


METHOD = Method(mean, title="mean")
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("What it is for.", "What for, in other words."),
        ("Return the mean.", "Return the mean.\n\n    Args:\n        x: values.\n    "),
        ("  # else all are dead", ""),
        ("mean(x, scale)", "mean(\n    x,\n    scale,\n)"),
        ("from numpy import array, ones\n", "import numpy\n"),
        ('title="mean"', 'title="the mean of values"'),
        ("\n\n\n", "\n"),
        ("\n", "\r\n"),
    ],
)
def test_how_code_is_written_down_does_not_count(old: str, new: str):
    assert old in CODE
    assert strip_source(CODE.replace(old, new)) == strip_source(CODE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("scale > 0", "scale >= 0"),
        ("    return f", "        return f"),
        ("# of", "# among"),
        ("x / scale", "x * scale"),
        ("def mean", "def average"),
    ],
)
def test_what_code_does_counts(old: str, new: str):
    assert old in CODE
    assert strip_source(CODE.replace(old, new)) != strip_source(CODE)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(PatchclampError, match="the file that a card names"):
        hash_sources([tmp_path / "none.py"])
