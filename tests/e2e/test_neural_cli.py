"""Recorded brains on the command line: what is printed is what Python returns; bad files end in three lines."""

import os
import subprocess
import sys

import numpy as np
import pytest

import patchclamp as pc
from patchclamp.cli import main


@pytest.fixture
def cells(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 3))
    x[:, 2], x[137, 0] = 5.0, 8.5
    lines = [f"{i / 20},{a},{'' if i < 4 else b},{c},{i % 2}" for i, (a, b, c) in enumerate(x.tolist())]
    file = tmp_path / "cells.csv"
    file.write_text("\n".join(["t,left,right,dead,state", *lines]))
    return file


def test_info_tells_units_rate_measure_labels_and_flaws(say, cells):
    code, told, _ = say("info", cells, "--unit-of-measure", "ΔF/F")
    brain = pc.load_recording(cells, measure="ΔF/F")
    assert code == 0
    assert (told["units"], told["samples"], told["rate"], told["duration"]) == (3, 400, 20.0, 20.0)
    assert (told["measure"], told["names"], told["labels"]["time"]) == ("ΔF/F", ["left", "right", "dead"], ["state"])
    assert told["subject"] == {"slug": "cells", "hash": brain.hash}
    assert told["missing"] == {"cells/recording/neurons/1": 4}
    assert told["constant"] == ["cells/recording/neurons/2"]
    assert told["correlation"]["all"] == brain.mean_correlation()
    assert told["capabilities"]["intervene"] is False
    code, page, _ = say("info", cells, json_too=False)
    assert all(word in page for word in ("20 Hz", "20 s", "400 samples", "a.u.", "state per time", "right (4)", "dead"))


def test_survey_gives_the_same_numbers_in_every_form(say, cells, tmp_path):
    code, told, _ = say("survey", cells, "--out", tmp_path / "s", "--window", "50")
    assert code == 0
    left, right, dead = told["survey"]
    stored = pc.StoredSurvey(tmp_path / "s")
    assert left["mean"] == stored.statistics("recording")["mean"][0]
    assert left["top"][0] == {"value": 8.5, "trial": 0, "sample": 137, "time": 137 / 20}
    assert (right["missing"], right["mean"], dead["constant"], dead["sd"]) == (4, None, True, 0.0)
    code, page, _ = say("survey", cells, "--out", tmp_path / "again", json_too=False)
    assert code == 0
    assert all(word in page for word in ("left", "6.85", "4 missing", "constant"))
    code, facts, _ = say("info", tmp_path / "s")
    assert (code, facts["kind"], facts["whole"], facts["tokens"]) == (0, "survey", True, 400)
    assert "400 of 400 samples" in say("info", tmp_path / "s", json_too=False)[1]
    assert say("survey", cells, "--out", tmp_path / "s")[0] == 2


def test_every_option_reaches_the_loader(say, tmp_path):
    from scipy.io import savemat

    y = (np.random.default_rng(0).random((5, 60)) < 0.2).astype(np.uint8)
    savemat(tmp_path / "a.mat", {"y": y, "z": y * 0.5, "spikes": np.array([0.1, 0.25, 0.9])})
    asked = (
        "--variable",
        "y",
        "--axes",
        "trial,time",
        "--duration",
        "3",
        "--labels",
        "z",
        "--unit-of-measure",
        "spikes",
    )
    code, told, _ = say("info", tmp_path / "a.mat", *asked)
    assert code == 0
    assert (told["trials"], told["samples"], told["rate"], told["measure"]) == (5, 60, 20.0, "spikes")
    assert told["labels"]["time"] == ["z"]
    code, told, _ = say("info", tmp_path / "a.mat", "--variable", "spikes", "--bin", "0.1")
    assert (code, told["samples"], told["rate"]) == (0, 10, 10.0)
    code, told, _ = say("info", tmp_path / "a.mat", "--variable", "y", "--axes", "unit,time", "--rate", "10")
    assert (code, told["units"], told["duration"]) == (0, 5, 6.0)


BAD = {
    "ragged.csv": (b"a,b\n1,2\n3\n", (), "line 3"),
    "words.csv": (b"a,b\n1,2\n3,dog\n", (), "'dog' in words.csv line 3, column 2"),
    "huge.csv": (b"a,b\n1,2\n3,1e999\n", (), "1e999"),
    "wide.csv": (b"a,b\n1,2\n3,1e30\n", (), "1e18"),
    "empty.csv": (b"", (), "empty"),
    "header.csv": (b"a,b\n", (), "has none"),
    "bytes.csv": (bytes(range(128, 256)) * 4, (), "bytes.csv"),
    "open.csv": (b"1,2\n3,4\n", (), "no header"),
    "twice.csv": (b"a,a\n3,4\n", (), "a, a"),
    "clock.csv": (b"t,a\n0,1\n1,1\n5,2\n", (), "steps"),
    "rate.csv": (b"t,a\n0,1\n0.5,1\n1,2\n", ("--rate", "7"), "7 Hz"),
    "zero.csv": (b"a,b\n1,2\n", ("--rate", "0"), "0.0"),
    "nan.csv": (b"a,b\n1,2\n", ("--rate", "nan"), "nan"),
    "both.csv": (b"a,b\n1,2\n3,4\n", ("--rate", "9", "--duration", "10"), "9 Hz"),
    "column.csv": (b"a,b\n1,2\n", ("--variable", "c"), "c"),
    "text.mat": (b"only words here, no matrix\n" * 20, (), "text.mat"),
    "text.nwb": (b"only words here\n" * 20, (), "text.nwb"),
    "text.npz": (b"only words here\n" * 20, (), "text.npz"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_told_in_three_parts(say, tmp_path, name):
    data, words, told = BAD[name]
    (tmp_path / name).write_bytes(data)
    code, found, err = say("info", tmp_path / name, *words)
    assert code == 2
    assert told in found["error"]["got"] + found["error"]["expected"]
    assert "defect" not in found["error"]["remedy"]
    assert err == ""
    code, _, err = say("survey", tmp_path / name, "--out", tmp_path / "s", *words, json_too=False)
    assert code == 2
    told = err.removeprefix(f"loading {tmp_path / name} …\n").splitlines()
    assert [line.removeprefix("patchclamp:").split()[0] for line in told] == ["expected", "got", "to"]
    assert not (tmp_path / "s").exists()


def test_what_is_not_there_and_what_is_no_brain_are_told(say, tmp_path):
    code, found, _ = say("survey", tmp_path / "no.csv", "--out", tmp_path / "s")
    assert (code, "no file" in found["error"]["got"]) == (2, True)
    code, found, _ = say("survey", "organism:cat", "--out", tmp_path / "s")
    assert (code, "--inputs and --sites" in found["error"]["expected"]) == (2, True)


def test_columns_that_are_all_missing_are_named_not_averaged(say, tmp_path):
    (tmp_path / "gone.csv").write_text("a,b\n1,\n2,nan\n4,NA\n")
    code, told, _ = say("survey", tmp_path / "gone.csv", "--rate", "2", "--out", tmp_path / "s")
    assert code == 0
    assert told["missing"] == {"gone/recording/neurons/1": 3}
    assert told["survey"][1]["mean"] is None
    assert told["survey"][1]["top"] == []
    code, page, _ = say("survey", tmp_path / "gone.csv", "--out", tmp_path / "t", json_too=False)
    assert (code, "3 missing" in page) == (0, True)


def test_the_command_itself_reads_a_recording_and_refuses_a_broken_one(cells):
    run = [sys.executable, "-m", "patchclamp", "info"]
    done = subprocess.run([*run, str(cells)], capture_output=True, text=True, env={**os.environ, "LC_ALL": "C.UTF-8"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "recorded brain cells" in done.stdout
    cells.write_text("a,b\n1\n")
    done = subprocess.run([*run, str(cells)], capture_output=True, text=True)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 3


@pytest.mark.parametrize(
    "option", [("--rate", "-1"), ("--axes", "x"), ("--variable", ""), ("--labels", "a"), ("--unit-of-measure", "V")]
)
def test_options_of_a_recorded_brain_are_refused_for_what_is_none(option, tmp_path, capsys):
    (tmp_path / "text.txt").write_text("the old cat")
    survey = ["survey", "organism:cat", "--inputs", str(tmp_path / "text.txt"), "--sites", "x", "--out", "x"]
    for words in (["info", str(tmp_path)], survey):
        assert main([*words, *option]) == 2
        assert f"with {option[0]}" in capsys.readouterr().err


def test_bake_makes_an_atlas_of_a_recording_and_states_its_cost_first(say, cells, tmp_path):
    out = tmp_path / "cells.atlas"
    code, told, err = say("atlas", "bake", cells, "--unit-of-measure", "mV", "--out", out)
    assert code == 0
    assert "3 units over 400 samples: correlations under 99 circular shifts" in err
    assert (told["modality"], told["n_units"], told["recording"]["measure"]) == ("recording", 3, "mV")
    assert (told["recording"]["missing"], told["recording"]["constant"], told["recording"]["rate"]) == (4, 1, 20.0)
    page = pc.atlas.open(out).unit("recording/neurons/0")
    brain = pc.load_recording(cells)
    assert page.statistics.mean == pytest.approx(brain.values[0, :, 0].mean(), rel=1e-5)
    assert page.name == "left"
    code, shown, _ = say("atlas", "info", out, json_too=False)
    assert (code, "state per time" in shown, "cannot be clamped" in shown) == (0, True, True)


@pytest.mark.parametrize(
    ("words", "got"),
    [
        (("--inputs", "text.txt"), "--inputs"),
        (("--sites", "blocks.*"), "--sites"),
        (("--no-bos",), "--no-bos"),
        (("--chat",), "--chat"),
        (("--axes", "time"), "2"),
    ],
)
def test_bake_refuses_options_of_a_model_and_axes_that_do_not_fit(say, cells, tmp_path, monkeypatch, words, got):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("the old cat")
    np.save("table.npy", np.zeros((3, 4)))
    file = "table.npy" if "--axes" in words else cells
    code, found, _ = say("atlas", "bake", file, "--out", "x.atlas", *words)
    assert code == 2
    assert got in str(found["error"])
    assert not [one for one in tmp_path.iterdir() if one.name.startswith("x.atlas")]


def test_bake_of_a_model_still_asks_for_inputs(say, tmp_path):
    code, found, _ = say("atlas", "bake", "organism:cat", "--out", tmp_path / "x.atlas")
    assert (code, "--inputs" in found["error"]["expected"]) == (2, True)
