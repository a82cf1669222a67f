"""Vocabulary decoding: written tokens are the planted ones, and clamping shows which sides are causal."""

import numpy as np
import pytest

import patchclamp as pc
from patchclamp.core.errors import PatchclampError
from patchclamp.core.keys import Block, UnitIndex
from patchclamp.evaluate.benchmarks.token_effect import METHOD as TOKEN_EFFECT
from patchclamp.organisms import language, planted


def texts(name: str) -> pc.Task:
    return pc.Task.of_labels({"text": [one.stimulus.text for one in language.text(2, seed=3, name=name)]})


def test_what_only_a_later_head_turns_into_a_word_is_missed():
    found = pc.describe(planted.build("facts-gpt2"), tokens=1)
    assert found.text(found.index.place("blocks.0.mlp.act/neurons/5")) != planted.card("facts-gpt2")["target"]


def test_neurons_without_weights_stand_for_nothing():
    found = pc.describe(planted.build("cat"), tokens=2)
    [empty] = {found.text(i) for i in range(len(found)) if not found.weights[i].any()}
    assert empty == ""


@pytest.mark.parametrize(("name", "negative"), [("language-gpt2", False), ("language-gpt2", True)])
def test_clamping_what_neurons_write_moves_their_tokens_both_ways(name: str, negative: bool):
    model, task = language.build(name), texts(name)
    effect = TOKEN_EFFECT(model, task, pc.describe(model), negative=negative, n_random=19, n_units=10)
    assert effect.value > effect.null.high
    assert effect.p == 0.05
    assert effect.interval.low > 0


def test_the_sign_of_the_gate_makes_the_other_branch_causal():
    model = language.build("language-llama")
    task = texts("language-llama")
    signed = TOKEN_EFFECT(model, task, pc.describe(model, task), branch="up", n_random=19, n_units=10)
    bare = TOKEN_EFFECT(model, task, pc.describe(model), branch="up", n_random=19, n_units=10)
    assert signed.value > max(signed.null.high, bare.value)
    assert signed.p == 0.05


@pytest.mark.parametrize("side", ["read", "gate"])
def test_what_a_gated_mlp_reads_is_not_what_its_neurons_cause(side: str):
    model, task = language.build("language-llama"), texts("language-llama")
    effect = TOKEN_EFFECT(model, task, pc.describe(model, task, side=side), branch="up", n_random=19, n_units=10)
    assert effect.value < effect.null.high


@pytest.mark.parametrize(
    ("attempt", "match"),
    [
        (lambda: pc.describe(planted.build("cat"), side="gate"), "gated MLPs"),
        (lambda: pc.describe(object()), "a subject for vocabulary"),
        (
            lambda: TOKEN_EFFECT(
                language.build("language-gpt2"), texts("language-gpt2"), pc.describe(planted.build("cat"))
            ),
            "got one of cat",
        ),
        (
            lambda: pc.describe(planted.build("cat")).order("loudness"),
            "a measure or score among peak, specialised, concept, margin",
        ),
    ],
)
def test_what_cannot_be_described_is_refused(attempt, match):
    with pytest.raises(PatchclampError, match=match):
        attempt()


def test_columns_of_another_length_are_refused():
    index = UnitIndex([Block("a.0", "neurons", 2)])
    with pytest.raises(PatchclampError, match="weights of shape"):
        pc.Descriptions(index, np.zeros((2, 3), int), np.zeros((2, 2)), ("a",))
    with pytest.raises(PatchclampError, match="terms from 0 to 1 of 1"):
        pc.Descriptions(index, np.array([[0], [1]]), np.zeros((2, 1)), ("a",))


def test_a_fine_tuned_model_keeps_the_tokens_of_neurons_that_it_leaves_alone():
    """One changed column changes one description: the share of equal first tokens says how much two models share."""
    model = planted.build("neuron-gpt2")
    before = pc.describe(model, tokens=1)
    other = planted.build("neuron-gpt2")
    block = other.module.get_submodule("transformer.h.0.mlp.c_proj")
    block.weight.data[13] *= -1
    after = pc.describe(other, tokens=1)
    changed = np.flatnonzero(before.terms[:, 0] != after.terms[:, 0])
    assert [before.index[int(i)] for i in changed] == ["neuron-gpt2/blocks.0.mlp.act/neurons/13"]
