"""A cause names the value that replaced it: what the unit is on the counterpart, its mean, or zero."""

import pytest

import patchclamp as pc
from patchclamp.core.unit import UnitKey

PROMPT = "Mary and Tom went to the park. Tom gave a book to"
OTHER = "Mary and Tom went to the park. Mary gave a book to"


@pytest.fixture(scope="module")
def model():
    return pc.load("organism:language-gpt2")


def explained(model, **asked):
    return pc.explain(
        model, PROMPT, " Mary", contrast=" Tom", n_controls=20, top=4, method="attribution_patching", **asked
    )


def test_of_a_counterpart_it_is_the_unit_s_value_there(model):
    found = explained(model, counterpart=OTHER)
    there = model.run(OTHER, record=[f"blocks.{b}.mlp.act" for b in range(4)]).recording
    neurons = [(cause, UnitKey.parse(cause.key)) for cause in (*found.causes, *found.opposing)]
    neurons = [(cause, key) for cause, key in neurons if key.basis == "neurons"]
    assert {cause.baseline for cause, _ in neurons} != {0.0}
    for cause, key in neurons:
        assert cause.baseline == pytest.approx(float(there[key.site][key.position, key.index]), abs=1e-5)
    nodes = {node.key: node for node in found.graph().nodes}
    assert all(nodes[cause.key].measures["baseline"] == cause.baseline for cause in found.causes)


def test_without_one_it_is_zero(model):
    found = explained(model)
    assert {cause.baseline for cause in found.causes} == {0.0}
    assert any(cause.activation for cause in found.causes)
