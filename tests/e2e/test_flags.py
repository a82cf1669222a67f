"""Options that contradict a folder, belong to another noun or name nothing are refused before any work."""

import numpy as np
import pytest

from patchclamp.core.basis import Basis
from patchclamp.core.dictionary import Dictionary
from patchclamp.decompose.formats import open_dictionary, write_dictionary

CAT, DIGITS = "organism:cat", "organism:digits-cnn"
SITE = "blocks.0.mlp.act"


@pytest.fixture
def features(tmp_path):
    """A folder of two features of a site of the cat."""
    width = 64
    rows = np.eye(2, width)
    basis = Basis("pair", "directions", rows, rows, np.zeros(2), np.zeros(width), activation="topk", k=1)
    folder = tmp_path / "features"
    write_dictionary(Dictionary({SITE: basis}, {"slug": "cat", "hash": ""}, "by hand"), folder, "patchclamp")
    return folder


@pytest.mark.parametrize("flags", [("--sites", "blocks.1.mlp.act"), ("--reads", "nonsense")], ids=lambda x: x[0])
@pytest.mark.parametrize(
    "verb", ["info FX", "compare FX FX", "decompose --convert FX --out NEW", "evaluate organism:cat FX --inputs STORY"]
)
def test_a_site_that_contradicts_the_folder_is_refused(say, features, story, tmp_path, verb, flags):
    paths = {"FX": features, "NEW": tmp_path / "new", "STORY": story}
    code, told, _ = say(*(paths.get(word, word) for word in verb.split()), *flags)
    assert (code, told["error"]["got"]) == (2, " ".join(flags))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("layout", ["saelens", "sparsify"])
def test_a_site_that_contradicts_another_layout_is_refused(say, features, tmp_path, layout):
    [folder] = write_dictionary(open_dictionary(features), tmp_path / layout, layout)
    for flag, name in (("--sites", "blocks.1.mlp.act"), ("--reads", "nonsense")):
        code, told, _ = say("info", folder, flag, name)
        assert (code, told["error"]["got"]) == (2, f"{flag} {name}")
    assert say("info", folder, "--sites", SITE)[0] == 0
