"""Dictionaries of circuit-tracer and dictionary_learning, and sparsify's signed ones, do here what they do there."""

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from oracles import tracer_layouts as oracle
from patchclamp.core.dictionary import Dictionary
from patchclamp.core.errors import Damaged, PatchclampError
from patchclamp.core.stimulus import Role, Stimulus
from patchclamp.decompose.formats import open_dictionary, write_dictionary
from patchclamp.evaluate import measure_dictionary, substitute_reconstruction
from patchclamp.subjects.bases import decode, encode, reconstruct
from patchclamp.subjects.site_names import resolve_sites

D, N, LAYERS = 5, 9, 3
X = np.random.default_rng(9).normal(size=(12, D)).astype(np.float32)


def drawn(seed, **shapes):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def same(basis, expected, x=X):
    """Compare units and reconstruction of every vector with the oracle's."""
    rows = torch.from_numpy(x)
    f = encode(basis, rows)
    wanted = [expected(row) for row in x]
    np.testing.assert_allclose(f, np.array([f for f, _ in wanted]), atol=1e-5)
    np.testing.assert_allclose(decode(basis, f, rows), np.array([out for _, out in wanted]), atol=1e-5)
    assert 0 < float((f != 0).float().mean()) < 1


def put_set(folder, layers, **cfg):
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"model_name": "org/tiny", "model_kind": "transcoder_set", **cfg}
    (folder / "config.yaml").write_text("\n".join(f"{k}: {v}" for k, v in settings.items()))
    for i, tensors in enumerate(layers):
        save_file(tensors, folder / f"layer_{i}.safetensors")
    return folder


SETS = {
    "relu": ({"activation": "relu"}, {}),
    "topk": ({"activation": "topk", "k": 3}, {}),
    "jump": ({}, {"activation_function.threshold": N}),
    "skip": ({}, {"W_skip": (D, D)}),
}


@pytest.mark.parametrize("name", SETS)
def test_a_set_of_transcoders_is_read_layer_by_layer(name, tmp_path):
    cfg, more = SETS[name]
    layers = [drawn(i, W_enc=(N, D), b_enc=N, W_dec=(N, D), b_dec=D, **more) for i in range(LAYERS)]
    found = open_dictionary(put_set(tmp_path, layers, **cfg))
    assert list(found.bases) == [f"blocks.{i}.mlp.write" for i in range(LAYERS)]
    assert found.subject["slug"] == "tiny"
    for i, (basis, tensors) in enumerate(zip(found.bases.values(), layers, strict=True)):
        assert basis.reads == f"blocks.{i}.resid_mid"
        same(basis, lambda row, t=tensors: oracle.transcoder(t, row, k=cfg.get("k")))
    [(site, basis)] = open_dictionary(tmp_path / "layer_1.safetensors").bases.items()
    assert site == "blocks.1.mlp.write"
    assert basis.hash == found.bases[site].hash


def cross(n_layers=LAYERS, width=D, units=N):
    return [
        drawn(
            i,
            W_enc=(units, width),
            b_enc=units,
            W_dec=(units, n_layers - i, width),
            b_dec=width,
            threshold=units,
        )
        for i in range(n_layers)
    ]


def put_cross(folder, layers, **cfg):
    put_set(folder, [], **{"model_kind": "cross_layer_transcoder", **cfg})
    for i, t in enumerate(layers):
        named = {f"{k}_{i}": v for k, v in t.items()}
        save_file({f"W_dec_{i}": named.pop(f"W_dec_{i}")}, folder / f"W_dec_{i}.safetensors")
        save_file(named, folder / f"W_enc_{i}.safetensors")
    return folder


def test_a_cross_layer_transcoder_writes_every_later_layer(tmp_path):
    layers = cross()
    found = open_dictionary(put_cross(tmp_path / "clt", layers))
    kept = tmp_path / "own"
    found.save(kept)
    for one in (found, Dictionary.load(kept)):
        for row in range(4):
            xs = [X[row + 2 * i] for i in range(LAYERS)]
            codes, outs = oracle.cross_layer(layers, xs)
            values = {f"blocks.{i}.resid_mid": torch.from_numpy(x)[None] for i, x in enumerate(xs)}
            for i, (site, basis) in enumerate(one.bases.items()):
                np.testing.assert_allclose(encode(basis, values[basis.reads])[0], codes[i], atol=1e-5)
                np.testing.assert_allclose(reconstruct(one.bases, site, values)[0], outs[i], atol=1e-4)
    assert list(found.bases["blocks.0.mlp.write"].further) == ["blocks.1.mlp.write", "blocks.2.mlp.write"]
    with pytest.raises(PatchclampError, match="a cross-layer transcoder"):
        write_dictionary(found, tmp_path / "there", "saelens")


def test_a_cross_layer_transcoder_is_measured_and_put_in_the_place_of_what_it_writes(tiny_language_model, tmp_path):
    model = tiny_language_model("llama")
    width = model.site("blocks.0.mlp.write").width
    layers = cross(2, width)
    found = resolve_sites(model, open_dictionary(put_cross(tmp_path, layers)))
    stimuli = [Stimulus(np.arange(3 + i, 11 + i), np.full(8, int(Role.TEXT)), np.full((8, 2), -1)) for i in range(8)]
    last = "blocks.1.mlp.write"
    changed = model.run(stimuli[:1], interventions=substitute_reconstruction(last, found.bases), record=[last])
    seen = model.run(stimuli[:1], record=["blocks.0.resid_mid", "blocks.1.resid_mid"]).recording
    for row in range(8):
        xs = [np.asarray(seen[f"blocks.{i}.resid_mid"][row]) for i in range(2)]
        _, outs = oracle.cross_layer(layers, xs)
        np.testing.assert_allclose(changed.recording[last][row], outs[1], atol=1e-3)
    judged = stimuli[1::2]
    rows = model.run(judged, record=["blocks.0.resid_mid", "blocks.1.resid_mid", last]).recording
    y = np.asarray(rows[last])
    outs = [
        oracle.cross_layer(layers, [np.asarray(rows[f"blocks.{i}.resid_mid"][row]) for i in range(2)])[1][1]
        for row in range(len(y))
    ]
    unexplained = ((y - np.array(outs)) ** 2).sum() / ((y - y.mean(0)) ** 2).sum()
    figures = measure_dictionary(model, found, stimuli)
    assert isinstance(figures.rows[0].unexplained.value, float)
    own = next(row for row in figures.rows if row.site == last)
    assert own.unexplained.value == pytest.approx(unexplained, rel=1e-4)


LINEAR = {"encoder.weight": (N, D), "encoder.bias": N, "decoder.weight": (D, N)}
LEARNED = {
    "AutoEncoder": ({**LINEAR, "bias": D}, {"taken": "bias", "added": "bias"}),
    "AutoEncoderNew": ({**LINEAR, "decoder.bias": D}, {"added": "decoder.bias"}),
    "AutoEncoderTopK": ({**LINEAR, "b_dec": D}, {"taken": "b_dec", "added": "b_dec", "k": 3}),
    "BatchTopKSAE": ({**LINEAR, "b_dec": D}, {"taken": "b_dec", "added": "b_dec", "cut": 0.5}),
}


@pytest.mark.parametrize("kind", [*LEARNED, "MatryoshkaBatchTopKSAE", "JumpReluAutoEncoder", "GatedAutoEncoder"])
def test_dictionary_learning_is_read_as_published(kind, tmp_path):
    shapes, how = LEARNED.get(kind, ({}, {"taken": "b_dec", "added": "b_dec", "cut": 0.5}))
    if kind == "GatedAutoEncoder":
        tensors = drawn(3, **{n: s for n, s in LINEAR.items() if n != "encoder.bias"})
        tensors |= drawn(4, r_mag=N, gate_bias=N, mag_bias=N, decoder_bias=D)
    elif kind in LEARNED:
        tensors = drawn(3, **shapes)
    else:
        tensors = drawn(3, W_enc=(D, N), b_enc=N, W_dec=(N, D), b_dec=D)
    if how.get("cut"):
        tensors["threshold"] = np.array(0.5, np.float32)
    if kind == "JumpReluAutoEncoder":
        tensors["threshold"] = np.abs(drawn(5, threshold=N)["threshold"])
    trainer = {"dict_class": kind, "layer": 2, "lm_name": "org/tiny", "k": 3, "submodule_name": "resid_post_layer_2"}
    (tmp_path / "config.json").write_text(json.dumps({"trainer": trainer}))
    save_file(tensors, tmp_path / "ae.safetensors")
    found = open_dictionary(tmp_path)
    basis = found.bases["blocks.2.resid_out"]

    def expected(row):
        if kind == "GatedAutoEncoder":
            return oracle.gated(tensors, row)
        if kind in LEARNED:
            return oracle.linear(tensors, row, **how)
        flat = {
            "encoder.weight": tensors["W_enc"].T,
            "encoder.bias": tensors["b_enc"],
            "decoder.weight": tensors["W_dec"].T,
            "b_dec": tensors["b_dec"],
        }
        if kind == "MatryoshkaBatchTopKSAE":
            return oracle.linear(flat, row, **how)
        plain, _ = oracle.linear(flat, row, added="b_dec")
        f = [v if v > cut else 0.0 for v, cut in zip(plain, tensors["threshold"], strict=True)]
        norms = np.linalg.norm(tensors["W_dec"], axis=1)
        return list(np.array(f) * norms), list(np.array(f) @ tensors["W_dec"] + tensors["b_dec"])

    same(basis, expected)


def test_signed_topk_keeps_what_is_largest_by_size_and_goes_back(tmp_path):
    cfg = {"activation": "topk", "k": 3, "signed": True, "num_latents": N, "d_in": D, "transcode": False}
    tensors = drawn(8, **{"encoder.weight": (N, D), "encoder.bias": N, "W_dec": (N, D), "b_dec": D})
    there = tmp_path / "layers.1"
    there.mkdir()
    (there / "cfg.json").write_text(json.dumps(cfg))
    save_file(tensors, there / "sae.safetensors")
    found = open_dictionary(there)
    same(found.single(), lambda row: oracle.signed(cfg, tensors, row))
    assert (encode(found.single(), torch.from_numpy(X)) < 0).any()
    [back] = write_dictionary(found, tmp_path / "back", "sparsify")
    written = json.loads((back / "cfg.json").read_text())
    assert written["signed"] is True
    same(open_dictionary(back).single(), lambda row: oracle.signed(written, load_file(back / "sae.safetensors"), row))


WRONG = {
    "a norm before its gain": ({"feature_input_hook": "ln2.hook_normalized"}, "before its gain"),
    "an unknown kind": ({"model_kind": "crosscoder"}, "the kind 'crosscoder'"),
    "an activation": ({"activation": "gelu"}, "the activation 'gelu'"),
    "half a k": ({"activation": "topk", "k": 2.5}, "k = 2.5"),
    "references": ({"scan": "&a [1, *a]"}, "with references"),
    "a list": ({}, "a list"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_read_says_why(name, tmp_path):
    cfg, says = WRONG[name]
    put_set(tmp_path, [drawn(0, W_enc=(N, D), b_enc=N, W_dec=(N, D), b_dec=D)], **cfg)
    if name == "a list":
        (tmp_path / "config.yaml").write_text("- 1\n- 2\n")
    with pytest.raises(PatchclampError) as refused:
        open_dictionary(tmp_path)
    assert says in f"{refused.value}"


def test_numbers_of_layers_are_spelt_one_way(tmp_path):
    for name in ("layer_00", "layer_٣"):
        put_set(tmp_path / name, [drawn(0, W_enc=(N, D), b_enc=N, W_dec=(N, D), b_dec=D)])
        (tmp_path / name / "layer_0.safetensors").rename(tmp_path / name / f"{name}.safetensors")
        with pytest.raises(Damaged, match="with none"):
            open_dictionary(tmp_path / name)


def test_weights_whose_products_overflow_are_refused(tmp_path):
    tensors = drawn(0, W_enc=(N, D), b_enc=N, W_dec=(N, D), b_dec=D)
    tensors["W_enc"][1, 2] = 1e38
    with pytest.raises(Damaged, match="W_enc with values whose products"):
        open_dictionary(put_set(tmp_path, [tensors]))


def test_parts_that_are_missing_say_so(tmp_path):
    folder = put_cross(tmp_path / "clt", cross())
    (folder / "W_enc_1.safetensors").rename(folder / "W_enc_7.safetensors")
    with pytest.raises(Damaged, match="every number after it"):
        open_dictionary(folder)
    named = tmp_path / "named"
    put_set(named, [], transcoders="[hf://org/repo/layer_0.npz]")
    with pytest.raises(PatchclampError, match="another repository"):
        open_dictionary(named)
    batch = tmp_path / "batch"
    batch.mkdir()
    (batch / "config.json").write_text(json.dumps({"trainer": {"dict_class": "BatchTopKSAE", "layer": 0}}))
    save_file({**drawn(3, **LINEAR, b_dec=D), "threshold": np.array(-1.0, np.float32)}, batch / "ae.safetensors")
    with pytest.raises(PatchclampError, match="without a threshold"):
        open_dictionary(batch)
