"""`compare` of two models: the sentence first, a table, a folder, a layer; what does not fit is refused in words."""

import shutil

import pytest

import patchclamp as pc
from patchclamp.core.model_comparison import ModelComparison
from patchclamp.core.similarity import Similarity

CAT = "organism:cat"
CLAMP = ("--clamp", "blocks.0.mlp.act/neurons/7=0")


def test_models_are_compared_kept_and_added(say, story, seeded_atlas, tmp_path):
    atlas = shutil.copytree(seeded_atlas, tmp_path / "a.atlas")
    words = ("compare", CAT, CAT, "--inputs", story, *CLAMP, "--controls", "1", "--window", "32")
    code, told, err = say(*words, "--out", tmp_path / "kept", "--atlas", atlas)
    assert code == 0
    kept = ModelComparison.load(tmp_path / "kept")
    assert told["sentence"] == kept.sentence
    assert told["moved"][0]["unit"] == "blocks.0.mlp.act/neurons/7"
    assert "shown twice" in err
    [row] = pc.atlas.open(atlas).comparisons().rows
    assert row.sentence == kept.sentence
    run = pc.atlas.open(atlas).run(row.id)
    assert "compare organism:cat" in run.run.command
    code, out, _ = say(*words, json_too=False)
    assert out.startswith("'cat' and 'cat steered'")
    assert "Block 0 · MLP neuron 7" in out
    again = say("compare", CAT, CAT, "--inputs", story, json_too=False)[1]
    assert "say the same" in again
    assert say("compare", CAT, CAT, "--inputs", story, "--full", json_too=False)[1].count("\n") > again.count("\n")


def test_an_edit_is_compared(say, story, tmp_path):
    import numpy as np

    from patchclamp.core.edit import Edit

    cat, name = pc.load(CAT), "transformer.h.0.mlp.c_proj.weight"
    delta = np.zeros(tuple(cat.parameters()[name].shape), np.float32)
    delta[7, 0] = 1
    Edit({name: delta}, cat.hash, "one weight").save(tmp_path / "edit")
    code, told, _ = say("compare", CAT, tmp_path / "edit", "--inputs", story)
    assert (code, told["names"][1]) == (0, "cat edited")
    assert told["moved"][0]["unit"] == "blocks.0.mlp.act/neurons/7"


def test_a_comparison_of_recordings_is_kept_and_added(say, story, seeded_atlas, tmp_path):
    atlas, one = shutil.copytree(seeded_atlas, tmp_path / "a.atlas"), tmp_path / "one"
    site = ("--sites", "blocks.0.resid_out")
    assert say("record", CAT, "--inputs", story, *site, "--window", "8", "--out", one)[0] == 0
    code, told, _ = say(
        "compare", one, one, "--n-null", "19", "--n-bootstrap", "100", "--out", tmp_path / "k", "--atlas", atlas
    )
    assert code == 0
    assert Similarity.load(tmp_path / "k").estimate.value == told["estimate"]["value"] == 1
    assert pc.atlas.open(atlas).comparisons().rows[0].kind == "recordings"


@pytest.mark.parametrize(
    ("words", "got"),
    [
        ((CAT, CAT), "--inputs"),
        ((CAT, "organism:facts-gpt2", "--inputs", "STORY"), "same tokens"),
        ((CAT, "organism:facts-gpt2", "--inputs", "STORY", *CLAMP), "one model twice"),
        ((CAT, CAT, "--inputs", "NOWHERE"), "NOWHERE"),
        ((CAT, CAT, "--inputs", "STORY", "--clamp", "nonsense"), "nonsense"),
        ((CAT, CAT, "--inputs", "STORY", "--distance", "cosine"), "--distance"),
        ((CAT, CAT, "--inputs", "STORY", "--controls", "-1"), "--controls"),
        ((CAT, CAT, "--inputs", "STORY", "--atlas", "NOWHERE"), "atlas"),
        ((CAT, "NOWHERE", "--inputs", "STORY"), "NOWHERE"),
        (("organism:digits-cnn", "organism:digits-cnn", "--inputs", "STORY"), "language model"),
    ],
)
def test_what_does_not_fit_is_refused(say, story, words, got):
    code, told, _ = say("compare", *(story if word == "STORY" else word for word in words))
    assert code == 2
    assert got in str(told["error"])
