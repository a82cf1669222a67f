"""Screens are listed: one file gives a new one, whatever the others answer; and none knows another."""

import importlib.util
import sys
from pathlib import Path

import grimp
import pytest
from fastapi.testclient import TestClient

import patchclamp as pc
from patchclamp.atlas.serve import screens
from patchclamp.atlas.serve.app import make_app

SCREENS = "patchclamp.atlas.serve.screens"
KEY = "cat/blocks.0.mlp.act/neurons/7"
# Sorted by name it comes after the screen of units, one of whose addresses takes every path below /api/units.
WIDTH = '''
"""Zone: how wide the site of a unit is."""

from dataclasses import dataclass

from fastapi import FastAPI

from patchclamp.atlas.read.reader import Reading, page_of
from patchclamp.atlas.serve.served import Served


@dataclass(frozen=True)
class ZonePage:
    """How many units stand beside this one."""

    key: str
    width: int


def add_routes(app: FastAPI, served: Served) -> None:
    """Add the address of the width."""

    @app.get("/api/units/{key:path}/zone", operation_id="readZone")
    def read_zone(key: str) -> ZonePage:
        return zone_page(served.atlas(), key)


@page_of
def zone_page(atlas: Reading, key: str) -> ZonePage:
    """Return how wide the site of a unit is."""
    named = atlas.key(atlas.index_of(key))
    return ZonePage(str(named), sum(row[6] for row in atlas.sites if row[1] == named.site))
'''


@pytest.fixture
def zone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Put one more file among the screens, and nothing else anywhere."""
    (tmp_path / "zone.py").write_text(WIDTH)
    monkeypatch.setattr(screens, "__path__", [*screens.__path__, str(tmp_path)])
    yield
    sys.modules.pop(f"{SCREENS}.zone", None)
    if hasattr(screens, "zone"):
        del screens.zone


def types_of(app) -> str:
    """Return the browser's types of an application."""
    path = Path(__file__).resolve().parents[2] / "web" / "typescript.py"
    spec = importlib.util.spec_from_file_location("typescript", path)
    writer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(writer)
    return writer.interfaces(app.openapi())


def test_one_file_is_one_more_screen(seeded_atlas, zone):
    atlas = pc.atlas.open(seeded_atlas).reading
    app = make_app(lambda: atlas)
    assert "export interface ZonePage {\n  key: string;\n  width: number;\n}\n" in types_of(app)
    with TestClient(app) as server:
        answer = server.get(f"/api/units/{KEY}/zone")
        width = len([key for key in map(atlas.key, range(atlas.n_units)) if key.site == "blocks.0.mlp.act"])
        assert (answer.status_code, answer.json()) == (200, {"key": KEY, "width": width})
        missing = server.get("/api/units/cat/blocks.9.mlp.act/neurons/0/zone")
        assert missing.status_code == 404
        assert set(missing.json()["error"]) == {"expected", "got", "remedy"}
        # The screens beside it answer as before.
        assert server.get(f"/api/units/{KEY}").json()["key"] == KEY
        assert server.get(f"/api/units/{KEY}/examples").json()["key"] == KEY


def test_without_the_file_there_is_no_such_screen(seeded_atlas):
    atlas = pc.atlas.open(seeded_atlas).reading
    app = make_app(lambda: atlas)
    assert "ZonePage" not in types_of(app)
    with TestClient(app) as server:
        assert server.get(f"/api/units/{KEY}/zone").status_code == 404


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("patchclamp", cache_dir=None)


def uses(graph: grimp.ImportGraph, package: str) -> set[str]:
    """Return what the modules of a package import."""
    modules = {package, *graph.find_descendants(package)}
    return set().union(*(graph.find_modules_directly_imported_by(module) for module in modules))


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def test_screens_know_nothing_of_one_another(graph: grimp.ImportGraph):
    names = graph.find_children(SCREENS)
    assert len(names) > 5
    for name in names:
        used = {one for one in uses(graph, name) if within(one, SCREENS) and not within(one, name)}
        assert not used, f"{name} imports {used}"


def test_folders_of_the_atlas_stand_on_one_another(graph: grimp.ImportGraph):
    # Files, what reads them, what makes them, the lab, the server, the atlas as a whole and what is made of it.
    made = [("bake",), ("description_layer",), ("lab",)]
    floors = [("store",), ("read",), *made, ("serve",), ("atlas", "written"), ("notebook", "export")]
    floor = {f"patchclamp.atlas.{name}": number for number, names in enumerate(floors) for name in names}
    assert set(floor) == graph.find_children("patchclamp.atlas")
    for name, number in floor.items():
        above = {one for one in uses(graph, name) for other in floor if floor[other] > number and within(one, other)}
        assert not above, f"{name} imports {above}"
