"""The server: answers, refusals, layers that come while it runs, and damage; through the application with its guard."""

import asyncio
import gzip
import json
import resource
import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import httpx
import pytest
import uvicorn
from uvicorn.server import ServerState

import patchclamp as pc
from apart import run_apart
from patchclamp.atlas import Asked, write_descriptions
from patchclamp.atlas.serve import connections
from patchclamp.atlas.serve.request_guard import Guard
from patchclamp.atlas.serve.server import guard_atlas
from patchclamp.atlas.store.provenance import RUNS
from patchclamp.atlas.store.sqlite_files import BASE
from patchclamp.core.description import Description
from patchclamp.core.errors import Damaged, PatchclampError
from patchclamp.core.graph import Graph, Node
from patchclamp.core.unit import UnitKey

UNIT = "/api/units/cat/blocks.0.mlp.act/neurons/7"


@pytest.fixture
def copy(seeded_atlas, tmp_path):
    out = tmp_path / "copy.atlas"
    shutil.copytree(seeded_atlas, out)
    return out


def client(app, **options):
    """Ask an application without a port between."""

    class Sync:
        def request(self, method, path, **how):
            async def ask():
                transport = httpx.ASGITransport(app=app, raise_app_exceptions=True)
                async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:1", **options) as one:
                    return await one.request(method, path, **how)

            return run_apart(ask())

        def get(self, path, **how):
            return self.request("GET", path, **how)

    return Sync()


@pytest.fixture(scope="module")
def served(seeded_atlas):
    return client(guard_atlas(seeded_atlas))


def test_every_answer_is_what_python_gives(served, seeded_atlas):
    from dataclasses import asdict

    atlas = pc.atlas.open(seeded_atlas)
    graph = next(layer.id for layer in atlas.page().layers if layer.kind == "graph")
    key = "cat/blocks.0.mlp.act/neurons/7"
    expected = {
        "/api/atlas": atlas.page(),
        "/api/units?q=cat": atlas.find(Asked(words="cat", sort="relevance")),
        UNIT: atlas.unit(key),
        f"{UNIT}/examples?kind=random": atlas.examples(key, "random"),
        f"{UNIT}/examples?kind=interval&low=0&high=0.15": atlas.examples(key, "interval", low=0.0, high=0.15),
        "/api/graphs": atlas.graphs(),
        f"/api/graphs/{graph}": atlas.graph(graph),
        "/api/runs": atlas.runs(),
        f"/api/runs/{graph}": atlas.run(graph),
    }
    for address, page in expected.items():
        answer = served.get(address)
        assert answer.status_code == 200, address
        assert answer.json() == json.loads(json.dumps(asdict(page))), address
        assert answer.headers["etag"] == f'"{atlas.hash}"'
        assert len(answer.content) < 20_000, "a unit's JSON stays below 20 kB"


def test_what_the_asker_has_is_not_sent_again(served):
    tag = served.get(UNIT).headers["etag"]
    again = served.get(UNIT, headers={"If-None-Match": f'W/"x", {tag}'})
    assert (again.status_code, again.content) == (304, b"")
    assert served.get(UNIT, headers={"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize(
    ("address", "status", "word"),
    [
        ("/api/units/cat/blocks.0.mlp.act/neurons/99", 404, "unit"),
        ("/api/units/dog/blocks.0.mlp.act/neurons/7", 404, "unit"),
        ("/api/units/blocks.0.mlp.act/neurons/9999999999999999999", 404, "key"),
        ("/api/units/x/examples", 404, "key"),
        ("/api/runs/base-none", 404, "run"),
        ("/api/graphs/..%2f..%2fetc", 404, "API"),
        ("/api/nothing", 404, "API"),
        (f"{UNIT}/trial?text=cat", 404, "model"),
        ("/api/units?limit=0", 400, "limit"),
        ("/api/units?limit=100000", 400, "limit"),
        ("/api/units?min_score=nan", 400, "min_score"),
        ("/api/units?sort=colour", 400, "sort"),
        ("/api/units?cursor=abc", 400, "cursor"),
        (f"/api/units?q={'x' * 400}", 400, "q"),
        (f"{UNIT}/examples?kind=interval", 400, "low and high"),
        (f"{UNIT}/examples?kind=interval&low=1", 400, "low and high"),
        (f"{UNIT}/examples?low=0&high=1", 400, "low and high"),
    ],
)
def test_refusals_have_three_parts(served, address, status, word):
    answer = served.get(address)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert set(error) == {"expected", "got", "remedy"}
    assert all(error.values())
    assert word in error["expected"]


@pytest.mark.parametrize(
    "words", ['"', "*", "cat AND", "NEAR(", "'; DROP TABLE units; --", "^", "%00", "(", "col:x", "𝕏"]
)
def test_words_are_never_a_query(served, words):
    answer = served.get("/api/units", params={"q": words, "fires_on": words, "site": words, "concept": words})
    assert answer.status_code == 200
    assert answer.json()["total"] == 0


def test_only_the_right_host_is_answered(served):
    assert served.get("/api/atlas", headers={"Host": "evil.example"}).status_code == 421
    assert served.get("/api/atlas", headers={"Host": "127.0.0.1.evil.example:1"}).status_code == 421
    assert served.get("/api/atlas", headers={"Host": "[::1"}).status_code == 421
    assert served.get("/", headers={"Host": "evil.example"}).status_code == 421
    for host in ("localhost:8000", "127.0.0.1", "[::1]:5"):
        assert served.get("/api/atlas", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_nothing_can_be_written(served, method):
    own = served.request(method, "/api/atlas", headers={"Origin": "http://127.0.0.1:1"})
    other = served.request(method, "/api/atlas", headers={"Origin": "http://evil.example"})
    none = served.request(method, "/api/atlas", headers={"Origin": "null"})
    assert (own.status_code, other.status_code, none.status_code) == (405, 403, 403)
    assert own.headers["allow"] == "GET, HEAD"


def test_sizes_have_limits(served):
    assert served.get("/api/units?q=" + "x" * 9000).status_code == 414
    assert served.request("GET", "/api/atlas", content=b"x" * 70_000).status_code == 413


@pytest.mark.parametrize(
    "path", ["/../pyproject.toml", "/assets/..%2f..%2fserver.py", "/%2e%2e/server.py", "/..%5cdb.py"]
)
def test_paths_stay_inside(served, path):
    answer = served.get(path)
    assert "patchclamp" not in answer.text or "<!doctype" in answer.text.lower() or answer.status_code == 404
    assert "import" not in answer.text


@pytest.mark.parametrize("path", ["/" + "x" * 3000, "/assets/" + "x" * 300, "/" + "a/" * 2000])
def test_a_path_that_no_file_system_takes_is_a_page_or_not_there(served, path):
    assert served.get(path).status_code in (200, 404)


def test_the_api_itself_is_no_page(served):
    for path in ("/api", "/api/"):
        answer = served.get(path)
        assert (answer.status_code, set(answer.json()["error"])) == (404, {"expected", "got", "remedy"})


def test_hostile_text_is_data_and_pages_may_not_run_it(served):
    answer = served.get("/api/units/blocks.0.mlp.act/neurons/4")
    assert "<img src=x onerror" in answer.json()["descriptions"][0]["text"]
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    policy = served.get("/").headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy


def test_large_answers_are_compressed(served):
    answer = served.get(f"{UNIT}/examples", headers={"Accept-Encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    plain = served.get(f"{UNIT}/examples", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert gzip.compress(plain.content)
    assert answer.json() == plain.json()


def test_another_address_asks_for_a_token(seeded_atlas):
    asked = client(guard_atlas(seeded_atlas, hosts=None, token="secret"))
    assert asked.get("/api/atlas").status_code == 401
    assert asked.get("/api/atlas?token=other").status_code == 401
    first = asked.get("/units?token=secret&q=cat")
    assert (first.status_code, first.headers["location"]) == (303, "/units?q=cat")
    cookie = first.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    pair = cookie.split(";")[0]
    assert asked.get("/api/atlas", headers={"Cookie": pair}).status_code == 200
    assert asked.get("/api/atlas", headers={"Cookie": pair + "x"}).status_code == 401
    assert asked.get("http://127.0.0.1:1//evil.example/?token=secret").headers["location"] == "/evil.example/"


def test_layers_that_are_written_at_once_are_all_there(copy):
    keys = [UnitKey("blocks.1.mlp.act", unit, subject="cat") for unit in range(16)]
    with ThreadPoolExecutor(8) as pool:
        added = list(pool.map(lambda key: write_descriptions(copy, [Description(key, str(key), "person/ada")]), keys))
    assert len(set(added)) == 16
    page = client(guard_atlas(copy)).get("/api/atlas").json()
    assert set(added) <= {layer["id"] for layer in page["layers"]}
    assert not page["notes"]


def test_a_layer_that_is_added_appears(copy):
    served = client(guard_atlas(copy))
    before = served.get("/api/atlas")
    key = UnitKey("blocks.1.mlp.act", 2, subject="cat")
    added = write_descriptions(copy, [Description(key, 'fires on " the" after " into"', "person/ada")])
    after = served.get("/api/atlas", headers={"If-None-Match": before.headers["etag"]})
    assert after.status_code == 200
    assert after.headers["etag"] != before.headers["etag"]
    assert after.json()["n_described"] == before.json()["n_described"] + 1
    assert added in [layer["id"] for layer in after.json()["layers"]]
    assert served.get("/api/units?q=into the").json()["rows"][0]["key"] == str(key)
    assert served.get(f"/api/runs/{added}").json()["run"]["made"] == "descriptions"
    assert write_descriptions(copy, [Description(key, 'fires on " the" after " into"', "person/ada")]) == added


def test_the_server_leaves_the_folder_as_it_was(copy):
    def everything():
        return {f.relative_to(copy): (f.stat().st_mtime_ns, f.read_bytes()) for f in copy.rglob("*") if f.is_file()}

    before = everything()
    served = client(guard_atlas(copy))
    for address in ("/api/atlas", "/api/units?q=cat", UNIT, f"{UNIT}/examples?kind=counter", "/api/runs", "/"):
        served.get(address)
    assert everything() == before


# -- damage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("harm", "kind", "word"),
    [
        (lambda a: (a / "atlas.json").unlink(), PatchclampError, "atlas bake"),
        (lambda a: (a / "atlas.json").write_text("{"), Damaged, "atlas.json"),
        (lambda a: (a / "atlas.json").write_text("[]"), Damaged, "atlas.json"),
        (
            lambda a: (a / "atlas.json").write_text('{"format": "patchclamp-atlas", "version": 3}'),
            PatchclampError,
            "version 2",
        ),
        (lambda a: (a / BASE).chmod(0o644) or (a / BASE).write_bytes(b"no database"), Damaged, "baked"),
        (lambda a: (a / BASE).unlink(), Damaged, "base"),
        (lambda a: shutil.rmtree(a), PatchclampError, "atlas bake"),
    ],
)
def test_what_is_no_whole_atlas_is_refused(copy, harm, kind, word):
    harm(copy)
    with pytest.raises(kind) as refused:
        pc.atlas.open(copy)
    assert word in refused.value.expected
    assert refused.value.remedy


def test_one_flipped_byte_is_noticed(copy):
    file = copy / BASE
    file.chmod(0o644)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(Damaged):
        pc.atlas.open(copy)


def test_a_damaged_layer_is_left_out_and_said(copy):
    layer = next((copy / "layers").glob("descriptions-*"))
    layer.chmod(0o644)
    with closing(sqlite3.connect(layer)) as db, db:
        db.execute("UPDATE descriptions SET text = 'other words' WHERE id = 0")
    atlas = pc.atlas.open(copy)
    assert atlas.page().n_described == 0
    [note] = atlas.page().notes
    assert layer.name in note
    assert {one.kind for one in atlas.page().layers} == {"graph"}


def test_an_atlas_without_a_record_of_its_runs_still_opens(copy):
    (copy / RUNS).write_bytes(b"no database")
    atlas = pc.atlas.open(copy)
    assert [row.began for row in atlas.runs().rows] == [None] * (1 + len(list((copy / "layers").glob("*"))))
    assert atlas.run(atlas.page().source.run).run.verb == "atlas bake"


def test_damage_while_serving_is_told_without_a_500(copy):
    served = client(guard_atlas(copy))
    assert served.get(UNIT).status_code == 200
    file = copy / BASE
    file.chmod(0o644)
    file.write_bytes(b"\\0" * 100)
    answer = served.get("/api/units/cat/blocks.0.mlp.act/neurons/5")
    assert answer.status_code == 503
    assert "remedy" in answer.json()["error"]


def test_a_graph_of_another_model_is_refused(copy):
    other = Graph({"slug": "cat", "hash": "0" * 64}, {"kind": "logit"}, (Node("output", "output", 1.0),))
    with pytest.raises(PatchclampError, match=r"a graph of cat .*; got one of cat \(0000"):
        pc.atlas.write_graph(copy, other)


def test_a_description_of_an_absent_unit_is_refused(copy):
    with pytest.raises(PatchclampError, match="unit of this atlas"):
        write_descriptions(copy, [Description(UnitKey("blocks.0.mlp.act", 400), "nothing", "person/ada")])
    assert not list((copy / "layers").glob("*.part"))


def test_the_guard_closes_websockets():
    sent = []

    async def send(message):
        sent.append(message)

    guard = Guard(None, hosts=None, etag=lambda: "")
    run_apart(guard({"type": "websocket"}, None, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]


def test_an_interval_holds_its_lower_end_and_the_maximum(seeded_atlas):
    atlas = pc.atlas.open(seeded_atlas)
    key = "blocks.0.mlp.act/neurons/7"
    edges = atlas.unit(key).histogram.edges
    assert atlas.examples(key, "interval", low=-1.0, high=edges[0]).examples == []
    assert {e.value for e in atlas.examples(key, "interval", low=edges[0], high=edges[1]).examples} == {0.0}
    assert all(
        e.value == pytest.approx(edges[-1], rel=1e-5)
        for e in atlas.examples(key, "interval", low=edges[-2], high=edges[-1]).examples
    )
    assert atlas.examples(key, "interval", low=edges[-2], high=edges[-1]).examples


def test_equals_are_in_the_order_of_their_keys(seeded_atlas):
    atlas = pc.atlas.open(seeded_atlas)
    rows = atlas.find(Asked(sort="maximum"), limit=200).rows
    silent = [atlas.reading.index_of(row.key) for row in rows if row.maximum == 0.0]
    assert len(silent) > 10
    assert silent == sorted(silent)


@pytest.mark.parametrize("address", ["/api/atlas", f"{UNIT}/trial?text=cat", "/api/lab/rank?prompt=cat", "/api/units"])
@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"Sec-Fetch-Site": "Cross-Site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"},
        {"origin": "http://elsewhere.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:2"},
    ],
)
def test_pages_elsewhere_cannot_have_the_api_asked(served, address, headers):
    answer = served.get(address, headers=headers)
    assert answer.status_code == 403
    assert answer.json()["error"]["expected"] == "a page of this server"


@pytest.mark.parametrize("site", [None, "same-origin", "none"])
def test_own_pages_and_programs_are_answered(served, site):
    headers = {} if site is None else {"sec-fetch-site": site, "origin": "http://127.0.0.1:1"}
    assert served.get("/api/atlas", headers=headers).status_code == 200


def test_a_link_from_elsewhere_opens_a_page(served):
    answer = served.get("/", headers={"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"})
    assert answer.status_code == 200


def answer_or_end(connections, monkeypatch, patience, talk, most=None):
    """Serve a plain application by bounded connections on this machine, and return what a conversation gave."""
    monkeypatch.setattr(connections, "PATIENCE_S", patience)
    if most is not None:
        monkeypatch.setattr(connections, "most_connections", lambda: most)

    async def app(_scope, receive, send):
        message, body = {"more_body": True}, b""
        while message.get("more_body"):
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"read " + body})

    async def run():
        config = uvicorn.Config(app, lifespan="off", log_level="critical")
        state = ServerState()
        server = await asyncio.get_running_loop().create_server(
            lambda: connections.BoundedProtocol(config, state, {}), "127.0.0.1", 0
        )
        async with server:
            port = server.sockets[0].getsockname()[1]
            writers = []

            async def connect():
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writers.append(writer)
                return reader, writer

            try:
                return await asyncio.wait_for(talk(connect), 60)
            finally:
                for writer in writers:
                    writer.close()
                await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)

    return run_apart(run())


WHOLE = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


def test_half_requests_are_closed_and_whole_ones_answered(monkeypatch):
    head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n"
    halves = [b"", b"GET /", WHOLE[:-2], head, head + b"ab"]

    async def talk(connect):
        opened = [await connect() for _ in halves]
        for (_, writer), half in zip(opened, halves, strict=True):
            writer.write(half)
        reader, writer = await connect()
        writer.write(WHOLE)
        answer = await reader.readuntil(b"read ")
        # The second request on a connection has its own deadline.
        writer.write(b"GET /")
        ends = await asyncio.gather(reader.read(), *(one.read() for one, _ in opened), return_exceptions=True)
        return answer, ends

    answer, ends = answer_or_end(connections, monkeypatch, 0.3, talk)
    assert answer.startswith(b"HTTP/1.1 200")
    assert all(isinstance(end, ConnectionError) or end == b"" or b"200" not in end for end in ends), ends


def test_the_connection_that_waits_longest_makes_room(monkeypatch):
    async def talk(connect):
        opened = [await connect() for _ in range(20)]
        reader, writer = await connect()
        writer.write(WHOLE)
        answer = await reader.readuntil(b"read ")
        return answer, await asyncio.gather(*(one.read() for one, _ in opened[:17]), return_exceptions=True)

    answer, ends = answer_or_end(connections, monkeypatch, 3600, talk, most=4)
    assert answer.startswith(b"HTTP/1.1 200")
    assert len(ends) == 17


def test_a_third_of_the_descriptors_is_kept_for_connections(monkeypatch):
    for allowed, most in ((10, 8), (150, 50), (10**6, connections.MOST), (resource.RLIM_INFINITY, connections.MOST)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, allowed=allowed: (allowed, allowed))
        assert connections.most_connections() == most
