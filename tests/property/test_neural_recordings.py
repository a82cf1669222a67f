"""Laws of recordings: cuts make up the whole, units of measure and values survive every way round."""

import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import patchclamp as pc

numbers = st.floats(-1e17, 1e17) | st.just(float("nan"))


# Type checks draw random numbers, which a strategy may not: the recording is made in the test.
@st.composite
def parts_of_brains(draw):
    trials, samples, units = draw(st.integers(1, 3)), draw(st.integers(1, 30)), draw(st.integers(1, 3))
    cells = draw(st.lists(numbers, min_size=trials * samples * units, max_size=trials * samples * units))
    values = np.array(cells).reshape(trials, samples, units)
    rate = draw(st.floats(1e-3, 1e5))
    labels = {"sample": np.arange(float(trials * samples)).reshape(trials, samples)}
    start = draw(st.floats(-1e3, 1e3))
    measure = draw(st.sampled_from(["ΔF/F", "counts", "µV", "a.u."]))
    return {"values": values, "rate": rate, "start": start, "measure": measure, "time_labels": labels}


@given(parts_of_brains(), st.lists(st.floats(-0.1, 1.1), max_size=4))
def test_cuts_in_time_make_up_the_whole(parts, places):
    brain = pc.NeuralRecording(**parts)
    ends = [brain.start + share * brain.duration for share in sorted(places) if 0 < share < 1]
    # Half a sample outside either end nothing is lost to rounding.
    ends = [brain.start - 0.5 / brain.rate, *ends, brain.start + brain.duration + 0.5 / brain.rate]
    cuts = []
    for a, b in pairwise(ends):
        try:
            cuts.append(brain.between(a, b))
        except pc.PatchclampError:
            assert not ((brain.times > a + 1e-5 / brain.rate) & (brain.times < b - 1e-5 / brain.rate)).any()
    assert np.array_equal(np.concatenate([p.values for p in cuts], axis=1), brain.values, equal_nan=True)
    assert np.allclose(np.concatenate([p.times for p in cuts]), brain.times)
    joined = np.concatenate([p.time_labels["sample"] for p in cuts], axis=1)
    assert np.array_equal(joined, brain.time_labels["sample"])
    assert {(p.measure, p.rate) for p in cuts} == {(brain.measure, brain.rate)}


@given(parts_of_brains(), st.data())
def test_a_run_keeps_measure_values_and_numbers_of_samples(parts, data):
    brain = pc.NeuralRecording(**parts)
    chosen = data.draw(st.lists(st.integers(0, brain.n_trials - 1), min_size=1, max_size=4))
    recording = brain.run(chosen).recording
    assert recording.measure == brain.measure
    for place, trial in enumerate(chosen):
        assert np.array_equal(recording.of("recording", place), brain.values[trial], equal_nan=True)
        last = recording.stimuli[place].ids[-1]
        assert brain.when(int(last)) == (trial, pytest.approx(float(brain.times[-1])))
    assert np.array_equal(brain.trials(chosen).values, brain.values[chosen], equal_nan=True)


@given(parts_of_brains())
def test_a_csv_gives_back_what_was_written(parts):
    brain = pc.NeuralRecording(**parts)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "one.csv"
        rows = [",".join("" if x != x else repr(float(x)) for x in row) for row in brain.values[0]]
        header = ",".join(f"unit{u}" for u in range(brain.n_units))
        # A line without any sample cannot be told from a blank one.
        kept = [i for i, row in enumerate(rows) if row.strip(",")]
        if not kept:
            return
        file.write_text("\n".join([header, *(rows[i] for i in kept)]) + "\n")
        back = pc.load_recording(file, rate=brain.rate, measure=brain.measure)
    assert np.array_equal(back.values[0], brain.values[0, kept], equal_nan=True)
    assert (back.rate, back.measure, back.n_units) == (brain.rate, brain.measure, brain.n_units)


@given(parts_of_brains())
def test_correlation_is_symmetric_bounded_and_blind_to_scale_and_shift(parts):
    brain = pc.NeuralRecording(**parts)
    r = brain.correlation()
    known = ~np.isnan(r)
    assert np.array_equal(known, known.T)
    assert np.array_equal(r[known], r.T[known])
    assert (np.abs(r[known]) <= 1).all()
    tame = np.where(np.isnan(brain.values), np.nan, np.sin(brain.values))
    one = pc.NeuralRecording(tame).correlation()
    other = pc.NeuralRecording(tame * 3.0 + 5.0).correlation()
    both = ~np.isnan(one) & ~np.isnan(other)
    assert np.allclose(one[both], other[both], atol=1e-5)
