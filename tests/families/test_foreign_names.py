"""A folder of sparsify or SAELens is read at the tensor that it names, in every family, and written under that name."""

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from every_family import CHOSEN
from patchclamp.core.basis import Basis
from patchclamp.core.dictionary import Dictionary
from patchclamp.core.errors import PatchclampError
from patchclamp.decompose.formats import open_dictionary, write_dictionary
from patchclamp.subjects.families.spec import family
from patchclamp.subjects.language import LanguageModel
from patchclamp.subjects.site_names import hook_at, module_at, resolve_sites, site_of_hook, site_of_module

IDS = [[5, 9, 2, 7, 11]]
SUBLAYERS = ("mlp", "feed_forward", "ffn", "attn", "self_attn", "attention", "mamba", "mixer")
N = 4


@pytest.fixture(scope="module", params=CHOSEN)
def model(request, models):
    model = models[request.param]
    before = dict(model.bases)
    yield model
    model.bases = before


def returned(model, path, side="out"):
    """Return what a module of the bare network gives, or takes, by a hook of one's own."""
    kept = []

    def hook(_module, inputs, output=None):
        first = inputs if output is None else output
        kept.append((first[0] if isinstance(first, tuple) else first).detach().clone())

    module = model.module.get_submodule(path)
    handle = module.register_forward_hook(hook) if side == "out" else module.register_forward_pre_hook(hook)
    try:
        with torch.no_grad():
            model.module(input_ids=torch.tensor(IDS), use_cache=False)
    finally:
        handle.remove()
    return kept[0].reshape(-1, kept[0].shape[-1])


def sublayers(model):
    blocks = dict(model.module.named_modules())
    for i in range(model.n_layers):
        for name in SUBLAYERS:
            if f"{model.family.blocks}.{i}.{name}" in blocks:
                yield i, name, f"{model.family.blocks}.{i}.{name}"


def write_sparsify(folder, width, transcode=False):
    rng = np.random.default_rng(0)
    shapes = {"encoder.weight": (N, width), "encoder.bias": N, "W_dec": (N, width), "b_dec": width}
    folder.mkdir(parents=True)
    (folder / "cfg.json").write_text(json.dumps({"k": 2, "transcode": transcode}))
    save_file({n: rng.normal(size=s).astype(np.float32) for n, s in shapes.items()}, folder / "sae.safetensors")
    return folder


def test_a_folder_of_sparsify_is_at_the_output_of_the_module_that_it_names(model, tmp_path):
    called = model.family.blocks.rpartition(".")[2]
    places = [(f"{called}.0", f"{model.family.blocks}.0")]
    places += [(f"{called}.{i}.{name}", path) for i, name, path in sublayers(model)]
    assert len(places) > 1 or model.family.name in ("opt",)
    for named, path in places:
        expected = returned(model, path)
        folder = write_sparsify(tmp_path / named, expected.shape[1])
        [site] = resolve_sites(model, open_dictionary(folder)).bases
        values = model.run(IDS, record=site, logits=False).recording[site]
        torch.testing.assert_close(values.float(), expected, rtol=0, atol=0, msg=f"{named} as {site}")
        model.add_dictionary(open_dictionary(folder, name=named.replace(".", "-")))
        assert f"{site}/{named.replace('.', '-')}" in model.bases


def test_a_transcoder_of_sparsify_reads_what_the_module_takes(model, tmp_path):
    mlps = [(i, name, path) for i, name, path in sublayers(model) if name in ("mlp", "feed_forward")]
    for i, name, path in mlps:
        taken, given = returned(model, path, "in"), returned(model, path)
        folder = write_sparsify(tmp_path / f"layers.{i}.{name}", given.shape[1], transcode=True)
        [(site, basis)] = resolve_sites(model, open_dictionary(folder)).bases.items()
        run = model.run(IDS, record=[site, basis.reads], logits=False).recording
        torch.testing.assert_close(run[basis.reads].float(), taken, rtol=0, atol=0)
        torch.testing.assert_close(run[site].float(), given, rtol=0, atol=0)


def test_a_site_is_written_for_sparsify_under_a_module_that_gives_just_it(model, tmp_path):
    rng = np.random.default_rng(0)
    for kind in ("mlp.write", "attn.write", "mlp.act", "resid_out"):
        sites = [s for s in model.sites() if s.path.endswith(kind) and s.width]
        if len(sites) < 2:
            continue
        sites = sites[:2]
        bases = {s.path: Basis("b", "directions", rng.normal(size=(N, s.width)).astype(np.float32),
                 rng.normal(size=(N, s.width)).astype(np.float32), activation="topk", k=2) for s in sites}  # fmt: skip
        folders = write_dictionary(
            Dictionary(bases, {"slug": "m", "hash": ""}, "topk"), tmp_path / kind, "sparsify", model=model
        )
        for site, folder in zip(bases, folders, strict=True):
            if folder.name == site:  # no module gives it, and none is named
                assert module_at(model, site) is None
                continue
            bare = model.module
            # Llama 4's is its own base: no module has the name that it gives.
            path = folder.name if bare.base_model is bare else f"{bare.base_model_prefix}.{folder.name}"
            expected = model.run(IDS, record=site, logits=False).recording[site].float()
            torch.testing.assert_close(returned(model, path), expected, rtol=0, atol=0, msg=f"{site} as {path}")


@pytest.mark.parametrize("sublayer", ["attn", "mlp"])
def test_hooks_beside_a_norm_are_on_the_side_where_transformerlens_has_them(model, sublayer):
    kind = model.family
    layer = model.n_layers - 1  # of the hybrid, the block that has attention
    place = kind.block.get(f"{sublayer}.write")
    if place is None:
        with pytest.raises(PatchclampError, match=rf"{sublayer}\.write"):
            site_of_hook(model, f"blocks.{layer}.hook_{sublayer}_out")
        return
    site = site_of_hook(model, f"blocks.{layer}.hook_{sublayer}_out")
    values = model.run(IDS, record=site, logits=False).recording[site].float()
    if kind.exit_norms:
        norm = f"{kind.blocks}.{layer}.{kind.exit_norms[0 if sublayer == 'attn' else 1]}"
        # Gemma's hooks are behind the norm, OLMo's before it.
        expected = returned(model, norm, "out" if kind.entry_norms else "in")
        other = returned(model, norm, "in" if kind.entry_norms else "out")
        assert (values - other).abs().max() > 0.1, place
    else:
        expected = model.run(IDS, record=f"blocks.{layer}.{sublayer}.write", logits=False).recording[
            f"blocks.{layer}.{sublayer}.write"
        ]
    torch.testing.assert_close(values, expected.float(), rtol=0, atol=0)
    assert hook_at(model, site) == f"blocks.{layer}.hook_{sublayer}_out"


def test_hooks_of_the_stream_are_refused_where_the_stream_has_another_value(model):
    for hook, kind in (
        ("hook_resid_pre", "resid_in"),
        ("hook_resid_mid", "resid_mid"),
        ("hook_resid_post", "resid_out"),
    ):
        if model.family.sum_norms and hook != "hook_resid_pre":
            with pytest.raises(PatchclampError, match="before the norm"):
                site_of_hook(model, f"blocks.1.{hook}")
        elif kind not in ("resid_in", "resid_out", *model.family.block):
            with pytest.raises(PatchclampError):
                site_of_hook(model, f"blocks.1.{hook}")
        else:
            assert site_of_hook(model, f"blocks.1.{hook}") == f"blocks.1.{kind}"
    if model.family.parallel:
        assert site_of_hook(model, "blocks.1.hook_mlp_in") == "blocks.1.resid_in"


def test_a_saelens_folder_is_moved_once_the_model_is_known(tmp_path):
    tensors = {n: np.random.default_rng(1).normal(size=s).astype(np.float32)
               for n, s in {"W_enc": (32, N), "W_dec": (N, 32), "b_enc": N, "b_dec": 32}.items()}  # fmt: skip
    (tmp_path / "cfg.json").write_text(json.dumps({"hook_name": "blocks.1.hook_mlp_out", "d_in": 32, "d_sae": N}))
    save_file(tensors, tmp_path / "sae_weights.safetensors")
    found = open_dictionary(tmp_path)
    for name, site in (("gemma2", "blocks.1.mlp.write"), ("olmo2", "module.model.layers.1.mlp.out")):
        model = LanguageModel(family(name).tiny())
        resolved = resolve_sites(model, found)
        assert list(resolved.bases) == [site]
        assert list(resolve_sites(model, resolved).bases) == [site]
        for layout in ("saelens", "patchclamp"):
            [back] = write_dictionary(found, tmp_path / name / layout, layout)  # without the model
            assert list(resolve_sites(model, open_dictionary(back)).bases) == [site]
        [back] = write_dictionary(resolved, tmp_path / name / "known", "saelens", model=model)
        assert json.loads((back / "cfg.json").read_text())["metadata"]["hook_name"] == "blocks.1.hook_mlp_out"


def test_a_module_that_a_model_has_not_is_refused():
    for name in ("opt", "gpt_neox"):
        model = LanguageModel(family(name).tiny())
        with pytest.raises(PatchclampError, match="one module"):
            site_of_module(model, "layers.0.self_attn_of_another")
