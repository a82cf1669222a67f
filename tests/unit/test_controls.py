"""Random controls are like what was chosen, differ from it and from each other, and say how they were matched."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracles import controls as oracle
from patchclamp.core.controls import (
    OF_OTHER_SIZE,
    STEPS,
    RandomControls,
    Stratum,
    count_matched,
    draw_controls,
    strata_of,
)
from patchclamp.core.errors import PatchclampError
from patchclamp.core.estimate import Estimate
from patchclamp.core.receipt import LARGEST_ACTIVATIONS, Receipt
from patchclamp.core.stats import Interval


def strata(n_sites: int = 2, n_places: int = 2, n_units: int = 20, seed: int = 0) -> list[Stratum]:
    blocks = [(f"blocks.{i}.mlp.act", "neurons", n_places, n_units) for i in range(n_sites)]
    sizes = np.random.default_rng(seed).random(n_sites * n_places * n_units)
    return strata_of(blocks, sizes, {})


@given(st.integers(0, 5), st.integers(1, 6), st.integers(1, 30), st.integers(2, 12))
def test_sets_are_different_from_each_other_and_from_what_was_chosen(seed, k, n_sets, n_units):
    layers = strata(n_units=n_units, seed=seed)
    chosen = np.random.default_rng(seed).permutation(4 * n_units)[:k].tolist()
    controls = draw_controls(layers, chosen, n_sets, seed=seed)
    assert len({frozenset(one) for one in controls.sets}) == controls.n_different <= n_sets
    for one in controls.sets:
        assert len(set(one)) == len(one)
        assert set(one).isdisjoint(chosen)
        assert len(one) == controls.size <= k
    assert controls.step in STEPS
    assert 0 <= controls.outside <= 1


def test_a_wide_site_needs_no_wider_match_and_keeps_site_and_position():
    layers = strata(n_units=200)
    controls = draw_controls(layers, [3, 207, 403], 99)
    assert (controls.step, controls.n_different, controls.size) == ("size", 99, 3)
    places = {frozenset(place // 200 for place in one) for one in controls.sets}
    assert places == {frozenset({0, 1, 2})}


@pytest.mark.parametrize(
    ("n_units", "n_sites", "n_places", "step"),
    [(8, 2, 2, "site"), (2, 40, 2, "kind"), (1, 5, 40, "position")],
)
def test_the_match_is_widened_step_by_step_where_too_few_like_keys_exist(n_units, n_sites, n_places, step):
    controls = draw_controls(strata(n_sites, n_places, n_units), [0], {"site": 7, "kind": 60, "position": 150}[step])
    assert controls.step == step
    assert controls.n_different == controls.asked


def test_sets_of_another_size_are_not_said_to_be_of_the_nearest():
    # Ten heads are ten deciles: whichever other one is drawn is of another decile.
    heads = strata_of([("blocks.0.attn.z", "heads", None, 10)], np.arange(10.0), {})
    few = draw_controls(heads, [9], 5)
    assert (few.step, few.outside, few.rule) == ("size", 1.0, OF_OTHER_SIZE)
    many = draw_controls(strata(n_units=200), [3], 19)
    assert (many.step, many.outside, many.rule) == ("size", 0.0, "same site and position, nearest size")


def test_fewer_different_sets_than_asked_for_are_said_to_be_fewer():
    controls = draw_controls(strata(1, 1, 4), [0], 99)
    assert controls.n_different == 3
    with pytest.raises(PatchclampError, match="random sets"):
        draw_controls(strata(1, 1, 2), [0, 1], 5)


@given(st.integers(0, 20))
def test_the_draws_are_those_of_single_nodes_by_site_position_and_size(seed):
    layers = strata(n_units=60, seed=seed)
    chosen = np.random.default_rng(seed).permutation(240)[:5]
    sizes = {at: list(one.sizes) for at, one in enumerate(layers)}
    sets, outside = oracle.like_sets(sizes, [(int(i // 60), int(i % 60)) for i in chosen], 20, seed)
    controls = draw_controls(layers, chosen.tolist(), 20, seed=seed)
    assert list(controls.sets) == [tuple(at * 60 + unit for at, unit in one) for one in sets]
    assert controls.outside == pytest.approx(outside)


def test_only_the_keys_of_a_small_site_are_matched_more_widely():
    wide, small = strata_of([("blocks.0.mlp.act", "neurons", None, 200)], np.arange(200.0), {}), []
    for i in range(5):
        small += strata_of([(f"blocks.{i}.attn.z", "heads", None, 3)], np.ones(3), {})
    layers = [replace(one, first=200 + 3 * i) for i, one in enumerate(small)] + wide
    controls = draw_controls(layers, [5, 200, 201], 99)
    assert (controls.step, controls.n_different, controls.size) == ("kind", 99, 3)
    for neuron, *heads in controls.sets:
        assert neuron < 20
        assert min(heads) >= 202
    assert controls.outside == pytest.approx(2 / 3)


def test_what_is_barred_stands_in_no_set_and_likeness_may_depend_on_the_key():
    layers = strata(1, 1, 100)
    barred = list(range(50, 100))
    assert max(place for one in draw_controls(layers, [3], 40, barred=barred).sets for place in one) < 50
    by_place = draw_controls(layers, [3], 8, sizes={3: np.arange(100.0)})
    assert {place for one in by_place.sets for place in one} <= set(range(10))
    with pytest.raises(PatchclampError, match="random sets"):
        draw_controls(layers, [3], 40, barred=[i for i in range(100) if i != 3])


@given(st.permutations(range(8)), st.integers(1, 8), st.sets(st.integers(0, 7), max_size=3))
def test_as_many_are_counted_as_leave_others_to_draw(order, top, barred):
    layers = [*strata(1, 1, 5), replace(strata(1, 1, 3)[0], first=5, kind="other")]

    def can_draw(n):
        try:
            return bool(draw_controls(layers, order[:n], 1, barred=sorted(barred)))
        except PatchclampError:
            return False

    most = max((n for n in range(1, top + 1) if can_draw(n)), default=0)
    assert count_matched(layers, order[:top], barred=sorted(barred)) == most


def test_features_at_zero_are_drawn_last():
    sizes = np.array([0.0] * 90 + [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0])
    controls = draw_controls([Stratum("a", "a", None, sizes, 0, True)], [99], 5)
    assert all(place >= 90 for one in controls.sets for place in one)
    assert controls.idle == 0


def receipt(value=2.0, *, predicted=2.0, n=99, below=99, rival=0.5, interval=(1.0, 3.0), size=1, n_keys=1):
    effects = tuple([0.1] * below + [5.0] * (n - below))
    controls = RandomControls(tuple((i,) for i in range(n)), "size", 0.0, 0.0, 99, size, 0, effects)
    own = None if interval is None else Interval(*interval, 0.95, "b")
    keys = tuple(f"a/neurons/{i}" for i in range(n_keys))
    return Receipt(
        "it carries m", keys, predicted, Estimate(value, own, 3, "m"), controls, {LARGEST_ACTIVATIONS: rival}
    )


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "holds"),
        ({"interval": None}, "holds"),
        ({"value": -2.0, "predicted": -2.0, "interval": (-3.0, -1.0)}, "holds"),
        ({"predicted": -1.0}, "no evidence"),
        ({"interval": (-1.0, 3.0)}, "weak"),
        ({"rival": 2.5}, "weak"),
        ({"below": 96}, "weak"),
        ({"below": 80}, "no evidence"),
        ({"n": 10, "below": 10}, "weak"),
        ({"n": 10, "below": 9}, "no evidence"),
        ({"n_keys": 2}, "no evidence"),
    ],
)
def test_the_verdict_follows_its_rule_and_says_why(changes, verdict):
    found = receipt(**changes)
    assert found.verdict == verdict
    assert bool(found.reasons) == (verdict != "holds")
    assert found.to_json()["verdict"] == verdict


def test_a_verdict_says_what_it_rests_on():
    few = RandomControls(tuple((i,) for i in range(87)), "position", 0.0, 0.0, 99, 1, 0, (0.0,) * 87)
    weak = Receipt("it carries m", ("a/neurons/0",), 2.0, Estimate(1.5, None, 1, "m"), few)
    assert weak.sentence == (
        "Weak: it carries m, measured +1.50 m; only 87 different random sets exist, and none does as much (p = 0.011)."
    )
    many = RandomControls.of("random directions of the same norm", np.linspace(-1, 1, 99), seed=3)
    holds = Receipt("text moves", ("a/basis/0",), 2.0, Estimate(1.5, None, 1, "m"), many)
    told = "none of 99 random directions of the same norm does as much (p = 0.01)"
    assert holds.sentence == f"Holds: text moves, measured +1.50 m; {told}."
    none = Receipt("text moves", ("a/basis/0",), 2.0, Estimate(0.5, None, 1, "m"), many)
    told = "chance does as well: 50 of 99 random directions of the same norm do as much, either way (p = 0.51)"
    assert none.sentence == f"No evidence: text moves, measured +0.50 m; {told}."
    assert many.to_json()["rule"] == "random directions of the same norm"


def test_two_parameters_of_one_edit_are_one_control_of_two_keys():
    controls = RandomControls.of("random edits", [0.0, 0.1], size=2)
    receipt = Receipt("edited", ("a", "b"), float("nan"), Estimate(1.0, None, 1, "nats"), controls)
    assert receipt.p == pytest.approx(1 / 3)
