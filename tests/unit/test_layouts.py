"""Dictionaries of SAELens, sparsify and Gemma Scope do here what they do there, and go back unchanged."""

import json
import pickle

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from oracles import layouts as oracle
from patchclamp.core.basis import Basis
from patchclamp.core.dictionary import Dictionary
from patchclamp.core.errors import Damaged, PatchclampError
from patchclamp.decompose.formats import open_dictionary, write_dictionary
from patchclamp.subjects.bases import decode, encode
from patchclamp.subjects.site_names import resolve_sites

D, N = 5, 9
X = np.random.default_rng(9).normal(size=(12, D)).astype(np.float32)


def drawn(seed, **shapes):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def plain(seed=0, **more):
    return drawn(seed, W_enc=(D, N), W_dec=(N, D), b_enc=N, b_dec=D, **more)


def put(folder, cfg, tensors, weights):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cfg.json").write_text(json.dumps(cfg))
    save_file(tensors, folder / weights)
    return folder


def settings(architecture, **more):
    metadata = {"hook_name": "blocks.1.hook_resid_post", "model_name": "gpt2-small", "sae_lens_version": "6.5.1"}
    if "transcoder" in architecture:
        metadata |= {"hook_name": "blocks.1.hook_resid_mid", "hook_name_out": "blocks.1.hook_mlp_out"}
    cfg = {"architecture": architecture, "d_in": D, "d_sae": N, "dtype": "float32", "normalize_activations": "none"}
    return {**cfg, "apply_b_dec_to_input": "transcoder" not in architecture, "metadata": metadata, **more}


GATED = {k: v for k, v in plain(4, b_gate=N, b_mag=N, r_mag=N).items() if k != "b_enc"}
SAELENS = {
    "standard": (settings("standard"), plain()),
    "bias not taken off": (settings("standard", apply_b_dec_to_input=False), plain()),
    "topk": (settings("topk", k=3), plain(1)),
    "topk, norms outside": (settings("topk", k=3, rescale_acts_by_decoder_norm=True), plain(2)),
    "jumprelu": (settings("jumprelu"), plain(3, threshold=N)),
    "gated": (settings("gated"), GATED),
    "transcoder": (settings("transcoder"), plain(5)),
    "skip": (settings("skip_transcoder"), plain(6, W_skip=(D, D))),
    "jumprelu skip": (settings("jumprelu_skip_transcoder"), plain(7, W_skip=(D, D), threshold=N)),
}
SPARSIFY = {
    "autoencoder": ({"transcode": False}, {}),
    "transcoder": ({"transcode": True}, {}),
    "skip": ({"transcode": True, "skip_connection": True}, {"W_skip": (D, D)}),
}


def same(basis, expected):
    """Compare units and reconstruction of every vector with the oracle's."""
    x = torch.from_numpy(X)
    f = encode(basis, x)
    wanted = [expected(row) for row in X]
    np.testing.assert_allclose(f, np.array([f for f, _ in wanted]), atol=1e-5)
    np.testing.assert_allclose(decode(basis, f, x), np.array([out for _, out in wanted]), atol=1e-5)
    assert float((f != 0).float().mean()) < 1


@pytest.mark.parametrize("name", SAELENS)
def test_saelens_is_read_as_published_and_goes_back(name, tmp_path):
    cfg, tensors = SAELENS[name]
    found = open_dictionary(put(tmp_path / "sae", cfg, tensors, "sae_weights.safetensors"))
    [(site, basis)] = found.bases.items()
    assert site == ("blocks.1.mlp.write" if "trans" in cfg["architecture"] else "blocks.1.resid_out")
    assert basis.reads == ("blocks.1.resid_mid" if "trans" in cfg["architecture"] else None)
    assert found.subject["slug"] == "gpt2-small"
    same(basis, lambda row: oracle.saelens(cfg, tensors, row))
    [folder] = write_dictionary(found, tmp_path / "back", "saelens")
    written = json.loads((folder / "cfg.json").read_text())
    same(basis, lambda row: oracle.saelens(written, load_file(folder / "sae_weights.safetensors"), row))
    again = open_dictionary(folder)
    assert again.subject == found.subject
    same(again.bases[site], lambda row: oracle.saelens(cfg, tensors, row))


@pytest.mark.parametrize("name", SPARSIFY)
def test_sparsify_is_read_as_published_and_goes_back(name, tmp_path):
    more, extra = SPARSIFY[name]
    cfg = {"activation": "topk", "k": 3, "num_latents": N, "d_in": D, "skip_connection": False, **more}
    tensors = drawn(8, **{"encoder.weight": (N, D), "encoder.bias": N, "W_dec": (N, D), "b_dec": D}, **extra)
    put(tmp_path / "layers.2.mlp", cfg, tensors, "sae.safetensors")
    found = open_dictionary(tmp_path)
    [(site, basis)] = found.bases.items()
    assert (site, basis.reads) == ("module.layers.2.mlp.out", "module.layers.2.mlp.in" if more["transcode"] else None)
    same(basis, lambda row: oracle.sparsify(cfg, tensors, row))
    [folder] = write_dictionary(found, tmp_path / "back", "sparsify")
    written = json.loads((folder / "cfg.json").read_text())
    same(basis, lambda row: oracle.sparsify(written, load_file(folder / "sae.safetensors"), row))
    same(open_dictionary(folder).bases[site], lambda row: oracle.sparsify(cfg, tensors, row))


def test_a_transcoder_of_sparsify_finds_what_the_mlp_of_a_model_reads(tiny_language_model, tmp_path):
    model = tiny_language_model("llama")
    width = model.site("blocks.1.mlp.write").width
    tensors = drawn(8, **{"encoder.weight": (N, width), "encoder.bias": N, "W_dec": (N, width), "b_dec": width})
    put(tmp_path / "layers.1.mlp", {"k": 3, "transcode": True}, tensors, "sae.safetensors")
    [(site, basis)] = resolve_sites(model, open_dictionary(tmp_path)).bases.items()
    assert model.site(basis.reads).width == width
    assert (site, basis.reads) == ("blocks.1.mlp.write", "module.model.layers.1.mlp.in")


def test_gemma_scope_is_read_as_published(tmp_path):
    tensors = plain(10, threshold=N)
    folder = tmp_path / "gemma-scope-2b-pt-res" / "layer_20" / "width_16k" / "average_l0_71"
    folder.mkdir(parents=True)
    np.savez(folder / "params.npz", **tensors)
    found = open_dictionary(folder)
    assert list(found.bases) == ["blocks.20.resid_out"]
    assert found.subject["slug"] == "gemma-2-2b"
    same(found.bases["blocks.20.resid_out"], lambda row: oracle.gemma_scope(tensors, row))
    [written] = write_dictionary(found, tmp_path / "back", "saelens")
    cfg = json.loads((written / "cfg.json").read_text())
    assert cfg["metadata"]["hook_name"] == "blocks.20.hook_resid_post"
    same(
        found.bases["blocks.20.resid_out"],
        lambda row: oracle.saelens(cfg, load_file(written / "sae_weights.safetensors"), row),
    )


def test_a_coder_of_centred_streams_takes_the_mean_off(tmp_path):
    cfg, tensors = SAELENS["standard"]
    cfg = {**cfg, "metadata": {**cfg["metadata"], "model_from_pretrained_kwargs": {"center_writing_weights": True}}}
    [basis] = open_dictionary(put(tmp_path, cfg, tensors, "sae_weights.safetensors")).bases.values()
    same(basis, lambda row: oracle.saelens(cfg, tensors, row - row.mean()))


def test_settings_of_older_versions_are_understood(tmp_path):
    _, tensors = SAELENS["topk"]
    old = {"hook_point": "blocks.1.hook_resid_pre", "d_in": D, "d_sae": N, "activation_fn_str": "topk",
           "activation_fn_kwargs": {"k": 3}, "normalize_activations": False}  # fmt: skip
    found = open_dictionary(put(tmp_path, old, tensors, "sae_weights.safetensors"))
    assert list(found.bases) == ["blocks.1.resid_in"]
    now = {"architecture": "topk", "k": 3, "apply_b_dec_to_input": True}
    same(found.bases["blocks.1.resid_in"], lambda row: oracle.saelens(now, tensors, row))


def test_biases_that_the_other_layouts_do_not_have_are_folded(tmp_path):
    arrays = drawn(11, decoder=(N, D), encoder=(N, D), encoder_bias=N, decoder_bias=D, output_bias=D)
    basis = Basis("mine", "directions", **arrays, activation="topk", k=2)
    kept = Dictionary({"blocks.0.mlp.act": basis}, {"slug": "toy", "hash": "ab"}, "topk")
    x = torch.from_numpy(X)
    for layout in ("saelens", "sparsify"):
        write_dictionary(kept, tmp_path / layout, layout)
        found = open_dictionary(tmp_path / layout)
        assert (found.name, dict(found.subject)) == ("mine", {"slug": "toy", "hash": "ab"})
        back = found.bases["blocks.0.mlp.act"]
        np.testing.assert_allclose(encode(back, x), encode(basis, x), atol=1e-5)
        np.testing.assert_allclose(decode(back, encode(back, x)), decode(basis, encode(basis, x)), atol=1e-5)


def test_the_hub_is_asked_for_one_folder_only(tmp_path, monkeypatch):
    import huggingface_hub

    asked = []

    def fetch(repository, *, revision=None, allow_patterns=None, local_files_only=False):
        asked.append((repository, revision, tuple(allow_patterns)))
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    put(tmp_path / "a" / "layers.1", {"k": 3}, drawn(8, **{"encoder.weight": (N, D), "encoder.bias": N, "W_dec": (N, D),
        "b_dec": D}), "sae.safetensors")  # fmt: skip
    found = open_dictionary("owner/coders/a/layers.1@v2")
    assert list(found.bases) == ["blocks.1.resid_out"]
    [(repository, revision, patterns)] = asked
    assert (repository, revision) == ("owner/coders", "v2")
    assert all(pattern.startswith("a/layers.1/") for pattern in patterns)
    with pytest.raises(PatchclampError, match="no such folder"):
        open_dictionary("owner/coders/elsewhere")

    def fail(*_args, **_options):
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(PatchclampError, match="no network"):
        open_dictionary("owner/coders")


REFUSED = {
    "layer norm": (settings("standard", normalize_activations="layer_norm"), plain(), "normalize_activations"),
    "another kind": (settings("matching_pursuit"), plain(), "matching_pursuit"),
    "no threshold": (settings("jumprelu"), plain(), "no threshold"),
    "a part missing": (settings("standard"), {"W_enc": np.zeros((D, N), np.float32)}, "no W_dec"),
    "shapes": (settings("standard"), plain() | {"b_enc": np.zeros(N + 1, np.float32)}, "b_enc"),
    "k too large": (settings("topk", k=N + 1), plain(), "k = 10"),
    "k no number": (settings("topk", k="3"), plain(), "k = '3'"),
    "NaN": (settings("standard"), plain() | {"W_dec": np.full((N, D), np.nan, np.float32)}, "NaN"),
    "one head": (settings("standard", hook_head_index=3), plain(), "hook_head_index"),
    "nowhere": (settings("standard", metadata={"hook_name": "blocks.1.ln2.hook_normalized"}), plain(), "does not tell"),
    "text for numbers": (settings("standard"), plain() | {"b_enc": np.zeros(N, bool)}, "bool"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_basis_can_say_is_refused(name, tmp_path):
    cfg, tensors, told = REFUSED[name]
    put(tmp_path, cfg, tensors, "sae_weights.safetensors")
    with pytest.raises(PatchclampError, match=told):
        open_dictionary(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "[" * 100_000, "nul", '{"a": ' * 20_000, " " * (2**20 + 1)])
def test_hostile_settings_are_refused(text, tmp_path):
    put(tmp_path, {}, plain(), "sae_weights.safetensors")
    (tmp_path / "cfg.json").write_text(text)
    with pytest.raises(Damaged, match=r"cfg\.json"):
        open_dictionary(tmp_path)


def test_pickles_and_broken_files_are_refused(tmp_path):
    folder = tmp_path / "layer_3"
    folder.mkdir()
    np.savez(folder / "params.npz", W_enc=np.array([{"a": 1}], dtype=object))
    with pytest.raises(Damaged, match="pickle"):
        open_dictionary(folder)
    for data in (b"", b"PK\x03\x04", pickle.dumps([1])):
        (folder / "params.npz").write_bytes(data)
        with pytest.raises(Damaged):
            open_dictionary(folder)
    np.savez(folder / "params.npz", **plain(threshold=N))
    with pytest.raises(PatchclampError, match="does not tell"):
        open_dictionary(folder)
    assert list(open_dictionary(folder, site="blocks.3.resid_out").bases) == ["blocks.3.resid_out"]
    for place in (tmp_path / "none", tmp_path):
        with pytest.raises(PatchclampError):
            open_dictionary(place / "x")


def test_layouts_without_such_a_coder_are_told(tmp_path):
    arrays = drawn(12, decoder=(N, D), encoder=(N, D))
    for activation, layout in (("identity", "saelens"), ("relu", "sparsify")):
        kept = Dictionary(
            {"a": Basis("b", "directions", **arrays, activation=activation)}, {"slug": "t", "hash": ""}, "x"
        )
        with pytest.raises(PatchclampError, match=activation):
            write_dictionary(kept, tmp_path / layout, layout)
        assert not (tmp_path / layout).exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(PatchclampError, match="empty"):
        write_dictionary(kept, tmp_path / "full", "saelens")


SAYS_NOTHING = {
    "hook_point": "blocks.1.hook_resid_pre", "hook_point_layer": 1, "model_name": "gpt2-small", "d_in": D, "d_sae": N,
    "dataset_path": "x", "dtype": "float32",
}  # fmt: skip


def test_a_folder_that_tells_nothing_of_its_input_is_opened_with_a_line_for_each_assumption(tmp_path):
    put(tmp_path, SAYS_NOTHING, plain(), "sae_weights.safetensors")
    found = open_dictionary(tmp_path)
    assumed = "\n".join(found.about["assumed"])
    assert all(word in assumed for word in ("center_writing_weights", "--center", "BOS", "--bos", "contexts"))
    assert len(found.about["assumed"]) == 3
    assert found.about["conditions"] == {}
    encoder = found.bases["blocks.1.resid_in"].encoder
    assert np.abs(encoder.mean(axis=1)).max() > 0.1
    told = open_dictionary(tmp_path, center=True, prepend_bos=False)
    [basis] = told.bases.values()
    same(basis, lambda row: oracle.saelens({**SAELENS["standard"][0]}, plain(), row - row.mean()))
    assert told.about["conditions"] == {"centred": True, "prepend_bos": False}
    assert len(told.about["assumed"]) == 1
    told.save(tmp_path / "own")
    again = open_dictionary(tmp_path / "own")
    assert again.about["conditions"] == told.about["conditions"]
    assert list(again.about["assumed"]) == told.about["assumed"]
    assert not open_dictionary(tmp_path, center=False).about["conditions"]["centred"]


def test_what_a_folder_tells_of_its_input_is_kept_and_goes_back(tmp_path):
    more = {
        "prepend_bos": True, "context_size": 128, "seqpos_slice": [1, None], "exclude_special_tokens": [0, 7],
        "model_from_pretrained_kwargs": {"center_writing_weights": True},
    }  # fmt: skip
    cfg, tensors = SAELENS["standard"]
    cfg = {**cfg, "metadata": {**cfg["metadata"], **more}}
    found = open_dictionary(put(tmp_path / "sae", cfg, tensors, "sae_weights.safetensors"))
    known = {
        "centred": True,
        "prepend_bos": True,
        "context_size": 128,
        "positions": [1, None, None],
        "excluded": [0, 7],
    }
    assert found.about["conditions"] == known
    assert "assumed" not in found.about
    [back] = write_dictionary(found, tmp_path / "back", "saelens")
    metadata = json.loads((back / "cfg.json").read_text())["metadata"]
    # The mean is taken off by the encoder that is written.
    assert metadata["model_from_pretrained_kwargs"] == {"center_writing_weights": False}
    assert (metadata["prepend_bos"], metadata["context_size"]) == (True, 128)
    again = open_dictionary(back)
    assert again.about["conditions"] == known
    [one], [other] = found.bases.values(), again.bases.values()
    np.testing.assert_allclose(encode(other, torch.from_numpy(X)), encode(one, torch.from_numpy(X)), atol=1e-5)


def test_gemma_scope_2_is_read_as_published(tmp_path):
    tensors = drawn(13, w_enc=(D, N), w_dec=(N, D), b_enc=N, b_dec=D, threshold=N)
    skip = drawn(14, affine_skip_connection=(D, D))
    named = "model.layers.5.{}_feedforward_layernorm.output"
    for name, cfg, arrays, site, reads in (
        ("res", {"hf_hook_point_in": "model.layers.17.output"}, tensors, "blocks.17.resid_out", None),
        ("att", {"hf_hook_point_in": "model.layers.1.self_attn.o_proj.input"}, tensors,
         "module.layers.1.self_attn.o_proj.in", None),
        ("trans", {"hf_hook_point_in": named.format("pre"), "hf_hook_point_out": named.format("post"),
                   "affine_connection": True}, {**tensors, **skip},
         "module.layers.5.post_feedforward_layernorm.out", "module.layers.5.pre_feedforward_layernorm.out"),
    ):  # fmt: skip
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({"architecture": "jump_relu", "model_name": "google/g", **cfg}))
        save_file(arrays, folder / "params.safetensors")
        found = open_dictionary(folder)
        [(where, basis)] = found.bases.items()
        assert (where, basis.reads, found.subject["slug"]) == (site, reads, "g")
        large = {f"W_{n[2:]}" if n.startswith("w_") else n: a for n, a in tensors.items()}
        extra = skip["affine_skip_connection"] if name == "trans" else np.zeros((D, D), np.float32)

        def expected(row, large=large, extra=extra):
            f, out = oracle.gemma_scope(large, row)
            return f, out + row @ extra

        same(basis, expected)
    (folder / "config.json").write_text('{"architecture": "topk"}')
    with pytest.raises(PatchclampError, match="topk"):
        open_dictionary(folder)


def test_a_folder_of_a_pickle_is_refused_with_its_reason_and_what_else_there_is(tmp_path):
    (tmp_path / "ae.pt").write_bytes(pickle.dumps({}))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(PatchclampError) as told:
        open_dictionary(tmp_path)
    assert "ae.pt, a pickle" in told.value.got
    assert "safetensors" in told.value.remedy


def test_what_cannot_be_applied_is_refused(tmp_path):
    tensors = drawn(8, **{"encoder.weight": (N, D), "encoder.bias": N, "W_dec": (N, D), "b_dec": D})
    folder = put(tmp_path / "layers.2", {"k": 3, "embed_skip": True}, tensors, "sae.safetensors")
    with pytest.raises(PatchclampError, match="a table besides its site"):
        open_dictionary(folder)
    put(tmp_path / "layers.2", {"k": 3, "signed": False}, tensors, "sae.safetensors")
    assert list(open_dictionary(folder).bases) == ["blocks.2.resid_out"]
    values = {"context_size": "long", "seqpos_slice": [0, 1, 0], "exclude_special_tokens": "yes"}
    for name, value in values.items():
        put(tmp_path / "sae", settings("standard", **{name: value}), plain(), "sae_weights.safetensors")
        with pytest.raises(PatchclampError, match=name):
            open_dictionary(tmp_path / "sae")
    heads = settings("standard", metadata={"hook_name": "blocks.1.attn.hook_z"})
    heads["model_from_pretrained_kwargs"] = {"fold_value_biases": True}
    put(tmp_path / "sae", heads, plain(), "sae_weights.safetensors")
    with pytest.raises(PatchclampError, match="fold_value_biases"):
        open_dictionary(tmp_path / "sae")
    heads["model_from_pretrained_kwargs"] = {}
    put(tmp_path / "sae", heads, plain(), "sae_weights.safetensors")
    with pytest.raises(PatchclampError, match="--center"):
        open_dictionary(tmp_path / "sae", center=True)
