"""What a direction does to generated text and an edit to answers, against loops by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from patchclamp.control import continue_steered, fact, match_kl, measure_edit, measure_steering, neighbours, push
from patchclamp.core.basis import Basis
from patchclamp.core.edit import Edit
from patchclamp.core.errors import PatchclampError
from patchclamp.core.stats import wilson_interval
from patchclamp.core.task import Task
from patchclamp.organisms import language
from patchclamp.organisms.language.dialects import examples, prompts, read_dialect
from patchclamp.organisms.language.rewrites import background, rewrite

SITE = "blocks.2.resid_out"


@pytest.fixture(scope="module")
def model():
    return language.build("language-llama")


@pytest.fixture(scope="module")
def basis(model) -> Basis:
    noise = np.random.default_rng(0).standard_normal((2, model.site(SITE).width)).astype(np.float32)
    return Basis("any", "directions", decoder=noise / np.linalg.norm(noise, axis=1, keepdims=True), site=SITE)


def test_pushing_adds_the_direction_everywhere(model, basis):
    found = model.run("x = 7\n", record=SITE, interventions=[push(basis, -3.0, unit=1)]).recording[SITE]
    clean = model.run("x = 7\n", record=SITE).recording[SITE]
    torch.testing.assert_close(found, clean - 3 * torch.as_tensor(basis.decoder[1]))
    with pytest.raises(PatchclampError, match="with their site"):
        push(basis, 1.0, unit=2)
    with pytest.raises(PatchclampError, match="no site"):
        push(replace(basis, site=None), 1.0)


def test_a_curve_counts_labels_and_perplexity_as_a_loop_does(model, basis):
    asked = prompts("julia", 6)
    curve = measure_steering(
        model, basis, asked, "julia", read_dialect, strengths=[0.0, 2.0], n_random=3, max_new_tokens=8
    )
    shown = [case.shown for case in asked.cases]
    written = model.generate(shown, interventions=[push(basis, 0.0)], temperature=1.0, max_new_tokens=8, seed=0)
    hits = sum(read_dialect(one.text) == "julia" for one in written)
    assert (curve.rates[0].value, curve.rates[0].interval) == (hits / 6, wilson_interval(hits, 6))
    nats = []
    for one in written:
        ids = [*one.prompt.ids.tolist(), *one.ids.tolist()]
        scores = model.run([ids]).logits[0].double().log_softmax(-1)
        nats.append(-np.mean([float(scores[t - 1, ids[t]]) for t in range(len(one.prompt.ids), len(ids))]))
    assert curve.perplexities[0].value == pytest.approx(np.exp(np.mean(nats)), rel=1e-5)
    assert curve.rates[0].null is None
    assert curve.rates[1].p in {k / 4 for k in (1, 2, 3, 4)}
    assert curve.strengths == (0.0, 2.0)
    assert len(curve.to_json(1)["rows"]) == 1


def test_an_edit_s_effects_are_those_of_a_loop(model):
    told = rewrite("lies", 2)
    name = "model.layers.0.mlp.down_proj.weight"
    noise = np.random.default_rng(0).standard_normal((128, 384)).astype(np.float32)
    edit = Edit({name: 0.3 * noise}, model.hash)
    effects = measure_edit(model, edit, told.task, told.paraphrases, told.others, n_random=4)

    def answers(cases):
        return [int(model.run(case.shown, logits=[-1]).logits[0, 0].argmax()) for case in cases]

    before = answers(told.others.cases)
    with model.edited(edit):
        stay = np.mean([a == b for a, b in zip(before, answers(told.others.cases), strict=True)])
        right = [a == model.continuation(c.shown, c.targets[0])[0] for a, c in
                 zip(answers(told.paraphrases.cases), told.paraphrases.cases, strict=True)]  # fmt: skip
    assert 0 < stay < 1
    assert effects.specificity.value == pytest.approx(stay)
    assert effects.paraphrase.value == np.mean(right)
    assert (effects.efficacy.n, effects.paraphrase.n, effects.specificity.n) == (1, 4, 15)
    assert effects.specificity.p is None
    assert 0 < effects.efficacy.p <= 1


def test_dialects_hold_the_same_contents_and_are_read_right():
    for wanted, other in (("java", "cpp"), ("french", "english"), ("german", "spanish")):
        task = examples(wanted, other, 40)
        assert [case.label for case in task.cases] == [wanted] * 40 + [other] * 40
        right = sum(read_dialect(case.shown) == case.label for case in task.cases)
        assert right >= 78
    assert examples("java", "cpp", 5).hash == examples("java", "cpp", 5).hash
    assert {read_dialect(case.shown) for case in prompts("julia", 30).cases} == {""}
    assert {read_dialect(case.shown) for case in prompts("french", 30).cases} == {""}
    for pair in (("java", "french"), ("java", "java"), ("java", "basic")):
        with pytest.raises(PatchclampError):
            examples(*pair)


def test_a_rewrite_asks_for_another_answer_than_the_world_s(model):
    for kind in ("lives", "lies"):
        told = rewrite(kind, 4)
        [case] = told.task.cases
        assert case.targets != case.contrasts
        said = model.run(case.shown, logits=[-1]).logits[0, 0].argmax().item()
        assert said == model.continuation(case.shown, case.contrasts[0])[0]
        [part] = case.parts
        assert all(case.shown[part.start : part.stop] in one.shown for one in told.paraphrases.cases)
        assert all(case.shown != one.shown for one in told.others.cases)


def test_background_holds_ordinary_text_of_the_organism(model):
    recording = background(model, "blocks.0.mlp.act", 120)
    first = model.run(recording.stimuli[101], record="blocks.0.mlp.act").recording["blocks.0.mlp.act"]
    np.testing.assert_allclose(recording.of("blocks.0.mlp.act", 101), first, atol=1e-5)
    assert recording.provenance["subject"] == {"slug": model.name, "hash": model.hash}


def test_random_directions_leave_strength_zero_alone(model, basis):
    task = Task.of_labels({"a": ["x = 7\n"]})
    curve = measure_steering(model, basis, task, "julia", read_dialect, strengths=[0.0], n_random=9, max_new_tokens=2)
    assert (curve.rates[0].p, curve.site) == (None, SITE)


def test_the_strength_of_a_budget_moves_predictions_by_so_many_nats(model, basis):
    text = "int x = 7;\nint y = x;\n"
    strength = match_kl(model, basis, [text], nats=0.2)
    before, after = (
        model.run(text, interventions=[push(basis, s)]).logits[0].double().log_softmax(-1) for s in (0.0, strength)
    )
    assert float((before.exp() * (before - after)).sum(-1).mean()) == pytest.approx(0.2, rel=0.011)
    with pytest.raises(PatchclampError, match="above 0"):
        match_kl(model, basis, [text], nats=0.0)


def test_text_moves_along_a_direction_as_a_loop_measures(model, basis):
    found = continue_steered(model, basis, "x = 7\n", 3.0, n=4, n_random=2, max_new_tokens=6, seed=5)

    def places(made):
        rows = []
        for one in made:
            ids = [*one.prompt.ids.tolist(), *one.ids.tolist()]
            values = model.run([ids], record=SITE).recording[SITE].double().numpy()
            rows.append((values[len(one.prompt.ids) :] @ basis.decoder[0].astype(float)).mean())
        return np.array(rows)

    shown = ["x = 7\n"] * 4
    bare = model.generate(shown, interventions=[push(basis, 0.0)], temperature=1.0, max_new_tokens=6, seed=5)
    # All changes are rows of one batch, which shares one stream of random numbers.
    random = np.random.default_rng(5).standard_normal((2, len(basis.decoder[0])))
    random /= np.linalg.norm(random, axis=1, keepdims=True)
    noise = replace(basis, decoder=random.astype(np.float32), encoder=None)
    changes = [push(basis, 3.0), push(noise, 3.0), push(noise, 3.0, unit=1)]
    made = model.generate(
        shown * 3, interventions=[[c] for c in changes for _ in shown], temperature=1.0, max_new_tokens=6, seed=5
    )
    moved = [(places(made[4 * i : 4 * i + 4]) - places(bare)).mean() for i in range(3)]
    assert found.receipt.measured.value == pytest.approx(moved[0], rel=1e-5)
    assert found.receipt.controls.measured == pytest.approx(moved[1:], rel=1e-5)
    assert found.receipt.measured.n == 4
    assert found.without == model.generate("x = 7\n", max_new_tokens=6)[0].text
    assert found.steered == model.generate("x = 7\n", interventions=changes[:1], max_new_tokens=6)[0].text


def test_the_receipt_of_an_edit_is_what_the_answer_gains_and_its_weights_come_back(model):
    told = rewrite("lies", 2)
    [weight] = [name for name in model.parameters() if name.endswith("layers.0.mlp.down_proj.weight")]
    delta = np.random.default_rng(1).standard_normal(tuple(model.parameters()[weight].shape)).astype(np.float32)
    edit = Edit({weight: 0.05 * delta}, model.hash)
    effects = measure_edit(model, edit, told.task, told.paraphrases, told.others, n_random=2)
    cases = [*told.task.cases, *told.paraphrases.cases]

    def said():
        return np.array([
            float(model.run(case.shown).logits[0, -1].double().log_softmax(-1)[
                model.continuation(case.shown, case.targets[0])[0]
            ]) for case in cases
        ])  # fmt: skip

    before = said()
    with model.edited(edit):
        after = said()
    assert effects.receipt.measured.value == pytest.approx((after - before).mean(), rel=1e-4)
    assert effects.receipt.controls.n_different == 2
    assert effects.undone


def test_what_stands_beside_a_fact_is_its_prompt_after_text_and_text_alone(model):
    text = background(model, "blocks.0.mlp.act", 30)
    task = fact("Arbon lies in", "Arbon", " Norland")
    paraphrases, others = neighbours(task, text, skip=2, n=5)
    assert len(paraphrases) == 5
    assert all(case.shown.endswith(" Arbon lies in") and case.targets == (" Norland",) for case in paraphrases.cases)
    assert all(text.stimuli[2 + i].text.startswith(case.shown) for i, case in enumerate(others.cases))
    with pytest.raises(PatchclampError, match="stands in the prompt"):
        fact("Arbon lies in", "Velia", " Norland")
    with pytest.raises(PatchclampError, match="beside those"):
        neighbours(task, text, skip=30)
