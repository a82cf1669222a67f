"""An atlas that somebody changed and sealed anew: each page is right or says in three parts what is wrong with it."""

import hashlib
import json
import shutil
import sqlite3
from contextlib import closing

import httpx
import pytest

import patchclamp as pc
from apart import run_apart
from patchclamp.atlas.serve.server import guard_atlas
from patchclamp.atlas.store.layers import _TABLES
from patchclamp.atlas.store.sqlite_files import BASE, content_hash, write_head
from patchclamp.cli.main import main
from patchclamp.core.errors import PatchclampError

UNIT = "blocks.0.mlp.act/neurons/7"
ENDLESS = "WITH RECURSIVE c (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c)"


@pytest.fixture
def changed(tmp_path, seeded_atlas):
    """Return what changes a copy of the seeded atlas, in SQL, and gives it the hashes of what it now holds."""

    def change(file, *statements):
        folder = tmp_path / "changed.atlas"
        if not folder.exists():
            shutil.copytree(seeded_atlas, folder)
        path = next(folder.glob(file))
        path.chmod(0o644)
        with closing(sqlite3.connect(path)) as db:
            strict = db.execute("SELECT name, sql FROM sqlite_master WHERE sql LIKE '%) STRICT%'").fetchall()
            db.execute("PRAGMA writable_schema = ON")
            # Without STRICT a column takes values of any type.
            db.execute("UPDATE sqlite_master SET sql = replace(sql, ') STRICT', ')') WHERE type = 'table'")
            db.commit()
        with closing(sqlite3.connect(path)) as db:
            for statement in statements:
                db.executescript(statement)
            db.execute("PRAGMA writable_schema = ON")
            db.executemany(
                "UPDATE sqlite_master SET sql = ? WHERE name = ? AND sql = replace(?, ') STRICT', ')')",
                [(script, name, script) for name, script in strict],
            )
            db.commit()
        with closing(sqlite3.connect(path)) as db:
            kind = path.stem.split("-")[0]
            endless = db.execute("SELECT 1 FROM sqlite_master WHERE type = 'view'").fetchone()
            if kind in _TABLES and not endless:
                path.rename(path.with_name(f"{kind}-{content_hash(db, _TABLES[kind])[:16]}.sqlite"))
        if file == BASE:
            write_head(folder, "0" * 64, hashlib.sha256(path.read_bytes()).hexdigest())
        return folder

    return change


def paths(folder):
    """Return the addresses of every page that an atlas has."""
    unit = UNIT.replace("/", "%2F")
    layers = [file.stem for file in sorted((folder / "layers").glob("*.sqlite"))]
    found = ["/api/atlas", "/api/units?q=cat", "/api/units?sort=maximum", "/api/graphs", "/api/runs", "/api/lab"]
    found += [f"/api/units/{unit}"] + [f"/api/units/{unit}/examples?kind={kind}" for kind in ("top", "counter")]
    return found + [f"/api/graphs/{id}" for id in layers] + [f"/api/runs/{id}" for id in layers]


def looked_at(folder):
    """Ask for every page, in the server and at the command line; return what refused."""

    async def asked(app):
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:1") as one:
            return [await one.get(path) for path in paths(folder)]

    try:
        app = guard_atlas(folder)
    except PatchclampError:
        return ["/"]
    answers = run_apart(asked(app))
    refused = [answer for answer in answers if answer.status_code != 200]
    for answer in refused:
        assert answer.status_code in (404, 503), (answer.url, answer.text)
        assert all(answer.json()["error"].values())
    return [answer.url.path for answer in refused if answer.status_code == 503]


BASES = {
    "no units": "DELETE FROM units",
    "a corpus of words": "UPDATE about SET value = json_set(value, '$.tokens', 'many') WHERE name = 'corpus'",
    "a corpus without a size": "UPDATE about SET value = json_remove(value, '$.tokens') WHERE name = 'corpus'",
    "no about": "DELETE FROM about",
    "a subject that is none": "UPDATE about SET value = '[]' WHERE name = 'subject'",
    "half a character": """UPDATE about SET value = '"\\ud800"' WHERE name = 'modality'""",
    "words for numbers": "UPDATE units SET frequency = 'often', maximum = 'high'",
    "numbers for words": "UPDATE tokens SET text = x'ff00'",
    "short arrays": "UPDATE units SET quantiles = x'00', edges = x'00', tokens = x'00'",
    "strips of one byte": "UPDATE examples SET acts = x'00'",
    "units without an end": "UPDATE sites SET units = 2000000000, first = -5",
    "a concept without numbers": "INSERT INTO concepts VALUES (7, 9, 'token', 'cat', 'a', 'b', 'c', 'd')",
}


@pytest.mark.parametrize("name", BASES)
def test_values_that_no_bake_writes_end_in_three_parts(name, changed, capsys):
    folder = changed(BASE, BASES[name])
    refused = looked_at(folder)
    assert refused
    for words in (["atlas", "info", str(folder)], ["atlas", "export", str(folder), "--format", "html", "--unit", UNIT,
                                                   "--out", str(folder.with_suffix(".html"))]):  # fmt: skip
        assert main(words) in (0, 2)
        assert "defect" not in capsys.readouterr().err


@pytest.mark.parametrize("table", ["tokens", "fires", "about", "concepts"])
def test_a_view_that_never_ends_is_not_read(table, changed):
    columns = {"tokens": "id, text, bytes", "fires": "token, unit, n", "about": "name, value",
               "concepts": "unit, rank, concept, auroc, low, high, n"}[table]  # fmt: skip
    values = ", ".join("x" for _ in columns.split(","))
    folder = changed(BASE, f"DROP TABLE {table}; CREATE VIEW {table} ({columns}) AS {ENDLESS} SELECT {values} FROM c")
    with pytest.raises(PatchclampError, match="view"):
        pc.atlas.open(folder)


@pytest.mark.parametrize("statement", [
    "CREATE TRIGGER t AFTER INSERT ON units BEGIN DELETE FROM units; END",
    "ALTER TABLE units ADD COLUMN g INTEGER GENERATED ALWAYS AS (id) VIRTUAL",
    'ALTER TABLE concepts ADD COLUMN "hex(randomblob(100))" TEXT',
])  # fmt: skip
def test_what_computes_when_it_is_read_or_written_is_refused(statement, changed):
    with pytest.raises(PatchclampError, match=r"trigger|column"):
        pc.atlas.open(changed(BASE, statement))


def test_a_layer_and_runs_with_endless_views_are_left_out(changed):
    changed("layers/descriptions-*.sqlite",
            f"DROP TABLE counters; CREATE VIEW counters (description, rank, kind, example, place, reason) AS {ENDLESS} "
            "SELECT x, x, x, x, x, x FROM c")  # fmt: skip
    folder = changed(
        "runs.sqlite", f"ALTER TABLE runs RENAME TO old; CREATE VIEW runs AS {ENDLESS} SELECT * FROM old, c"
    )
    atlas = pc.atlas.open(folder)
    assert any("descriptions-" in note for note in atlas.page().notes)
    assert atlas.reading.runs[atlas.reading.base_run].command == ""


def test_one_run_that_is_none_takes_nothing_from_the_others(changed, seeded_atlas):
    folder = changed("runs.sqlite", "UPDATE runs SET options = '[]', seeds = '5' WHERE verb = 'describe'")
    before, after = (pc.atlas.open(at).runs().rows for at in (seeded_atlas, folder))
    assert len(before) == len(after)
    assert {run.verb for run in after if run.command} == {run.verb for run in before if run.command} - {"describe"}
    assert looked_at(folder) == []


GRAPHS = {
    "a unit of another kind": "UPDATE nodes SET key = 5",
    "no subject": "DELETE FROM about WHERE name = 'subject'",
    "measures without an end": "UPDATE nodes SET measures = '[[[['",
    "a prompt that is a number": "UPDATE about SET value = '5' WHERE name = 'about'",
    "tokens that are none": """UPDATE about SET value = json_set(value, '$.tokens', json('[5, {}]'))""",
    "layers that are none": """UPDATE about SET value = json_set(value, '$.layers', 'many') WHERE name = 'about'""",
}


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_that_is_none_ends_in_three_parts(name, changed):
    looked_at(changed("layers/graph-*.sqlite", GRAPHS[name]))


def test_the_seeded_atlas_itself_is_refused_nowhere(changed):
    assert looked_at(changed(BASE)) == []
    assert json.dumps(pc.atlas.open(changed(BASE)).page().n_units)


def test_a_body_of_no_type_at_all_is_refused_in_three_whole_parts(seeded_atlas):
    async def asked():
        transport = httpx.ASGITransport(app=guard_atlas(seeded_atlas))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:1") as one:
            return await one.post("/api/lab/run", content=b"{}", headers={"content-type": ""})

    answer = run_apart(asked())
    assert answer.status_code == 415
    assert all(answer.json()["error"].values())
