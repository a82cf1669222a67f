"""RelP's rules against matrices and stop-gradients written out by hand (tests/oracles/relevance.py)."""

from dataclasses import replace
from itertools import combinations

import pytest
import torch
from torch import nn

from oracles import hooks
from oracles import relevance as oracle
from patchclamp.core.errors import CannotIntervene, PatchclampError
from patchclamp.core.intervention import change
from patchclamp.core.metric import Metric
from patchclamp.subjects.apply import upcast
from patchclamp.subjects.engine import Restart
from patchclamp.subjects.families.spec import enlarge, family
from patchclamp.subjects.language import LanguageModel
from patchclamp.subjects.relevance_rules import DIRECT, RELP, RULES, forward_replacements

IDS = ([3, 14, 15, 9, 26, 5], [35, 8, 9, 7])
T, C = 7, 11
METRIC = Metric("logit_difference", (T,), (C,))
ALL = ("ln", "identity", "half", "ah")
GATED = ("gemma2", "llama")
UNGATED = ("gpt2", "gpt_neox", "gptj")
# Those that the oracles spell out; tests/families looks at what is conserved in every family.
SPELT = ("gemma2", "gpt2", "gpt_neox", "gptj", "llama")


def subsets(rules):
    return [chosen for n in range(len(rules) + 1) for chosen in combinations(rules, n)]


def cases(names, rules):
    """Pair families with sets of rules, half only with those that have something to halve."""
    return [(name, chosen) for name in names for chosen in subsets(rules) if name in GATED or "half" not in chosen]


def untapped(model):
    return [site.path for site in model.sites() if not site.tapped]


# Where every rule shows; each site costs a moment, and most tests need no more.
FEW = ["blocks.0.resid_in", "blocks.1.mlp.pre", "blocks.1.mlp.act", "blocks.1.attn.z", "final"]


def assert_close(found, expected, limit=1e-4, where=""):
    """Compare to a share of the largest value expected there."""
    largest = expected.abs().max().clamp(min=1e-9)
    assert (found.double() - expected.double()).abs().max() <= limit * largest, where


def equal(one, other):
    """Whether two differentiations gave the same gradients to the bit."""
    return all(torch.equal(one.gradients[site], other.gradients[site]) for site in one.gradients.values)


# -- oracles ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "chosen"), cases(["gpt2", "llama"], RELP))
def test_coefficients_are_the_products_of_every_step_s_matrix(models, name, chosen):
    model, rules = models[name], (*chosen, "ah")
    expected = [oracle.relevance(model.module, name, torch.tensor([ids]), T, C, rules) for ids in IDS]
    assert len(expected[0]) == 9
    found = model.differentiate(list(IDS), METRIC, list(expected[0]), rules=rules)
    for row, of_row in enumerate(expected):
        for site, rho in of_row.items():
            assert_close(found.gradients.of(site, row), rho, where=(site, row))


def test_coefficients_in_double_precision_are_the_matrices_to_many_digits():
    model = LanguageModel(family("gpt2").tiny().double())
    expected = oracle.relevance(model.module, "gpt2", torch.tensor([IDS[0]]), T, C, ALL)
    found = model.differentiate([IDS[0]], METRIC, list(expected), rules=ALL)
    for site, rho in expected.items():
        assert_close(found.gradients[site], rho, limit=1e-8, where=site)


@pytest.mark.parametrize(("name", "rules"), cases(SPELT, RELP))
def test_coefficients_are_those_of_stop_gradients_in_the_forward_formulas(models, name, rules):
    model = models[name]
    where = oracle.places(name, model.n_layers)
    found = model.differentiate(list(IDS), METRIC, list(where), rules=rules)
    formulas = oracle.rewritten(model.module, rules)
    for row, ids in enumerate(IDS):
        by_place = hooks.gradients(
            formulas, torch.tensor([ids]), torch.arange(len(ids))[None], list(where.values()),
            lambda z: z[:, -1, T] - z[:, -1, C],
        )  # fmt: skip
        for site, place in where.items():
            assert_close(found.gradients.of(site, row), by_place[place][1][0], where=(site, row))


@pytest.mark.parametrize(("name", "rules"), cases(["gpt2", "llama"], ALL))
def test_each_rule_alters_its_own_step_and_no_other(models, name, rules):
    """Between neighbouring sites every step's matrix is known, whichever of the rules hold."""
    model = models[name]
    kinds = [kind for kind in ("resid_in", *model.family.block, "resid_out") if kind != "attn.pattern"]
    found = model.differentiate([IDS[0]], METRIC, [f"blocks.1.{kind}" for kind in kinds], rules=rules)
    x, rho = ({kind: part[f"blocks.1.{kind}"].double() for kind in kinds} for part in (found.values, found.gradients))
    w_1, _, _, w_2, W_in, W_up, _ = (
        None if w is None else w.detach().double() for w in oracle.weights(model.module, name, 1)
    )
    centre, config, held = name == "gpt2", model.module.config, "ln" in rules
    epsilon = config.layer_norm_epsilon if centre else config.rms_norm_eps
    v = torch.ones_like(x["mlp.pre"]) if W_up is None else x["mlp.up"]
    halved = "half" in rules and W_up is not None
    du, dv = oracle.gate(x["mlp.pre"], v, oracle.phi(name), "identity" in rules, halved)
    assert_close(rho["mlp.pre"], rho["mlp.act"] * du)
    read = rho["mlp.pre"] @ W_in
    if W_up is not None:
        assert_close(rho["mlp.up"], rho["mlp.act"] * dv)
        read = read + rho["mlp.up"] @ W_up
    J = oracle.norm(x["resid_mid"], w_2, epsilon, centre, held)
    assert_close(rho["resid_mid"] - rho["resid_out"], oracle.back(J, read))
    pattern = model.run([IDS[0]], record="blocks.1.attn.pattern").recording["blocks.1.attn.pattern"]
    groups = x["attn.v"].shape[1] // 8
    J = oracle.mixed(pattern.transpose(0, 1).double(), torch.eye(groups * 8).double(), groups)
    assert_close(rho["attn.v"], torch.einsum("tz,tzsv->sv", rho["attn.z"], J))
    assert ("ah" in rules) == (not rho["attn.q"].any()) == (not rho["attn.k"].any())
    if name == "gpt2":  # Llama turns queries and keys before they are seen.
        W_qkv = model.module.transformer.h[1].attn.c_attn.weight.detach().double()
        read = torch.cat([rho[f"attn.{slot}"] for slot in "qkv"], 1) @ W_qkv.T
        J = oracle.norm(x["resid_in"], w_1, epsilon, centre, held)
        assert_close(rho["resid_in"] - rho["resid_mid"], oracle.back(J, read))


def jacobian(wrap, module, x):
    return torch.autograd.functional.jacobian(wrap(module.forward), x)


@pytest.mark.parametrize("name", SPELT)
def test_a_norm_alone_has_the_matrix_of_its_frozen_divisor(models, name):
    model = models[name]
    x = torch.randn(32, generator=torch.Generator().manual_seed(0)) * 2 + 0.7
    C = torch.eye(32) if name in GATED else torch.eye(32) - 1 / 32
    found = forward_replacements(model.family, model.module, ("ln",))
    for path, wrap in found.items():
        norm = model.module.get_submodule(path)
        w = (norm.weight if name != "gemma2" else 1 + norm.weight).detach()
        sigma = ((C @ x).square().mean() + 1e-6).sqrt()
        assert_close(jacobian(wrap, norm, x), torch.diag(w / sigma) @ C, where=path)
        assert torch.equal(wrap(norm.forward)(x), norm(x))
    per_block = {"gpt2": 2, "gpt_neox": 2, "gptj": 1, "llama": 2, "gemma2": 4}[name]
    assert len(found) == 3 * per_block + 1


@pytest.mark.parametrize("name", SPELT)
def test_a_nonlinearity_alone_keeps_relevance_and_is_finite_at_zero(models, name):
    model = models[name]
    x = torch.tensor([-6.0, -1.5, -0.5, -1e-7, -0.0, 0.0, 1e-7, 0.3, 4.0])
    for path, wrap in forward_replacements(model.family, model.module, ("identity",)).items():
        module = model.module.get_submodule(path)
        J = jacobian(wrap, module, x)
        y = module(x)
        assert torch.equal(wrap(module.forward)(x), y)
        assert torch.equal(J, torch.diag(J.diagonal()))
        slopes = J.diagonal()
        assert (slopes >= 0).all()
        assert (slopes < 1.001).all()
        away = x.abs() > 0.1
        assert_close((slopes * x)[away], y[away], limit=1e-5)
        assert (slopes[~away] <= 0.5).all()


def test_relu_needs_no_identity_rule():
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        n_layer=2, n_embd=32, n_head=4, vocab_size=61, n_positions=64, activation_function="relu",
        bos_token_id=0, eos_token_id=60,
    )  # fmt: skip
    model = LanguageModel(enlarge(GPT2LMHeadModel(config), weight=0.3))
    sites = ["blocks.0.resid_in", "blocks.0.mlp.pre", "blocks.1.mlp.pre"]
    plain, ruled = (model.differentiate([IDS[0]], METRIC, sites, rules=rules) for rules in ((), ("identity",)))
    for site in sites:
        assert_close(ruled.gradients[site], plain.gradients[site], limit=1e-3)


# -- the forward pass -------------------------------------------------------------------------------------------------

# GPT-J and Gemma 2 have no other attention than their eager one.
NATIVE = [*((name, "eager") for name in SPELT), ("gpt2", "sdpa"), ("gpt_neox", "sdpa"), ("llama", "sdpa")]
SETS = [(), *((rule,) for rule in RULES), RELP, ALL, DIRECT, RULES]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("name", "kind"), NATIVE)
def test_the_forward_pass_stays_native_to_the_bit_under_every_rule_set(name, kind, dtype):
    module = family(name).tiny().to(dtype)
    if module.config._attn_implementation != kind:
        module.set_attn_implementation(kind)
    model = LanguageModel(module)
    assert module.config._attn_implementation == kind
    sites = untapped(model)
    assert "final" in sites
    clean = model.run(list(IDS), record=sites, logits=METRIC.positions)
    measured = METRIC(upcast(clean.logits))
    for rules in SETS if dtype == torch.float32 else SETS[-4:]:
        # Whatever differs somewhere differs at the end; with the four rules every site is looked at.
        seen = sites if rules == ALL else ["blocks.2.mlp.act", "final"]
        found = model.differentiate(list(IDS), METRIC, seen, rules=rules)
        assert torch.equal(found.metric, measured), rules
        for site in seen:
            assert found.values[site].dtype == dtype
            assert torch.equal(found.values[site], clean.recording[site]), (rules, site)
            assert found.gradients[site].isfinite().all(), (rules, site)


@pytest.mark.parametrize("name", SPELT)
def test_what_passes_inside_attention_stays_native_to_the_bit(models, name):
    model = models[name]
    taps = [site.path for site in model.sites() if site.tapped]
    plain, ruled = (model.differentiate(list(IDS), METRIC, taps, rules=rules) for rules in ((), ALL))
    assert len(taps) == 12
    assert torch.equal(ruled.metric, plain.metric)
    for site in taps:
        assert torch.equal(ruled.values[site], plain.values[site]), site


@pytest.mark.parametrize("name", SPELT)
def test_a_row_padded_on_the_left_has_the_coefficients_that_it_has_alone(models, name):
    model = models[name]
    both = model.differentiate(list(IDS), METRIC, FEW, rules=ALL, padding="left")
    for row, ids in enumerate(IDS):
        alone = model.differentiate([ids], METRIC, FEW, rules=ALL)
        for site in FEW:
            assert_close(both.gradients.of(site, row), alone.gradients[site], where=site)


# -- conservation -----------------------------------------------------------------------------------------------------


def unbiased(name):
    module = family(name).tiny()
    with torch.no_grad():
        for path, parameter in module.named_parameters():
            if path.endswith("bias"):
                parameter.zero_()
    return LanguageModel(module)


def sums(model, rules, sites=None):
    """Return m, and Σ x ρ at every site, each ``(row,)`` and ``(site, row)``."""
    sites = sites or [f"blocks.{i}.resid_in" for i in range(model.n_layers)] + ["blocks.2.resid_out"]
    found = model.differentiate(list(IDS), METRIC, sites, rules=rules)
    product = [
        [(found.values.of(s, r).double() * found.gradients.of(s, r).double()).sum() for r in range(2)] for s in sites
    ]
    return found.metric.double(), torch.tensor(product)


def off(m, total):
    """By how much sums miss m, in units of the larger of 1 and |m|: the worst of the blocks."""
    return float(((total - m).abs() / m.abs().clamp(min=1)).max())


@pytest.mark.parametrize("name", SPELT)
def test_relevance_is_conserved_at_every_block_under_the_four_rules_alone(name):
    model = unbiased(name)
    if name == "gemma2":  # The cap of its logits is outside the rules.
        model.module.config.final_logit_softcapping = None
    needed = set(ALL) if name in GATED else set(ALL) - {"half"}
    for rules in (*(chosen for _, chosen in cases([name], ALL)), ALL):
        missed = off(*sums(model, rules))
        assert missed <= 1e-5 if needed <= set(rules) else missed > 1e-2, rules


@pytest.mark.parametrize("name", SPELT)
def test_what_is_conserved_came_from_the_embeddings(name):
    model = unbiased(name)
    m, total = sums(model, ALL, ["embed", "blocks.0.resid_in"])
    if name == "gpt2":  # Learned positions are added after the embedding, and take their share.
        rho = model.differentiate(list(IDS), METRIC, "blocks.0.resid_in", rules=ALL).gradients
        wpe = model.module.transformer.wpe.weight.detach().double()
        shares = [(rho.of("blocks.0.resid_in", r).double() * wpe[: len(ids)]).sum() for r, ids in enumerate(IDS)]
        assert off(m, total[:1] + torch.stack(shares)) <= 1e-5
        assert off(m, total[:1]) > 1e-2
    else:
        assert torch.equal(total[0], total[1])
    if name != "gemma2":
        assert off(m, total[1:]) <= 1e-5


def test_a_logit_cap_takes_its_share_once_and_conserves_the_rest():
    model = unbiased("gemma2")
    m, total = sums(model, ALL)
    assert (total - total[0]).abs().max() <= 1e-5
    assert (total - m).abs().min() > 1e-2
    cap = model.module.config.final_logit_softcapping
    z = model.run(list(IDS), logits=(-1,)).logits[:, 0].double()
    before = torch.atanh(z / cap) * cap
    slope = 1 - (z / cap) ** 2
    assert off((slope * before)[:, T] - (slope * before)[:, C], total) <= 1e-5


def test_biases_take_their_share(models):
    assert off(*sums(models["gpt2"], ALL)) > 1e-2


# -- toggles ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SPELT)
def test_a_rule_is_read_at_every_call_and_off_again_leaves_no_trace(models, name):
    model = models[name]

    def under(*rules):
        return model.differentiate(list(IDS), METRIC, FEW, rules=rules)

    plain = under()
    for rule in RULES:
        nothing_to_halve = rule == "half" and name in UNGATED
        assert equal(under(rule), plain) == nothing_to_halve, rule
        assert equal(under(), plain), rule
    others = ("ln", "identity", "ah")
    assert equal(under(*others), under(*others, "half")) == (name in UNGATED)
    assert equal(under(*ALL), under(*ALL[::-1], "ln"))


def test_what_another_library_put_into_a_module_is_called_and_stays():
    model = LanguageModel(family("llama").tiny())
    norm = model.module.get_submodule("model.layers.1.input_layernorm")
    calls, bare = [], norm.forward

    def foreign(x):
        calls.append(1)
        return 2 * bare(x)

    sites = untapped(model)
    ours = model.differentiate([IDS[0]], METRIC, sites, rules=RELP)
    norm.forward = foreign
    theirs = model.differentiate([IDS[0]], METRIC, sites, rules=RELP)
    assert calls
    assert norm.__dict__["forward"] is foreign
    assert torch.equal(theirs.values["final"], model.run([IDS[0]], record="final").recording["final"])
    assert not torch.equal(theirs.values["final"], ours.values["final"])


# -- restoration ------------------------------------------------------------------------------------------------------


def state(model):
    """Return what could have been left behind: forwards, methods, hooks, attention, frozen parameters, gradients."""
    inside = [
        (path, "forward" in part.__dict__, "_attn" in part.__dict__, len(part._forward_hooks),
         len(part._forward_pre_hooks), part.training)
        for path, part in model.module.named_modules()
    ]  # fmt: skip
    asking = [(path, p.requires_grad, p.grad is None) for path, p in model.module.named_parameters()]
    return inside, asking, model.module.config._attn_implementation


class Raising:
    """A metric that raises when it is read, or when its gradient is."""

    positions = (-1,)

    def __init__(self, error, backward=False):
        self.error, self.backward = error, backward

    def __call__(self, logits):
        if not self.backward:
            raise self.error

        def on_the_way_back(_gradient):
            raise self.error

        logits.register_hook(on_the_way_back)
        return logits[:, 0, T]


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
@pytest.mark.parametrize("name", SPELT)
def test_leaving_restores_the_model_however_it_is_left(name, error, monkeypatch):
    model = LanguageModel(family(name).tiny())
    for parameter in list(model.module.parameters())[::3]:
        parameter.requires_grad_(False)
    before = state(model)
    assert not any(replaced for _, replaced, *_ in before[0])
    plain = model.run(list(IDS)).logits

    def stop(*_args):
        raise error

    for site in ("embed", "blocks.1.mlp.pre", "blocks.2.attn.k"):
        with pytest.raises(error):
            model.differentiate(list(IDS), METRIC, "final", rules=RULES, interventions=[change("call", site, fn=stop)])
        assert state(model) == before
    for path in (model.family.final, f"{model.family.blocks}.1.{model.family.nonlinearity}"):
        with monkeypatch.context() as inner:
            inner.setattr(type(model.module.get_submodule(path)), "forward", stop)
            with pytest.raises(error):
                model.differentiate(list(IDS), METRIC, "blocks.0.mlp.act", rules=ALL)
        assert state(model) == before
    with monkeypatch.context() as inner:  # The metric is read, and differentiated, when the rules are off already.
        inner.setattr(Metric, "__call__", lambda _self, logits: Raising(error)(logits))
        with pytest.raises(error):
            model.differentiate(list(IDS), METRIC, "blocks.0.mlp.act", rules=ALL)
        assert state(model) == before
        inner.setattr(Metric, "__call__", lambda _self, logits: Raising(error, backward=True)(logits))
        with pytest.raises(error):
            model.differentiate(list(IDS), METRIC, "blocks.0.mlp.act", rules=ALL)
    model.differentiate(list(IDS), METRIC, [*FEW, "blocks.1.attn.q"], rules=RULES)
    assert state(model) == before
    assert torch.equal(model.run(list(IDS)).logits, plain)


def test_a_module_that_a_family_file_misnames_leaves_nothing_behind():
    wrong = replace(family("gpt2"), nonlinearity="mlp.nowhere")
    model = LanguageModel(family("gpt2").tiny(), family=wrong)
    before = state(model)
    with pytest.raises(CannotIntervene, match=r"mlp\.nowhere"):
        model.differentiate([IDS[0]], METRIC, "blocks.0.mlp.act", rules=RELP)
    assert state(model) == before


# -- refusals ---------------------------------------------------------------------------------------------------------


def assert_three_parts(caught):
    assert all((caught.value.expected, caught.value.got, caught.value.remedy))


@pytest.mark.parametrize("rules", [("lrp",), ("ln", "LN"), [""], "ln", "", "identity"])
def test_rules_that_are_none_are_refused(models, rules):
    says = "a list of texts for rules" if isinstance(rules, str) else "ln, identity, half, ah, direct"
    with pytest.raises(PatchclampError, match=says) as caught:
        models["gpt2"].differentiate([IDS[0]], METRIC, "blocks.0.mlp.act", rules=rules)
    assert_three_parts(caught)
    assert repr(rules) in caught.value.got


@pytest.mark.parametrize("rule", RULES)
def test_rules_need_a_family(rule):
    from transformers import GPT2LMHeadModel

    class Unheard(GPT2LMHeadModel):
        """A class that no family file names."""

    model = LanguageModel(Unheard(family("gpt2").tiny().config))
    site = "module.transformer.h.0.mlp.act.out"
    assert model.family is None
    assert model.differentiate([IDS[0]], METRIC, site).gradients[site].any()
    with pytest.raises(PatchclampError, match="Unheard") as caught:
        model.differentiate([IDS[0]], METRIC, site, rules=(rule,))
    assert_three_parts(caught)


def test_norms_out_of_memory_are_refused_by_name():
    module = family("llama").tiny()
    model = LanguageModel(module)
    weight = module.model.layers[1].input_layernorm.weight
    module.model.layers[1].input_layernorm.weight = nn.Parameter(weight.to("meta"))
    with pytest.raises(CannotIntervene, match=r"layers\.1\.input_layernorm") as caught:
        forward_replacements(model.family, module, ("ln",))
    assert_three_parts(caught)


# -- families ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SPELT)
def test_every_norm_of_a_family_is_listed(models, name):
    model, spec = models[name], family(name)
    norms = {
        path for path, part in model.module.named_modules() if "Norm" in type(part).__name__ and hasattr(part, "weight")
    }
    inside = (*spec.entry_norms, *spec.exit_norms)
    assert len(set(inside)) == len(inside)
    assert norms == {spec.final, *(f"{spec.blocks}.{i}.{norm}" for i in range(model.n_layers) for norm in inside)}
    # A sublayer's own output passes an exit norm; the stream passes an entry norm.
    sites = [f"blocks.1.{kind}" for kind in ("mlp.act", "attn.z")]
    cut = model.differentiate([IDS[0]], METRIC, [*sites, "blocks.1.resid_in"], rules=("direct",))
    assert all(cut.gradients[site].any() for site in sites)


# -- direct -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2"])
def test_direct_coefficients_are_what_a_neuron_writes_to_the_logits(models, name):
    model = models[name]
    module, centre = model.module, name == "gpt2"
    sites = [f"blocks.{i}.{kind}" for i in range(3) for kind in ("mlp.act", "attn.z", "resid_out")]
    found = model.differentiate(list(IDS), METRIC, sites, rules=DIRECT)
    gain = 1.0 if name == "gemma2" else 0.0
    w_f = module.get_submodule(model.family.final).weight.detach() + gain
    epsilon = module.config.layer_norm_epsilon if centre else module.config.rms_norm_eps
    W_U = module.lm_head.weight.detach()
    for row in range(len(IDS)):
        rho = W_U[[T, C]]
        if name == "gemma2":  # The cap keeps its slope.
            z = model.run([IDS[row]], logits=(-1,)).logits[0, 0, [T, C]]
            rho = rho * (1 - (z / module.config.final_logit_softcapping) ** 2)[:, None]
        x = found.values.of("blocks.2.resid_out", row)[-1:]
        rho = oracle.back(oracle.norm(x, w_f, epsilon, centre, True), (rho[0] - rho[1])[None])
        for i in range(3):
            b = module.get_submodule(f"{model.family.blocks}.{i}")
            _, _, W_O, _, _, _, W_down = oracle.weights(module, "gpt2" if centre else "llama", i)
            exits = {"attn.z": None, "mlp.act": None}
            if name == "gemma2":
                exits = {"attn.z": b.post_attention_layernorm, "mlp.act": b.post_feedforward_layernorm}
            ways = {"attn.z": (W_O, exits["attn.z"]), "mlp.act": (W_down, exits["mlp.act"])}
            for kind, (W, exit_norm) in ways.items():
                W, expected = W.detach(), rho
                if exit_norm is not None:
                    written = found.values.of(f"blocks.{i}.{kind}", row)[-1:] @ W.T
                    expected = oracle.back(oracle.norm(written, exit_norm.weight.detach() + 1, epsilon, 0, True), rho)
                gradient = found.gradients.of(f"blocks.{i}.{kind}", row)
                assert_close(gradient[-1:], expected @ W, where=(i, kind))
                assert not gradient[:-1].any()


# -- beside interventions and taps ------------------------------------------------------------------------------------

CHANGES = {
    "neuron": [change("set", "blocks.1.mlp.act", 7, value=3.0, at=2)],
    "head": [change("scale", "blocks.0.attn.z", 1, basis="heads", value=-2.0)],
    "gate": [change("add", "blocks.1.mlp.pre", 5, value=1.5, at=-1)],
    "stream": [change("ablate", "blocks.1.resid_in", (3, 4))],
    "values": [change("ablate", "blocks.1.attn.v", (0, 1), at=1)],
    "queries": [change("scale", "blocks.1.attn.q", value=0.5)],
}


@pytest.mark.parametrize("name", SPELT)
def test_interventions_hold_under_rules(models, name):
    model, sites, rules = models[name], FEW, ALL
    clean = model.measure(list(IDS), METRIC)
    for kind, made in CHANGES.items():
        run = model.run(list(IDS), record=sites, interventions=made, logits=METRIC.positions)
        found = model.differentiate(list(IDS), METRIC, sites, interventions=made, rules=rules)
        assert torch.equal(found.metric, METRIC(run.logits)), kind
        assert not torch.equal(found.metric, clean), kind
        for site in sites:
            assert torch.equal(found.values[site], run.recording[site]), (kind, site)
        if kind in ("head", "values"):
            with model.intervene(made):
                around = model.differentiate(list(IDS), METRIC, sites, rules=rules)
            assert torch.equal(around.metric, found.metric), kind
            assert equal(around, found), kind
    rows = [CHANGES["neuron"], []]
    each = model.differentiate(list(IDS), METRIC, sites, interventions=rows, rules=rules)
    for row, made in enumerate(rows):
        alone = model.differentiate([IDS[row]], METRIC, sites, interventions=made, rules=rules)
        for site in sites:
            assert_close(each.gradients.of(site, row), alone.gradients[site], where=site)


@pytest.mark.parametrize("name", ["gptj", "llama"])
def test_a_restart_gives_later_sites_what_the_whole_run_gives_them(models, name):
    model, later = models[name], FEW[1:4]
    whole = model.differentiate([IDS[0]], METRIC, [*later, "blocks.1.resid_in"], rules=RELP)
    restart = Restart(1, whole.values["blocks.1.resid_in"][None])
    found = model.differentiate([IDS[0]], METRIC, later, rules=RELP, restart=restart)
    assert torch.equal(found.metric, whole.metric)
    for site in later:
        assert torch.equal(found.gradients[site], whole.gradients[site])


@pytest.mark.parametrize("name", SPELT)
def test_nothing_flows_back_through_a_clamped_neuron(models, name):
    found = models[name].differentiate(
        [IDS[0]], METRIC, ["blocks.1.mlp.pre", "blocks.1.mlp.act"], interventions=CHANGES["neuron"], rules=RELP
    )
    before, after = (found.gradients[f"blocks.1.mlp.{kind}"] for kind in ("pre", "act"))
    assert before[2, 7] == 0 != after[2, 7]
    assert before[2].any()


@pytest.mark.parametrize("name", SPELT)
def test_held_patterns_give_queries_and_keys_nothing(models, name):
    model = models[name]
    sites = [f"blocks.{i}.attn.{slot}" for i in range(3) for slot in ("q", "k", "v")]
    plain, held = (model.differentiate(list(IDS), METRIC, sites, rules=rules) for rules in ((), ("ah",)))
    for site in sites:
        assert torch.equal(held.values[site], plain.values[site])
        assert plain.gradients[site].any()
        assert held.gradients[site].any() == site.endswith("v"), site


@pytest.mark.parametrize("rules", [RELP, ("ah",), ALL, DIRECT])
@pytest.mark.parametrize("name", SPELT)
def test_patterns_are_recorded_and_differentiated_under_rules(models, name, rules):
    """∂m/∂A_ts = ρ(z_t) · v_s per head, whether or not anything goes on from there."""
    model = models[name]
    sites = ["blocks.1.attn.pattern", "blocks.1.attn.z"]
    found = model.differentiate([IDS[0]], METRIC, sites, rules=rules)
    clean = model.run([IDS[0]], record=["blocks.1.attn.pattern", "blocks.1.attn.v"]).recording
    assert torch.equal(found.values[sites[0]], clean[sites[0]])
    v = clean["blocks.1.attn.v"].unflatten(1, (-1, 8))
    v = v.repeat_interleave(4 // v.shape[1], 1)
    rho = found.gradients["blocks.1.attn.z"].unflatten(1, (4, 8))
    assert_close(found.gradients[sites[0]], torch.einsum("thd,shd->ths", rho, v))


# -- norms that are not the family's ----------------------------------------------------------------------------------


class Doubled(nn.Module):
    """A linear map in a norm's place."""

    def forward(self, x):
        return 2 * x


class Lengths(nn.Module):
    """A norm that divides by the length, not by the standard deviation."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(32))

    def forward(self, x):
        return self.weight * x / x.norm(dim=-1, keepdim=True)


@pytest.mark.parametrize("other", [Doubled, Lengths])
@pytest.mark.parametrize("place", ["h.1.ln_2", "ln_f"])
def test_a_norm_that_computes_something_else_is_refused_by_name(other, place):
    module = family("gpt2").tiny()
    parent, _, name = place.rpartition(".")
    setattr(module.transformer.get_submodule(parent), name, other())
    model = LanguageModel(module)
    with pytest.raises(CannotIntervene, match=rf"got transformer\.{place}, a {other.__name__} that computes something"):
        model.differentiate([IDS[0]], METRIC, FEW, rules=RELP)
    assert model.differentiate([IDS[0]], METRIC, FEW).metric.isfinite().all()
    assert "computes something else" in model.indirect


def test_a_norm_that_was_taken_out_is_the_identity_under_the_rule():
    module = family("gpt2").tiny()
    module.transformer.h[2].ln_2, module.transformer.ln_f = nn.Identity(), nn.Identity()
    model = LanguageModel(module)
    found = model.differentiate([IDS[0]], METRIC, "blocks.2.mlp.act", rules=("ln",)).gradients["blocks.2.mlp.act"]
    weight = module.transformer.h[2].mlp.c_proj.weight @ (module.lm_head.weight[T] - module.lm_head.weight[C])
    assert_close(found[-1], weight)


def test_a_layer_norm_without_weights_divides_all_the_same():
    from transformers import OPTConfig, OPTForCausalLM

    config = OPTConfig(
        num_hidden_layers=2, hidden_size=32, word_embed_proj_dim=32, num_attention_heads=4, ffn_dim=64, vocab_size=61,
        max_position_embeddings=64, layer_norm_elementwise_affine=False,
    )  # fmt: skip
    bare = LanguageModel(enlarge(OPTForCausalLM(config), weight=0.3))
    config.layer_norm_elementwise_affine = True
    like = OPTForCausalLM(config).eval()
    like.load_state_dict({**like.state_dict(), **bare.module.state_dict()})
    for rules in (RELP, DIRECT):
        found, expected = (m.differentiate([IDS[0]], METRIC, FEW, rules=rules) for m in (bare, LanguageModel(like)))
        for path in FEW:
            assert_close(found.gradients[path], expected.gradients[path], where=path)
    assert bare.indirect == ""


@pytest.mark.parametrize("name", SPELT)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_norms_of_every_precision_are_known_as_what_they_are(name, dtype):
    forward_replacements(family(name), family(name).tiny().to(dtype), ("ln",))
