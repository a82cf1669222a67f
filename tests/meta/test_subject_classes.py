"""Outside ``subjects/`` no code asks of which class a subject is: it uses what its protocols and attributes say."""

import ast
from pathlib import Path

import pytest

SOURCES = Path(__file__).resolve().parents[2] / "src" / "patchclamp"
CLASSES = {"LanguageModel", "VisionModel", "PlainModel", "PlainNetwork", "Model", "Network"}
LEFT: dict[str, str] = {}
"""File to the reason why it still has to know the class; a new line here needs a reason that no attribute removes."""


def uses_of(source: str) -> list[int]:
    """Return the lines that compare a value's class with that of a kind of subject."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in ("isinstance", "issubclass")
        ):
            named = {getattr(part, "id", getattr(part, "attr", "")) for part in ast.walk(node.args[1])}
        elif isinstance(node, ast.Compare) and isinstance(node.left, ast.Call):
            of_type = isinstance(node.left.func, ast.Name) and node.left.func.id == "type"
            sides = [part for side in node.comparators for part in ast.walk(side)] if of_type else []
            named = {getattr(part, "id", getattr(part, "attr", "")) for part in sides}
        elif isinstance(node, ast.MatchClass):
            named = {getattr(node.cls, "id", getattr(node.cls, "attr", ""))}
        else:
            continue
        if named & CLASSES:
            found.append(node.lineno)
    return found


def test_no_code_outside_subjects_asks_for_the_class_of_a_subject():
    files = [file for file in SOURCES.rglob("*.py") if file.relative_to(SOURCES).parts[0] != "subjects"]
    found = {file.relative_to(SOURCES).as_posix(): uses_of(file.read_text()) for file in files}
    assert {name: lines for name, lines in found.items() if lines and name not in LEFT} == {}
    assert [name for name in LEFT if not found.get(name)] == []


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("isinstance(model, VisionModel)", [1]),
        ("x = 1\nisinstance(model, LanguageModel | PlainNetwork)", [2]),
        ("isinstance(model, (str, vision.VisionModel))", [1]),
        ("isinstance(\n    model,\n    Network,\n)", [1]),
        ("type(model) is LanguageModel", [1]),
        ("match model:\n    case VisionModel():\n        pass", [2]),
        ("isinstance(model, Records)", []),
        ("isinstance(VisionModel, type)", []),
    ],
)
def test_the_check_sees_every_way_to_ask(source, lines):
    assert uses_of(source) == lines
