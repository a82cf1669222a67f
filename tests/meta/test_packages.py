"""Installing the package brings few others, each with its reason in writing."""

import itertools
import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
DEPENDENCIES = ROOT / "docs" / "reference" / "dependencies.md"
MOST = 50


def required_by(name: str, extras: frozenset[str] = frozenset()) -> list[Requirement]:
    """Return what the installed `name` requires here; nothing if it is not installed."""
    try:
        lines = requires(name) or []
    except PackageNotFoundError:
        return []
    environments = [{"extra": extra} for extra in extras or {""}]
    found = [Requirement(line) for line in lines]
    return [one for one in found if one.marker is None or any(one.marker.evaluate(where) for where in environments)]


def closure(name: str) -> set[str]:
    """Return everything that installing `name` installs besides it."""
    todo: list[tuple[str, frozenset[str]]] = [(canonicalize_name(name), frozenset())]
    done = set(todo)
    while todo:
        for one in required_by(*todo.pop()):
            node = (canonicalize_name(one.name), frozenset(one.extras))
            if node not in done:
                done.add(node)
                todo.append(node)
    return {package for package, _ in done} - {canonicalize_name(name)}


def test_closure_is_small():
    packages = closure("patchclamp")
    assert {"torch", "numpy", "huggingface-hub"} <= packages, "the walk did not reach what it must"
    assert len(packages) <= MOST, sorted(packages)


def test_each_dependency_and_tool_has_one_tested_version_within_its_bounds():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    tested = {canonicalize_name(one.name): one for one in map(Requirement, lines)}
    assert len(tested) == len(lines)
    assert all(re.fullmatch(r"==[\w.]+", str(one.specifier)) for one in tested.values()), "exact, and of every platform"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"].values()
    asked = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"], *itertools.chain(*extras)]
    for one in map(Requirement, [*asked, *project["build-system"]["requires"]]):
        [pin] = tested[canonicalize_name(one.name)].specifier
        assert one.specifier.contains(pin.version), f"{one} and {pin}"
    # What these bring along is tested in one version too.
    assert closure("patchclamp") - set(tested) == set()


def test_each_dependency_has_its_reason():
    required = {canonicalize_name(one.name) for one in required_by("patchclamp")}
    rows = re.findall(r"^\| `([\w.-]+)` \| \S", DEPENDENCIES.read_text(), flags=re.MULTILINE)
    assert {canonicalize_name(row) for row in rows} == required
