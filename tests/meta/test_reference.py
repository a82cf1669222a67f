"""The generated pages of docs/reference say what the parser and the public names say."""

import os
import re
from pathlib import Path

import pytest

import patchclamp
import reference_pages

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"
PAGES = {"cli.md": reference_pages.write_command_line, "python.md": reference_pages.write_python}


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_what_the_package_says(name: str):
    path, text = REFERENCE / name, PAGES[name]()
    if os.environ.get("PATCHCLAMP_REWRITE"):
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text, "PATCHCLAMP_REWRITE=1 pytest tests/meta/test_reference.py"


def test_every_public_name_stands_there_with_what_it_is():
    rows = dict(re.findall(r"^\| `([\w.]+)[^`]*` \| (.*) \|$", reference_pages.write_python(), flags=re.MULTILINE))
    assert set(patchclamp.__all__) - {"__version__"} <= set(rows)
    assert [name for name, what in rows.items() if len(what) < 10] == []


def test_every_argument_has_a_meaning():
    page = reference_pages.write_command_line()
    assert len(re.findall("^## patchclamp ", page, flags=re.MULTILINE)) > 20
    assert re.findall(r"^\| `[^`]+` \| \s*\|$", page, flags=re.MULTILINE) == []
