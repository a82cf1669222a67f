"""What people write: permission, durability, and that written words are words like any other."""

import os
import shutil
import signal
import subprocess
import threading
from dataclasses import asdict

import httpx
import pytest

import patchclamp as pc
from apart import run_apart
from forks import Fork
from patchclamp.atlas.serve.server import guard_atlas
from patchclamp.atlas.store.notes import LONGEST_NOTE, NOTES, Note, add_notes, read_notes
from patchclamp.cli import main
from patchclamp.core.description import Description
from patchclamp.core.errors import PatchclampError
from patchclamp.core.unit import UnitKey

CAT, ANIMAL = "cat/blocks.0.mlp.act/neurons/7", "cat/blocks.0.mlp.act/neurons/5"
TOKEN = "the-token"
BRINGS = {"x-patchclamp-token": TOKEN}
HOSTILE = "<img src=x onerror=alert(1)> \u202e \x00 ﷽ 'quoted' \"; DROP"


@pytest.fixture
def folder(seeded_atlas, tmp_path):
    out = tmp_path / "copy.atlas"
    shutil.copytree(seeded_atlas, out)
    return out


class Client:
    """Ask an application without a port between."""

    def __init__(self, folder, **how):
        self.app = guard_atlas(folder, **how)

    def ask(self, method, path, **how):
        async def send():
            transport = httpx.ASGITransport(app=self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:1") as one:
                return await one.request(method, path, **how)

        return run_apart(send())

    def get(self, path):
        return self.ask("GET", path)

    def write(self, kind="note", text="", headers=BRINGS, unit=CAT, **more):
        return self.ask(
            "POST", "/api/write/notes", json={"unit": unit, "kind": kind, "text": text, **more}, headers=headers
        )


@pytest.fixture
def writer(folder):
    return Client(folder, write=TOKEN)


def refused(answer, status, word):
    error = answer.json()["error"]
    assert answer.status_code == status, answer.text
    assert word in error["expected"] + error["got"] + error["remedy"]
    assert set(error) == {"expected", "got", "remedy"}
    return True


def test_a_server_without_permission_refuses_and_says_how(folder):
    reads = Client(folder)
    for headers in ({}, BRINGS, {"x-patchclamp-token": ""}):
        assert refused(reads.write(text="x", headers=headers), 403, "--write")
    assert reads.get("/api/write").json() == {
        "enabled": False,
        "remedy": reads.get("/api/write").json()["remedy"],
        "longest": 2000,
    }
    assert "--write" in reads.get("/api/write").json()["remedy"]
    assert not (folder / NOTES).exists()


def test_without_the_token_nothing_is_written_and_everything_is_read(writer, folder):
    assert writer.write(text="kept").status_code == 200
    before = (folder / NOTES).read_bytes()
    for headers in (
        {},
        {"x-patchclamp-token": "other"},
        {"x-patchclamp-token": TOKEN[:-1]},
        {"cookie": f"token={TOKEN}"},
    ):
        assert refused(writer.write(text="no", headers=headers), 403, "token")
    assert (folder / NOTES).read_bytes() == before
    assert writer.get("/api/notes").json()["total"] == 1
    assert writer.get("/api/write").headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"host": "evil.example"}, 421),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
    ],
)
def test_the_token_opens_no_other_door(writer, folder, headers, status):
    assert writer.write(text="x", headers={**BRINGS, **headers}).status_code == status
    assert not (folder / NOTES).exists()


def test_what_is_no_note_is_refused(writer, folder):
    [star] = [writer.write("star").json()]
    before = (folder / NOTES).read_bytes()
    assert refused(writer.write(text=" "), 400, "characters")
    assert refused(writer.write(text="x" * (LONGEST_NOTE + 1)), 400, "text")
    assert refused(writer.write("tag", "x" * 41), 400, "40 characters")
    assert refused(writer.write("star", "x"), 400, "without words")
    assert refused(writer.write("withdraw"), 400, "earlier note")
    assert refused(writer.write("withdraw", replaces="f" * 16), 400, "earlier note")
    assert refused(writer.write("withdraw", replaces=star["id"], unit=ANIMAL), 400, "earlier note")
    assert refused(writer.write(text="x", unit="cat/blocks.0.mlp.act/neurons/99"), 404, "unit")
    assert refused(writer.write("colour", "x"), 400, "kind")
    assert refused(writer.write(text="x", more=1), 400, "more")
    assert refused(writer.write(text="x" * 70_000), 413, "bytes")
    half = b'{"unit": "%s", "kind": "note", "text": "\\ud800x"}' % CAT.encode()
    how = {"content": half, "headers": {**BRINGS, "content-type": "application/json"}}
    assert refused(writer.ask("POST", "/api/write/notes", **how), 400, "")
    assert (folder / NOTES).read_bytes() == before


def test_notes_stand_until_they_are_withdrawn_and_come_back(writer):
    note = writer.write(text=HOSTILE, author="Ada").json()
    assert (note["text"], note["author"], note["name"]) == (HOSTILE, "Ada", "Block 0 · MLP neuron 7")
    tag = writer.get(f"/api/notes?unit={CAT}")
    assert [row["id"] for row in tag.json()["rows"]] == [note["id"]]
    assert writer.get(f"/api/notes?unit={ANIMAL}").json()["rows"] == []
    gone = writer.write("withdraw", replaces=note["id"]).json()
    after = writer.get(f"/api/notes?unit={CAT}")
    assert after.json()["rows"] == []
    assert after.headers["etag"] != tag.headers["etag"]
    writer.write("withdraw", replaces=gone["id"])
    assert [row["text"] for row in writer.get("/api/notes").json()["rows"]] == [HOSTILE]


def test_stars_are_found_and_marked(writer):
    star = writer.write("star", unit=ANIMAL).json()
    found = writer.get("/api/units?starred=true").json()
    assert [(row["key"], row["starred"]) for row in found["rows"]] == [(ANIMAL, True)]
    rest = writer.get("/api/units?starred=false&limit=200").json()
    assert rest["total"] == rest["n_units"] - 1
    assert not any(row["starred"] for row in rest["rows"])
    writer.write("withdraw", replaces=star["id"], unit=ANIMAL)
    assert writer.get("/api/units?starred=true").json()["total"] == 0


def test_a_written_description_is_a_description(writer, folder, seeded_atlas, tmp_path):
    text = 'fires on " dog" whatever quokkas say'
    kept = writer.write("description", text, author="ada").json()
    unit = writer.get(f"/api/units/{CAT}").json()
    [one] = [said for said in unit["descriptions"] if said["note"] == kept["id"]]
    assert (one["text"], one["author"], one["made"], one["run"]) == (text, "person/ada", kept["time"], "notes")
    # The same words as a layer are contradicted by the same examples.
    other = tmp_path / "layer.atlas"
    shutil.copytree(seeded_atlas, other)
    pc.atlas.write_descriptions(other, [Description(UnitKey.parse(CAT), text, "person/ada")])
    layer, page = pc.atlas.open(other), pc.atlas.open(folder)
    wrong = [asdict(one) for one in layer.examples(CAT, "counter").examples]
    assert one["fails_on"] == len(wrong) > 0
    assert [asdict(one) for one in page.examples(CAT, "counter").examples] == wrong
    assert [row["key"] for row in writer.get("/api/units?q=quokka").json()["rows"]] == [CAT]
    assert page.page().n_described == layer.page().n_described
    assert page.run("notes").run.command == "patchclamp atlas serve copy.atlas --write"
    assert page.page().base == pc.atlas.open(seeded_atlas).page().base
    assert page.hash != pc.atlas.open(seeded_atlas).hash


def test_an_exported_journal_goes_into_another_copy_once(folder, seeded_atlas, tmp_path):
    star, words = pc.atlas.write_notes(
        folder, [Note(CAT, "star"), Note("blocks.0.mlp.act/neurons/5", "description", HOSTILE)]
    )
    pc.atlas.write_notes(folder, [Note(CAT, "withdraw", replaces=star.id)])
    file, other = tmp_path / "notes.jsonl", tmp_path / "other.atlas"
    shutil.copytree(seeded_atlas, other)
    assert main(["atlas", "export", str(folder), "--format", "notes", "--out", str(file)]) == 0
    [own] = pc.atlas.write_notes(other, [Note(ANIMAL, "note", "own")])
    for _ in range(2):
        assert main(["atlas", "add", str(other), "--notes", str(file)]) == 0
    assert read_notes(other) == ([own, *read_notes(folder)[0]], "")
    assert [row.text for row in pc.atlas.open(other).notes(kind="description").rows] == [HOSTILE]
    assert words.unit == ANIMAL
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(PatchclampError, match="half line"):
        pc.atlas.write_notes(other, file)


def test_exports_hold_what_was_written(folder, tmp_path):
    pc.atlas.write_notes(folder, [Note(CAT, "note", HOSTILE, "Ada"), Note(CAT, "description", "fires on cats", "Ada")])
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow, of the extra parquet and the dev group")
    pc.atlas.export_atlas(folder, tmp_path / "tables", format="parquet")
    notes = parquet.read_table(tmp_path / "tables" / "notes.parquet").to_pylist()
    assert [(row["key"], row["kind"], row["text"], row["author"]) for row in notes] == [
        (CAT, "note", HOSTILE, "Ada"),
        (CAT, "description", "fires on cats", "Ada"),
    ]
    said = parquet.read_table(tmp_path / "tables" / "descriptions.parquet").to_pylist()
    assert ("fires on cats", "person/Ada", "notes") in [(row["text"], row["author"], row["layer"]) for row in said]
    html = pc.atlas.to_html(CAT, atlas=folder)
    assert "\\u003cimg src=x onerror=alert(1)\\u003e" in html
    assert "<img src=x" not in html


@pytest.mark.parametrize("what", ["link", "pipe", "folder", "garbage", "line"])
def test_a_journal_that_is_none_is_said_and_takes_nothing_with_it(folder, tmp_path, what):
    file = folder / NOTES
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious\n")
    match what:
        case "link":
            file.symlink_to(outside)
        case "pipe":
            os.mkfifo(file)
        case "folder":
            file.mkdir()
        case "garbage":
            file.write_bytes(b"SQLite format 3\0\n" * 9)
        case "line":
            pc.atlas.write_notes(folder, [Note(CAT, "star"), Note(ANIMAL, "star")])
            file.write_bytes(file.read_bytes().replace(b"neurons/7", b"neurons/8"))
    writer = Client(folder, write=TOKEN)
    home = writer.get("/api/atlas")
    assert home.status_code == 200
    assert sum(NOTES in note for note in home.json()["notes"]) == 1
    assert writer.get("/api/units?starred=true").json()["total"] == (what == "line")
    written = writer.write(text="more")
    assert written.status_code == (200 if what in ("garbage", "line") else 400), written.text
    assert outside.read_bytes() == b"precious\n"


def test_a_note_of_a_unit_that_is_not_there_is_said(folder):
    pc.atlas.write_notes(folder, [Note(CAT, "star")])
    add_notes(folder, [Note("cat/blocks.9.mlp.act/neurons/1", "note", "elsewhere")])
    page = pc.atlas.open(folder).page()
    assert any("blocks.9.mlp.act" in note for note in page.notes)
    assert pc.atlas.open(folder).notes().total == 1


def test_two_servers_and_many_writers_lose_nothing(folder):
    servers = [Client(folder, write=TOKEN) for _ in range(2)]
    kept = []

    def write(at):
        for number in range(6):
            kept.append(servers[at % 2].write(text=f"{at}.{number}").json()["id"])

    threads = [threading.Thread(target=write, args=(at,)) for at in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows, problem = read_notes(folder)
    assert (len(kept), problem) == (24, "")
    assert sorted(row.id for row in rows) == sorted(kept)
    for server in servers:
        assert server.get("/api/notes").json()["total"] == 24


def test_a_killed_server_keeps_every_write_that_it_acknowledged(folder):
    command = ["-m", "patchclamp", "atlas", "serve", folder, "--write"]
    with Fork(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        address, _, token = server.stdout.readline().strip().partition("#write=")
        kept, enough = [], threading.Event()

        def write(at):
            with httpx.Client(base_url=address, headers={"x-patchclamp-token": token}) as client:
                for number in range(10_000):
                    body = {"unit": CAT, "kind": "note", "text": f"{at}.{number} " + "x" * 1900}
                    try:
                        answer = client.post("/api/write/notes", json=body)
                    except httpx.HTTPError:
                        return
                    kept.append(answer.json()["id"])
                    if len(kept) > 20:
                        enough.set()

        threads = [threading.Thread(target=write, args=(at,)) for at in range(3)]
        for thread in threads:
            thread.start()
        assert enough.wait(60)
        os.kill(server.pid, signal.SIGKILL)
        for thread in threads:
            thread.join()
        assert server.wait() == -signal.SIGKILL
    rows, problem = read_notes(folder)
    assert problem == ""
    assert set(kept) <= {row.id for row in rows}
    # At most what each writer waited for was written and not acknowledged.
    assert len(kept) <= len(rows) <= len(kept) + 3
    [more] = pc.atlas.write_notes(folder, [Note(CAT, "note", "after")])
    assert read_notes(folder) == ([*rows, more], "")


def test_an_answer_that_was_explained_from_the_page_is_kept_under_the_same_permission(folder):
    client = Client(folder, write=TOKEN, model="organism:cat")
    asked = {"prompt": "the old cat", "target": " sat", "contrast": " ran", "controls": 20}
    assert "event: explained" in client.ask("POST", "/api/lab/explain", json=asked).text
    before = {row.id for row in pc.atlas.open(folder).graphs().rows}
    [id] = [row["id"] for row in client.get("/api/graphs").json()["rows"] if row["id"].startswith("asked-")]
    assert client.ask("POST", "/api/write/graphs", json={"id": id}).status_code == 403
    assert {row.id for row in pc.atlas.open(folder).graphs().rows} == before
    shown = client.get(f"/api/graphs/{id}").json()
    kept = client.ask("POST", "/api/write/graphs", json={"id": id}, headers=BRINGS).json()["id"]
    assert {row.id for row in pc.atlas.open(folder).graphs().rows} - before == {kept}
    now = client.get(f"/api/graphs/{kept}").json()
    assert (now["nodes"], now["edges"]) == (shown["nodes"], shown["edges"])
    assert now["graph"]["prompt"] == "the old cat"
    assert client.ask("POST", "/api/write/graphs", json={"id": id}, headers=BRINGS).status_code == 404


def test_the_printed_address_holds_the_token_behind_the_sign_that_nobody_is_sent(folder):
    command = ["-m", "patchclamp", "atlas", "serve", folder, "--write"]
    with Fork(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        base, _, token = server.stdout.readline().strip().partition("/#write=")
        assert len(token) >= 32
        body = {"unit": CAT, "kind": "star"}
        assert httpx.post(f"{base}/api/write/notes", json=body).status_code == 403
        assert (
            httpx.post(f"{base}/api/write/notes", json=body, headers={"x-patchclamp-token": token}).status_code == 200
        )
        server.send_signal(signal.SIGINT)
