"""An atlas of a recorded brain: its numbers against NumPy on the arrays, its planted unit, and its flaws."""

import json

import numpy as np
import pytest
from fastapi.testclient import TestClient

import patchclamp as pc
from patchclamp.atlas.bake.recorded_tuning import cut_blocks, find_conditions, ratio_intervals
from patchclamp.atlas.read.reader import NotFound
from patchclamp.atlas.serve.server import guard_atlas
from patchclamp.core.errors import CannotIntervene, PatchclampError
from patchclamp.core.stats import mean_interval
from patchclamp.core.survey import PROBABILITIES
from patchclamp.organisms.populations.classes import make
from patchclamp.subjects.neural import NeuralRecording
from recorded_trials import (
    CONSTANT,
    DECOY,
    EMPTY,
    HOSTILE,
    MISSING,
    N_SAMPLES,
    N_TRIALS,
    N_UNITS,
    PLACE,
    RATE,
    TUNED,
    TWIN,
    planted_trials,
)


@pytest.fixture(scope="module")
def brain():
    return planted_trials()


@pytest.fixture(scope="module")
def folder(brain, tmp_path_factory):
    out = tmp_path_factory.mktemp("recordings") / "planted.atlas"
    pc.atlas.bake_recording(brain, out)
    return out


@pytest.fixture(scope="module")
def atlas(folder):
    return pc.atlas.open(folder)


def key(unit):
    return f"recording/neurons/{unit}"


@pytest.mark.parametrize("unit", [0, TUNED, DECOY, MISSING, CONSTANT, PLACE])
def test_statistics_quantiles_and_histogram_are_those_of_the_array(atlas, brain, unit):
    page, values = atlas.unit(key(unit)), brain.values[..., unit]
    known = values[np.isfinite(values)]
    statistics = page.statistics
    assert statistics.mean == pytest.approx(known.mean(), rel=1e-5)
    assert statistics.deviation == pytest.approx(known.std(), rel=1e-5, abs=1e-9)
    assert (statistics.minimum, statistics.maximum) == (known.min(), known.max())
    assert statistics.frequency == pytest.approx((known > 0).mean(), rel=1e-5)
    assert [one.value for one in statistics.quantiles] == pytest.approx(np.quantile(known, PROBABILITIES), rel=1e-5)
    if unit == CONSTANT:
        assert page.histogram is None
    else:
        assert page.histogram.tokens == np.histogram(known, page.histogram.edges)[0].tolist()
        highest = np.nanmax(values, axis=1)
        assert page.histogram.pieces == np.histogram(highest, page.histogram.edges)[0].tolist()
        assert sum(page.histogram.tokens) == known.size
    assert atlas.recorded_unit(page.key).missing == values.size - known.size


def test_the_course_is_the_mean_over_trials_with_its_interval(atlas, brain):
    did = atlas.recorded_unit(key(TUNED))
    assert (did.rate_measure, did.rate, did.start) == ("Hz", RATE, -0.5)
    starts = did.course_starts
    ends = [*starts[1:], N_SAMPLES]
    trials = np.stack([brain.values[:, a:b, TUNED].mean(1) for a, b in zip(starts, ends, strict=True)], 1)
    chosen = {"": np.ones(N_TRIALS, bool)} | {s: brain.trial_labels["side"] == s for s in ("left", "right")}
    assert [one.condition for one in did.courses] == list(chosen)
    for one in did.courses:
        rows = trials[chosen[one.condition]]
        assert one.n == len(rows)
        np.testing.assert_allclose(one.mean, rows.mean(0) * RATE, rtol=1e-3, atol=1e-5)
        for at in (0, 40, len(starts) - 1):
            interval = mean_interval(rows[:, at], n_resamples=1000)
            assert (one.low[at], one.high[at]) == pytest.approx((interval.low * RATE, interval.high * RATE), rel=1e-3)


def test_tuning_is_the_mean_in_every_condition(atlas, brain):
    sides, positions = (atlas.recorded_unit(key(PLACE)).tuning[i] for i in (0, 1))
    assert (sides.label, sides.over, positions.label, positions.over) == ("side", "trials", "position", "trials")
    of_trials = brain.values[..., PLACE].mean(1)
    for point in sides.points:
        rows = of_trials[brain.trial_labels["side"] == point.condition]
        assert (point.n, point.mean) == (len(rows), pytest.approx(rows.mean() * RATE, rel=1e-4))
        assert point.low < point.mean < point.high
    edges = np.linspace(0, 100, 9)
    for number, point in enumerate(positions.points):
        inside = np.clip(np.digitize(brain.time_labels["position"], edges[1:-1]), 0, 7) == number
        assert point.condition == f"{edges[number]:.4g} to {edges[number + 1]:.4g}"
        assert point.mean == pytest.approx(brain.values[..., PLACE][inside].mean() * RATE, rel=1e-4)
    by_side = atlas.recorded_unit(key(TUNED)).tuning[0]
    assert by_side.points[0].low > by_side.points[1].high


def test_correlations_are_those_of_the_recording_and_stand_beside_chance(atlas, brain):
    r = brain.correlation()
    did = atlas.recorded_unit(key(TUNED))
    assert did.near[0].key == f"planted/{key(TWIN)}"
    assert did.near[0].groups == ["pair"]
    order = sorted(
        (u for u in range(N_UNITS) if u != TUNED and np.isfinite(r[TUNED, u])), key=lambda u: -abs(r[TUNED, u])
    )
    assert [one.key for one in did.near] == [f"planted/{key(unit)}" for unit in order]
    assert [one.r for one in did.near] == pytest.approx(r[TUNED, order], rel=1e-3)
    assert (did.near[0].p, did.shifts) == (0.01, 99)
    assert did.near[0].low < did.near[0].r < did.near[0].high
    assert did.within == pytest.approx(r[TUNED, TWIN], rel=1e-3)
    assert did.within > did.within_high
    others = [u for u in range(N_UNITS) if u not in (TUNED, TWIN) and np.isfinite(r[TUNED, u])]
    assert did.outside == pytest.approx(r[TUNED, others].mean(), rel=1e-3)
    # White noise correlates with nothing: it stays below what shifts give.
    decoy = atlas.recorded_unit(key(DECOY))
    assert abs(decoy.near[0].r) < 3 * decoy.chance
    assert decoy.near[0].p > 0.01
    assert did.chance < 0.15 < did.near[0].r


def test_chance_is_the_largest_correlation_of_a_shifted_unit():
    draw = np.random.default_rng(0)
    slow = np.cumsum(draw.standard_normal((500, 4)), axis=0)
    # Slow signals correlate by chance, and shifts say so; white ones do not.
    from patchclamp.atlas.bake.recorded_pairs import correlate_pairs

    block = cut_blocks(1, 500)
    found = correlate_pairs(NeuralRecording(slow[None]), block, seed=3)
    x = (slow - slow.mean(0)) / np.linalg.norm(slow - slow.mean(0), axis=0)
    steps = np.random.default_rng(3).integers(26, 475, size=99)
    for unit in range(4):
        largest = [
            max(abs(np.roll(x[:, unit], step) @ x[:, other]) for other in range(4) if other != unit) for step in steps
        ]
        assert found.chance[unit] == pytest.approx(np.quantile(largest, 0.95), abs=1e-5)
        best = abs(found.r[unit, found.near[unit, 0]])
        assert found.p[unit, 0] == pytest.approx((1 + sum(one >= best for one in largest)) / 100)
    assert found.chance.min() > 0.4
    white = correlate_pairs(NeuralRecording(draw.standard_normal((1, 500, 4))), block)
    assert white.chance.max() < 0.2


def test_the_planted_unit_comes_first_and_the_decoy_stands_at_chance(atlas, brain):
    rows = atlas.find(pc.atlas.Asked(concept="left", sort="concept")).rows
    assert {row.key for row in rows[:2]} == {f"planted/{key(unit)}" for unit in (TUNED, TWIN)}
    line = atlas.unit(key(TUNED)).line
    assert line.text.startswith("strongest in side = left, AUROC 1.00 [")
    assert "with cell 3" in line.text
    assert "mean rate" in line.text
    assert line.text.endswith("in pair")
    assert atlas.unit(key(PLACE)).line.detects.concept == "position = 87.5 to 100"
    for one in atlas.unit(key(DECOY)).concepts:
        assert one.auroc.low < 0.55
    assert atlas.unit(key(DECOY)).line.weak
    assert atlas.unit(key(DECOY)).line.text.startswith("no condition stands out (")
    assert "no r above chance: the largest = " in atlas.unit(key(DECOY)).line.text
    # What it was found by is not what it was chosen on: the trials of the second half.
    side = brain.trial_labels["side"][N_TRIALS // 2 :]
    assert atlas.unit(key(TUNED)).concepts[0].auroc.n == (side == "left").sum()
    assert atlas.page().begin[0].row.key in {f"planted/{key(unit)}" for unit in (TUNED, TWIN, PLACE)}


def test_words_find_names_groups_and_conditions(atlas):
    def found(words):
        return [row.key.rpartition("/")[2] for row in atlas.find(pc.atlas.Asked(words=words, sort="relevance")).rows]

    assert found("cell 7")[0] == "7"
    assert set(found("pair")) == {str(TUNED), str(TWIN)}
    assert found("onerror") == ["0"]


def test_events_and_traces_are_those_of_the_array(atlas, brain):
    did = atlas.recorded_unit(key(TUNED))
    counts = brain.values[..., TUNED].astype(int)
    assert did.raster.total == counts.sum()
    kept = counts[: did.raster.trials].ravel()
    assert did.raster.samples == np.repeat(np.arange(kept.size), kept).tolist()
    assert counts[: did.raster.trials + 1].sum() > 1000 or did.raster.trials == N_TRIALS
    for trial in (did.trace.trials[0], did.trace.trials[3]):
        trace = atlas.recorded_unit(key(MISSING), trial=trial).trace
        values = brain.values[trial, :, MISSING]
        assert trace.exact
        np.testing.assert_array_equal(np.array(trace.low, dtype=float), values)
        assert trace.low == trace.high
    with pytest.raises(NotFound, match="trials"):
        atlas.recorded_unit(key(TUNED), trial=1)


def test_a_long_trace_keeps_the_ends_of_every_bin(tmp_path):
    values = np.random.default_rng(1).standard_normal((1, 5000, 2))
    values[0, 1234, 1] = 40.0
    pc.atlas.bake_recording(NeuralRecording(values, name="long"), tmp_path / "long.atlas")
    did = pc.atlas.open(tmp_path / "long.atlas").recorded_unit(key(1))
    starts = np.arange(400) * 5000 // 400
    pieces = np.split(values[0, :, 1], starts[1:])
    np.testing.assert_allclose(did.trace.low, [piece.min() for piece in pieces], rtol=1e-3)
    np.testing.assert_allclose(did.trace.high, [piece.max() for piece in pieces], rtol=1e-3)
    assert (did.trace.exact, max(did.trace.high), did.peak) == (False, 40.0, [0, 1234])
    assert (did.courses, did.tuning, did.raster, did.rate) == ([], [], None, None)


def test_units_without_values_or_of_one_value_say_so(atlas):
    empty, constant = atlas.unit(key(EMPTY)), atlas.unit(key(CONSTANT))
    assert empty.line.text == "every sample is missing"
    assert empty.statistics.mean is None
    assert empty.histogram is None
    assert constant.line.text == "constant at 3 counts"
    for unit in (EMPTY, CONSTANT):
        did = atlas.recorded_unit(key(unit))
        assert (did.constant, did.near, did.chance) == (True, [], None)
    assert atlas.recorded_unit(key(EMPTY)).peak is None
    page = atlas.page().recording
    assert (page.constant, page.missing) == (2, N_TRIALS * (N_SAMPLES + N_SAMPLES // 3))


def test_the_map_holds_places_and_the_row_of_correlations(atlas, brain):
    found = atlas.tissue(key(TUNED))
    assert (found.units, found.axes, found.own) == (list(range(N_UNITS)), ["x", "y"], [10.0, 30.0])
    assert found.x == brain.unit_labels["x"].tolist()
    known = [one for one in found.units if np.isfinite(brain.correlation()[TUNED, one])]
    assert [found.r[one] for one in known] == pytest.approx(brain.correlation()[TUNED, known], abs=2e-3)
    assert [one for one in found.units if found.r[one] is None] == [CONSTANT, EMPTY]
    assert [(one.name, one.n, one.mapped) for one in found.groups] == [("pair", 2, [1, 3]), ("rest", 2, [0, 2])]
    assert atlas.tissue().r == []
    assert atlas.recorded_unit(key(2)).labels["depth"] == "2"


def test_the_same_recording_gives_the_same_atlas_and_another_does_not(atlas, brain, folder, tmp_path):
    once = atlas.reading.head["base"]
    assert pc.atlas.bake_recording(brain, tmp_path / "again.atlas") == once
    assert pc.atlas.bake_recording(brain, tmp_path / "other.atlas", seed=1) != once
    assert pc.atlas.bake_recording(brain, folder, resume=True) == once
    with pytest.raises(PatchclampError, match="another --out"):
        pc.atlas.bake_recording(brain, folder)
    with pytest.raises(PatchclampError, match="recording of this atlas"):
        pc.atlas.bake_recording(brain.trials(range(30)), folder, resume=True)


def test_a_bake_that_was_broken_off_leaves_nothing_and_begins_anew(brain, atlas, tmp_path):
    class Killed(Exception):
        pass

    def stop(done, total):
        assert done <= total == 99 + N_UNITS
        if done > 101:
            raise Killed

    out = tmp_path / "x.atlas"
    with pytest.raises(Killed):
        pc.atlas.bake_recording(brain, out, progress=stop)
    assert not out.exists()
    assert pc.atlas.bake_recording(brain, out, resume=True) == atlas.reading.head["base"]
    assert [one.name for one in tmp_path.iterdir()] == ["x.atlas"]


def test_every_page_answers_small_and_hostile_names_are_data(folder):
    client = TestClient(guard_atlas(folder), base_url="http://127.0.0.1")
    for unit in range(N_UNITS):
        for end in ("", "/recorded"):
            answer = client.get(f"/api/units/{key(unit)}{end}")
            assert answer.status_code == 200
            assert len(answer.content) < 20_000
            json.loads(answer.text, parse_constant=pytest.fail)
    assert client.get(f"/api/units/{key(0)}").json()["name"] == HOSTILE
    for path in ("atlas", "units", "units?q=cell&sort=relevance", "runs", "graphs", "tissue", "notes"):
        assert client.get(f"/api/{path}").status_code == 200, path
    assert client.get("/api/lab").json()["shows"] == "recording"
    for path in ("tissue?unit=nothing", f"units/{key(99)}/recorded", f"units/{key(1)}/recorded?trial=1", "pictures"):
        answer = client.get(f"/api/{path}")
        assert answer.status_code == 404
        assert set(answer.json()["error"]) == {"expected", "got", "remedy"}


def test_it_cannot_be_clamped_nor_written_as_text(folder, tmp_path):
    with pytest.raises(CannotIntervene, match="cannot be clamped"):
        guard_atlas(folder, model="organism:cat")
    for format in ("html", "neuronpedia"):
        with pytest.raises(PatchclampError, match="recorded brain"):
            pc.atlas.export_atlas(folder, tmp_path / "out", format=format, unit=key(0) if format == "html" else None)
    assert list(tmp_path.iterdir()) == []


def test_tables_hold_what_the_pages_show(folder, atlas, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow, which writes Parquet")
    pc.atlas.export_atlas(folder, tmp_path / "tables", format="parquet")
    read = {name: parquet.read_table(tmp_path / "tables" / f"{name}.parquet").to_pylist() for name in ("units", "near")}
    did = atlas.recorded_unit(key(TUNED))
    assert [row["name"] for row in read["units"]] == [HOSTILE, *(f"cell {unit}" for unit in range(1, N_UNITS))]
    own = [row for row in read["near"] if row["key"] == did.key]
    assert [(row["other"], row["r"]) for row in own] == [(one.key, one.r) for one in did.near]
    assert read["units"][EMPTY]["mean"] is None


def test_an_atlas_of_a_model_has_no_recorded_units(cat, tmp_path):
    text = tmp_path / "cat.txt"
    text.write_text("the old cat sat on the mat. " * 8)
    pc.atlas.bake_atlas(cat, text, tmp_path / "cat.atlas", sites="blocks.0.mlp.act")
    found = pc.atlas.open(tmp_path / "cat.atlas")
    assert found.page().recording is None
    for ask in (found.tissue, lambda: found.recorded_unit("blocks.0.mlp.act/neurons/7")):
        with pytest.raises(NotFound, match="recorded"):
            ask()


@pytest.mark.parametrize("variant", ["", "drift"])
def test_channels_that_tell_a_class_are_found_and_mute_and_drifting_ones_are_not(variant, tmp_path):
    """The planted population: a block design, in which drift looks like a class where neighbouring trials are apart."""
    planted = make(n_blocks=8, strength=5.0, variant=variant)
    x = planted.recording["channels"]
    label = np.array([case.label for case in planted.labels.cases])
    brain = NeuralRecording(x[:, None, :], name="classes", trial_labels={"class": label})
    pc.atlas.bake_recording(brain, tmp_path / "classes.atlas")
    atlas = pc.atlas.open(tmp_path / "classes.atlas")
    assert [one.over for one in atlas.recorded_unit(key(0)).tuning] == ["runs of trials"]
    pages = [atlas.unit(key(unit)) for unit in range(brain.n_units)]
    told = np.array([bool(one.concepts) and not one.line.weak for one in pages])
    kinds = np.array(planted.kinds)
    assert told[kinds != "reader"].mean() < 0.1
    # Where the best class is 1.5 deviations above the next, its AUROC is at least Φ(1.06) = .86.
    second, first = np.sort(planted.means, axis=0)[-2:]
    able = first - second > 1.5
    assert able.sum() == (0 if variant else 3)
    assert told[able].all()


@pytest.mark.parametrize("n", [3, 12, 40])
def test_means_of_columns_have_the_intervals_of_one_sample(n):
    x = np.random.default_rng(n).standard_normal((n, 3))
    mean, low, high = ratio_intervals(x, np.ones_like(x), seed=2)
    for column in range(3):
        interval = mean_interval(x[:, column], n_resamples=1000, seed=2)
        assert (mean[column], low[column], high[column]) == pytest.approx(
            (x[:, column].mean(), interval.low, interval.high)
        )


def test_one_block_alone_has_no_interval():
    mean, low, high = ratio_intervals(np.array([[2.0, 0.0], [0.0, 0.0]]), np.array([[2.0, 0.0], [0.0, 0.0]]))
    assert mean[0] == 1.0
    assert np.isnan([mean[1], low[0], high[0], low[1]]).all()


def test_labels_of_few_values_are_conditions_and_of_many_are_cut():
    assert find_conditions("all", np.zeros(5)) is None
    assert find_conditions("none", np.full(5, np.nan)) is None
    words = find_conditions("word", np.array(["b", "a", "b"]))
    assert (words.names, words.which.tolist()) == (("a", "b"), [1, 0, 1])
    few = find_conditions("state", np.array([2.0, 7.0, np.nan, 2.0]))
    assert (few.names, few.which.tolist()) == (("2", "7"), [0, 1, -1, 0])
    many = find_conditions("x", np.r_[np.arange(100.0), np.nan])
    assert len(many.names) == 8
    assert (many.which[0], many.which[99], many.which[100]) == (0, 7, -1)


def test_a_recording_of_fish_opens_with_the_numbers_of_its_arrays(shared, tmp_path):
    file = shared / "data" / "recordings" / "zebrafish" / "zf_20151104-f1_activity_matrix.csv"
    if not file.is_file():
        pytest.skip("needs ../shared/data/recordings, which is not part of the repository")
    brain = pc.load_recording(file)
    pc.atlas.bake_recording(brain, tmp_path / "fish.atlas")
    atlas = pc.atlas.open(tmp_path / "fish.atlas")
    page, r = atlas.page(), brain.correlation()
    assert (page.n_units, page.recording.n_groups, page.recording.axes) == (114, 5, ["x", "y"])
    assert page.recording.mean_r_within == pytest.approx(0.327, abs=5e-4)
    assert page.recording.mean_r == pytest.approx(0.091, abs=5e-4)
    assert page.bytes < 3e6
    for unit in (0, 3, 109):
        did, values = atlas.recorded_unit(key(unit)), brain.values[0, :, unit]
        assert atlas.unit(key(unit)).statistics.mean == pytest.approx(values.mean(), rel=1e-5)
        pieces = np.split(values, (np.arange(1, 400) * len(values)) // 400)
        np.testing.assert_allclose(did.trace.high, [piece.max() for piece in pieces], rtol=1e-3, atol=1e-6)
        others = np.delete(np.arange(114), unit)
        assert did.near[0].r == pytest.approx(r[unit, others[np.abs(r[unit, others]).argmax()]], rel=1e-3)
        own = [set(members) - {unit} for members in brain.groups.values() if unit in members]
        if own:
            assert did.within == pytest.approx(r[unit, sorted(set.union(*own))].mean(), rel=1e-3)
        tissue = atlas.tissue(key(unit))
        assert tissue.own == pytest.approx([brain.unit_labels[axis][unit] for axis in "xy"])
        assert tissue.r[unit] == 1.0
    # Assemblies go together beyond what a unit's own slowness gives; the rest does not as much.
    dids = [atlas.recorded_unit(key(unit)) for unit in range(114)]
    beyond = [one.within > one.within_high for one in dids if one.within is not None]
    assert np.mean(beyond) > 0.8
    assert np.mean([one.within - one.outside for one in dids if one.within is not None]) > 0.2
