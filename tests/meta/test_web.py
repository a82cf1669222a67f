"""The built pages belong to their sources and to the server's schema, are small, and ask nobody else for anything."""

import gzip
import importlib.util
import json
import re
import subprocess
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WEB = ROOT / "web"
STATIC = ROOT / "src" / "patchclamp" / "atlas" / "static"
# Bytes of the first load, compressed as the server sends them.
BUDGETS = {".js": 50_000, ".css": 10_000}


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def asked_for(page: str) -> list[str]:
    """Return what the page loads at once, by address."""
    return re.findall(r'<(?:script|link)[^>]* (?:src|href)="([^"]+)"', page)


def imports(path: Path) -> set[Path]:
    """Return the files of ours that a source imports, types and late imports included."""
    names = re.findall(r'''(?:from|import\(|import)\s*"(\.[^"]+)"''', path.read_text())
    places = ((path.parent / f"{name}{end}").resolve() for name in names for end in ("", ".ts", ".tsx"))
    return {place for place in places if place.is_file()}


def test_no_sources_import_one_another_in_a_circle():
    sorter = TopologicalSorter({path: imports(path) for path in (WEB / "src").resolve().rglob("*.ts*")})
    assert len(list(sorter.static_order())) > 50  # static_order raises CycleError


def test_screens_are_folders_that_know_nothing_of_one_another():
    screens = (WEB / "src" / "screens").resolve()
    folders = [path for path in screens.iterdir() if path.is_dir()]
    assert list(screens.iterdir()) == folders
    assert len(folders) > 7
    for folder in folders:
        assert "export const screen: Screen" in (folder / "screen.ts").read_text()
        used = {used for path in folder.rglob("*.ts*") for used in imports(path)}
        others = {used for used in used if used.is_relative_to(screens) and not used.is_relative_to(folder)}
        assert not others, f"{folder.name} imports {others}"


def test_types_follow_the_schema():
    spec = importlib.util.spec_from_file_location("typescript", WEB / "typescript.py")
    writer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(writer)
    from patchclamp.atlas.serve.openapi import schema

    remedy = "run `python web/typescript.py`"
    assert writer.OUT.read_text(encoding="utf-8") == writer.interfaces(schema()), remedy


@pytest.mark.parametrize("kind", BUDGETS)
def test_first_load_is_small(kind: str):
    loaded = [STATIC / name.lstrip("/") for name in asked_for((STATIC / "index.html").read_text()) if kind in name]
    assert loaded
    assert sum(len(gzip.compress(path.read_bytes(), 6)) for path in loaded) <= BUDGETS[kind]


def test_names_change_with_the_content():
    assets = sorted(path.name for path in (STATIC / "assets").iterdir())
    assert assets
    assert all(re.fullmatch(r"[\w-]+-[\w-]{8}\.(js|css)", name) for name in assets)
    at_once = asked_for((STATIC / "index.html").read_text())
    main = (STATIC / next(name for name in at_once if name.endswith(".js")).lstrip("/")).read_text()
    # Screens that are loaded when first opened are named in the first script.
    assert all(f"/assets/{name}" in at_once or name in main for name in assets)


def test_nothing_is_asked_of_anybody_else():
    # The names of XML's namespaces are addresses that nobody visits.
    for name, content in contents(STATIC).items():
        if name != "THIRD_PARTY.txt":
            others = re.findall(rb"(?:https?:)?//[a-z0-9-]+(?:\.[a-z0-9-]+)+", content)
            assert {other for other in others if b"//www.w3.org" not in other} == set(), name


def test_what_others_wrote_is_named_with_its_licence():
    listed = (STATIC / "THIRD_PARTY.txt").read_text()
    lock = json.loads((WEB / "package-lock.json").read_text())["packages"]
    for name in json.loads((WEB / "package.json").read_text())["dependencies"]:
        assert f"{name} {lock[f'node_modules/{name}']['version']} (MIT)" in listed
    heads = re.findall(r"^\S+ \d+\.\d+\.\d+ \(.+\)$", listed, flags=re.MULTILINE)
    assert len(heads) == listed.count("Permission is hereby granted") > 0


def test_built_pages_are_those_of_the_sources(tmp_path: Path):
    vite = WEB / "node_modules" / ".bin" / "vite"
    if not vite.exists():
        pytest.skip("needs node and `npm --prefix web ci`, to build the pages anew")
    command = [vite, "build", "--outDir", tmp_path / "static", "--emptyOutDir", "--logLevel", "error"]
    done = subprocess.run(command, cwd=WEB, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    fresh, kept = contents(tmp_path / "static"), contents(STATIC)
    assert fresh == kept, "run `npm --prefix web run build`"
