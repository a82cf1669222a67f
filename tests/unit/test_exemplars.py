"""Exemplars: columns that come back from disk, units that are found, and test stimuli that no training sees."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import patchclamp as pc
from patchclamp.core.errors import Damaged, PatchclampError
from patchclamp.core.exemplars import ACTIVE, KINDS, NEGATIVE, Exemplars
from patchclamp.core.provenance import Provenance
from patchclamp.core.site import Site
from patchclamp.core.stimulus import PackedStimuli, Picture, Stimulus

SITE = Site("blocks.0.mlp.act", "mlp.act", 12, layer=0)
MAP = Site("blocks.0.conv1.act", "conv1.act", 12, places=(2, 3), layer=0)


@st.composite
def exemplars(draw, n_units=12):
    pictures = draw(st.booleans())
    if pictures:
        grey = draw(st.lists(st.integers(0, 2), min_size=1, max_size=6))
        shown = [Picture.of(np.full((2, 2), g, dtype=np.uint8), name=f"é{i}") for i, g in enumerate(grey)]
    else:
        # Few tokens and short stimuli, so that several have the same content.
        ids = draw(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=3), min_size=1, max_size=9))
        shown = [Stimulus.of(np.array(one)) for one in ids]
    row = st.tuples(st.integers(0, n_units - 1), st.integers(0, len(shown) - 1), st.floats(0, 1), st.booleans())
    rows = draw(st.lists(row, max_size=30))
    lengths = [6 if pictures else len(one) for one in shown]
    made = Exemplars.of(
        MAP if pictures else SITE, shown, unit=[u for u, *_ in rows], stimulus=[s for _, s, *_ in rows],
        value=[v for *_, v, _ in rows], position=[int(v * (lengths[s] - 1)) for _, s, v, _ in rows],
        kind=draw(st.sampled_from(KINDS)), basis=draw(st.sampled_from(["neurons", "sae-8"])),
        numbers=draw(st.none() | st.just(list(range(5, 5 + len(shown))))), provenance=Provenance("toy", "ab", seed=3),
    )  # fmt: skip
    columns = {name: getattr(made, name) for name in made.__dataclass_fields__}
    if draw(st.booleans()):
        columns["activations"] = np.arange(int(made.lengths.sum()), dtype=np.float32)  # no two alike
        made = Exemplars(**columns)
    if draw(st.booleans()):
        return made
    marks = [[0, *([lengths[s] - 1] if both and lengths[s] > 1 else [])] for _, s, _, both in sorted_rows(rows)]
    flat = np.array([at for one in marks for at in one], dtype=np.int32)
    cuts = np.cumsum([0, *map(len, marks)])
    return Exemplars(**{**columns, "marks": flat, "mark_offsets": cuts})


def sorted_rows(rows):
    return sorted(rows, key=lambda row: row[0])


def said(some):
    known = some.activations is not None
    return [
        (one, some.mask(row).tolist(), some.row_activations(row).tolist() if known else None)
        for row, one in enumerate(some)
    ]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(exemplars())
def test_they_come_back_from_disk(tmp_path_factory, some):
    folder = tmp_path_factory.mktemp("exemplars")
    some.save(folder / "new")
    again = Exemplars.load(folder / "new")
    assert said(again) == said(some)
    assert (again.site, again.basis, again.provenance) == (some.site, some.basis, some.provenance)
    assert again.to_json() == some.to_json()
    assert len(again.stimuli) == len(set(some.stimulus.tolist()))
    assert again.hash == some.hash


@given(exemplars(), st.integers(0, 11))
def test_a_unit_s_rows_are_those_of_a_loop(some, unit):
    assert said(some.of_unit(unit)) == [pair for pair in said(some) if pair[0].unit == unit]
    assert [one.unit for one in some] == sorted(one.unit for one in some)
    assert said(some.compact()) == said(some)
    assert said(some.of_kinds(*KINDS)) == said(some[:]) == said(some)
    assert list(some.of_kinds()) == []
    assert all(some.mask(row).sum() == 1 for row in range(len(some)) if some.marks is None)


@given(exemplars(), st.integers(0, 99), st.floats(0, 1))
def test_training_and_test_share_no_content(some, seed, share):
    training, test = some.split(seed, test=share)
    assert sorted(said(training) + said(test), key=repr) == sorted(said(some), key=repr)
    contents = [{one.image or one.ids for one in side} for side in (training, test)]
    if not some.stimuli.kind.positions:  # of which the content decides, not the name
        contents = [{some.stimuli.arrays["images"][i].tobytes() for i in side.stimulus} for side in (training, test)]
    assert not contents[0] & contents[1]
    assert said(some.split(seed, test=share)[1]) == said(test)
    # The side is the content's own: other rows beside it change nothing.
    for unit in some.units.tolist():
        assert said(some.of_unit(unit).split(seed, test=share)[1]) == said(test.of_unit(unit))


def test_activations_follow_their_rows():
    shown = [Stimulus.of(np.array([1, 2, 3])), Stimulus.of(np.array([4, 5]))]
    along = [np.array([0.0, 2.0, 1.0]), np.array([3.0, 0.0]), np.array([0.0, 0.5])]
    some = Exemplars.of(
        SITE, shown, unit=[7, 2, 9], value=[2.0, 3.0, 0.5], position=[1, 0, 1], stimulus=[0, 1, 1], kind="near",
        activations=along,
    )  # fmt: skip
    assert [some.row_activations(row).tolist() for row in range(3)] == [[3.0, 0.0], [0.0, 2.0, 1.0], [0.0, 0.5]]
    assert some.of_unit(7).row_activations(-1).tolist() == [0.0, 2.0, 1.0]
    assert [some.row_activations(row)[one.position] for row, one in enumerate(some)] == some.value.tolist()
    assert some.to_json()["exemplars"][2]["activations"] == [0.0, 0.5]
    without = Exemplars(**{n: getattr(some, n) for n in some.__dataclass_fields__ if n != "activations"})
    assert without.hash != some.hash
    assert "activations" not in without.to_json()["exemplars"][0]
    with pytest.raises(PatchclampError, match="at every position"):
        without.row_activations(0)
    with pytest.raises(PatchclampError, match="5 activations for 7 positions"):
        Exemplars(**{n: getattr(some, n) for n in some.__dataclass_fields__} | {"activations": some.activations[:5]})
    assert [len(without.of_kinds(*kinds)) for kinds in (ACTIVE, NEGATIVE)] == [0, 3]


def test_a_split_is_drawn_by_its_seed_and_of_the_share_that_was_asked_for():
    shown = [Stimulus.of(np.array([i, i + 1])) for i in range(2000)]
    some = Exemplars.of(SITE, shown, unit=[0] * 2000, value=[1.0] * 2000, position=[0] * 2000)
    sizes = [len(some.split(seed, test=0.3)[1]) for seed in range(3)]
    assert all(abs(size - 600) < 100 for size in sizes)
    first, second = (set(some.split(seed, test=0.3)[1].stimulus.tolist()) for seed in (0, 1))
    assert len(first & second) < 300
    assert [len(side) for side in some.split(test=0)] == [2000, 0]
    assert [len(side) for side in some.split(test=1)] == [0, 2000]


def test_the_same_window_in_two_places_of_a_text_is_on_one_side(tiny_language_model, tmp_path):
    model = tiny_language_model("llama")
    draw = np.random.default_rng(0)
    lines = [" ".join(f"w{i}" for i in draw.integers(0, 50, 15)) for _ in range(20)]
    (tmp_path / "text.txt").write_text("\n".join(lines * 3) + "\n")
    survey = pc.survey(model, pc.Corpus(tmp_path / "text.txt", window=16), "blocks.*.mlp.act", tmp_path / "out")
    seen = [set(), set()]
    for site in survey.sites:
        for side, half in enumerate(survey.exemplars(site).split(seed=4)):
            seen[side] |= {one.ids for one in half}
            assert len({one.stimulus for one in half}) > len({one.ids for one in half})
    assert min(map(len, seen)) > 3
    assert not seen[0] & seen[1]


def test_a_survey_gives_all_units_as_it_gives_one(tiny_language_model, tmp_path):
    model = tiny_language_model("llama")
    (tmp_path / "text.txt").write_text(" ".join(f"w{i % 47}" for i in range(500)))
    survey = pc.survey(model, pc.Corpus(tmp_path / "text.txt", window=16), "blocks.0.mlp.act", tmp_path / "out")
    whole = survey.exemplars("blocks.0.mlp.act")
    width = survey.sites["blocks.0.mlp.act"].width
    assert whole.units.tolist() == list(range(width))
    for unit in (0, 7, width - 1):
        assert list(whole.of_unit(unit)) == list(survey.exemplars("blocks.0.mlp.act", unit))
        assert list(whole.of_unit(unit).of_kinds("top")) == list(survey.exemplars("blocks.0.mlp.act", unit, ["top"]))
    assert whole.provenance.hashes == {"survey": survey.hash}


def test_a_million_units_stay_columns():
    n_units, per_unit = 1_000_000, 4
    rows = n_units * per_unit
    stimuli = PackedStimuli(
        {"ids": np.zeros(16_000, dtype=np.int32), "offsets": np.arange(0, 16_001, 16)}, np.arange(1000)
    )
    columns = {
        "unit": np.repeat(np.arange(n_units, dtype=np.int32), per_unit), "kind": np.zeros(rows, dtype=np.int8),
        "value": np.ones(rows, dtype=np.float32), "position": np.zeros(rows, dtype=np.int32),
        "stimulus": np.tile(np.arange(1000, dtype=np.int32), rows // 1000),
    }  # fmt: skip
    size = sum(column.nbytes for column in columns.values())
    tracemalloc.start()
    many = Exemplars(Site("big", "big", n_units), stimuli=stimuli, **columns)
    training, test = many.split()
    found = [many.of_unit(unit)[0] for unit in range(0, n_units, 50_000)]
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(training) + len(test) == rows
    assert [one.unit for one in found] == list(range(0, n_units, 50_000))
    # What is held besides the columns themselves are those of the two halves; a Python object each would be 50 times.
    assert held < 1.6 * size
    assert peak < 6 * size


def test_what_does_not_fit_is_refused():
    shown = [Stimulus.of(np.array([1, 2, 3]))]
    good = {"unit": [0], "value": [1.0], "position": [0]}
    wrong = ({"unit": [12]}, {"unit": [-1]}, {"position": [3]}, {"position": [-1]}, {"value": [1.0, 2.0]})
    for change in (*wrong, {"stimulus": [1]}, {"kind": "best"}, {"numbers": [1, 2]}):
        with pytest.raises(PatchclampError):
            Exemplars.of(SITE, shown, **{**good, **change})
    some = Exemplars.of(SITE, shown, **good)
    with pytest.raises(PatchclampError, match="kinds among"):
        some.of_kinds("best")
    with pytest.raises(PatchclampError, match="from 0 to 1"):
        some.split(test=1.5)
    with pytest.raises(PatchclampError, match="one kind"):
        PackedStimuli.of([*shown, Picture.of(np.zeros((2, 2), dtype=np.uint8))])
    columns = {name: getattr(some, name) for name in some.__dataclass_fields__}
    for marks, cuts in (([3], [0, 1]), ([0], [0, 2]), ([0], [0]), ([0, 1], [0, 1])):
        with pytest.raises(PatchclampError, match="mark"):
            Exemplars(**{**columns, "marks": np.array(marks), "mark_offsets": np.array(cuts)})
    with pytest.raises(PatchclampError, match="without mark_offsets"):
        Exemplars(**{**columns, "marks": np.array([0])})


def test_a_changed_folder_is_damage(tmp_path):
    some = Exemplars.of(SITE, [Stimulus.of(np.array([1, 2, 3]))], unit=[0], value=[1.0], position=[0])
    some.save(tmp_path / "new")
    file = tmp_path / "new" / "exemplars.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(Damaged):
        Exemplars.load(tmp_path / "new")
