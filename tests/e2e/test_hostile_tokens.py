"""Tokens with control characters, marks of direction and 100,000 characters: tables and pages stay plain."""

import json
import re

import pytest

from patchclamp.cli import main

HOSTILE = ("\x1b[31mred", "</td><script>x</script>", "\u202eback", "\x00\x07\x9b", "[bold]&[/nothing]", "a" * 100_000)
COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture
def hostile(monkeypatch):
    """Load a tiny model whose vocabulary is hostile in the place of any other."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    from patchclamp.subjects.families.spec import family
    from patchclamp.subjects.language import LanguageModel

    tokens = ["<unk>", *(f"▁{word}" for word in HOSTILE), *(f"▁w{i}" for i in range(54))]
    rules = Tokenizer(models.WordLevel({token: i for i, token in enumerate(tokens)}, unk_token="<unk>"))
    rules.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    rules.decoder = decoders.Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=rules, unk_token="<unk>")
    model = LanguageModel(family("gpt2").tiny(), tokenizer, name="hostile")
    monkeypatch.setattr("patchclamp.loaders.load", lambda *_names, **_options: model)
    return model


@pytest.mark.parametrize("token", HOSTILE, ids=["escape", "markup", "direction", "control", "brackets", "long"])
@pytest.mark.parametrize("verb", ["explain", "circuit find", "patch"])
def test_tables_and_pages_stay_plain(verb, token, hostile, tmp_path, capsys):
    if verb == "explain":
        words = ["explain", "hostile", f"w1 {token} w2", "--target", f" {token}", "--contrast", " w3", "--top", "2"]
        words += ["--method", "attribution_patching", "--level", "neuron", "--report", str(tmp_path / "page.html")]
    else:
        row = {"clean": f"w1 {token} w2", "corrupted": "w1 w4 w2", "answer": f" {token}", "wrong": " w3"}
        (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, [row, {**row, "corrupted": "w5 w4 w2"}])))
        words = [*verb.split(), "hostile", "--pairs", str(tmp_path / "pairs.jsonl"), "--out", str(tmp_path / "out")]
        words += [
            "--top",
            "2",
            *(["--method", "attribution_patching"] if verb == "circuit find" else ["--sites", "resid"]),
        ]
    if "\0" in token and verb == "explain":
        assert main(words) == 2  # no shell passes it
        return
    code = main(words)
    out, err = capsys.readouterr()
    assert code == 0 or "to do" in err, err
    assert "defect" not in err
    pages = [path.read_text() for path in tmp_path.rglob("*.html")]
    assert pages or code == 2
    assert not [text[:300] for text in (*pages, out, err) if COMMANDS.search(text)]
    assert not any("<script>x" in page for page in pages)
