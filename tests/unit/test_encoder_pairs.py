"""Circuits on encoders: pairs are read at the mask, and units are scored and kept there as by hand."""

import numpy as np
import pytest
import torch

import masked_words
from patchclamp.attribute.pairs import attribute_pairs
from patchclamp.core.errors import PatchclampError
from patchclamp.core.task import Case, Task
from patchclamp.evaluate.circuit_ablation import interchange

PAIRS = (
    Case("w1 [MASK] w7 .", "w2 [MASK] w7 .", ("w3",), ("w4",)),
    Case("w1 w5 [MASK] .", "w1 w6 [MASK] .", ("w3", "w8"), ("w4",)),
)


@pytest.fixture(scope="module")
def encoder():
    return masked_words.encoder("bert")


def m_of(model, pair, prompt, at):
    """Return the logit difference at the mask."""
    ids = model.tokenizer.bare(prompt, return_tensors="pt").input_ids
    index = model.tokenizer.bare.convert_tokens_to_ids
    with torch.no_grad():
        z = model.module(ids).logits[0, at]
    return float(z[[index(w) for w in pair.targets]].mean() - z[[index(w) for w in pair.contrasts]].mean())


def test_pairs_of_a_masked_model_are_read_at_the_mask(encoder):
    pairs = encoder.read(Task(PAIRS))
    assert [m.positions for m in pairs.metrics] == [(2,), (3,)]
    for k, (pair, at) in enumerate(zip(PAIRS, (2, 3), strict=True)):
        assert pairs.m_clean[k] == pytest.approx(m_of(encoder, pair, pair.shown, at), rel=1e-5)
        assert pairs.m_counterpart[k] == pytest.approx(m_of(encoder, pair, pair.counterpart, at), rel=1e-5)


def test_a_circuit_of_an_encoder_equals_hooks_by_hand(encoder):
    pairs = encoder.read(Task(PAIRS))
    circuit = attribute_pairs(encoder, pairs, level="neuron", method="activation_patching")
    layer, unit = 1, 5
    place = list(circuit.parts).index(f"blocks.{layer}.mlp.act/neurons/{unit}")
    act = encoder.module.bert.encoder.layer[layer].intermediate
    for k, (pair, at) in enumerate(zip(PAIRS, (2, 3), strict=True)):
        seen = {}
        hook = act.register_forward_hook(lambda _m, _i, y, seen=seen: seen.update(y=y))
        m_of(encoder, pair, pair.counterpart, at)
        hook.remove()

        def put(_module, _args, y, seen=seen):
            new = y.clone()
            new[..., unit] = seen["y"][..., unit]
            return new

        hook = act.register_forward_hook(put)
        m = m_of(encoder, pair, pair.shown, at)
        hook.remove()
        assert circuit.per_case[k, place] == pytest.approx(pairs.m_clean[k] - m, abs=1e-4)
    kept = np.ones((1, len(circuit)), dtype=bool)
    assert np.allclose(interchange(encoder, circuit, pairs).measure(kept), pairs.m_clean, atol=1e-4)


def test_prompts_without_masks_and_unknown_answers_are_set_aside(encoder):
    strange = [
        Case("w1 w2 w7", "w2 w2 w7", ("w3",), ("w4",)),
        Case("w1 [MASK] w7", "[MASK] w1 w7", ("w3",), ("w4",)),
        Case("w1 [MASK] w7", "w2 [MASK] w7", ("nothing",), ("w4",)),
    ]
    found = encoder.read(Task((*strange, *PAIRS)))
    assert found.count_skipped() == {
        "prompts without masks at the same places": 2,
        "answers that are not one known token at the mask": 1,
    }
    with pytest.raises(PatchclampError, match="without masks"):
        encoder.read(Task(tuple(strange)))
