"""What the rig promises holds in every family: gradients, sweeps, generation, restoration, relevance."""

import numpy as np
import pytest
import torch

from every_family import EVERY
from patchclamp.core.errors import CannotIntervene, PatchclampError
from patchclamp.core.intervention import change
from patchclamp.core.metric import Metric
from patchclamp.subjects.contract.laws import model_fingerprint, native_gap
from patchclamp.subjects.contract.verify import probes
from patchclamp.subjects.families.spec import family
from patchclamp.subjects.language import LanguageModel
from patchclamp.subjects.relevance_rules import DIRECT, RELP, RULES

IDS = ([3, 14, 15, 9, 26, 5], [35, 8, 9, 7])
METRIC = Metric("logit_difference", (7,), (11,))


@pytest.fixture
def double(monkeypatch):
    """Let models compute in float64 throughout: their norms, softmaxes and rotations name float32 themselves."""
    # Imported for the first time below, it would lay out its table of types without float32, for all tests to come.
    import safetensors.torch  # noqa: F401

    monkeypatch.setattr(torch, "float32", torch.float64)
    monkeypatch.setattr(torch, "float", torch.float64)
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)


def last_block(model, *, writable=True):
    return [s for s in model.sites() if s.layer == model.n_layers - 1 and (s.writable or not writable)]


@EVERY
def test_gradients_equal_finite_differences_in_float64(name, double):
    model = LanguageModel(family(name).tiny().double())
    if any(site.ragged for site in model.sites()):  # transformers' grouped products know no doubles
        model.module.set_experts_implementation("batched_mm")
    sites = [s for s in last_block(model) if s.kind != "attn.pattern"]
    found = model.differentiate([IDS[0]], METRIC, [s.path for s in sites])
    step, rng = 1e-4, np.random.default_rng(0)
    for site in sites:
        gradients = found.gradients[site.path]
        if site.ragged and not gradients.any():
            continue  # no token whose logits are read is routed there
        rows, units = (gradients.abs() >= gradients.abs().max() / 3).nonzero(as_tuple=True)
        pick = int(rng.integers(len(rows)))
        row, unit = int(rows[pick]), int(units[pick])
        position = int(found.gradients.positions(site.path, 0)[row])
        cells = [[change("add", site.path, unit, value=sign * step, at=position)] for sign in (1.0, -1.0)]
        up, down = model.measure([IDS[0]], METRIC, interventions=cells, attention="tap").tolist()
        expected = float(gradients[row, unit])
        assert abs((up - down) / (2 * step) - expected) <= 1e-4 * abs(expected) + 1e-7, site.path


@EVERY
def test_a_sweep_equals_one_run_per_cell(models, name):
    model = models[name]
    cells = [[change("set", s.path, 1, value=3.0)] for s in last_block(model) if s.kind != "attn.pattern"]
    swept = model.sweep([IDS[0]], METRIC, cells, batch_size=1)
    alone = torch.cat([model.measure([IDS[0]], METRIC, interventions=cell) for cell in cells])
    assert torch.equal(swept[[not s.tapped for s in last_block(model) if s.kind != "attn.pattern"]],
                       alone[[not s.tapped for s in last_block(model) if s.kind != "attn.pattern"]])  # fmt: skip
    assert (swept - alone).abs().max() <= 2e-5
    assert len(set(alone.tolist())) > len(cells) // 2


@EVERY
def test_a_clamp_holds_in_generation_whatever_the_padding(models, name):
    model = models[name]
    # Where only experts have neurons, what the mixture writes; without an MLP, what the mixer gives.
    site = next(s.path for s in model.sites() if s.kind in ("mlp.act", "mlp.write", "ssm.z"))
    clamp = [change("scale", site, (1, 2, 3), value=-20.0)]
    if not model.family.causal:
        with pytest.raises(PatchclampError, match="masked"):
            model.generate(list(IDS), max_new_tokens=3)
        return
    together = model.generate(list(IDS), interventions=clamp, max_new_tokens=4)
    for ids, row in zip(IDS, together, strict=True):
        for cache in (True, False):
            alone = model.generate([ids], interventions=clamp, max_new_tokens=4, cache=cache)[0]
            assert alone.ids.tolist() == row.ids.tolist(), cache
    bare = model.generate(list(IDS), max_new_tokens=4)
    assert [g.ids.tolist() for g in bare] != [g.ids.tolist() for g in together]


@EVERY
def test_half_precision_is_the_model_to_the_bit(name):
    model = LanguageModel(family(name).tiny().to(torch.bfloat16))
    assert {native_gap(probe) for probe in probes(model)} == {0.0}


@EVERY
def test_an_error_in_any_site_of_a_block_leaves_nothing_behind(models, name):
    model = models[name]
    before = model_fingerprint(model.module)

    def halt(_x):
        raise KeyboardInterrupt

    for site in last_block(model):
        basis = "neurons" if site.width else "heads"
        with pytest.raises(KeyboardInterrupt):
            model.run(list(IDS), record="*", interventions=[change("call", site.path, basis=basis, fn=halt)])
    assert model_fingerprint(model.module) == before


# -- relevance --------------------------------------------------------------------------------------------------------


def unbiased(name):
    module = family(name).tiny()
    for path, parameter in module.named_parameters():
        if path.endswith("bias"):
            parameter.data.zero_()
    model = LanguageModel(module)
    if model.family.logit_cap:  # a cap of logits is outside the rules
        setattr(module.config, model.family.logit_cap, None)
    if getattr(module.config, "clip_qkv", None):  # and so is a clip of values
        module.config.clip_qkv = None
    return model


def missed(model, rules):
    """By how much Σ resid_in · ρ misses m at the worst block, in units of the larger of 1 and |m|."""
    sites = [f"blocks.{i}.resid_in" for i in range(model.n_layers)]
    found = model.differentiate(list(IDS), METRIC, sites, rules=rules)
    products = {s: found.values[s].double() * found.gradients[s].double() for s in sites}
    of = [[float(products[s][a:b].sum()) for s in sites] for a, b in ((0, 6), (6, 10))]
    return max(abs(x - m) / max(1, abs(m)) for row, m in zip(of, found.metric.tolist(), strict=True) for x in row)


@EVERY
def test_relevance_is_conserved_where_the_rules_are_derived_and_refused_elsewhere(name):
    model = unbiased(name)
    four = ("ln", "identity", "half", "ah")
    for rule, why in model.family.underived.items():
        assert rule in RULES
        assert (f"rule {rule}", why) in model.capabilities.missing
        with pytest.raises(CannotIntervene, match="derived"):
            model.differentiate(list(IDS), METRIC, "embed", rules=(rule,))
    if model.family.underived:
        with pytest.raises(CannotIntervene, match="integrated gradients"):
            model.differentiate(list(IDS), METRIC, "embed", rules=RELP)
        return
    assert missed(model, four) <= 1e-5
    assert missed(model, four[1:]) > 1e-2
    if model.module.config.to_dict().get("activation_function") != "relu":  # whose slope is φ(x)/x already
        assert missed(model, ("ln", "half", "ah")) > 1e-2


@EVERY
def test_direct_attribution_reaches_the_logits_through_the_stream_alone(models, name):
    """What later blocks read is held, so that the gradient of every write is that of the stream after it."""
    model = models[name]
    found = model.differentiate([IDS[0]], METRIC, "blocks.*", rules=DIRECT)
    plain = model.differentiate([IDS[0]], METRIC, "blocks.*")
    assert torch.equal(found.metric, plain.metric)
    for i in range(model.n_layers):
        g = {s.kind: found.gradients[s.path] for s in model.sites() if s.layer == i and not s.ragged}
        last = [k for k in g if k.endswith(".write")][-1]
        assert g[last].any()
        if not model.family.sum_norms:
            writes = [k for k in g if k.endswith(".write")]
            assert "mlp.write" in writes[1:] or writes == ["ssm.write"]
            assert all(torch.allclose(g[k], g["resid_out"]) for k in writes)
            assert torch.allclose(g["resid_in"], g["resid_out"])
        # Only the position that is read has any, for nothing goes through attention.
        assert not g[last][:-1].any()


def test_a_misnamed_norm_is_told():
    from dataclasses import replace

    from patchclamp.subjects.families import llama

    model = LanguageModel(llama.tiny(), family=replace(llama.FAMILY, entry_norms=("nowhere",)))
    for rules in (("ln",), ("direct",)):
        with pytest.raises(CannotIntervene, match="nowhere"):
            model.differentiate(list(IDS), METRIC, "embed", rules=rules)
