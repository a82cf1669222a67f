"""Scores in columns: the same order as a sort of all, keys that come back, and memory that is the values' own."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchclamp.core import scores as module
from patchclamp.core.bundle import Bundle
from patchclamp.core.errors import Damaged, PatchclampError
from patchclamp.core.intervention import Span
from patchclamp.core.keys import Block, EdgeIndex, EdgeKey, UnitIndex, parse_key
from patchclamp.core.score_chunks import append_cases
from patchclamp.core.score_maps import map_scores, split_key
from patchclamp.core.scores import Scores
from patchclamp.core.span_key import SpanKey
from patchclamp.core.unit import UnitKey

BLOCKS = st.lists(
    st.tuples(st.integers(1, 4), st.one_of(st.none(), st.integers(1, 3))), min_size=1, max_size=4
)  # fmt: skip


def index_of(shapes) -> UnitIndex:
    return UnitIndex(
        [Block(f"blocks.{i}.mlp.act", "neurons", n, places) for i, (n, places) in enumerate(shapes)], "toy"
    )


def scores(values, **more) -> Scores:
    values = np.asarray(values, dtype=np.float64)
    return Scores(UnitIndex([Block("a", "neurons", len(values))]), values, **more)


@given(BLOCKS)
def test_every_key_comes_back_from_its_place_its_text_and_its_url(shapes):
    index = index_of(shapes)
    assert len(index) == sum(n * (places or 1) for n, places in shapes)
    for place, text in enumerate(index):
        key = index.key(place)
        assert (index[place], index.place(key), index.place(text)) == (text, place, place)
        assert parse_key(text) == key == UnitKey.from_url(key.to_url())
    assert index == tuple(index)
    assert index == index_of(shapes)
    assert index[-1] == tuple(index)[-1]


SPANS = ("-1", "3:5", "2", "-4:", ":2")


@given(st.permutations(SPANS), st.integers(1, 3))
def test_keys_at_spans_come_back_too(spans, n_units):
    spans = [str(Span.parse(span)) for span in spans]
    index = UnitIndex([Block("embed", "whole", 1), Block("a", "heads", n_units, len(spans))], "toy", spans)
    for place, text in enumerate(index):
        key = index.key(place)
        assert (index.place(key), index.place(text), index.place(text.removeprefix("toy/"))) == (place,) * 3
        assert parse_key(text) == key == type(key).from_url(key.to_url())
        assert str(key) == text
        assert str(index.unit(place)) == (text.partition("@")[0] if isinstance(key, SpanKey) else text)
        unit, at = split_key(key)
        assert (unit, at) == ("toy/embed/whole/0", "all") if place == 0 else at in spans
    # A position from the start is a unit's own.
    assert isinstance(parse_key("a/heads/0@2"), UnitKey)
    assert index.place("a/heads/0@2") == index.grid("a", "heads")[spans.index("2"), 0]
    some = index.at_spans([4, 1])
    assert some.spans == (spans[4], spans[1])
    assert len(some) == 1 + 2 * n_units
    assert index != UnitIndex(index.blocks, "toy", spans[::-1])


@pytest.mark.parametrize(
    "make",
    [
        lambda: SpanKey.parse("a/heads/0@3"),
        lambda: SpanKey.parse("a/heads/0@+2:"),
        lambda: SpanKey.parse("a/heads/0"),
        lambda: SpanKey(UnitKey("a", 0, position=2), "-1"),
        lambda: parse_key("a/heads/0@1:1"),
        lambda: UnitIndex([Block("a", "heads", 1, 3)], spans=["-1"]),
        lambda: UnitIndex([Block("a", "heads", 1, 2)], spans=["-1", "3"]).place("a/heads/0@1"),
        lambda: UnitIndex([Block("a", "heads", 1, 2)]).place("a/heads/0@-1"),
        lambda: UnitIndex([Block("a", "heads", 1, 2)]).grid("a", "neurons"),
    ],
)
def test_places_that_are_none_are_refused(make):
    with pytest.raises(PatchclampError):
        make()


@pytest.mark.parametrize("key", ["toy/blocks.0.mlp.act/neurons/9", "blocks.9.mlp.act/neurons/0", "other/x/neurons/0"])
def test_a_key_that_is_not_listed_is_refused(key):
    with pytest.raises(PatchclampError, match="a key among"):
        index_of([(2, None)]).place(key)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=40), st.integers(0, 45), st.booleans(), st.integers(1, 7))
def test_the_highest_are_those_of_a_stable_sort_whatever_the_chunk(values, k, signed, chunk):
    found = scores(values)
    before, module.CHUNK = module.CHUNK, chunk
    try:
        places = found.places(k, signed=signed).tolist()
    finally:
        module.CHUNK = before
    heights = np.array(values) if signed else np.abs(values)
    assert places == np.argsort(-heights, kind="stable")[:k].tolist()
    assert found.first(k, signed=signed).sum() == min(k, len(values))


def test_a_ranking_of_its_own_comes_before_values():
    found = scores([1.0, 3.0, 2.0], ranking=np.array([2, 0, 1]))
    assert [str(key) for key in found.top(2)] == ["a/neurons/2", "a/neurons/0"]
    with pytest.raises(PatchclampError, match="ranking"):
        scores([1.0, 2.0], ranking=np.array([0, 0]))


def test_sums_over_places_are_those_of_all_units_there():
    index = UnitIndex([Block("a", "neurons", 2, 3), Block("b", "heads", 1, 3)])
    found = Scores(index, np.arange(9.0))
    np.testing.assert_allclose(found.by_place(), [0 + 1 + 6, 2 + 3 + 7, 4 + 5 + 8])
    assert found.total == 36


def edges() -> Scores:
    units = ("embed/whole/0", "blocks.0.attn.q/heads/1", "final/whole/0")
    return Scores(
        EdgeIndex(units, np.array([[0, 1], [0, 2]]), "toy"), np.array([1.0, -2.0]), "m", "corrupted", 3.0, 1.0
    )


def test_edges_have_keys_places_and_a_graph():
    found = edges()
    key = EdgeKey.parse("toy/embed/whole/0->toy/final/whole/0")
    assert found.top(1, signed=False) == [key]
    assert found.score("embed/whole/0->final/whole/0") == -2.0
    graph = found.graph()
    assert {(edge.source, edge.target, edge.weight) for edge in graph.edges} == {
        ("toy/embed/whole/0", "toy/blocks.0.attn.q/heads/1", 1.0),
        ("toy/embed/whole/0", "toy/final/whole/0", -2.0),
    }
    with pytest.raises(PatchclampError, match="units of whole sites"):
        found.by_place()


def placed() -> Scores:
    """Return three cases over two blocks, of which the last has no position -3."""
    index = UnitIndex(
        [*(Block(f"blocks.{i}.attn.z", "heads", 2, 3) for i in range(2)), Block("embed", "whole", 1, 3)],
        spans=("-3", "-2", "-1"),
    )  # fmt: skip
    cases = np.random.default_rng(0).normal(size=(3, len(index)))
    for site, basis in (("blocks.0.attn.z", "heads"), ("blocks.1.attn.z", "heads"), ("embed", "whole")):
        cases[2, index.grid(site, basis)[0]] = np.nan
    return Scores(index, np.nanmean(cases, axis=0), per_case=cases, metric_clean=1.0)


@pytest.mark.parametrize("chunk", [1, 20, 1000])
def test_scores_of_cases_are_kept_some_at_a_time(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(module, "CHUNK", chunk)
    found = placed()
    found.save(tmp_path / "s")
    pieces = [entry for entry in Bundle.open(tmp_path / "s").pieces if "cases" in entry]
    assert len(pieces) == {1: 3, 20: 3, 1000: 1}[chunk]
    assert Scores.load(tmp_path / "s").per_case.tobytes() == found.per_case.tobytes()


@pytest.mark.parametrize(
    "change", [lambda pieces: pieces.pop(), lambda pieces: pieces.append(pieces[0]), lambda pieces: pieces[0].pop()]
)
def test_cases_that_are_missing_or_there_twice_are_refused(tmp_path, change):
    found, pieces = placed(), [[0, 1], [2]]
    change(pieces)
    bundle = Bundle.create(tmp_path / "s", kind="scores", manifest=found.manifest())
    for number, members in enumerate(pieces):
        append_cases(bundle, number, np.array(members), found.per_case[members])
    found.append(bundle)
    bundle.finish()
    with pytest.raises(Damaged, match="3 cases, each once"):
        Scores.load(tmp_path / "s")


def test_a_folder_whose_writing_stopped_says_so(tmp_path):
    found = placed()
    bundle = Bundle.create(tmp_path / "s", kind="scores", manifest=found.manifest())
    append_cases(bundle, 0, np.arange(2), found.per_case[:2])
    with pytest.raises(PatchclampError, match="interrupted after 1 parts"):
        Scores.load(tmp_path / "s")


def test_some_cases_have_the_places_that_any_of_them_has():
    found = placed()
    last = found.some([2])
    assert last.index.spans == ("-2", "-1")
    for text in last.index:
        assert last.score(text) == found.per_case[2, found.index.place(text)]
    assert np.isnan(last.metric_clean)
    two = found.some([0, 2])
    assert two.index == found.index
    assert two.counts(np.arange(len(two))).tolist() == [1, 1, 2, 2, 2, 2] * 2 + [1, 2, 2]
    np.testing.assert_allclose(two.values, np.nanmean(found.per_case[[0, 2]], axis=0))
    with pytest.raises(PatchclampError, match="means alone"):
        scores([1.0]).some([0])
    with pytest.raises(PatchclampError, match="means alone"):
        scores([1.0]).estimates(np.array([0]))


def test_maps_are_views_of_the_index():
    found = placed()
    maps = map_scores(found, 3)
    assert [(one.name, one.rows, one.left_out) for one in maps[1:]] == [("embed", ("embed",), 0)]
    heads = maps[0]
    assert (heads.name, len(heads.rows), heads.left_out, heads.places) == ("attn.z/heads", 3, 1, ("-3", "-2", "-1"))
    largest = {}
    for key, at in zip(found.index, range(len(found)), strict=True):
        unit, _, place = key.partition("@")
        largest[unit] = max(largest.get(unit, 0), abs(found.values[at]))
        if unit in heads.keys:
            assert heads.at[heads.keys.index(unit), heads.places.index(place)] == at
    left = min((unit for unit in largest if "heads" in unit), key=largest.__getitem__)
    assert set(largest) - set(heads.keys) == {left, "embed/whole/0"}
    assert heads.rows == tuple(key.split(".")[1] + "." + key[-1] for key in heads.keys)
    with pytest.raises(PatchclampError, match="no one position"):
        map_scores(edges())


@pytest.mark.parametrize(
    "make",
    [
        edges,
        lambda: scores([1.0, -2.0, 0.5], measures={"size": np.array([1.0, 2.0, 3.0])}),
        lambda: scores([2.0, 5.0, 0.5], per_case=np.array([[1.0, 5.0, 0.5], [3.0, np.nan, 0.5]])),
        placed,
    ],
)
def test_scores_come_back_from_disk_as_they_were(tmp_path, make):
    found = make()
    found.save(tmp_path / "s")
    again = Scores.load(tmp_path / "s")
    assert again.index == found.index
    assert again.values.tobytes() == found.values.tobytes()
    assert again.to_json() == found.to_json()
    assert (again.per_case is None) == (found.per_case is None)
    if found.per_case is not None:
        assert again.per_case.tobytes() == found.per_case.tobytes()
    assert {name: x.tolist() for name, x in again.measures.items()} == {
        name: x.tolist() for name, x in found.measures.items()
    }


@pytest.mark.parametrize(
    "change",
    [
        lambda told: told.update(n=7),
        lambda told: told["index"].update(kind="units"),
        lambda told: told["index"].update(units=["embed/whole/0"]),
        lambda told: told["dtypes"].update(values="object"),
        lambda told: told["dtypes"].pop("values"),
        lambda told: told.update(measures=["size"]),
        lambda told: told.update(provenance={"stranger": 1}),
    ],
)
def test_a_manifest_that_does_not_fit_its_arrays_is_refused(tmp_path, change):
    edges().save(tmp_path / "s")
    told = json.loads((tmp_path / "s" / "manifest.json").read_text())
    change(told)
    own = {name: value for name, value in told.items() if name not in ("format", "version", "kind")}
    bundle = Bundle.create(tmp_path / "t", kind="scores", manifest=own)
    found = edges()
    bundle.append("values-00000", {"part": found.values})
    bundle.append("whole", {"ends": found.index.ends})
    bundle.finish()
    with pytest.raises(Damaged, match="kind scores"):
        Scores.load(tmp_path / "t")


@pytest.mark.parametrize("values", [[np.nan], [np.inf, 1.0]])
def test_scores_that_are_no_numbers_are_refused(values):
    with pytest.raises(PatchclampError, match="not finite"):
        scores(values)


def peak_mib() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


@pytest.mark.soak
def test_scores_of_every_neuron_at_every_position_cost_their_values(tmp_path, soak):
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("needs /proc/self/clear_refs, which only Linux has, to measure peaks of memory")
    n_places = 200 if soak else 10
    index = UnitIndex([Block(f"blocks.{i}.mlp.act", "neurons", 14_336, n_places) for i in range(32)])
    base = peak_mib()
    values = np.zeros(len(index), dtype=np.float32)
    draw = np.random.default_rng(0)
    for start in range(0, len(values), 2**20):
        part = values[start : start + 2**20]
        part[:] = draw.standard_normal(len(part), dtype=np.float32)
    found = Scores(index, values)
    before = found.top(100)
    found.save(tmp_path / "s")
    del found, values, part
    begun, peak = time.perf_counter(), {}
    Path("/proc/self/clear_refs").write_text("5")
    again = Scores.load(tmp_path / "s")
    peak["load"] = peak_mib() - base
    assert again.top(100) == before
    peak["top"] = peak_mib() - base
    again.save(tmp_path / "t")
    peak["save"] = peak_mib() - base
    print(f"{len(again):,} scores: loaded, searched and saved in {time.perf_counter() - begun:.1f} s, peaks {peak} MiB")
    # 10 % of the long count's values, in either count.
    assert max(peak.values()) < again.values.nbytes / 2**20 + 35
