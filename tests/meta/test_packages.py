"""Installing the package brings few others, each with its reason in writing."""

import itertools
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
DEPENDENCIES = ROOT / "docs" / "reference" / "dependencies.md"
MOST = 50
WHEEL = 15 * 10**6
"""Bytes."""


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
    asked = [
        one for one in map(Requirement, [*asked, *project["build-system"]["requires"]]) if one.name != "patchclamp"
    ]
    for one in asked:
        [pin] = tested[canonicalize_name(one.name)].specifier
        assert one.specifier.contains(pin.version), f"{one} and {pin}"
    # What these bring along is tested in one version too.
    assert closure("patchclamp") - set(tested) == set()


def test_each_dependency_has_its_reason():
    required = {canonicalize_name(one.name) for one in required_by("patchclamp")}
    rows = re.findall(r"^\| `([\w.-]+)` \| [^|]+ \|$", DEPENDENCIES.read_text(), flags=re.MULTILINE)
    assert {canonicalize_name(row) for row in rows} == required


def brought(extras: dict[str, list[str]], name: str) -> set[str]:
    """Return the packages that an extra brings, those of other extras that it names among them."""
    packages: set[str] = set()
    for one in map(Requirement, extras[name]):
        packages |= set().union(*(brought(extras, other) for other in one.extras)) if one.extras else {one.name}
    return packages


def test_extras_bring_what_the_page_says():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    rows = re.findall(r"^\| `(\w+)` \| ([^|]*) \| [^|]*\|$", DEPENDENCIES.read_text(), flags=re.MULTILINE)
    told = {name: set(re.findall(r"`([\w-]+)`", row)) for name, row in rows if name in extras}
    assert set(told) == set(extras)
    for name, row in told.items():
        named = set().union(*(brought(extras, one) if one in extras else {one} for one in row))
        assert named == brought(extras, name) or name == "all", name
    others = [brought(extras, name) for name in extras if name != "all"]
    assert brought(extras, "all") == set().union(*others)


def test_extras_that_messages_and_pages_name_exist():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    places = [*(ROOT / "src").rglob("*.py"), *(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]
    named = {name for path in places for name in re.findall(r"patchclamp\[(\w+)\]", path.read_text())}
    assert {"science", "brains", "parquet", "adapters"} <= named <= set(extras)


def test_the_wheel_is_small_and_whole(tmp_path: Path):
    # Built from the sources with what is installed: no network, no environment of its own.
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    made = subprocess.run(build, capture_output=True, text=True)
    assert made.returncode == 0, made.stdout + made.stderr
    [wheel] = tmp_path.glob("*.whl")
    assert wheel.stat().st_size <= WHEEL
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    sources = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src" / "patchclamp").rglob("*")
               if path.is_file() and "__pycache__" not in path.parts}  # fmt: skip
    assert held == sources
