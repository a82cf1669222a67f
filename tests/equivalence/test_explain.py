"""Explanations against plain hooks and autograd (tests/oracles/explain.py), one forward per cell."""

import json

import numpy as np
import pytest
import torch

import patchclamp as pc
from oracles import explain as oracle
from oracles import hooks
from oracles import stats as plain
from patchclamp.attribute import attribute_nodes
from patchclamp.attribute.nodes import unit_strata
from patchclamp.core.controls import draw_controls
from patchclamp.core.errors import Damaged, PatchclampError
from patchclamp.core.graph import Graph
from patchclamp.core.keys import Block, UnitIndex
from patchclamp.core.metric import Metric
from patchclamp.core.scores import Scores
from patchclamp.core.unit import UnitKey
from patchclamp.recipes import explain, receipts
from patchclamp.recipes.receipts import normalise
from patchclamp.report.explanation import render

PROMPT, CORRUPT = "w3 w17 w8 w40", "w3 w20 w8 w41"
QUESTIONS = {
    "contrast": {"target": " w5", "contrast": " w6"},
    "corrupted": {"target": " w5", "contrast": " w6", "counterpart": CORRUPT},
    "swapped": {"target": " w6", "contrast": " w5"},
    "alone": {"target": " w5"},
    "several tokens": {"target": " w5 w6 w7"},
    "several tokens, corrupted": {"target": " w5 w6 w7", "counterpart": CORRUPT},
    "shared beginning": {"target": " w5 w6 w7", "contrast": " w5 w9", "counterpart": CORRUPT},
}


def case_of(model, prompt, target=None, contrast=None, counterpart=None, metric=None):
    """Return one prompt with its answers as the model reads it."""
    sides = [() if answer is None else (answer,) for answer in (target, contrast)]
    return model.read_case(prompt, *sides, counterpart=counterpart, metric=metric)


def ids(model, text):
    """Return the tokenizer's own ids, bos in front."""
    return list(model.tokenizer.bare(text)["input_ids"])


def posed(model, prompt, target, contrast=None, counterpart=None):
    """Return x, x′ and m of a question, worked out apart from the package."""
    n = len(ids(model, prompt))
    answer = ids(model, prompt + target)[n:]
    if contrast is not None:
        other = ids(model, prompt + contrast)[n:]
        k = next(i for i, (a, b) in enumerate(zip(answer, other, strict=False)) if a != b)
        before, m = answer[:k], oracle.logit_difference(answer[k], other[k])
    elif len(answer) == 1:
        before, m = [], lambda z: z[0, -1, answer[0]]
    else:
        before, m = answer[:-1], oracle.sequence_log_probability(answer)
    x, x_ = (None if p is None else torch.tensor([ids(model, p) + before]) for p in (prompt, counterpart))
    return x, x_, m


def sites(model, levels=("neuron", "head")):
    kinds = {"neuron": "mlp.act", "head": "attn.z"}
    family = "llama" if "Llama" in type(model.module).__name__ else "gpt2"
    where = hooks.places(family, model.n_layers)
    return {path: place for path, place in where.items() if path.split(".", 2)[-1] in [kinds[k] for k in levels]}


def columns(model, key):
    """Return a node as the oracle writes it: site, position and the columns of the unit."""
    site = model.site(key.site)
    block = site.width // site.n_heads if key.basis == "heads" else 1
    return key.site, key.position, slice(key.index * block, (key.index + 1) * block)


def expected_scores(model, x, x_, m):
    """Return every unit's score by key; a head's is the sum over its columns."""
    found = {}
    for (site, position, column), score in oracle.scores(model.module, x, sites(model), m, x_).items():
        heads = model.site(site).n_heads if site.endswith("attn.z") else 0
        index = column * heads // model.site(site).width if heads else column
        key = str(UnitKey(site, index, "heads" if heads else "neurons", model.name, position))
        found[key] = found.get(key, 0.0) + score
    return found


def nodes_asked(model, asked):
    """Return the attribution's arguments for a question, by plain gradients."""
    q = case_of(model, PROMPT, **asked)
    return {"metric": q.metric, "corrupted": q.counterpart, "method": "attribution_patching"}


def caught_cells(monkeypatch):
    """Keep the sets of keys that receipts are measured of."""
    kept, bare = [], receipts.measure_sets

    def measure_sets(model, cases, sets, baseline, **options):
        listed = [row for row in sets.rows if row.dtype != bool]
        kept.append([[sets.keys.key(int(place)) for place in row] for row in listed])
        return bare(model, cases, sets, baseline, **options)

    monkeypatch.setattr(receipts, "measure_sets", measure_sets)
    return kept


def nodes_of(cell):
    return [(key.site, key.basis, key.position, key.index) for key in cell]


# -- scores and receipts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_every_score_matches_the_formula(models, name, question):
    model, asked = models[name], QUESTIONS[question]
    expected = expected_scores(model, *posed(model, PROMPT, **asked))
    found = attribute_nodes(model, case_of(model, PROMPT, **asked).clean, **nodes_asked(model, asked))
    assert len(found.values) == len(expected)
    for i, score in enumerate(found.values):
        assert score == pytest.approx(expected[str(found.key(i))], rel=1e-3, abs=1e-4)
    e = explain(model, PROMPT, method="attribution_patching", **asked)
    ranked = [cause.predicted for cause in e.causes]
    assert ranked == pytest.approx(sorted(expected.values())[::-1][:20], rel=1e-3, abs=1e-4)
    assert [text for text, _ in e.tokens] == [model.tokenizer.token(int(i)) for i in e.case.clean.ids]
    assert sum(score for _, score in e.tokens) == pytest.approx(e.total)
    assert e.total == pytest.approx(sum(expected.values()), rel=1e-3, abs=1e-3)
    lowest = sorted(expected.values())[:5]
    assert [c.predicted for c in e.opposing] == pytest.approx(lowest, rel=1e-3, abs=1e-4)
    x, x_, m = posed(model, PROMPT, **asked)
    with torch.no_grad():
        assert e.metric_clean == pytest.approx(float(m(model.module(x).logits)), abs=1e-4)
        if x_ is not None:
            assert e.metric_baseline == pytest.approx(float(m(model.module(x_).logits)), abs=1e-4)
        first = model.module(x).logits[0, e.case.metric.positions[0]].softmax(-1)
    assert e.probability == pytest.approx(float(first[e.case.metric.target[0]]), abs=1e-5)
    assert e.likeliest[0][0] == model.tokenizer.token(int(first.argmax()))


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_every_receipt_equals_a_run_of_its_own(models, name, question, monkeypatch):
    model, asked = models[name], QUESTIONS[question]
    x, x_, m = posed(model, PROMPT, **asked)
    cells = caught_cells(monkeypatch)
    e = explain(model, PROMPT, top=12, method="attribution_patching", **asked)
    r = e.receipts

    def effect(keys):
        nodes = [columns(model, key) for key in keys]
        return oracle.effect(model.module, x, sites(model), m, nodes, x_)

    chosen = [UnitKey.parse(cause.key) for cause in e.causes]
    assert e.measured == pytest.approx(effect(chosen), abs=1e-4)
    for cause in (*e.causes, *e.opposing):
        assert cause.measured == pytest.approx(effect([UnitKey.parse(cause.key)]), abs=1e-4)
    first = 1 + len(e.causes) + len(e.opposing)
    for found, cell in list(zip(r.randoms.measured, cells[-1][first : first + 99], strict=True))[::4]:
        keys = [UnitKey(site, i, basis, None, position) for site, basis, position, i in nodes_of(cell)]
        assert found == pytest.approx(effect(keys), abs=1e-4)
    for rival in r.rivals:
        assert len(rival.keys) == len(chosen)
        assert rival.measured == pytest.approx(effect(map(UnitKey.parse, rival.keys)), abs=1e-4)
    for check in r.agreement.checks[::6]:
        assert check.measured == pytest.approx(effect([UnitKey.parse(check.key)]), abs=1e-4)
    assert e.predicted == pytest.approx(sum(c.predicted for c in e.causes))
    both = [c.predicted for c in r.agreement.checks], [c.measured for c in r.agreement.checks]
    assert r.agreement.spearman == pytest.approx(plain.spearman(*both))
    assert r.agreement.slope == pytest.approx(plain.slope(*both))
    assert r.agreement.spearman_interval.low <= r.agreement.spearman <= r.agreement.spearman_interval.high
    sets = {frozenset(nodes_of(cell)): i for i, cell in enumerate(cells[-1][first : first + 99])}
    different = [abs(r.randoms.measured[i]) for i in sets.values()]
    assert r.randoms.n_different == len(different)
    assert r.receipt.p == (1 + sum(c >= abs(e.measured) for c in different)) / (1 + len(different))
    assert r.randoms.interval.low <= r.randoms.mean <= r.randoms.interval.high


@pytest.mark.parametrize("question", ["contrast", "corrupted"])
def test_the_keep_only_curve_replaces_all_but_the_strongest(models, question):
    model, asked = models["llama"], QUESTIONS[question]
    x, x_, m = posed(model, PROMPT, **asked)
    e = explain(model, PROMPT, method="attribution_patching", **asked)
    kept = e.receipts.kept
    found = attribute_nodes(model, e.case.clean, **nodes_asked(model, asked))
    assert kept.nodes == len(found.values) == kept.sizes[-1]
    assert (kept.sizes[0], kept.measured[-1]) == (0, pytest.approx(e.metric_clean, abs=1e-5))
    for size, measured in zip(kept.sizes, kept.measured, strict=True):
        others = [found.key(int(i)) for i in found.order(signed=False)[size:]]
        effect = oracle.effect(model.module, x, sites(model), m, [columns(model, key) for key in others], x_)
        assert measured == pytest.approx(e.metric_clean - effect, abs=1e-4)
    for low, mean, high in zip(kept.random_low, kept.random, kept.random_high, strict=True):
        assert low <= mean + 1e-9
        assert mean <= high + 1e-9
    if x_ is None:
        assert e.metric_baseline == kept.measured[0]


def test_single_nodes_are_checked_some_of_them_predicted_near_zero(models):
    e = explain(models["llama"], PROMPT, " w5", contrast=" w6")
    checks = e.receipts.agreement.checks
    largest = max(abs(c.predicted) for c in checks)
    assert len({c.key for c in checks}) == len(checks) == 64
    assert sum(c.near_zero for c in checks) == 16
    assert all((abs(c.predicted) <= largest / 100) == c.near_zero for c in checks)


@pytest.mark.parametrize(
    ("clean", "floor", "share"), [(4.0, 0.0, 0.5), (0.05, 0.0, None), (1.0, 1.05, None), (-8.0, 1.0, None)]
)
def test_shares_are_refused_where_there_is_too_little_to_divide_by(clean, floor, share):
    assert normalise(2.0, clean, floor) == share


def test_causes_say_what_stands_at_their_place(models):
    model = models["llama"]
    e = explain(model, PROMPT, " w5", contrast=" w6", top=40)
    run = model.run(PROMPT, record=list(sites(model))).recording
    tokens = ["<bos>", " w3", " w17", " w8", " w40"]
    assert {c.kind for c in e.causes} == {"neuron", "head"}
    for cause in e.causes:
        key = UnitKey.parse(cause.key)
        site, position, part = columns(model, key)
        values = run[site][position, part]
        assert cause.position == position
        assert cause.token == tokens[position]
        assert cause.activation == pytest.approx(float(values.norm() if cause.kind == "head" else values[0]), rel=1e-6)
        alone = torch.zeros(1, model.site(site).width)
        alone[0, part] = values
        module = model.module.get_submodule(sites(model)[site][0])
        with torch.no_grad():
            written = module(alone) - module(torch.zeros_like(alone))
            direct = model.module.lm_head(model.module.model.norm(written))[0]
        assert list(cause.promotes) == [model.tokenizer.token(int(i)) for i in direct.topk(4).indices]


@pytest.mark.parametrize("levels", [("neuron",), ("head",)])
def test_levels_choose_what_is_scored(models, levels):
    model = models["gpt2"]
    x, x_, m = posed(model, PROMPT, " w5", " w6")
    e = explain(model, PROMPT, " w5", contrast=" w6", levels=levels, method="attribution_patching")
    assert {c.kind for c in e.causes} == set(levels)
    expected = oracle.scores(model.module, x, sites(model, levels), m, x_)
    assert e.total == pytest.approx(sum(expected.values()), rel=1e-3, abs=1e-3)


# -- controls ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("question", ["contrast", "corrupted"])
@pytest.mark.parametrize("seed", range(3))
def test_controls_have_the_same_sites_and_positions_and_never_a_chosen_unit(models, question, seed, monkeypatch):
    model = models["llama"]
    cells = caught_cells(monkeypatch)
    e = explain(model, PROMPT, top=15, seed=seed, **QUESTIONS[question])
    joint, first = cells[-1][0], 16 + len(e.opposing)
    singles, controls = cells[-1][1:16], cells[-1][first : first + 99]
    chosen = [node for cell in singles for node in nodes_of(cell)]
    assert len(chosen) == len(singles)
    # Units of one place are replaced at once, so that the joint cell has them in another order.
    assert sorted(nodes_of(joint)) == sorted(chosen)
    assert len(controls) == len(e.receipts.randoms.measured) == 99
    for control in map(nodes_of, controls):
        for site, basis, position in {node[:3] for node in chosen}:
            n = sum(node[:3] == (site, basis, position) for node in chosen)
            there = 4 if basis == "heads" else 48
            # Where most heads of a block were chosen, those of other blocks and positions stand in.
            assert sum(node[:3] == (site, basis, position) for node in control) >= (n if n <= there - n else 0)
        assert not set(control) & set(chosen)
        assert len(set(control)) == len(control)
    assert len({frozenset(nodes_of(control)) for control in controls}) == e.receipts.randoms.n_different == 99


def test_the_same_seed_gives_the_same_explanation_and_another_one_other_controls(models):
    model, asked = models["gpt2"], QUESTIONS["corrupted"]
    one, again, other = (explain(model, PROMPT, seed=seed, **asked).to_json() for seed in (0, 0, 1))
    assert one == again
    changed = {name for name in one if one[name] != other[name]}
    assert changed == {"receipts", "seed"}
    assert one["receipts"]["randoms"]["measured"] != other["receipts"]["randoms"]["measured"]


def test_controls_come_from_the_same_decile_where_there_are_enough():
    found = attribution({("blocks.0.mlp.act", "neurons"): np.arange(100.0)[None]})
    controls = draw_controls(unit_strata(found), [3, 4, 97], 30)
    assert controls.outside == 0.0
    for places in controls.sets:
        assert sorted(i // 10 for i in places) == [0, 0, 9]
        assert not set(places) & {3, 4, 97}
        assert len(set(places)) == 3
    crowded = draw_controls(unit_strata(found), range(8), 30)
    assert crowded.outside >= 6 / 8
    assert all(len(places) == 8 and max(places) < 30 for places in crowded.sets)
    few = attribution({("blocks.0.attn.z", "heads"): np.arange(4.0)[None]})
    # Three other heads are three sets: one that is drawn again is no other control.
    assert sorted(draw_controls(unit_strata(few), [1], 30).sets) == [(0,), (2,), (3,)]


def attribution(sizes):
    """Return scores of units of some sizes, every score 1."""
    index = UnitIndex([Block(*where, x.shape[1], len(x)) for where, x in sizes.items()], "toy")
    column = np.concatenate([x.ravel() for x in sizes.values()])
    return Scores(index, np.ones(len(index)), measures={"size": column, "activation": column})


def test_the_model_is_as_it_was(models):
    model = models["llama"]
    x = torch.tensor([[0, 5, 6]])
    before = model.module(x).logits
    explain(model, PROMPT, " w5", contrast=" w6")
    assert torch.equal(model.module(x).logits, before)
    assert all(p.requires_grad and p.grad is None for p in model.module.parameters())


# -- questions --------------------------------------------------------------------------------------------------------


def test_a_shared_beginning_is_shown_and_the_first_difference_asked(models):
    q = case_of(models["gpt2"], PROMPT, " w5 w6 w7", contrast=" w5 w9", counterpart=CORRUPT)
    assert q.clean.ids.tolist() == [0, 5, 19, 10, 42, 7]
    assert q.counterpart.ids.tolist() == [0, 5, 22, 10, 43, 7]
    assert (q.metric.target, q.metric.contrast, q.metric.positions) == ((8,), (11,), (-1,))
    assert (*q.target_names, *q.contrast_names) == (" w6", " w9")


def test_an_answer_of_several_tokens_is_teacher_forced(models):
    q = case_of(models["gpt2"], PROMPT, " w5 w6 w7")
    assert q.clean.ids.tolist() == [0, 5, 19, 10, 42, 7, 8]
    assert (q.metric.kind, q.metric.target, q.metric.positions) == ("sequence_log_probability", (7, 8, 9), (4, 5, 6))
    assert (*q.target_names, *q.contrast_names) == (" w5 w6 w7",)


def test_half_a_character_is_shown_as_the_tokens_that_it_is(stories):
    model = pc.load(str(stories))
    prompt = "Once upon a time, there was a little girl named"
    q = case_of(model, prompt, " 😀", counterpart="Once upon a time, there was a little boy named")
    whole = ids(model, prompt + " 😀")
    assert q.clean.ids.tolist() == whole[:-1]
    assert q.metric.target == tuple(whole[14:])
    assert q.counterpart.ids.tolist()[-4:] == whole[-5:-1]


@pytest.mark.parametrize(
    ("prompt", "options", "words"),
    [
        (PROMPT, {"target": " w5", "contrast": " w5"}, "a contrast that departs from the target"),
        (PROMPT, {"target": " w5", "contrast": " w5 w6"}, "neither may be the beginning of the other"),
        (PROMPT, {"target": "w5"}, "an answer that leaves the prompt's own tokens as they are"),
        (PROMPT, {"target": " w5", "contrast": "w6"}, "got 'w6' after"),
        (PROMPT, {"target": ""}, "an answer of one character at least"),
        (" ", {"target": " w5"}, "a text"),
        (PROMPT, {"target": " w99"}, "an answer made of words that the model.s vocabulary has"),
        (PROMPT, {"target": " w5", "contrast": " w99"}, "an answer made of words"),
        (PROMPT, {"target": " w5", "n_controls": 1001}, "20 random sets to 1,000"),
        (PROMPT, {"target": " w5", "counterpart": "w3 w20 w8"}, "5 tokens, as the prompt has; got 4 tokens"),
        (
            PROMPT,
            {"target": " w5", "counterpart": "w3 w20 w8"},
            "depart at position 2: ' w17 w8 w40' against ' w20 w8'",
        ),
        (PROMPT, {"target": " w5", "counterpart": PROMPT + " w1"}, "depart at position 5: '' against ' w1'"),
        (PROMPT, {"target": " w5", "counterpart": PROMPT}, "a corrupted prompt that differs from the prompt"),
        (PROMPT, {"target": " w5", "top": 0}, "at least 1 cause"),
        (PROMPT, {"target": " w5", "n_controls": 19}, "20 random sets to 1,000; got 20 and 19"),
        (PROMPT, {"target": " w5", "levels": ()}, r"patterns of site paths; got \(\)"),
        (PROMPT, {"target": " w5", "levels": ("layer",)}, r"patterns of site paths; got \('layer',\)"),
        (
            PROMPT,
            {"target": " w5", "method": "saliency"},
            "a method among activation_patching, .* relp, smoothgrad; got 'saliency'",
        ),
        (PROMPT, {}, "a target .*, or a metric; got neither"),
        (PROMPT, {"target": " w5", "metric": Metric("logit", (3,))}, "a target .*, or a metric; got both"),
        (PROMPT, {"metric": Metric("logit", (61,))}, "tokens 0 to 60; got token 61"),
        (PROMPT, {"metric": Metric("logit", (3,), positions=(5,))}, "got position 5"),
        (" ".join(["w1"] * 63), {"target": " w5 w6 w7"}, "at most 64 tokens"),
    ],
)
def test_a_question_that_cannot_be_asked_is_refused(models, prompt, options, words):
    with pytest.raises(PatchclampError, match=words):
        explain(models["gpt2"], prompt, **options)


def test_a_metric_that_is_not_finite_is_refused(tiny_language_model):
    model = tiny_language_model("gpt2")
    model.module.lm_head.weight.data[7] = torch.inf
    with pytest.raises(PatchclampError, match="a finite metric"):
        explain(model, PROMPT, " w5")


def test_a_model_without_a_tokenizer_or_a_family_is_refused(models):
    from transformers import MptConfig, MptForCausalLM

    with pytest.raises(PatchclampError, match="a model with a tokenizer"):
        explain(pc.wrap(models["gpt2"].module), PROMPT, " w5")
    config = MptConfig(vocab_size=61, d_model=16, n_layers=1, n_heads=2)
    stranger = pc.wrap(MptForCausalLM(config), tokenizer=models["gpt2"].tokenizer.bare)
    asked = "a model that a family file covers, .*; got MptForCausalLM.* --level 'module.transformer.blocks.*.ffn"
    with pytest.raises(PatchclampError, match=asked):
        explain(stranger, PROMPT, " w5")


def uncovered(kind, tokenizer):
    """Make a language model that no family file covers, with the sites of its units."""
    import transformers

    from patchclamp.subjects.families.spec import enlarge

    if kind == "xglm":
        config = transformers.XGLMConfig(
            vocab_size=61, d_model=32, num_layers=2, attention_heads=4, ffn_dim=64, max_position_embeddings=64
        )
        model, sites = transformers.XGLMForCausalLM(config), "module.model.layers.*.fc2.in"
    else:
        config = transformers.FalconMambaConfig(vocab_size=61, hidden_size=32, num_hidden_layers=2, state_size=4)
        model, sites = transformers.FalconMambaForCausalLM(config), "module.backbone.layers.*.mixer.out_proj.in"
    return pc.wrap(enlarge(model, weight=0.3), tokenizer=tokenizer), sites


@pytest.mark.parametrize("kind", ["xglm", "falcon_mamba"])
@pytest.mark.parametrize("method", ["integrated_gradients", "activation_patching"])
def test_a_model_without_a_family_is_explained_at_module_sites(models, kind, method):
    model, sites = uncovered(kind, models["gpt2"].tokenizer.bare)
    e = explain(model, "w3 w9", " w5", contrast=" w7", levels=[sites], top=2, method=method)
    assert [r.name for r in e.receipts.rivals] == ["largest activations"]
    assert type(model.module).__name__ in e.omitted["direct logit attribution"]
    assert json.loads(json.dumps(e.to_json()))["omitted"] == dict(e.omitted)
    assert "No set was chosen by direct logit attribution: no family file covers" in render(e.to_json())
    best = e.causes[0]
    site, unit = best.key.split("/", 1)[1].split("/neurons/")
    unit, position = map(int, unit.split("@"))
    off = pc.change("set", site, unit, value=0.0, at=position)
    shown, metric = e.case.clean, e.case.metric
    effect = model.measure(shown, metric) - model.measure(shown, metric, interventions=[off])
    assert best.measured == pytest.approx(float(effect), abs=1e-5)


class Int8Linear(torch.nn.Module):
    """Weight-only int8; ``derivative`` says whether it can be differentiated, as some kernels cannot."""

    def __init__(self, linear, derivative):
        super().__init__()
        self.scale, self.derivative = float(linear.weight.detach().abs().max()) / 127, derivative
        self.weight = torch.nn.Parameter((linear.weight.detach() / self.scale).round().to(torch.int8), False)

    def forward(self, x):
        return torch.nn.functional.linear(x if self.derivative else x.detach(), self.weight.to(x.dtype) * self.scale)


def quantised(tiny_language_model, *, derivative):
    model = tiny_language_model("llama")
    for block in model.module.model.layers:
        block.mlp.down_proj = Int8Linear(block.mlp.down_proj, derivative)
    return model


def test_quantised_weights_are_explained_by_gradients_where_they_have_them(tiny_language_model):
    model = quantised(tiny_language_model, derivative=True)
    dense = tiny_language_model("llama")
    for block, own in zip(dense.module.model.layers, model.module.model.layers, strict=True):
        block.mlp.down_proj.weight.data = own.mlp.down_proj.weight * own.mlp.down_proj.scale
    e, expected = (explain(m, "w3 w9", " w5", contrast=" w7", levels=["head"], top=2) for m in (model, dense))
    assert not e.omitted
    assert e.edges.about["kind"] == "direct"
    assert [c.predicted for c in e.causes] == pytest.approx([c.predicted for c in expected.causes], rel=1e-4)
    assert [c.measured for c in e.causes] == pytest.approx([c.measured for c in expected.causes], rel=1e-4)


def test_quantised_weights_without_gradients_are_explained_by_exact_replacement(tiny_language_model):
    model = quantised(tiny_language_model, derivative=False)
    with pytest.raises(PatchclampError, match=r"Int8Linear at model\.layers\.0\.mlp\.down_proj has no gradients here"):
        explain(model, "w3 w9", " w5", contrast=" w7", levels=["head"], top=2, progress=refuse_work)
    e = explain(model, "w3 w9", " w5", contrast=" w7", levels=["head"], top=2, method="activation_patching")
    assert "weights are quantised" in e.omitted["direct logit attribution"]
    assert e.edges.about["kind"] == "total"
    assert all(cause.promotes for cause in e.causes)


def refuse_work(*_done):
    raise AssertionError("work was begun")


def test_what_is_said_of_a_unit_needs_to_know_what_it_writes(models):
    model = models["gpt2"]
    values = torch.randn(1, 32)
    assert model.promoted_logits("module.transformer.h.0.mlp.c_proj.out", values) is None
    assert torch.equal(model.promoted_logits("blocks.0.mlp.write", values), model.read_out(values))
    assert torch.equal(model.promoted_logits("embed", values), model.read_out(values))


# -- as data ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("question", ["contrast", "corrupted", "several tokens"])
@pytest.mark.parametrize("top", [1, 20])
def test_an_explanation_is_json_and_a_graph_that_comes_back_as_it_was(models, question, top, tmp_path):
    model = models["llama"]
    e = explain(model, PROMPT, top=top, **QUESTIONS[question])
    data = json.loads(json.dumps(e.to_json(), allow_nan=False))
    assert [c["key"] for c in data["causes"]] == [c.key for c in e.causes]
    graph = e.graph()
    assert Graph.from_json(json.loads(json.dumps(graph.to_json(), allow_nan=False))) == graph
    graph.save(tmp_path / "graph.json")
    assert Graph.load(tmp_path / "graph.json") == graph
    named = [*e.causes, *e.opposing]
    ends = [n.key for n in graph.nodes if n.kind in ("input", "error")]
    assert [n.key for n in graph.nodes] == [*(c.key for c in named), *ends, "output"]
    assert graph.edges == e.edges.edges
    assert {key for edge in graph.edges for key in (edge.source, edge.target)} <= {n.key for n in graph.nodes}
    assert set(ends) <= {edge.source for edge in graph.edges}
    assert graph.measures["overlap"] == pytest.approx(e.total - (e.metric_clean - e.metric_baseline))
    assert graph.measures["completeness_gap"] == e.gap
    assert graph.subject == {"slug": "tiny-llama", "hash": model.hash}


@pytest.mark.parametrize("content", ["{", "[]", "null", "[" * 100_000, '{"format": "patchclamp-graph", "version": 1}'])
def test_a_graph_that_is_none_is_refused(tmp_path, content):
    (tmp_path / "graph.json").write_text(content)
    with pytest.raises(Damaged):
        Graph.load(tmp_path / "graph.json")


def test_a_graph_of_another_version_is_refused():
    with pytest.raises(PatchclampError, match="Update patchclamp"):
        Graph.from_json({"format": "patchclamp-graph", "version": 2})


# -- a real model -----------------------------------------------------------------------------------------------------


def test_a_real_answer_matches_the_oracle(stories):
    model = pc.load(str(stories))
    prompt = "Once upon a time, there was a little girl named"
    e = explain(model, prompt, " Lily", contrast=" Tom", top=10, method="attribution_patching")
    x, x_, m = posed(model, prompt, " Lily", " Tom")
    expected = expected_scores(model, x, x_, m)
    best = sorted(expected, key=expected.get, reverse=True)[:10]
    assert [c.key for c in e.causes] == best
    for cause in e.causes:
        assert cause.predicted == pytest.approx(expected[cause.key], abs=1e-4)
        nodes = [columns(model, UnitKey.parse(cause.key))]
        assert cause.measured == pytest.approx(oracle.effect(model.module, x, sites(model), m, nodes), abs=1e-4)
    assert e.measured > max(e.receipts.randoms.measured)


def test_the_question_carries_the_shared_beginning(models):
    """The probabilities that are printed are those after it."""
    question = case_of(models["gpt2"], PROMPT, " w5 w6 w7", contrast=" w5 w9")
    assert question.given == models["gpt2"].tokenizer.token(models["gpt2"].continuation(PROMPT, " w5")[0])
    assert case_of(models["gpt2"], PROMPT, " w5", contrast=" w9").given == ""


@pytest.mark.parametrize(
    "metric",
    [
        Metric("logit", (7, 8)),
        Metric("log_probability", (7, 8), positions=(2,)),
        Metric("probability_difference", (7,), (8, 9)),
        Metric("kl", reference=tuple(np.linspace(-1, 1, 61))),
    ],
    ids=lambda metric: metric.kind,
)
def test_any_metric_can_be_explained(models, metric):
    model = models["gpt2"]
    e = explain(model, PROMPT, metric=metric)
    at = metric.positions[0]
    assert e.metric_clean == pytest.approx(float(metric(model.run(PROMPT).logits[:, [at]])[0]), abs=1e-5)
    assert e.case.explained.startswith(metric.kind.replace("_", " "))
    assert json.loads(json.dumps(e.to_json(), allow_nan=False))["question"]["metric"]["kind"] == metric.kind


def test_steps_of_half_precision_are_said_beside_what_was_measured():
    model = pc.load("organism:cat", dtype="bfloat16")
    e = pc.explain(model, "the old cat", " sat", contrast=" ran", top=2, n_controls=20)
    logits = model.run("the old cat", logits=True).logits[-1].abs().max()
    beside = torch.nextafter(logits, torch.tensor(torch.inf, dtype=torch.bfloat16))
    assert e.step == float(beside - logits) > 0
    assert any(f"{e.step:.2g} apart" in line for line in e.cautions)
    whole = pc.explain(pc.load("organism:cat"), "the old cat", " sat", contrast=" ran", top=2, n_controls=20)
    assert not any("half precision" in line for line in whole.cautions)
