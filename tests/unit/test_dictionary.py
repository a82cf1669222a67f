"""A dictionary comes back as it was written, or says what is wrong; features are what their formula says."""

import hashlib
import json
import os

import numpy as np
import pytest
import torch

from patchclamp.core.basis import Basis
from patchclamp.core.dictionary import Dictionary
from patchclamp.core.errors import CannotIntervene, Damaged, PatchclampError
from patchclamp.core.intervention import Intervention
from patchclamp.core.json_text import canonical
from patchclamp.subjects.bases import decode, encode

RNG = np.random.default_rng(0)
N, WIDTH = 6, 4
PARTS = {
    "decoder": RNG.normal(size=(N, WIDTH)), "encoder": RNG.normal(size=(N, WIDTH)),
    "encoder_bias": RNG.normal(size=N), "decoder_bias": RNG.normal(size=WIDTH), "output_bias": RNG.normal(size=WIDTH),
}  # fmt: skip
KINDS = {
    "identity": {}, "relu": {}, "topk": {"k": 2}, "jumprelu": {"threshold": np.full(N, 0.3)},
}  # fmt: skip


def made(activation: str, **more) -> Basis:
    return Basis("lab", "directions", **PARTS, activation=activation, **KINDS[activation], **more)


def by_hand(activation: str, x: np.ndarray) -> np.ndarray:
    """One vector at a time, unit by unit, from the table's words."""
    rows = []
    for row in x:
        a = [float((row - PARTS["decoder_bias"]) @ PARTS["encoder"][i] + PARTS["encoder_bias"][i]) for i in range(N)]
        second = sorted(a)[-2]
        choose = {
            "identity": lambda v: v,
            "relu": lambda v: max(v, 0),
            "topk": lambda v, second=second: max(v, 0) if v >= second else 0,
            "jumprelu": lambda v: v if v > 0.3 else 0,
        }
        rows.append([choose[activation](v) for v in a])
    return np.array(rows)


@pytest.mark.parametrize("activation", KINDS)
def test_features_are_what_the_table_says(activation):
    x = RNG.normal(size=(20, WIDTH))
    f = encode(made(activation), torch.from_numpy(x))
    np.testing.assert_allclose(f, by_hand(activation, x), atol=1e-12)
    back = decode(made(activation), f)
    np.testing.assert_allclose(back, by_hand(activation, x) @ PARTS["decoder"] + PARTS["output_bias"], atol=1e-12)


@pytest.mark.parametrize("activation", KINDS)
def test_a_folder_gives_the_same_basis_back(activation, tmp_path):
    kept = Dictionary({"blocks.0.mlp.act": made(activation)}, {"slug": "toy", "hash": "0"}, "l1", {"seed": 0})
    kept.save(tmp_path / "d")
    read = Dictionary.load(tmp_path / "d")
    assert read.bases["blocks.0.mlp.act"].hash == made(activation).hash
    assert (read.name, read.method, dict(read.about)) == ("lab", "l1", {"seed": 0})
    with pytest.raises(PatchclampError, match="which has one"):
        kept.save(tmp_path / "d")


def test_other_numbers_have_another_hash():
    assert made("relu").hash != made("identity").hash
    assert made("topk").hash != Basis("lab", "directions", **PARTS, activation="topk", k=3).hash


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"activation": "topk"}, "k = None"),
        ({"activation": "topk", "k": N + 1}, f"k = {N + 1}"),
        ({"k": 2}, "k = 2"),
        ({"activation": "jumprelu"}, "threshold"),
        ({"decoder": np.full((N, WIDTH), np.nan)}, "NaN"),
        ({"skip": np.zeros((WIDTH, WIDTH))}, "another site"),
        ({"reads": "blocks.0.mlp.in", "encoder": None}, "no encoder"),
    ],
)
def test_parts_that_do_not_fit_are_refused(wrong, word):
    with pytest.raises(PatchclampError, match=word):
        Basis("lab", "directions", **(PARTS | wrong))


def test_damage_is_told(tmp_path):
    Dictionary({"blocks.0.mlp.act": made("relu")}, {"slug": "toy", "hash": "0"}, "l1").save(tmp_path)
    head = json.loads((tmp_path / "basis.json").read_text())
    file = tmp_path / head["bases"][0]["file"]
    whole = file.read_bytes()
    for broken in (whole[:-8], whole[:-8] + b"\0" * 8, b""):
        file.write_bytes(broken)
        with pytest.raises(Damaged, match="basis"):
            Dictionary.load(tmp_path)
    file.write_bytes(whole)
    head["bases"][0]["file"] = "../outside.safetensors"
    del head["sha256"]
    head["sha256"] = hashlib.sha256(canonical(head)).hexdigest()  # as one who knows the format can
    (tmp_path / "basis.json").write_text(json.dumps(head, indent=1, sort_keys=True))
    with pytest.raises(Damaged, match="outside"):
        Dictionary.load(tmp_path)
    for text in ("", "[]", "{}", "[" * 100_000):
        (tmp_path / "basis.json").write_text(text)
        with pytest.raises(Damaged):
            Dictionary.load(tmp_path)
    os.truncate(tmp_path / "basis.json", 2**30)
    with pytest.raises(Damaged, match="above"):
        Dictionary.load(tmp_path)
    with pytest.raises(PatchclampError, match="not there"):
        Dictionary.load(tmp_path / "nowhere")


def test_a_basis_may_belong_to_one_site_and_a_transcoder_is_not_clamped(tiny_language_model):
    model = tiny_language_model("gpt2")
    width = model.site("blocks.0.mlp.act").width
    here, there = (Basis("lab", "directions", decoder=RNG.normal(size=(3, width))) for _ in range(2))
    model.add_basis(here, "blocks.0.mlp.act")
    model.add_basis(there, "blocks.1.mlp.act")
    x = model.run([[2, 3, 4]], record="blocks.*.mlp.act").recording
    for site, basis in (("blocks.0.mlp.act", here), ("blocks.1.mlp.act", there)):
        changed = model.run(
            [[2, 3, 4]], record=site, interventions=[Intervention(site, "set", (1,), "lab", value=2.0)]
        ).recording[site]
        f = encode(basis, changed.double())
        np.testing.assert_allclose(f[:, 1], 2.0, atol=1e-4)
        assert not torch.equal(changed, x[site])
    other = Basis("coder", "directions", decoder=np.ones((2, 64)), encoder=np.ones((2, 64)), reads="blocks.0.resid_mid")
    model.add_basis(other)
    with pytest.raises(CannotIntervene, match="reads"):
        model.run([[2, 3]], interventions=[Intervention("blocks.0.mlp.write", "set", (0,), "coder", value=1.0)])
