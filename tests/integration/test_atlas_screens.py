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
    named = atlas.key(atlas.number(key))
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


def test_screens_know_nothing_of_one_another():
    graph = grimp.build_graph("patchclamp", cache_dir=None)
    names = sorted(graph.find_children(SCREENS))
    assert len(names) > 5
    for name in names:
        others = {used for one in {name, *graph.find_descendants(name)} for used in
                  graph.find_modules_directly_imported_by(one) if used.startswith(f"{SCREENS}.")}  # fmt: skip
        assert {used for used in others if used != name and not used.startswith(f"{name}.")} == set(), name


def test_folders_of_the_atlas_stand_on_one_another():
    """Files, then reading, then what bakes and the lab, then the server, then the atlas as a whole and its exports."""
    graph = grimp.build_graph("patchclamp", cache_dir=None)
    floors = [("store",), ("read",), ("bake", "lab"), ("serve",), ("atlas", "notebook", "export")]
    rank = {f"patchclamp.atlas.{name}": i for i, floor in enumerate(floors) for name in floor}
    assert set(rank) == set(graph.find_children("patchclamp.atlas"))
    for upper, lower in ((a, b) for a in rank for b in rank if rank[a] < rank[b]):
        found = {
            (one, used)
            for one in {upper, *graph.find_descendants(upper)}
            for used in graph.find_modules_directly_imported_by(one)
            if used == lower or used.startswith(f"{lower}.")
        }
        assert found == set()
