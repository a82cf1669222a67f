"""Features on the command line: clamped and explained as processes, held against a plain hook and Python."""

import json
import re

import numpy as np
import pytest
import torch

import patchclamp as pc
from forks import run_command
from patchclamp.cli import main
from patchclamp.core.basis import Basis
from patchclamp.core.dictionary import Dictionary

SITE, PROMPT = "blocks.0.mlp.act", "the old cat"
CLAMPS = {"set": "=4", "add": "+=3", "scale": "*=-2", "ablate": "=ablate"}


@pytest.fixture(scope="module")
def model():
    """One of this file's own, for bases are added to it."""
    return pc.load("organism:cat")


@pytest.fixture(scope="module")
def made(model, tmp_path_factory):
    """A folder with a basis that mixes the neurons that matter, and folders that must be refused."""
    folder = tmp_path_factory.mktemp("bases")
    turned = np.linalg.qr(np.random.default_rng(1).normal(size=(16, 16)))[0].astype(np.float32)
    mixed = np.concatenate([turned, -turned])
    mixed[2] = 0
    mixed[2, [7, 5]] = (0.8, -0.6)
    own = {"slug": model.name, "hash": model.hash}
    Dictionary({SITE: Basis("lab", "directions", mixed, mixed, activation="relu")}, own, "l1").save(folder / "own")
    stranger = {"slug": "another", "hash": "1" * 64}
    Dictionary({SITE: Basis("lab", "directions", mixed, mixed)}, stranger, "l1").save(folder / "stranger")
    through = Basis("through", "directions", mixed, mixed, activation="relu", reads="blocks.0.mlp.pre")
    Dictionary({SITE: through}, own, "l1").save(folder / "transcoder")
    return folder


def command(*words):
    found = run_command(*words, "--json")
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout)


def by_hand(basis, unit, operation):
    """x + (f′ − f) D_u as a hook, from the formula."""
    e, d = (torch.tensor(rows[unit]) for rows in (basis.encoder, basis.decoder))

    def hook(_module, _args, x):
        f = (x @ e).clamp(min=0)
        new = {"set": torch.full_like(f, 4.0), "add": f + 3, "scale": -2 * f, "ablate": torch.zeros_like(f)}
        return x + (new[operation] - f)[..., None] * d

    return hook


@pytest.mark.parametrize("operation", CLAMPS)
def test_a_clamped_feature_is_the_hand_written_change(model, made, operation):
    dictionary = pc.load_basis(made / "own")
    model.add_dictionary(dictionary)
    ids = torch.as_tensor(model.tokenize(PROMPT).ids)[None]
    with torch.no_grad():
        bare = model.module(input_ids=ids).logits
        handle = model.module.transformer.h[0].mlp.act.register_forward_hook(
            by_hand(dictionary.bases[SITE], 2, operation)
        )
        expected = model.module(input_ids=ids).logits
        handle.remove()
    clamped = model.run(PROMPT, interventions=[pc.clamp(f"{SITE}/lab/2{CLAMPS[operation]}")]).logits
    torch.testing.assert_close(clamped, expected, atol=1e-6 * float(expected.abs().max()), rtol=0)
    assert (expected - bare).abs().max() > 0.1


def test_generate_clamps_a_feature_where_it_is_told_to(model, made):
    words = ("generate", "organism:cat", PROMPT, "--basis", made / "own", "--max-new-tokens", "5")
    found = command(*words, "--clamp", f"{SITE}/lab/2=-4 @ 3")
    model.add_dictionary(pc.load_basis(made / "own"))
    [expected] = model.generate(PROMPT, interventions=[pc.clamp(f"{SITE}/lab/2=-4", at="3")], max_new_tokens=5)
    assert found["clamped"]["text"] == expected.text == " ran to the park."
    assert found["unclamped"]["text"] == " sat on the mat."
    assert found["interventions"][0]["basis"] == "lab"


def test_explain_prints_what_python_returns(model, made, tmp_path):
    found = command(
        "explain", "organism:cat", PROMPT, "--target", " sat", "--contrast", " ran", "--basis", made / "own",
        "--top", "4", "--report", tmp_path / "why.html", "--out", tmp_path / "graph.json",
    )  # fmt: skip
    model.add_dictionary(pc.load_basis(made / "own"))
    levels = ("neuron", "head", "feature")
    again = pc.explain(model, PROMPT, " sat", contrast=" ran", levels=levels, top=4)
    assert found == json.loads(json.dumps(again.to_json()))
    assert f"cat/{SITE}/lab/2@3" in [cause["key"] for cause in found["causes"]]
    assert {cause["kind"] for cause in found["causes"]} == {"feature"}
    assert found["bases"] == {f"{SITE}/lab": model.basis_at(SITE, "lab").hash}
    page = (tmp_path / "why.html").read_text()
    assert "A node is one feature" in page
    assert found["bases"][f"{SITE}/lab"] in page
    graph = pc.Graph.load(tmp_path / "graph.json")
    assert "feature" in {node.kind for node in graph.nodes}


def test_the_table_says_how_features_are_drawn_and_how_to_clamp_one(made, capsys):
    words = [
        "explain",
        "organism:cat",
        PROMPT,
        "--target",
        " sat",
        "--contrast",
        " ran",
        "--level",
        "feature",
        "--full",
    ]
    assert main([*words, "--basis", str(made / "own"), "--method", "attribution_patching"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "away from their baseline" in out
    assert re.search(rf"--clamp {SITE}/lab/\d+@3=0 --basis {made / 'own'}", out)


@pytest.mark.parametrize(("words", "said"), [
    (("stranger",), "one of another"),
    (("transcoder",), "reads blocks.0.mlp.pre and writes"),
    (("own", "--baseline", "means"), "folder"),
    (("nothing",), "nothing"),
    (("own", "--level", "features"), "a list or tuple of levels"),
])  # fmt: skip
def test_trouble_is_told_in_three_parts(made, capsys, monkeypatch, words, said):
    monkeypatch.chdir(made)
    code = main(["explain", "organism:cat", PROMPT, "--target", " sat", "--basis", words[0], *words[1:]])
    err = capsys.readouterr().err
    assert code == 2
    assert said in err
    assert "Traceback" not in err


@pytest.mark.parametrize(("basis", "clamp", "said"), [
    ("transcoder", "through/2=1", "reads blocks.0.mlp.pre and writes"),
    ("own", "lab/99=1", "units from 0 to 31"),
    ("own", "other/2=1", "--basis DIR"),
])  # fmt: skip
def test_clamps_that_cannot_be_are_refused(made, capsys, basis, clamp, said):
    code = main(["generate", "organism:cat", PROMPT, "--basis", str(made / basis), "--clamp", f"{SITE}/{clamp}"])
    err = capsys.readouterr().err
    assert code == 2
    assert said in err
