"""Difference of means: the rate of a dialect rises with strength, and random directions do nothing."""

import numpy as np
import pytest

from patchclamp.ablate.steering import measure_steered, random_directions
from patchclamp.control import measure_steering, push, steer
from patchclamp.core.basis import Basis
from patchclamp.core.errors import PatchclampError
from patchclamp.core.task import Task
from patchclamp.organisms import language
from patchclamp.organisms.language.dialects import examples, prompts, read_dialect


@pytest.mark.parametrize("name", language.names())
def test_the_rate_moves_with_strength_and_random_directions_do_nothing(name: str):
    model = language.build(name)
    basis = steer(model, examples("java", "cpp", 40), sites="blocks.3.resid_out")
    distance = basis.provenance.extra["distance"]
    curve = measure_steering(
        model, basis, prompts("java", 16, seed=1), "java", read_dialect,
        strengths=[0.0, 2 * distance], n_random=19, max_new_tokens=10,
    )  # fmt: skip
    base, moved = curve.rates
    assert moved.value > base.value + 0.15
    assert moved.p == 0.05
    assert moved.null.high < moved.value
    assert curve.perplexities[1].value < 2 * curve.perplexities[0].value


def test_the_other_label_is_the_other_way():
    model, task = language.build("language-llama"), examples("java", "cpp", 10)
    basis, back = steer(model, task), steer(model, task, wanted="cpp")
    np.testing.assert_array_equal(basis.decoder, -back.decoder)
    assert (basis.site, push(basis, 2.0).operation) == ("blocks.2.resid_out", "add")
    assert np.linalg.norm(basis.decoder) == pytest.approx(1)


@pytest.mark.parametrize("labels", [{"a": ["x"]}, {"a": ["x"], "b": ["y"], "c": ["z"]}, {"a": ["x"], "b": ["x"]}])
def test_two_labels_that_differ_are_needed(labels):
    with pytest.raises(PatchclampError):
        steer(language.build("language-llama"), Task.of_labels(labels))


def test_a_direction_of_a_sparse_dictionary_is_measured_beside_plain_ones(cat):
    eye, zeros = np.eye(16, dtype=np.float32), np.zeros(16, dtype=np.float32)
    basis = Basis(
        "sparse", "directions", eye, eye, encoder_bias=zeros, decoder_bias=zeros, activation="topk", k=2,
        site="blocks.0.mlp.act",
    )  # fmt: skip
    found = measure_steered(cat, basis, ["the old cat"] * 4, 5.0, unit=3, n_random=2, max_new_tokens=2)
    assert found.receipt.measured.n == 4
    assert random_directions(basis, 20, unit=3).decoder.shape == (20, 16)
