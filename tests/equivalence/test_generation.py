"""Clamps while text is written: against hooks by hand, with and without the key-value cache, padded and alone."""

import numpy as np
import pytest
import torch

from oracles import hooks
from patchclamp.core.errors import PatchclampError
from patchclamp.core.intervention import Source, change
from patchclamp.core.stimulus import Stimulus
from patchclamp.subjects.families.spec import family
from patchclamp.subjects.language import LanguageModel

PROMPTS = [[3, 14, 15, 9, 26, 5], [35, 8, 9], [7, 9, 3, 2]]
STEPS = 5
# The module whose input multiplies the down projection.
DOWN = {
    "gpt2": "transformer.h.{i}.mlp.c_proj",
    "llama": "model.layers.{i}.mlp.down_proj",
    "gemma2": "model.layers.{i}.mlp.down_proj",
    "gpt_neox": "gpt_neox.layers.{i}.mlp.dense_4h_to_h",
    "gptj": "transformer.h.{i}.mlp.fc_out",
}
EVERYWHERE = ("gemma2", "gpt2", "gpt_neox", "gptj", "llama")


def gap(found, expected):
    """Return the largest deviation, in units of the largest value where that exceeds one."""
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1))


def plainly(model, prompts, *, cache, padding="left", steps=STEPS):
    """Return ids and logits ``(step, row, token)`` of transformers' own greedy ``generate``."""
    batch = model.batch([Stimulus.of(np.array(p)) for p in prompts], padding)
    with torch.no_grad():
        made = model.module.generate(
            input_ids=batch.ids, attention_mask=(batch.logical >= 0).long(), max_new_tokens=steps, min_new_tokens=steps,
            do_sample=False, use_cache=cache, pad_token_id=59, output_logits=True, return_dict_in_generate=True,
        )  # fmt: skip
    return made.sequences[:, batch.ids.shape[1] :], torch.stack(made.logits)


def one_by_one(model, prompt, seen, steps=STEPS):
    """Decode greedily, each token by a whole uncached forward with plain ``(path, side, see)`` hooks."""
    ids, rows = list(prompt), []
    for _ in range(steps):
        tensor = torch.tensor([ids])
        logical = torch.arange(len(ids))[None]
        with torch.no_grad():
            logits = hooks.called(model.module, tensor, logical, seen)[0, -1]
        rows.append(logits)
        choice = logits.clone()
        choice[60] = -torch.inf  # the end, forbidden by min_new_tokens
        ids.append(int(choice.argmax()))
    return torch.tensor(ids[len(prompt) :]), torch.stack(rows)


def adding(amount, unit, columns):
    def see(x):
        y = x.clone()
        for column in columns:
            if column < x.shape[1]:
                y[:, column, unit] += amount
        return y

    return see


@pytest.mark.parametrize("name", EVERYWHERE)
def test_a_clamp_to_the_recorded_value_changes_nothing_and_three_more_does_what_a_hook_does(models, name):
    model = models[name]
    site, unit, position = "blocks.1.mlp.act", 9, 3
    clean = model.run([PROMPTS[0]], record=site)
    recorded = float(clean.recording[site][position, unit])
    same = model.run([PROMPTS[0]], interventions=[change("set", site, unit, value=recorded, at=position)])
    assert torch.equal(same.logits, clean.logits)
    more = model.run([PROMPTS[0]], interventions=[change("set", site, unit, value=recorded + 3, at=position)]).logits

    def see(x):
        y = x.clone()
        y[0, position, unit] = recorded + 3
        return y

    ids = torch.tensor([PROMPTS[0]])
    with torch.no_grad():
        hand = hooks.called(model.module, ids, torch.arange(6)[None], [(DOWN[name].format(i=1), "in", see)])
    assert torch.equal(more, hand)
    assert torch.equal(more[:, :position], clean.logits[:, :position])
    assert (more[:, position:] - clean.logits[:, position:]).abs().amax(-1).min() > 1e-3


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("name", EVERYWHERE)
def test_steps_are_the_generated_tokens_counted_from_zero(models, name, cache):
    model = models[name]
    prompt = PROMPTS[2]
    edits = [
        change("add", "blocks.1.mlp.act", 5, value=6.0, at="+1:+3"),
        change("add", "blocks.0.mlp.act", 2, value=-6.0, at=1),
    ]
    with model.intervene(edits):
        ids, logits = plainly(model, [prompt], cache=cache)
    # Step 0 stands after the prompt's four tokens, so steps 1 and 2 are columns 5 and 6.
    late = (DOWN[name].format(i=1), "in", adding(6.0, 5, [5, 6]))
    early = (DOWN[name].format(i=0), "in", adding(-6.0, 2, [1]))
    hand_ids, hand_logits = one_by_one(model, prompt, [late, early])
    assert ids[0].tolist() == hand_ids.tolist()
    assert gap(logits[:, 0], hand_logits) <= 1e-5
    _, without = one_by_one(model, prompt, [early])
    moved = (hand_logits - without).abs().amax(-1) > 1e-3
    assert moved.tolist() == [False, False, True, True, True]


@pytest.mark.parametrize("at", [1, "+1:+3", None])
@pytest.mark.parametrize("name", EVERYWHERE)
def test_cached_and_uncached_generation_agree(models, name, at):
    model = models[name]
    kinds = ["mlp.act", "resid_in", "attn.write"]
    edits = [change("add", f"blocks.1.{kind}", 3, value=2.0, at=at) for kind in kinds]
    edits += [
        change("scale", f"blocks.{i}.attn.{k}", 1, basis="heads", value=0.3, at=at) for i in (0, 2) for k in "qkvz"
    ]
    edits += [change("scale", "blocks.1.attn.pattern", 0, basis="heads", value=0.0, at=at)]
    with model.intervene(edits):
        ids, logits = plainly(model, PROMPTS, cache=True)
        uncached_ids, uncached = plainly(model, PROMPTS, cache=False)
    assert torch.equal(ids, uncached_ids)
    assert gap(logits, uncached) <= 1e-5
    _, clean = plainly(model, PROMPTS, cache=True)
    assert (logits - clean).abs().max() > 0.1


@pytest.mark.parametrize("slot", ["k", "v"])
@pytest.mark.parametrize("name", EVERYWHERE)
def test_a_change_of_keys_or_values_holds_for_tokens_that_lie_in_the_cache(models, name, slot):
    model = models[name]
    edits = [change("set", f"blocks.1.attn.{slot}", 0, basis="heads", value=1.5, at=2)]
    with model.intervene(edits):
        _, cached = plainly(model, PROMPTS, cache=True)
        _, uncached = plainly(model, PROMPTS, cache=False)
    _, clean = plainly(model, PROMPTS, cache=True)
    assert gap(cached, uncached) <= 1e-5
    # It still counts when the last token is written, long after the prompt went through.
    assert (cached[-1] - clean[-1]).abs().amax(-1).min() > 1e-3


@pytest.mark.parametrize("name", EVERYWHERE)
def test_a_padded_batch_generates_what_each_prompt_does_alone(models, name):
    model = models[name]
    edits = [change("add", "blocks.1.mlp.act", 5, value=4.0, at=[1, "+1:"]), change("scale", "embed", value=1.5, at=-1)]
    together = model.generate(PROMPTS, interventions=edits, max_new_tokens=STEPS)
    alone = [model.generate([p], interventions=edits, max_new_tokens=STEPS)[0] for p in PROMPTS]
    assert [g.ids.tolist() for g in together] == [g.ids.tolist() for g in alone]
    assert [g.prompt.ids.tolist() for g in together] == PROMPTS
    with model.intervene(edits):
        _, padded = plainly(model, PROMPTS, cache=True)
        for row, prompt in enumerate(PROMPTS):
            _, single = plainly(model, [prompt], cache=True)
            assert gap(padded[:, row], single[:, 0]) <= 1e-5


@pytest.mark.parametrize("name", EVERYWHERE)
def test_one_list_per_row_while_generating(models, name):
    model = models[name]
    lists = [[], [change("scale", "final", value=-1.0)], [change("ablate", "blocks.0.attn.v", at="1:")]]
    together = model.generate(PROMPTS, interventions=lists, max_new_tokens=STEPS)
    alone = [
        model.generate([p], interventions=edits, max_new_tokens=STEPS)[0]
        for p, edits in zip(PROMPTS, lists, strict=True)
    ]
    assert [g.ids.tolist() for g in together] == [g.ids.tolist() for g in alone]
    assert together[1].ids.tolist() != model.generate([PROMPTS[1]], max_new_tokens=STEPS)[0].ids.tolist()


@pytest.mark.parametrize("padding", ["left", "right"])
@pytest.mark.parametrize("name", EVERYWHERE)
def test_positions_are_logical_and_a_padded_row_equals_the_row_alone(models, name, padding):
    model = models[name]
    sites = ["blocks.1.mlp.act", "blocks.1.attn.k", "blocks.1.attn.pattern"]
    edits = [
        change("add", "blocks.0.mlp.act", 3, value=2.0, at=1),
        change("scale", "blocks.0.attn.k", 1, basis="heads", value=-1.0, at=-1),
        change("scale", "blocks.0.attn.pattern", 0, basis="heads", value=0.1, at="1:-1"),
    ]
    batch = model.run(PROMPTS, record=sites, interventions=edits, padding=padding)
    for row, prompt in enumerate(PROMPTS):
        alone = model.run([prompt], record=sites, interventions=edits)
        assert gap(batch.logits[row, : len(prompt)], alone.logits[0]) <= 1e-5
        for site in sites:
            values = batch.recording.of(site, row)
            # A pattern's row ends with its own stimulus; what stands past it is the batch's.
            values = values[..., : len(prompt)] if site.endswith("pattern") else values
            assert gap(values, alone.recording[site]) <= 1e-5, site


@pytest.mark.parametrize("name", EVERYWHERE)
def test_transformers_own_generate_is_changed_inside_the_context_only(models, name):
    model = models[name]
    edits = [change("scale", "final", value=-1.0)]
    ids = torch.tensor([PROMPTS[0]])

    def made():
        return model.module.generate(ids, max_new_tokens=STEPS, do_sample=False, pad_token_id=59)[0, 6:].tolist()

    before = made()
    with model.intervene(edits):
        inside = made()
    assert made() == before
    changed = model.generate([PROMPTS[0]], interventions=edits, max_new_tokens=STEPS)[0].ids.tolist()
    assert inside[: len(changed)] == changed
    assert inside != before


def test_each_prefill_in_one_context_is_a_new_prompt(models):
    model = models["llama"]
    edits = [
        change("add", "blocks.0.mlp.act", 3, value=5.0, at=-1),
        change("add", "blocks.1.mlp.act", 3, value=5.0, at="+0:"),
    ]
    with model.intervene(edits):
        first = plainly(model, [PROMPTS[0]], cache=True)
        second = plainly(model, [PROMPTS[1]], cache=False)
        third = plainly(model, [PROMPTS[2]], cache=True)
        with torch.no_grad():
            called = model.module(input_ids=torch.tensor([PROMPTS[1]])).logits
    for prompt, made in zip(PROMPTS, (first, second, third), strict=True):
        with model.intervene(edits):
            ids, logits = plainly(model, [prompt], cache=True)
        assert torch.equal(ids, made[0])
        assert gap(logits, made[1]) <= 1e-5
    assert torch.equal(called, model.run([PROMPTS[1]], interventions=edits[:1]).logits)


def test_a_resample_while_generating_avoids_the_prompt_itself(models):
    model = models["gpt2"]
    pool = [PROMPTS[0], [1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1]]
    donor = model.run(pool, record="blocks.0.mlp.act").recording
    for seed in range(6):
        edit = change("ablate", "blocks.0.mlp.act", mode="resample", source=Source(donor, seed=seed), at="0:")
        run = model.run([PROMPTS[0]], interventions=[edit]).logits
        with model.intervene([edit]):
            _, logits = plainly(model, [PROMPTS[0]], cache=True, steps=1)
        assert gap(logits[0, 0], run[0, -1]) <= 1e-5
        assert (run - model.run([PROMPTS[0]]).logits).abs().max() > 0.1
    # Where the text grows past a donor another takes over, from there on only, cached or not.
    pool = [[1, 2, 3, 4, 5, 6, 7], [6, 5, 4, 3, 2, 1, 0, 7, 8], list(range(20, 34))]
    donor = model.run(pool, record="blocks.0.mlp.act").recording
    for seed in range(4):
        everywhere = change("ablate", "blocks.0.mlp.act", mode="resample", source=Source(donor, seed=seed))
        with model.intervene([everywhere]):
            cached, uncached = (plainly(model, PROMPTS, cache=c)[1] for c in (True, False))
        assert gap(cached, uncached) <= 1e-5


def test_generation_stops_at_the_end_token_and_reports_only_what_was_written(models):
    model = models["gpt2"]
    whole = model.generate([PROMPTS[0]], max_new_tokens=STEPS)[0].ids.tolist()
    own = model.module.generation_config
    before = own.eos_token_id
    try:
        own.eos_token_id = [whole[2], 60]
        short, other = model.generate([PROMPTS[0], PROMPTS[1]], max_new_tokens=STEPS)
    finally:
        own.eos_token_id = before
    assert short.ids.tolist() == whole[: whole.index(whole[2])]
    assert whole[2] not in other.ids


def test_sampling_repeats_with_its_seed_and_leaves_the_callers_randomness_alone(models):
    model = models["llama"]
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    texts = [
        model.generate([PROMPTS[0]], temperature=2.0, seed=s, max_new_tokens=12)[0].ids.tolist() for s in (1, 1, 2)
    ]
    assert texts[0] == texts[1] != texts[2]
    whole = model.generate([PROMPTS[0]], temperature=2, seed=1, max_new_tokens=12)[0].ids.tolist()
    assert whole == texts[0]
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize("at", [9, "7:9", -8])
def test_a_position_outside_every_prompt_is_refused(models, at):
    with pytest.raises(PatchclampError, match="a position from 0 to 5"):
        models["llama"].generate(PROMPTS, interventions=[change("ablate", "embed", at=at)], max_new_tokens=2)


def test_more_than_the_context_holds_is_refused(models):
    with pytest.raises(PatchclampError, match="at most 58 new tokens"):
        models["llama"].generate(PROMPTS, max_new_tokens=59)


@pytest.mark.parametrize("name", [*EVERYWHERE, "jamba", "qwen3_moe"])
def test_tokens_taken_one_by_one_are_those_of_generate_and_the_model_is_free_between(name):
    model = LanguageModel(family(name).tiny())
    clamps = [change("add", "blocks.1.resid_in", None, value=0.5, at="1,+1:")]
    expected = {
        bool(on): model.generate([PROMPTS[0]], interventions=on, max_new_tokens=6)[0].ids for on in ([], clamps)
    }
    bare, clamped = (model.steps(PROMPTS[0], interventions=on, max_new_tokens=6) for on in ([], clamps))
    taken = {False: [], True: []}
    for _ in range(6):
        for side, steps in ((False, bare), (True, clamped)):
            taken[side] += [token for token in [next(steps, None)] if token is not None]
        model.run([PROMPTS[1]])  # hooks and caches of others do not meet
    assert taken == {side: ids.tolist() for side, ids in expected.items()}


def test_steps_are_refused_before_the_first(models):
    with pytest.raises(PatchclampError, match="a position from 0"):
        models["gpt2"].steps(PROMPTS[0], interventions=[change("set", "blocks.0.mlp.act", 1, value=0.0, at=9)])
    with pytest.raises(PatchclampError, match="at least 1 new token"):
        models["gpt2"].steps(PROMPTS[0], max_new_tokens=0)
