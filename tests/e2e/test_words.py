"""What commands say: the question that was scored, what figures are, and refusals that fit the model at hand."""

import pytest

from patchclamp.cli import main, verbs

CAT, DIGITS = "organism:cat", "organism:digits-cnn"
ASKED = (CAT, "the old cat", "--target", " sat", "--contrast", " ran")


def test_attribute_prints_what_m_is(say):
    code, out, _ = say("attribute", *ASKED, "--top", 1, json_too=False)
    assert code == 0
    assert out.splitlines()[0] == "'the old cat': m = logit(' sat') − logit(' ran')"
    _, out, _ = say("attribute", "organism:language-gpt2", "--pairs", "task:ioi", "--top", 1, json_too=False)
    assert ", the first of 64 cases: m = logit(" in out.splitlines()[0]


@pytest.mark.parametrize("method", [["--method", ""], ["--method="]])
def test_an_empty_method_is_none(say, method):
    code, told, _ = say("attribute", *ASKED, *method)
    assert code == 2
    assert told["error"]["got"] == "''"
    assert "integrated_gradients" in told["error"]["expected"]


def test_a_layout_belongs_to_a_file(say, tmp_path):
    code, told, _ = say("circuit", "find", CAT, "--pairs", "planted", "--layout", "NONSENSE", "--out", tmp_path / "c")
    assert code == 2
    assert told["error"]["got"] == "planted with the layout 'NONSENSE'"


def test_a_long_text_is_cut_where_an_error_is_printed(say, capsys):
    words = ("attribute", CAT, "cat " * 3000, "--target", "x" * 4000, "--method", "m" * 9000)
    code, told, _ = say(*words)
    assert code == 2
    assert len(told["error"]["got"]) == 301
    assert told["error"]["got"].startswith("'mmm")
    assert told["error"]["got"].endswith("mmm'")
    assert main([*words]) == 2
    assert max(map(len, capsys.readouterr().err.splitlines())) < 400


@pytest.mark.parametrize(
    "words",
    [
        ("steer", "fit", DIGITS, "--positive", "TEXT", "--negative", "TEXT", "--out", "NEW"),
        ("steer", "apply", DIGITS, "the old cat", "--vector", "VECTOR"),
        ("edit", DIGITS, "--prompt", "the old cat", "--subject", "cat", "--target", " ran"),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_what_writes_text_says_that_a_model_of_images_does_not(say, tmp_path, words):
    text = tmp_path / "text"
    text.write_text("the old cat\nthe old dog\n")
    paths = {"TEXT": text, "NEW": tmp_path / "new", "VECTOR": tmp_path / "vector"}
    if "VECTOR" in words:
        other = tmp_path / "other"
        other.write_text("the young fox ran\n")
        assert say("steer", "fit", CAT, "--positive", text, "--negative", other, "--out", tmp_path / "vector")[0] == 0
    code, told, _ = say(*(paths.get(word, word) for word in words))
    assert code == 2
    assert told["error"]["expected"] == "a language model"
    assert told["error"]["got"] == "digits-cnn, a model of images"
    assert "--inputs" not in told["error"]["remedy"]


def test_describe_says_what_its_measures_are_and_refuses_in_words(say):
    code, out, _ = say("describe", CAT, "--top", 1, json_too=False)
    assert code == 0
    assert "peak: the probability of the first term; specialised: peak times concept" in " ".join(out.split())
    code, told, _ = say("describe", DIGITS)
    assert code == 2
    assert "WritesAndReads" not in str(told)
    assert "what its neurons write to the stream" in told["error"]["expected"]


def test_compare_says_that_bos_is_left_out(say, tmp_path):
    text = tmp_path / "text"
    text.write_text("the old cat sat. the dog ran. the fox ran. the owl sat. the boy ran. the girl sat. " * 2)
    for name in ("gpt2", "llama"):
        words = ("record", f"organism:language-{name}", "--inputs", text, "--sites", "blocks.1.resid_out")
        assert say(*words, "--window", 6, "--out", tmp_path / name)[0] == 0
    code, found, err = say("compare", tmp_path / "gpt2", tmp_path / "llama")
    assert (code, "rsa" in found["provenance"]["method"]) == (0, True)
    assert err.count("the mean over each stimulus leaves out") == 2
    assert "BOS" in err
    _, _, err = say("compare", tmp_path / "gpt2", tmp_path / "llama", "--pool", "last")
    assert "leaves out" not in err


def test_generate_takes_an_image_where_the_model_does(say):
    code, told, _ = say("generate", DIGITS, "digits:17", "--top", 2)
    assert code == 0
    assert told["classes"][0]["name"] == "7"
    for words, flag in (
        ((DIGITS, "digits:17", "--temperature", "0"), "--temperature"),
        ((CAT, "the", "--top", "2"), "--top"),
    ):
        code, told, _ = say("generate", *words)
        assert (code, told["error"]["got"]) == (2, flag)


@pytest.mark.parametrize(
    ("words", "flag"),
    [
        ((CAT, "--rate", "2"), "--rate"),
        ((CAT, "--center"), "--center"),
        (("--families", "--modules"), "--modules"),
        (("FOLDER", "--modules"), "--modules"),
        (("FOLDER", "--unit-of-measure", "V"), "--unit-of-measure"),
    ],
)
def test_info_refuses_what_the_noun_has_not(say, tmp_path, words, flag):
    code, told, _ = say("info", *(tmp_path if word == "FOLDER" else word for word in words))
    assert code == 2
    assert told["error"]["got"].endswith(f"with {flag}")


def test_verbs_are_those_of_the_list_and_no_others():
    assert set(verbs.list_verbs()) == {
        "info", "verify", "methods", "organism", "record", "survey", "explain", "attribute", "patch", "circuit find",
        "decompose", "describe", "generate", "steer fit", "steer apply", "edit", "evaluate", "calibrate", "compare",
        "encode", "decode", "learn", "atlas bake", "atlas add", "atlas serve", "atlas export", "atlas info",
    }  # fmt: skip


def test_info_tells_features_of_another_library_from_a_model(say, tmp_path):
    folder = tmp_path / "scope"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "params.safetensors").write_bytes(b"")
    code, told, _ = say("info", folder)
    assert (code, "model" in told["error"]["remedy"]) == (2, False)
    (folder / "params.safetensors").unlink()
    code, told, _ = say("info", folder)
    assert (code, told["error"]["remedy"]) == (2, "Fetch the model again.")


@pytest.mark.parametrize("words", [("explain", "net:elm", "x", "--target", "1"), ("generate", "net:elm", "x")])
def test_a_network_of_arrays_is_shown_nothing_by_words(say, words):
    code, told, _ = say(*words)
    assert code == 2
    assert told["error"]["got"] == "elm, a network of arrays"
