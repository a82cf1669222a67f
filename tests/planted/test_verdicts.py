"""Verdicts on organisms whose answer is known: planted units hold, random ones do not.

Counted: of every organism the planted units of its card together, and random sets of as many units, drawn uniformly
among all (planted ones not left out), each beside 99 random sets and as many others of largest activation. What a
method of attribution must miss plays no part: the units are given, not found.
"""

from collections import Counter

import numpy as np
import pytest

from conftest import SOAK
from patchclamp import organisms
from patchclamp.ablate import Baseline, Cases, UnitSets, measure_sets
from patchclamp.attribute import attribute_nodes
from patchclamp.attribute.nodes import unit_strata
from patchclamp.core.controls import draw_controls
from patchclamp.core.estimate import Estimate
from patchclamp.core.receipt import LARGEST_ACTIVATIONS, Receipt
from patchclamp.core.unit import UnitKey
from patchclamp.recipes.receipts import loudest_others

FEW = {"copy-gpt2": 87, "copy-llama": 87}
"""Organisms in which there are fewer than 99 other keys of the planted kind: their claims can only be weak."""
NAMES = organisms.planted.names() if SOAK else ("cat", "copy-gpt2", "seen-gpt2")
DRAWS = 20 if SOAK else 2


def receipts(name, n_draws, seed=0):
    """Return the receipt of an organism's planted units, and those of random sets of as many units."""
    model, card = organisms.build(name), organisms.card(name)
    case = model.read_case(card["prompt"], [card["target"]], [card["contrast"]])
    found = attribute_nodes(model, case.clean, case.metric, method="activation")
    draw = np.random.default_rng(seed)
    planted = [found.units.place(UnitKey.parse(key)) for key in card["true"]]
    claims = [planted, *(draw.permutation(len(found))[: len(planted)].tolist() for _ in range(n_draws))]
    controls = [draw_controls(unit_strata(found), claim, 99, seed=seed) for claim in claims]
    rivals = [
        [found.units.place(key) for key in loudest_others(found, [found.key(i) for i in claim])] for claim in claims
    ]
    sets = [
        tuple(sorted(one)) for c, r, some in zip(claims, rivals, controls, strict=True) for one in (c, r, *some.sets)
    ]
    once = list(dict.fromkeys(sets))
    sets = UnitSets(found.units, [np.array(one) for one in once])
    [values] = measure_sets(model, Cases.of([case.clean], case.metric), sets, Baseline("zero"))
    effects = dict(zip(once, (found.metric_clean - values).tolist(), strict=True))

    def effect(one):
        return effects[tuple(sorted(one))]

    return [
        Receipt(
            "these units carry m", tuple(str(found.key(i)) for i in claim), float("nan"),
            Estimate(effect(claim), None, 1, "m"), some.measure([effect(one) for one in some.sets]),
            {LARGEST_ACTIVATIONS: effect(rival)},
        )
        for claim, rival, some in zip(claims, rivals, controls, strict=True)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def told():
    return {name: receipts(name, DRAWS) for name in NAMES}


def test_planted_units_hold_wherever_there_are_ninety_nine_random_sets(told):
    for name, (planted, *_) in told.items():
        assert planted.controls.n_different == FEW.get(name, 99)
        assert planted.verdict == ("weak" if name in FEW else "holds"), (name, planted.sentence)


def test_random_units_hold_in_two_of_a_hundred_draws_at_most(told):
    counts = Counter(one.verdict for _, *random in told.values() for one in random)
    assert sum(counts.values()) == DRAWS * len(NAMES)
    assert counts["holds"] <= 0.02 * sum(counts.values())
