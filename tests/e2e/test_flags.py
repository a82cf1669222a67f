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


@pytest.mark.parametrize(
    ("words", "got"),
    [
        ("evaluate organism:cat FX --inputs STORY --n 3", "--n"),
        ("evaluate organism:cat FX --inputs STORY --layout nonsense", "--layout"),
        ("evaluate organism:cat FX --inputs STORY --basis FX", "--basis"),
        ("evaluate organism:cat FX --inputs STORY --chat", "--chat"),
        ("decompose --convert FX --out NEW --window 128", "--window"),
        ("decompose --convert FX --out NEW --seed 0", "--seed"),
        ("decompose --convert FX --out NEW --max-tokens 0", "--max-tokens"),
        ("decompose --convert FX --out NEW --device cpu --dtype float32", "--device, --dtype"),
        ("decompose --convert FX --out NEW --method topk", "--method"),
        ("generate organism:cat the --at 0", "--at"),
        ("record organism:cat --inputs STORY --sites embed --out NEW --max-images 3", "--max-images"),
        ("survey organism:cat --inputs STORY --sites embed --out NEW --max-images 3", "--max-images"),
        ("record organism:digits-cnn --inputs digits:0:3 --sites * --out NEW --window 3", "--window"),
    ],
)
def test_an_option_of_another_noun_is_refused(say, features, story, tmp_path, words, got):
    paths = {"FX": features, "NEW": tmp_path / "new", "STORY": story}
    code, told, _ = say(*(paths.get(word, word) for word in words.split()))
    assert (code, told["error"]["got"]) == (2, got)
    assert not (tmp_path / "new").exists()


def test_one_site_is_named_where_a_recording_has_several(say, story, tmp_path):
    words = ("record", CAT, "--inputs", story, "--sites", "blocks.*.resid_out,embed", "--window", 8)
    assert say(*words, "--out", tmp_path / "r")[0] == 0
    pair = (tmp_path / "r", tmp_path / "r")
    code, told, _ = say("compare", *pair)
    assert (code, "--sites" in told["error"]["remedy"]) == (2, True)
    assert say("compare", *pair, "--sites", "embed")[0] == 0
    code, told, _ = say("compare", *pair, "--reads", "embed")
    assert (code, told["error"]["got"]) == (2, "--reads")


def test_a_pattern_is_refused_where_one_site_is_meant(say, features, story):
    code, told, _ = say("evaluate", CAT, features, "--inputs", story, "--sites", "blocks.*.mlp.act")
    assert (code, told["error"]["got"]) == (2, "the pattern 'blocks.*.mlp.act'")


def test_an_error_has_three_lines_whatever_a_path_holds(say):
    _, _, err = say("info", "./no\nsuch\nfile", json_too=False)
    assert len(err.splitlines()) == 3


@pytest.mark.parametrize("words", [("info", ""), ("generate", CAT, ""), ("compare", "", "")], ids=lambda x: x[0])
def test_an_empty_name_is_refused_as_empty(say, words):
    code, told, _ = say(*words)
    assert (code, told["error"]["got"]) == (2, "'', an empty argument")


def test_what_is_no_file_is_not_called_absent(say):
    _, told, _ = say("info", "/dev/null")
    assert "neither a folder nor a file" in told["error"]["got"]


def test_a_link_to_nothing_is_refused_before_work(say, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for words in (("circuit", "find", CAT, "--pairs", "planted"), ("learn", "--n", 50)):
        code, told, _ = say(*words, "--out", tmp_path / "link")
        assert (code, "a link to what is not there" in told["error"]["got"]) == (2, True)


def test_an_unknown_flag_names_the_verb(say):
    _, told, _ = say("circuit", "find", CAT, "--pairs", "planted", "--out", "o", "--nonsense")
    assert told["error"]["remedy"] == "See `patchclamp circuit find --help`."


def test_a_window_is_no_longer_than_the_context(say, story, tmp_path, monkeypatch):
    monkeypatch.setattr("patchclamp.subjects.language.context_of", lambda *_: 24)
    for verb in ("record", "survey"):
        code, _, err = say(verb, CAT, "--inputs", story, "--sites", "embed", "--out", tmp_path / verb)
        assert (code, "windows of 24 tokens, the model's context" in err) == (0, True)
