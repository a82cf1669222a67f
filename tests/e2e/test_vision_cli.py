"""Images through the command line, once as a process of its own, else in this one."""

import json

import numpy as np
import pytest
from PIL import Image

import patchclamp as pc
from forks import run_command


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with three digits drawn by hand: a bar, a ring, and a bar across."""
    path = tmp_path_factory.mktemp("drawn")
    bar, ring, across = (np.zeros((8, 8), np.uint8) for _ in range(3))
    bar[0:8, 3:5] = 240
    ring[0:8, 1:7] = 240
    ring[2:6, 3:5] = 0
    across[1:3, 1:7] = across[3:8, 4:6] = 240
    for name, pixels in (("a.png", bar), ("b.png", ring), ("c.png", across)):
        Image.fromarray(pixels).save(path / name)
    return path


def as_process(*words):
    done = run_command(*words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_an_image_is_classified_explained_and_clamped(folder, tmp_path):
    image, report = folder / "a.png", tmp_path / "report.html"
    asked = ("explain", "organism:digits-cnn", image, "--target", "1", "--contrast", "0", "--top", "4")
    found = as_process(*asked, "--report", report, "--out", tmp_path / "graph.json")
    model = pc.load("organism:digits-cnn")
    again = pc.explain(model, image, "1", contrast="0", top=4)
    assert found["causes"] == json.loads(json.dumps(again.to_json()["causes"]))
    assert found["question"]["prompt"] == "a.png"
    assert found["causes"][0]["position"] is None
    assert "a.png" in report.read_text() or "image" in report.read_text()
    key = found["causes"][0]["key"].split("/", 1)[1]
    told = as_process("generate", "organism:digits-cnn", image, "--clamp", f"{key}=0", "--top", "2")
    logits = model.run(image, interventions=[pc.clamp(f"{key}=0")]).logits[0].double().softmax(-1)
    assert told["classes"][0]["name"] == "1"
    for row in told["classes"]:
        assert row["clamped"] == pytest.approx(float(logits[row["class"]]), abs=1e-6)
    assert as_process("info", tmp_path / "graph.json")["about"]["target"] == "1"


def test_a_bake_says_how_many_images_it_shows_and_how_often(folder, tmp_path, say):
    shown = ("organism:digits-cnn", "--inputs", folder, "--neighbours", "none")
    for more, n in (((), 3), (("--max-images", "2"), 2)):
        code, told, err = say("atlas", "bake", *shown, *more, "--out", tmp_path / f"{n}.atlas")
        assert (code, told["corpus"]["stimuli"]) == (0, n), err
        assert f"two passes over {n} images, and one over those that are shown, about " in err


def test_a_folder_is_recorded_and_surveyed(folder, tmp_path, say):
    def told(*words):
        code, found, err = say(*words)
        assert code == 0, err
        return found

    shown = ("organism:digits-vit", "--inputs", folder, "--sites", "blocks.*.mlp.act,embed")
    recorded = told("record", *shown, "--out", tmp_path / "r", "--batch-size", "2")
    assert (recorded["stimuli"], recorded["tokens"], recorded["whole"]) == (3, 0, True)
    stored = pc.StoredRecording(tmp_path / "r")
    assert [s.name for s in stored.load().stimuli] == ["a.png", "b.png", "c.png"]
    assert stored.of("embed", 1).shape == (17, 32)
    assert told("record", *shown, "--out", tmp_path / "r", "--batch-size", "2", "--resume") == recorded
    surveyed = told("survey", *shown, "--out", tmp_path / "s", "--max-images", "2")
    assert surveyed["stimuli"] == 2
    best = pc.StoredSurvey(tmp_path / "s").exemplars("embed", 0, kinds=["top"])
    assert {e.image for e in best} == {"a.png", "b.png"}


def test_a_clamp_that_leaves_no_number_is_told(tmp_path, monkeypatch, say):
    Image.fromarray(np.full((8, 8), 200, dtype=np.uint8)).save(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    words = ("generate", "organism:digits-cnn", "a.png", "--clamp", "blocks.1.conv1.act/channels/8=1e300")
    code, _, err = say(*words, json_too=False)
    assert code == 2
    assert "expected finite answers" in err


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("evaluate", "organism:cat", "--inputs", "x.png"), "a model of images"),
        (("generate", "organism:cat", "x.png", "--top", "2"), "--top"),
        (("generate", "organism:digits-cnn", "x.png", "--chat"), "--chat"),
        (("generate", "organism:digits-cnn", "the old cat"), "'the old cat', which is not there"),
        (("generate", "organism:digits-cnn", "x"), "an image that Pillow reads"),
        (("record", "organism:cat", "--inputs", "x.png", "--sites", "embed", "--out", "o"), "text for cat"),
        (("generate", "organism:digits-cnn", "nothing.png"), "nothing.png"),
        (("explain", "organism:digits-cnn", "nothing.png", "--target", "3"), "nothing.png"),
        (("record", "organism:digits-cnn", "--inputs", "x", "--sites", "embed", "--out", "o"), "images for digits-cnn"),
        (("record", "organism:digits-cnn", "--sites", "embed", "--out", "o"), "--inputs"),
    ],
)
def test_trouble_has_three_parts(words, part, tmp_path, monkeypatch, say):
    Image.fromarray(np.full((8, 8), 200, dtype=np.uint8)).save(tmp_path / "x.png")
    (tmp_path / "x").write_text("the old cat")
    monkeypatch.chdir(tmp_path)
    code, _, err = say(*words, json_too=False)
    assert code == 2
    told = err.splitlines()[-3:]
    assert [line.split()[0] for line in told] == ["patchclamp:", "got", "to"]
    assert part in err
    assert "Traceback" not in err
