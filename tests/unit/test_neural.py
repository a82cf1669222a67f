"""A recorded brain: what files say is found, what they leave open is asked for, and nothing can be changed."""

import re
import warnings

import numpy as np
import pytest

import patchclamp as pc
from oracles.stats import pearson as slow_pearson
from patchclamp.core.errors import CannotIntervene, Damaged, PatchclampError
from patchclamp.core.subject import Subject
from patchclamp.subjects import neural_files
from patchclamp.subjects.neural_layout import count_events
from patchclamp.subjects.readers import csv_table


@pytest.fixture
def brain():
    values = np.random.default_rng(0).normal(size=(3, 20, 4))
    return pc.NeuralRecording(
        values, name="Demo Brain", rate=10.0, start=-1.0, measure="µV", groups={"pair": (0, 2)},
        unit_labels={"x": np.arange(4.0)}, trial_labels={"side": np.array([0, 1, 0])},
        time_labels={"speed": np.arange(60.0).reshape(3, 20)},
    )  # fmt: skip


@pytest.fixture
def mat(tmp_path):
    from scipy.io import savemat

    def write(**variables):
        savemat(tmp_path / "found.mat", variables)
        return tmp_path / "found.mat"

    return write


def test_it_is_a_subject_with_the_units_of_measure_it_was_given(brain):
    assert isinstance(brain, Subject)
    run = brain.run([2, 0])
    assert run.recording.measure == "µV"
    assert run.recording.provenance["rate"] == 10.0
    assert np.array_equal(run.recording.of("recording", 0), brain.values[2])
    assert run.recording.at(brain.key(3), stimulus=1).tolist() == brain.values[0, :, 3].tolist()
    assert str(brain.key(3)) == "demo-brain/recording/neurons/3"
    assert pc.UnitKey.parse(str(brain.key("3"))) == brain.key(3)
    assert [(s.path, s.width, s.writable) for s in brain.sites()] == [("recording", 4, False)]


def test_a_brain_cannot_be_changed_and_says_what_can_be_done(brain):
    can = brain.capabilities
    assert not can.intervene
    assert not can.differentiate
    assert {"intervene", "differentiate"} <= dict(can.missing).keys()
    change = pc.change("set", "recording", 0, value=1.0)
    asks = (
        lambda: brain.run(interventions=[change]),
        lambda: brain.intervene([change]),
        lambda: brain.differentiate(None, None, "recording"),
    )
    for ask in asks:
        with pytest.raises(CannotIntervene, match="recorded brain") as caught:
            ask()
        assert all(word in caught.value.remedy for word in ("run", "survey", "correlation"))


def test_cuts_carry_their_labels_and_times(brain):
    cut = brain.between(-0.5, 0.25).trials([2, 1])
    assert cut.values.shape == (2, 8, 4)
    assert np.allclose(cut.times, np.arange(-0.5, 0.3, 0.1))
    assert cut.time_labels["speed"][0].tolist() == list(range(45, 53))
    assert cut.trial_labels["side"].tolist() == [0, 1]
    assert (cut.measure, cut.rate, cut.groups) == ("µV", 10.0, {"pair": (0, 2)})
    trial, seconds = brain.when(45)
    assert (trial, round(seconds, 9)) == (2, -0.5)


def test_the_hash_is_that_of_the_content(brain):
    same = pc.NeuralRecording(**{**vars_of(brain), "values": brain.values.copy()})
    assert same.hash == brain.hash
    for change in ({"measure": "mV"}, {"rate": 11.0}, {"values": brain.values + 1}, {"unit_labels": {}}):
        assert pc.NeuralRecording(**{**vars_of(brain), **change}).hash != brain.hash


def vars_of(brain):
    return {name: getattr(brain, name) for name in brain.__dataclass_fields__}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"values": np.zeros((3, 20, 0))}, "at least one"),
        ({"values": np.full((3, 20, 4), 1e200)}, "1e18"),
        ({"values": np.full((3, 20, 4), np.inf)}, "1e18"),
        ({"rate": 0.0}, "rate above 0"),
        ({"rate": float("nan")}, "rate above 0"),
        ({"groups": {"late": (4,)}}, "counted from 0"),
        ({"unit_labels": {"x": np.zeros(3)}}, "one entry per unit"),
        ({"names": ("a", "b")}, "2 names for 4 units"),
    ],
)
def test_what_makes_no_recording_is_refused(brain, change, told):
    with pytest.raises(PatchclampError, match=re.escape(told)):
        pc.NeuralRecording(**{**vars_of(brain), **change})


@pytest.mark.parametrize(
    "ask",
    [
        lambda b: b.between(3.0, 4.0), lambda b: b.between(0.5, 0.1), lambda b: b.trials(3), lambda b: b.trials([]),
        lambda b: b.key(4), lambda b: b.key("E9"), lambda b: b.run(-1), lambda b: b.run(record="blocks.*"),
        lambda b: pc.NeuralRecording(b.values).duration, lambda b: pc.NeuralRecording(b.values).between(0.0, 1.0),
    ],
)  # fmt: skip
def test_what_is_not_there_is_told(brain, ask):
    with pytest.raises(PatchclampError):
        ask(brain)


def test_correlation_matches_the_oracle_pair_by_pair_and_over_what_both_have():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2, 50, 5)) + 4e3 + 3 * rng.normal(size=(2, 50, 1))
    x[0, :7, 1] = np.nan
    x[1, 40:, 2] = np.nan
    x[..., 3] = 7.0
    brain = pc.NeuralRecording(x)
    flat, found = x.reshape(-1, 5), brain.correlation()
    for i in range(5):
        for j in range(5):
            both = ~np.isnan(flat[:, i]) & ~np.isnan(flat[:, j])
            if 3 in (i, j):
                assert np.isnan(found[i, j])
            else:
                assert found[i, j] == pytest.approx(slow_pearson(flat[both, i], flat[both, j]), abs=1e-10)
    assert brain.constant == [3]
    assert brain.missing == {1: 7, 2: 10}
    expected = np.mean([found[0, 1], (found[0, 2] + found[0, 4] + found[2, 4]) / 3])
    assert brain.mean_correlation({"a": (0, 1, 3), "b": (0, 2, 4), "alone": (1,)}) == pytest.approx(expected)


def test_events_are_counted_where_they_fall():
    times = np.array([0.236, 3.902, 3.9021, 170.062])
    counts = count_events(times, bin=0.001, start=0.001, n_bins=177_761)
    assert counts.sum() == 4
    assert counts[[235, 3901, 170_061]].tolist() == [1, 2, 1]
    with pytest.raises(PatchclampError, match="outside"):
        count_events(times, bin=0.001, n_bins=1000)
    with pytest.raises(PatchclampError, match="wider than 0"):
        count_events(times, bin=0.0, n_bins=1000)


def test_a_matlab_file_that_leaves_nothing_open_needs_no_arguments(mat):
    t = np.arange(1, 31) / 100
    e = np.random.default_rng(0).normal(size=(2, 6, 30))
    brain = pc.load_recording(mat(t=t, E1=e[0], E2=e[1], side=np.arange(6) % 2))
    assert np.array_equal(brain.values, e.transpose(1, 2, 0))
    assert (brain.names, brain.start, brain.measure) == (("E1", "E2"), 0.01, "a.u.")
    assert brain.rate == pytest.approx(100)
    assert brain.trial_labels["side"].tolist() == [0, 1, 0, 1, 0, 1]
    spikes = np.array([0.05, 0.06, 0.06000001, 0.29])
    brain = pc.load_recording(mat(t=t, X=np.arange(30.0), spiketimes=spikes))
    assert brain.measure == "counts"
    assert np.flatnonzero(brain.values).tolist() == [4, 5, 28]
    assert brain.values.max() == 2
    assert brain.time_labels["X"].shape == (1, 30)


def test_what_a_file_leaves_open_is_asked_for_by_name(mat):
    y = np.random.default_rng(0).normal(size=(6, 30))
    cases = [
        ({"y": y}, {}, ("y 6 × 30", "axes=")),
        ({"t": np.arange(30) / 10, "y": y}, {}, ("axes=trial,time",)),
        ({"y": y, "z": y[:, ::-1].astype(np.float32)}, {}, ("y 6 × 30", "z 6 × 30", "variable=")),
        ({"spikes": np.array([0.1, 0.5, 2.0])}, {}, ("bin=",)),
        ({"y": y, "name": "words"}, {"variable": "nothing"}, ("nothing", "name (text")),
        ({"y": y}, {"axes": "unit,position"}, ("unit,position",)),
        ({"t": np.array([0.0, 1.0, 5.0]), "y": np.zeros(3)}, {}, ("steps",)),
        ({"t": np.arange(30) / 10, "y": y}, {"axes": "trial,time", "rate": 20.0}, ("20 Hz",)),
        ({"t": np.arange(30) / 10, "y": y}, {"axes": "time,trial"}, ("30 times",)),
        ({"name": "words"}, {}, ("no variable",)),
    ]
    for variables, asked, told in cases:
        with pytest.raises(PatchclampError) as caught:
            pc.load_recording(mat(**variables), **asked)
        assert all(word in str(caught.value) for word in told), caught.value


def test_whole_ticks_are_not_taken_for_seconds(mat):
    train = (np.random.default_rng(0).random((5, 20)) < 0.3).astype(np.uint8)
    file = mat(t=np.arange(-10, 10, dtype=np.int16), train=train, direction=np.arange(5))
    unknown = pc.load_recording(file, axes="trial,time")
    assert unknown.rate is None
    brain = pc.load_recording(file, axes="trial,time", rate=1000.0)
    assert (brain.rate, brain.start, brain.measure, brain.values.shape) == (1000.0, -0.01, "counts", (5, 20, 1))


def test_cell_arrays_of_event_times_are_read_as_units_or_trials(mat):
    cells = np.empty(3, dtype=object)
    cells[:] = [np.array([0.1, 0.2]), np.array([0.05]), np.array([0.31, 0.32, 0.39])]
    file = mat(spikes=cells)
    with pytest.raises(PatchclampError, match="units or trials"):
        pc.load_recording(file, bin=0.1)
    as_units = pc.load_recording(file, bin=0.1, axes="unit,time")
    assert as_units.values[0].T.tolist() == [[0, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 3]]
    as_trials = pc.load_recording(file, bin=0.1, axes="trial,time", duration=0.5)
    assert as_trials.values.shape == (3, 5, 1)
    with pytest.raises(PatchclampError, match="at most"):
        pc.load_recording(file, bin=1e-12, axes="unit,time")


def test_matlab_7_3_reads_as_version_5_does(tmp_path):
    h5py = pytest.importorskip("h5py", reason="needs h5py, of the extra brains")
    y = np.random.default_rng(0).normal(size=(4, 25))
    with h5py.File(tmp_path / "new.mat", "w", userblock_size=512) as file:
        file["t"], file["y"] = (np.arange(25) / 50)[:, None], y.T  # as MATLAB lays them down
    brain = pc.load_recording(tmp_path / "new.mat", axes="trial,time")
    assert np.array_equal(brain.values[..., 0], y)
    assert brain.rate == pytest.approx(50)
    whole = (tmp_path / "new.mat").read_bytes()
    (tmp_path / "cut.mat").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Damaged, match=r"cut\.mat"):
        pc.load_recording(tmp_path / "cut.mat")


def test_objects_in_numpy_files_are_refused_not_loaded(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object))
    with pytest.raises(Damaged, match="pickled"):
        pc.load_recording(tmp_path / "a.npy")
    x = np.arange(12.0).reshape(6, 2)
    np.savez(tmp_path / "b.npz", t=np.arange(6) / 2, x=x)
    brain = pc.load_recording(tmp_path / "b.npz", axes="time,unit", measure="ΔF/F")
    assert np.array_equal(brain.values[0], x)
    assert (brain.rate, brain.measure) == (2.0, "ΔF/F")


@pytest.mark.parametrize(
    ("asked", "got", "remedy"),
    [
        ({"labels": ["none"]}, "has no variable none", "Give one of its own variables."),
        ({"variable": "x", "labels": ["x"], "axes": "trial,time,unit"}, "x cannot be", "Give other labels=."),
        ({}, "which axis is time", "--axes trial,time,unit"),
    ],
)
def test_what_a_file_leaves_open_is_asked_for_in_words_that_can_be_typed(tmp_path, asked, got, remedy):
    np.savez(tmp_path / "a.npz", x=np.zeros((3, 6, 2)))
    with pytest.raises(PatchclampError) as refused:
        pc.load_recording(tmp_path / "a.npz", **asked)
    assert got in refused.value.got
    assert remedy in refused.value.remedy


def test_coordinates_and_assemblies_beside_a_matrix_are_its_labels(tmp_path):
    def write(assemblies):
        (tmp_path / "f_activity_matrix.csv").write_text("1,2,3,4\n5,6,7,9\n2,2,2,nan\n")
        (tmp_path / "f_cell_coordinates.csv").write_text("1.5,2\n3,4\n5,6\n")
        (tmp_path / "f_assembly_assignments.csv").write_text(assemblies)
        return tmp_path / "f_activity_matrix.csv"

    brain = pc.load_recording(write("1, 2\n3\n"))
    assert (brain.name, brain.values.shape, brain.rate) == ("f", (1, 4, 3), None)
    assert brain.groups == {"assembly 1": (0, 1), "assembly 2": (2,)}
    assert brain.unit_labels["y"].tolist() == [2, 4, 6]
    assert (brain.missing, brain.constant) == ({2: 1}, [2])
    for wrong in ("0, 1\n", "1, 4\n", "1.5\n", "1, nan\n"):
        with pytest.raises(PatchclampError, match="counted from"):
            pc.load_recording(write(wrong))


@pytest.mark.parametrize("broken", [lambda data: data[: len(data) // 2], lambda _: b"some words\n" * 30])
def test_a_broken_matlab_file_is_told_as_such(mat, broken):
    file = mat(y=np.random.default_rng(0).normal(size=(50, 50)))
    file.write_bytes(broken(file.read_bytes()))
    with pytest.raises(Damaged, match=r"found\.mat"):
        pc.load_recording(file)


def test_nwb_written_by_pynwb_comes_back_with_unit_rate_and_spikes(tmp_path):
    pytest.importorskip("pynwb", reason="needs pynwb, of the extra brains")
    from datetime import UTC, datetime

    x = np.random.default_rng(0).integers(-100, 100, size=(40, 3)).astype(np.int16)
    with warnings.catch_warnings():
        # hdmf and pynwb warn of coming changes of their own and of what they use; a reader can do nothing about it.
        warnings.simplefilter("ignore")
        import pynwb

        nwb = pynwb.NWBFile("a test", "one", datetime(2024, 1, 1, tzinfo=UTC))
        series = pynwb.TimeSeries("lfp", x, "volts", conversion=1e-6, rate=200.0, starting_time=3.0)
        nwb.add_acquisition(series)
        nwb.add_unit(spike_times=[0.01, 0.05])
        nwb.add_unit(spike_times=[0.011, 0.012, 0.2])
        with pynwb.NWBHDF5IO(str(tmp_path / "a.nwb"), "w") as file:
            file.write(nwb)
        with pytest.raises(PatchclampError, match="units 2 lists of event times"):
            pc.load_recording(tmp_path / "a.nwb")
        lfp = pc.load_recording(tmp_path / "a.nwb", variable="lfp")
        spikes = pc.load_recording(tmp_path / "a.nwb", variable="units", bin=0.01)
    assert np.allclose(lfp.values[0], x * 1e-6, rtol=1e-12)
    assert (lfp.rate, lfp.start, lfp.measure) == (200.0, 3.0, "volts")
    assert (spikes.values.shape, spikes.measure) == ((1, 21, 2), "counts")
    assert spikes.values[0].sum(0).tolist() == [2, 3]
    assert spikes.values[0, 1].tolist() == [1, 2]


def test_a_package_that_is_missing_is_named(mat, monkeypatch):
    def absent(name):
        raise ImportError(name)

    file, load_recording = mat(y=np.zeros(3)), pc.load_recording  # found before importing is made to fail
    assert ".nwb" in neural_files.list_suffixes()  # readers are found, and theirs then not
    monkeypatch.setattr(neural_files.importlib, "import_module", absent)
    with pytest.raises(PatchclampError, match=r"patchclamp\[brains\]"):
        load_recording(file)
    nwb = file.with_suffix(".nwb")
    nwb.write_bytes(b"x")
    with pytest.raises(PatchclampError, match="pynwb"):
        load_recording(nwb)


def test_a_survey_says_what_numpy_says_and_names_the_moments(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 300, 3)).astype(np.float32)
    x[1, 250, 0] = 9.0
    x[0, 10, 1] = np.nan
    x[..., 2] = 4.0
    brain = pc.NeuralRecording(x, rate=50.0, start=1.0, measure="ΔF/F")
    survey = pc.survey(brain, out=tmp_path / "s", window=64)
    found = survey.statistics("recording")
    flat = x.reshape(-1, 3).astype(np.float64)
    assert found["mean"][[0, 2]] == pytest.approx(flat.mean(0)[[0, 2]], abs=1e-6)
    assert found["variance"][[0, 2]] == pytest.approx(flat.var(0)[[0, 2]], abs=1e-6)
    assert np.isnan(found["mean"][1])
    assert found["maximum"][1] == np.nanmax(x[..., 1])
    assert found["active"][0] == pytest.approx((flat[:, 0] > 0).mean())
    # All 600 samples are in the sample of at most 1,000.
    assert found["quantiles"][0, 4] == pytest.approx(np.median(flat[:, 0]), abs=1e-6)
    best = survey.exemplars("recording", 0, kinds=["top"])[0]
    assert (best.value, brain.when(best.ids[best.position])) == (9.0, (1, 1.0 + 250 / 50))
    manifest = survey.bundle.manifest
    assert manifest["subject"]["measure"] == "ΔF/F"
    assert (manifest["plan"]["rate"], survey.n_tokens) == (50.0, 600)
    assert survey.bundle.entries[0]["nonfinite"] == {"recording/neurons/1": 1}
    again = pc.survey(brain, out=tmp_path / "s", window=64, resume=True)
    assert again.hash == survey.hash
    with pytest.raises(PatchclampError):
        pc.survey(brain, out=tmp_path / "s", window=64)


def test_text_and_csv_agree_on_what_a_number_is():
    assert np.isnan(csv_table.number("NaN", "here"))
    assert np.isnan(csv_table.number("", "here"))
    for cell in ("1e400", "inf", "word", "1,5"):
        with pytest.raises(PatchclampError, match="in here"):
            csv_table.number(cell, "here")
