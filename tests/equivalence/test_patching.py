"""Activation patching against one forward pass per cell (tests/oracles/patching.py), and what it must always hold."""

import itertools

import numpy as np
import pytest
import torch

from oracles import hooks
from oracles import patching as oracle
from patchclamp.attribute.patching import patch_sites, plan_patching
from patchclamp.attribute.patching_folder import patch_to_folder
from patchclamp.core.bundle import Bundle
from patchclamp.core.errors import CannotIntervene, Damaged, PatchclampError
from patchclamp.core.metric import EachMetric, Metric
from patchclamp.core.score_maps import count_run
from patchclamp.core.scores import Scores
from patchclamp.core.stats import mean_interval, sign_flip_p
from patchclamp.core.task import Case, Task
from patchclamp.report import draw
from patchclamp.subjects.families.spec import enlarge

PAIRS = [
    Case("w3 w17 w8 w40", "w3 w20 w8 w41", (" w7",), (" w9",), group="four"),
    Case("w5 w1 w8 w2", "w6 w1 w9 w2", (" w11",), (" w7",), group="four"),
    Case("w30 w8", "w31 w8", (" w7",), (" w12",), group="two"),
]


def small(name):
    """Make a model of two blocks, 12 neurons and 2 heads each: few enough cells for one run per cell."""
    import transformers as hf

    common = {"vocab_size": 61, "bos_token_id": 0, "eos_token_id": 60}
    if name == "gpt2":
        config = hf.GPT2Config(n_layer=2, n_embd=16, n_head=2, n_inner=12, n_positions=64, **common)
        return enlarge(hf.GPT2LMHeadModel(config), weight=0.25, seed=3)
    config = hf.LlamaConfig(
        num_hidden_layers=2, hidden_size=16, num_attention_heads=2, num_key_value_heads=1, intermediate_size=12,
        max_position_embeddings=64, **common,
    )  # fmt: skip
    return enlarge(hf.LlamaForCausalLM(config), weight=0.25, seed=3)


@pytest.fixture(scope="module")
def models(tiny_language_model):
    return {name: tiny_language_model(name, small(name)) for name in ("gpt2", "llama")}


@pytest.fixture(scope="module")
def asked(models):
    return {name: model.read(Task(tuple(PAIRS)), least=0.0) for name, model in models.items()}


def effects(scores):
    """Return every pair's effects by site and basis, (pair, unit, place)."""
    return {
        (block.site, block.basis): scores.cases[:, scores.index.grid(block.site, block.basis)].transpose(0, 2, 1)
        for block in scores.index.blocks
    }


def slow(model, family, pairs, i, site, basis, unit, positions, direction):
    """Return the oracle's effect of one cell."""
    width = model.site(site).width
    block = {"whole": width, "heads": width // 2, "neurons": 1}[basis]
    metric = pairs.metrics[i]
    return oracle.effect(
        model.module, hooks.places(family, 2)[site], pairs.clean[i].ids, pairs.counterpart[i].ids,
        lambda z: z[0, -1, metric.target[0]] - z[0, -1, metric.contrast[0]],
        columns=slice(unit * block, (unit + 1) * block), positions=positions, direction=direction,
    )  # fmt: skip


@pytest.mark.parametrize("direction", ["denoise", "noise"])
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_every_cell_is_that_of_one_forward(models, asked, name, direction):
    model, pairs = models[name], asked[name]
    found = patch_sites(model, pairs, "resid,attn,mlp,head,neuron", direction=direction, batch_size=7)
    lengths = [len(x) for x in pairs.clean]
    assert lengths == [5, 5, 3]
    assert found.index.spans == ("-5", "-4", "-3", "-2", "-1")
    by_site = effects(found)
    assert {site for site, _ in by_site} >= {"blocks.0.resid_in", "blocks.1.resid_in", "blocks.1.resid_out"}
    assert ("blocks.0.resid_out", "whole") not in by_site
    checked = 0
    for (site, basis), values in by_site.items():
        units = range(values.shape[1]) if basis != "neurons" else (0, 7)
        for i, unit, place in itertools.product(range(3), units, range(5)):
            position = lengths[i] - 5 + place
            if position < 0:
                assert np.isnan(values[i, unit, place])
                continue
            expected = slow(model, name, pairs, i, site, basis, unit, [position], direction)
            assert values[i, unit, place] == pytest.approx(expected, abs=2e-4), (site, basis, unit, i, position)
            checked += abs(expected) > 1e-3
    assert checked > 40
    # What stands before the first token that differs is the same in both runs, and need not be run.
    run = found.measures["run"]
    first = found.index.grid("blocks.0.resid_in", "whole")[0]
    assert run[first] == 0
    assert found.per_case[:2, first] == pytest.approx(0.0)
    assert 0 < count_run(found)[1] < np.isfinite(found.per_case).sum()
    assert (run <= found.counts(np.arange(len(found)))).all()


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_spans_and_all_positions_are_patched_at_once(models, asked, name):
    model, pairs = models[name], asked[name]
    together = patch_sites(model, pairs, "head", positions="all")
    spans = patch_sites(model, pairs, ["head"], positions=["-1", "-4:-1", "1:3"], batch_size=3)
    assert together.index[0] == "blocks.0.attn.z/heads/0"
    assert spans.index.spans == ("-1", "-4:-1", "1:3")
    assert [str(spans.key(int(k))) for k in spans.index.grid("blocks.0.attn.z", "heads")[:, 1]] == [
        f"blocks.0.attn.z/heads/1@{at}" for at in ("-1", "-4:-1", "1:3")
    ]
    for site, head, i in itertools.product(("blocks.0.attn.z", "blocks.1.attn.z"), range(2), range(3)):
        n = len(pairs.clean[i])
        own = effects(together)[site, "heads"][i, head, 0]
        assert own == pytest.approx(slow(model, name, pairs, i, site, "heads", head, range(n), "denoise"), abs=2e-4)
        for place, at in enumerate(([n - 1], range(n - 4, n - 1), range(1, 3))):
            value = effects(spans)[site, "heads"][i, head, place]
            if at[0] < 0:  # the short prompt has no four tokens
                assert np.isnan(value)
                continue
            expected = slow(model, name, pairs, i, site, "heads", head, at, "denoise")
            assert value == pytest.approx(expected, abs=2e-4)


def test_patching_everything_makes_all_the_difference(models, asked):
    for name, model in models.items():
        for direction in ("denoise", "noise"):
            found = patch_sites(model, asked[name], "resid", positions="all", direction=direction)
            assert found.per_case == pytest.approx(1.0, abs=1e-4)


def test_the_stream_after_the_last_block_matters_only_where_m_is_read(models, asked):
    found = patch_sites(models["gpt2"], asked["gpt2"], "resid")
    last = effects(found)["blocks.1.resid_out", "whole"][:, 0]
    assert last[:, -1] == pytest.approx(1.0, abs=1e-4)
    assert np.nanmax(np.abs(last[:, :-1])) < 1e-5


def test_parts_and_batches_change_nothing(models, asked, monkeypatch):
    from patchclamp.attribute import patching

    model, pairs = models["llama"], asked["llama"]
    whole = patch_sites(model, pairs, "head,mlp")
    monkeypatch.setattr(patching, "PAIRS", 1)
    seen = []
    single = patch_sites(
        model, pairs, "head,mlp", batch_size=1, progress=lambda done, total: seen.append((done, total))
    )
    np.testing.assert_allclose(single.per_case, whole.per_case, atol=1e-5)
    assert seen == sorted(seen)
    assert seen[-1] == (plan_patching(model, pairs, "head,mlp").n_cells,) * 2


def test_features_are_patched_by_their_difference(models, asked):
    from patchclamp.core.basis import Basis

    model, pairs = models["gpt2"], asked["gpt2"]
    directions = np.linalg.qr(np.random.default_rng(0).normal(size=(12, 12)))[0].astype(np.float32)
    model.add_basis(Basis("turned", "directions", decoder=directions), "blocks.0.mlp.act")
    try:
        turned = patch_sites(model, pairs, "feature", positions="all")
    finally:
        model.bases.pop("blocks.0.mlp.act/turned")
    assert effects(turned)["blocks.0.mlp.act", "turned"].shape == (3, 12, 1)
    # A feature's patch moves the vector along its direction by the difference of what is read off it.
    module, (path, side) = model.module, hooks.places("gpt2", 2)["blocks.0.mlp.act"]
    d, kept = torch.from_numpy(directions[4]), []
    clean, corrupted = (torch.as_tensor(p[0].ids)[None] for p in (pairs.clean, pairs.counterpart))
    at = torch.arange(5)[None]
    with torch.no_grad():
        hooks.called(module, clean, at, [(path, side, lambda x: kept.append(x.clone()))])
        z = hooks.called(module, corrupted, at, [(path, side, lambda x: x + ((kept[0] - x) @ d)[..., None] * d)])
    metric = pairs.metrics[0]
    m = float(z[0, -1, metric.target[0]] - z[0, -1, metric.contrast[0]])
    expected = (m - pairs.m_counterpart[0]) / (pairs.m_clean[0] - pairs.m_counterpart[0])
    assert effects(turned)["blocks.0.mlp.act", "turned"][0, 4, 0] == pytest.approx(expected, abs=2e-4)


def test_a_sweep_over_several_prompts_is_that_of_each(models, asked):
    from patchclamp.core.intervention import Intervention, Span

    model, pairs = models["gpt2"], asked["gpt2"]
    prompts = list(pairs.clean[:2])
    paths = ("blocks.0.mlp.act", "blocks.1.mlp.act")
    cells = [[Intervention(path, "ablate", (u,), at=(Span(2, 3),))] for path in paths for u in range(3)]
    alone = [model.sweep(p, m, cells) for p, m in zip(prompts, pairs.metrics[:2], strict=True)]
    of = [0, 1] * len(cells)
    both = [cell for cell in cells for _ in range(2)]
    together = model.sweep(prompts, EachMetric(pairs.metrics[:2]), both, of=of)
    torch.testing.assert_close(together[0::2], alone[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(together[1::2], alone[1], atol=1e-5, rtol=0)
    with pytest.raises(PatchclampError, match="whose each cell is"):
        model.sweep(prompts, EachMetric(pairs.metrics[:2]), cells)
    with pytest.raises(PatchclampError, match="of 3 and 5 tokens"):
        model.sweep([pairs.clean[0], pairs.clean[2]], Metric("logit", (1,)), cells, of=[0] * 6)


# -- results ----------------------------------------------------------------------------------------------------------


def test_means_are_over_the_pairs_that_have_the_place(models, asked):
    found = patch_sites(models["gpt2"], asked["gpt2"], "mlp,head")
    places = found.index.grid("blocks.1.attn.z", "heads")[:, 1]
    values = effects(found)["blocks.1.attn.z", "heads"][:, 1]
    estimates = found.estimates(places)
    assert [one.n for one in estimates] == found.counts(places).tolist() == [2, 2, 3, 3, 3]
    for place, one in enumerate(estimates):
        assert one.value == found.values[places[place]] == pytest.approx(np.nanmean(values[:, place]), abs=1e-12)
        known = values[:, place][~np.isnan(values[:, place])]
        interval = mean_interval(known)
        assert (one.low, one.high) == pytest.approx((interval.low, interval.high), abs=1e-9)
        assert one.p == sign_flip_p(known)
        assert one.null.low <= 0 <= one.null.high
    assert found.provenance.extra["tokens"][0] == "<bos>"
    assert found.to_json()["least_p"] == 0.25
    groups = [pair.group for pair in asked["gpt2"].task.cases]
    two = found.some([groups.index("two")])
    # The one short prompt has no more than three places.
    assert two.index.spans == ("-3", "-2", "-1")
    assert two.score("blocks.1.attn.z/heads/1@-2") == values[groups.index("two"), 3]
    four = found.some([i for i, group in enumerate(groups) if group == "four"])
    assert (len(four.cases), four.index) == (2, found.index)
    assert four.values == pytest.approx(found.per_case[:2].mean(0), abs=1e-12)
    assert "The first of 2 pairs" in draw(four)


def test_one_pair_has_no_interval_and_says_so(models, asked):
    found = patch_sites(models["gpt2"], asked["gpt2"], "attn").some([0])
    [one] = found.estimates(found.places(1, signed=False))
    assert np.isnan([one.low, one.high]).all()
    assert (one.interval, one.p, one.n) == (None, 1.0, 1)


@pytest.mark.parametrize(
    ("sites", "options", "says"),
    [
        ("blocks", {}, "sites among"),
        ("blocks.0.attn.pattern", {}, "attention patterns"),
        ("head,", {}, "sites among"),
        ("head", {"positions": "9"}, "within 5 tokens"),
        ("head", {"positions": "+1"}, "within 5 tokens"),
        ("head", {"positions": "middle"}, "positions like"),
        ("head", {"direction": "both"}, "direction among noise, denoise"),
        ("head", {"batch_size": 0}, "batch size of at least 1"),
        ("blocks.0.mlp.act/heads", {}, "a site with heads"),
        ("blocks.0.mlp.act/nothing", {}, "basis"),
    ],
)
def test_what_cannot_be_patched_is_refused(models, asked, sites, options, says):
    with pytest.raises(PatchclampError, match=says):
        patch_sites(models["gpt2"], asked["gpt2"], sites, **options)


def test_too_many_cells_are_refused_before_anything_runs(models, asked, monkeypatch):
    from patchclamp.attribute import patching

    monkeypatch.setattr(patching, "MOST_BYTES", 100)
    with pytest.raises(PatchclampError, match="of effects"):
        plan_patching(models["gpt2"], asked["gpt2"], "neuron")


# -- folder -----------------------------------------------------------------------------------------------------------


def test_a_folder_holds_everything_and_an_interrupted_one_goes_on(models, asked, tmp_path, monkeypatch):
    from patchclamp.attribute import patching

    monkeypatch.setattr(patching, "PAIRS", 1)
    model, pairs = models["gpt2"], asked["gpt2"]
    whole = patch_to_folder(plan_patching(model, pairs, "head,mlp"), tmp_path / "whole")
    np.testing.assert_array_equal(whole.per_case, patch_sites(model, pairs, "head,mlp").per_case)
    again = Scores.load(tmp_path / "whole")
    np.testing.assert_array_equal(again.per_case, whole.per_case)
    assert again.to_json() == whole.to_json()
    assert again.index == whole.index

    class Stop(Exception):
        pass

    def stop(done, total):
        if done > total // 2:
            raise Stop

    with pytest.raises(Stop):
        patch_to_folder(plan_patching(model, pairs, "head,mlp"), tmp_path / "cut", progress=stop)
    assert len(Bundle.open(tmp_path / "cut").pieces) in (1, 2)
    with pytest.raises(PatchclampError, match="interrupted after"):
        Scores.load(tmp_path / "cut")
    with pytest.raises(PatchclampError, match="a new or empty folder"):
        patch_to_folder(plan_patching(model, pairs, "head,mlp"), tmp_path / "cut")
    with pytest.raises(PatchclampError, match="another sites"):
        patch_to_folder(plan_patching(model, pairs, "mlp"), tmp_path / "cut", resume=True)
    resumed = patch_to_folder(plan_patching(model, pairs, "head,mlp"), tmp_path / "cut", resume=True)
    np.testing.assert_array_equal(resumed.per_case, whole.per_case)
    files = sorted(file.name for file in (tmp_path / "whole").iterdir())
    assert files == sorted(file.name for file in (tmp_path / "cut").iterdir())
    for name in files:
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    part = tmp_path / "cut" / "cases-00001.safetensors"
    part.write_bytes(part.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(Damaged, match="cases-00001"):
        Scores.load(tmp_path / "cut")


def test_a_site_that_is_only_read_is_refused(models, asked):
    readable = [site.path for site in models["gpt2"].sites() if not site.writable and site.width]
    for path in readable[:1]:
        with pytest.raises(CannotIntervene, match="writable"):
            patch_sites(models["gpt2"], asked["gpt2"], path)
