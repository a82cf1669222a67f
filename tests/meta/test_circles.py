"""Modules do not import one another in a circle, late imports and those for type checkers included."""

from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest


def imports_of(package: str) -> dict[str, set[str]]:
    """Return which modules each module imports by name; what is found by listing a folder is no import."""
    graph = grimp.build_graph(package, cache_dir=None)
    return {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}


def find_circle(imports: dict[str, set[str]]) -> list[str]:
    """Return the modules of one circle, each imported by the next; empty where there is none."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as circle:
        return list(circle.args[1])
    return []


def test_no_modules_import_one_another_in_a_circle():
    imports = imports_of("patchclamp")
    assert len(imports) > 100, "there is nothing to look at"
    circle = find_circle(imports)
    assert not circle, " is imported by ".join(circle)


@pytest.mark.parametrize(
    "line",
    [
        "import circling.a",
        "from circling import a",
        "from . import a",
        "def f():\n    from circling.a import A",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from circling.a import A",
    ],
    ids=["import", "from", "relative", "late", "for types"],
)
def test_the_check_sees_a_circle(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "circling"
    folder.mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    (folder / "__init__.py").write_text("")
    (folder / "a.py").write_text("from circling.b import B\n")
    (folder / "b.py").write_text("B = 1\n")
    assert find_circle(imports_of("circling")) == []
    (folder / "b.py").write_text(f"B = 1\n{line}\n")
    assert set(find_circle(imports_of("circling"))) == {"circling.a", "circling.b"}
