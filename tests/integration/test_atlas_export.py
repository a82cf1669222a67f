"""What is exported is what the atlas holds, whatever text is in it, whole or not at all."""

import builtins
import errno
import gzip
import json
import math
import re
from dataclasses import asdict, replace
from html.parser import HTMLParser

import pytest
from fastapi.testclient import TestClient
from jsonschema import Draft202012Validator
from pyarrow import parquet

import patchclamp as pc
from patchclamp.atlas.export import output_path
from patchclamp.atlas.export.neuronpedia import _activation, _Names, positive_bars
from patchclamp.atlas.export.page import inline_json
from patchclamp.atlas.export.parquet import COLUMNS
from patchclamp.atlas.serve.app import make_app
from patchclamp.atlas.serve.screens.unit.examples import STORED
from patchclamp.core.errors import Damaged, PatchclampError

CAT = "blocks.0.mlp.act/neurons/7"


@pytest.fixture(scope="module")
def atlas(seeded_atlas):
    return pc.atlas.open(seeded_atlas)


def keys(atlas):
    return [str(atlas.reading.key(number)) for number in range(atlas.reading.n_units)]


# -- a page that is a file --------------------------------------------------------------------------------------------


class Elements(HTMLParser):
    """What a browser would make of a document: start tags with attributes, and the text of its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.texts, self.inside = [], {}, None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.inside = dict(attributes).get("id", tag)

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, data):
        if self.inside:
            self.texts[self.inside] = self.texts.get(self.inside, "") + data


def test_a_page_holds_what_the_api_answers(atlas, seeded_atlas):
    from fastapi.testclient import TestClient

    from patchclamp.atlas.serve.app import make_app

    page = Elements(pc.atlas.to_html(CAT, atlas=seeded_atlas))
    came = json.loads(page.texts["exported"])["answers"]
    with TestClient(make_app(lambda: atlas.reading)) as server:
        base = f"/api/units/cat/{CAT}"
        assert came[base] == server.get(base).json()
        for kind in ("top", "lowest", "counter", "range", "random"):
            address = f"{base}/examples?kind={kind}"
            assert came[address] == server.get(f"{address}&limit=50").json()
        edges = came[base]["histogram"]["edges"]
        for number, one in enumerate(came[f"{base}/examples?kind=interval"]):
            ends = {"kind": "interval", "low": edges[number], "high": edges[number + 1], "limit": 50}
            assert one == server.get(f"{base}/examples", params=ends).json()
    assert came["/api/lab"]["attached"] is False


def test_nothing_outside_is_named(atlas):
    page = Elements(pc.atlas.to_html(CAT, atlas=atlas))
    addresses = [a for tag, attributes in page.tags for name, a in attributes.items() if name in ("src", "href")]
    assert [a.split(",")[0] for a in addresses] == ["data:image/svg+xml;base64"]
    policy = next(a["content"] for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert "Permission is hereby granted" in page.texts["pre"]


@pytest.mark.parametrize(
    "text", ["</script><script>alert(1)</script>", "<!--<script>", "]]>&amp;", "\u2028\u2029", "\ud800"]
)
def test_hostile_text_stays_text(text):
    written = inline_json({"said": text})
    assert json.loads(written) == {"said": text}
    assert written.isascii()
    assert not set("<>&\n") & set(written)


def test_a_hostile_description_ends_nothing(atlas):
    key = next(key for key in keys(atlas) if any("<script>" in d.text for d in atlas.unit(key).descriptions))
    page = Elements(pc.atlas.to_html(key, atlas=atlas))
    assert [tag for tag, _ in page.tags].count("script") == 2
    assert not any(tag == "img" for tag, _ in page.tags)
    came = json.loads(page.texts["exported"])["answers"][f"/api/units/{key}"]
    assert came["descriptions"][0]["text"] == atlas.unit(key).descriptions[0].text


# -- tables -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tables(atlas, tmp_path_factory):
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow, of the extra parquet and the dev group")
    out = tmp_path_factory.mktemp("parquet") / "tables"
    with pytest.MonkeyPatch.context() as patch:
        # Small row groups, so that several are written.
        patch.setattr("patchclamp.atlas.export.parquet.GROUP", {"units": 10, "examples": 64})
        found = pc.atlas.export_atlas(atlas, out, format="parquet")
    assert sorted(found.files) == sorted(f"{name}.parquet" for name in COLUMNS)
    assert found.bytes == sum(file.stat().st_size for file in out.iterdir())
    assert found.units == atlas.reading.n_units
    return {name: parquet.ParquetFile(out / f"{name}.parquet") for name in COLUMNS}


def rows(tables, name):
    return tables[name].read().to_pylist(maps_as_pydicts="strict")


def attention_of(head):
    return head and head["shares"] | {name: head[name] for name in ("copies", "erases")}


def test_tables_hold_the_pairs_of_every_head(tables, atlas):
    held = rows(tables, "head_pairs")
    wanted = []
    for key in keys(atlas):
        head = atlas.unit(key).head
        for name in ("attends", "writes", "matches") if head else ():
            written = [(one.source, token, token.weight, None) for one in head.writes for token in one.promoted]
            of = getattr(head, name)
            pairs = (
                written
                if name == "writes"
                else [(p.source, p.target, p.weight, p.n if name == "attends" else None) for p in of]
            )
            wanted += [(key, name, i, s.id, t.id, s.text, t.text, w, n) for i, (s, t, w, n) in enumerate(pairs)]
    columns = ("key", "name", "rank", "source_id", "target_id", "source", "target", "weight", "n")
    assert [tuple(row[name] for name in columns) for row in held] == wanted
    assert wanted


def test_tables_hold_every_unit(tables, atlas):
    units = rows(tables, "units")
    assert [row["key"] for row in units] == keys(atlas)
    for row in units:
        page = asdict(atlas.unit(row["key"]))
        statistics, bins = page["statistics"], page["histogram"] or {"edges": None, "tokens": None, "pieces": None}
        near = {"driven_by", "similar", "together"}
        for name in COLUMNS["units"]:
            if name in near:
                assert row[name] == [{"key": one["key"], "value": one["value"]} for one in page[name]]
            elif name in ("query_reads", "key_reads"):
                of_head = page["head"][name] if page["head"] else []
                assert row[name] == [{"key": one["key"], "value": one["value"]} for one in of_head]
            elif name == "attention":
                assert row[name] == attention_of(page["head"])
            elif name.startswith("histogram_"):
                assert row[name] == bins[name.removeprefix("histogram_")]
            else:
                assert row[name] == (statistics[name] if name in statistics else page[name]), name


def test_tables_hold_every_example_and_description(tables, atlas):
    examples, said = rows(tables, "examples"), rows(tables, "descriptions")
    for key in keys(atlas):
        for kind in (*STORED, "counter"):
            ends = {"low": -math.inf, "high": math.inf} if kind == "interval" else {}
            wanted = [asdict(one) for one in atlas.examples(key, kind, limit=10**6, **ends).examples]
            got = [row for row in examples if (row["key"], row["kind"]) == (key, kind)]
            assert [row["rank"] for row in got] == list(range(len(wanted)))
            assert [{n: row[n] for n in wanted[0]} for row in got] == wanted if wanted else not got
        wanted = [asdict(one) for one in atlas.unit(key).descriptions]
        got = [{**row, "run": row["layer"], "note": ""} for row in said if row["key"] == key]
        assert [{n: row[n] for n in wanted[0]} for row in got] == wanted if wanted else not got
    [(n_examples,)] = atlas.reading.rows("SELECT count(*) FROM examples")
    assert sum(row["kind"] != "counter" for row in examples) == n_examples


def test_tables_hold_explained_answers(tables, atlas):
    listed = rows(tables, "graphs")
    assert {row["graph"] for row in listed} == {row.id for row in atlas.graphs().rows}
    for row in listed:
        page = atlas.graph(row["graph"])
        asked = (page.graph.prompt, page.graph.target, page.graph.contrast)
        assert (row["prompt"], row["target"], row["contrast"]) == asked
        nodes = {node["node"]: node for node in rows(tables, "graph_nodes") if node["graph"] == row["graph"]}
        assert len(nodes) == page.total == row["nodes"]
        for node in page.nodes:
            assert nodes[node.key]["score"] == pytest.approx(node.score, rel=1e-5)
            measured = nodes[node.key]["measured"]
            assert measured == (None if node.measured is None else pytest.approx(node.measured, rel=1e-5))
            assert nodes[node.key]["key"] == node.unit
        edges = [edge for edge in rows(tables, "graph_edges") if edge["graph"] == row["graph"]]
        assert len(edges) == row["edges"] == page.total_edges


def test_tables_are_written_group_by_group_and_say_what_they_hold(tables, atlas):
    assert tables["units"].num_row_groups == 4
    assert tables["examples"].num_row_groups > 4
    for name, file in tables.items():
        assert file.schema_arrow.metadata[b"atlas"].decode() == atlas.hash
        meanings = {field.name: field.metadata[b"meaning"].decode() for field in file.schema_arrow}
        assert meanings == {column: says for column, (_, says) in COLUMNS[name].items()}


def test_columns_are_documented():
    page = (output_path.Path(__file__).parents[2] / "docs" / "reference" / "atlas.md").read_text()
    named = set(re.findall(r"`(\w+)`", page))
    assert {column for columns in COLUMNS.values() for column in columns} | set(COLUMNS) <= named


def test_without_pyarrow_the_remedy_is_named(atlas, tmp_path, monkeypatch):
    real = builtins.__import__

    def absent(name, *rest, **more):
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(PatchclampError, match=re.escape("pip install 'patchclamp[parquet]'")):
        pc.atlas.export_atlas(atlas, tmp_path / "tables", format="parquet")
    assert list(tmp_path.iterdir()) == []


# -- Neuronpedia ------------------------------------------------------------------------------------------------------

TEXT, NUMBER, INTEGER = {"type": "string"}, {"type": "number"}, {"type": "integer"}
NULLABLE = {"type": ["string", "null"]}
TEXTS, NUMBERS, INTEGERS = ({"type": "array", "items": one} for one in (TEXT, NUMBER, INTEGER))
OWNED = {"creatorId": TEXT, "visibility": {"enum": ["PUBLIC", "UNLISTED", "PRIVATE"]}}
PLACE = {
    "modelId": {"type": "string", "pattern": "^[a-z0-9_-]+$"},
    "layer": TEXT,
    "index": {"pattern": "^[0-9]+$", **TEXT},
}
# The columns of each table as their schema has them, and no others.
SCHEMA = {
    "release": {"name": {"pattern": "^[A-Za-z0-9-]+$", **TEXT}, "description": TEXT, "descriptionShort": TEXT,
                "urls": TEXTS, "creatorName": TEXT, "creatorNameShort": TEXT, **OWNED},
    "model": {"id": PLACE["modelId"], "displayName": TEXT, "displayNameShort": TEXT, "layers": INTEGER,
              "neuronsPerLayer": INTEGER, "owner": TEXT, **OWNED},
    "sourceset": {"modelId": TEXT, "name": TEXT, "description": TEXT, "type": TEXT, "creatorName": TEXT, "urls": TEXTS,
                  "releaseName": TEXT, **OWNED},
    "source": {"id": {"pattern": "^[0-9]+-", **TEXT}, "modelId": TEXT, "setName": TEXT, "dataset": TEXT,
               "num_prompts": INTEGER, "num_tokens_in_prompt": INTEGER, "notes": TEXT, **OWNED},
    "features": {
        **PLACE, "sourceSetName": TEXT, "creatorId": TEXT, "maxActApprox": {"type": ["number", "null"]},
        "frac_nonzero": NUMBER, "pos_str": TEXTS, "pos_values": NUMBERS, "neg_str": TEXTS, "neg_values": NUMBERS,
        "topkCosSimIndices": INTEGERS, "topkCosSimValues": NUMBERS, "hasVector": {"type": "boolean"},
        "vectorLabel": NULLABLE, "hookName": TEXT, "vector": NUMBERS, "decoder_weights_dist": NUMBERS,
        **{f"{one}_hist_data_bar_{what}": NUMBERS for one in ("freq", "logits") for what in ("heights", "values")},
        **{f"{one}_{what}": NUMBERS for one in ("correlated_features", "correlated_neurons")
           for what in ("indices", "l1", "pearson")},
        **{f"neuron_alignment_{what}": NUMBERS for what in ("indices", "l1", "values")},
    },
    "activations": {
        "id": {"type": "string", "minLength": 25, "maxLength": 25}, **PLACE, "creatorId": TEXT, "dataSource": NULLABLE,
        "dataIndex": NULLABLE, "tokens": TEXTS, "values": NUMBERS, "maxValue": NUMBER, "minValue": NUMBER,
        "maxValueTokenIndex": INTEGER, "qualifyingTokenIndex": INTEGER, "dfaValues": NUMBERS,
        "dfaMaxValue": {"type": "null"}, "dfaTargetIndex": {"type": "null"}, "binMin": NUMBER, "binMax": NUMBER,
        "binContains": NUMBER,
    },
    "explanations": {"id": TEXT, **PLACE, "authorId": TEXT, "description": TEXT, "typeName": {"type": "null"},
                     "explanationModelName": {"type": "null"}, "notes": TEXT},
}  # fmt: skip


def valid(name, lines):
    schema = {
        "type": "object",
        "properties": SCHEMA[name],
        "required": list(SCHEMA[name]),
        "additionalProperties": False,
    }
    check = Draft202012Validator(schema)
    for line in lines:
        check.validate(line)
    return lines


def read(file):
    data = file.read_bytes()
    text = gzip.decompress(data) if file.suffix == ".gz" else data
    lines = text.decode().splitlines()
    assert lines, "the import cannot read an empty file"
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def sources(atlas, tmp_path_factory):
    out = tmp_path_factory.mktemp("neuronpedia") / "exports"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("patchclamp.atlas.export.neuronpedia.BATCH", 10)
        pc.atlas.export_atlas(atlas, out, format="neuronpedia")
    [model] = out.iterdir()
    found = {}
    for source in sorted(model.iterdir()):
        heads = {file.stem: valid(file.stem, read(file)) for file in source.glob("*.jsonl")}
        tables = {
            folder.name: [valid(folder.name, read(file)) for file in sorted(folder.glob("batch-*.jsonl.gz"))]
            for folder in source.iterdir()
            if folder.is_dir()
        }
        found[source.name] = {**heads, **tables}
    return found


def test_neuronpedia_has_a_source_per_site(sources, atlas):
    names = {"neurons": "patchclamp-mlp-act", "heads": "patchclamp-attn-z-heads"}
    wanted = {f"{site.layer}-{names[site.basis]}": site for site in atlas.page().sites}
    assert list(sources) == sorted(wanted)
    for name, source in sources.items():
        [head], site = source["source"], wanted[name]
        assert (head["id"], head["setName"]) == (name, names[site.basis])
        assert source["sourceset"][0]["releaseName"] == source["release"][0]["name"]
        first = min(10, site.units)
        assert [len(batch) for batch in source["features"]] == [n for n in (first, site.units - first) if n]
        indices = [int(row["index"]) for batch in source["features"] for row in batch]
        assert indices == list(range(site.units))


def test_neuronpedia_says_what_the_atlas_says(sources, atlas):
    source = sources["0-patchclamp-mlp-act"]
    unit = atlas.unit(CAT)
    [row] = [row for batch in source["features"] for row in batch if row["index"] == "7"]
    assert row["maxActApprox"] == pytest.approx(3.0)
    assert (row["pos_str"][0], row["neg_str"][0]) == (" sat", " ran")
    assert row["frac_nonzero"] == unit.statistics.frequency
    positive = round(unit.statistics.frequency * unit.statistics.counted)
    assert sum(row["freq_hist_data_bar_heights"]) == positive
    found = [row for batch in source["activations"] for row in batch if row["index"] == "7"]
    top = [row for row in found if row["binContains"] == -1]
    assert len(top) == len(atlas.examples(CAT, "top", limit=99).examples)
    assert {row["tokens"][row["qualifyingTokenIndex"]] for row in top} == {" cat"}
    for row in found:
        assert len(row["tokens"]) == len(row["values"])
        assert row["values"][row["maxValueTokenIndex"]] == row["maxValue"] == max(row["values"])
        assert row["binMin"] - 1e-2 <= row["maxValue"] <= row["binMax"] + 1e-2
    ids = [row["id"] for batch in source["activations"] for row in batch]
    assert len(set(ids)) == len(ids)
    words = {row["index"]: row for batch in source["explanations"] for row in batch}
    assert words["7"]["description"] == 'fires on " cat" and nothing else'
    assert words["7"]["notes"].startswith("by rule/planted 1; AUROC of named tokens 1.0")


def test_special_tokens_have_no_activation_there(atlas):
    unit = atlas.unit(CAT)
    one = next(one for one in atlas.examples(CAT, "interval", low=0.0, high=9.0).examples if one.special)
    loud = replace(one, acts=[9.0 if i in one.special else act for i, act in enumerate(one.acts)])
    [row] = _activation(unit, loud, _Names("cat", "0-x", "x"), "text", (0.0, 9.0, 1.0))
    assert [row["values"][i] for i in one.special] == [0.0] * len(one.special)
    assert row["maxValue"] == max(act for i, act in enumerate(one.acts) if i not in one.special)
    # A number that JSON does not have is in no column of numbers.
    mute = replace(one, acts=[None] * len(one.acts), special=[])
    assert list(_activation(unit, mute, _Names("cat", "0-x", "x"), "text", (0.0, 9.0, 1.0))) == []


def test_bars_count_what_is_above_zero(atlas):
    unit = atlas.unit(CAT)
    bins = replace(unit.histogram, edges=[-1.0, -0.5, 0.5, 1.0], tokens=[30, 50, 20])
    unit = replace(unit, histogram=bins, statistics=replace(unit.statistics, counted=100, frequency=0.27))
    assert positive_bars(unit) == [(0.25, 7), (0.75, 20)]
    assert positive_bars(replace(unit, histogram=None)) == []


# -- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"format": "html"}, "got none"),
        ({"format": "html", "unit": "blocks.0.mlp.act/neurons/99999"}, "99999"),
        ({"format": "html", "unit": "nonsense"}, "nonsense"),
        ({"format": "parquet", "unit": CAT}, "--unit"),
        ({"format": "pdf"}, "pdf"),
    ],
)
def test_what_cannot_be_exported_is_told(atlas, tmp_path, options, word):
    with pytest.raises(PatchclampError if options["format"] != "pdf" else Exception, match=re.escape(word)):
        pc.atlas.export_atlas(atlas, tmp_path / "out", **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("format", ["parquet", "neuronpedia"])
def test_a_folder_in_the_way_is_left_alone(atlas, tmp_path, format):
    (tmp_path / "mine").mkdir()
    with pytest.raises(PatchclampError, match="--out"):
        pc.atlas.export_atlas(atlas, tmp_path / "mine", format=format)
    assert list((tmp_path / "mine").iterdir()) == []


def test_a_folder_in_the_way_of_a_page_is_left_alone(atlas, tmp_path):
    with pytest.raises(PatchclampError, match="a folder"):
        pc.atlas.export_atlas(atlas, tmp_path, format="html", unit=CAT)


@pytest.mark.parametrize("format", ["html", "parquet", "neuronpedia"])
def test_a_full_disk_leaves_nothing(atlas, tmp_path, format, monkeypatch):
    full = OSError(errno.ENOSPC, "No space left on device")

    def fail(*_, **__):
        raise full

    if format == "html":
        monkeypatch.setattr("os.fsync", fail)
    elif format == "parquet":
        monkeypatch.setattr("patchclamp.atlas.export.parquet._Table.flush", fail)
    else:
        monkeypatch.setattr("gzip.GzipFile.write", fail)
    with pytest.raises(PatchclampError, match=r"a full disk.*export again"):
        pc.atlas.export_atlas(atlas, tmp_path / "out", format=format, unit=CAT if format == "html" else None)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_export_leaves_nothing(atlas, tmp_path):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pc.atlas.export_atlas(atlas, tmp_path / "out", format="neuronpedia", progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_atlas_is_told(seeded_atlas, tmp_path):
    import shutil

    copy = tmp_path / "damaged.atlas"
    shutil.copytree(seeded_atlas, copy)
    base = copy / "base" / "base.sqlite"
    base.chmod(0o644)
    base.write_bytes(base.read_bytes()[:-100] + b"x" * 100)
    with pytest.raises(Damaged):
        pc.atlas.export_atlas(copy, tmp_path / "out", format="html", unit=CAT)
    assert [file.name for file in tmp_path.iterdir()] == ["damaged.atlas"]


# -- notebooks --------------------------------------------------------------------------------------------------------


def test_show_asks_for_an_atlas():
    with pytest.raises(PatchclampError, match="an atlas to show a unit of") as told:
        pc.atlas.show(CAT)
    assert "atlas='cat.atlas'" in told.value.remedy


def test_show_serves_each_atlas_once_until_it_is_stopped(atlas, seeded_atlas):
    import httpx

    from patchclamp.atlas.notebook import stop_all

    first, second = (
        pc.atlas.show(CAT, atlas=atlas, height=500),
        pc.atlas.show("blocks.0.mlp.act/neurons/3", atlas=seeded_atlas),
    )
    try:
        address, _, path = first.address.partition("/units/")
        assert path == f"cat/{CAT}"
        assert second.address.startswith(f"{address}/units/")
        assert httpx.get(f"{address}/api/units/{path}").json()["key"] == first.key
        assert re.search(r'<iframe src="http://127\.0\.0\.1:\d+/units/cat/[^"]+" .*height="500"', first._repr_html_())
        with pytest.raises(PatchclampError, match="99999"):
            pc.atlas.show("blocks.0.mlp.act/neurons/99999", atlas=atlas)
    finally:
        stop_all()
    with pytest.raises(httpx.ConnectError):
        httpx.get(address)


@pytest.mark.parametrize("name", ["mock:", "~"])
def test_parquet_goes_where_it_is_told(atlas, tmp_path, monkeypatch, name):
    """Not to what pyarrow takes such names for: another file system, somebody's home."""
    monkeypatch.chdir(tmp_path)
    pc.atlas.export_atlas(atlas, f"{name}/bucket", format="parquet")
    assert (tmp_path / name / "bucket" / "units.parquet").is_file()


def test_a_failed_export_leaves_no_folder_that_it_made(atlas, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(parquet.ParquetWriter, "write_table", full)
    with pytest.raises(PatchclampError, match="full disk"):
        pc.atlas.export_atlas(atlas, tmp_path / "deep" / "er" / "tables", format="parquet")
    with pytest.raises(PatchclampError, match="name of a folder"):
        pc.atlas.export_atlas(atlas, tmp_path / "new" / "..", format="parquet")
    assert list(tmp_path.iterdir()) == []


# -- a graph for other viewers ----------------------------------------------------------------------------------------


def test_a_graph_is_the_same_in_a_file_and_at_its_address_with_labels_and_groups(atlas, seeded_atlas, tmp_path):
    pages = [atlas.graph(row.id) for row in atlas.graphs().rows]
    page = next(page for page in pages if f"cat/{CAT}@3" in {edge.target for edge in page.edges})
    id = page.graph.id
    pc.atlas.export_atlas(seeded_atlas, tmp_path / "g.json", format="neuronpedia", graph=id)
    file = json.loads((tmp_path / "g.json").read_text())
    labels = {node.key: node.label for node in page.nodes if node.label}
    assert {node["node_id"] for node in file["nodes"]} == {node.key for node in page.nodes}
    assert labels
    assert labels.items() <= {node["node_id"]: node["clerp"] for node in file["nodes"]}.items()
    with TestClient(make_app(lambda: atlas.reading)) as server:
        address = f"/api/graphs/{id}/export"
        assert server.get(address, params={"format": "neuronpedia"}).json() == file
        grouped = server.get(address, params={"group": f"{CAT}@3 input@3 : the cat", "pin": "output"})
        assert grouped.json()["qParams"]["supernodes"] == [["the cat", f"cat/{CAT}@3", "input@3"]]
        assert "attachment" in grouped.headers["content-disposition"]
        for wrong in ({"format": "svg"}, {"group": "no name"}, {"group": "input@77 : one"}, {"pin": "input@77"}):
            assert server.get(address, params=wrong).status_code == 400
        assert server.get("/api/graphs/none/export").status_code == 404
    for options in ({"format": "circuit-tracer"}, {"format": "parquet", "graph": id}):
        with pytest.raises(PatchclampError, match="--graph ID"):
            pc.atlas.export_atlas(seeded_atlas, tmp_path / "h.json", **options)
