"""Recordings that others published: each loads in one call, and its assemblies are where they were said to be."""

import pytest

import patchclamp as pc


@pytest.fixture(scope="module")
def recordings(shared):
    folder = shared / "data" / "recordings"
    if not folder.is_dir():
        pytest.skip("needs ../shared/data/recordings, which is not part of the repository")
    return folder


# 0.375 stands as 0.38 where the data are described; it is 0.3749, so two decimals of the figure itself say 0.37.
@pytest.mark.parametrize(
    ("name", "shape", "assemblies", "within", "overall"),
    [
        ("zf_20151104-f1", (1, 4245, 114), 5, 0.327, 0.091),
        ("zf_20170215-f3", (1, 5660, 75), 4, 0.375, 0.207),
    ],
)
def test_cells_of_an_assembly_go_together(recordings, name, shape, assemblies, within, overall):
    brain = pc.load_recording(recordings / "zebrafish" / f"{name}_activity_matrix.csv")
    assert brain.values.shape == shape
    assert (brain.name, brain.rate, brain.measure) == (name, None, "a.u.")
    assert (len(brain.groups), list(brain.unit_labels)) == (assemblies, ["x", "y"])
    assert brain.mean_correlation(brain.groups) == pytest.approx(within, abs=5e-4)
    assert brain.mean_correlation() == pytest.approx(overall, abs=5e-4)
    # Members counted one place further, as if the file counted from 0, are not together.
    wrong = {g: [m + 1 for m in members if m + 1 < brain.n_units] for g, members in brain.groups.items()}
    assert brain.mean_correlation(wrong) < within - 0.05


@pytest.mark.parametrize(
    ("file", "asked", "shape", "rate", "measure", "labels"),
    [
        ("03_EEG-1.mat", {}, (1, 2000, 1), 1000, "a.u.", []),
        ("EEG-1.mat", {"axes": "trial,time"}, (10, 1000, 1), 1000, "a.u.", []),
        ("EEG-3.mat", {}, (1, 1000, 1), 500, "a.u.", []),
        ("ECoG-1.mat", {}, (100, 500, 2), 500, "a.u.", []),
        ("LFP-1.mat", {}, (1, 100_000, 1), 1000, "a.u.", []),
        ("spikes-1.mat", {}, (1, 177_761, 1), 1000, "counts", ["X"]),
        ("spikes-2.mat", {}, (1, 177_761, 1), 1000, "counts", ["X"]),
        ("spikes-3.mat", {"bin": 0.001, "duration": 30.0}, (1, 30_000, 1), 1000, "counts", []),
        ("10_spikes-1.mat", {"axes": "trial,time", "rate": 1000.0}, (50, 2000, 1), 1000, "counts", ["direction"]),
        ("08_spikes-1.mat", {"variable": "SpikesLow", "bin": 0.001}, (1, 29_992, 1), 1000, "counts", []),
        (
            "spikes-LFP-1.mat",
            {"variable": "n", "axes": "trial,time", "labels": ["y"]},
            (100, 1000, 1),
            1000,
            "counts",
            ["y"],
        ),
    ],
)
def test_case_studies_load_in_one_call(recordings, file, asked, shape, rate, measure, labels):
    brain = pc.load_recording(recordings / "case-studies" / file, **asked)
    assert brain.values.shape == shape
    assert brain.rate == pytest.approx(rate)
    assert brain.measure == measure
    assert [*brain.trial_labels, *brain.time_labels] == labels


def test_no_spike_is_lost_on_the_clock_of_the_animal(recordings):
    brain = pc.load_recording(recordings / "case-studies" / "spikes-1.mat")
    assert int(brain.values.sum()) == 220
    where = brain.time_labels["X"][brain.values[..., 0] > 0]
    # The cell of this teaching recording fires in one place on a track of 100 cm.
    assert where.std() < 15 < brain.time_labels["X"].std()


def test_eye_state_is_a_label_over_time(recordings):
    brain = pc.load_recording(recordings / "eeg-eye-state" / "eeg-eye-state.csv", duration=117.0)
    assert brain.values.shape == (1, 14_980, 14)
    assert (brain.names[0], brain.duration) == ("AF3", pytest.approx(117))
    assert brain.rate == pytest.approx(128.03, abs=0.01)
    assert set(brain.time_labels["class"].ravel()) == {0.0, 1.0}
