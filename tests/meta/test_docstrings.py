"""How many public functions state their returns, source and example, and how many functions are named by a participle.

`docstrings.json` holds the level that every room has reached, shares in steps of ten percent so that one new function
does not break it. A share may rise and a count of participles may fall, never the other way; `PATCHCLAMP_REWRITE=1`
writes down what was gained.
"""

import ast
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src" / "patchclamp"
LEVELS = Path(__file__).with_name("docstrings.json")
SECTIONS = ("returns", "source", "example")
STEP = 10
"""Percent in which shares are stored."""
LEAST_ARGUMENTS = 3
"""Functions with fewer arguments are short enough to be read."""
IRREGULAR = (
    "begun bound built chosen done drawn felt found given gone held kept known laid left lent lost made meant met said "
    "seen sent shown sought spent spoken spun stood struck stuck taken taught thought told torn understood unseen "
    "woven written"
)
NOT_PARTICIPLES = "embed exceed feed need proceed seed shed shred speed succeed unembed"
Function = ast.FunctionDef | ast.AsyncFunctionDef


def rooms() -> dict[str, list[Path]]:
    """Return the source files of every room; the command line, which has its own documentation, is left out."""
    found: dict[str, list[Path]] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).parts
        if len(parts) > 1 and parts[0] != "cli":
            found.setdefault(parts[0], []).append(path)
    return found


def public_functions(tree: ast.AST) -> Iterator[Function]:
    """Yield the functions of a module, and methods of its classes, that are public and take three arguments or more."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node)
        elif isinstance(node, Function) and not node.name.startswith("_"):
            names = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            n = sum(name not in ("self", "cls") for name in names) + bool(node.args.vararg) + bool(node.args.kwarg)
            if n >= LEAST_ARGUMENTS:
                yield node


def stated(node: Function, section: str) -> bool:
    """Return whether a function's docstring has a section; one that returns nothing has nothing to say of it."""
    text = ast.get_docstring(node) or ""
    if section == "returns" and node.returns is not None and ast.unparse(node.returns) == "None":
        return True
    heads = ("Returns:", "Yields:") if section == "returns" else (f"{section.capitalize()}:",)
    return any(line.startswith(heads) for line in text.splitlines())


def named_by_participle(tree: ast.AST) -> list[str]:
    """Return the functions and methods, private and nested ones too, whose name is a bare participle; no properties."""
    return [
        node.name
        for node in ast.walk(tree)
        if isinstance(node, Function)
        and is_participle(node.name)
        and not any("property" in ast.unparse(decorator) for decorator in node.decorator_list)
    ]


def is_participle(name: str) -> bool:
    """Return whether a name is a participle and nothing else: `found`, `_measured`; not `measure`, `embed`."""
    word = name.strip("_")
    return word in IRREGULAR.split() or (word.isalpha() and word.endswith("ed") and word not in NOT_PARTICIPLES.split())


def levels(paths: list[Path]) -> dict[str, int]:
    """Return the shares of a room's public functions, in whole percent, and its number of participles."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in paths]
    functions = [node for tree in trees for node in public_functions(tree)]
    shares = {
        section: 100 * sum(stated(node, section) for node in functions) // max(len(functions), 1)
        for section in SECTIONS
    }
    return shares | {"participles": sum(len(named_by_participle(tree)) for tree in trees)}


def lacking(paths: list[Path], section: str) -> list[str]:
    """Return the public functions of a room whose docstring lacks a section, as FILE:LINE NAME."""
    return [
        f"{path.relative_to(SOURCE)}:{node.lineno} {node.name}"
        for path in paths
        for node in public_functions(ast.parse(path.read_text(encoding="utf-8")))
        if not stated(node, section)
    ]


def raise_levels(stored: dict[str, dict[str, int]], now: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    """Return the stored levels with those of new rooms; a room's level changes only where it is a whole step better."""
    risen = {}
    for room, measured in sorted(now.items()):
        reached = {section: measured[section] // STEP * STEP for section in SECTIONS}
        old = stored.get(room, reached | {"participles": measured["participles"]})
        best = {section: max(old[section], reached[section]) for section in SECTIONS}
        risen[room] = best | {"participles": min(old["participles"], measured["participles"])}
    return risen


def test_levels_are_kept():
    files = rooms()
    now = {room: levels(paths) for room, paths in files.items()}
    stored: dict[str, dict[str, int]] = json.loads(LEVELS.read_text(encoding="utf-8"))
    if os.environ.get("PATCHCLAMP_REWRITE"):
        stored = raise_levels(stored, now)
        LEVELS.write_text(json.dumps(stored, indent=2) + "\n", encoding="utf-8")
    assert set(stored) == set(now), "a room has no level yet: run this with PATCHCLAMP_REWRITE=1"
    lower = [
        f"{room}: {section.capitalize()}: stands in {measured[section]} % of the functions, {stored[room][section]} % "
        f"are reached; it is missing in\n  " + "\n  ".join(lacking(files[room], section))
        for room, measured in now.items()
        for section in SECTIONS
        if measured[section] < stored[room][section]
    ]
    assert not lower, "\n".join(lower)
    more = {
        room: [name for path in files[room] for name in named_by_participle(ast.parse(path.read_text()))]
        for room, measured in now.items()
        if measured["participles"] > stored[room]["participles"]
    }
    assert more == {}, "name functions by an imperative or a noun"


def test_a_function_that_lacks_a_section_is_named_with_its_place():
    [path] = [path for path in rooms()["core"] if path.name == "checks.py"]
    [line] = [n for n, text in enumerate(path.read_text().splitlines(), 1) if text.startswith("def one_of(")]
    assert f"core/checks.py:{line} one_of" in lacking([path], "source")
    assert not [name for name in lacking([path], "returns") if name.endswith(" one_of")]


def test_levels_of_rooms_that_did_not_get_better_by_a_step_are_left():
    level = dict.fromkeys(SECTIONS, 50) | {"participles": 1}
    now = {"left": level | {"returns": 59}, "lower": level | {"source": 31}, "risen": level | {"example": 71}}
    stored = {room: dict(level) for room in now}
    risen = raise_levels(stored, now | {"new": level | {"returns": 47, "participles": 0}})
    assert {room: risen[room] for room in ("left", "lower")} == {"left": level, "lower": level}
    assert risen["risen"] == level | {"example": 70}
    assert risen["new"] == level | {"returns": 40, "participles": 0}


@pytest.mark.parametrize(
    ("text", "section", "expected"),
    [
        ("Do.\n\n    Returns:\n        int: it.\n    ", "returns", True),
        ("Do.\n\n    Source: 1234.56789, equation 1.\n    ", "source", True),
        ("Do.\n\n    Example:\n        >>> 1\n        1\n    ", "example", True),
        ("Do; see the Source: below, Returns: nothing.", "source", False),
        ("Do; see the Source: below, Returns: nothing.", "returns", False),
    ],
)
def test_sections_are_read_at_the_start_of_a_line(text: str, section: str, expected: bool):
    [node] = public_functions(ast.parse(f'def do(a, b, *, c) -> int:\n    """{text}"""'))
    assert stated(node, section) is expected


def test_a_function_without_result_states_it_by_its_annotation():
    [node] = public_functions(ast.parse('def do(a, b, *, c) -> None:\n    """Do."""'))
    assert stated(node, "returns")
    assert not stated(node, "example")


def test_short_and_private_functions_are_not_counted_and_methods_are():
    tree = ast.parse("def two(a, b): ...\ndef _three(a, b, c): ...\nclass A:\n    def do(self, a, *, b, **c): ...")
    assert [node.name for node in public_functions(tree)] == ["do"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("found", True), ("_measured", True), ("told", True), ("measure", False), ("embed", False), ("kept_units", False)],
)
def test_participles(name: str, expected: bool):
    assert is_participle(name) is expected


def test_nested_participles_are_seen_and_properties_are_not():
    tree = ast.parse("def do():\n    def found(): ...\nclass A:\n    @property\n    def known(self): ...")
    assert named_by_participle(tree) == ["found"]


def test_no_section_stands_twice():
    twice = [
        f"{path.name}: {node.name}, {line}"
        for paths in rooms().values()
        for path in paths
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, Function | ast.ClassDef)
        for lines in [(ast.get_docstring(node) or "").splitlines()]
        for line in ("Args:", "Returns:", "Raises:", "Source:", "Cost:", "Example:")
        if sum(one.startswith(line) for one in lines) > 1
    ]
    assert twice == []
