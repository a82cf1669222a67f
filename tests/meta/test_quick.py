"""What `make quick` runs is quick: no test of its folders bakes an atlas, trains or serves."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
[RECIPE] = re.findall(r"^quick:.*\n\t(.*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
FOLDERS = [ROOT / name for name in re.findall(r"tests/\w+", RECIPE)]
# Tests that use one of these belong in tests/integration.
LONG = {"seeded_atlas", "bake_atlas", "bake_seeded", "train_dictionary", "serving", "uvicorn"}


def long_work(source: str) -> set[str]:
    """Return which of the names that stand for long work a file uses."""
    nodes = list(ast.walk(ast.parse(source)))
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    names |= {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    names |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    names |= {node.name.partition(".")[0] for node in nodes if isinstance(node, ast.alias)}
    return names & LONG


def test_no_quick_test_does_long_work():
    files = [file for folder in FOLDERS for file in sorted(folder.glob("*.py")) if file != Path(__file__)]
    assert {folder.name for folder in FOLDERS} >= {"meta", "property", "unit"}
    assert len(files) > 20
    found = {file.relative_to(ROOT).as_posix(): long_work(file.read_text()) for file in files}
    assert {name: used for name, used in found.items() if used} == {}


@pytest.mark.parametrize(
    ("source", "used"),
    [
        ("def test_x(seeded_atlas): pass", "seeded_atlas"),
        ("import uvicorn.config", "uvicorn"),
        ("from a import train_dictionary", "train_dictionary"),
        ("pc.atlas.bake_atlas(model, text, out)", "bake_atlas"),
    ],
)
def test_the_check_sees_long_work(source, used):
    assert long_work(source) == {used}
    assert long_work("'pc.atlas.bake_atlas(model, 5)'  # a text that names it") == set()
